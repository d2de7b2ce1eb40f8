"""The kernel as an instrument: loads code, runs it over many operands at once, and gives what it computed."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import pytest

from pybpf.asm import (
    DW,
    R0,
    R1,
    R2,
    R3,
    R6,
    R7,
    Code,
    Insn,
    Item,
    encode,
    exit_,
    ld_map_value,
    ldx,
    mov,
    stx,
)  # fmt: skip
from pybpf.sys import features
from pybpf.sys.bpf import Attr, Cmd, MapType, ProgType, bpf
from pybpf.sys.fd import Fd

U64 = (1 << 64) - 1
_LICENSE = b"Dual MIT/GPL\0"
#: What TEST_RUN gives a socket filter to look at: at least an Ethernet header.
_PACKET = bytes(range(64))
#: Four 8-byte inputs and four outputs for each case; offsets are 16 bits, signed.
_CASE = 32
_CASES_AT_ONCE = 900


def load(code: Iterable[Item], maps: Mapping[str, int] | None = None, prog_type: int = ProgType.SOCKET_FILTER) -> Fd:
    """Load a program. :raises OSError: the kernel refuses it."""
    data = encode(Code(code), maps=maps or {}, endian=sys.byteorder)
    fd = bpf(Cmd.PROG_LOAD, prog_type=prog_type, insns=data, insn_cnt=len(data) // 8, license=_LICENSE)
    return Fd(fd, "program")


def load_log(code: Iterable[Item]) -> tuple[int, str]:
    """Load a program for the verifier's log: errno, or 0, and the log."""
    data = encode(code, endian=sys.byteorder)
    log = ctypes.create_string_buffer(1 << 16)
    attr = Attr(
        Cmd.PROG_LOAD, prog_type=ProgType.SOCKET_FILTER, insns=data, insn_cnt=len(data) // 8, license=_LICENSE,
        log_level=2, log_buf=log, log_size=len(log),
    )  # fmt: skip
    try:
        os.close(attr.call())
    except OSError as error:
        return error.errno or 0, log.value.decode()
    return 0, log.value.decode()


def run(program: Fd) -> int:
    """Run a program once; its result, 32 bits."""
    attr = Attr(Cmd.PROG_TEST_RUN, prog_fd=program.fileno(), data_in=_PACKET, data_size_in=len(_PACKET), repeat=1)
    attr.call()
    return int(attr["retval"])


@contextmanager
def array(size: int, content: bytes = b"") -> Iterator[Fd]:
    """A map with one value of ``size`` bytes."""
    number = bpf(Cmd.MAP_CREATE, map_type=MapType.ARRAY, key_size=4, value_size=size, max_entries=1)
    fd = Fd(number, "map")
    try:
        if content:
            write(fd, content)
        yield fd
    finally:
        fd.close()


def write(fd: Fd, value: bytes) -> None:
    """Set the value of an array map, whole."""
    bpf(Cmd.MAP_UPDATE_ELEM, map_fd=fd.fileno(), key=bytes(4), value=value)


def read(fd: Fd, size: int) -> bytes:
    """The value of an array map."""
    value = ctypes.create_string_buffer(size)
    bpf(Cmd.MAP_LOOKUP_ELEM, map_fd=fd.fileno(), key=bytes(4), value=value)
    return value.raw


class Case(NamedTuple):
    """Operands for one run of a piece of code: R1, R2, R0 and eight bytes of memory at R3."""

    r1: int = 0
    r2: int = 0
    r0: int = 0
    memory: int = 0


def compute(pieces: Sequence[tuple[Sequence[Insn], Case]]) -> list[Case]:
    """Run each piece of code over its operands; what R1, R2, R0 and the memory hold afterwards.

    The operands come from a map, so the verifier knows nothing of them and can decide no jump by itself.
    """
    results: list[Case] = []
    for start in range(0, len(pieces), _CASES_AT_ONCE):
        results += _compute(pieces[start : start + _CASES_AT_ONCE])
    return results


def _compute(pieces: Sequence[tuple[Sequence[Insn], Case]]) -> list[Case]:
    size = len(pieces) * _CASE
    inputs = b"".join(struct.pack("=4Q", *(value & U64 for value in case)) for _, case in pieces)
    code: list[Insn] = [ld_map_value(R6, "in"), ld_map_value(R7, "out")]
    for index, (insns, _) in enumerate(pieces):
        at = index * _CASE
        code += [
            ldx(DW, R1, R6, at + 24),
            stx(DW, R7, at + 24, R1),
            ldx(DW, R1, R6, at),
            ldx(DW, R2, R6, at + 8),
            ldx(DW, R0, R6, at + 16),
            mov(R3, R7),
            Insn(0x07, 3, imm=at + 24),
            *insns,
            stx(DW, R7, at, R1),
            stx(DW, R7, at + 8, R2),
            stx(DW, R7, at + 16, R0),
        ]
    with ExitStack() as stack:
        maps = {"in": stack.enter_context(array(size, inputs)), "out": stack.enter_context(array(size))}
        program = load([*code, mov(R0, 0), exit_()], {name: fd.fileno() for name, fd in maps.items()})
        stack.callback(program.close)
        assert run(program) == 0
        return [Case(*found) for found in struct.iter_unpack("=4Q", read(maps["out"], size))]


def needs(feature: str) -> None:
    """Skip the test where the kernel, or the JIT compiler of its architecture, lacks a feature of the opcode table."""
    if feature in features.FEATURES and not features.has(feature):
        pytest.skip(f"kernel lacks {feature}: {features.probe(feature)}")
