"""One run of the test suite inside one kernel, and what came of it."""

from __future__ import annotations

import re
import tempfile
import threading
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.again import UNSTEADY

from . import image, kernels, qemu
from .apt import Apt
from .cache import VmError, locked
from .image import Root
from .kernels import Files, Kernel

__all__ = ["GUEST", "LACKS", "SOURCE", "Outcome", "prepare", "run"]

#: the project's tree
SOURCE = Path(__file__).parent.parent.parent
#: seconds that one kernel may take, and how much earlier pytest is told to stop and report
TIMEOUT = 2700.0
MARGIN = 60
PYTEST = (
    "python3", "-m", "pytest", "-v", "--color=no", "-p", "no:cacheprovider", "--again", "--durations=20",
    "--junitxml=/tmp/out/junit.xml",
)  # fmt: skip
#: markers of tests that run in no guest
_IN_NONE = ("vm", "pure", "native")
#: of tests that guests of one architecture run for all, and which one
_IN_ONE, _ARCH = "generic", "x86_64"
#: how a file says that all of its tests have markers
_MARKS = re.compile(r"^pytestmark = (\[[^\]]*\]|.*)", re.MULTILINE)
#: the environment variable that names the kernel to the tests inside it
GUEST = "PYBPF_VM_KERNEL"
#: how tests/conftest.py words a skip for a feature
LACKS = re.compile(r"kernel (?:lacks|refuses) ([\w.]+)")
#: the size of a root file system with more packages
LARGE = "1536M"
#: lines of the console that are shown when a guest gives no results
TAIL = 25


@dataclass
class Outcome:
    """What the suite did in one kernel."""

    kernel: Kernel
    version: str = ""  #: as ``uname -r`` prints it
    passed: int = 0
    failed: dict[str, str] = field(default_factory=dict)  #: test -> its message
    unsteady: dict[str, str] = field(default_factory=dict)  #: tests that failed once, and passed alone -> how
    skipped: Counter[str] = field(default_factory=Counter)  #: reason -> tests
    left_out: list[str] = field(default_factory=list)  #: files that guests of another architecture run for this one
    boot: float = 0.0  #: seconds until the guest could run a command
    seconds: float = 0.0  #: in all
    cpu: float = 0.0  #: seconds of the host's processors
    problem: str = ""  #: why there are no results, or not all
    unavailable: str = ""  #: why the kernel was not booted
    slowest: str = ""  #: pytest's table of slow tests
    files: Counter[str] = field(default_factory=Counter)  #: module of tests -> milliseconds that it took

    @property
    def wrong_skips(self) -> dict[str, int]:
        """Skips for a feature that this kernel is known to have: reason -> tests."""
        return {
            reason: count
            for reason, count in self.skipped.items()
            if (match := LACKS.search(reason)) and match[1] not in self.kernel.lacks
        }

    @property
    def good(self) -> bool:
        """Everything ran, nothing failed, nothing was skipped that this kernel can do."""
        return bool(self.passed) and not (self.failed or self.problem or self.unavailable or self.wrong_skips)


def markers_left_out(arch: str) -> tuple[str, ...]:
    """The markers of tests that guests of an architecture do not run."""
    return _IN_NONE if arch == _ARCH else (*_IN_NONE, _IN_ONE)


def left_out(*markers: str) -> list[str]:
    """The files, below :data:`SOURCE`, whose tests all have one of the markers: guests need not even read them, which
    takes them 13 times longer.
    """
    mark = re.compile(rf"\bpytest\.mark\.({'|'.join(markers)})\b")
    return [
        str(path.relative_to(SOURCE))
        for path in sorted((SOURCE / "tests").rglob("test_*.py"))
        if any(mark.search(each[1]) for each in _MARKS.finditer(path.read_text(encoding="utf-8")))
    ]


def prepare(kernel: Kernel, more: Sequence[str] = ()) -> tuple[Files, Root]:
    """The kernel and its root file system, with ``more`` packages, downloaded and made where the cache lacks them.

    :raises VmError: they cannot be had.
    """
    qemu.check_host(kernel.arch)
    with locked() as cache:
        root = image.build(kernel.arch, cache, tuple(more), size=LARGE if more else image.SIZE)
        return kernels.fetch(kernel, Apt(cache, kernels.DEBIAN_ARCH[kernel.arch]), cache), root


