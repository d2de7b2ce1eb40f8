"""syscount: exact counts of a workload whose system calls are known, by every option."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.root]

# Waits for a line, then makes the calls that it names, as often as it says, and tells when it is done.
# Nothing else in it makes these calls, and each has the same name on every architecture.
WORKLOAD = r"""
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
calls = {"getpgid": lambda: libc.getpgid(0), "getsid": lambda: libc.getsid(0), "yield": libc.sched_yield,
         "badclose": lambda: libc.close(-1), "statfs": lambda: libc.statfs(b"/nonexistent/directory", None)}
print("ready", flush=True)
for line in sys.stdin:
    for item in line.split():
        name, _, count = item.partition("=")
        call = calls[name]
        for _ in range(int(count)):
            call()
    os.write(1, b"done\n")
"""


class Workload:
    """A process that makes system calls on command."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKLOAD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout and self.process.stdout.readline() == "ready\n"
        self.pid = self.process.pid

    def run(self, calls: str) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(calls + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def close(self) -> None:
        self.process.communicate()


@pytest.fixture
def workload() -> Iterator[Workload]:
    process = Workload()
    yield process
    process.close()


def start(*options: str, **kwargs: Any) -> subprocess.Popen[str]:
    """syscount, ready to count."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pybpf", "syscount", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **kwargs,
    )
    if "--json" not in options:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Counting "), (line, process.communicate())
    return process


def stop(process: subprocess.Popen[str], number: int = signal.SIGINT) -> list[str]:
    """End syscount as a user does; the lines of its report."""
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and not err, err
    return out.splitlines()


def counts(lines: Sequence[str]) -> dict[str, int]:
    """SYSCALL or PID -> COUNT of all rows."""
    rows = [line.split() for line in lines if line and not line.startswith(("[", "SYSCALL", "PID", "Detaching"))]
    return {row[0]: int(row[-1]) for row in rows}


def test_counts_by_call_are_exact(workload: Workload) -> None:
    tool = start("-p", str(workload.pid))
    workload.run("getpgid=1000 getsid=77 yield=5")
    lines = stop(tool)
    found = counts(lines)
    assert lines[1].split() == ["SYSCALL", "COUNT"]
    assert lines[-2:] == ["", "Detaching..."]
    # the workload itself reads the command and writes that it is done
    assert (found["getpgid"], found["getsid"], found["sched_yield"]) == (1000, 77, 5)
    assert found["write"] == 1
    assert list(found.values()) == sorted(found.values(), reverse=True)


#: 32-bit machine code: getpid() 500 times, then exit(0); the ELF number of its machine
CODE_32 = {
    "x86_64": ("bbf4010000" "b814000000cd804b75f6" "b80100000031dbcd80", 3),
    "aarch64": ("f44100e3" "1470a0e3000000ef014054e2fbffff1a" "0000a0e30170a0e3000000ef", 40),
}  # fmt: skip


def program_32(path: Path) -> str:
    """A program for the 32-bit processors that the machine's kernel can run programs of."""
    code, machine = CODE_32[os.uname().machine]
    body = bytes.fromhex(code)
    flags = 0x05000000 if machine == 40 else 0  # EABI 5
    header = b"\x7fELF\1\1\1".ljust(16, b"\0") + struct.pack(
        "<HHIIIIIHHHHHH", 2, machine, 1, 0x10054, 52, 0, flags, 52, 32, 1, 0, 0, 0
    )
    segment = struct.pack("<IIIIIIII", 1, 0, 0x10000, 0x10000, 0x54 + len(body), 0x54 + len(body), 5, 0x1000)
    path.write_bytes(header + segment + body)
    path.chmod(0o755)
    return str(path)


def test_calls_of_32_bit_programs_have_numbers_of_their_own(tmp_path: Path) -> None:
    program = program_32(tmp_path / "program")
    try:
        subprocess.run([program], check=True)
    except OSError:
        pytest.skip("the kernel runs no 32-bit programs")
    for options in ([], ["-L"], ["-x"]):
        tool = start("-T", "1000", *options, "--exec", program)
        out, err = tool.communicate(timeout=60)
        assert not err
        rows = {line.split("]")[0]: int(line.split("]")[1].split()[0]) for line in out.splitlines() if "32-bit" in line}
        # the Python that becomes the program calls neither by these numbers
        assert rows.pop("[32-bit: 20", 0) == (0 if "-x" in options else 500)
        assert set(rows) <= {"[32-bit: 1"} and "writev" not in out
    tool = start("--json", "--syscall", "getpid", "--exec", program)
    (line,) = tool.communicate(timeout=60)[0].splitlines()
    assert sum(row["count"] for row in json.loads(line)["counts"]) < 500


def test_counts_by_process_are_exact(workload: Workload) -> None:
    other = Workload()
    tool = start("-P", "--syscall", "getpgid")
    workload.run("getpgid=500")
    other.run("getpgid=40")
    other.close()  # gone when the report is made: its name must have been kept
    lines = stop(tool)
    found = counts(lines)
    assert (found[str(workload.pid)], found[str(other.pid)]) == (500, 40)
    names = {line.split()[0]: line.split()[1] for line in lines if line[:1].isdigit()}
    with open(f"/proc/{workload.pid}/comm") as file:
        assert names[str(workload.pid)] == names[str(other.pid)] == file.read().strip()


def test_filters_by_thread_and_parent(workload: Workload) -> None:
    by_thread = start("-t", str(workload.pid), "--syscall", "getsid")
    by_parent = start("-c", str(os.getpid()), "--syscall", "getsid")
    of_nobody = start("-c", str(workload.pid), "--syscall", "getsid")
    workload.run("getsid=33")
    assert counts(stop(by_thread)) == {"getsid": 33}
    assert counts(stop(by_parent)) == {"getsid": 33}
    assert counts(stop(of_nobody)) == {}


def test_only_failures(workload: Workload) -> None:
    failed = start("-x", "-p", str(workload.pid))
    missing = start("-e", "ENOENT", "-p", str(workload.pid))
    bad_number = start("-e", "9", "-P", "-p", str(workload.pid))
    workload.run("getpgid=10 badclose=20 statfs=30")
    assert counts(stop(failed)) == {"statfs": 30, "close": 20}
    assert counts(stop(missing)) == {"statfs": 30}
    assert counts(stop(bad_number)) == {str(workload.pid): 20}


def test_latency_counts_and_sorts_by_time(workload: Workload) -> None:
    tool = start("-L", "-m", "-p", str(workload.pid))
    workload.run("getpgid=100 getsid=50")
    lines = stop(tool)
    assert lines[1].split() == ["SYSCALL", "COUNT", "TIME", "(ms)"]
    rows = [line.split() for line in lines[2:-2]]
    found = {name: (int(count), float(time)) for name, count, time in rows}
    assert (found["getpgid"][0], found["getsid"][0]) == (100, 50)
    times = [time for _, time in found.values()]
    assert times == sorted(times, reverse=True) and min(times) > 0


def test_json_by_interval(workload: Workload) -> None:
    tool = start("--json", "-L", "-i", "0.5", "-p", str(workload.pid))
    assert tool.stdout is not None
    json.loads(tool.stdout.readline())  # attached by now
    workload.run("getpgid=100")
    lines = [tool.stdout.readline(), tool.stdout.readline(), *stop(tool)]
    rows = [row for line in lines for row in json.loads(line)["counts"] if row["syscall"] == "getpgid"]
    assert sum(row["count"] for row in rows) == 100
    assert all(row["time_ns"] > 0 and isinstance(row["number"], int) for row in rows)
    found = subprocess.run([sys.executable, "-m", "pybpf", "syscount", "--json", "-i", "0.5", "-d", "1.2", "-p",
                            str(workload.pid)], capture_output=True, text=True, timeout=60)  # fmt: skip
    assert found.returncode == 0 and not found.stderr, found.stderr
    # after 0.5 and 1 s, and at the end; what comes too late on a busy machine is left out
    assert 1 <= len(found.stdout.splitlines()) <= 3


def test_exec_counts_the_command_and_ends_with_it() -> None:
    tool = start("--json", "-T", "100", "--exec", sys.executable, "-c", "import os; [os.getsid(0) for _ in range(123)]")
    out, err = tool.communicate(timeout=60)
    assert tool.returncode == 0 and not err, err
    found = {row["syscall"]: row["count"] for row in json.loads(out)["counts"]}
    assert (found["getsid"], found["execve"], found["exit_group"]) == (123, 1, 1)


def test_ends_with_the_process_it_traces() -> None:
    process = Workload()
    tool = start("-p", str(process.pid), "--syscall", "getpgid")
    process.run("getpgid=3")
    process.close()
    out, err = tool.communicate(timeout=60)
    assert counts(out.splitlines()) == {"getpgid": 3} and not err


def test_exact_under_load_of_every_cpu() -> None:
    """Two processes per CPU, in step on all of them: not one call may be counted twice, or missed.

    Also where a task can take the CPU from a program that runs (PREEMPT kernels since about Linux 7.0).
    """
    each = 20_000 if os.environ.get("PYBPF_VM") else 200_000
    processes = [Workload() for _ in range(2 * (os.cpu_count() or 1))]
    tool = start("-P", "--syscall", "sched_yield", "-T", "1000", "-i", "0.2")
    assert tool.stdout is not None and tool.stderr is not None
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(tool.stdout or ()))
    reader.start()
    threads = [threading.Thread(target=process.run, args=(f"yield={each}",)) for process in processes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tool.send_signal(signal.SIGTERM)
    reader.join()
    code, said = tool.wait(), tool.stderr.read()
    tool.stdout.close()
    tool.stderr.close()
    for process in processes:
        process.close()
    assert code == 0 and not said, said
    totals: dict[int, int] = {}
    for line in lines:
        words = line.split()
        if len(words) >= 3 and words[0].isdigit():
            totals[int(words[0])] = totals.get(int(words[0]), 0) + int(words[-1])
    assert [totals.get(process.pid, 0) for process in processes] == [each] * len(processes)


def test_lists_the_system_calls() -> None:
    out = subprocess.run([sys.executable, "-m", "pybpf", "syscount", "-l"], capture_output=True, text=True, check=True)
    names = {words[1]: int(words[0].rstrip(":")) for words in map(str.split, out.stdout.splitlines())}
    assert len(names) > 300 and {"read", "openat", "io_uring_enter"} <= set(names)


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["-p", "999999999"], 2, "there is no process or thread 999999999"),
        (["-p", "x"], 2, "invalid"),
        (["-e", "ENOSUCH"], 2, "no error 'ENOSUCH'"),
        (["--syscall", "opennat"], 2, "did you mean openat?"),
        (["-i", "0"], 2, "not a time in seconds above zero"),
        (["-T", "-1"], 2, "no whole number from 1"),
        (["--exec"], 2, "--exec takes a command"),
        (["--exec", "/nonexistent/command"], 1, "no such command"),
    ],
)
def test_wrong_options_are_explained(options: list[str], code: int, says: str) -> None:
    run = subprocess.run([sys.executable, "-m", "pybpf", "syscount", *options], capture_output=True, text=True)
    assert run.returncode == code
    assert says in run.stderr and "Traceback" not in run.stderr


