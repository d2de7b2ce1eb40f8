"""Values in memory: ``Ref``, a typed place; ``Written``, what writes itself where it is wanted; ``Maybe``, or None."""

from __future__ import annotations

import ast
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from pybpf.compiler.ir import Instr
from pybpf.errors import PackError
from pybpf.lang.values import raw
from pybpf.lang.values.constants import Const
from pybpf.lang.values.flow import Choice, when
from pybpf.lang.values.ints import Int, Test, convert, truth
from pybpf.lang.values.val import Val
from pybpf.record import NamedTuple
from pybpf.types import bool_, layout, sizeof
from pybpf.types.layout import BoolLayout, IntLayout
from pybpf.types.pointer import PointerLayout

if TYPE_CHECKING:
    from pybpf.compiler.ir import Block, Operand
    from pybpf.lang.front.gen import Gen

__all__ = [
    "MAP", "OWN", "PER_CPU", "RECORD", "Entry", "Maybe", "Ref", "Written", "called", "checked", "converted",
    "declared", "differ", "fitting", "is_integer", "loaded_as", "memory_of", "name_of", "owned", "place", "read",
    "reads", "references",
]  # fmt: skip

#: Whose memory a place is in: the function's own; a map's, shared by all CPUs; a map's, of this CPU; an event's.
#: Text in all but the last is clean: zeros from its end on, so that equal text has equal bytes, as keys must have.
OWN, MAP, PER_CPU, RECORD = "own", "map", "per_cpu", "record"

#: bytes that a value of a per-CPU map may have on every kernel (PCPU_MIN_UNIT_SIZE): larger variables live in one
LARGEST = 32768


def name_of(kind: Any) -> str:
    """A type as messages write it."""
    return "bool" if kind is bool_ else str(getattr(kind, "__name__", kind))


def called(kind: Any) -> str:
    """A type with its article: ``"a char[16]"``, ``"an Open"``, ``"an s64[2]"``."""
    name = name_of(kind)
    return f"{'an' if name[0] in 'AEIOUaeio' or name[:2] in ('s8', 's1', 's3', 's6') else 'a'} {name}"


def fitting(gen: Gen, val: Val, kind: Any, at: ast.AST) -> Operand:
    """A register whose low bits are the value in an integer type. :raises CompileError: a constant that is outside."""
    found = layout(kind)
    if isinstance(found, BoolLayout):
        return convert(gen, val, bool_, at).operand
    if isinstance(found, PointerLayout) and isinstance(val, Const) and val.value is None:
        return 0
    val.check_kept(gen, kind, at)
    number = gen.const(val)
    if isinstance(number, int) and isinstance(found, IntLayout) and not found.minimum <= number <= found.maximum:
        gen.fail(gen.given(at), f"{number} does not fit {name_of(kind)}: its range is {found.minimum} to "
                 f"{found.maximum}")  # fmt: skip
    return val.scalar(gen, at)


def is_integer(kind: Any) -> bool:
    """Whether values of a type live in registers: integers, and pointers."""
    return isinstance(layout(kind), (IntLayout, BoolLayout))


def loaded_as(gen: Gen, operand: Operand, kind: Any) -> Val:
    """What a register holds of a type of which :func:`is_integer` is true."""
    if isinstance(layout(kind), PointerLayout):
        from pybpf.lang.values.pointers import pointer_at  # it builds on this file

        return pointer_at(gen, operand, kind)
    return Int(operand, kind)


def read(gen: Gen, ref: Ref) -> Val:
    """What is at a place: an integer is loaded, everything else stays where it is."""
    found = layout(ref.kind)
    if isinstance(found, (IntLayout, BoolLayout)):
        signed = isinstance(found, IntLayout) and found.signed
        return loaded_as(gen, raw.load(gen, ref.address, ref.offset, found.size, signed, ref.align), ref.kind)
    return ref


class Entry(NamedTuple):
    """Hash tables of whose entries a place may be a part, by their names; and whether its address is that of one."""

    tables: frozenset[str]
    whole: bool


