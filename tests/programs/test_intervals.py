"""Tools that count by key: each interval has room for other keys, however many there were before."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.root]

#: a tool with room for so many keys
ROOM = 20
SMALL = (
    "import sys; from importlib import import_module\n"
    f"import_module('pybpf.programs.' + sys.argv[1]).MAX_ENTRIES = {ROOM}\n"
    "from pybpf.cli import main; sys.exit(main(sys.argv[1:]))"
)
#: makes processes, each of which calls getsid(PID) twice, PID being another one each time
CALLS = """
import os
print("ready", flush=True)
number = 0
while input():
    for _ in range(15):
        number += 1
        child = os.fork()
        if not child:
            for _ in range(2):
                try:
                    os.getsid(10 ** 8 + number)
                except OSError:
                    pass
            os._exit(0)
        os.waitpid(child, 0)
    print("done", flush=True)
"""


def argdist(report: Any) -> list[tuple[int, int]]:
    return [(row["values"]["args->pid"], row["count"]) for row in report["probes"][0]["counts"]]


def funccount(report: Any) -> list[tuple[int, int]]:
    return [(row["pid"], row["count"]) for row in report["counts"]]


def stackcount(report: Any) -> list[tuple[int, int]]:
    return [(row["pid"], row["count"]) for row in report["stacks"]]


@pytest.mark.parametrize(
    ("read", "options"),
    [
        (argdist, ["-C", "t:syscalls:sys_enter_getsid():int:args->pid"]),
        (funccount, ["-P", "t:syscalls:sys_enter_getsid"]),
        (stackcount, ["-P", "-K", "t:syscalls:sys_enter_getsid"]),
    ],
)
def test_more_keys_than_there_is_room_for(read: Callable[[Any], list[tuple[int, int]]], options: list[str]) -> None:
    with subprocess.Popen([sys.executable, "-c", CALLS], stdin=-1, stdout=-1, text=True) as work:
        assert work.stdin and work.stdout and work.stdout.readline() == "ready\n"
        command = [read.__name__, *options, "-i", "0.2", "--json", "--follow", "-p", str(work.pid)]
        with subprocess.Popen([sys.executable, "-c", SMALL, *command], stdout=-1, stderr=-1, text=True) as tool:
            assert tool.stdout and tool.stderr
            tool.stdout.readline()  # a report: it is attached
            found: Counter[int] = Counter()
            for burst in range(1, 4):
                work.stdin.write("more\n")
                work.stdin.flush()
                assert work.stdout.readline() == "done\n"
                done, report = time.time(), {"time": 0}
                while report["time"] <= done + 0.001:
                    report = json.loads(tool.stdout.readline())
                    found.update(dict(read(report)))
                assert sum(found.values()) == 30 * burst
            work.stdin.write("\n")
            work.stdin.close()
            tool.send_signal(signal.SIGINT)
            assert tool.wait() == 0
            assert not tool.stderr.read()
    assert len(found) == 45 > 2 * ROOM and set(found.values()) == {2}