def test_a_closed_pipe_ends_it_quietly(workload: Workload) -> None:
    tool = start("-i", "0.1", "-p", str(workload.pid))
    assert tool.stdout and tool.stderr
    tool.stdout.close()
    assert tool.wait(timeout=60) == 0
    assert not tool.stderr.read()
    tool.stderr.close()


def test_without_privileges_it_says_what_it_lacks() -> None:
    run = subprocess.run(
        ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all",
         sys.executable, "-m", "pybpf", "syscount", "-d", "1"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 1
    assert len(run.stderr.splitlines()) == 1 and "lacks CAP_BPF and CAP_PERFMON" in run.stderr


@pytest.mark.parametrize("options", [[], ["-x"], ["-L"], ["-P"]])
def test_two_capabilities_are_enough(workload: Workload, options: list[str]) -> None:
    """Also without tracefs, which only root may mount and see."""
    tool = subprocess.Popen(
        ["setpriv", "--inh-caps=-all", "--bounding-set=-all,+bpf,+perfmon",
         sys.executable, "-m", "pybpf", "syscount", "-p", str(workload.pid), *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert tool.stdout is not None
    assert tool.stdout.readline().startswith("Counting ")
    workload.run("badclose=40")
    found = {row.split()[0]: row.split() for row in stop(tool) if row}
    if options == ["-P"]:
        assert int(found[str(workload.pid)][2]) >= 40
    else:
        assert found["close"][1] == "40"


# The tool with room for few entries, so that what is not removed fills it up.
SMALL = (
    "import sys; from pybpf.programs import syscount; syscount.MAX_ENTRIES = 20\n"
    "from pybpf.cli import main; sys.exit(main(['syscount', *sys.argv[1:]]))"
)


def test_threads_that_end_inside_a_call_leave_nothing_behind() -> None:
    """exit(2) never returns: what was noted of it must go with the thread."""
    threads = "import threading\nfor _ in range(200):\n t = threading.Thread(target=int); t.start(); t.join()\n"
    program = f"{threads}import os\nfor _ in range(50): os.getsid(0)"
    run = subprocess.run(
        [sys.executable, "-c", SMALL, "-L", "--json", "--syscall", "getsid", "--exec", sys.executable, "-c", program],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert run.returncode == 0 and not run.stderr, run.stderr
    (row,) = json.loads(run.stdout)["counts"]
    assert (row["syscall"], row["count"]) == ("getsid", 50)
    run = subprocess.run(
        [sys.executable, "-c", SMALL, "-x", "--json", "--exec", sys.executable, "-c", program],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert run.returncode == 0 and not run.stderr, run.stderr
    assert json.loads(run.stdout)["lost"] < 20


def test_processes_that_ended_make_room() -> None:
    options = ["-P", "--json", "-T", "100", "-i", "0.3", "--syscall", "getsid", "-c", str(os.getpid())]
    tool = subprocess.Popen([sys.executable, "-c", SMALL, *options], stdout=subprocess.PIPE, text=True)
    assert tool.stdout is not None
    tool.stdout.readline()  # attached
    seen: dict[int, int] = {}

    def add(line: str) -> None:
        report = json.loads(line)
        for row in report["counts"]:
            seen[row["pid"]] = seen.get(row["pid"], 0) + row["count"]

    for _ in range(3):
        for _ in range(10):  # 30 processes in all, and there is room for 20
            pid = os.posix_spawn(sys.executable, [sys.executable, "-c", "import os; os.getsid(0)"], os.environ)
            os.waitpid(pid, 0)
        for _ in range(2):
            add(tool.stdout.readline())
    tool.send_signal(signal.SIGINT)
    with tool.stdout:
        for line in tool.stdout:
            add(line)
    assert tool.wait() == 0
    assert len(seen) == 30 and set(seen.values()) == {1}


def test_in_a_pid_namespace_ids_are_those_that_one_sees_there() -> None:
    script = """
import os, subprocess, sys, signal
child = subprocess.Popen([sys.executable, "-c", "import os; input(); [os.getsid(0) for _ in range(60)]; input()"],
                         stdin=subprocess.PIPE, text=True)
tool = subprocess.Popen([sys.executable, "-m", "pybpf", "syscount", "-p", str(child.pid), "--syscall", "getsid",
                         *sys.argv[1:]], stdout=subprocess.PIPE, text=True)
tool.stdout.readline()
child.communicate("\\n\\n")
print(child.pid, tool.communicate()[0])
"""
    for options, words in (((), "getsid 60"), (("-P",), "python"), (("-L",), "getsid 60")):
        run = subprocess.run(
            ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", script, *options],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        assert words in " ".join(run.stdout.split()), run.stdout
        assert "60" in run.stdout.split()


def test_a_thread_is_not_taken_for_a_process(workload: Workload) -> None:
    seen: list[int] = []
    done = threading.Event()
    thread = threading.Thread(target=lambda: (seen.append(threading.get_native_id()), done.wait()))
    thread.start()
    run = subprocess.run(
        [sys.executable, "-m", "pybpf", "syscount", "-p", str(seen[0])], capture_output=True, text=True
    )
    done.set()
    thread.join()
    assert run.returncode == 2 and f"{seen[0]} is a thread of process {os.getpid()}" in run.stderr


def test_a_command_that_cannot_be_run_is_an_error(tmp_path: Any) -> None:
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"\x7fgarbage")
    garbage.chmod(0o755)
    run = subprocess.run(
        [sys.executable, "-m", "pybpf", "syscount", "--json", "--exec", str(garbage)], capture_output=True, text=True
    )
    assert run.returncode == 1 and "ENOEXEC" in run.stderr and len(run.stderr.splitlines()) == 1
