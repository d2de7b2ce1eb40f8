"""The types of expressions: a table from the class of a node to what checks it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NoReturn

from pybpf.bt.check.checker import Checker, article, written_name
from pybpf.bt.check.constants import constant
from pybpf.bt.check.facts import Unknown, VariableFacts
from pybpf.bt.check.names import enumeration, meaning, undefined
from pybpf.bt.check.sizes import written
from pybpf.bt.syntax import tree
from pybpf.bt.types import (
    BOOL,
    INT64,
    NONE,
    UINT64,
    Aggregate,
    Array,
    Bool,
    Buffer,
    Compound,
    Integer,
    Nothing,
    Pointer,
    Record,
    Special,
    String,
    Tuple,
    Type,
    differ_in_sign,
    join,
)
from pybpf.sys.near import did_you_mean

__all__ = ["EXPRESSIONS", "literal", "tuple_of"]

_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
_EQUALITY = ("==", "!=")
_LOGICAL = ("&&", "||")


def literal(value: int | str | bool) -> Type:
    """The type of a value that is known: of an integer the narrowest signed one."""
    if isinstance(value, bool):
        return BOOL
    if isinstance(value, str):
        return String(len(value.encode("utf-8", "surrogateescape")) + 1)
    bits = (value if value >= 0 else ~value).bit_length() + 1
    if bits > 64:
        return UINT64
    return Integer(next(width for width in (1, 2, 4, 8) if bits <= 8 * width), True, flexible=value >= 0)


def _literal(check: Checker, node: Any) -> Type:
    return literal(node.value)


def _known(check: Checker, node: Any) -> Type:
    value = constant(check, node)
    return Unknown if value is None else literal(value)


def _parameter(check: Checker, node: tree.Parameter) -> Type:
    """A number, or text where the argument is none."""
    value = constant(check, node)
    assert value is not None
    return literal(value)


def _name(check: Checker, node: tree.Name) -> Type:
    found = meaning(check, node)
    if found is None:
        check.fail(node, undefined(check, node))
    if isinstance(found, tree.Node):
        check.checked.chosen[node] = found
        kind = check.type(found)
        return enumeration(check, node.name) or kind
    if found.least > 0:
        check.fail(node, f"{node.name} is a function; write {found.signature}")
    return found.checked(check, node, [])


def _call(check: Checker, node: tree.Call) -> Type:
    from pybpf.bt.functions.table import FUNCTIONS, REFUSED

    row = FUNCTIONS.get(node.name)
    if row is None:
        if node.name in REFUSED:
            check.fail(node, f"{node.name}() is not to be had here: {REFUSED[node.name]}")
        check.fail(node, undefined(check, node))
    return row.checked(check, node, node.arguments)


def _method(check: Checker, node: tree.MethodCall) -> Type:
    from pybpf.bt.functions.table import METHODS

    row = METHODS.get(node.name)
    if row is None:
        found = check.value(node.value)
        check.fail(node, f"{article(found)} has no method {node.name}(){did_you_mean(node.name, METHODS)}")
    return row.checked(check, node, [node.value, *node.arguments])


def _variable(check: Checker, node: tree.Variable) -> Type:
    found = check.variable(node)
    if found.type is None and check.facts.final:
        check.fail(node, f"${written_name(node.name)} is declared, but never assigned to")
    check.reads(found, node)
    return found.type or Unknown


def _map(check: Checker, node: tree.Map | tree.MapAccess) -> Type:
    found = check.map_value(check.map_key(node), node)
    check.readable(found, node)
    return found


# operators


def _unary(check: Checker, node: tree.Unary) -> Type:
    if node.operator == "&":
        return _address(check, node)
    if node.operator == "*":
        return _pointed(check, node)
    value = constant(check, node)
    found = check.read(check.value(node.operand))
    if value is not None:
        return literal(value)
    if isinstance(found, Nothing):
        return Unknown
    if node.operator == "!":
        if not found.scalar:
            check.fail(node, f"'!' is for integers, booleans and pointers, not {article(found)}")
        return BOOL
    if not isinstance(found, (Integer, Bool)):
        check.fail(node, f"{node.operator!r} is for integers, not {article(found)}")
    if node.operator == "-":
        return INT64
    return INT64 if isinstance(found, Integer) and found.signed else UINT64


def _address(check: Checker, node: tree.Unary) -> Type:
    if isinstance(node.operand, tree.Variable):
        with check.asking():
            found = check.value(node.operand)
        variable = check.checked.variables[node.operand]
        variable.addressed = True
        check.unassigned.discard(variable)  # what is given the address may assign to it
    else:
        assert isinstance(node.operand, tree.Map)
        check.facts.map(node.operand)
        found = UINT64
    return Unknown if isinstance(found, Nothing) else Pointer(found, "kernel")


def _pointed(check: Checker, node: tree.Unary) -> Type:
    found = check.read(check.value(node.operand))
    if isinstance(found, Nothing):
        return Unknown
    if isinstance(found, Integer):  # as bpftrace: eight bytes at an address
        return UINT64
    if not isinstance(found, Pointer):
        check.fail(node, f"'*' follows a pointer, not {article(found)}")
    if isinstance(found.target, Nothing):
        check.fail(node, "what a pointer to void points to is not known; cast it, as in *(int32 *)x")
    return found.target


def _step(check: Checker, node: tree.Step) -> Type:
    target = node.target
    if isinstance(target, tree.Variable):
        variable = check.find(target.name) or check.declare(target, target.name)
        check.checked.variables[target] = variable
        found = variable.type
        if not isinstance(found, Pointer):
            check.give(variable, _stepped(node, found), node)
        return variable.type or Unknown
    facts = check.map_key(target)
    found = facts.value
    if isinstance(found, Aggregate):
        check.fail(node, f"@{facts.name} is a {found.way}(), which {node.operator} cannot change")
    if found is not None and not isinstance(found, (Integer, Pointer)):
        check.fail(node, f"{node.operator} changes integers, and @{facts.name} is {article(found)}")
    if not isinstance(found, Pointer):
        check.give_value(facts, _stepped(node, found), node)
    check.checked.types[target] = facts.value or Unknown
    return facts.value or Unknown


def _stepped(node: tree.Step, found: Type | None) -> Type:
    signed = node.operator == "--" or (isinstance(found, Integer) and found.signed and not found.flexible)
    return INT64 if signed or found is None else UINT64


def _binary(check: Checker, node: tree.Binary) -> Type:
    if node.operator in _LOGICAL:
        check.condition(node.left)
        check.condition(node.right)
        return BOOL
    value = constant(check, node)
    left, right = check.read(check.value(node.left)), check.read(check.value(node.right))
    if value is not None:
        return literal(value)
    if isinstance(left, Nothing) or isinstance(right, Nothing):
        return BOOL if node.operator in _COMPARISONS else Unknown
    return combined(check, node, node.operator, left, right)


#: operators whose results depend on the signs
_BY_SIGN = frozenset({"<", "<=", ">", ">=", "/", "%"})


def combined(check: Checker, node: tree.Node, operator: str, left: Type, right: Type) -> Type:
    """The type of ``left operator right``."""
    comparison = operator in _COMPARISONS
    if isinstance(left, (Integer, Bool)) and isinstance(right, (Integer, Bool)):
        if operator in _BY_SIGN and differ_in_sign(left, right):
            message = f"{operator!r} of {article(left)} and {article(right)} takes both as int64; cast one of them"
            check.warn(node, message)
        if comparison:
            return BOOL
        return _arithmetic(check, node, operator, left, right)
    if isinstance(left, Pointer) or isinstance(right, Pointer):
        return _with_pointer(check, node, operator, left, right)
    if comparison and operator in _EQUALITY and _comparable(left, right):
        return BOOL
    if isinstance(left, String) and isinstance(right, String) and operator == "+":
        return String(left.room + right.room - 1)
    what = article(left) if type(left) is type(right) else f"{article(left)} and {article(right)}"
    check.fail(node, f"{operator!r} does not work on {what}")


def _comparable(left: Type, right: Type) -> bool:
    text = (String, Buffer)
    if isinstance(left, text) and isinstance(right, text):
        return True
    if isinstance(left, Array) and isinstance(right, Array):
        return left.item == right.item and left.length == right.length
    if isinstance(left, (Tuple, Record)) and isinstance(right, (Tuple, Record)):
        return join(left, right) is not None
    return isinstance(left, Special) and left == right


def _arithmetic(check: Checker, node: tree.Node, operator: str, left: Type, right: Type) -> Type:
    left_signed, right_signed = (isinstance(each, Integer) and each.signed for each in (left, right))
    left_flexible, right_flexible = (isinstance(each, Integer) and each.flexible for each in (left, right))
    if left_flexible and not right_flexible:
        left_signed = right_signed
    elif right_flexible and not left_flexible:
        right_signed = left_signed
    if operator in ("<<", ">>"):
        return INT64 if left_signed else UINT64
    if operator in ("/", "%") and constant(check, getattr(node, "right", node)) == 0:
        check.fail(node, "division by zero")
    return INT64 if left_signed or right_signed or operator == "-" else UINT64


def _alike(left: Type, right: Type) -> bool:
    """Whether pointers to two types may be compared without a word; what void points to may be anything."""
    return left == right or isinstance(left, Nothing) or isinstance(right, Nothing) or left.name == right.name


def _with_pointer(check: Checker, node: tree.Node, operator: str, left: Type, right: Type) -> Type:
    if operator in _COMPARISONS and left.scalar and right.scalar:
        if isinstance(left, Pointer) and isinstance(right, Pointer) and not _alike(left.target, right.target):
            check.warn(node, f"{left.name} and {right.name}, which are compared, point to different things; cast one")
        return BOOL
    if isinstance(left, Pointer) and operator in ("+", "-") and isinstance(right, (Integer, Bool)):
        return left
    if isinstance(right, Pointer) and operator == "+" and isinstance(left, (Integer, Bool)):
        return right
    if isinstance(left, Pointer) and isinstance(right, Pointer) and operator == "-":
        return INT64
    check.fail(node, f"{operator!r} does not work on {article(left)} and {article(right)}; cast the pointer to uint64")


def _conditional(check: Checker, node: tree.Conditional) -> Type:
    if node.then is None:
        first = check.read(check.value(node.condition))
        check.condition(node.condition)
    else:
        check.condition(node.condition)
        first = check.read(check.type(node.then))
    second = check.read(check.type(node.otherwise))
    return _either(check, node, [first, second])


def _either(check: Checker, node: tree.Node, found: Sequence[Type]) -> Type:
    """The type of what is one or the other."""
    known = [each for each in found if not isinstance(each, Nothing)]
    if not known:
        return NONE
    both: Type | None = known[0]
    for each in known[1:]:
        both = None if both is None else join(both, each)
        if both is None:
            check.fail(node, f"this is {article(known[0])} or {article(each)}, depending on the way; make them alike")
    assert both is not None
    return both


def _if(check: Checker, node: tree.If) -> Type:
    found = []
    for condition, body in node.arms:
        if isinstance(condition, tree.Comptime):
            value = constant(check, condition.value)
            if value is None:
                if check.facts.final:
                    check.fail(condition, "this is not known when the script is compiled")
                return Unknown
            check.checked.chosen[condition] = body if value else None
            if value:
                check.checked.chosen[node] = body
                found.append(check.block(body))
                return _either(check, node, found)
            continue
        check.condition(condition)
        found.append(check.block(body))
    if node.otherwise is not None:
        found.append(check.block(node.otherwise))
    if node.otherwise is None or all(isinstance(each, Nothing) for each in found):
        return NONE
    return _either(check, node, found)


def _block(check: Checker, node: tree.Block) -> Type:
    return check.block(node)


def _type_of(check: Checker, node: tree.TypeOf) -> NoReturn:
    check.fail(node, "this is a type, and a value must stand here")


def _inlined(check: Checker, node: tree.Inlined) -> Type:
    """A call of a function of the script: its body is checked for each, as the probe's and the arguments' types are."""
    outer, check.loops = check.loops, 0
    with check.scope():
        for each in node.parameters:
            check.statement(each)
        kind = NONE if node.returns is None else written(check, node.returns)
        if node.returns is not None:
            result = check.checked.variables.setdefault(node, VariableFacts(node.name))
            result.type = None if isinstance(kind, Nothing) else kind
        check.calls.append(node)
        check.block(node.body)
        check.calls.pop()
    check.loops = outer
    return kind


# parts


def _field(check: Checker, node: tree.Field) -> Type:
    if _is_args(check, node.value):
        return _argument(check, node)
    found = check.value(node.value)
    if isinstance(found, Nothing):
        return Unknown
    if isinstance(found, Record):
        index = found.index(node.name)
        if index is None:
            names = [name for name, _ in found.fields]
            check.fail(node, f"the record has no field {node.name!r}{did_you_mean(node.name, names)}")
        return found.fields[index][1]
    target = found.target if isinstance(found, Pointer) else found
    if not isinstance(target, Compound):
        hint = "; cast it, as in ((struct name *)x)." + node.name if isinstance(found, (Integer, Pointer)) else ""
        check.fail(node, f"{article(found)} has no fields{hint}")
    member = target.member(node.name)
    if member is None:
        known = target.names()
        hint = did_you_mean(node.name, known) or f"; it has {', '.join(known[:12]) or 'none'}"
        check.fail(node, f"{target.name} has no field {node.name!r}{hint}")
    return member.type


def _is_args(check: Checker, node: tree.Expression) -> bool:
    return isinstance(node, tree.Name) and node.name == "args"


def _argument(check: Checker, node: tree.Field) -> Type:
    arguments = check.place.arguments
    fields = arguments.fields()
    spec = fields.get(node.name)
    if spec is None:
        if not fields:
            check.fail(node, f"{check.place.name} has no field {node.name!r}: {arguments.why_no_fields()}")
        hint = did_you_mean(node.name, fields) or f"; it has {', '.join(fields)}"
        check.fail(node, f"{check.place.name} has no field {node.name!r}{hint}")
    return spec.type


def _element(check: Checker, node: tree.Element) -> Type:
    found = check.value(node.value)
    if isinstance(found, Nothing):
        return Unknown
    if not isinstance(found, Tuple):
        check.fail(node, f".{node.index} is an item of a tuple, and this is {article(found)}")
    if node.index >= len(found.items):
        check.fail(node, f"the tuple has items 0 to {len(found.items) - 1}, not {node.index}")
    return found.items[node.index]


def _index(check: Checker, node: tree.Index) -> Type:
    found = check.value(node.value)
    index = check.integer(node.index, "an index")
    if isinstance(found, Nothing) or isinstance(index, Nothing):
        return Unknown
    if isinstance(found, String):
        return Integer(1, True)
    if isinstance(found, Pointer):
        if isinstance(found.target, Nothing):
            check.fail(node, "what a pointer to void points to is not known; cast it, as in ((int32 *)x)[0]")
        return found.target
    number = constant(check, node.index)
    if isinstance(found, Tuple) and isinstance(number, int):
        if not 0 <= number < len(found.items):
            check.fail(node, f"the tuple has items 0 to {len(found.items) - 1}, not {number}")
        return found.items[number]
    if not isinstance(found, Array):
        check.fail(node, f"{article(found)} cannot be indexed")
    if isinstance(number, int) and found.length and not 0 <= number < found.length:
        check.fail(node, f"the array has items 0 to {found.length - 1}, not {number}")
    return found.item


def _cast(check: Checker, node: tree.Cast) -> Type:
    from pybpf.bt.check.casts import cast

    return cast(check, node, written(check, node.type))


def _sized(check: Checker, node: Any) -> Type:
    value = constant(check, node)
    return Unknown if value is None else literal(value)


def _typeinfo(check: Checker, node: tree.TypeInfo) -> Type:
    from pybpf.bt.check.casts import type_info

    return type_info(check, node)


def _comptime(check: Checker, node: tree.Comptime) -> Type:
    found = check.type(node.value)
    if check.facts.final and constant(check, node.value) is None:
        check.fail(node, "this is not known when the script is compiled")
    return found


def tuple_of(check: Checker, items: Sequence[tree.Expression]) -> Type:
    """A tuple of expressions; unknown while one of them is."""
    found = [check.read(check.value(item)) for item in items]
    return Unknown if any(isinstance(each, Nothing) for each in found) else Tuple(tuple(found))


def _tuple(check: Checker, node: tree.Tuple) -> Type:
    return tuple_of(check, node.items)


def _record(check: Checker, node: tree.Record) -> Type:
    found = [(name, check.read(check.value(value))) for name, value in node.fields]
    return Unknown if any(isinstance(each, Nothing) for _, each in found) else Record(tuple(found))


EXPRESSIONS: Mapping[type[tree.Node], Callable[[Checker, Any], Type]] = MappingProxyType({
    tree.Binary: _binary,
    tree.Block: _block,
    tree.Boolean: _literal,
    tree.Call: _call,
    tree.Cast: _cast,
    tree.Comptime: _comptime,
    tree.Conditional: _conditional,
    tree.Element: _element,
    tree.Field: _field,
    tree.If: _if,
    tree.Index: _index,
    tree.Inlined: _inlined,
    tree.Integer: _literal,
    tree.Map: _map,
    tree.MapAccess: _map,
    tree.MethodCall: _method,
    tree.Name: _name,
    tree.OffsetOf: _sized,
    tree.Parameter: _parameter,
    tree.ParameterCount: _known,
    tree.Record: _record,
    tree.SizeOf: _sized,
    tree.Step: _step,
    tree.String: _literal,
    tree.Tuple: _tuple,
    tree.TypeInfo: _typeinfo,
    tree.TypeOf: _type_of,
    tree.Unary: _unary,
    tree.Variable: _variable,
})  # fmt: skip
