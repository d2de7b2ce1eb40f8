"""Every builtin: its value compared with the truth, its refusals, and that it means nothing outside of probes."""

from __future__ import annotations

import errno
import inspect
import os
import signal as signals
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pybpf import BpfError, CompileError, Struct, Tracer, char, lang, s64, u32, u64
from pybpf.asm import disassemble
from pybpf.compiler.target import Target
from pybpf.lang import (
    boot_ns,
    bswap16,
    bswap32,
    bswap64,
    cgroup_id,
    comm,
    cookie,
    cpu,
    func_ip,
    gid,
    hton16,
    hton32,
    hton64,
    jiffies64,
    ktime_ns,
    ns_pid,
    ns_tid,
    ntoh16,
    override_return,
    pid,
    random,
    register,
    retval,
    signal,
    signal_thread,
    tai_ns,
    tid,
    uid,
)
from pybpf.lang.builtins.process import is_initial
from pybpf.lang.builtins.table import BUILTINS
from tests.attach.targets import Caller

LIBC = "libc.so.6"


class Values(Struct):
    a: u64
    b: u64
    c: u64
    text: char[16]


@pytest.fixture(scope="module")
def child() -> Iterator[Caller]:
    with Caller() as process:
        yield process


def seen(child: Caller, probe: Callable[[Any], Callable[..., None]], **options: Any) -> Values:
    """What a probe at a call of ``getppid`` of the child emits."""
    tracer = Tracer(pid=child.pid)
    out = tracer.events(Values)
    tracer.uprobe(LIBC, "getppid", **options)(probe(out))
    with tracer:
        child.call(1)
        events = out.read()
    assert len(events) == 1
    first: Values = events[0]
    return first


def test_who(child: Caller) -> None:
    def probe(out: Any) -> Callable[..., None]:
        def run() -> None:
            out.emit(a=pid(), b=tid(), c=uid() << 32 | gid(), text=comm())

        return run

    event = seen(child, probe)
    assert (event.a, event.b, event.c) == (child.pid, child.pid, os.getuid() << 32 | os.getgid())
    assert event.text == Path(f"/proc/{child.pid}/comm").read_text().strip()


def test_comm_of_other_sizes(child: Caller) -> None:
    class Texts(Struct):
        short: char[4]
        long: char[40]

    tracer = Tracer(pid=child.pid)
    out = tracer.events(Texts)

    @tracer.uprobe(LIBC, "getppid")
    def run() -> None:
        out.emit(short=comm(), long=comm())

    with tracer:
        child.call(1)
        (event,) = out.read()
    name = Path(f"/proc/{child.pid}/comm").read_text().strip()
    assert (event.short, event.long) == (name[:3], name)


@pytest.mark.needs("helper_get_ns_current_pid_tgid")
def test_ids_in_a_namespace(child: Caller) -> None:
    def probe(out: Any) -> Callable[..., None]:
        def run() -> None:
            out.emit(a=ns_pid(), b=ns_tid(f"/proc/{child.pid}/ns/pid"), c=0)

        return run

    event = seen(child, probe)
    assert (event.a, event.b) == (child.pid, child.pid)


def test_ids_in_the_initial_namespace_need_no_helper() -> None:
    tracer = Tracer()
    hits = tracer.count(u32)

    @tracer.kprobe("tcp_connect")
    def on_connect() -> None:
        hits[ns_pid()].add()

    if is_initial():
        (built,) = tracer.compile(Target.described("5.4"))
        assert "bpf_get_current_pid_tgid" in disassemble(built.compiled.spec.code)
    else:
        with pytest.raises(CompileError, match="get_ns_current_pid_tgid"):
            tracer.compile(Target.described("5.4"))


def test_clocks(child: Caller) -> None:
    def probe(out: Any) -> Callable[..., None]:
        def run() -> None:
            out.emit(a=ktime_ns(), b=ktime_ns(), c=random())

        return run

    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    event = seen(child, probe)
    assert before <= event.a <= event.b <= time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    assert event.c < 1 << 32


