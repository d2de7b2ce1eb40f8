"""Trace TCP connections being accepted: by whom, from where."""

from __future__ import annotations

from typing import Any

from pybpf import char, s64, u32, u64
from pybpf.lang import comm, ktime_ns, pid
from pybpf.tool import Column, FirstOf, Moment, Run, Tool, arguments, net, option, shared

# The tracepoint of changes of state does not know who accepts: a connection is established by a packet.
ACCEPT = FirstOf("fexit:inet_csk_accept", "kretprobe:inet_csk_accept", optional=True)


class Accept(net.Endpoints):
    """A connection that was accepted."""

    time: u64
    pid: u32
    comm: char[16]


def trace(run: Run) -> None:
    """The probes, and a row for each connection."""
    options = run.options
    tracer = run.tracer()
    accepts = tracer.events(Accept)
    wanted = net.SocketFilter(options, options.port)

    def accepted(sk: Any) -> None:
        if sk is None or not wanted.passes(sk):
            return
        with accepts.reserve() as event:
            net.read_endpoints(event, sk)
            if not wanted.port_passes(event.lport, event.rport):
                return
            event.time, event.pid, event.comm = ktime_ns(), pid(), comm()

    @ACCEPT.on(tracer)
    def in_kernel(ret: Any) -> None:
        accepted(ret)

    if ACCEPT.find() is None:

        @net.ACCEPTS.leave(tracer)
        def in_process(ret: s64) -> None:
            if ret >= 0:
                accepted(net.socket_of(ret))

    rows = run.rows(columns(run), moment=Moment(lambda event: f"{event.raddr}:{event.rport}"))
    run.start(tracer)
    rows.header()
    run.deliver({accepts: rows.write})


def columns(run: Run) -> list[Column]:
    """Those of BCC's tcpaccept."""
    options = run.options
    return [
        run.clock.wall(shown=options.time),
        run.clock.offset("%-9.3f", shown=options.timestamp, first=True),
        Column("PID", "%-7d ", "pid", lambda event: event.pid),
        Column("COMM", "%-12.12s ", "comm", lambda event: event.comm),
        net.ip_column(),
        Column("RADDR", "%-16s ", "raddr", lambda event: str(event.raddr)),
        Column("RPORT", "%-5d ", "rport", lambda event: event.rport),
        Column("LADDR", "%-16s ", "laddr", lambda event: str(event.laddr)),
        Column("LPORT", "%-5d ", "lport", lambda event: event.lport),
    ]


TOOL = Tool(
    name="tcpaccept",
    topic="Network",
    summary="trace TCP connections being accepted",
    trace=trace,
    probes=(ACCEPT, net.ACCEPTS),
    options=(
        option("-T", "--time", action="store_true", help="print the time of day"),
        option("-t", "--timestamp", action="store_true", help="print the time, in seconds since the first row"),
        option("-P", "--port", type=arguments.ports, metavar="PORTS", help="only at these local ports: 80,443"),
        *shared("who net ends rows perfetto"),
    ),
    examples=(
        ("-t", "all connections that are accepted, with times"),
        ("-P 80,443", "those of a web server"),
        ("-p 181 --json", "those of process 181, as JSON"),
    ),
    notes="""\
Where functions of the kernel cannot be traced, it is seen at the return of accept and accept4: not what io_uring
accepts.""",
)
main = TOOL.main
