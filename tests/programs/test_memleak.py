"""memleak: exactly what a process, or the kernel for it, allocates through each allocator and does not give back."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.programs.allocations import Worker
from tests.programs.cases import Running, run

pytestmark = [pytest.mark.root, pytest.mark.needs("uprobe")]

def leaks(worker: Worker, line: str, *options: str) -> tuple[Counter[int], dict[str, Any]]:
    """What is left by a line, and the last report of it."""
    tool = Running("memleak", "-p", worker.pid, "-o", "0", "--json", "-a", *options)
    tool.attached()
    left = worker.do(line)
    return left, json.loads(tool.stop()[-1])


def sizes(report: dict[str, Any]) -> Counter[int]:
    return Counter(each["bytes"] for each in report["allocations"])


@pytest.mark.parametrize("base", [70001, pytest.param(3000001, marks=pytest.mark.native)])  # a mapping each, in glibc
def test_every_allocator(base: int) -> None:
    with Worker(base) as worker:
        left, report = leaks(worker, "work()", "-z", str(base - 4096), "-Z", str(base + 60))
    assert len(left) >= 6 and sizes(report) == left
    assert report["count"] == sum(left.values()) and report["bytes"] == sum(left.elements())
    assert sum(each["bytes"] for each in report["stacks"]) == report["bytes"]
    assert all(each["pid"] == int(worker.pid) for each in report["stacks"])


@pytest.mark.parametrize("combined", [[], ["--combined-only"]])
def test_parts_of_mappings(combined: list[str]) -> None:
    with Worker(70001) as worker:
        left, report = leaks(worker, "parts()", "-z", str(60 * 4096), "-Z", str(205 * 4096), *combined)
    assert sizes(report) == left
    assert report["bytes"] == sum(left.elements()) and report["count"] == 9  # those with a hole are one each


@pytest.mark.native
def test_steps_of_mappings() -> None:
    with Worker(70000) as worker:
        tool = Running("memleak", "-p", worker.pid, "-z", str(60 * 4096), "-Z", str(205 * 4096), "-t", "--json")
        tool.attached()
        worker.do("a = pages(101); munmap(a + PAGE, PAGE); at(a, 70); munmap(a, 101 * PAGE)")
        steps = [json.loads(line) for line in tool.stop() if line.startswith("{")]
    assert [(step["event"], step["bytes"] // 4096) for step in steps] == [
        ("alloc", 101), ("free", 1), ("free", 1), ("free", 68), ("alloc", 70), ("free", 70), ("free", 31),
    ]  # fmt: skip


@pytest.mark.native
def test_reports_as_bcc_prints_them() -> None:
    with Worker(70000) as worker:
        options = ["-z", "70001", "-Z", "70009", "-o", "0", "-a", "-T", "1", "0.3"]
        tool = Running("memleak", "-p", worker.pid, *options)
        tool.attached()
        worker.do("[call('malloc', N(70001)) for _ in range(3)]")
        out = [line.rstrip("\n") for line in tool.until(lambda line: " in 3 allocations " in line)] + tool.stop()
        limited = Running("memleak", "-p", worker.pid, "0.1", "2").wait()
    heads = [index for index, line in enumerate(out) if line.endswith("] Top 1 stacks with outstanding allocations:")]
    assert out[0] == f"Attaching to pid {worker.pid}, Ctrl+C to quit." and len(heads) > 1 and heads[0] == 1
    assert sum("stacks with outstanding allocations:" in line for line in limited) == 2
    last = out[heads[-1] + 1 :]
    assert [line.split()[-2:] for line in last[:3]] == [["=", "70001"]] * 3
    assert all(line.startswith("\taddr = ") and " size = " in line for line in last[:3])
    assert last[3] == "\t210003 bytes in 3 allocations from stack"
    assert len(last) > 4 and all(line.startswith("\t\t0x") and line[20] == "\t" for line in last[4:])


@pytest.mark.native
def test_a_report_of_many_allocations_takes_little_memory() -> None:
    with Worker(70000) as worker:
        options = ["-z", "700", "-Z", "700", "-o", "0", "--json", "0.5"]
        tool = Running("memleak", "-p", worker.pid, *options)
        tool.attached()
        worker.do("for _ in range(100000): call('malloc', N(700))")
        tool.until(lambda line: json.loads(line)["count"] == 100000 if line.startswith("{") else False)
        status = Path(f"/proc/{tool.process.pid}/status").read_text()
        tool.stop()
    assert int(status.partition("VmHWM:")[2].split()[0]) * 1024 < 40e6


@pytest.mark.native
def test_what_is_young_does_not_count_until_the_process_has_ended() -> None:
    with Worker(70000) as worker:
        options = ["-z", "70001", "-Z", "70009", "-o", "600000", "--json", "0.2"]
        tool = Running("memleak", "-p", worker.pid, *options)
        tool.attached()
        worker.do("call('malloc', N(70001))")
        assert [json.loads(tool.ready("{"))["bytes"] for _ in range(2)] == [0, 0]
    assert json.loads(tool.wait()[-1])["bytes"] == 70001


@pytest.mark.native
@pytest.mark.parametrize("combined", [[], ["--combined-only"]])
def test_a_command_which_executes_another_one(combined: list[str]) -> None:
    """What a program had when it called execve(2) is not there any more."""
    one = "import ctypes, os, sys; f = ctypes.CDLL(None).malloc; [f(70005) for _ in range(int(sys.argv[1]))]; "
    then = f"os.execv({sys.executable!r}, ['python', '-c', {one!r}, '3'])"
    words = shlex.join([sys.executable, "-c", f"{one}{then}", "2"])
    found = run("memleak", "-c", words, "-z", "70001", "-Z", "70009", "--json", *combined)
    report = json.loads(found.stdout.splitlines()[-1])
    assert found.returncode == 0 and (report["bytes"], report["count"]) == (3 * 70005, 3), found.stderr


@pytest.mark.native
def test_combined_sums_go_down_again() -> None:
    with Worker(70001) as worker:
        left, report = leaks(worker, "work()", "-z", "65905", "-Z", "70060", "--combined-only")
    assert (report["count"], report["bytes"]) == (sum(left.values()), sum(left.elements()))


@pytest.mark.native
def test_children_that_are_followed() -> None:
    """What has an address in a child is something else than what has it in its parent."""
    with Worker(70000) as worker:
        forks = "a = call('malloc', N(70001)); p = os.fork(); p or (free(a, 0), call('malloc', N(70002)), os._exit(0))"
        _, report = leaks(worker, f"{forks}; os.waitpid(p, 0)", "-z", "70001", "-Z", "70009", "--follow")
    assert sizes(report) == Counter([70001, 70002])
    assert len({each["pid"] for each in report["stacks"]}) == 2


@pytest.mark.native
def test_every_third_allocation() -> None:
    with Worker(70000) as worker:
        work = "[call('malloc', N(70001 + i)) for i in range(9)]"
        _, report = leaks(worker, work, "-z", "70001", "-Z", "70009", "-s", "3")
    assert sizes(report) == Counter([70003, 70006, 70009])


@pytest.mark.native
def test_each_step() -> None:
    with Worker(70000) as worker:
        tool = Running("memleak", "-p", worker.pid, "-z", "70001", "-Z", "70009", "-t")
        tool.attached()
        worker.do("free(call('malloc', N(70003)), 0)")
        _, one, other = tool.stop()
    address = one.rpartition(" ")[2]
    assert int(address, 16) and one.startswith("(python") and f" {worker.pid} " in one
    assert one.endswith(f") alloc exited, size = 70003, result = {address}")
    assert other.endswith(f") free entered, address = {address}, size = 70003")


# --- stacks

@pytest.mark.native
def test_stacks_and_pictures(program: Path, tmp_path: Path) -> None:
    pictures = [word for form in ("flamegraph", "speedscope", "pprof") for word in (f"--{form}", str(tmp_path / form))]
    options = ["-z", "70001", "-Z", "70009", "--folded", "-o", "0"]
    tool = Running("memleak", "-c", str(program), *options, *pictures, "0.2", stdin=subprocess.PIPE)
    tool.attached()
    assert tool.process.stdout
    # the process is there when names are looked up
    assert any(tool.process.stdout.readline().endswith(" 210009\n") for _ in range(100))
    assert tool.process.stdin
    tool.process.stdin.close()  # ends the program
    lines = tool.wait()[-2:]
    wanted = {("main", "once", "leaf"): [70001], ("main", "thrice", "leaf"): [70002 + 70003 + 70004]}
    found: dict[tuple[str, ...], list[int]] = {}
    for line in lines:
        stack, _, value = line.rpartition(" ")
        found.setdefault(tuple(stack.split(";")[-3:]), []).append(int(value))
    assert {key: value for key, value in found.items() if "leaf" in key} == wanted, lines
    profile = json.loads((tmp_path / "speedscope").read_text())["profiles"][0]
    assert profile["unit"] == "bytes" and profile["endValue"] == 70001 + 70002 + 70003 + 70004
    assert 'data-name="thrice"' in (tmp_path / "flamegraph").read_text()
    assert (tmp_path / "pprof").stat().st_size > 100


# --- the kernel

# Messages of System V: the kernel keeps each in a block of its own.
MESSAGES = """
import ctypes, sys
lib = ctypes.CDLL(None, use_errno=True)
queue = lib.msgget(0, 0o600)
message = ctypes.create_string_buffer(b"\\1" + bytes(7) + b"x" * 900)
open("/proc/self/comm", "w").write("memleak-messages"[:15])
print("ready" if queue >= 0 else "none", flush=True)
sys.stdin.readline()
for _ in range(12):
    assert lib.msgsnd(queue, message, ctypes.c_size_t(900), 0) == 0
