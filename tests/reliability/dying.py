"""A tracer that is to be killed: ``python -m tests.reliability.dying PID PROGRAM``.

Traces one process by every kind of probe that needs no kprobes, streams its events, and never ends by itself.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import Any

from pybpf import Struct, Tracer, u32, u64
from pybpf.lang import tid, user_stack

__all__ = ["main"]


class Call(Struct):
    number: u64
    tid: u32


def main(pid: int, program: str) -> None:
    tracer = Tracer(pid=pid)
    calls = tracer.events(Call)
    counts = tracer.hash(u32, u64)
    stacks = tracer.count(key=u32)

    @tracer.tracepoint("raw_syscalls:sys_enter")
    def on_call(args: Any) -> None:
        counts[args.id] += 1
        calls.emit(number=args.id, tid=tid())

    @tracer.uprobe(program, "work")
    def on_work(count: u64) -> None:
        print(f"work {count}")

    @tracer.usdt(program, "p:guarded", pid=pid)
    def on_guarded() -> None:
        stacks[tid()].add()

    @tracer.profile(hz=99)
    def sample() -> None:
        print(f"{user_stack()}")

    print("attaching", os.getpid(), flush=True)
    with tracer:
        print("attached", flush=True)
        tracer.run({calls: lambda event: None}, every=0.05, callback=cache(lambda: print("running", flush=True)))
    print("done", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
