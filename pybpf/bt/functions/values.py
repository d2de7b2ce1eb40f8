"""What is done with values: addresses of the kernel or the process, byte order, errors as pointers, ends of maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pybpf.bt.functions.function import DONE, Arguments, Function, Lowering
from pybpf.bt.lower.maps import key_of, key_value, loaded
from pybpf.bt.lower.values import Scalar, Value
from pybpf.bt.state.actions import Action
from pybpf.bt.syntax import tree
from pybpf.bt.types import BOOL, INT64, NONE, UINT64, Array, Buffer, Integer, Nothing, Pointer, Special, String, Type
from pybpf.lang.values.flow import when
from pybpf.lang.values.reading import KERNEL, USER

if TYPE_CHECKING:
    from pybpf.bt.check.checker import Checker
    from pybpf.bt.lower.gen import Gen

__all__ = ["ROWS"]

#: MAX_ERRNO: the kernel's pointers from -4095 to -1 are errors
_MOST_ERRNO = 4095


def _space(space: str) -> Function:
    def check_it(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
        kind = check.read(check.value(arguments[0]))
        if isinstance(kind, (Integer, Nothing)):
            return kind if isinstance(kind, Nothing) else Pointer(NONE, space)
        if not isinstance(kind, Pointer):
            check.fail(arguments[0], f"this is no address: {kind.name}")
        return Pointer(kind.target, space)

    def lower(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
        return Scalar(gen.type(node), gen.scalar(arguments[0]))

    whose = "the kernel" if space == KERNEL else "the process"
    return Function(f"{'k' if space == KERNEL else 'u'}ptr(address)", f"an address of {whose}", check_it, lower)


def _check_bswap(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    kind = check.integer(arguments[0], "what bswap() is given")
    return Integer(kind.width, False) if isinstance(kind, Integer) else kind


def _bswap(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    kind = gen.type(node)
    value = gen.as_type(arguments[0], kind)
    if kind.size == 1:
        return value
    return Scalar(kind, gen.b.emit("bswap", value.operand(gen), bits=8 * kind.size))


def _check_is_err(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    kind = check.read(check.value(arguments[0]))
    if not kind.scalar and not isinstance(kind, Nothing):
        check.fail(arguments[0], f"this is no pointer: {kind.name}")
    return BOOL


def _is_err(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    return Scalar(BOOL, gen.b.emit("cmp", gen.scalar(arguments[0]), -_MOST_ERRNO, cond="uge"))


def _check_assert(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    from pybpf.bt.functions.output import text_of

    check.condition(arguments[0])
    text_of(check, arguments[1], "the message of assert()")
    return NONE


def _assert(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    holds, fails = gen.b.new_block("holds"), gen.b.new_block("fails")
    gen.branch(arguments[0], holds, fails)
    gen.land(fails)
    message = gen.constant(arguments[1])
    gen.send(Action("error", (), (node.span, f"assert failed: {message}")))
    gen.send(Action("exit", (INT64,)), [gen.known(1)])
    gen.leave()
    gen.land(holds)
    return DONE


def _check_len(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    target = arguments[0]
    if isinstance(target, tree.Map) and check.facts.map(target).keyed is not False:
        check.map_value(check.facts.map(target), target)
        return UINT64
    kind = check.value(target)
    if isinstance(kind, Special) and kind.what in ("kstack", "ustack"):
        return UINT64
    if not isinstance(kind, (String, Buffer, Array, Nothing)):
        check.fail(target, f"len() is of maps, stacks, text, buffers and arrays, and this is {kind.name}")
    return UINT64


def _len(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    from pybpf.bt.lower.entries import count_entries
    from pybpf.bt.lower.texts import length

    target = arguments[0]
    if isinstance(target, tree.Map) and gen.map(target.name).key is not None:
        return Scalar(UINT64, count_entries(gen, node, gen.map(target.name)))
    value = gen.value(target)
    if isinstance(value.type, Special):
        from pybpf.bt.functions.stacks import depth_of

        return Scalar(UINT64, depth_of(gen, value))
    if isinstance(value.type, String):
        return length(gen, value)
    if isinstance(value.type, Buffer):
        found = value.own(gen)
        return Scalar(UINT64, gen.b.emit("load", found.address, offset=found.offset, size=4, signed=False))
    assert isinstance(value.type, Array)
    return Scalar(UINT64, value.type.length)


def _check_find(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    target, key, variable = arguments
    if not isinstance(target, tree.Map) or not isinstance(variable, tree.Variable):
        check.fail(node, "find() takes a map, a key and a variable for the value, as in find(@x, 1, $value)")
    facts = check.facts.map(target)
    value = check.readable(check.map_value(facts, target), target)
    check.give_key(facts, check.read(check.value(key)), key)
    found = check.find(variable.name) or check.declare(variable, variable.name)
    check.checked.variables[variable] = found
    check.give(found, value, variable)
    return BOOL


def _find(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    from pybpf.bt.lower import variables

    target, key, variable = arguments
    assert isinstance(target, tree.Map) and isinstance(variable, tree.Variable)
    found = gen.map(target.name)
    assert found.key is not None
    assert not isinstance(key, tree.TypeOf)
    where = key_of(gen, key_value(gen, [key], found.key))
    pointer = gen.b.emit("lookup", where, map=gen.use_map(found))
    home = gen.checked.variables[variable]
    with when(gen.b, "ne", pointer, 0, "found"):
        variables.write(gen, home, loaded(gen, pointer, found.value))
    return Scalar(BOOL, gen.b.emit("cmp", pointer, 0, cond="ne"))


def _check_container(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    from pybpf.bt.check.sizes import written

    pointer = check.read(check.value(arguments[0]))
    if not isinstance(arguments[1], tree.TypeOf):
        check.fail(arguments[1], "the type of the container is given by typeof(struct name)")
    kind = written(check, arguments[1])
    check.checked.notes[node] = _offset(check, arguments)
    space = pointer.space if isinstance(pointer, Pointer) else ""
    return Pointer(kind, space or check.place.arguments.space)


def _offset(check: Checker, arguments: Arguments) -> int:
    from pybpf.bt.check.sizes import offset_of

    path = []
    node = arguments[2]
    while isinstance(node, tree.Field):
        path.append(node.name)
        node = node.value
    if not isinstance(node, tree.Name):
        check.fail(arguments[2], "the member is a name, as in container_of($p, typeof(struct x), member)")
    path.append(node.name)
    assert isinstance(arguments[1], tree.TypeOf)
    found = offset_of(check, tree.OffsetOf(arguments[2].span, arguments[1].operand, path[::-1]))
    return found or 0


def _container(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    offset = gen.checked.notes[node]
    return Scalar(gen.type(node), gen.b.emit("sub", gen.scalar(arguments[0]), offset))


def _row(signature: str, text: str, check: object, lower: Lowering) -> Function:
    return Function(signature, text, check, lower)  # type: ignore[arg-type]


ROWS = (
    _space(KERNEL),
    _space(USER),
    _row("bswap(n)", "the bytes of an integer, reversed", _check_bswap, _bswap),
    _row("is_err(pointer)", "whether a pointer of the kernel is an error", _check_is_err, _is_err),
    _row("assert(condition, message)", "end the script with an error unless something holds", _check_assert, _assert),
    _row("len(value)", "how many entries, frames, bytes or items there are", _check_len, _len),
    _row("find(map, key, variable)", "whether there is an entry, whose value the variable gets", _check_find, _find),
    _row("container_of(pointer, type, member)", "the struct that a member is part of", _check_container, _container),
)
