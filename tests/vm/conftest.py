"""Shows, at the end of the outer pytest run, what the suite did in each kernel; with ``PYBPF_KERNELS=FILE`` in the
environment puts it into the table of that Markdown file, docs/kernels.md.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from . import report
from .suite import Outcome

#: what was run in kernels in this session
OUTCOMES = pytest.StashKey[list[Outcome]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[OUTCOMES] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    outcomes = config.stash[OUTCOMES]
    if outcomes:
        terminalreporter.section("kernels")
        for outcome in outcomes:
            terminalreporter.write_line("\n".join(report.lines(outcome)))
        if os.environ.get("PYBPF_KERNELS"):
            report.record(Path(os.environ["PYBPF_KERNELS"]), outcomes)
