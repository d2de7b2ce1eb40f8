"""Builtins whose values print as names (functions, internet addresses); numbers of system calls; perf counters."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from pybpf import BpfError, ClosedError, CompileError, Struct, Tracer, u8, u32, u64
from pybpf.arch import arch_named, syscall_names
from pybpf.compiler.target import Target
from pybpf.lang import (
    IpAddress,
    KernelAddress,
    UserAddress,
    func_name,
    kernel_symbol,
    ntop,
    read_user,
    syscall,
    user_symbol,
)
from tests.attach.targets import Caller

LIBC = "libc.so.6"


class Seen(Struct):
    function: UserAddress
    kernel: KernelAddress


@pytest.fixture(scope="module")
def child() -> Iterator[Caller]:
    with Caller() as process:
        yield process


@pytest.mark.root
@pytest.mark.needs("uprobe")
def test_names_of_functions(child: Caller) -> None:
    lines: list[str] = []
    tracer = Tracer(pid=child.pid, on_print=lines.append)
    seen, calls = tracer.events(Seen), tracer.count(key=(UserAddress, u32))
    lines_of_kernel = [line.split() for line in Path("/proc/kallsyms").read_text().splitlines()]
    known = next(int(line[0], 16) for line in lines_of_kernel if line[2] == "vfs_read")

    @tracer.uprobe(LIBC, "getppid")
    def on_call() -> None:
        name = func_name()
        seen.emit(name, kernel_symbol(known + 4))
        calls[name, 1] += 1
        print(func_name(), kernel_symbol(known), user_symbol(8), f"{kernel_symbol(0)}!")

    with tracer:
        child.call(2)
        event = seen.read()[0]
        assert (str(event.function), event.function.symbol.module, event.function.pid) == (
            "getppid", LIBC, child.pid,
        )  # fmt: skip
        assert str(event.kernel) == "vfs_read+0x4" and event.kernel.symbol.name == "vfs_read"
        assert str(calls) == "@calls[getppid, 1]: 2"
        tracer.poll()
    assert lines == ["getppid vfs_read 0x8 0x0!\n"] * 2
    with pytest.raises(ClosedError, match="was not read from a tracer's map or event"):
        _ = KernelAddress(1).symbol
    assert str(KernelAddress(1)) == "KernelAddress(address=1)"


CONNECT = """
import ctypes, socket, struct, sys
libc = ctypes.CDLL(None)
four = struct.pack("=H2s4s8x", socket.AF_INET, b"", socket.inet_aton("192.0.2.7"))
six = struct.pack("=H2sI16sI", socket.AF_INET6, b"", 0, socket.inet_pton(socket.AF_INET6, "2001:db8::42"), 0)
sys.stdin.read(1)
for each in (four, six):
    libc.connect(-1, each, len(each))
"""


class In4(Struct):
    family: u32
    address: u32


class In6(Struct):
    head: u64
    address: u8[16]


@pytest.mark.root
@pytest.mark.needs("uprobe")
def test_addresses_of_the_internet() -> None:
    class Connect(Struct):
        to: IpAddress

    with subprocess.Popen([sys.executable, "-c", CONNECT], stdin=subprocess.PIPE) as process:
        lines: list[str] = []
        tracer = Tracer(pid=process.pid, on_print=lines.append)
        connects, counts = tracer.events(Connect), tracer.hash(IpAddress, u64)

        @tracer.uprobe(LIBC, "connect")
        def on_connect(fd: u32, address: u64, size: u32) -> None:
            if size == 16:
                four = read_user(address, In4)
                connects.emit(ntop(four.address))
                counts[ntop(four.address)] += 1
                print(f"{ntop(four.address):>12}")
            else:
                six = read_user(address, In6)
                connects.emit(to=ntop(six.address))
                kept = ntop(six.address)
                counts[kept] += 2
                print(kept, ntop(0x0100007F))

        with tracer:
            process.communicate(b"x")
            wanted = [ip_address("192.0.2.7"), ip_address("2001:db8::42")]
            assert [event.to.address for event in connects.read()] == wanted
            assert {str(key): count for key, count in counts.items()} == {"192.0.2.7": 1, "2001:db8::42": 2}
            tracer.poll()
    assert lines == ["   192.0.2.7\n", "2001:db8::42 127.0.0.1\n"]
    assert str(IpAddress()) == "" and IpAddress(socket.inet_aton("8.8.4.4") + bytes(12), 4).address == ip_address(
        "8.8.4.4"
    )


PAGES = 50
TOUCH = f"""
import ctypes, mmap, sys
libc = ctypes.CDLL(None)
memory = mmap.mmap(-1, {PAGES} * mmap.PAGESIZE)
for line in sys.stdin:
    libc.getppid()
    for page in range({PAGES}):
        memory[page * mmap.PAGESIZE] = 1
    libc.getppid()
    print("done", flush=True)
"""


@pytest.mark.root
@pytest.mark.needs("uprobe")
@pytest.mark.parametrize("event", ["page-faults", "context-switches"])
def test_perf_counters(event: str) -> None:
    class Count(Struct):
        value: u64

    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", TOUCH], stdin=pipe, stdout=pipe, text=True) as process:
        os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(0))})  # a counter is a CPU's
        assert process.stdin and process.stdout
        tracer = Tracer(pid=process.pid)
        counter, counts = tracer.perf_counter(event), tracer.events(Count)

        @tracer.uprobe(LIBC, "getppid")
        def on_call() -> None:
            counts.emit(counter.read())

        with tracer:
            for _ in range(2):
                print(file=process.stdin, flush=True)
                assert process.stdout.readline() == "done\n"
            values = [each.value for each in counts.read()]
        process.stdin.close()
    assert len(values) == 4 and values == sorted(values)
    if event == "page-faults":
        assert values[1] - values[0] >= PAGES
    else:
        assert values[2] > values[1]  # it has waited between the two
    with pytest.raises(BpfError, match="works only in a probe"):
        counter.read()


@pytest.mark.parametrize(("name", "number"), [("x86_64", 257), ("aarch64", 56)])
def test_numbers_of_system_calls(name: str, number: int) -> None:
    assert syscall_names(arch_named(name))[number] == "openat"
    tracer = Tracer()
    out = tracer.events(Seen)

    @tracer.uprobe(LIBC, "getppid")
    def probe() -> None:
        if syscall("openat") == number:
            out.emit()

    (built,) = tracer.compile(Target.described("6.12", name))
    assert len(built.compiled.spec.code) > 5  # the comparison holds: there is something to do


def refused(probe: Any, tracer: Tracer | None = None) -> str:
    tracer = tracer or Tracer()
    tracer.uprobe(LIBC, "getppid")(probe)
    with pytest.raises(CompileError) as caught:
        tracer.compile(Target.described("6.12", "x86_64"))
    return caught.value.message


def test_refusals() -> None:
    tracer, other = Tracer(), Tracer()
    counts, others = tracer.hash(u32, u32), other.hash(u32, u32)
    assert refused(lambda: syscall("opena")) == (
        "x86_64 has no system call 'opena'; did you mean openat, open or openat2?"
    )
    assert refused(lambda: syscall(7)) == "the name of a system call is a constant string, not 7"  # type: ignore[arg-type]

    def address() -> None:
        counts[ntop(1)] = 1

    def name() -> None:
        others[func_name()] = 1

    assert "not an integer" in refused(address, tracer)
    assert "not an integer" in refused(name, other)
