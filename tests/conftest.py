"""What every test gets: skips for features and privileges that are not there, and checks for leaks.

Markers: ``@pytest.mark.needs("kprobe", "ringbuf")`` skips where the running kernel lacks a feature of that name
in :mod:`pybpf.sys.features`; ``@pytest.mark.root`` skips where the process may not use BPF at all;
``@pytest.mark.pure`` is for what depends on no kernel, ``@pytest.mark.native`` for what uses BPF but shows the same on
every kernel: both do not run in the guests of tests/vm.

Property tests try the same examples in every run; with ``PYBPF_EXPLORE=500`` in the environment 500 random ones each.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pybpf.errors import PermissionDenied
from tests import forks, leaks

pytest_plugins = ("tests.again",)

#: set in the guests of tests/vm
IN_VM = os.environ.get("PYBPF_VM") == "1"
#: seconds that the kernel gets to free what was closed; processors may be emulated, or shared with others
GRACE = 30.0
#: how many random examples each property test is to try; without it the same few in every run
EXPLORE = int(os.environ.get("PYBPF_EXPLORE", "0"))
#: seconds after which a test fails; the slowest take a minute where processors are emulated
HANGS = 600
#: the test that runs
RUNNING = pytest.StashKey[str]()
#: whether a test has failed
FAILED = pytest.StashKey[bool]()
NO_PRIVILEGE = "needs root or CAP_BPF+CAP_PERFMON"
#: bits of the capability sets, include/uapi/linux/capability.h
_CAP_SYS_ADMIN, _CAP_PERFMON, _CAP_BPF = 1 << 21, 1 << 38, 1 << 39


def pytest_configure(config: pytest.Config) -> None:
    # who is told to end says what it was doing, and takes the virtual machines with it
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # who was started in the background ignores it, and so would the commands that the tests start
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["PYBPF_CACHE"] = "off"  # each test compiles what it runs
    if IN_VM:
        subprocess.Popen = forks.Popen  # type: ignore[misc]
    try:
        from hypothesis import HealthCheck, settings
    except ImportError:  # its own tests will say so
        return
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    steady = {"deadline": None, "suppress_health_check": slow, "derandomize": True, "database": None}
    settings.register_profile("host", **steady)
    # 13 times slower there, and what is computed has already run natively
    settings.register_profile("vm", **steady, max_examples=10)
    settings.register_profile("explore", deadline=None, suppress_health_check=slow, derandomize=False,
                              max_examples=EXPLORE or 100, print_blob=True)  # fmt: skip
    settings.load_profile("explore" if EXPLORE else "vm" if IN_VM else "host")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config) -> None:
    if exitstatus == pytest.ExitCode.INTERRUPTED:
        terminalreporter.write_line(f"interrupted in {config.stash.get(RUNNING, 'no test')}")


def _privileged() -> bool:
    with open("/proc/self/status", encoding="ascii") as file:
        effective = next(int(line.split()[1], 16) for line in file if line.startswith("CapEff:"))
    return bool(effective & _CAP_SYS_ADMIN) or effective & (_CAP_PERFMON | _CAP_BPF) == _CAP_PERFMON | _CAP_BPF


PRIVILEGED = _privileged()


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("root") and not PRIVILEGED:
        pytest.skip(NO_PRIVILEGE)
    for marker in item.iter_markers("needs"):
        for feature in marker.args:
            why = _lack(feature)
            if why:
                pytest.skip(why if PRIVILEGED else NO_PRIVILEGE)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """A pure test that asks the kernel would prove for this kernel alone what it says of all. One that hangs fails."""
    with pytest.MonkeyPatch.context() as patch:
        if item.get_closest_marker("pure"):
            patch.setattr("pybpf.sys.bpf.syscall", _not_pure)
        if item.get_closest_marker("vm"):  # they have limits of their own
            yield
            return
        before = signal.signal(signal.SIGALRM, _hangs)
        signal.alarm(HANGS)
        yield
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _hangs(number: int, frame: object) -> None:
    raise AssertionError(f"it has taken {HANGS} s, and is taken to hang")


def _not_pure(*arguments: int) -> int:
    raise AssertionError("a test that is marked pure uses bpf(2)")


def _lack(feature: str) -> str:
    """Why a test of ``feature`` cannot run on this kernel, or ``""``."""
    from pybpf.sys import features

    result = features.probe(feature)
    if result:
        return ""
    # tests/vm/suite.py reads this, to see whether the kernel is known to have the feature
    verb = "lacks" if result.support is features.Support.NO else "refuses"
    return f"kernel {verb} {feature}: {result.detail}"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """What a failed test left open goes with it: warnings of that would fail whichever test collects the garbage."""
    item.config.stash[RUNNING] = item.nodeid
    yield
    if item.stash.get(FAILED, False):
        sys.last_value = sys.last_traceback = sys.last_exc = None  # type: ignore[attr-defined,unused-ignore]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """An ordinary user is refused nearly everything: that is no failure, and no test has to say so itself."""
    outcome: Any = yield
    report = outcome.get_result()
    if report.failed:
        item.stash[FAILED] = True
    if PRIVILEGED or not report.failed or call.excinfo is None:
        return
    if isinstance(call.excinfo.value, (PermissionDenied, PermissionError)):
        path, line, _ = item.reportinfo()
        report.outcome = "skipped"
        report.longrepr = (str(path), (line or 0) + 1, f"Skipped: {NO_PRIVILEGE}")


@pytest.fixture(autouse=True)
def no_leaked_descriptor(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test the process has the descriptors that it had before."""
    if request.node.get_closest_marker("vm"):  # other threads run the virtual machines meanwhile
        yield
        return
    before = leaks.descriptors()
    yield
    if _interrupted(request):
        return
    left = _new_descriptors(before)
    assert not left, f"the test left descriptors open: {left}"


def _new_descriptors(before: dict[int, str]) -> dict[int, str]:
    if leaks.descriptors().items() <= before.items():
        return {}
    gc.collect()
    return dict(leaks.descriptors().items() - before.items())


def _interrupted(request: pytest.FixtureRequest) -> bool:
    """After Ctrl-C or a time-out the frames of the test still hold what they opened, and pytest's capture is off."""
    return getattr(request.session, "exitstatus", None) == pytest.ExitCode.INTERRUPTED


@pytest.fixture
def bpffs(tmp_path: Path) -> Iterator[Path]:
    """A bpf file system of this test's own."""
    if subprocess.run(["mount", "-t", "bpf", "bpf", str(tmp_path)], capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a bpf file system here")
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.fixture(autouse=True, scope="session")
def no_leaked_object(request: pytest.FixtureRequest) -> Iterator[None]:
    """At the end no descriptor and no BPF program, map or link that the session made is left."""
    descriptors, objects = leaks.descriptors(), leaks.bpf_objects()
    yield
    if _interrupted(request):
        return
    left = _new_descriptors(descriptors)
    assert not left, f"the session left descriptors open: {left}"
    if objects is not None:
        remaining = leaks.leaked(objects, GRACE)
        assert not remaining, "the session left in the kernel: " + ", ".join(map(str, sorted(remaining)))
