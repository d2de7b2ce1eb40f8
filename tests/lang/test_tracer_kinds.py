"""Tracers on kinds of probes that need more than libc: tracepoints as in the example, USDT, what the kernel refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pybpf import CompileError, Struct, Tracer, VerifierError, char, s32, u32, u64
from pybpf.arch import host_arch, syscall_names
from pybpf.lang import UserStack, comm, ktime_ns, pid, read_user_str, tid, user_stack
from tests.attach.targets import ROUNDS, Caller, finish, native_program, waiting

pytestmark = pytest.mark.root
_OPENER = "import os, sys\nfor line in sys.stdin:\n    try:\n        os.close(os.open(line.rstrip(), os.O_RDONLY))\n" \
    "    except OSError:\n        pass\n    print(flush=True)\n"  # fmt: skip


class Open(Struct):
    pid: u32
    ret: s32
    latency_ns: u64
    comm: char[16]
    path: char[256]


class Begun(Struct):
    time: u64
    filename: u64


def open_in(process: subprocess.Popen[str], path: str) -> None:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(path + "\n")
    process.stdin.flush()
    assert process.stdout.readline() == "\n"


def opener() -> subprocess.Popen[str]:
    """A process that opens what it is told to."""
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", _OPENER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    open_in(process, "/")
    return process


@pytest.mark.needs("tracepoint")
def test_opens_as_in_the_readme(tmp_path: Path) -> None:
    with opener() as process:
        tracer = Tracer(pid=process.pid)
        begun = tracer.hash(u32, Begun, max_entries=10240)
        opens = tracer.events(Open)

        @tracer.tracepoint("syscalls:sys_enter_openat")
        def on_enter(args):  # type: ignore[no-untyped-def]
            begun[tid()] = Begun(time=ktime_ns(), filename=args.filename)

        @tracer.tracepoint("syscalls:sys_exit_openat")
        def on_exit(args):  # type: ignore[no-untyped-def]
            start = begun.pop(tid())
            if start is None:
                return
            opens.emit(
                pid=pid(),
                ret=args.ret,
                latency_ns=ktime_ns() - start.time,
                comm=comm(),
                path=read_user_str(start.filename),
            )

        with tracer:
            for path in (str(tmp_path), "/no/such/file", "/" + "x" * 300):
                open_in(process, path)
            events = opens.read()
            assert len(begun) == 0
        process.communicate()
    assert [(event.pid, event.path) for event in events] == [
        (process.pid, str(tmp_path)), (process.pid, "/no/such/file"), (process.pid, "/" + "x" * 254),
    ]  # fmt: skip
    assert events[0].ret >= 3 and [event.ret for event in events[1:]] == [-2, -36]
    assert all(0 < event.latency_ns < 10**11 for event in events)
    assert opens.lost == 0


@pytest.mark.needs("tracepoint")
def test_the_example_prints_what_a_process_opens() -> None:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONUNBUFFERED": "1"}
    with opener() as process:
        example = subprocess.Popen(
            [sys.executable, str(root / "examples" / "opens.py"), str(process.pid)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        try:
            assert example.stdout is not None
            line = ""
            os.set_blocking(example.stdout.fileno(), False)
            while not line.endswith("\n") and example.poll() is None:  # until it is attached
                open_in(process, "/etc/\x1b")
                line += example.stdout.readline()  # or a part of it
            os.set_blocking(example.stdout.fileno(), True)
            example.send_signal(2)
            out, errors = example.communicate()
        finally:
            example.kill()
        process.communicate()
    assert (example.returncode, errors) == (0, "")
    assert line.split()[0] == str(process.pid) and line.endswith("us  /etc/\\x1b\n")
    assert out.endswith("0 events were lost\n")


@pytest.mark.needs("uprobe")
def test_usdt(tmp_path: Path) -> None:
    program = native_program(tmp_path / "program")
    tracer = Tracer()
    counts = tracer.hash((u64, s32), u64)

    @tracer.usdt(program, "p:many")
    def many(count: u64, five: s32) -> None:
        counts[count, five] += 1

    with tracer, waiting([program]) as process:
        finish(process)
        found = {(key[0], key[1]): value for key, value in counts.items()}
    assert found == {(count, -5): 2 for count in range(1, ROUNDS + 1)}


@pytest.mark.needs("uprobe")
def test_stacks_in_events_keys_and_structs() -> None:
    class Inner(Struct):
        stack: UserStack

    class Event(Struct):
        number: u32
        inner: Inner

    with Caller() as child:
        tracer = Tracer(pid=child.pid)
        events = tracer.events(Event)
        counts = tracer.hash((UserStack, u32), u64)

        @tracer.uprobe("libc.so.6", "getppid")
        def probe() -> None:
            stack = user_stack()
            counts[stack, 7] += 1
            events.emit(number=1, inner=Inner(stack=stack))

        with tracer:
            child.call(5)
            ((key, value),) = counts.items()
            received = events.read()
            assert (value, key[1], len(received)) == (5, 7, 5)
            frames = key[0].frames
            assert frames == received[0].inner.stack.frames and key[0] == received[0].inner.stack
            assert frames[0].module == "libc.so.6" and frames[0].offset == 0
            assert isinstance(received[0], Event) and received[0].inner.stack.pid == child.pid
            unbound = UserStack(1, 2)
            assert str(unbound) == "UserStack(id=1, pid=2)"


@pytest.mark.needs("uprobe")
def test_what_the_verifier_refuses_is_told_by_its_line() -> None:
    tracer = Tracer()
    calls = tracer.events(Open)

    @tracer.uprobe("libc.so.6", "getppid")
    def probe() -> None:
        record = calls.reserve()
        if record is None:
            return
        if tid() & 1:
            calls.submit(record)
        calls.submit(record)

    with pytest.raises(VerifierError) as caught:
        tracer.attach()
    text = str(caught.value)
    assert text.startswith("cannot load kprobe program 'probe': ")
    assert f"from {__file__}:" in text and "calls.submit(record)" in text
    assert caught.value.log


_IDS = """
import ctypes, sys
libc = ctypes.CDLL(None)
for line in sys.stdin:
    libc.getpgid(0), libc.getsid(0), libc.getpgid(0), libc.getpriority(0, 0)
    print("done", flush=True)