class Ref(Val):
    """A place in memory; an operation depends on the subclass, which :meth:`of` chooses by the type.

    Assigning a ``Ref`` to a variable binds the name to the place, as Python does with objects.

    :ivar address: a pointer to memory that the program may access.
    :ivar offset: bytes from there.
    :ivar kind: the type, of :mod:`pybpf.types`.
    :ivar space: :data:`OWN`, :data:`MAP`, :data:`PER_CPU` or :data:`RECORD`.
    :ivar align: what the address is a multiple of.
    :ivar entry: the hash tables of whose entries it may be a part, which come and go.
    :ivar guard: a register that is 0 where the place is zeros that stand for what is outside of an array, which
        nothing writes to; None: it never is. The verifier refuses atomic operations there, too.
    """

    def __init__(
        self, address: Operand, offset: int, kind: Any, space: str, align: int = 8, entry: Entry | None = None,
        guard: Operand | None = None,
    ) -> None:  # fmt: skip
        self.address = address
        self.offset = offset
        self.kind = kind
        self.space = space
        self.align = align
        self.entry = entry
        self.guard = guard

    @staticmethod
    def of(
        address: Operand, offset: int, kind: Any, space: str, align: int = 8, entry: Entry | None = None,
        guard: Operand | None = None,
    ) -> Ref:  # fmt: skip
        """A place of the subclass that knows the type."""
        from pybpf.lang.values.views import view_class  # the subclasses build on this file

        return view_class(kind)(address, offset, kind, space, align, entry, guard)

    @property
    def what(self) -> str:
        return called(self.kind)

    @property
    def size(self) -> int:
        """Bytes."""
        return sizeof(self.kind)

    @property
    def is_text(self) -> bool:
        """Whether it is text, which has no parts that could be assigned: names of it are of copies."""
        return False

    def copied(self, gen: Gen, at: ast.AST) -> Ref:
        """What is here now, in memory of the function."""
        return declared(gen, self.kind, self, at)

    def part(self, offset: int, kind: Any) -> Ref:
        """A place inside."""
        return Ref.of(self.address, self.offset + offset, kind, self.space, self.align, self.entry, self.guard)

    def pointer(self, gen: Gen) -> Operand:
        """The address itself, for helpers."""
        return raw.pointer(gen, self.address, self.offset)

    def put(self, gen: Gen, value: Val, at: ast.AST) -> None:
        """Make this place hold a value."""
        with self._guarded(gen):
            self._put(gen, value, at)

    def _guarded(self, gen: Gen) -> AbstractContextManager[None]:
        """What is emitted inside runs only where there is such a place."""
        return nullcontext() if self.guard is None else when(gen.b, "ne", self.guard, 0, "guarded")

    def _put(self, gen: Gen, value: Val, at: ast.AST) -> None:
        if is_integer(self.kind):
            raw.store(gen, self.address, self.offset, self.size, fitting(gen, value, self.kind, at), self.align)
        elif self.align < 8:
            source = place(gen, value, self.kind, at)
            raw.copy(gen, self.address, self.offset, source.address, source.offset, self.size, self.align)
        else:
            value = converted(gen, value, self.kind, at)
            if isinstance(value, Written) and any(_may_meet(gen, self, each) for each in value.reads()):
                aside = memory_of(gen, self.kind, at)
                value.store(gen, aside.address, 0, self.kind, at)
                value = aside  # all of it is read before any of it is written
            if self.space != RECORD and not value.clean:
                raw.clear(gen, self.address, self.offset, self.size)
            value.store(gen, self.address, self.offset, self.kind, at)

    def clear(self, gen: Gen) -> None:
        """Make it hold zeros."""
        raw.clear(gen, self.address, self.offset, self.size)

    def add(self, gen: Gen, op: str, value: Val, at: ast.AST) -> None:
        """``place op= value``: ``+=`` and ``-=`` are atomic where others write as well, if it has 4 or 8 bytes."""
        if isinstance(layout(self.kind), PointerLayout):
            read(gen, self).binary(gen, op, value, at)  # which refuses
        shared = self.space == MAP or (self.space == PER_CPU and not gen.probe.alone(gen.target))
        aligned = self.size in (4, 8) and self.align >= self.size and self.offset % self.size == 0
        if shared and aligned and op in ("+", "-"):
            amount = fitting_amount(gen, value, self.kind, op, at)
            with self._guarded(gen):
                gen.b.emit("atomic", self.address, amount, kind="add", offset=self.offset, size=self.size)
        else:
            self.put(gen, read(gen, self).binary(gen, op, value, at), at)

    def ssa(self) -> tuple[Hashable, tuple[Operand, ...]]:
        key = type(self), self.kind, self.space, self.offset, self.align, self.entry, self.guard is None
        return key, (self.address,) if self.guard is None else (self.address, self.guard)

    def with_ssa(self, operands: Sequence[Operand]) -> Val:
        return type(self)(operands[0], self.offset, self.kind, self.space, self.align, self.entry, *operands[1:])

    def compare(self, gen: Gen, op: str, other: Val, at: ast.AST) -> Val:
        if isinstance(other, Const) and other.value is None:
            return Const(op in ("is not", "!="))  # a place is never None
        return super().compare(gen, op, other, at)

    def store(self, gen: Gen, address: Operand, offset: int, kind: Any, at: ast.AST) -> None:
        if kind is not self.kind:
            self.refuse(gen, gen.given(at), f"cannot be kept as {name_of(kind)}: declare {name_of(self.kind)} for it")
        raw.copy(gen, address, offset, self.address, self.offset, self.size, self.align)


