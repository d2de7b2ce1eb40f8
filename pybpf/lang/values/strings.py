"""``char[N]`` and ``u8[N]`` in a probe: text and bytes in memory, compared with constants by words."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pybpf.lang.values import raw
from pybpf.lang.values.arrays import Elements
from pybpf.lang.values.constants import Const
from pybpf.lang.values.flow import Choice
from pybpf.lang.values.ints import Int, Test, any_of
from pybpf.lang.values.memory import OWN, RECORD, Ref, differ, place, read
from pybpf.lang.values.val import Val
from pybpf.types import array_of, bool_, char, sizeof, u8, u32

if TYPE_CHECKING:
    from pybpf.compiler.ir import Block, Operand
    from pybpf.lang.front.gen import Gen

__all__ = ["Chars"]

#: bytes of text that are compared at most
_LONGEST = 1024
#: positions that are looked at one after the other rather than in a loop
_MOST_UNROLLED = 32


class Chars(Ref):
    """Text of at most N bytes that ends at the first NUL (``char[N]``), or exactly N bytes (``u8[N]``)."""

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
        if size > _LONGEST:
            gen.fail(at, f"{self.what} is too long to be compared (at most {_LONGEST} bytes): compare a slice, x[:64]")
        if right.size > size:
            if not self.is_text:
                return Const(False)
            # the longer one has its end where the shorter one ends at the latest
            size += 1
            left = left.widened(gen)
        return Test("eq", differ(gen, left, right, size), 0)

    def widened(self, gen: Gen) -> Chars:
        """A copy with a NUL behind it."""
        slot = gen.b.slot(self.size + 1)
        raw.clear(gen, slot, self.size & ~7, self.size + 1 - (self.size & ~7))
        raw.copy(gen, slot, 0, self.address, self.offset, self.size, self.align)
        return Chars(slot, 0, array_of(char, self.size + 1), self.space)

    def startswith(self, gen: Gen, data: bytes, at: ast.AST) -> Val:
        """Whether the text starts with a constant."""
        return _all(self.equals_at(gen, 0, data)) if len(data) <= self.size else Const(False)

    def endswith(self, gen: Gen, data: bytes, at: ast.AST) -> Val:
        """Whether the text ends with a constant: it is followed by a NUL, or stands at the very end."""
        if not data or len(data) > self.size:
            return Const(not data)
        text = self.cleaned(gen)
        found = Choice(gen.b, 0)
        done = gen.b.new_block("ended")

        def look(here: Chars) -> None:
            here.leave_if(gen, data + b"\0", found, done, at)

        if text.is_text:
            each_position(gen, text, self.size - len(data), look, at)
        last = Chars(text.address, text.offset + self.size - len(data), text.kind, text.space, text.align)
        last.leave_if(gen, data, found, done, at)
        gen.b.jump(done)
        gen.b.seal(done)
        gen.b.start(done)
        return Int(found.value, bool_)

    def contains(self, gen: Gen, item: Val, at: ast.AST) -> Val:
        if not isinstance(item, Const):
            gen.fail(at, f"'in' looks for constant text in {self.what}, not for {item.what}")
        data = self._bytes(gen, item.value, at)
        if not data or len(data) > self.size:
            return Const(not data)
        text = self.cleaned(gen)
        found = Choice(gen.b, 0)
        done = gen.b.new_block("searched")
        each_position(gen, text, self.size - len(data) + 1, lambda here: here.leave_if(gen, data, found, done, at), at)
        gen.b.jump(done)
        gen.b.seal(done)
        gen.b.start(done)
        return Int(found.value, bool_)

    def leave_if(self, gen: Gen, data: bytes, found: Choice, done: Block, at: ast.AST) -> None:
        """Go to ``done`` with ``found`` true if these bytes are here."""
        b = gen.b
        yes, no = b.new_block("match"), b.new_block("differs")
        for _, left, right in self.equals_at(gen, 0, data):
            more = b.new_block("more")
            b.branch("eq", left, right, more, no)
            b.seal(more)
            b.start(more)
        b.jump(yes)
        b.seal(yes)
        b.start(yes)
        found.set(1)
        b.jump(done)
        b.seal(no)
        b.start(no)

    def cleaned(self, gen: Gen) -> Chars:
        """The text where zeros follow its end: itself, or a copy."""
        if self.space != RECORD or not self.is_text:
            return self
        made = Chars(gen.b.slot(self.size, "text"), 0, self.kind, OWN)
        raw.clear(gen, made.address, 0, self.size)
        helper = next(
            name for name in ("probe_read_kernel_str", "probe_read_str") if gen.target.has_helper(gen.unit.type, name)
        )
        gen.b.emit("call", made.address, self.size, self.pointer(gen), helper=helper)
        return made

    def length(self, gen: Gen, at: ast.AST) -> Val:
        """``len(text)``: bytes up to the first NUL; of ``u8[N]`` N."""
        if not self.is_text:
            return Const(self.size)
        b = gen.b
        count, done = Choice(b, 0), b.new_block("length")

        def look(here: Chars) -> None:
            byte = b.emit("load", here.address, offset=here.offset, size=1, signed=False)
            more = b.new_block("longer")
            b.branch("eq", byte, 0, done, more)
            b.seal(more)
            b.start(more)
            count.set(b.emit("add", count.value, 1))

        each_position(gen, self, self.size, look, at)
        b.jump(done)
        b.seal(done)
        b.start(done)
        return Int(count.value, u32)

    def attr(self, gen: Gen, name: str, at: ast.AST) -> Val:
        if name not in _METHODS:
            self.refuse(gen, at, f"has no attribute {name!r}; it has {', '.join(_METHODS)}")
        return TextMethod(self, name)

    def elements(self, gen: Gen, at: ast.AST) -> Sequence[Val]:
        if self.is_text:
            return super().elements(gen, at)
        return [read(gen, self.part(number, u8)) for number in range(self.size)]

    def item(self, gen: Gen, index: Val, at: ast.AST) -> Val:
        part = gen.const(index)
        if self.is_text:
            self._refuse_from_end(gen, part, at)
        if isinstance(part, slice):
            for end in (part.start, part.stop, part.step):
                if not isinstance(end, (int, type(None))):
                    gen.fail(at, f"{end!r:.40} cannot be an end of a slice: x[:16]")
            start, stop, step = part.indices(self.size)
            if start == stop == self.size and step == 1:  # behind the last byte
                return Const("" if self.is_text else b"")
            if step != 1 or start >= stop:
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
            self.refuse(gen, at, f"cannot be kept as {getattr(kind, '__name__', kind)}")
        size, text = min(self.size, sizeof(kind)), self.cleaned(gen)
        raw.copy(gen, address, offset, text.address, text.offset, size, text.align)
        raw.clear(gen, address, offset + size, sizeof(kind) - size)


def each_position(gen: Gen, text: Chars, count: int, look: Callable[[Chars], None], at: ast.AST) -> None:
    """Call ``look`` with the rest of the text from position 0 on, 1, and so on: in a loop, or one after the other."""
    b = gen.b
    if count <= _MOST_UNROLLED:
        for position in range(count):
            look(Chars(text.address, text.offset + position, text.kind, text.space, text.align))
        return
    if not gen.target.has("bounded_loop"):
        gen.fail(at, f"{text.what} is too long to be searched on this kernel, which has no loops: search a slice, "
                 f"x[:{_MOST_UNROLLED}]")  # fmt: skip
    current = Choice(b, 0)
    head, body, done = (b.new_block(name) for name in ("position", "look", "end"))
    b.jump(head)
    b.start(head)
    here = current.value
    b.branch("ult", here, count, body, done)
    b.seal(body)
    b.start(body)
    look(Chars(b.emit("add", text.address, here), text.offset, text.kind, text.space, 1))
    current.set(b.emit("add", here, 1))
    b.jump(head)
    b.seal(head)
    b.seal(done)
    b.start(done)


def _all(tests: Iterable[tuple[str, Operand, Operand]]) -> Val:
    parts = list(tests)
    return Test(*parts[0], *parts[1:]) if parts else Const(True)


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
        if len(args) != 1 or named or not isinstance(args[0], Const):
            gen.fail(at, f"{self.name}() takes one constant text, or a tuple of them")
        value = args[0].value
        choices = value if isinstance(value, tuple) else (value,)
        tests = [_METHODS[self.name](self.text, gen, self.text._bytes(gen, each, at), at) for each in choices]
        return tests[0] if len(tests) == 1 else any_of(gen, tests, at)


_METHODS: Mapping[str, Callable[[Chars, Gen, bytes, ast.AST], Val]] = MappingProxyType(
    {"startswith": Chars.startswith, "endswith": Chars.endswith}
)
