"""Random functions give what the rules of docs/language.md say: IR run in Python, and programs run by the kernel."""

from __future__ import annotations

import random
import struct
from types import FunctionType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pybpf import types
from pybpf.compiler.check import check
from pybpf.compiler.target import Target
from tests.compiler.interp import Machine
from tests.lang.generate import arguments, function_text
from tests.lang.harness import RESULT, compiled, load
from tests.lang.model import evaluate

#: the newest without iterators, which the interpreter does not have
TARGET = Target.described("6.3")
ROUNDS = 4


def made(text: str) -> FunctionType:
    """The function ``probe`` of a module's text."""
    names: dict[str, Any] = {
        kind.__name__: kind for kind in (types.u8, types.u16, types.u32, types.u64, types.s8, types.s16, types.s32,
                                         types.s64)
    }  # fmt: skip
    exec(compile(text, "<random>", "exec"), names)
    probe: FunctionType = names["probe"]
    return probe


def interpreted(unit: Any, args: list[int]) -> int:
    """The result of a unit that the harness made, by the interpreter of IR."""
    machine = Machine(unit)
    context = struct.pack("=12Q", *(each & (1 << 64) - 1 for each in (*args, *[0] * (12 - len(args)))))
    machine.run(machine.memory(context).address)
    return int.from_bytes(machine.contents()[RESULT][bytes(4)], "little")


@settings(max_examples=150)
@given(st.integers(0, 1 << 32))
def test_ir_computes_what_the_rules_say(seed: int) -> None:
    text, kinds = function_text(seed)
    unit = compiled(made(text), TARGET, source=text)
    check(unit)
    expected, rng = evaluate(text), random.Random(seed)
    for _ in range(ROUNDS):
        args = arguments(rng, kinds)
        assert interpreted(unit, args) == expected(*args), f"{text}\nprobe{tuple(args)}"


@pytest.mark.root
@pytest.mark.needs("map_value", "prog_raw_tracepoint")
@settings(max_examples=40)
@given(st.integers(0, 1 << 32))
def test_the_kernel_computes_what_the_rules_say(seed: int) -> None:
    text, kinds = function_text(seed)
    expected, rng = evaluate(text), random.Random(seed)
    with load(made(text), source=text) as program:
        for _ in range(ROUNDS):
            args = arguments(rng, kinds)
            assert program(*args) == expected(*args), f"{text}\nprobe{tuple(args)}"