def fitting_amount(gen: Gen, value: Val, kind: Any, op: str, at: ast.AST) -> Operand:
    """What ``op= value`` adds to an integer of a type."""
    number = gen.const(value)
    if isinstance(number, int) and number.bit_length() > 64:
        gen.fail(at, f"{number} does not fit {name_of(kind)}")
    value.check_kept(gen, kind, at)
    amount = value.scalar(gen, at)
    if op == "-":
        return -amount if isinstance(amount, int) else gen.b.emit("neg", amount)
    return amount


class Written(Val):
    """A value that is nowhere yet: it is written where it is wanted, by :meth:`store`, which subclasses define.

    Every use of it other than storing it puts it into memory of the function first.

    :ivar kind: its type, of :mod:`pybpf.types`.
    """

    kind: Any
    #: what asked for it, for errors
    at: ast.AST = ast.Pass()
    #: see :attr:`clean`
    is_clean = True

    @property
    def what(self) -> str:
        return called(self.kind)

    @property
    def instead(self) -> str:
        return "it is compared, printed, and kept in a variable or field of its type"

    @property
    def clean(self) -> bool:
        return self.is_clean

    def store(self, gen: Gen, address: Operand, offset: int, kind: Any, at: ast.AST) -> None:
        raise NotImplementedError

    def reads(self) -> Iterator[Ref]:
        """The places in memory of probes that :meth:`store` reads."""
        yield from ()

    def kept(self, gen: Gen) -> Val:
        return place(gen, self, self.kind, self.at)

    def attr(self, gen: Gen, name: str, at: ast.AST) -> Val:
        return self.kept(gen).attr(gen, name, at)

    def item(self, gen: Gen, index: Val, at: ast.AST) -> Val:
        return self.kept(gen).item(gen, index, at)

    def contains(self, gen: Gen, item: Val, at: ast.AST) -> Val:
        return self.kept(gen).contains(gen, item, at)

    def elements(self, gen: Gen, at: ast.AST) -> Sequence[Val]:
        return self.kept(gen).elements(gen, at)

    def compare(self, gen: Gen, op: str, other: Val, at: ast.AST) -> Val:
        return self.kept(gen).compare(gen, op, other, at)

    def branch(self, gen: Gen, yes: Block, no: Block, at: ast.AST) -> None:
        self.kept(gen).branch(gen, yes, no, at)

    def length(self, gen: Gen, at: ast.AST) -> Val:
        return self.kept(gen).length(gen, at)


def reads(values: Iterable[Val]) -> Iterator[Ref]:
    """The places in memory of probes that storing some values reads."""
    for each in values:
        if isinstance(each, Written):
            yield from each.reads()
        elif isinstance(each, Ref):
            yield each


def references(val: Val) -> Iterator[Ref]:
    """The places that a name stands for which is bound to a value; of text it has a copy."""
    if isinstance(val, Maybe):
        yield from references(val.value)
    elif isinstance(val, Ref) and not val.is_text:
        yield val


def place(gen: Gen, value: Val, kind: Any, at: ast.AST, name: str = "") -> Ref:
    """A value of a type that is no integer, in memory that helpers may read: where it is, or copied to there."""
    value = converted(gen, value, kind, at)
    if isinstance(value, Ref) and value.kind is kind and value.space != RECORD and value.align == 8:
        return value
    made = owned(gen, kind, at, name)
    made.put(gen, value, at)
    return made


def memory_of(gen: Gen, kind: Any, at: ast.AST, name: str = "") -> Ref:
    """Memory of the function, not written yet."""
    return Ref.of(gen.b.slot(_room(gen, kind, at), name), 0, kind, OWN)


