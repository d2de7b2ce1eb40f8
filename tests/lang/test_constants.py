"""What Python computes while a probe is compiled: items of dicts, functions of constants, ends of slices in loops."""

from __future__ import annotations

import socket

import pytest

from pybpf import CompileError
from pybpf.compiler.target import Target
from pybpf.lang.state.maps import Hash
from pybpf.types import char, u32
from tests.lang.harness import compiled, run
from tests.lang.sharing import Shared

shared = Shared()
names = Hash(u32, char[4], 4, shared.counts, "names")

TARGET = Target.described("6.12")
PARTS = {"first": 10, "second": 200}


@pytest.mark.root
def test_dicts_are_read() -> None:
    def probe(x: u32) -> int:
        total = PARTS.get("first", 0) + PARTS.get("third", 1000) + max(PARTS.values()) + len(PARTS.keys()) + x
        for name, value in PARTS.items():
            total += value * len(name) * 10000
        return total

    assert run(probe, 5) == 10 + 1000 + 200 + 2 + 5 + (10 * 5 + 200 * 6) * 10000


@pytest.mark.root
def test_functions_of_constants() -> None:
    def probe(x: u32) -> int:
        total = round(2.5) + all([1, 2]) * 10 + any((0, 3)) * 100 + x
        return total + int.from_bytes(b"ab", "little") * 1000 + (5).bit_length()

    assert run(probe, 5) == 2 + 10 + 100 + 5 + 0x6261 * 1000 + 3


@pytest.mark.root
def test_slices_in_loops_that_are_written_out() -> None:
    def probe(key: u32) -> int:
        name = names.get(key)
        if name is None:
            return 99
        total = 0
        for i in (0, 1, 2):
            total = total * 2 + (name[i : i + 1] == "y")
        return total

    with shared.load(probe, names) as program:
        names[1], names[2] = "yxy", "xyx"
        assert [program(1), program(2), program(3)] == [0b101, 0b010, 99]


def quotient(x: u32):  # type: ignore[no-untyped-def]
    return divmod(x, 5)[0]


def power(x: u32):  # type: ignore[no-untyped-def]
    return pow(x, 2)


def swapped(x: u32):  # type: ignore[no-untyped-def]
    return socket.htons(x)


def bits(x: u32):  # type: ignore[no-untyped-def]
    return x.bit_length()


@pytest.mark.pure
@pytest.mark.parametrize(("probe", "said"), [
    (quotient, "the function divmod() can be called with constants only here, and got a u32: write a // b and a % b"),
    (power, "the function pow() can be called with constants only here, and got a u32: write a ** 2, where the "
            "exponent is a constant"),
    (swapped, "the function htons() cannot be called in a probe: write hton16(x) of pybpf.lang"),
    (bits, "a u32 has no attribute 'bit_length' in a probe: numbers of run time have operators alone, as in x >> 1"),
])  # fmt: skip
def test_what_to_write_instead(probe, said) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(CompileError) as refused:
        compiled(probe, TARGET)
    assert refused.value.message == said
