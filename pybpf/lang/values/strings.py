"""``char[N]`` and ``u8[N]`` in a probe: text and bytes in memory, compared with constants by words."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pybpf.lang.values import raw
from pybpf.lang.values.arrays import Elements
from pybpf.lang.values.constants import Const
from pybpf.lang.values.flow import Choice, when
from pybpf.lang.values.ints import Int, Test, any_of
from pybpf.lang.values.memory import OWN, RECORD, Ref, differ, name_of, place, read
from pybpf.lang.values.reading import KERNEL, probe_read
from pybpf.lang.values.val import Val
from pybpf.types import array_of, bool_, char, sizeof, u8, u32

if TYPE_CHECKING:
    from pybpf.compiler.ir import Block, Operand
    from pybpf.lang.front.gen import Gen

__all__ = ["Chars"]

#: bytes of text that are compared without a loop, and those that a turn of one compares
_COMPARED, _PER_TURN = 512, 64
#: positions that are looked at one after the other rather than in a loop
_MOST_UNROLLED = 32
#: Positions that a turn of a loop looks at; and about how many instructions the verifier follows for each, beside those
#: for the bytes.
_AT_ONCE, _PER_POSITION = 16, 30


class Chars(Ref):
    """Text of at most N bytes that ends at the first NUL (``char[N]``), or exactly N bytes (``u8[N]``)."""

    instead = "it is compared, sliced, printed and kept in an array of its type; one byte is x[0]"

    @property
    def is_text(self) -> bool:
        return self.kind.element is char

    def copied(self, gen: Gen, at: ast.AST) -> Ref:
        return self.cleaned(gen) if self.space == RECORD and self.is_text else super().copied(gen, at)

    def bound(self, gen: Gen, at: ast.AST) -> Val:
        return self.copied(gen, at) if self.is_text else self

    def _bytes(self, gen: Gen, value: Any, at: ast.AST) -> bytes:
        """A constant as the bytes that are compared."""
        if isinstance(value, str):
            if "\0" in value:
                gen.fail(at, "text in the kernel ends at its first NUL: a constant that has one never matches")
            return value.encode("utf-8", "surrogateescape")
        if isinstance(value, (bytes, bytearray)):
            return bytes(value)
        gen.fail(at, f"{self.what} can be compared with text of Python, not with {value!r}")

    def equals_at(self, gen: Gen, offset: int, data: bytes) -> Iterable[tuple[str, Operand, Operand]]:
        """Comparisons that all hold where ``data`` is at ``offset``."""
        start = self.offset + offset
        for at, width in raw.pieces(start, len(data), self.align):
            word = gen.b.emit("load", self.address, offset=at, size=width, signed=False)
            yield "eq", word, int.from_bytes(data[at - start : at - start + width], "little")

    def _equal(self, gen: Gen, data: bytes) -> Val:
        size = self.size
        if len(data) > size or (not self.is_text and len(data) != size):
            return Const(False)
        if len(data) < size:
            data += b"\0"
            if self.space != RECORD:  # zeros follow: whole words can be compared
                data = data.ljust(min(size, len(data) + -(self.offset + len(data)) % self.align), b"\0")
        return _all(self.equals_at(gen, 0, data))

    def compare(self, gen: Gen, op: str, other: Val, at: ast.AST) -> Val:
        if op not in ("==", "!=") or (isinstance(other, Const) and other.value is None):
            return super().compare(gen, op, other, at)
        if isinstance(other, Const):
            same = self._equal(gen, self._bytes(gen, other.value, at))
        else:
            same = self._equal_text(gen, other, at)
        return same if op == "==" else _negated(same)

    def _equal_text(self, gen: Gen, other: Val, at: ast.AST) -> Val:
        right = place(gen, other, getattr(other, "kind", None), at) if hasattr(other, "kind") else other
        if not isinstance(right, Chars) or right.is_text != self.is_text:
            return super().compare(gen, "==", other, at)
        left = place(gen, self, self.kind, at)
        assert isinstance(left, Chars)
        if left.size > right.size:
            left, right = right, left
        size = left.size
        if right.size > size:
            if not self.is_text:
                return Const(False)
            # the longer one has its end where the shorter one ends at the latest
            size += 1
            left = left.widened(gen)
        return _same(gen, left, right, size, at)

    def widened(self, gen: Gen) -> Chars:
        """A copy with a NUL behind it."""
        slot = gen.b.slot(self.size + 1)
        raw.clear(gen, slot, self.size & ~7, self.size + 1 - (self.size & ~7))
        raw.copy(gen, slot, 0, self.address, self.offset, self.size, self.align)
        return Chars(slot, 0, array_of(char, self.size + 1), self.space)

    def starts(self, gen: Gen, data: bytes, at: ast.AST) -> Val:
        """Whether the text starts with a constant."""
        return _all(self.equals_at(gen, 0, data)) if len(data) <= self.size else Const(False)

    def startswith(self, gen: Gen, choices: Sequence[bytes], at: ast.AST) -> Val:
        """Whether it starts with one of some constants."""
        return _one_of(gen, [self.starts(gen, each, at) for each in choices], at)

    def endswith(self, gen: Gen, choices: Sequence[bytes], at: ast.AST) -> Val:
        """Whether the text ends with one of some constants."""
        possible = [each for each in choices if 0 < len(each) <= self.size]
        if len(possible) < len(choices) and b"" in choices:
            return Const(True)
        if not possible:
            return Const(False)
        if not self.is_text:
            ends = [_all(self.equals_at(gen, self.size - len(each), each)) for each in possible]
            return _one_of(gen, ends, at)
        length = self.length(gen, at).scalar(gen, at)
        found, done = Choice(gen.b, 0), gen.b.new_block("ended")
        for each in possible:
            self._leave_if_ends(gen, length, each, found, done)
        gen.b.jump(done)
        gen.b.seal(done)
        gen.b.start(done)
        return Int(found.value, bool_)

    def has_part(self, gen: Gen, other: Val, at_end: bool, at: ast.AST) -> Val:
        """Whether it starts, or ends, with text of run time: as many bytes of it are copied, and compared."""
        if not self.is_text:
            gen.fail(at, f"{self.what} is compared with constant bytes only; text, char[N], with text of run time too")
        b, found = gen.b, Choice(gen.b, 0)
        part = place(gen, other, other.kind, at)  # type: ignore[attr-defined]
        assert isinstance(part, Chars)
        length = part.length(gen, at).scalar(gen, at)
        whole = self.length(gen, at).scalar(gen, at)
        cut = Chars(b.slot(part.size + 1, "part"), 0, array_of(char, part.size + 1), OWN)
        raw.clear(gen, cut.address, 0, cut.size)
        with when(b, "ule", length, whole, "longer"), when(b, "ule", length, part.size, "bounded"):
            start = self.pointer(gen)
            if at_end:
                start = b.emit("add", start, b.emit("sub", whole, length))
            helper = probe_read(gen, KERNEL, "_str")
            b.emit("call", cut.address, b.emit("add", length, 1), start, helper=helper)
            found.set(cut.compare(gen, "==", part, at).scalar(gen, at))
        return Int(found.value, bool_)

    def _leave_if_ends(self, gen: Gen, length: Operand, data: bytes, found: Choice, done: Block) -> None:
        """Go to ``done`` with ``found`` true if text of a known length ends with these bytes."""
        b, size = gen.b, len(data)
        with when(b, "uge", length, size, "long"):
            end = Chars(b.slot(size, "end"), 0, array_of(u8, size), OWN)
            start = b.emit("add", self.pointer(gen), b.emit("sub", length, size))
            b.emit("call", end.address, size, start, helper=probe_read(gen, KERNEL))
            end.leave_if(gen, data, found, done)

    def contains(self, gen: Gen, item: Val, at: ast.AST) -> Val:
        if not isinstance(item, Const):
            return self._contains_text(gen, item, at)
        data = self._bytes(gen, item.value, at)
        if not data or len(data) > self.size:
            return Const(not data)
        text = self.cleaned(gen)
        found, done = Choice(gen.b, 0), gen.b.new_block("searched")
        count = text.size - len(data) + 1
        few = count if count <= _MOST_UNROLLED else count % _AT_ONCE
        for position in range(few):
            text.moved(position).leave_if(gen, data, found, done)

        def turn(number: Operand, leave: Block) -> None:
            here = b.emit("add", text.address, b.emit("mul", number, _AT_ONCE))
            rest = Chars(here, text.offset + few, text.kind, text.space, min(text.align, 8))
            if text.is_text:  # nothing but zeros follows
                rest.leave_if(gen, b"\0", found, leave, result=0)
            for position in range(_AT_ONCE):
                rest.moved(position).leave_if(gen, data, found, leave)

        b = gen.b
        if few < count:
            gen.repeat(at, count // _AT_ONCE, _AT_ONCE * (len(data) + _PER_POSITION), turn, f"searching {self.what}")
        b.jump(done)
        b.seal(done)
        b.start(done)
        return Int(found.value, bool_)

    def _contains_text(self, gen: Gen, item: Val, at: ast.AST) -> Val:
        """Whether text of run time is in it: where that may begin as many bytes are copied, and compared."""
        if not self.is_text or getattr(getattr(item, "kind", None), "element", None) is not char:
            gen.fail(at, f"'in' looks for {'text' if self.is_text else 'constant bytes'} in {self.what}, not for "
                     f"{item.what}")  # fmt: skip
        b, found = gen.b, Choice(gen.b, 0)
        part = place(gen, item, item.kind, at)  # type: ignore[attr-defined]
        assert isinstance(part, Chars)
        length, whole = part._counted(gen), self._counted(gen)
        cut = Chars(b.slot(part.size + 1, "part"), 0, array_of(char, part.size + 1), OWN)
        raw.clear(gen, cut.address, 0, cut.size)  # once: each turn writes as many bytes
        helper = probe_read(gen, KERNEL, "_str")

        def turn(number: Operand, leave: Block) -> None:
            _go_on(gen, "ule", b.emit("add", number, length), whole, leave)
            _go_on(gen, "ule", length, part.size, leave)  # which the verifier has forgotten
            start = b.emit("add", self.pointer(gen), number)
            b.emit("call", cut.address, b.emit("add", length, 1), start, helper=helper)
            found.set(_same(gen, cut, part, part.size, at).scalar(gen, at))
            _go_on(gen, "eq", found.value, 0, leave)

        gen.repeat(at, self.size, _PER_POSITION + part.size, turn, f"searching {self.what}")
        return Int(found.value, bool_)

    def moved(self, distance: int) -> Chars:
        """The text some bytes further on."""
        return Chars(self.address, self.offset + distance, self.kind, self.space, self.align)

    def leave_if(self, gen: Gen, data: bytes, found: Choice, done: Block, result: int = 1) -> None:
        """Go to ``done`` with ``found`` set if these bytes are here: the first is looked at first, then the others.

        Of two branches the verifier keeps one in mind, for each position that it walks through; of one for each word
        it would keep too many.
        """
        b = gen.b
        no = b.new_block("differs")
        for offset, part in enumerate((data[:1], data[1:])):
            more = b.new_block("more")
            words = [(left, right) for _, left, right in self.equals_at(gen, offset, part)]
            if len(words) == 1:
                b.branch("eq", *words[0], more, no)
            elif words:
                b.branch("eq", raw.differs(gen, words), 0, more, no)
            else:
                b.jump(more)
            b.seal(more)
            b.start(more)
        found.set(result)
        b.jump(done)
        b.seal(no)
        b.start(no)

    def cleaned(self, gen: Gen) -> Chars:
        """The text where zeros follow its end: itself, or a copy."""
        if self.space != RECORD or not self.is_text:
            return self
        made = Chars(gen.b.slot(self.size, "text"), 0, self.kind, OWN)
        raw.clear(gen, made.address, 0, self.size)
        self._measure(gen, made.address)
        return made

    def _measure(self, gen: Gen, to: Operand) -> Operand:
        """Copy the text up to its NUL; gives how many bytes that is, at most its size: the last one becomes a NUL."""
        return gen.b.emit("call", to, self.size, self.pointer(gen), helper=probe_read(gen, KERNEL, "_str"))

    def length(self, gen: Gen, at: ast.AST) -> Val:
        """``len(text)``: bytes up to the first NUL; of ``u8[N]`` N.

        The kernel counts those of long text, while it copies them to where nobody looks.
        """
        if not self.is_text:
            return Const(self.size)
        if self.size > _MOST_UNROLLED:
            return Int(self._counted(gen), u32)
        b = gen.b
        count, done = Choice(b, 0), b.new_block("length")
        for position in range(self.size):
            byte = b.emit("load", self.address, offset=self.offset + position, size=1, signed=False)
            more = b.new_block("longer")
            b.branch("eq", byte, 0, done, more)
            b.seal(more)
            b.start(more)
            count.set(position + 1)
        b.jump(done)
        b.seal(done)
        b.start(done)
        return Int(count.value, u32)

    def _counted(self, gen: Gen) -> Operand:
        """The length as the kernel counts it: the verifier does not follow what is behind for each that it may be."""
        b = gen.b
        count = Choice(b, 0)
        got = self._measure(gen, b.slot(self.size, "copy"))
        last = b.emit("load", self.address, offset=self.offset + self.size - 1, size=1, signed=False)
        with when(b, "sgt", got, 0, "read"):
            count.set(b.emit("sub", got, 1))
            with when(b, "eq", got, self.size, "full"), when(b, "ne", last, 0, "whole"):
                count.set(got)
        return count.value

    def attr(self, gen: Gen, name: str, at: ast.AST) -> Val:
        if name not in _METHODS:
            self.refuse(gen, at, f"has no attribute {name!r}; it has {', '.join(_METHODS)}")
        return TextMethod(self, name)

    def elements(self, gen: Gen, at: ast.AST) -> Sequence[Val]:
        if self.is_text:
            self.refuse(gen, at, "is text, which has no fixed number of characters: write 'for i in range(len(x)):', "
                        "and x[i]")  # fmt: skip
        return [read(gen, self.part(number, u8)) for number in range(self.size)]

    def item(self, gen: Gen, index: Val, at: ast.AST) -> Val:
        part = gen.const(index)
        if self.is_text:
            self._refuse_from_end(gen, part, at)
        if isinstance(part, slice):
            for end in (part.start, part.stop, part.step):
                if not isinstance(end, (int, type(None))):
                    gen.fail(at, f"{end!r:.40} cannot be an end of a slice: x[:16]")
            if part.step not in (None, 1):
                gen.fail(at, f"a slice of {self.what} has a first and a last byte, and no step: x[:16]")
            start, stop, _ = part.indices(self.size)
            if start == stop == self.size:  # behind the last byte
                return Const("" if self.is_text else b"")
            if start >= stop:
                gen.fail(at, f"a slice of {self.what} has a first and a last byte that are constant: x[:16]")
            return self.part(start, array_of(self.kind.element, stop - start))
        if self.is_text:
            return Elements(self, self.size, array_of(char, 1)).get(gen, index, at)
        return self._bytes_of.get(gen, index, at)

    @property
    def _bytes_of(self) -> Elements:
        return Elements(self, self.size, u8)

    def _refuse_from_end(self, gen: Gen, index: Any, at: ast.AST) -> None:
        """Refuse a constant position that counts from the end of text, which is known only where the probe runs."""
        ends = (index.start, index.stop) if isinstance(index, slice) else (index,)
        if any(isinstance(each, int) and each < 0 for each in ends):
            self.refuse(gen, at, "ends at its first NUL, and a position cannot count from there: write "
                        "x.endswith('...') to look at its end, or slice from the start, x[2:8]")  # fmt: skip

    def set_item(self, gen: Gen, index: Val, value: Val, at: ast.AST) -> None:
        if self.is_text:
            self.refuse(gen, at, "is text, which is assigned as a whole; a u8[N] has bytes that can be assigned")
        self._bytes_of.change(gen, index, lambda place: place.put(gen, value, at), at)

    def add_to_item(self, gen: Gen, index: Val, op: str, value: Val, at: ast.AST) -> None:
        if self.is_text:
            self.set_item(gen, index, value, at)
        self._bytes_of.change(gen, index, lambda place: place.add(gen, op, value, at), at)

    def branch(self, gen: Gen, yes: Block, no: Block, at: ast.AST) -> None:
        if not self.is_text:
            gen.b.jump(yes)
            return
        first = gen.b.emit("load", self.address, offset=self.offset, size=1, signed=False)
        gen.b.branch("ne", first, 0, yes, no)

    def store(self, gen: Gen, address: Operand, offset: int, kind: Any, at: ast.AST) -> None:
        element_kind = getattr(kind, "element", None)
        if element_kind not in (char, u8) or (element_kind is u8 and sizeof(kind) != self.size):
            self.refuse(gen, at, f"cannot be kept as {name_of(kind)}: declare {name_of(self.kind)} for it")
        size, text = min(self.size, sizeof(kind)), self.cleaned(gen)
        raw.copy(gen, address, offset, text.address, text.offset, size, text.align)
        raw.clear(gen, address, offset + size, sizeof(kind) - size)


def _all(tests: Iterable[tuple[str, Operand, Operand]]) -> Val:
    parts = list(tests)
    return Test(*parts[0], *parts[1:]) if parts else Const(True)


def _same(gen: Gen, one: Chars, other: Chars, size: int, at: ast.AST) -> Val:
    """Whether so many bytes at two places are the same."""
    if size <= _COMPARED:
        return Test("eq", differ(gen, one, other, size), 0)
    b = gen.b
    bits = Choice(b, 0)

    def turn(number: Operand, leave: Block) -> None:
        distance = b.emit("mul", number, _PER_TURN)
        left, right = (
            Chars(b.emit("add", each.address, distance), each.offset, each.kind, each.space, each.align)
            for each in (one, other)
        )
        bits.set(differ(gen, left, right, _PER_TURN))
        _go_on(gen, "eq", bits.value, 0, leave)

    whole = size // _PER_TURN
    gen.repeat(at, whole, _PER_TURN, turn, f"comparing {one.what}")
    rest = size - whole * _PER_TURN
    if rest:
        last = differ(gen, one.moved(whole * _PER_TURN), other.moved(whole * _PER_TURN), rest)
        return Test("eq", b.emit("or", bits.value, last), 0)
    return Test("eq", bits.value, 0)


def _go_on(gen: Gen, cond: str, left: Operand, right: Operand, leave: Block) -> None:
    """Go on where a comparison holds, else leave."""
    more = gen.b.new_block("more")
    gen.b.branch(cond, left, right, more, leave)
    gen.b.seal(more)
    gen.b.start(more)


def _one_of(gen: Gen, tests: Sequence[Val], at: ast.AST) -> Val:
    return tests[0] if len(tests) == 1 else any_of(gen, tests, at)


def _negated(test: Val) -> Val:
    return test.negated() if isinstance(test, Test) else Const(not test.value)  # type: ignore[attr-defined]


class TextMethod(Val):
    """A method of text, before it is called."""

    def __init__(self, text: Chars, name: str) -> None:
        self.text = text
        self.name = name

    @property
    def what(self) -> str:
        return f"the method {self.name}() of {self.text.what}"

    def call(self, gen: Gen, args: Sequence[Val], named: Mapping[str, Val], at: ast.AST) -> Val:
        if len(args) == 1 and not named and getattr(getattr(args[0], "kind", None), "element", None) is char:
            return self.text.has_part(gen, args[0], self.name == "endswith", at)
        if len(args) != 1 or named or not isinstance(args[0], Const):
            gen.fail(at, f"{self.name}() takes one text, or a tuple of constant ones")
        value = args[0].value
        choices = value if isinstance(value, tuple) else (value,)
        return _METHODS[self.name](self.text, gen, [self.text._bytes(gen, each, at) for each in choices], at)


_METHODS: Mapping[str, Callable[[Chars, Gen, Sequence[bytes], ast.AST], Val]] = MappingProxyType(
    {"startswith": Chars.startswith, "endswith": Chars.endswith}
)
