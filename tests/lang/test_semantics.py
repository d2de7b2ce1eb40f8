"""Random functions give what the rules of docs/language.md say: IR run in Python, and programs run by the kernel."""

from __future__ import annotations

import os
import random
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pybpf.compiler.check import check
from pybpf.compiler.target import Target
from tests.compiler.interp import Machine
from tests.conftest import IN_VM
from tests.lang.compare import made, start
from tests.lang.generate import arguments, function_text
from tests.lang.harness import RESULT, compiled
from tests.lang.model import evaluate

#: the newest without iterators, which the interpreter does not have
TARGET = Target.described("6.3")
ROUNDS = 4
#: random functions that are run in the kernel, here and in the guests of tests/vm
EXAMPLES = int(os.environ.get("PYBPF_EXAMPLES") or (60 if IN_VM else 2000))


def interpreted(unit: Any, args: list[int]) -> int:
    """The result of a unit that the harness made, by the interpreter of IR."""
    machine = Machine(unit)
    context = struct.pack("=12Q", *(each & (1 << 64) - 1 for each in (*args, *[0] * (12 - len(args)))))
    machine.run(machine.memory(context).address)
    return int.from_bytes(machine.contents()[RESULT][bytes(4)], "little")


@settings(max_examples=min(100, settings.default.max_examples))
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
@pytest.mark.needs("map_value", "prog_raw_tracepoint", "bounded_loop", "test_run_raw_tp")
def test_the_kernel_computes_what_the_rules_say() -> None:
    """Other functions on each kernel of tests/vm."""
    first = zlib.crc32(os.environ.get("PYBPF_VM_KERNEL", "").encode())
    running = start(first, EXAMPLES, min(4, os.cpu_count() or 1))
    printed = [each.communicate()[0] for each in running]
    assert not any(each.returncode for each in running), "\n".join(printed)
