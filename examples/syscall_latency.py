"""How long system calls take: count, average and maximum of each, every few seconds.

``python3 examples/syscall_latency.py [-p PID] [-i SECONDS] [COUNT]`` as root; Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from pybpf import Struct, Tracer, u32, u64
from pybpf.arch import host_arch, syscall_names
from pybpf.lang import ktime_ns, tid

NAMES = syscall_names(host_arch())


class Call(Struct):
    """A system call that a thread is in."""

    begun_ns: u64
    number: u32


class Latency(Struct):
    """What a system call took so far."""

    count: u64
    total_ns: u64
    max_ns: u64


def build(pid: int | None) -> tuple[Tracer, Any]:
    """The tracer, and its map from a call's number to its :class:`Latency`."""
    tracer = Tracer(pid=pid)
    calls = tracer.hash(u32, Call, max_entries=10240)
    latencies = tracer.hash(u32, Latency, max_entries=1024)

    @tracer.tracepoint("raw_syscalls:sys_enter")
    def on_enter(args: Any) -> None:
        calls[tid()] = Call(ktime_ns(), args.id)

    @tracer.tracepoint("raw_syscalls:sys_exit")
    def on_exit(args: Any) -> None:
        call = calls.pop(tid())
        if call is None:
            return
        took = ktime_ns() - call.begun_ns
        latency = latencies.setdefault(call.number, Latency())
        if latency is None:
            return
        latency.count += 1
        latency.total_ns += took
        if took > latency.max_ns:
            latency.max_ns = took

    return tracer, latencies


def report(latencies: dict[int, Latency]) -> None:
    """Print a table, the calls that took most first."""
    print(f"\n{time.strftime('%H:%M:%S')} Syscall Latency Report")
    print("-" * 70)
    print(f"{'SYSCALL':<20} {'COUNT':>12} {'AVG(us)':>12} {'MAX(us)':>12}")
    print("-" * 70)
    for number, row in sorted(latencies.items(), key=lambda item: item[1].total_ns, reverse=True):
        name = NAMES.get(number, f"syscall_{number}")
        print(f"{name:<20} {row.count:>12} {row.total_ns / row.count / 1000:>12.2f} {row.max_ns / 1000:>12.2f}")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-p", "--pid", type=int, help="only this process")
    parser.add_argument("-i", "--interval", type=float, default=5, help="seconds between reports (default 5)")
    parser.add_argument("count", type=int, nargs="?", help="how many reports")
    options = parser.parse_args()
    print("Loading eBPF program...")
    tracer, latencies = build(options.pid)
    with tracer:
        print("Tracing syscall latency... Ctrl-C to exit.\n", flush=True)
        left = options.count
        try:
            while left is None or left > 0:
                time.sleep(options.interval)
                report(dict(latencies.drain()))
                left = None if left is None else left - 1
        except KeyboardInterrupt:
            print("\nExiting...")


if __name__ == "__main__":
    main()
