"""Functions that call others twice, which call others twice: what is compiled stays bounded."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pybpf.compiler.target import Target
from pybpf.errors import CompileError
from pybpf.types import u64
from tests.lang.harness import compiled, load

LEVELS = 14
MASK = (1 << 64) - 1


def doubling(leaf: str, again: str, first: str, parameter: str = "x") -> tuple[str, Any]:
    """The text of a probe that calls the last function 2 ** LEVELS times, and the probe.

    :param leaf: what that gives for ``x``.
    :param again: what each other one passes on the second time.
    :param first: what the probe passes.
    :param parameter: that of each function: what all calls pass has one type where it is annotated.
    """
    lines = [f"def f0({parameter}):", f"    return {leaf}"]
    for level in range(1, LEVELS + 1):
        below = f"f{level - 1}"
        lines += [f"def f{level}({parameter}):", f"    y = {below}(x)", f"    return (y >> 1) + {below}({again})"]
    text = "\n".join([*lines, "def probe(n: u64):", f"    return f{LEVELS}({first})"]) + "\n"
    names: dict[str, Any] = {"u64": u64}
    exec(text, names)
    return text, names["probe"]


@pytest.mark.root
@pytest.mark.native
@pytest.mark.needs("map_value", "test_run_raw_tp", "subprog")
def test_functions_of_integers_become_functions_of_ebpf() -> None:
    text, probe = doubling("(x ^ 5) >> 3", "y", "n", "x: u64")
    with load(probe, source=text) as program:
        for n in (0, 1, 77):
            assert program(n) == probe(n) & MASK


def test_others_are_refused_in_time() -> None:
    """They cannot be functions of eBPF: the message names one, its size and what to do."""
    text, probe = doubling("x[0] + x[1]", "(x[1], y)", "(n, 2)")
    with pytest.raises(CompileError) as raised:
        compiled(probe, Target.described("6.12"), source=text)
    assert re.match(
        r"f\d\(\), of \d+ nodes of the syntax tree, is one of more than 1000 calls that are compiled in their places: "
        r"call it in a loop, or once, and keep what it gives; a function of at most four integers \(x: u64\) that "
        r"gives one can become a function of eBPF \(in f\d\(\), called from ", raised.value.message
    )  # fmt: skip
