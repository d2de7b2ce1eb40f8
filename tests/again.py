"""``--again``: tests that failed run once more, alone, at the end; those that pass then are unsteady, and fail no run.

Emulated and loaded machines are late now and then in ways that no test foresees. An unsteady test is a bug to be mended
all the same, so the summary names it and shows how it failed. Leaks of tests that passed, tests of virtual machines
(whose own suites do the same inside) and more failures than a few do not get a second try.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from _pytest.runner import runtestprotocol
from _pytest.terminal import TerminalReporter

__all__ = ["UNSTEADY", "Again"]

#: with more failed tests than these, something is broken
MOST = 8
#: seconds that one test may take, alone
PATIENCE = 300
#: the name of the property, in reports and JUnit files, that says how an unsteady test failed
UNSTEADY = "unsteady"
#: lines of a failure that are shown
MOST_LINES = 40


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--again", action="store_true", help="run tests that failed once more, alone, at the end")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--again") and not config.getoption("maxfail"):
        config.pluginmanager.register(Again(), "again-at-the-end")


class Again:
    """Keeps back the reports of tests that failed until it is known how they end."""

    def __init__(self) -> None:
        self._held: list[tuple[pytest.Item, list[pytest.TestReport]]] = []
        self._broken = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        """As pytest's own, but for the reports."""
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        if self._may_run_again(item, reports):
            self._held.append((item, reports))
            self._terminal(item).write("A", yellow=True)
        else:
            _log(item, reports)
        if len(self._held) > MOST:
            self._broken = True
            self._give_up()
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _may_run_again(self, item: pytest.Item, reports: Sequence[pytest.TestReport]) -> bool:
        failed = [report.when for report in reports if report.failed]
        first = next(iter(failed), "teardown")  # what a failed test leaves behind is of the failure
        return first != "teardown" and not self._broken and not item.get_closest_marker("vm")

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Iterator[None]:
        outcome: Any = yield
        if outcome.excinfo is None and not session.shouldstop:
            while self._held:
                self._run_again(*self._held.pop(0))
        self._give_up()

    def _run_again(self, item: pytest.Item, reports: list[pytest.TestReport]) -> None:
        words = [sys.executable, "-m", "pytest", "-q", "--color=no", "-p", "no:cacheprovider", "-m", "", item.nodeid]
        try:
            done = subprocess.run(words, cwd=item.config.rootpath, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, errors="replace", timeout=PATIENCE,
                                  check=False)  # fmt: skip
            passed, said = done.returncode == 0, done.stdout
        except subprocess.TimeoutExpired:
            passed, said = False, f"it takes longer than {PATIENCE} seconds"
        failures = [report for report in reports if report.failed]
        failed = failures[0]
        if passed:
            how = "\n".join(report.longreprtext for report in failures)
            for report in (failed, reports[-1]):  # JUnit files have the properties of the last one
                report.user_properties.append((UNSTEADY, _end(how)))
            for report in failures:
                report.outcome, report.longrepr = "passed", None
        else:
            failed.sections.append(("once more, alone", _end(said)))
        _log(item, reports)

    def _give_up(self) -> None:
        """Report all that failed as it is."""
        while self._held:
            _log(*self._held.pop(0))

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport | pytest.CollectReport) -> tuple[str, str, str] | None:
        if isinstance(report, pytest.CollectReport):
            return None
        unsteady = report.when != "teardown" and any(name == UNSTEADY for name, _ in report.user_properties)
        return (UNSTEADY, "U", "UNSTEADY") if unsteady else None

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        found = terminalreporter.getreports(UNSTEADY)
        if found:
            terminalreporter.section("unsteady: failed once, passed alone")
        for report in found:
            terminalreporter.write_line(f"UNSTEADY {report.nodeid}")
            how = next(text for name, text in report.user_properties if name == UNSTEADY)
            terminalreporter.write_line("\n".join(f"    {line}" for line in how.splitlines()))

    @staticmethod
    def _terminal(item: pytest.Item) -> TerminalReporter:
        found: Any = item.config.pluginmanager.getplugin("terminalreporter")
        assert isinstance(found, TerminalReporter)
        return found


def _log(item: pytest.Item, reports: Sequence[pytest.TestReport]) -> None:
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)


def _end(text: str) -> str:
    lines = text.strip().splitlines()
    return "\n".join(lines if len(lines) <= MOST_LINES else ["[...]", *lines[-MOST_LINES:]])
