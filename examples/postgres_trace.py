"""The queries of a PostgreSQL server and how long they take, through its USDT probes.

``python3 examples/postgres_trace.py [-p PID] [POSTGRES]`` as root; POSTGRES is the path of the server's program, by
default the newest of Debian's. Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
import glob
import sys

from pybpf import Struct, Tracer, char, u32, u64
from pybpf.lang import ktime_ns, pid, read_user_str
from pybpf.report import printable


class Query(Struct):
    """A query that has ended."""

    pid: u32
    begun_ns: u64
    duration_ns: u64
    text: str = char[256]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-p", "--pid", type=int, help="only this process of the server")
    parser.add_argument("postgres", nargs="?", help="path of the postgres program")
    options = parser.parse_args()
    path = options.postgres or max(glob.glob("/usr/lib/postgresql/*/bin/postgres"), default=None)
    if path is None:
        sys.exit("there is no PostgreSQL below /usr/lib/postgresql: give the path of its program")

    tracer = Tracer(pid=options.pid)
    running = tracer.hash(u32, Query, max_entries=1024)  # a process of the server runs one query at a time
    queries = tracer.events(Query)

    @tracer.usdt(path, "postgresql:query__start")
    def on_start(text: u64) -> None:
        running[pid()] = Query(pid=pid(), begun_ns=ktime_ns(), text=read_user_str(text))

    @tracer.usdt(path, "postgresql:query__done")
    def on_done() -> None:
        query = running.get(pid())
        if query is None:
            return
        query.duration_ns = ktime_ns() - query.begun_ns
        queries.emit(query)
        del running[pid()]

    with tracer:
        print("Tracing PostgreSQL queries... Ctrl-C to exit")
        print(f"{'PID':<8} {'DURATION(ms)':<15} {'QUERY'}")
        print("-" * 80, flush=True)
        try:
            for query in queries:
                print(f"{query.pid:<8} {query.duration_ns / 1e6:<15.3f} {printable(query.text[:60])}", flush=True)
        except KeyboardInterrupt:
            print("\nExiting...")
        if tracer.lost:
            print(f"{tracer.lost} events were lost", file=sys.stderr)


if __name__ == "__main__":
    main()