@pytest.mark.needs("helper_ktime_get_boot_ns", "helper_jiffies64")
def test_time_since_boot(child: Caller) -> None:
    def probe(out: Any) -> Callable[..., None]:
        def run() -> None:
            out.emit(a=boot_ns(), b=jiffies64())

        return run

    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    event = seen(child, probe)
    assert before <= event.a <= time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert event.b > 0


@pytest.mark.needs("helper_ktime_get_tai_ns")
def test_atomic_time(child: Caller) -> None:
    def probe(out: Any) -> Callable[..., None]:
        def run() -> None:
            out.emit(a=tai_ns())

        return run

    before = time.clock_gettime_ns(time.CLOCK_TAI)
    event = seen(child, probe)
    assert before <= event.a <= time.clock_gettime_ns(time.CLOCK_TAI)


def test_place(child: Caller) -> None:
    number = int(Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[36])  # where it ran last

    def probe(out: Any) -> Callable[..., None]:
        def run() -> None:
            out.emit(a=cpu(), b=cgroup_id())

        return run

    event = seen(child, probe)
    assert event.a < (os.cpu_count() or 1) and number < (os.cpu_count() or 1)
    group = next((line for line in Path(f"/proc/{child.pid}/cgroup").read_text().splitlines() if line[:3] == "0::"), "")
    directory = Path("/sys/fs/cgroup" + group[3:])
    if group and (directory / "cgroup.procs").exists():
        assert event.b == directory.stat().st_ino


@pytest.mark.needs("helper_get_attach_cookie")
def test_cookie(child: Caller) -> None:
    def probe(out: Any) -> Callable[..., None]:
        def run() -> None:
            out.emit(a=cookie())

        return run

    assert seen(child, probe, cookie=(1 << 64) - 2).a == (1 << 64) - 2


def test_registers_and_result(child: Caller) -> None:
    tracer = Tracer(pid=child.pid)
    out = tracer.events(Values)

    @tracer.uretprobe(LIBC, "getppid")
    def leave() -> None:
        out.emit(a=retval(), b=register(result))

    result = Target.host().arch.result
    with tracer:
        child.call(1)
        (event,) = out.read()
    assert event.a == event.b == os.getpid()


@pytest.mark.parametrize("kind", ["uprobe", "uretprobe"])
def test_function_address(child: Caller, kind: str) -> None:
    tracer = Tracer(pid=child.pid)
    out = tracer.events(Values)

    @getattr(tracer, kind)(LIBC, "getppid")
    def probe() -> None:
        out.emit(c=func_ip())

    if kind == "uretprobe" and not Target.host().has("uprobe_multi"):
        with pytest.raises(CompileError, match="at the return of a user function it needs Linux 6"):
            tracer.compile()
        return
    with tracer:
        child.call(1)
        (event,) = out.read()
    maps = [line for line in Path(f"/proc/{child.pid}/maps").read_text().splitlines() if "libc.so.6" in line]
    spans = [[int(part, 16) for part in line.split()[0].split("-")] for line in maps]
    assert any(start <= event.c < end for start, end in spans)


def test_bytes(child: Caller) -> None:
    def probe(out: Any) -> Callable[..., None]:
        def run() -> None:
            number = pid() + wide
            out.emit(a=bswap16(number) << 32 | bswap32(number), b=bswap64(number), c=ntoh16(hton16(number)))

        return run

    wide = 0x1122334400000000
    number = child.pid + wide
    event = seen(child, probe)
    assert event.a == swapped(number, 2) << 32 | swapped(number, 4)
    assert event.b == swapped(number, 8)
    assert event.c == number & 0xFFFF


def swapped(number: int, size: int) -> int:
    return int.from_bytes((number & (1 << 8 * size) - 1).to_bytes(size, "little"), "big")


def test_network_order(child: Caller) -> None:
    def probe(out: Any) -> Callable[..., None]:
        def run() -> None:
            number = pid()
            out.emit(a=hton32(number), b=hton64(number), c=hton16(80))

        return run

    event = seen(child, probe)
    assert event.a == int.from_bytes(child.pid.to_bytes(4, "big"), "little")
    assert event.b == int.from_bytes(child.pid.to_bytes(8, "big"), "little")
    assert event.c == 0x5000


