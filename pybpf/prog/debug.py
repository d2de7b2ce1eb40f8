"""Functions and source lines of a program: where the kernel's BTF line info and pybpf's own messages come from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pybpf.asm import Code, SourceLine

__all__ = ["Function", "LineRow", "functions", "index_at", "line_rows", "source_of"]

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
    """Each change of the source line; the kernel wants a row at the start of every function, or none at all."""
    if not any(insn.line for insn in code.insns):
        return
    starts = {part.start for part in parts}
    previous: SourceLine | None = None
    for index, insn in enumerate(code.insns):
        line = insn.line
        if index in starts and line is None:
            line = source_of(code, index) or previous or next(each.line for each in code.insns if each.line)
        if line is not None and (line != previous or index in starts):
            yield LineRow(code.slot(index), line)
            previous = line


def source_of(code: Code, index: int) -> SourceLine | None:
    """The source line of an instruction: its own, or else that of the nearest one before it, or after it."""
    before = (insn.line for insn in reversed(code.insns[: index + 1]) if insn.line)
    after = (insn.line for insn in code.insns[index + 1 :] if insn.line)
    return next(before, None) or next(after, None)
