"""Large calls of malloc, with the stack that made them.

``python3 examples/malloc_stacks.py [-p PID] [THRESHOLD]`` as root; THRESHOLD in bytes; Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
import sys

from pybpf import Struct, Tracer, char, u32, u64
from pybpf.lang import UserStack, comm, pid, tid, user_stack
from pybpf.report import printable


class Alloc(Struct):
    """A call that returned memory."""

    pid: u32
    tid: u32
    size: u64
    comm: str = char[16]
    stack: UserStack


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-p", "--pid", type=int, help="only this process")
    parser.add_argument("threshold", type=int, nargs="?", default=65536, help="smallest size in bytes (default 65536)")
    options = parser.parse_args()
    threshold = options.threshold

    tracer = Tracer(pid=options.pid)
    sizes = tracer.hash(u32, u64, max_entries=10240)  # between entry and return: thread -> size
    allocs = tracer.events(Alloc)

    @tracer.uprobe("libc.so.6", "malloc")
    def on_malloc(size: u64) -> None:
        if size >= threshold:
            sizes[tid()] = size

    @tracer.uretprobe("libc.so.6", "malloc")
    def on_return(ret: u64) -> None:
        size = sizes.pop(tid())
        if size is not None and ret:
            allocs.emit(pid=pid(), tid=tid(), size=size, comm=comm(), stack=user_stack())

    print(f"Tracing malloc() calls >= {threshold} bytes...")
    with tracer:
        print("Press Ctrl-C to exit\n", flush=True)
        try:
            for event in allocs:
                print(f"\n{printable(event.comm)} (pid={event.pid}, tid={event.tid})")
                print(f"  Allocated {event.size} bytes")
                if event.stack.id >= 0:
                    print("  Stack trace:")
                    for frame in event.stack.frames:
                        print(f"    {frame}")
        except KeyboardInterrupt:
            print("\nExiting...")
        if tracer.lost:
            print(f"{tracer.lost} events were lost", file=sys.stderr)


if __name__ == "__main__":
    main()
