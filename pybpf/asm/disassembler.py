"""Whole programs to text: for the assembler, as the verifier numbers them, or as bpftool does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pybpf.asm.code import Code, Item
from pybpf.asm.decoder import Buffer, decode, decode_slot, unpack_slots
from pybpf.asm.insn import Insn, SourceLine
from pybpf.asm.text import describe, printable
from pybpf.errors import AsmError

__all__ = ["STYLES", "disassemble"]

#: Style -> what stands before each instruction, from its slot and opcode.
STYLES = {"plain": "\t", "verifier": "{}: ({:02x}) ", "bpftool": "{:4}: ({:02x}) "}


def disassemble(
    code: Code | Iterable[Item] | Buffer,
    *,
    style: str = "plain",
    endian: str = "little",
    source: bool = False,
    lenient: bool = False,
) -> str:
    """The text of a program, one instruction a line; :func:`~pybpf.asm.parse.assemble` takes every style back.

    :param code: a program, or its bytes.
    :param style: ``"plain"`` keeps labels. ``"verifier"`` (``12: (bf) r2 = r1``) and ``"bpftool"`` (the
        number four wide, and maps as ``map[id:5]``, since in a program read back from the kernel that is what
        the number is) print jumps as the kernel does, by number of slots.
    :param endian: byte order, when ``code`` is bytes.
    :param source: print ``; text @ file:line`` where the source line changes, as the verifier does.
    :param lenient: print ``BUG_xx`` for a slot of bytes that is no instruction, instead of raising.
    :raises AsmError: the bytes are no program, a jump cannot be resolved, or the style is unknown.
    """
    if style not in STYLES:
        raise AsmError(f"style {style!r} is unknown; use one of {', '.join(map(repr, STYLES))}")
    if isinstance(code, (bytes, bytearray, memoryview)):
        if lenient:
            return "\n".join(_lenient(code, endian, style))
        code = Code(decode(code, endian))
    elif not isinstance(code, Code):
        code = Code(code)
    return "\n".join(_lines(code, style, source))


def _line(style: str, slot: int, insn: Insn) -> str:
    text = describe(insn)
    if style == "bpftool" and insn.code == 0x18:
        text = text.replace("map[fd:", "map[id:")
    return STYLES[style].format(slot, insn.code) + text


def _lines(code: Code, style: str, source: bool) -> Iterator[str]:
    labels: dict[int, list[str]] = {}
    if style == "plain":
        for name, index in code.labels.items():
            labels.setdefault(index, []).append(name)
    last: SourceLine | None = None
    for index, insn in enumerate(code if style == "plain" else code.resolved()):
        for name in labels.get(index, ()):
            yield f"{name}:"
        if source and insn.line is not None and insn.line != last:
            last = insn.line
            yield f"; {printable(last.text.strip())} @ {printable(last.file)}:{last.line}"
        yield _line(style, code.slot(index), insn)
    for name in labels.get(len(code), ()):
        yield f"{name}:"


def _lenient(data: Buffer, endian: str, style: str) -> Iterator[str]:
    slots = unpack_slots(data, endian)
    index = 0
    while index < len(slots):
        try:
            insn = decode_slot(slots, index)
        except AsmError:
            code = slots[index][0]
            yield STYLES[style].format(index, code) + f"BUG_{code:02x}"
            index += 1
        else:
            yield _line(style, index, insn)
            index += 2 if insn.code == 0x18 else 1
