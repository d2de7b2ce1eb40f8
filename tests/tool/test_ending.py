"""How a run of a tool waits and ends; the command that it runs; values of options."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from pybpf.errors import NotFoundError
from pybpf.tool import arguments
from pybpf.tool.child import Child
from pybpf.tool.ending import Ending

pytestmark = pytest.mark.native


def test_a_run_ends_after_its_duration_with_a_report_per_interval() -> None:
    begun = time.monotonic()
    with Ending() as run:
        run.start(duration=0.5)
        reports = list(run.intervals(0.2))
    assert time.monotonic() - begun >= 0.5
    # at 0.2 and 0.4 s, and at the end; on a busy machine one that comes too late is left out
    assert 1 <= len(reports) <= 3
    assert reports == sorted(reports)


@pytest.mark.parametrize("every", [1e-9, 1e-300])
def test_an_interval_that_cannot_be_kept_does_not_stop_the_run(every: float) -> None:
    with Ending() as run:
        run.start(duration=0.1)
        assert len(list(run.intervals(every))) >= 1


def test_without_an_interval_there_is_one_report() -> None:
    with Ending() as run:
        run.start(duration=0.1)
        assert len(list(run.intervals(None))) == 1


def test_a_count_of_intervals_ends_the_run() -> None:
    with Ending() as run:
        assert len(list(run.intervals(0.01, 3))) == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_and_the_handlers_come_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    timer = threading.Timer(0.1, os.kill, (os.getpid(), number))
    with Ending() as run:
        timer.start()
        reports = list(run.intervals(None))
    timer.join()
    assert len(reports) == 1 and signal.getsignal(number) is before


def test_a_signal_before_the_first_wait_still_gives_the_report() -> None:
    with Ending() as run:
        os.kill(os.getpid(), signal.SIGTERM)
        assert len(list(run.intervals(0.01))) == 1


def test_a_run_ends_with_the_process() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert process.stdin
    timer = threading.Timer(0.1, process.stdin.close)
    with Ending() as run:
        run.start(pid=process.pid)
        timer.start()
        assert len(list(run.intervals(None))) == 1
    timer.join()
    process.wait()


def test_a_run_ends_with_the_last_of_several_processes() -> None:
    processes = [subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) for _ in range(2)]
    seen = []
    with Ending() as run:
        run.start(pid=tuple(process.pid for process in processes))
        processes[0].communicate()
        for _ in run.intervals(None, meanwhile=lambda: seen.append(processes[1].stdin.close())):  # type: ignore[union-attr]
            assert seen  # the end of the first was not the end of the run
    for process in processes:
        process.wait()


def test_a_process_that_is_gone_is_reported() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with Ending() as run, pytest.raises(NotFoundError, match=f"process {process.pid} has ended"):
        run.start(pid=process.pid)


def test_a_child_waits_for_its_start(tmp_path: object) -> None:
    marker = f"{tmp_path}/ran"
    with Child(["touch", marker]) as child:
        time.sleep(0.1)
        assert not os.path.exists(marker)
        child.start()
        with Ending() as run:
            run.start(pid=child.pid)
            list(run.intervals(None))
        assert os.path.exists(marker)
    with pytest.raises(ChildProcessError):
        os.waitpid(child.pid, 0)  # it was reaped


def test_a_child_that_is_not_started_does_not_run(tmp_path: object) -> None:
    marker = f"{tmp_path}/ran"
    with Child(["touch", marker]):
        pass
    assert not os.path.exists(marker)


def test_a_child_does_not_outlive_the_block() -> None:
    with Child(["sleep", "1000"]) as child:
        child.start()
    assert not os.path.exists(f"/proc/{child.pid}")


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "1e10", "1e-9"])
def test_times_are_above_zero_and_finite(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        arguments.seconds(text)


def test_a_child_that_ignores_the_request_to_end_is_killed() -> None:
    begun = time.monotonic()
    with Child(["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]) as child:
        child.start()
        time.sleep(0.2)
    assert not os.path.exists(f"/proc/{child.pid}") and time.monotonic() - begun < 30


def test_a_child_has_the_signals_of_a_new_program() -> None:
    with Child(["sleep", "1000"]) as child:
        child.start()
        with open(f"/proc/{child.pid}/status") as file:
            ignored = next(line.split()[1] for line in file if line.startswith("SigIgn:"))
        assert int(ignored, 16) & (1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1 | 1 << signal.SIGINT - 1) == 0
