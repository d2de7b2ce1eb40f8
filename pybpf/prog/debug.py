"""Functions and source lines of a program: where the kernel's BTF line info and pybpf's own messages come from."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import chain

from pybpf.asm import Code, SourceLine
from pybpf.record import NamedTuple

__all__ = ["Function", "LineRow", "functions", "index_at", "line_rows", "source_of"]

_NO_LINE = SourceLine("", 0, 0, "")
#: (opcode, src) of a local call and of the ld_imm64 of a function's address
_NAMES_FUNCTION = ((0x85, 1), (0x18, 4))


class Function(NamedTuple):
    """A function of a program; the first one is the program itself."""

    name: str
    start: int
    """Index of its first instruction."""
    slot: int
    """Slot of its first instruction: what the kernel counts."""


class LineRow(NamedTuple):
    """The source line that holds from a slot on."""

    slot: int
    line: SourceLine


def functions(code: Code, name: str) -> list[Function]:
    """The functions of a program in order: its start, and the targets of local calls and of function addresses.

    :param name: of the first one; the others are named by their labels.
    """
    starts = {0}
    for index, insn in enumerate(code.insns):
        if (insn.code, insn.src) not in _NAMES_FUNCTION:
            continue
        if isinstance(insn.ref, str):
            starts.add(code.labels[insn.ref])
        else:
            distance = (insn.imm & 0xFFFFFFFF ^ 0x80000000) - 0x80000000
            starts.add(index_at(code, code.slot(index) + 1 + distance))
    names = {index: label for label, index in reversed(list(code.labels.items())) if index in starts}
    names[0] = name
    in_code = sorted(start for start in starts if start < len(code))
    return [Function(names.get(start, f"function_{start}"), start, code.slot(start)) for start in in_code]


def index_at(code: Code, slot: int) -> int:
    """The index of the instruction that a slot belongs to; the nearest one for a slot outside."""
    low, high = 0, max(len(code) - 1, 0)
    while low < high:
        middle = (low + high + 1) // 2
        if code.slot(middle) <= slot:
            low = middle
        else:
            high = middle - 1
    return low


def line_rows(code: Code, parts: list[Function]) -> Iterator[LineRow]:
    """Each change of the source line; the kernel wants a row at the start of every function, or none at all.

    A function without lines gets an empty one, so that it does not seem to be of those in front of it.
    """
    if not any(insn.line for insn in code.insns):
        return
    starts = {part.start for part in parts}
    previous = _NO_LINE
    for index, insn in enumerate(code.insns):
        line = insn.line
        if index in starts:
            line = line or source_of(code, index, parts) or _NO_LINE
        if line is not None and (line != previous or index in starts):
            yield LineRow(code.slot(index), line)
            previous = line


def source_of(code: Code, index: int, parts: list[Function]) -> SourceLine | None:
    """The source line of an instruction: its own, or the nearest one before it in its function, or after it there.

    :param parts: the functions of the program, see :func:`functions`.
    """
    number = bisect_right([part.start for part in parts], index)
    start = parts[number - 1].start
    stop = parts[number].start if number < len(parts) else len(code)
    nearest = chain(range(index, start - 1, -1), range(index + 1, stop))
    return next((line for line in (code.insns[place].line for place in nearest) if line), None)
