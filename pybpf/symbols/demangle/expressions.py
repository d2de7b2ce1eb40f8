"""Expressions in C++ names: what ``decltype``, array sizes and template arguments are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from pybpf.symbols.demangle.limits import NotUnderstood
from pybpf.symbols.demangle.nodes import (
    NOTHING,
    Encoding,
    Expansion,
    Joined,
    Literal,
    Name,
    Node,
    Operand,
    Pack,
    PackSize,
    Scoped,
    Seq,
    Template,
)
from pybpf.symbols.demangle.tables import OPERATORS, OWN_FORM

if TYPE_CHECKING:
    from pybpf.symbols.demangle.itanium import Itanium

__all__ = ["expression", "literal"]

_Form = Callable[["Itanium"], Node]


def expression(reader: Itanium) -> Node:
    """The expression that comes next."""
    reader.budget.enter()
    node = _expression(reader)
    reader.budget.leave()
    return node


def _expression(reader: Itanium) -> Node:
    next_ = reader.peek
    if next_ == "L":
        return literal(reader)
    if next_ == "T":
        return reader.template_parameter()
    if next_.isdigit():
        return _unresolved(reader)
    code = reader.take(2)
    if code in _FORMS:
        return _FORMS[code](reader)
    text, operands = OPERATORS.get(code, ("", OWN_FORM))
    if operands == 1:
        return Seq(text, Operand(expression(reader)))
    if operands == 2:
        left, right = expression(reader), expression(reader)
        node = Seq(Operand(left), text, Operand(right))
        # as a template's argument, > would end it
        return Seq("(", node, ")") if text == ">" else node
    raise NotUnderstood


def _address(reader: Itanium) -> Node:
    node = expression(reader)
    # of a qualified name this is a pointer to a member or to a function of a namespace: its type follows from it
    if isinstance(node, Encoding) and isinstance(node.name, Scoped) and node.type.suffix is NOTHING:
        node = node.name
    return Seq("&", Operand(node))


def literal(reader: Itanium) -> Node:
    """``L type value E``, or ``L _Z encoding E`` for what is declared elsewhere."""
    reader.expect("L")
    if reader.accept("_Z") or reader.accept("Z"):
        node = reader.encoding()
        reader.expect("E")
        return node
    builtin = reader.peek
    type_ = reader.type()
    if reader.accept("E"):
        return type_  # nullptr is the only value of its type
    value = "-" if reader.accept("n") else ""
    start = reader.at
    end = reader.text.find("E", start)
    value += reader.take(end - start) if end >= 0 else reader.take(1 << 30)
    reader.expect("E")
    return Literal(type_, f"[{value}]" if builtin in "defg" else value)


def _until_end(reader: Itanium, end: str = "E") -> Node:
    nodes = []
    while not reader.accept(end):
        nodes.append(expression(reader))
    return Joined(nodes)


def _with_arguments(reader: Itanium, node: Node) -> Node:
    return Template(node, reader.template_arguments()) if reader.peek == "I" else node


def _unresolved_base(reader: Itanium) -> Node:
    """A name whose scope is open: ``simple-id``, ``on operator`` or ``dn destructor``."""
    if reader.accept("dn"):
        return Seq("~", _unresolved_base(reader) if reader.peek.isdigit() else reader.type())
    return reader.operator_name() if reader.accept("on") else reader.source_name()


def _unresolved(reader: Itanium) -> Node:
    return _with_arguments(reader, _unresolved_base(reader))


def _within(reader: Itanium, scope: Node) -> Node:
    return _with_arguments(reader, Scoped(scope, _unresolved_base(reader)))


def _scope_resolution(reader: Itanium) -> Node:
    """``sr``: a type, or levels of names up to an ``E``, and then the name."""
    if not reader.peek.isdigit():
        # also srN, whose levels read as those of a nested name
        return _within(reader, reader.type())
    scope = _unresolved(reader)
    while not reader.accept("E"):
        scope = _within(reader, scope)
    return _within(reader, scope)


def _global(reader: Itanium) -> Node:
    if reader.peek2 in ("nw", "na"):
        return Seq("::", _new(reader, reader.take(2)))
    if reader.peek2 in ("dl", "da"):
        return Seq("::", expression(reader))
    return Seq("::", expression(reader) if reader.peek2 == "sr" else _unresolved(reader))


def _new(reader: Itanium, code: str) -> Node:
    placement = _until_end(reader, "_")
    type_ = reader.type()
    where: tuple[str | Node, ...] = (" (", placement, ")") if placement.nodes else ()  # type: ignore[attr-defined]
    name = "new[]" if code == "na" else "new"
    if reader.accept("E"):
        return Seq(name, *where, " ", type_)
    if reader.accept("pi"):
        return Seq(name, *where, " ", type_, "(", _until_end(reader), ")")
    raise NotUnderstood


def _call(reader: Itanium) -> Node:
    callee = expression(reader)
    # the types of what is called are not written: they follow from its name
    if isinstance(callee, Encoding):
        callee = callee.name
    return Seq(Operand(callee), "(", _until_end(reader), ")")


def _conversion(reader: Itanium) -> Node:
    type_ = reader.type()
    if reader.accept("_"):
        return Seq("(", type_, ")(", _until_end(reader), ")")
    return Seq("(", type_, ")", Operand(expression(reader)))


def _cast(reader: Itanium, name: str) -> Node:
    type_ = reader.type()
    return Seq(f"{name}<", type_, ">(", expression(reader), ")")


def _member(reader: Itanium, sign: str) -> Node:
    base = expression(reader)
    name = expression(reader) if reader.peek2 in ("sr", "gs") else _unresolved(reader)
    return Seq(Operand(base), sign, name)


def _index(reader: Itanium) -> Node:
    base = expression(reader)
    return Seq(Operand(base), "[", expression(reader), "]")


def _conditional(reader: Itanium) -> Node:
    parts = [Operand(expression(reader)) for _ in range(3)]
    return Seq(parts[0], "?", parts[1], " : ", parts[2])


def _step(reader: Itanium, sign: str) -> Node:
    """``++`` and ``--``: before the operand with an underscore, after it without."""
    before = reader.accept("_")
    operand = Operand(expression(reader))
    return Seq(sign, operand) if before else Seq(operand, sign)


def _parameter(reader: Itanium) -> Node:
    """``fp_`` and ``fL0p_``: a parameter of the function; ``fpT`` is ``this``."""
    if reader.accept("T"):
        return Name("this")
    reader.digits("rVK")
    number = int(reader.number()) + 2 if reader.peek.isdigit() else 1
    reader.expect("_")
    return Name(f"{{parm#{number}}}")


def _outer_parameter(reader: Itanium) -> Node:
    """``fL0p_``: of an outer function; without a number this is a fold."""
    if not reader.peek.isdigit():
        return _fold(reader, "L")
    reader.number()
    reader.expect("p")
    return _parameter(reader)


def _fold(reader: Itanium, kind: str) -> Node:
    """``(... + pack)`` and its like."""
    code = reader.take(2)
    sign = OPERATORS.get(code, ("", 0))[0]
    if not sign:
        raise NotUnderstood
    first = Operand(expression(reader))
    if kind == "l":
        return Seq("(...", sign, first, ")")
    if kind == "r":
        return Seq("(", first, sign, "...)")
    return Seq("(", first, sign, "...", sign, Operand(expression(reader)), ")")


def _braced(reader: Itanium) -> Node:
    type_ = reader.type()
    return Seq(type_, "{", _until_end(reader), "}")


def _designated(reader: Itanium, ranged: bool) -> Node:
    """``[1]=x``, ``[1 ... 2]=x`` in braces."""
    first = expression(reader)
    last: tuple[str | Node, ...] = (" ... ", expression(reader)) if ranged else ()
    return Seq("[", first, *last, "]=", Operand(expression(reader)))


def _pack_size(reader: Itanium) -> Node:
    if reader.peek == "T":
        return PackSize(reader.template_parameter())
    return Seq("sizeof...(", expression(reader), ")")


def _captured_size(reader: Itanium) -> Node:
    nodes: list[Node] = []
    while not reader.accept("E"):
        nodes.append(reader.template_argument())
    return PackSize(Pack(nodes))


def _of_type(name: str) -> _Form:
    return lambda reader: Seq(name, "(", reader.type(), ")")


def _of_expression(name: str) -> _Form:
    return lambda reader: Seq(name, Operand(expression(reader)))


_FORMS: Mapping[str, _Form] = {
    "ad": _address,
    "at": _of_type("alignof "),
    "az": _of_expression("alignof "),
    "cc": lambda reader: _cast(reader, "const_cast"),
    "cl": _call,
    "cp": _call,
    "dX": lambda reader: _designated(reader, ranged=True),
    "di": lambda reader: Seq(".", reader.source_name(), "=", Operand(expression(reader))),
    "dx": lambda reader: _designated(reader, ranged=False),
    "cv": _conversion,
    "dc": lambda reader: _cast(reader, "dynamic_cast"),
    "dn": lambda reader: Seq("~", _unresolved_base(reader) if reader.peek.isdigit() else reader.type()),
    "dt": lambda reader: _member(reader, "."),
    "fL": _outer_parameter,
    "fR": lambda reader: _fold(reader, "R"),
    "fl": lambda reader: _fold(reader, "l"),
    "fp": _parameter,
    "fr": lambda reader: _fold(reader, "r"),
    "gs": _global,
    "il": lambda reader: Seq("{", _until_end(reader), "}"),
    "ix": _index,
    "mm": lambda reader: _step(reader, "--"),
    "na": lambda reader: _new(reader, "na"),
    "nw": lambda reader: _new(reader, "nw"),
    "nx": lambda reader: Seq("noexcept(", expression(reader), ")"),
    "on": lambda reader: _with_arguments(reader, reader.operator_name()),
    "pp": lambda reader: _step(reader, "++"),
    "pt": lambda reader: _member(reader, "->"),
    "qu": _conditional,
    "rc": lambda reader: _cast(reader, "reinterpret_cast"),
    "sP": _captured_size,
    "sZ": _pack_size,
    "sc": lambda reader: _cast(reader, "static_cast"),
    "sp": lambda reader: Expansion(expression(reader)),
    "sr": _scope_resolution,
    "st": _of_type("sizeof "),
    "sz": _of_expression("sizeof "),
    "te": _of_expression("typeid "),
    "ti": _of_type("typeid "),
    "tl": _braced,
    "tr": lambda reader: Name("throw"),
}