for _ in range(2):
    assert lib.msgrcv(queue, message, ctypes.c_size_t(900), ctypes.c_long(0), 0) == 900
print("done", flush=True)
sys.stdin.readline()
lib.msgctl(queue, 0, None)
"""


def test_of_the_kernel() -> None:
    words = [sys.executable, "-c", MESSAGES]
    worker = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert worker.stdin and worker.stdout
    if worker.stdout.readline() == "none\n":
        worker.communicate()
        pytest.skip("this kernel has no messages of System V")
    comm = "memleak-message"
    options = ["--comm", comm, "-z", "901", "-Z", "1024", "-o", "0", "--json", "--most", "20000"]
    tool = Running("memleak", *options)
    tool.attached()
    worker.stdin.write("\n")
    worker.stdin.flush()
    assert worker.stdout.readline() == "done\n"
    tool.process.send_signal(signal.SIGINT)  # it may have missed what interrupts freed while a probe ran
    report = json.loads(tool.process.communicate(timeout=60)[0].splitlines()[-1])
    worker.communicate("\n")
    messages = [each for each in report["stacks"] if any("msgsnd" in frame for frame in each["stack"])]
    assert sum(each["count"] for each in messages) == 10, report  # twelve were sent, and two received
    assert sum(each["bytes"] for each in messages) == 10 * 1024 and "pid" not in messages[0]


# --- options


@pytest.mark.pure
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--percpu", "-c", "true"], "--percpu is for the memory of the kernel"),
        (["-z", "10", "-Z", "9"], "no size is at least"),
        (["-o", "-1"], "-1 is no whole number from 0"),
        (["--flamegraph", "/no/such/directory/x.svg"], "there is no directory /no/such/directory"),
        (["-s", "0"], "0 is no whole number from 1"),
    ],
)
def test_wrong_options(options: list[str], says: str) -> None:
    found = run("memleak", *options)
    assert found.returncode == 2 and says in found.stderr


@pytest.mark.native
def test_a_library_without_allocators() -> None:
    found = run("memleak", "-O", "libm.so.6", "-c", "true")
    assert found.returncode == 1 and "has no allocator: none of malloc, " in found.stderr
    assert len(found.stderr.splitlines()) == 1