def owned(gen: Gen, kind: Any, at: ast.AST, name: str = "") -> Ref:
    """Memory of the function for a value that is written there now: in a loop it is the same in each turn."""
    made = memory_of(gen, kind, at, name)
    gen.anew(made.address, kind, at)
    return made


def _may_meet(gen: Gen, one: Ref, other: Ref) -> bool:
    """Whether two places may be in the same memory."""
    first, second = (_memory(gen, each.address) for each in (one, other))
    return first is None or second is None or first == second


def _memory(gen: Gen, pointer: Operand) -> Hashable:
    """A name for the memory that a pointer points into; None: it may be any."""
    while isinstance(pointer := gen.b.resolve(pointer), Instr) and pointer.op in ("add", "element"):
        pointer = pointer.args[0]
    if not isinstance(pointer, Instr) or pointer.op not in ("slot", "lookup", "mapvalue", "call"):
        return None
    found: Hashable = pointer.attrs.get("map", pointer)
    return found


def _room(gen: Gen, kind: Any, at: ast.AST) -> int:
    """The size of a type that memory of the function can hold."""
    if sizeof(kind) > LARGEST:
        gen.fail(at, f"a {name_of(kind)} has {sizeof(kind)} bytes, and a variable of a probe at most {LARGEST}: keep "
                 "large data in a map")  # fmt: skip
    return sizeof(kind)


def declared(gen: Gen, kind: Any, value: Val | None, at: ast.AST) -> Ref:
    """``name: kind = value``: memory of the function with a copy of the value, or zeros."""
    made = owned(gen, kind, at)
    if value is None:
        made.clear(gen)
    else:
        made.put(gen, value, at)
    return made


def checked(gen: Gen, value: Val, kind: Any, at: ast.AST) -> Val:
    """The value as one that stores itself as a type. :raises CompileError: a constant that is none of the type."""
    if isinstance(value, Const):
        try:
            layout(kind).pack(value.value)
        except (PackError, TypeError) as error:
            gen.fail(at, str(error))
    return converted(gen, value, kind, at)


def converted(gen: Gen, value: Val, kind: Any, at: ast.AST) -> Val:
    """The value as one that stores itself as a type: the items of a tuple become the fields of a struct."""
    from pybpf.lang.values.views import from_items

    if isinstance(value, Maybe):
        value = value.use(gen, at)
    if isinstance(value, (Const, Written, Ref)) or type(value).elements is Val.elements:
        return value
    return from_items(gen, value.elements(gen, at), kind, at) or value


def differ(gen: Gen, one: Ref, other: Ref, size: int) -> Operand:
    """Zero if the first ``size`` bytes at two places are the same."""
    align = min(one.align, other.align)
    while (one.offset - other.offset) % align:
        align //= 2
    # the offsets may be cut differently: only widths that both have are used
    start = one.offset % align
    pairs = (
        [
            gen.b.emit("load", each.address, offset=each.offset + at - start, size=width, signed=False)
            for each in (one, other)
        ]
        for at, width in raw.pieces(start, size, align)
    )
    return raw.differs(gen, ((left, right) for left, right in pairs))


