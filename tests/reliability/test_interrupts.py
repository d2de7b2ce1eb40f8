"""Ctrl-C at any moment ends a command: it is not lost, there is no traceback, and who has begun to trace reports."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.attach.targets import Caller

#: moments for each command; the long form: ``PYBPF_DEATHS=300 pytest tests/reliability/test_interrupts.py``
MOMENTS = int(os.environ.get("PYBPF_DEATHS", "4"))
ROOT = Path(__file__).parent.parent.parent
#: seconds within which a process ends, on a machine that has much else to do
PATIENCE = 60

#: the command, from the moment at which Python itself is ready; before, Ctrl-C is Python's
_COMMAND = """
import os
try:
    print("begun", flush=True)
    import pybpf.__main__
except KeyboardInterrupt:
    os._exit(130)
"""
#: arguments, the line that says that it traces, what it says at its end
COMMANDS = {
    "stackcount": (("stackcount", "c:getppid"), "Tracing", "getppid"),
    "bt": (("bt", "-q", "-e", "interval:s:100 { @ = 1; } end { printf(\"over\\n\"); }"), "__BPFTRACE_NOTIFY", "over"),
}

pytestmark = [pytest.mark.root, pytest.mark.native]


@contextmanager
def _begun(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "__BPFTRACE_NOTIFY_PROBES_ATTACHED": "1"}
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=ROOT, env=environment,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
    try:
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("name", COMMANDS)
def test_ctrl_c_at_any_moment(name: str) -> None:
    arguments, tracing, report = COMMANDS[name]
    rng, life = random.Random(name), 0.0
    with Caller() as caller:
        for turn in range(MOMENTS + 1):
            begin = time.monotonic()
            with _begun(_COMMAND, *arguments, "-p", str(caller.pid)) as process:
                assert process.stdout is not None
                shown = ""
                if turn:
                    time.sleep(1.2 * life * (turn - rng.random()) / MOMENTS)  # every part of its life has its turn
                else:
                    while tracing not in shown:
                        line = process.stdout.readline()
                        assert line, process.communicate()
                        shown += line
                    life = time.monotonic() - begin
                    caller.call(1)
                process.send_signal(signal.SIGINT)
                out, error = process.communicate(timeout=PATIENCE)
            assert error == "", f"moment {turn}"
            assert process.returncode in ((0, 130) if turn else (0,))
            if tracing in shown + out:
                assert process.returncode == 0, "who traces ends with a report"
                assert turn or report in out


_DROPPED = """
import signal, sys
class Late:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
class Finder:
    def find_spec(self, name, path, target=None):
        if name == "pybpf.bt.command.tracing":
            Late()
sys.meta_path.insert(0, Finder())
print("begun", flush=True)
import pybpf.__main__
"""


def test_an_interrupt_that_python_drops_comes_again() -> None:
    """As in the callbacks of weak references that imports have; a while later it may find the script running."""
    with _begun(_DROPPED, "bt", "-q", "-e", "interval:s:100 { }") as process:
        _, error = process.communicate(timeout=PATIENCE)
    assert (process.returncode, error) in ((0, ""), (130, ""))
