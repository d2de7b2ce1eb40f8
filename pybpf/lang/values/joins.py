"""One value for several: what a name or an expression is where ways join that give it different ones.

A :class:`Form` says what the values have in common, and which registers differ. :func:`form_of` finds it; on each way
the value then becomes of that form by :meth:`Form.enter`.
"""

from __future__ import annotations

import ast
from collections.abc import Hashable, Sequence
from functools import reduce
from math import gcd
from typing import TYPE_CHECKING, Any

from pybpf.compiler.ir import Instr
from pybpf.compiler.ops import INT, PTR
from pybpf.errors import PackError
from pybpf.lang.values.constants import Const
from pybpf.lang.values.flow import Choice, when
from pybpf.lang.values.ints import Int, join
from pybpf.lang.values.memory import MAP, OWN, PER_CPU, RECORD, Entry, Maybe, Ref, place
from pybpf.lang.values.pointers import Place, Pointer, Row, Rows
from pybpf.lang.values.reading import Where
from pybpf.lang.values.tuples import Tuple
from pybpf.lang.values.val import Val
from pybpf.record import dataclass, field
from pybpf.types import Struct, array_of, char, layout, u8

if TYPE_CHECKING:
    from pybpf.compiler.ir import Operand
    from pybpf.lang.front.gen import Gen

__all__ = ["Apart", "Form", "form_of", "holds", "same"]

#: of places that may be in one or another: what is right for both
_SPACES = (MAP, PER_CPU, OWN)
_WORD = 8


class Apart(Exception):
    """Values that no form holds; its text says what they are."""


class Form:
    """How one of several values is kept, whichever it is.

    :ivar types: of the registers that it has.
    :ivar plain: whether values that have it give their registers without an instruction.
    """

    types: tuple[str, ...] = (INT,)
    plain = False
    #: whether it may be a pointer or null
    may_be_null = False

    def room(self, gen: Gen) -> Any:
        """Memory that the values of all ways share, made once for a join."""

    def enter(self, gen: Gen, val: Val, room: Any, at: ast.AST) -> tuple[Operand, ...]:
        """The registers of a value that becomes of this form."""
        raise NotImplementedError

    def nothing(self, room: Any) -> tuple[Operand, ...]:
        """What the registers are where there is no value."""
        return (0,) * len(self.types)

    def value(self, operands: Sequence[Operand]) -> Val:
        """The value that is in registers."""
        raise NotImplementedError

    def kept(self) -> tuple[str, ...] | None:
        """The types of the registers that a variable has with such a value; None: it is bound while compiling."""
        state = self.value([Instr("phi", [], type, {}, None) for type in self.types]).ssa()
        return None if state is None else tuple(INT if isinstance(each, int) else each.type for each in state[1])


@dataclass(frozen=True)
class _Number(Form):
    """Integers: in the narrowest type that holds all of them."""

    kind: Any
    plain = True

    def enter(self, gen: Gen, val: Val, room: Any, at: ast.AST) -> tuple[Operand, ...]:
        return (val.scalar(gen, at),)

    def value(self, operands: Sequence[Operand]) -> Val:
        return Int(operands[0], self.kind)


