"""What a script says: its syntax tree.

Nodes compare by identity, so that a later stage can keep what it finds in dictionaries; :func:`dump` compares by
content. Every node knows its ``span``: offsets in the script of its first character and of the one after its last.
"""

from __future__ import annotations

from typing import Any, Union

from pybpf.bt.syntax.attachpoints import AttachPoint
from pybpf.bt.syntax.source import Source, Span
from pybpf.record import dataclass, field, field_names

__all__ = [
    "ArrayType",
    "Assign",
    "Binary",
    "Block",
    "Boolean",
    "Break",
    "CText",
    "Call",
    "Cast",
    "CompoundType",
    "Comptime",
    "Conditional",
    "Continue",
    "Declare",
    "Discard",
    "Element",
    "Evaluate",
    "Expression",
    "Field",
    "For",
    "Function",
    "If",
    "Import",
    "Index",
    "Inlined",
    "Integer",
    "Macro",
    "Map",
    "MapAccess",
    "MapDeclaration",
    "MethodCall",
    "Name",
    "NamedType",
    "Node",
    "OffsetOf",
    "Parameter",
    "ParameterCount",
    "PointerType",
    "Probe",
    "ProbePoint",
    "Range",
    "Record",
    "Return",
    "Script",
    "Setting",
    "SizeOf",
    "Statement",
    "Step",
    "String",
    "Tuple",
    "Type",
    "TypeInfo",
    "TypeOf",
    "Unary",
    "Unroll",
    "Variable",
    "While",
    "dump",
]


@dataclass(eq=False)
class Node:
    """Anything in the tree."""

    span: Span


# Types


@dataclass(eq=False)
class NamedType(Node):
    """``uint64``, ``string``, ``unsigned long``, or a name that C definitions or the kernel give a meaning."""

    name: str


@dataclass(eq=False)
class CompoundType(Node):
    """``struct task_struct``: ``keyword`` is ``struct``, ``union`` or ``enum``."""

    keyword: str
    name: str


@dataclass(eq=False)
class PointerType(Node):
    """``T *``"""

    target: Type


@dataclass(eq=False)
class ArrayType(Node):
    """``T[4]``; also ``string[64]``. ``length`` is None in ``T[]``."""

    item: Type
    length: int | None


@dataclass(eq=False)
class TypeOf(Node):
    """``typeof($x)`` or ``typeof(int32)``"""

    operand: Type | Expression


Type = Union[NamedType, CompoundType, PointerType, ArrayType, TypeOf]

# Expressions


@dataclass(eq=False)
class Integer(Node):
    """A number; ``text`` is how it is written (``1e6``, ``10ms``)."""

    value: int
    text: str


@dataclass(eq=False)
class String(Node):
    """Text in quotes, escapes replaced (see :func:`pybpf.bt.syntax.literals.unescape` for bytes that are not text)."""

    value: str


@dataclass(eq=False)
class Boolean(Node):
    """``true`` or ``false``"""

    value: bool


@dataclass(eq=False)
class Name(Node):
    """A builtin, a constant, a macro, a macro's parameter."""

    name: str


@dataclass(eq=False)
class Variable(Node):
    """``$name``, without the ``$``."""

    name: str


@dataclass(eq=False)
class Map(Node):
    """``@name``, without the ``@``; ``""`` is the map that has no name."""

    name: str


@dataclass(eq=False)
class MapAccess(Node):
    """``@map[key, ...]``"""

    map: Map
    keys: list[Expression]


@dataclass(eq=False)
class Parameter(Node):
    """``$1``: the script's first argument."""

    index: int


@dataclass(eq=False)
class ParameterCount(Node):
    """``$#``"""


@dataclass(eq=False)
class Unary(Node):
    """``-x``, ``!x``, ``~x``, ``*x``; ``&`` of a variable or a map."""

    operator: str
    operand: Expression


@dataclass(eq=False)
class Step(Node):
    """``++`` or ``--``, before (``prefix``) or after a variable or map entry."""

    operator: str
    target: Target
    prefix: bool


@dataclass(eq=False)
class Binary(Node):
    """``left operator right``"""

    operator: str
    left: Expression
    right: Expression


@dataclass(eq=False)
class Conditional(Node):
    """``condition ? then : otherwise``; in ``a ?: b``, ``then`` is None and means the condition's value."""

    condition: Expression
    then: Expression | None
    otherwise: Expression


@dataclass(eq=False)
class Field(Node):
    """``value.name`` or, with ``arrow``, ``value->name``."""

    value: Expression
    name: str
    arrow: bool


@dataclass(eq=False)
class Element(Node):
    """``value.0``: an item of a tuple."""

    value: Expression
    index: int


@dataclass(eq=False)
class Index(Node):
    """``value[index]``"""

    value: Expression
    index: Expression


@dataclass(eq=False)
class Call(Node):
    """``name(arguments)``: a function or a macro. Only ``typeof(...)`` may stand as an argument that is a type."""

    name: str
    arguments: list[Expression | TypeOf]


@dataclass(eq=False)
class MethodCall(Node):
    """``value.name(arguments)``, as in ``"=".repeat(80)``."""

    value: Expression
    name: str
    arguments: list[Expression | TypeOf]


@dataclass(eq=False)
class Cast(Node):
    """``(type)value``"""

    type: Type
    value: Expression


@dataclass(eq=False)
class SizeOf(Node):
    """``sizeof(type or expression)``"""

    operand: Type | Expression


@dataclass(eq=False)
class OffsetOf(Node):
    """``offsetof(type or expression, a.b)``"""

    operand: Type | Expression
    path: list[str]


@dataclass(eq=False)
class TypeInfo(Node):
    """``typeinfo(type or expression)``"""

    operand: Type | Expression


