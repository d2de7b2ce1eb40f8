"""Each tool works with less than all privileges, or names what it lacks in one line."""

from __future__ import annotations

import os
import re

import pytest

from pybpf.tool.declare import Tool
from tests.reliability.privilege import SITUATIONS, Outcome, Situation, outcomes, table, tools_of_a_process

#: the long form, with every tool: ``PYBPF_PRIVILEGE=all pytest tests/reliability/test_privilege_matrix.py``
TOOLS = [
    tool
    for tool in tools_of_a_process()
    if tool.name in ("syscount", "tcplife", "trace") or os.environ.get("PYBPF_PRIVILEGE") == "all"
]

pytestmark = [pytest.mark.root, pytest.mark.native]


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.name.replace(" ", "_"))
def test_it_works_or_says_in_a_line_what_it_lacks(situation: Situation) -> None:
    for tool, outcome in outcomes(situation, TOOLS).items():
        assert "Traceback" not in outcome.err, f"{tool}: {outcome.err}"
        if situation.works is not None:
            assert outcome.works is situation.works, f"{tool}: {outcome}"
        if outcome.works:
            assert not outcome.reason, f"{tool}: {outcome}"
        else:
            assert outcome.code == 1 and not outcome.out, f"{tool}: {outcome}"
            assert "\n" not in outcome.reason and re.search(situation.lacks, outcome.reason), f"{tool}: {outcome}"


def test_of_other_tools() -> None:
    """Those that need no privilege, or cannot be limited to a process, are left out; the table has all others."""
    left: list[Tool] = tools_of_a_process()
    assert len(left) > 15
    text = table({"root": {tool.name: Outcome(0, "", "") for tool in left}, "user": {
        tool.name: Outcome(1, "", f"{tool.name}: cannot trace: no") for tool in left}})  # fmt: skip
    assert text.count("| works | 1 |") == len(left) and text.endswith("\n1. cannot trace: no")