@dataclass(frozen=True)
class _Alike(Form):
    """Values that differ in nothing but their registers."""

    key: Hashable
    registers: tuple[str, ...]
    first: Val = field(compare=False)
    plain = True

    @property
    def types(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.registers

    def enter(self, gen: Gen, val: Val, room: Any, at: ast.AST) -> tuple[Operand, ...]:
        state = val.ssa()
        assert state is not None
        return state[1]

    def value(self, operands: Sequence[Operand]) -> Val:
        return self.first.with_ssa(operands)


@dataclass(frozen=True)
class _Fixed(Form):
    """One value that all ways have."""

    val: Val = field(compare=False)
    types = ()
    plain = True

    def enter(self, gen: Gen, val: Val, room: Any, at: ast.AST) -> tuple[Operand, ...]:
        return ()

    def value(self, operands: Sequence[Operand]) -> Val:
        return self.val


@dataclass(frozen=True)
class _Place(Form):
    """Places that hold a type: an address, and whether it may be written to where one may be outside of an array."""

    kind: Any
    space: str
    align: int
    entry: Entry | None
    guarded: bool

    @property
    def types(self) -> tuple[str, ...]:  # type: ignore[override]
        return (PTR, INT) if self.guarded else (PTR,)

    def enter(self, gen: Gen, val: Val, room: Any, at: ast.AST) -> tuple[Operand, ...]:
        ref = val if isinstance(val, Ref) else place(gen, val, self.kind, at)
        return (ref.pointer(gen), 1 if ref.guard is None else ref.guard) if self.guarded else (ref.pointer(gen),)

    def value(self, operands: Sequence[Operand]) -> Val:
        return Ref.of(operands[0], 0, self.kind, self.space, self.align, self.entry, *operands[1:])


@dataclass(frozen=True)
class _Text(Form):
    """Text of different lengths, or constant: copied to one place."""

    kind: Any
    types = (PTR,)

    def room(self, gen: Gen) -> Any:
        return gen.b.slot(self.kind.length, "text")

    def enter(self, gen: Gen, val: Val, room: Any, at: ast.AST) -> tuple[Operand, ...]:
        if not (isinstance(val, Ref) and val.address is room):
            Ref.of(room, 0, self.kind, OWN).put(gen, val, at)
        return (room,)

    def nothing(self, room: Any) -> tuple[Operand, ...]:
        return (room,)

    def value(self, operands: Sequence[Operand]) -> Val:
        return Ref.of(operands[0], 0, self.kind, OWN)


@dataclass(frozen=True)
class _Foreign(Form):
    """Addresses in the kernel or a process, read by helpers: what one of them knows of loads the others may not."""

    make: Any
    shape: Any
    where: str

    def enter(self, gen: Gen, val: Val, room: Any, at: ast.AST) -> tuple[Operand, ...]:
        if isinstance(val, Const):  # None: a null pointer
            return (0,)
        val = val.value if isinstance(val, Maybe) else val  # null where it is None
        assert isinstance(val, (Pointer, Place, Row, Rows))
        return (val.where.pointer(gen),)

    def value(self, operands: Sequence[Operand]) -> Val:
        made: Val = self.make(Where(operands[0], 0, self.where), self.shape)
        return made


@dataclass(frozen=True)
class _Several(Form):
    """Tuples of one length: each element has its form."""

    forms: tuple[Form, ...]

    @property
    def types(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(each for form in self.forms for each in form.types)

    def room(self, gen: Gen) -> Any:
        return [form.room(gen) for form in self.forms]

    def enter(self, gen: Gen, val: Val, room: Any, at: ast.AST) -> tuple[Operand, ...]:
        parts = zip(self.forms, val.elements(gen, at), room)
        return tuple(each for form, part, inner in parts for each in form.enter(gen, part, inner, at))

    def nothing(self, room: Any) -> tuple[Operand, ...]:
        return tuple(each for form, inner in zip(self.forms, room) for each in form.nothing(inner))

    def value(self, operands: Sequence[Operand]) -> Val:
        left, values = list(operands), []
        for form in self.forms:
            values.append(form.value(left[: len(form.types)]))
            del left[: len(form.types)]
        return Tuple(values)


@dataclass(frozen=True)
class _Optional(Form):
    """A value or None: a place by its address, 0 where there is none; others have a register that tells."""

    form: Form
    source: str = field(compare=False)

    @property
    def _is_place(self) -> bool:
        return isinstance(self.form, _Place)

    @property
    def may_be_null(self) -> bool:  # type: ignore[override]
        return self._is_place

    @property
    def types(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.form.types if self._is_place else (INT, *self.form.types)

    def room(self, gen: Gen) -> Any:
        return self.form.room(gen)

    def enter(self, gen: Gen, val: Val, room: Any, at: ast.AST) -> tuple[Operand, ...]:
        if _is_none(val):
            return self.nothing(room)
        if not isinstance(val, Maybe):
            there: tuple[Operand, ...] = () if self._is_place else (1,)
            return (*there, *self.form.enter(gen, val, room, at))
        if not self._is_place:
            flag = val.there
            if not isinstance(flag, int) and flag.type == PTR:
                flag = gen.b.emit("cmp", flag, 0, cond="ne")
            return (flag, *self._enter_if(gen, val, room, at))
        inner = val.value
        if isinstance(inner, Ref) and inner.address is val.there and not inner.offset and len(self.types) == 1:
            return (inner.address,)
        return self._enter_if(gen, val, room, at)

    def _enter_if(self, gen: Gen, val: Maybe, room: Any, at: ast.AST) -> tuple[Operand, ...]:
        """The registers of a value that may be there."""
        if self.form.plain:
            return self.form.enter(gen, val.value, room, at)
        nothing = self.form.nothing(room)
        chosen = [Choice(gen.b, each, type) for each, type in zip(nothing, self.form.types)]
        with when(gen.b, "ne", val.there, 0, "there"):
            for choice, operand in zip(chosen, self.form.enter(gen, val.value, room, at)):
                choice.set(operand)
        return tuple(each.value for each in chosen)

    def nothing(self, room: Any) -> tuple[Operand, ...]:
        return self.form.nothing(room) if self._is_place else (0, *self.form.nothing(room))

    def value(self, operands: Sequence[Operand]) -> Val:
        inner = self.form.value(operands if self._is_place else operands[1:])
        return Maybe(operands[0], inner, self.source)


def _is_none(val: Val) -> bool:
    return isinstance(val, Const) and val.value is None


def same(one: Val, other: Val) -> bool:
    """Whether two values that are bound while compiling are one."""
    if isinstance(one, Const) and isinstance(other, Const):
        try:
            return one.value is other.value or (type(one.value) is type(other.value) and bool(one.value == other.value))
        except Exception:  # an object of the user's that does not compare
            return False
    return one.same(other)


def form_of(vals: Sequence[Val], source: str = "this") -> Form:
    """The form that holds each of some values.

    :param source: what a value that may be None comes from, for messages.
    :raises Apart: there is none.
    """
    vals = [each.seen() for each in vals]
    if all(each is vals[0] or same(each, vals[0]) for each in vals):
        return _Fixed(vals[0])
    there = [each.value if isinstance(each, Maybe) else each for each in vals if not _is_none(each)]
    if len(there) == len(vals) and not any(isinstance(each, Maybe) for each in vals):
        return _there(there)
    pointers = _foreign(there) if all(isinstance(each, Pointer) for each in there) else None
    if pointers is not None:  # None is a null pointer
        return pointers
    refs = all(isinstance(each, Ref) and not each.is_text for each in there)
    form = (_places(there) if refs else None) or _there(there)  # of a place the address tells
    source = next((each.source for each in vals if isinstance(each, Maybe)), source)
    return _Optional(form, source)


def holds(form: Form, val: Val) -> Form:
    """The form itself if it holds one more value, or one that does.

    :raises Apart: there is none.
    """
    wider = form_of([form.value((0,) * len(form.types)), val])
    return form if _covers(form, wider) else wider


def _covers(form: Form, other: Form) -> bool:
    """Whether a form takes what another one was found for, one of whose values is of the form."""
    if isinstance(form, _Optional):
        return _covers(form.form, other.form if isinstance(other, _Optional) else other)
    if isinstance(form, _Several) and isinstance(other, _Several):
        return all(map(_covers, form.forms, other.forms))
    return form == other or isinstance(other, (_Alike, _Fixed))


def _there(vals: Sequence[Val]) -> Form:
    """The form of values that are not None."""
    if all(map(_is_number, vals)):
        return _Number(_kind_of_numbers(vals))
    for find in (_alike, _text, _places, _foreign, _tuples, _constant):
        form = find(vals)
        if form is not None:
            return form
    raise Apart(_said(vals))


def _said(vals: Sequence[Val]) -> str:
    said = list(dict.fromkeys(each.what for each in vals))
    return " or ".join(said[:2]) if len(said) > 1 else f"{said[0]} or another one"


def _is_number(val: Val) -> bool:
    return isinstance(val, Int) or (isinstance(val, Const) and isinstance(val.value, int)
                                    and -(1 << 63) <= val.value < 1 << 64)  # fmt: skip


def _kind_of_numbers(vals: Sequence[Val]) -> Any:
    from pybpf.lang.values.ints import Literal

    kinds = [each.narrowest if isinstance(each, Int) else Literal(each.value).narrowest for each in vals]  # type: ignore[attr-defined]
    found = reduce(lambda one, other: None if one is None else join(one, other), kinds)
    if found is None:
        raise Apart("a u64 or a signed value")
    return found


def _alike(vals: Sequence[Val]) -> Form | None:
    states = [each.ssa() for each in vals]
    first = states[0]
    if first is None or any(each is None or each[0] != first[0] for each in states):
        return None
    columns = zip(*(each[1] for each in states if each is not None))
    types = tuple(PTR if any(not isinstance(each, int) and each.type == PTR for each in column) else INT
                  for column in columns)  # fmt: skip
    return _Alike(first[0], types, vals[0])


def _text(vals: Sequence[Val]) -> Form | None:
    """Text that is constant, or of different lengths."""
    if len({each.kind if isinstance(each, Ref) else each for each in vals}) == 1:
        return None  # as places
    sizes = []
    for each in vals:
        if isinstance(each, Ref) and each.is_text:
            sizes.append(each.size)
        elif isinstance(each, Const) and isinstance(each.value, str):
            sizes.append(-(-max(1, len(each.value.encode("utf-8", "surrogateescape"))) // _WORD) * _WORD)
        else:
            return None
    return _Text(array_of(char, max(sizes)))


def _places(vals: Sequence[Val]) -> Form | None:
    """Places in memory of one type, and constants that can be such."""
    refs = [each for each in vals if isinstance(each, Ref)]
    if not all(isinstance(each, (Ref, Const)) for each in vals):
        return None
    kinds = {each.kind for each in refs} or {_kind_of_constant(each) for each in vals}
    kind = kinds.pop()
    if kinds or kind is None or not all(_packs(kind, each) for each in vals if isinstance(each, Const)):
        return None
    spaces = {each.space for each in refs} | ({OWN} if len(refs) < len(vals) else set())
    if RECORD in spaces and len(spaces) > 1:
        raise Apart("a place in an event or in other memory")
    align = reduce(gcd, (gcd(each.align, each.offset) for each in refs), _WORD)
    tables = frozenset(name for each in refs if each.entry for name in each.entry.tables)
    whole = all(not each.offset and each.entry.whole for each in refs if each.entry)
    space = next((each for each in _SPACES if each in spaces), RECORD)
    guarded = any(each.guard is not None for each in refs)
    return _Place(kind, space, align, Entry(tables, whole) if tables else None, guarded)


def _kind_of_constant(val: Val) -> Any:
    value = val.value if isinstance(val, Const) else None
    if isinstance(value, Struct):
        return type(value)
    return array_of(u8, len(value)) if isinstance(value, bytes) and value else None


def _packs(kind: Any, val: Const) -> bool:
    try:
        layout(kind).pack(val.value)
    except (PackError, TypeError):
        return False
    return True


def _constant(vals: Sequence[Val]) -> Form | None:
    return _Fixed(vals[0]) if all(isinstance(each, Const) and same(each, vals[0]) for each in vals) else None


def _foreign(vals: Sequence[Val]) -> Form | None:
    first = vals[0]
    if not isinstance(first, (Pointer, Place, Row, Rows)):
        return None
    for each in vals:
        if type(each) is not type(first) or each.shape != first.shape or each.where.space != first.where.space:
            return None
    return _Foreign(type(first), first.shape, first.where.space)


def _tuples(vals: Sequence[Val]) -> Form | None:
    rows: list[Sequence[Val]] = []
    for each in vals:
        if isinstance(each, Tuple):
            rows.append(each.values)
        elif isinstance(each, Const) and isinstance(each.value, tuple):
            rows.append([Const(item) for item in each.value])
        else:
            return None
    if len({len(row) for row in rows}) > 1:
        return None
    return _Several(tuple(form_of(column) for column in zip(*rows)))
