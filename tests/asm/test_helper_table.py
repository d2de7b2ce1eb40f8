"""The helper table against the running kernel, and its own consistency."""

from __future__ import annotations

import re

import pytest

from pybpf.asm import HELPERS, HELPERS_BY_ID, Insn, call, exit_, find_helper
from pybpf.asm.helpers import PROGRAM_TYPES
from pybpf.errors import AsmError
from tests.asm.machine import load_log


def test_all_helpers_are_there() -> None:
    assert list(HELPERS_BY_ID) == list(range(1, 212))
    assert len(HELPERS) == 211
    for name, helper in HELPERS.items():
        assert helper.name == name
        assert HELPERS_BY_ID[helper.id] is helper
        assert len(helper.args) <= 5
        assert re.fullmatch(r"\d\.\d+", helper.since)
        assert set(helper.programs) <= set(PROGRAM_TYPES)


def test_samples() -> None:
    output = HELPERS["perf_event_output"]
    assert (output.id, output.gpl, output.since, output.returns) == (25, True, "4.4", "INTEGER")
    assert output.args == (
        "PTR_TO_CTX",
        "CONST_MAP_PTR",
        "ANYTHING",
        "PTR_TO_MEM|MEM_RDONLY",
        "CONST_SIZE_OR_ZERO",
    )
    assert output.programs == dict.fromkeys(PROGRAM_TYPES[:4], "4.18") | {"tracing": "5.10"}
    assert HELPERS["copy_from_user"].might_sleep
    assert not HELPERS["get_current_pid_tgid"].args
    assert HELPERS["override_return"].programs == {"kprobe": "4.18"}
    assert HELPERS["ktime_get_coarse_ns"].programs["kprobe"] == "5.15..6.0"


@pytest.mark.parametrize("name", ["ktime_get_ns", "bpf_ktime_get_ns", 5])
def test_helpers_are_found(name: str | int) -> None:
    assert find_helper(name) is HELPERS["ktime_get_ns"]


@pytest.mark.parametrize("name", ["ktime_get_nss", "bpf_", "", "x" * 10000, 0, 212, -1])
def test_missing_helpers_are_refused(name: str | int) -> None:
    with pytest.raises(AsmError, match="no helper"):
        find_helper(name)


def test_the_nearest_helper_is_proposed() -> None:
    with pytest.raises(AsmError, match="ktime_get_ns"):
        call("ktime_get_nss")


@pytest.mark.root
def test_names_are_those_that_the_verifier_prints() -> None:
    named = 0
    for helper in HELPERS.values():
        _, log = load_log([call(helper.name), Insn(0xB7), exit_()])
        # "0: (85) call bpf_x#1", or, of a helper that a socket filter may not call, only a complaint by name
        found = re.search(r"call (\w+)#(\d+)|(?:unknown func|cannot use helper) (\w+)#(\d+)", log)
        if found is None:
            assert "invalid func" in log, log  # newer than this kernel
            continue
        name, number = found.group(1) or found.group(3), found.group(2) or found.group(4)
        if name == "unknown":  # the same, in kernels that print first
            continue
        assert (name, int(number)) == (f"bpf_{helper.name}", helper.id)
        named += 1
    assert named > 100
