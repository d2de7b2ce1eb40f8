"""Trace changes of state of TCP connections, and how long each state lasted."""

from __future__ import annotations

from typing import Any

from pybpf import char, u8, u32, u64
from pybpf.lang import comm, ktime_ns, pid
from pybpf.tool import Column, Moment, Run, Tool, arguments, net, option, shared


class Change(net.Endpoints):
    """A connection goes from one state to another."""

    time: u64
    ns: u64  #: in the old state; 0 where its beginning was not seen
    socket: u64
    pid: u32  #: who ran just then
    old: u8
    new: u8
    comm: char[16]


def trace(run: Run) -> None:
    """The probes, and a row for each change."""
    options = run.options
    tracer = run.tracer()
    changes = tracer.events(Change, pages=256)
    since = tracer.hash(u64, u64, max_entries=net.MOST_SOCKETS)
    wanted = net.SocketFilter(options, options.localport, options.remoteport)
    owners = net.Owners(run, tracer, wanted) if run.chooses_tasks else None

    def changed(sk: Any, old: int, new: int) -> None:
        if not wanted.passes(sk):
            return
        address, now = u64(sk), ktime_ns()
        begin = since.get(address, 0)
        if new == net.CLOSE:
            del since[address]
        else:
            since[address] = now
        if owners is not None:
            known = address in owners.map
            if new == net.CLOSE:
                del owners.map[address]
            if not known:
                return
        with changes.reserve() as event:
            net.read_endpoints(event, sk)
            if not wanted.port_passes(event.lport, event.rport):
                return
            event.time, event.socket, event.old, event.new = now, address, old, new
            event.pid, event.comm = pid(), comm()
            if begin:
                event.ns = now - begin

    net.on_states(tracer, changed, everyone=True)
    rows = run.rows(columns(run), moment=Moment(
        lambda event: f"{net.state_name(event.old)} {event.raddr}:{event.rport}", lambda event: event.ns or None,
    ))
    run.start(tracer)
    rows.header()
    run.deliver({changes: rows.write})


def columns(run: Run) -> list[Column]:
    """Those of BCC's tcpstates."""
    options = run.options
    wide: bool = options.wide
    comm, address = ("%-16.16s ", "%-39s ") if wide else ("%-10.10s ", "%-15s ")
    return [
        run.clock.wall("%-8s ", shown=options.time),
        run.clock.offset("%-9.6f ", shown=options.timestamp, first=True),
        Column("SKADDR", "%-16s ", "skaddr", lambda event: f"{event.socket:x}"),
        Column("C-PID", "%-5d ", "pid", lambda event: event.pid),
        Column("C-COMM", comm, "comm", lambda event: event.comm),
        net.ip_column(shown=wide),
        Column("LADDR", address, "laddr", lambda event: str(event.laddr)),
        Column("LPORT", "%-5d ", "lport", lambda event: event.lport),
        Column("RADDR", address, "raddr", lambda event: str(event.raddr)),
        Column("RPORT", "%-5d ", "rport", lambda event: event.rport),
        Column("OLDSTATE", "%-11s -> ", "oldstate", lambda event: net.state_name(event.old)),
        Column("NEWSTATE", "%-11s ", "newstate", lambda event: net.state_name(event.new)),
        Column("MS", "%.3f", "old_ms", lambda event: event.ns / 1e6),
    ]


TOOL = Tool(
    name="tcpstates",
    topic="Network",
    summary="trace changes of state of TCP connections",
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
        ("-T -w", "all changes, with the time, wide enough for IPv6"),
        ("-L 80,443", "those of a web server's connections"),
        ("-p 181 --csv", "those of process 181's connections"),
    ),
    notes="""\
C-PID and C-COMM are of the process that ran on the CPU: many changes come with packets, whoever runs then. Options
that choose processes mean who uses the connection: from its connect or accept on, or, where that was before the
tracing, from the first change that the process itself makes. MS is how long the old state lasted; 0 where
its beginning was not seen.""",
)
main = TOOL.main
