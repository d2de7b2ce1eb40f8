"""Show which TCP connections carry the most, by process and interval."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any

from pybpf import Struct, char, u16, u32, u64
from pybpf.lang import IpAddress, cast, comm, pid
from pybpf.tool import FirstOf, Run, Tool, clean, net, option, shared, undisturbed

SENT = FirstOf("tp_btf:sock_send_length", "tracepoint:sock:sock_send_length", optional=True, what="data being sent")
RECEIVED = FirstOf("tp_btf:sock_recv_length", "tracepoint:sock:sock_recv_length", "fentry:tcp_cleanup_rbuf",
                   "kprobe:tcp_cleanup_rbuf", what="data being received")  # fmt: skip
SENDMSG = net.SocketCalls("tcp_sendmsg", what="data being sent")
#: what sendfile and splice call in the place of tcp_sendmsg, where there is such a function (before Linux 6.5)
SENDPAGE = net.SocketCalls("tcp_sendpage", what="pages being sent", optional=True)

CLEAR = "\x1b[H\x1b[2J"
#: connections that are told apart
MOST = 10240


class Key(Struct):
    """A connection and a process that uses it."""

    socket: u64
    pid: u32
    lport: u16
    rport: u16
    laddr: IpAddress
    raddr: IpAddress
    comm: char[16]


class Traffic:
    """The probes, and what they count."""

    def __init__(self, run: Run) -> None:
        self.tracer = tracer = run.tracer()
        self.sent = tracer.sum(Key, u64, max_entries=MOST, double_buffered=True)
        self.received = tracer.sum(Key, u64, max_entries=MOST, double_buffered=True)
        wanted = net.SocketFilter(run.options)

        def count(sums: Any, sk: Any, size: int) -> None:
            if size > 0 and wanted.passes(sk):
                ends = net.Endpoints()
                net.read_endpoints(ends, sk)
                key = Key(socket=u64(sk), pid=pid(), comm=comm(), laddr=ends.laddr, raddr=ends.raddr,
                          lport=ends.lport, rport=ends.rport)  # fmt: skip
                sums[key].add(size)

        sent, received = self.sent, self.received

        @SENT.on(tracer, "tp_btf")
        def send_typed(sk: Any, ret: Any) -> None:
            count(sent, sk, ret)

        @SENT.on(tracer, "tracepoint")
        def send_record(args: Any) -> None:
            count(sent, cast("struct sock", args.sk), args.ret)

        def sends(sk: Any, ret: int) -> None:
            count(sent, sk, ret)

        if SENT.find() is None:
            SENDMSG.returns(tracer, sends)
        SENDPAGE.returns(tracer, sends)

        @RECEIVED.on(tracer, "tp_btf")
        def receive_typed(sk: Any, ret: Any) -> None:
            count(received, sk, ret)

        @RECEIVED.on(tracer, "tracepoint")
        def receive_record(args: Any) -> None:
            count(received, cast("struct sock", args.sk), args.ret)

        @RECEIVED.on(tracer, "fentry", "kprobe")
        def receives(sk: Any, copied: Any) -> None:
            count(received, sk, copied)

    def take(self) -> dict[Key, list[int]]:
        """Bytes received and sent since the last time."""
        found: dict[Key, list[int]] = defaultdict(lambda: [0, 0])
        for place, sums in enumerate((self.received, self.sent)):
            for key, size in sums.changes().items():
                found[key][place] += size
        return found


def trace(run: Run) -> None:
    """Count, and report."""
    options = run.options
    traffic = Traffic(run)
    run.start(traffic.tracer)
    run.say(f"Tracing... Output every {options.interval:g} secs. Hit Ctrl-C to end")
    for when in run.intervals(options.interval, options.count):
        with undisturbed():
            found = traffic.take()
        ordered = sorted(found.items(), key=lambda each: sum(each[1]), reverse=True)
        (print_json if options.json else print_tables)(run, when, ordered)


def print_tables(run: Run, when: float, rows: list[tuple[Key, list[int]]]) -> None:
    """Those of BCC's tcptop, one for each version of the protocol."""
    options, line = run.options, run.output.line
    line(CLEAR if run.output.terminal and not options.noclear else "")
    if not options.nosummary:
        with open("/proc/loadavg", encoding="ascii") as file:
            line(f"{time.strftime('%H:%M:%S', time.localtime(when)):<8} loadavg: {file.read()}")
    for version, size, mark in ((4, 21, ""), (6, 32, "6")):
        shown = [(key, sizes) for key, sizes in rows if key.laddr.version == version]
        if not shown:
            continue
        if version == 6:
            line()
        line(f"{'PID':<7} {'COMM':<12} {'LADDR' + mark:<{size}} {'RADDR' + mark:<{size}} {'RX_KB':>6} {'TX_KB':>6}")
        for key, (received, sent) in shown:
            local, remote = f"{key.laddr}:{key.lport}", f"{key.raddr}:{key.rport}"
            name = clean(key.comm)
            line(f"{key.pid:<7} {name:<12.12} {local:<{size}} {remote:<{size}} {received >> 10:>6} {sent >> 10:>6}")


def print_json(run: Run, when: float, rows: list[tuple[Key, list[int]]]) -> None:
    """One object per interval, on one line."""
    connections = [
        {"pid": key.pid, "comm": key.comm, "ip": key.laddr.version, "laddr": str(key.laddr), "lport": key.lport,
         "raddr": str(key.raddr), "rport": key.rport, "rx_bytes": received, "tx_bytes": sent}
        for key, (received, sent) in rows
    ]  # fmt: skip
    run.output.object({"time": round(when, 3), "connections": connections})


TOOL = Tool(
    name="tcptop",
    topic="Network",
    summary="show which TCP connections carry the most",
    trace=trace,
    probes=(SENT, SENDMSG, SENDPAGE, RECEIVED),
    options=(
        option("-C", "--noclear", action="store_true", help="do not clear the screen"),
        option("-S", "--nosummary", action="store_true", help="do not print the load"),
        *shared("every", default=1.0),
        *shared("count who net duration command exec json"),
    ),
    examples=(
        ("", "the connections, every second"),
        ("-C 5 12", "every 5 seconds, for a minute, one below the other"),
        ("-p 181 --json", "those of process 181, as JSON"),
    ),
    notes="""\
Counted is what processes send and receive, without headers and what is sent again. Data that is peeked at counts again
where the kernel does not tell (before Linux 6.3).""",
)
main = TOOL.main
