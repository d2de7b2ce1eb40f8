"""Trace TCP connections being opened: who connects where, under which name."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from pybpf import PackError, Struct, char, u32, u64
from pybpf.lang import IpAddress, comm, ktime_ns, pid, uid
from pybpf.tool import Column, Run, Tool, arguments, clean, dns, net, option, shared

CONNECT4 = net.SocketCalls("tcp_v4_connect", *net.STATES.places, what="connections being opened")
CONNECT6 = net.SocketCalls("tcp_v6_connect", what="connections being opened by IPv6", optional=True)

#: a name that is older by so many nanoseconds is shown with its age
OLD = 100_000_000


class Start(Struct):
    """Who opens a connection."""

    time: u64
    pid: u32
    uid: u32
    comm: char[16]


class Connect(net.Endpoints):
    """A connection that is being opened."""

    who: Start


class Key(Struct):
    """What -c counts."""

    laddr: IpAddress
    raddr: IpAddress
    rport: u32


class Probes:
    """The probes, and what they send.

    :ivar connects: an event for each connection.
    :ivar counts: with -c instead: how many there were of each :class:`Key`.
    """

    def __init__(self, run: Run) -> None:
        options = run.options
        self.tracer = tracer = run.tracer()
        self.connects = connects = tracer.events(Connect)
        self.counts = counts = tracer.count(Key)
        self.wanted = wanted = net.SocketFilter(options, rports=options.port)
        counting: bool = options.count

        def opens(sk: Any, who: Any) -> None:
            if not wanted.passes(sk):
                return
            with connects.reserve() as event:
                net.read_endpoints(event, sk)
                if not wanted.port_passes(event.lport, event.rport):
                    return
                if counting:
                    counts[Key(laddr=event.laddr, raddr=event.raddr, rport=event.rport)].add()
                    return
                event.who = who

        def connected4(sk: Any, ret: int) -> None:
            if ret == 0 and sk.__sk_common.skc_family == net.AF_INET:  # not by tcp_v6_connect, to a mapped address
                opens(sk, Start(time=ktime_ns(), pid=pid(), uid=uid(), comm=comm()))

        def connected6(sk: Any, ret: int) -> None:
            if ret == 0:
                opens(sk, Start(time=ktime_ns(), pid=pid(), uid=uid(), comm=comm()))

        if CONNECT4.returns(tracer, connected4):
            CONNECT6.returns(tracer, connected6)
        else:
            self.at_states(opens, options.lport)

    def at_states(self, opens: Any, with_port: bool) -> None:
        """At changes of state: the first one comes before the socket has a local port."""
        waiting = self.tracer.hash(u64, Start)

        def begins(sk: Any, old: int, new: int) -> None:
            if new == net.SYN_SENT:
                who = Start(time=ktime_ns(), pid=pid(), uid=uid(), comm=comm())
                if with_port:
                    waiting[u64(sk)] = who
                else:
                    opens(sk, who)

        def goes_on(sk: Any, old: int, new: int) -> None:
            if old == net.SYN_SENT:
                who = waiting.pop(u64(sk))
                if who is not None:
                    opens(sk, who)

        net.on_states(self.tracer, begins)
        if with_port:
            net.on_states(self.tracer, goes_on, everyone=True)


def trace(run: Run) -> None:
    """A row for each connection, or the counts at the end."""
    probes = Probes(run)
    names = dns.Names()
    packets = dns.see_replies(probes.tracer, probes.wanted.inside) if run.options.dns else None
    run.start(probes.tracer)
    if run.options.count:
        run.say("Tracing connect ... Hit Ctrl-C to end")
        for when in run.intervals():
            report(run, when, dict(probes.counts.items()))
        return
    rows = run.rows(columns(run, names))

    def learn(packet: dns.Packet) -> None:
        with suppress(PackError):
            names.learn(dns.parse_reply(packet.payload), packet.time)

    def show(event: Connect) -> None:
        if packets is not None:
            packets.drain(learn)  # what came before the connection
        rows.write(event)

    rows.header()
    run.deliver({probes.connects: show} if packets is None else {packets: learn, probes.connects: show})


def columns(run: Run, names: dns.Names) -> list[Column]:
    """Those of BCC's tcpconnect."""
    options = run.options

    def query(event: Connect) -> str:
        address = event.raddr
        found = names.of(str(address))
        if found is None:
            return "localhost" if str(address) in ("127.0.0.1", "::1") else "No DNS Query"
        name, time = found
        age = event.who.time - time
        return clean(name) + (f" ({age / 1e6:.3f}ms)" if age > OLD else "")

    return [
        run.clock.wall(shown=False, of=lambda event: event.who.time),
        run.clock.offset("%-9.3f", shown=options.timestamp, first=True, of=lambda event: event.who.time),
        Column("UID", "%-6d", "uid", lambda event: event.who.uid, options.print_uid),
        Column("PID", "%-7d ", "pid", lambda event: event.who.pid),
        Column("COMM", "%-12.12s ", "comm", lambda event: event.who.comm),
        net.ip_column(),
        Column("SADDR", "%-16s ", "saddr", lambda event: str(event.laddr)),
        Column("LPORT", "%-6s ", "lport", lambda event: event.lport or None, options.lport,
               lambda event: event.lport or "?"),
        Column("DADDR", "%-16s ", "daddr", lambda event: str(event.raddr)),
        Column("DPORT", "%-6d ", "dport", lambda event: event.rport),
        Column("QUERY", "%s", "query", lambda event: (names.of(str(event.raddr)) or [None])[0], options.dns, query),
    ]  # fmt: skip


