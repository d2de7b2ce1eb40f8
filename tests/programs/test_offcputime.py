"""offcputime: the time that a process sleeps, between what it asked for and what it took."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence

import pytest

from programs.offcputime import SWITCH, TOOL
from pybpf.tool import places
from tests.programs.cases import Running, run
from tests.programs.workload import Caller

pytestmark = [pytest.mark.root]
#: how often, and how many microseconds each time
SLEEPS, LONG = 30, 20_000


@pytest.fixture
def caller() -> Iterator[Caller]:
    with Caller() as made:
        yield made


def folded(lines: Sequence[str], name: str) -> int:
    """The sum of the stacks that have a function."""
    return sum(int(line.rpartition(" ")[2]) for line in lines if name in line)


@pytest.mark.native
def test_sleeps_of_a_process(caller: Caller) -> None:
    """All tools at once: each sees the same sleeps."""
    pid = str(caller.pid)
    tools = {
        "both": Running("offcputime", "-f", "-d", "-u", "-p", pid),
        "thread": Running("offcputime", "-f", "-K", "-t", f"{pid},{os.getpid()}"),
        "long": Running("offcputime", "-f", "-U", "-p", pid, "-m", str(LONG)),
        "short": Running("offcputime", "-f", "-K", "-p", pid, "-M", "1000"),
        "asleep": Running("offcputime", "-f", "-K", "-p", pid, "--state", "0x1"),
        "awake": Running("offcputime", "-f", "-K", "-p", pid, "--state", "0"),
        "kernel": Running("offcputime", "-f", "-K", "-p", pid, "-k"),
    }
    for tool in tools.values():
        tool.attached()
    begun = time.monotonic()
    caller.call(f"usleep,{LONG}*{SLEEPS} usleep,100*3")
    most = (time.monotonic() - begun) * 1e6
    found = {name: tool.stop() for name, tool in tools.items()}
    least = SLEEPS * LONG
    for name in ("both", "thread", "long", "asleep"):
        assert least <= folded(found[name], "nanosleep") <= most, name
    for line in found["both"]:
        frames = line.rpartition(" ")[0].split(";")
        assert frames[0] == caller.comm and ("nanosleep" not in line or frames.index("-") > 1)
    # before and after it sleeps, others may take the CPU from it
    assert folded(found["awake"], "nanosleep") <= most - least
    assert folded(found["short"], "nanosleep") <= (SLEEPS + 3) * 1000 and not found["kernel"]


@pytest.mark.native
def test_text_as_bcc_prints_it(caller: Caller) -> None:
    tool = Running("offcputime", "-s", "-p", str(caller.pid))
    first = tool.ready("Tracing off-CPU")
    assert first == f"Tracing off-CPU time (us) of PID {caller.pid} by user + kernel stack... Hit Ctrl-C to end.\n"
    caller.call("usleep,10000*10")
    lines = tool.stop()
    end = next(i for i, line in enumerate(lines) if "nanosleep+0x" in line and "do_" in line)
    block = lines[end : lines.index("", end)]
    assert re.fullmatch(r" {8}\d+", block[-1]) and int(block[-1]) >= 100_000
    assert block[-2] == f"    {'-':<16} {caller.comm} ({caller.pid})"
    assert all(re.fullmatch(r" {4}(\S.*\+0x[0-9a-f]+|\[unknown\])", each) for each in block[:-2])


@pytest.mark.parametrize(
    "place",
    [
        *SWITCH.places[:2],
        *(pytest.param(place, marks=pytest.mark.needs("kprobe")) for place in SWITCH.places[2:]),
    ],
)
def test_every_way(place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each place where it can be seen that threads switch."""
    if places.lack(place):
        pytest.skip(f"this kernel has no {place}")
    monkeypatch.setattr(places, "lack", lambda other: "" if other == place else "not here")
    script = f"import time\nfor _ in range({SLEEPS}): time.sleep({LONG} / 1e6)"
    begun = time.monotonic()
    assert TOOL.main(["--json", "-K", "-u", "--exec", sys.executable, "-S", "-c", script]) == 0
    most = (time.monotonic() - begun) * 1e6
    captured = capsys.readouterr()
    (report,) = map(json.loads, captured.out.splitlines())
    found = sum(each["us"] for each in report["stacks"] if any("nanosleep" in name for name in each["kernel"]))
    assert SLEEPS * LONG <= found <= most and not captured.err
    assert all(each["pid"] and each["comm"] for each in report["stacks"])


@pytest.mark.native
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-k", "-u"], "exclude each other"),
        (["-K", "-U"], "exclude each other"),
        (["-m", "5", "-M", "4"], "above --max-block-time"),
        (["--state", "-1"], "--state"),
        (["--state", "0x100000000"], "no mask of 32 bits"),
        (["1", "--duration", "2"], "two durations"),
    ],
)
def test_wrong_options_are_explained(arguments: list[str], says: str) -> None:
    found = run("offcputime", *arguments)
    assert found.returncode == 2 and says in found.stderr and "Traceback" not in found.stderr
