"""Instructions to the bytes that the kernel takes."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Union

from pybpf.asm.code import Code, Item
from pybpf.asm.insn import LD_IMM64, Insn, KfuncRef, MapRef
from pybpf.asm.text import fault, signed32
from pybpf.errors import AsmError

__all__ = ["Kfunc", "encode", "insn_struct"]

#: A kernel function: its BTF id in vmlinux; or its BTF id in a module and the index of the module's BTF fd in fd_array.
Kfunc = Union[int, "tuple[int, int]"]

_NOTHING: Mapping[str, int] = MappingProxyType({})
_FORMATS = {"little": struct.Struct("<BBhi"), "big": struct.Struct(">BBhi")}


def insn_struct(endian: str) -> struct.Struct:
    """Packs and unpacks one slot: opcode, the byte of both registers, offset, immediate.

    :raises AsmError: ``endian`` is neither ``"little"`` nor ``"big"``.
    """
    try:
        return _FORMATS[endian]
    except (KeyError, TypeError):
        raise AsmError(f"endian must be 'little' or 'big' (sys.byteorder for this machine), not {endian!r}") from None


def encode(
    code: Code | Iterable[Item],
    *,
    maps: Mapping[str, int] = _NOTHING,
    kfuncs: Mapping[str, Kfunc] = _NOTHING,
    endian: str = "little",
) -> bytes:
    """The bytes of a program, 8 for each slot.

    :param maps: file descriptor of each map that the code names.
    :param kfuncs: BTF id, or ``(BTF id, index in fd_array)``, of each kernel function that the code names.
    :param endian: byte order of the machine that will run it, ``"little"`` or ``"big"``.
    :raises AsmError: an instruction has no encoding, or a label, map or kernel function is missing or out of
        reach; the message names the instruction, numbered by slot as the kernel does.
    """
    if not isinstance(code, Code):
        code = Code(code)
    pack = insn_struct(endian).pack
    big = endian == "big"
    out = bytearray()
    for index, insn in enumerate(code.resolved()):
        reason = fault(insn)
        if reason:
            code.refuse(index, reason)
        if insn.ref is not None:
            insn, reason = _bound(insn, maps, kfuncs)
            reason = reason or fault(insn)
            if reason:
                code.refuse(index, reason)
        registers = insn.dst << 4 | insn.src if big else insn.src << 4 | insn.dst
        if insn.code == LD_IMM64:
            out += pack(LD_IMM64, registers, insn.off, signed32(insn.imm))
            out += pack(0, 0, 0, signed32(insn.imm >> 32))
        else:
            out += pack(insn.code, registers, insn.off, insn.imm)
    return bytes(out)


def _bound(insn: Insn, maps: Mapping[str, int], kfuncs: Mapping[str, Kfunc]) -> tuple[Insn, str]:
    """The instruction with its map or kernel function as a number, and what is wrong, or ``""``."""
    ref = insn.ref
    if isinstance(ref, MapRef):
        fd = maps.get(ref.name)
        if fd is None:
            return insn, _missing("map", ref.name, maps)
        if not isinstance(fd, int) or not 0 <= fd <= 0x7FFFFFFF:
            return insn, f"{fd!r:.60} is not the file descriptor of map {ref.name!r}; give a number"
        return insn._replace(imm=fd | (ref.offset or 0) << 32, ref=None), ""
    if isinstance(ref, KfuncRef):
        target = kfuncs.get(ref.name)
        if target is None:
            return insn, _missing("kernel function", ref.name, kfuncs)
        number, module = target if isinstance(target, tuple) else (target, 0)
        return insn._replace(imm=number, off=module, ref=None), ""
    return insn, f"the label {ref!r} cannot be resolved"


def _missing(kind: str, name: str, given: Mapping[str, object]) -> str:
    known = ", ".join(sorted(given)[:8]) or "none"
    return f"no {kind} {name!r} was given to encode (given: {known})"
