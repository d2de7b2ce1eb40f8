"""Trace how long TCP connections live: whose they are, how much they carried, a row when each ends."""

from __future__ import annotations

from typing import Any

from pybpf import char, u32, u64
from pybpf.lang import cast, enum, has_field, ktime_ns
from pybpf.tool import Column, Moment, Run, Tool, arguments, net, option, shared


class Life(net.Endpoints):
    """A connection that has ended."""

    time: u64
    ns: u64
    sent: u64
    received: u64
    pid: u32
    comm: char[16]


def trace(run: Run) -> None:
    """The probes, and a row for each connection."""
    options = run.options
    tracer = run.tracer()
    lives = tracer.events(Life)
    wanted = net.SocketFilter(options, options.localport, options.remoteport)
    owners = net.Owners(run, tracer, wanted)  # before the probe below, which wants to know them
    only, owner_of = owners.only, owners.map
    born = tracer.hash(u64, u64, max_entries=net.MOST_SOCKETS)

    def changed(sk: Any, old: int, new: int) -> None:
        if not wanted.passes(sk):
            return
        address = u64(sk)
        if new <= net.SYN_RECV:  # ESTABLISHED is the last of these
            born[address] = ktime_ns()
        if new != net.CLOSE:
            return
        begin = born.pop(address)
        owner = owner_of.pop(address)
        if begin is None or (only and owner is None):
            return
        with lives.reserve() as event:
            net.read_endpoints(event, sk)
            if not wanted.port_passes(event.lport, event.rport):
                return
            event.time = ktime_ns()
            event.ns = event.time - begin
            event.sent, event.received = carried(cast("struct tcp_sock", sk), sk)
            if owner is not None:
                event.pid, event.comm = owner.pid, owner.comm

    net.on_states(tracer, changed, everyone=True)
    rows = run.rows(columns(run), moment=Moment(
        lambda event: f"{event.laddr}:{event.lport} {event.raddr}:{event.rport}", lambda event: event.ns,
    ))
    run.start(tracer)
    rows.header()
    run.deliver({lives: rows.write})


def carried(tcp: Any, sk: Any) -> tuple[int, int]:
    """In a probe: bytes of data that a socket has sent, each counted once, and received."""
    sent = tcp.bytes_sent - tcp.bytes_retrans if has_field("struct tcp_sock", "bytes_retrans") else tcp.bytes_acked
    # the kernel counts the end of the other side (FIN), too, which makes the socket SOCK_DONE
    return sent, tcp.bytes_received - (sk.__sk_common.skc_flags >> enum("SOCK_DONE") & 1)


def columns(run: Run) -> list[Column]:
    """Those of BCC's tcplife."""
    options = run.options
    wide: bool = options.wide
    comm, address, size = ("%-16.16s ", "%-39s ", "%6d ") if wide else ("%-10.10s ", "%-15s ", "%5d ")
    return [
        run.clock.wall("%-8s ", shown=options.time),
        run.clock.offset("%-9.6f ", shown=options.timestamp, first=True),
        Column("PID", "%-5d ", "pid", lambda event: event.pid),
        Column("COMM", comm, "comm", lambda event: event.comm),
        net.ip_column(shown=wide),
        Column("LADDR", address, "laddr", lambda event: str(event.laddr)),
        Column("LPORT", "%-5d ", "lport", lambda event: event.lport),
        Column("RADDR", address, "raddr", lambda event: str(event.raddr)),
        Column("RPORT", "%-5d ", "rport", lambda event: event.rport),
        Column("TX_KB", size, "tx_bytes", lambda event: event.sent, text=lambda event: event.sent // 1024),
        Column("RX_KB", size, "rx_bytes", lambda event: event.received, text=lambda event: event.received // 1024),
        Column("MS", "%.2f", "duration_ms", lambda event: event.ns / 1e6),
    ]


TOOL = Tool(
    name="tcplife",
    topic="Network",
    summary="trace how long TCP connections lived and what they carried",
    trace=trace,
    probes=(net.STATES, net.ACCEPTS),
    options=(
        option("-T", "--time", action="store_true", help="print the time of day"),
        option("-t", "--timestamp", action="store_true", help="print the time, in seconds since the first row"),
        option("-w", "--wide", action="store_true", help="wide columns, for IPv6"),
        option("-L", "--localport", type=arguments.ports, metavar="PORTS", help="only these local ports: 80,443"),
        option("-D", "--remoteport", type=arguments.ports, metavar="PORTS", help="only these remote ports"),
        *shared("who net ends json csv=-s perfetto"),
    ),
    examples=(
        ("-T -w", "all connections, with the time, wide enough for IPv6"),
        ("-D 80,443", "connections to web servers"),
        ("-p 181 --json", "those of process 181, as JSON"),
    ),
    notes="""\
A connection is of the process that connected, accepted, or closed it; it is 0 where none was seen to, such as for a
connection that the other end resets and that was there before the tracing.""",
)
main = TOOL.main
