"""The bytes of a program to instructions."""

from __future__ import annotations

import struct
from typing import Union

from pybpf.asm.encoder import insn_struct
from pybpf.asm.insn import LD_IMM64, Insn
from pybpf.asm.text import describe, fault
from pybpf.errors import AsmError

__all__ = ["Buffer", "decode", "decode_slot", "unpack_slots"]

#: What holds the bytes of a program.
Buffer = Union[bytes, bytearray, memoryview]


def unpack_slots(data: Buffer, endian: str) -> list[tuple[int, int, int, int]]:
    """The slots of a program: opcode, the byte of both registers with ``dst`` in the lower half, offset, immediate.

    :raises AsmError: the length is no multiple of 8, or ``endian`` is unknown.
    """
    layout = insn_struct(endian)
    if len(data) % 8:
        raise AsmError(f"{len(data)} bytes are not whole instructions of 8 bytes; the program is cut off or not eBPF")
    try:
        found: list[tuple[int, int, int, int]] = list(layout.iter_unpack(data)) if len(data) else []
    except (TypeError, ValueError, struct.error) as error:
        raise AsmError(f"cannot read instructions from {type(data).__name__}: {error}") from None
    if endian == "big":
        return [(code, registers >> 4 | (registers & 15) << 4, off, imm) for code, registers, off, imm in found]
    return found


def decode_slot(slots: list[tuple[int, int, int, int]], index: int) -> Insn:
    """The instruction that starts at a slot.

    :raises AsmError: it is not one; the message names the slot.
    """
    code, registers, off, imm = slots[index]
    if code == LD_IMM64:
        if index + 1 == len(slots):
            raise AsmError(
                f"instruction {index} (0x18): ld_imm64 takes two slots, and the program ends after the first"
            )
        *rest, high = slots[index + 1]
        if any(rest):
            raise AsmError(
                f"instruction {index} (0x18): the second slot of ld_imm64 must be all zero but its immediate, "
                f"and has opcode 0x{rest[0]:02x}, registers 0x{rest[1]:02x}, offset {rest[2]}"
            )
        imm = (high & 0xFFFFFFFF) << 32 | imm & 0xFFFFFFFF
    insn = Insn(code, registers & 15, registers >> 4, off, imm)
    reason = fault(insn)
    if reason:
        raise AsmError(f"instruction {index} `{describe(insn)}`: {reason}")
    return insn


def decode(data: Buffer, endian: str = "little") -> list[Insn]:
    """The instructions of a program, ``ld_imm64`` as one; ``encode`` gives the same bytes back.

    :param data: 8 bytes for each slot.
    :param endian: ``"little"`` or ``"big"``.
    :raises AsmError: an unknown opcode, a reserved field that is not 0, a register above 10, half a
        ``ld_imm64``.
    """
    slots = unpack_slots(data, endian)
    insns = []
    index = 0
    while index < len(slots):
        insn = decode_slot(slots, index)
        insns.append(insn)
        index += 2 if insn.code == LD_IMM64 else 1
    return insns