def report(run: Run, when: float, counts: dict[Key, int]) -> None:
    """How often each address was connected to, the most first."""
    ordered = sorted(counts.items(), key=lambda each: (each[0].laddr.version, -each[1]))
    if run.options.json:
        found = [{"laddr": str(key.laddr), "raddr": str(key.raddr), "rport": key.rport, "connects": count}
                 for key, count in ordered]  # fmt: skip
        run.output.object({"time": round(when, 3), "counts": found})
        return
    form = "%-25s %-25s %-20s %-10s"
    run.output.line()
    run.output.line((form % ("LADDR", "RADDR", "RPORT", "CONNECTS")).rstrip())
    for key, count in ordered:
        run.output.line((form % (key.laddr, key.raddr, key.rport, count)).rstrip())


def check(options: Any) -> str:
    """Combinations that mean nothing."""
    if options.count and (options.dns or options.csv):
        return f"-c counts: it has no {'names (-d)' if options.dns else 'rows for --csv'}"
    return ""


TOOL = Tool(
    name="tcpconnect",
    topic="Network",
    summary="trace TCP connections being opened",
    trace=trace,
    probes=(CONNECT4, CONNECT6, dns.RECEIVES),
    options=(
        option("-t", "--timestamp", action="store_true", help="print the time, in seconds since the first row"),
        option("-P", "--port", type=arguments.ports, metavar="PORTS", help="only to these ports: 80,443"),
        option("-L", "--lport", action="store_true", help="print the local port"),
        option("-U", "--print-uid", action="store_true", help="print the user"),
        option("-c", "--count", action="store_true", help="count by addresses and port, until the end"),
        option("-d", "--dns", action="store_true", help="print the name whose lookup gave the address"),
        *shared("pid follow tid= uid comm groups net ends rows"),
    ),
    examples=(
        ("-t -L", "all connections, with times and local ports"),
        ("-d -P 80,443", "connections to web servers, with the names that were looked up"),
        ("-p 181 --json", "those of process 181, as JSON"),
        ("-c -u 1000", "how often user 1000 connects where"),
    ),
    notes="""\
Connections that the kernel refuses at once are not shown. Where functions of the kernel cannot be traced, a connection
has no local port when it is seen: with -L rows then come when it is established, or has failed. -d learns from replies
that any process reads of a UDP socket connected to port 53, as resolvers do; it attaches to read, recvfrom and
recvmsg.""",
    check=check,
)
main = TOOL.main
