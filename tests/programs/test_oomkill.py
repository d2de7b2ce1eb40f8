"""oomkill: a process that takes more memory than its control group may have."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from programs.oomkill import KILL
from pybpf.tool import places
from tests.programs.cases import Running, while_it_runs

pytestmark = [pytest.mark.root, pytest.mark.needs("tracepoint"), pytest.mark.native]

LIMIT = 24 << 20
#: takes memory until it is killed
GREEDY = """
import sys
open("/proc/self/comm", "w").write("greedy")
print("ready", flush=True)
sys.stdin.readline()
kept = []
while True:
    kept.append(bytearray(b"x") * (1 << 20))
"""


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Path]:
    """A control group of either version whose memory is limited."""
    name = f"pybpf-test-oom-{tmp_path.name[-20:]}"
    if Path("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists():
        made, limit, swap = Path("/sys/fs/cgroup/memory", name), "memory.limit_in_bytes", "memory.swappiness"
    elif "memory" in controllers("/sys/fs/cgroup"):
        made, limit, swap = Path("/sys/fs/cgroup", name), "memory.max", "memory.swap.max"
    else:
        pytest.skip("there are no control groups of memory")
    try:
        if limit == "memory.max":
            (made.parent / "cgroup.subtree_control").write_text("+memory")
        made.mkdir()
    except OSError as error:
        pytest.skip(f"no control group of memory can be made: {error}")
    try:
        (made / limit).write_text(str(LIMIT))
        if (made / swap).exists():
            (made / swap).write_text("0")
        yield made
    finally:
        made.rmdir()


def greedy(group: Path) -> subprocess.Popen[bytes]:
    """A process in the group, which takes memory when its standard input ends."""
    process = subprocess.Popen([sys.executable, "-S", "-c", GREEDY], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    with process.stdout as said:
        assert said.readline() == b"ready\n"
    (group / "cgroup.procs").write_text(str(process.pid))
    return process


def controllers(top: str) -> list[str]:
    try:
        return Path(top, "cgroup.controllers").read_text().split()
    except OSError:
        return []


@pytest.mark.parametrize("place", KILL.places)
def test_every_way(
    place: str, group: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each place where it can be seen that a process is killed."""
    if places.lack(place):
        pytest.skip(f"this kernel has no {place}")
    monkeypatch.setattr(places, "lack", lambda other: "" if other == place else "not here")
    process = greedy(group)

    def eat() -> None:
        assert process.stdin
        process.stdin.close()
        assert process.wait(timeout=60) == -signal.SIGKILL

    assert while_it_runs("oomkill", eat, ["--json", "-p", str(process.pid)]) == 0
    (found,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (found["pid"], found["comm"], found["victim_pid"]) == (process.pid, "greedy", process.pid)
    # where the kernel tells the pid alone, the name is asked of /proc, and may be gone
    assert found["victim_comm"] in ("greedy", "[unknown]") and (found["victim_comm"] == "greedy" or "(" not in place)
    assert any("oom" in frame or "out_of_memory" in frame for frame in found["stack"])


@pytest.mark.native
def test_a_victim(group: Path) -> None:
    process = greedy(group)
    assert process.stdin
    pid = str(process.pid)
    tools = [Running("oomkill", "-p", pid), Running("oomkill", "-p", pid, "--json")]
    for tool in tools:
        tool.attached()
    process.stdin.write(b"\n")
    process.stdin.close()
    assert process.wait(timeout=60) == -signal.SIGKILL
    lines, objects = (tool.wait() for tool in tools)
    row = lines[1] if lines[0].startswith("Tracing OOM kills") else lines[0]
    assert re.match(
        rf'\d\d:\d\d:\d\d Triggered by PID {pid} \("greedy"\), OOM kill of PID {pid} \("greedy"\), .*loadavg: \d', row
    ), lines
    frames = [line for line in lines if line.startswith("\t")]
    assert any("out_of_memory" in frame or "oom" in frame for frame in frames)
    (found,) = map(json.loads, objects)
    assert (found["pid"], found["comm"], found["victim_pid"], found["victim_comm"]) == (
        process.pid, "greedy", process.pid, "greedy"
    )  # fmt: skip
    if found["total_vm_kb"] is not None:
        # what it had before it was put into the group is not limited
        assert LIMIT // 1024 // 4 < found["anon_rss_kb"] <= 2 * LIMIT // 1024 and found["total_vm_kb"] > LIMIT // 1024
        assert found["victim_uid"] == 0 and found["oom_score_adj"] == 0 and f"anon-rss {found['anon_rss_kb']} kB" in row
    else:
        assert found["pages"] is None or found["pages"] >= LIMIT // 65536