@dataclass(eq=False)
class Comptime(Node):
    """``comptime x``: x must be known when the script is compiled."""

    value: Expression


@dataclass(eq=False)
class Tuple(Node):
    """``()``, ``(a,)``, ``(a, b)``"""

    items: list[Expression]


@dataclass(eq=False)
class Record(Node):
    """``(a = 1, b = 2)``"""

    fields: list[tuple[str, Expression]]


@dataclass(eq=False)
class Block(Node):
    """``{ statements; value }``; ``value`` is None where the last statement ends in ``;`` or is none."""

    statements: list[Statement]
    value: Expression | None


@dataclass(eq=False)
class If(Node):
    """``if a { } else if b { } else { }``: a flat list of (condition, block), then the last block."""

    arms: list[tuple[Expression, Block]]
    otherwise: Block | None


@dataclass(eq=False)
class Inlined(Node):
    """A call of a function of the script, after :mod:`pybpf.bt.expand.functions` has put its body in its place.

    :ivar parameters: its parameters, given the arguments.
    :ivar returns: None: nothing (``void``).
    """

    name: str
    parameters: list[Declare]
    returns: Type | None
    body: Block


Target = Union[Variable, Map, MapAccess]
Expression = Union[
    Integer, String, Boolean, Name, Variable, Map, MapAccess, Parameter, ParameterCount, Unary, Step, Binary,
    Conditional, Field, Element, Index, Call, MethodCall, Cast, SizeOf, OffsetOf, TypeInfo, Comptime, Tuple, Record,
    Block, If, Inlined,
]  # fmt: skip

# Statements


@dataclass(eq=False)
class Evaluate(Node):
    """An expression for its effect."""

    value: Expression


@dataclass(eq=False)
class Discard(Node):
    """``_ = value;``"""

    value: Expression


@dataclass(eq=False)
class Assign(Node):
    """``target = value`` or, with an operator, ``target operator= value``."""

    target: Target
    operator: str
    value: Expression


@dataclass(eq=False)
class Declare(Node):
    """``let $x: type = value;``, of which type and value may be left out."""

    variable: Variable
    type: Type | None
    value: Expression | None


@dataclass(eq=False)
class While(Node):
    """``while (condition) { }``"""

    condition: Expression
    body: Block


@dataclass(eq=False)
class Unroll(Node):
    """``unroll (count) { }``"""

    count: Expression
    body: Block


@dataclass(eq=False)
class Range(Node):
    """``start..end``; the end is not part of it."""

    start: Expression
    end: Expression


@dataclass(eq=False)
class For(Node):
    """``for ($x : @map) { }`` or ``for ($x : 0..10) { }``"""

    variable: Variable
    iterable: Map | Range
    body: Block


@dataclass(eq=False)
class Break(Node):
    """``break;``"""


@dataclass(eq=False)
class Continue(Node):
    """``continue;``"""


@dataclass(eq=False)
class Return(Node):
    """``return;`` or ``return value;``"""

    value: Expression | None


@dataclass(eq=False)
class Import(Node):
    """``import "path";``, at the top of a script or in a block."""

    path: str


Statement = Union[Evaluate, Discard, Assign, Declare, While, Unroll, For, Break, Continue, Return, Import]

# The script


@dataclass(eq=False)
class CText(Node):
    """A preprocessor line, or the definition of a struct, union, enum or typedef: for :mod:`pybpf.bt.c`."""

    text: str


@dataclass(eq=False)
class Setting(Node):
    """``name = value`` of the ``config`` block. A bare word is a string."""

    name: str
    value: int | bool | str


@dataclass(eq=False)
class ProbePoint(Node):
    """Where a probe goes.

    :ivar name: of ``name=kprobe:f``, or ``""``.
    :ivar text: as written, without the name.
    :ivar points: what it says; several where the kind has wildcards. None while ``$1`` in it has no value.
    """

    name: str
    text: str
    points: tuple[AttachPoint, ...] | None


@dataclass(eq=False)
class Probe(Node):
    """``point, point /predicate/ { body }``"""

    points: list[ProbePoint]
    predicate: Expression | None
    body: Block


@dataclass(eq=False)
class Macro(Node):
    """``macro name(parameters) { body }``; a parameter is ``$x``, ``@x`` or a bare name."""

    name: str
    parameters: list[Variable | Map | Name]
    body: Block


@dataclass(eq=False)
class Function(Node):
    """``fn name($a: type): type { body }``"""

    name: str
    parameters: list[tuple[Variable, Type]]
    returns: Type
    body: Block


@dataclass(eq=False)
class MapDeclaration(Node):
    """``let @map = kind(entries);``"""

    map: Map
    kind: str
    entries: int


@dataclass(eq=False)
class Script(Node):
    """A whole script.

    :ivar header: the ``#!`` line, or ``""``.
    """

    source: Source
    header: str
    c_text: list[CText] = field(default_factory=list)
    settings: list[Setting] = field(default_factory=list)
    imports: list[Import] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)
    macros: list[Macro] = field(default_factory=list)
    functions: list[Function] = field(default_factory=list)
    maps: list[MapDeclaration] = field(default_factory=list)


_UNCOMPARED = {"span", "source"}


def dump(node: Any) -> Any:
    """A node as nested tuples without spans: equal where two trees say the same."""
    if isinstance(node, Node):
        left_out = _UNCOMPARED | {"text"} if isinstance(node, ProbePoint) and node.points is not None else _UNCOMPARED
        inner = (getattr(node, name) for name in field_names(node) if name not in left_out)
        return (type(node).__name__, *map(dump, inner))
    if isinstance(node, (list, tuple)):
        return tuple(map(dump, node))
    return node