"""


@pytest.mark.needs("tracepoint")
@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("syscalls:sys_enter_getp[gr]*", ["getpgid", "getpgid", "getpriority"]),
        (["syscalls:sys_enter_getsid", "syscalls:sys_enter_getpriorit?"], ["getsid", "getpriority"]),
    ],
)
def test_one_probe_at_many_tracepoints(name: Any, wanted: list[str]) -> None:
    class Call(Struct):
        number: u32

    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-S", "-c", _IDS], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin and process.stdout
        tracer = Tracer(pid=process.pid)
        calls = tracer.events(Call)

        @tracer.tracepoint(name)
        def on_enter(args):  # type: ignore[no-untyped-def]
            calls.emit(args.__syscall_nr)

        with tracer:
            print(file=process.stdin, flush=True)
            assert process.stdout.readline() == "done\n"
            names = syscall_names(host_arch())
            assert [names[event.number] for event in calls.read()] == wanted
        process.stdin.close()


@pytest.mark.needs("tracepoint")
def test_fields_that_not_all_tracepoints_have() -> None:
    def refused(name: Any, probe: Any) -> str:
        tracer = Tracer()
        tracer.tracepoint(name)(probe)
        with pytest.raises(CompileError) as caught:
            tracer.compile()
        return caught.value.message

    assert refused("syscalls:sys_enter_set*gid", lambda args: args.none).startswith(
        "tracepoint syscalls:sys_enter_set*gid has no field 'none'"
    )
    assert refused(["syscalls:sys_enter_getsid", "syscalls:sys_enter_close"], lambda args: args.fd) == (
        "not all tracepoints of syscalls:sys_enter_getsid, syscalls:sys_enter_close have the same field 'fd': "
        "syscalls:sys_enter_getsid does not; all have __syscall_nr"
    )
    assert refused("syscalls:nothing_*", lambda args: args.fd) == (
        "no tracepoint matches 'syscalls:nothing_*'; 'pybpf list' shows which there are; those of a described kernel "
        "are given as fields="
    )