class Maybe(Val):
    """A value that may be missing, ``None`` then. Using it is refused but where the probe has asked, and it was there:
    on such a way, reading the variable that has it gives the value itself; on the other one None.

    :ivar there: a register that is 0 when it is missing.
    :ivar value: the value, to be used only where it is there.
    :ivar source: what it comes from, for messages: ``begun.get()``.
    :ivar known: whether it is there on all ways that lead here, or on none; None: it may be there.
    """

    def __init__(self, there: Operand, value: Val, source: str, known: bool | None = None) -> None:
        self.there = there
        self.value = value
        self.source = source
        self.known = known

    @property
    def what(self) -> str:
        return f"{self.value.what} or None"

    @property
    def is_true(self) -> bool:
        """Whether what is there is true in Python's sense: a struct, a map."""
        return type(self.value).branch is Val.branch

    def use(self, gen: Gen, at: ast.AST) -> Val:
        """The value, after the probe has asked whether there is one."""
        if not self.known:
            gen.fail(at, f"{self.source} may give None: write 'if x is not None:' (or 'if x is None: return') before "
                     "what uses it")  # fmt: skip
        return self.value

    def assumed(self, known: bool | None) -> Val:
        return Maybe(self.there, self.value, self.source, known)

    def seen(self) -> Val:
        if self.known is None:
            return self
        return self.value if self.known else Const(None)

    def bound(self, gen: Gen, at: ast.AST) -> Val:
        if not isinstance(self.value, Ref) or not self.value.is_text:
            return self
        copy = memory_of(gen, self.value.kind, at)
        with when(gen.b, "ne", self.there, 0, "there"):
            copy.put(gen, self.value, at)
        return Maybe(self.there, copy, self.source)

    def same(self, other: Val) -> bool:
        return isinstance(other, Maybe) and self.there is other.there and self.value is other.value

    def ssa(self) -> tuple[Hashable, tuple[Operand, ...]] | None:
        inner = self.value.ssa()
        if inner is None:
            return None
        key, operands = inner
        kind = self.value.kind if isinstance(self.value, Int) else None
        return ("maybe", kind, key), (self.there, *operands)

    def with_ssa(self, operands: Sequence[Operand]) -> Val:
        return Maybe(operands[0], self.value.with_ssa(operands[1:]), self.source, self.known)

    def compare(self, gen: Gen, op: str, other: Val, at: ast.AST) -> Val:
        if isinstance(other, Const) and other.value is None and op in ("is", "is not", "==", "!="):
            return Test("eq" if op in ("is", "==") else "ne", self.there, 0)
        if op not in ("==", "!=") or self.known or isinstance(other, Maybe):
            return self.use(gen, at).compare(gen, op, other, at)
        result = Choice(gen.b, int(op == "!="))  # None is equal to nothing else
        with when(gen.b, "ne", self.there, 0, "there"):
            result.set(truth(gen, self.value.compare(gen, op, other, at), at).operand)
        return Int(result.value, bool_)

    def branch(self, gen: Gen, yes: Block, no: Block, at: ast.AST) -> None:
        if self.is_true:
            gen.b.branch("ne", self.there, 0, yes, no)
            return
        there = gen.b.new_block("there")
        gen.b.branch("ne", self.there, 0, there, no)
        gen.b.seal(there)
        gen.b.start(there)
        self.value.branch(gen, yes, no, at)

    def attr(self, gen: Gen, name: str, at: ast.AST) -> Val:
        return self.use(gen, at).attr(gen, name, at)

    def item(self, gen: Gen, index: Val, at: ast.AST) -> Val:
        return self.use(gen, at).item(gen, index, at)

    def contains(self, gen: Gen, item: Val, at: ast.AST) -> Val:
        return self.use(gen, at).contains(gen, item, at)

    def elements(self, gen: Gen, at: ast.AST) -> Sequence[Val]:
        return self.use(gen, at).elements(gen, at)

    def call(self, gen: Gen, args: Sequence[Val], named: Mapping[str, Val], at: ast.AST) -> Val:
        return self.use(gen, at).call(gen, args, named, at)

    def set_attr(self, gen: Gen, name: str, value: Val, at: ast.AST) -> None:
        self.use(gen, at).set_attr(gen, name, value, at)

    def set_item(self, gen: Gen, index: Val, value: Val, at: ast.AST) -> None:
        self.use(gen, at).set_item(gen, index, value, at)

    def add_to_attr(self, gen: Gen, name: str, op: str, value: Val, at: ast.AST) -> None:
        self.use(gen, at).add_to_attr(gen, name, op, value, at)

    def add_to_item(self, gen: Gen, index: Val, op: str, value: Val, at: ast.AST) -> None:
        self.use(gen, at).add_to_item(gen, index, op, value, at)

    def del_item(self, gen: Gen, index: Val, at: ast.AST) -> None:
        self.use(gen, at).del_item(gen, index, at)

    def length(self, gen: Gen, at: ast.AST) -> Val:
        return self.use(gen, at).length(gen, at)

    def unary(self, gen: Gen, op: str, at: ast.AST) -> Val:
        return self.use(gen, at).unary(gen, op, at)

    def binary(self, gen: Gen, op: str, other: Val, at: ast.AST) -> Val:
        return self.use(gen, at).binary(gen, op, other, at)

    def scalar(self, gen: Gen, at: ast.AST) -> Operand:
        return self.use(gen, gen.given(at)).scalar(gen, at)

    def number(self, gen: Gen, at: ast.AST) -> Int:
        used = self.use(gen, gen.given(at))
        return used if isinstance(used, Int) else used.number(gen, at)

    def store(self, gen: Gen, address: Operand, offset: int, kind: Any, at: ast.AST) -> None:
        self.use(gen, gen.given(at)).store(gen, address, offset, kind, at)
