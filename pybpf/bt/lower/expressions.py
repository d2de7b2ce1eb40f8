"""Expressions: a table from the class of a node to what compiles it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pybpf.bt.lower import arithmetic
from pybpf.bt.lower.conditions import COMPARISONS, chosen, logical
from pybpf.bt.lower.maps import read_entry, step_entry
from pybpf.bt.lower.values import Foreign, Made, Own, Scalar, Value, at, converted, item_at, member_of
from pybpf.bt.syntax import tree
from pybpf.bt.types import (
    INT64,
    Array,
    Compound,
    Integer,
    Nothing,
    Pointer,
    Record,
    String,
    Tuple,
    Type,
)
from pybpf.lang.values import raw
from pybpf.lang.values.flow import Choice, when
from pybpf.lang.values.reading import KERNEL, USER, Where

if TYPE_CHECKING:
    from pybpf.bt.lower.gen import Gen
    from pybpf.compiler.ir import Operand

__all__ = ["EXPRESSIONS", "NO_VALUE", "pointed", "tuple_value"]

#: What a call for its effect gives.
NO_VALUE = Scalar(INT64, 0)


def _constant(gen: Gen, node: tree.Node) -> Value:
    value = gen.constant(node)
    assert value is not None
    return gen.known(value)


def _name(gen: Gen, node: tree.Name) -> Value:
    stands = gen.checked.chosen.get(node)
    if stands is not None:
        return converted(gen, gen.value(stands), gen.type(node))
    from pybpf.bt.functions.table import FUNCTIONS

    return FUNCTIONS[node.name].lower(gen, node, [])


def _call(gen: Gen, node: tree.Call) -> Value:
    from pybpf.bt.functions.table import FUNCTIONS

    return FUNCTIONS[node.name].lower(gen, node, node.arguments)


def _method(gen: Gen, node: tree.MethodCall) -> Value:
    from pybpf.bt.functions.table import METHODS

    return METHODS[node.name].lower(gen, node, [node.value, *node.arguments])


def _variable(gen: Gen, node: tree.Variable) -> Value:
    from pybpf.bt.lower.variables import read

    return read(gen, gen.checked.variables[node])


def _map(gen: Gen, node: tree.Map | tree.MapAccess) -> Value:
    return read_entry(gen, node)


# operators


def _unary(gen: Gen, node: tree.Unary) -> Value:
    if node.operator == "&":
        return _address(gen, node)
    value = gen.constant(node)
    if value is not None:
        return gen.known(value)
    if node.operator == "*":
        return pointed(gen, gen.read(node.operand), gen.type(node))
    if node.operator == "!":
        return logical(gen, node)
    operand = gen.scalar(node.operand)
    if node.operator == "-":
        return Scalar(gen.type(node), gen.b.emit("neg", operand))
    return Scalar(gen.type(node), gen.b.emit("xor", operand, -1))


def _address(gen: Gen, node: tree.Unary) -> Value:
    from pybpf.bt.lower.variables import address

    if isinstance(node.operand, tree.Variable):
        return Scalar(gen.type(node), address(gen, gen.checked.variables[node.operand]))
    assert isinstance(node.operand, tree.Map)
    return Scalar(gen.type(node), gen.b.emit("map", map=gen.use_map(gen.map(node.operand.name))))


def pointed(gen: Gen, pointer: Value, kind: Type, index: Operand = 0) -> Value:
    """What a pointer, or an address, leads to; ``index``: so many of these further on."""
    where = _where(gen, pointer)
    if index:
        where = where.indexed(gen, index, max(kind.size, 1), 0)
    return at(gen, where, kind)


def _where(gen: Gen, pointer: Value) -> Where:
    """The memory that a pointer leads to."""
    operand = pointer.operand(gen)
    direct = pointer.direct if isinstance(pointer, Scalar) else None
    space = pointer.type.space if isinstance(pointer.type, Pointer) else ""
    space = space or gen.check.place.arguments.space
    return Where(operand, 0, USER if space == "user" else KERNEL, direct, direct is not None)


def _step(gen: Gen, node: tree.Step) -> Value:
    if isinstance(node.target, tree.Variable):
        from pybpf.bt.lower.variables import read, write

        variable = gen.checked.variables[node.target]
        before = read(gen, variable)
        kind = before.type
        after = Scalar(kind, gen.b.emit("add", before.operand(gen), _amount(node, kind)))
        write(gen, variable, after)
        return after if node.prefix else before
    return step_entry(gen, node, _amount(node, gen.type(node)))


def _amount(node: tree.Step, kind: Type) -> int:
    size = max(kind.target.size, 1) if isinstance(kind, Pointer) else 1
    return size if node.operator == "++" else -size


def _binary(gen: Gen, node: tree.Binary) -> Value:
    value = gen.constant(node)
    if value is not None:
        return gen.known(value)
    if node.operator in COMPARISONS or node.operator in ("&&", "||"):
        return logical(gen, node)
    left = gen.read(node.left)
    if isinstance(left.type, String):
        return _joined(gen, left, gen.read(node.right), gen.type(node))
    return arithmetic.binary(gen, node, node.operator, left, gen.read(node.right), gen.type(node))


def _joined(gen: Gen, left: Value, right: Value, kind: Type) -> Value:
    """Text behind text."""
    from pybpf.bt.lower.texts import concatenated

    return concatenated(gen, left, right, kind)


def _conditional(gen: Gen, node: tree.Conditional) -> Value:
    known = gen.constant(node.condition)
    if known is not None and not isinstance(known, str):
        then = node.condition if node.then is None else node.then
        found = gen.value(then if known else node.otherwise)
        kind = gen.type(node)
        return found if isinstance(kind, Nothing) else converted(gen, found, kind)
    yes, no, done = (gen.b.new_block(name) for name in ("then", "otherwise", "either"))
    if node.then is None:
        condition = gen.read(node.condition)
        gen.b.branch("ne", condition.operand(gen), 0, yes, no)
        first: Callable[[], Value] = lambda: condition  # noqa: E731
    else:
        then = node.then
        gen.branch(node.condition, yes, no)
        first = lambda: gen.read(then)  # noqa: E731
    found_value = chosen(gen, gen.type(node), [(yes, first), (no, lambda: gen.read(node.otherwise))], done)
    return found_value or NO_VALUE


def _if(gen: Gen, node: tree.If) -> Value:
    taken = gen.checked.chosen.get(node)
    if isinstance(taken, tree.Block):
        return gen.block(taken) or NO_VALUE
    kind, done = gen.type(node), gen.b.new_block("endif")
    arms = [(condition, body) for condition, body in node.arms if not isinstance(condition, tree.Comptime)]
    ways = []
    for condition, body in arms:
        yes, no = gen.b.new_block("then"), gen.b.new_block("else")
        gen.branch(condition, yes, no)
        # the way is compiled where its block begins, behind all tests
        ways.append((yes, _block_of(gen, body)))
        gen.land(no)
    last = gen.b.new_block("last")
    gen.b.jump(last)
    ways.append((last, _block_of(gen, node.otherwise)))
    return chosen(gen, kind, ways, done) or NO_VALUE


def _block_of(gen: Gen, body: tree.Block | None) -> Callable[[], Value | None]:
    return lambda: None if body is None else gen.block(body)


def _block(gen: Gen, node: tree.Block) -> Value:
    return gen.block(node) or NO_VALUE


def _inlined(gen: Gen, node: tree.Inlined) -> Value:
    from pybpf.bt.lower.gen import Call
    from pybpf.bt.lower.variables import read

    for each in node.parameters:
        gen.statement(each)
    result = gen.checked.variables.get(node)
    over = gen.b.new_block("returned")
    gen.calls.append(Call(result, over))
    gen.block(node.body)
    gen.calls.pop()
    gen.b.jump(over)
    gen.land(over)
    return NO_VALUE if result is None else read(gen, result)


# parts


def _field(gen: Gen, node: tree.Field) -> Value:
    if isinstance(node.value, tree.Name) and node.value.name == "args":
        return gen.checked.place.arguments.fields()[node.name].load(gen)
    base = gen.value(node.value)
    kind = base.type
    if isinstance(kind, Record):
        index = kind.index(node.name)
        assert index is not None
        return _item(gen, base, kind.plain, index)
    target = kind.target if isinstance(kind, Pointer) else kind
    assert isinstance(target, Compound)
    member = target.member(node.name)
    assert member is not None
    where = _where(gen, base) if isinstance(kind, Pointer) else base.where(gen)
    return member_of(gen, where, member)


def _element(gen: Gen, node: tree.Element) -> Value:
    base = gen.value(node.value)
    assert isinstance(base.type, Tuple)
    return _item(gen, base, base.type, node.index)


def _item(gen: Gen, base: Value, kind: Tuple, index: int) -> Value:
    place = base.own(gen)
    return item_at(gen, place.where(gen).moved(kind.offset(index)), kind.items[index])


def _index(gen: Gen, node: tree.Index) -> Value:
    base = gen.read(node.value)
    number = gen.constant(node.index)
    index: Operand = number if isinstance(number, int) else gen.scalar(node.index)
    kind = gen.type(node)
    if isinstance(base.type, Pointer):
        return pointed(gen, base, kind, index)
    if isinstance(base.type, Tuple):
        assert isinstance(index, int)
        return _item(gen, base, base.type, index)
    length = base.type.length if isinstance(base.type, Array) else base.type.size
    if isinstance(base, Foreign) and not isinstance(base.type, String):
        return at(gen, base.where(gen).indexed(gen, index, max(kind.size, 1), length), kind)
    return _own_item(gen, base.own(gen), kind, index, length)


def _own_item(gen: Gen, base: Own, kind: Type, index: Operand, length: int) -> Value:
    """An item of an array, or a byte of text, in memory of the program; zero where there is none."""
    size = max(kind.size, 1)
    if isinstance(index, int):
        if not 0 <= index < length:
            return Scalar(kind, 0) if kind.scalar else Made(kind, lambda to, offset: raw.clear(gen, to, offset, size))
        return item_at(gen, base.where(gen).moved(index * size), kind)
    found = Choice(gen.b, 0)
    slot = None if kind.scalar else gen.b.slot(size, "item")
    if slot is not None:
        raw.clear(gen, slot, 0, size)
    with when(gen.b, "ult", index, length, "inside"):
        address = gen.b.emit("add", base.pointer(gen), gen.b.emit("mul", index, size))
        if slot is None:
            signed = isinstance(kind, Integer) and kind.signed
            found.set(gen.b.emit("load", address, offset=0, size=size, signed=signed))
        else:
            raw.copy(gen, slot, 0, address, 0, size)
    return Scalar(kind, found.value) if slot is None else Own(kind, slot, 0)


def _cast(gen: Gen, node: tree.Cast) -> Value:
    value, kind = gen.read(node.value), gen.type(node)
    have = value.type
    if isinstance(kind, Compound) and have.scalar:
        return Foreign(kind, _where(gen, value))
    if isinstance(kind, Pointer):  # of a narrow integer, its own bits
        bits = converted(gen, value, Integer(have.size, False)) if isinstance(have, Integer) else value
        return Scalar(kind, bits.operand(gen))
    if isinstance(kind, Integer) and isinstance(have, Array):
        found = value.own(gen)
        return Scalar(kind, raw.load(gen, found.address, found.offset, kind.size, kind.signed))
    if isinstance(kind, Array):
        return _as_array(gen, value, kind)
    if isinstance(kind, String) and isinstance(have, Array):
        return converted(gen, _retyped(gen, value, String(max(have.size, 1))), kind)
    return converted(gen, value, kind)


def _as_array(gen: Gen, value: Value, kind: Array) -> Value:
    have = value.type
    if isinstance(have, String):
        value = converted(gen, value, String(kind.size))
    elif have.scalar:
        operand, size = value.operand(gen), kind.size
        return Made(kind, lambda to, offset: raw.store(gen, to, offset, size, operand))
    return _retyped(gen, value, kind)


def _retyped(gen: Gen, value: Value, kind: Type) -> Value:
    """The same bytes as another type."""
    if isinstance(value, Foreign):
        return Foreign(kind, value.where(gen))
    found = value.own(gen)
    return Own(kind, found.address, found.offset)


def _typeinfo(gen: Gen, node: tree.TypeInfo) -> Value:
    kind = gen.type(node)
    assert isinstance(kind, Record)
    names = [gen.known(name) for name in gen.checked.notes[node]]
    return tuple_value(gen, kind, [Scalar(kind.fields[0][1], 0), *names])


def tuple_value(gen: Gen, kind: Tuple | Record, values: list[Value]) -> Value:
    """A tuple or record of values."""
    plain = kind.plain if isinstance(kind, Record) else kind
    ready = [converted(gen, value, item) for value, item in zip(values, plain.items)]

    def write(address: Operand, offset: int) -> None:
        written = 0
        for index, value in enumerate(ready):
            place = plain.offset(index)
            raw.clear(gen, address, offset + written, place - written)
            if not value.clean:
                raw.clear(gen, address, offset + place, value.type.size)
            value.store(gen, address, offset + place)
            written = place + value.type.size
        raw.clear(gen, address, offset + written, plain.size - written)

    return Made(kind, write)


def _tuple(gen: Gen, node: tree.Tuple) -> Value:
    kind = gen.type(node)
    assert isinstance(kind, Tuple)
    return tuple_value(gen, kind, [gen.read(item) for item in node.items])


def _record(gen: Gen, node: tree.Record) -> Value:
    kind = gen.type(node)
    assert isinstance(kind, Record)
    return tuple_value(gen, kind, [gen.read(value) for _, value in node.fields])


def _comptime(gen: Gen, node: tree.Comptime) -> Value:
    return gen.value(node.value)


EXPRESSIONS: Mapping[type[tree.Node], Callable[[Gen, Any], Value]] = MappingProxyType({
    tree.Binary: _binary,
    tree.Block: _block,
    tree.Boolean: _constant,
    tree.Call: _call,
    tree.Cast: _cast,
    tree.Comptime: _comptime,
    tree.Conditional: _conditional,
    tree.Element: _element,
    tree.Field: _field,
    tree.If: _if,
    tree.Index: _index,
    tree.Inlined: _inlined,
    tree.Integer: _constant,
    tree.Map: _map,
    tree.MapAccess: _map,
    tree.MethodCall: _method,
    tree.Name: _name,
    tree.OffsetOf: _constant,
    tree.Parameter: _constant,
    tree.ParameterCount: _constant,
    tree.Record: _record,
    tree.SizeOf: _constant,
    tree.Step: _step,
    tree.String: _constant,
    tree.Tuple: _tuple,
    tree.TypeInfo: _typeinfo,
    tree.Unary: _unary,
    tree.Variable: _variable,
})  # fmt: skip
