"""Builtins that reverse bytes: between the network's order and the machine's."""

from __future__ import annotations

import ast
from typing import Any

from pybpf.lang.builtins.builtin import Lowering, builtin, meant_for_probes
from pybpf.lang.front.gen import Gen
from pybpf.lang.values.ints import Int
from pybpf.lang.values.val import Val
from pybpf.types import u16, u32, u64

__all__ = ["bswap16", "bswap32", "bswap64", "hton16", "hton32", "hton64", "ntoh16", "ntoh32", "ntoh64"]


def _swap(kind: Any, *, network: bool = False) -> Lowering:
    """:param network: only where the machine's order is not the network's."""
    bits = 8 * kind.__layout__.size

    def lower(gen: Gen, at: ast.AST, value: Val) -> Val:
        operand = value.scalar(gen, at)
        if not network or gen.target.arch.endian == "little":
            operand = gen.b.emit("bswap", operand, bits=bits)
        elif bits < 64:
            operand = gen.b.emit("zext", operand, bits=bits)
        return Int(operand, kind)

    return lower


@builtin(_swap(u16))
def bswap16(value: int) -> u16:
    """The low 16 bits with their bytes reversed."""
    meant_for_probes()


@builtin(_swap(u32))
def bswap32(value: int) -> u32:
    """The low 32 bits with their bytes reversed."""
    meant_for_probes()


@builtin(_swap(u64))
def bswap64(value: int) -> u64:
    """64 bits with their bytes reversed."""
    meant_for_probes()


@builtin(_swap(u16, network=True))
def ntoh16(value: int) -> u16:
    """16 bits from the network's byte order to the machine's (``ntohs`` in C): a port, say."""
    meant_for_probes()


@builtin(_swap(u32, network=True))
def ntoh32(value: int) -> u32:
    """32 bits from the network's byte order to the machine's (``ntohl`` in C)."""
    meant_for_probes()


@builtin(_swap(u64, network=True))
def ntoh64(value: int) -> u64:
    """64 bits from the network's byte order to the machine's."""
    meant_for_probes()


@builtin(_swap(u16, network=True))
def hton16(value: int) -> u16:
    """16 bits from the machine's byte order to the network's (``htons`` in C)."""
    meant_for_probes()


@builtin(_swap(u32, network=True))
def hton32(value: int) -> u32:
    """32 bits from the machine's byte order to the network's (``htonl`` in C)."""
    meant_for_probes()


@builtin(_swap(u64, network=True))
def hton64(value: int) -> u64:
    """64 bits from the machine's byte order to the network's."""
    meant_for_probes()