def run(
    kernel: Kernel,
    arguments: Sequence[str] = (),
    timeout: float = TIMEOUT,
    stop: threading.Event | None = None,
) -> Outcome:
    """Run the suite (with more ``arguments`` to pytest) in ``kernel``. Raises nothing that the outcome can say."""
    try:
        files, root = prepare(kernel)
    except VmError as error:
        return Outcome(kernel, unavailable=str(error))
    outcome = Outcome(kernel, version=files.version)
    # An interrupted pytest still says what it was doing and writes its results.
    limit = ["timeout", "-s", "INT", str(max(1, int(timeout) - MARGIN))]
    markers = markers_left_out(kernel.arch)
    chosen = ["-m", " and ".join(f"not {each}" for each in markers)]
    ignored = [f"--ignore={path}" for path in left_out(*markers)]
    outcome.left_out = left_out(_IN_ONE) if _IN_ONE in markers else []
    command = ["env", f"{GUEST}={kernel.name}", *limit, *PYTEST, *chosen, *ignored, *arguments]
    with tempfile.TemporaryDirectory(prefix="pybpf-vm-") as directory:
        out = Path(directory)
        try:
            done = qemu.run(kernel.arch, files, root, SOURCE, command, out, timeout=timeout, stop=stop)
        except VmError as error:
            outcome.problem = str(error)
            return outcome
        outcome.seconds, outcome.cpu = done.seconds, done.cpu
        _read(outcome, done)
    return outcome


def _read(outcome: Outcome, done: qemu.Run) -> None:
    """Fill in the results; ``done.out`` is still there."""
    tail = "\n".join(done.console.splitlines()[-TAIL:])
    if done.status in qemu.ENDINGS and not (done.out / "rc").exists():
        outcome.problem = f"the guest {qemu.ENDINGS[done.status]}; its last lines:\n{tail}"
        return
    outcome.boot = float((done.out / "boot").read_text())
    junit = done.out / "junit.xml"
    if junit.exists():
        read_junit(outcome, junit)
    outcome.slowest = _section(done.console, "slowest")
    reported = outcome.passed + len(outcome.failed) + sum(outcome.skipped.values())
    selected = _selected(done.console)
    # pytest: 0 all passed, 1 some failed; anything else did not run the suite to its end
    if done.status not in (0, 1) or reported < selected:
        ran = f"{reported} of {selected} tests; it ended with status {done.status}"
        outcome.problem = f"pytest reported {ran}; the last lines:\n{tail}"


def read_junit(outcome: Outcome, path: Path) -> None:
    """Fill in what pytest's file says of each test."""
    for case in ElementTree.parse(path).iter("testcase"):
        module = case.get("classname", "")
        name = f"{module}::{case.get('name', '')}"
        outcome.files[module] += int(1000 * float(case.get("time", 0)))
        bad = [child for child in case if child.tag in ("failure", "error")]
        skip = case.find("skipped")
        outcome.unsteady.update((name, each.get("value", "")) for each in case.iter("property")
                                if each.get("name") == UNSTEADY)  # fmt: skip
        if bad:
            # A test that fails, and again when it is torn down, is there twice: the first says why.
            messages = [f"{child.get('message', '')}\n{child.text or ''}" for child in bad]
            outcome.failed[name] = "\n".join([*filter(None, [outcome.failed.get(name)]), *messages])
        elif skip is not None:
            outcome.skipped[skip.get("message", "")] += 1
        else:
            outcome.passed += 1


def _selected(console: str) -> int:
    """How many tests pytest said it would run; at least one."""
    match = re.search(r"^(?:collecting \.\.\. )?collected (\d+) items?(?: / (\d+) deselected)?", console, re.MULTILINE)
    return int(match[1]) - int(match[2] or 0) if match else 1


def _section(console: str, title: str) -> str:
    """A section of pytest's output, from its ``==== title ====`` line to the next such line."""
    match = re.search(rf"^=+ {title}.*?=\n(.*?)^=", console, re.MULTILINE | re.DOTALL)
    return match[1].strip() if match else ""
