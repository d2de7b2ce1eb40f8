"""runqlat: a thread waits for a CPU exactly as often as it has left one."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from programs.runqlat import SWITCH, TOOL
from pybpf import Tracer
from pybpf.tool import Run, places
from pybpf.tool.command import parse
from tests.programs.cases import Running, run
from tests.programs.workload import Caller

pytestmark = [pytest.mark.root]
WORK = "usleep,1000*40"


@pytest.fixture
def caller() -> Iterator[Caller]:
    with Caller() as made:
        yield made


def switches(pid: int) -> int:
    """How often a thread has left its CPU, once it waits."""
    while True:
        fields = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        if fields["State"].startswith("S"):
            return int(fields["voluntary_ctxt_switches"]) + int(fields["nonvoluntary_ctxt_switches"])
        time.sleep(0.01)


def counts(lines: list[str]) -> int:
    """What all rows of the histograms that were printed count."""
    return sum(int(line.split(":")[1].split("|")[0]) for line in lines if "|" in line)


def histograms(lines: list[str]) -> list[dict[str, Any]]:
    return [each for line in lines for each in json.loads(line)["histograms"]]


@pytest.mark.native
def test_it_counts_every_time_that_a_thread_runs(caller: Caller) -> None:
    """Several tools at once, each with another filter or form."""
    pid = str(caller.pid)
    tools = {
        "text": Running("runqlat", "-p", pid),
        "thread": Running("runqlat", "-t", pid, "--comm", caller.comm, "-L", "--json"),
        "process": Running("runqlat", "-p", pid, "-u", str(os.getuid()), "-P", "--json"),
        "namespace": Running("runqlat", "-p", pid, "--pidnss", "-m", "--json"),
        "nobody": Running("runqlat", "-p", pid, "--comm", "nobody", "--json"),
        "other": Running("runqlat", "-p", pid, "-u", "4242", "--json"),
    }
    for tool in tools.values():
        tool.attached()
    before = switches(caller.pid)
    caller.call(WORK)
    expected = switches(caller.pid) - before
    found = {name: tool.stop() for name, tool in tools.items()}
    assert expected >= 40 and counts(found["text"]) == expected
    assert found["text"][0] == "Tracing run queue latency... Hit Ctrl-C to end." and "usecs" in "".join(found["text"])
    namespace = os.stat(f"/proc/{os.getpid()}/ns/pid").st_ino
    for name, key, value in (("thread", "tid", caller.pid), ("process", "pid", caller.pid),
                             ("namespace", "pidns", namespace)):  # fmt: skip
        (histogram,) = histograms(found[name])
        assert histogram[key] == value and histogram["count"] == expected, name
    assert not histograms(found["nobody"]) and not histograms(found["other"])


@pytest.mark.parametrize("place", SWITCH.places)
def test_every_way(
    place: str, caller: Caller, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each kind of place where it can be seen that threads are woken and run."""
    if places.lack(place):
        pytest.skip(f"this kernel has no {place}")
    kind = place.partition(":")[0]
    monkeypatch.setattr(places, "lack", lambda other: "" if other.startswith(kind) else "not here")
    expected = 0

    class Working(Run):
        """The process works as soon as it is traced; then the run is over."""

        def start(self, tracer: Tracer) -> None:
            nonlocal expected
            super().start(tracer)
            before = switches(caller.pid)
            caller.call(WORK)
            expected = switches(caller.pid) - before
            self.stop()

    with Working(TOOL, parse(TOOL, ["-L", "-t", str(caller.pid), "--json"])) as running:
        TOOL.trace(running)
    out, err = capsys.readouterr()
    (histogram,) = histograms(out.splitlines())
    # a tracepoint's program is not run where it interrupts one of another tracer: that is said
    missed = sum(int(line.split()[1]) for line in err.splitlines() if "hits missed" in line)
    assert histogram["tid"] == caller.pid and expected >= 40
    assert expected - missed <= histogram["count"] <= expected, err


@pytest.mark.native
def test_intervals_and_the_picture(caller: Caller, tmp_path: Path) -> None:
    file = tmp_path / "out.html"
    tool = Running("runqlat", "-T", "-L", "-p", str(caller.pid), "--heatmap", str(file), "0.3")
    tool.ready("Tracing")
    caller.call(WORK)
    lines = [line.rstrip("\n") for line in tool.until(lambda line: line.startswith("tid = "))] + tool.stop()
    assert sum(line.count(":") == 2 and "|" not in line for line in lines) >= 2
    assert f"tid = {caller.pid}" in lines and counts(lines) >= 40
    assert f"tid = {caller.pid}" in file.read_text()
    limited = Running("runqlat", "-p", str(caller.pid), "--json", "0.1", "3")
    assert len(limited.wait()) == 3


@pytest.mark.native
def test_wrong_options_are_explained() -> None:
    found = run("runqlat", "-P", "-L")
    assert found.returncode == 2 and "--pids and --tids exclude each other" in found.stderr