@pytest.mark.needs("helper_send_signal")
@pytest.mark.parametrize("send", [signal, signal_thread])
def test_signals(send: Any) -> None:
    class Sent(Struct):
        result: s64

    with Caller() as process:
        tracer = Tracer(pid=process.pid)
        sent = tracer.events(Sent)

        @tracer.uprobe(LIBC, "getppid")
        def run() -> None:
            sent.emit(result=send(signals.SIGKILL))

        with tracer:
            with pytest.raises(AssertionError):  # it dies before it can answer
                process.call(1)
            assert [event.result for event in sent.read()] in ([0], [-errno.EBUSY])
        assert process.process.wait() == -signals.SIGKILL


@pytest.mark.parametrize("name", sorted(BUILTINS))
def test_every_builtin_is_a_documented_function_of_the_package(name: str) -> None:
    found = getattr(lang, name)
    assert found is BUILTINS[name] and (name in lang.__all__) is (name not in ("enum", "random", "signal"))
    assert inspect.getdoc(found) and found.__doc__ == BUILTINS[name].function.__doc__
    signature = inspect.signature(found)
    assert signature.return_annotation is not inspect.Signature.empty
    with pytest.raises(BpfError, match=rf"{name}\(\) works only in a probe"):
        found()


def refused(probe: Callable[..., object], kind: str = "uprobe", release: str = "6.12") -> str:
    """The message for a probe that cannot be compiled for a kernel."""
    tracer = Tracer()
    place = {"uprobe": (LIBC, "getppid"), "tracepoint": ("syscalls:sys_enter_openat",), "profile": (99,)}[kind]
    getattr(tracer, kind)(*place)(probe)
    with pytest.raises(CompileError) as caught:
        tracer.compile(Target.described(release))
    return caught.value.message


@pytest.mark.parametrize(
    ("probe", "kind", "release", "message"),
    [
        (lambda: boot_ns(), "uprobe", "5.4", "boot_ns() cannot be had here: it needs bpf_ktime_get_boot_ns, which the "
         "target lacks (Linux 5.8 has it); ktime_ns() does not count the time of suspension"),
        (lambda: tai_ns(), "uprobe", "5.15", "tai_ns() cannot be had here: it needs bpf_ktime_get_tai_ns, which the "
         "target lacks (Linux 6.1 has it); take ktime_ns() and add the difference in user space"),
        (lambda: register("ax"), "tracepoint", "6.12",
         "register() is not for tracepoint programs; it works in kprobe and perf_event programs"),
        (lambda: retval(), "profile", "6.12", "retval() is not for perf_event programs; it works in kprobe programs"),
        (lambda: override_return(1), "profile", "6.12",
         "override_return() is not for perf_event programs; it works in kprobe programs"),
        (lambda: pid(1), "uprobe", "6.12",  # type: ignore[call-arg]
         "pid(): too many positional arguments; its signature is pid()"),
        (lambda: signal(), "uprobe", "6.12",  # type: ignore[call-arg]
         "signal(): missing a required argument: 'number'; its signature is signal(number: int)"),
        (lambda: signal(1234), "uprobe", "6.12",
         "1234 is not the number of a signal; write signal.SIGUSR1, say, of Python's signal"),
        (lambda: pid.x, "uprobe", "6.12",  # type: ignore[attr-defined]
         "the builtin pid has no attribute 'x': write pid() to call it"),
        (lambda: ns_pid(pid()), "uprobe", "6.12",  # type: ignore[arg-type]
         "the namespace is the path of its file, as a constant: '/proc/1234/ns/pid'"),
    ],
)  # fmt: skip
def test_refusals(probe: Callable[..., object], kind: str, release: str, message: str) -> None:
    assert refused(probe, kind, release) == message


def test_unknown_register() -> None:
    assert refused(lambda: register("rax")).startswith("register() takes the name of a register of ")
