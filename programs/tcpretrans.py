"""Trace TCP packets that are sent again, for nobody acknowledged them."""

from __future__ import annotations

from typing import Any

from pybpf import Struct, char, u8, u16, u32, u64
from pybpf.lang import IpAddress, cast, has_field, ktime_ns
from pybpf.tool import Column, FirstOf, Moment, Run, Tool, net, option, shared

# Typed ones first: what handles packets runs them also while it interrupts another program.
RETRANSMIT = FirstOf(
    "tp_btf:tcp_retransmit_skb(err)", "tp_btf:tcp_retransmit_skb", "tracepoint:tcp:tcp_retransmit_skb",
    "kprobe:tcp_retransmit_skb", what="retransmits",
)  # fmt: skip
PROBE = FirstOf("fentry:tcp_send_loss_probe", "kprobe:tcp_send_loss_probe", optional=True, what="loss probes")

#: include/net/inet_connection_sock.h: the timer that has run out is the one of loss probes
LOSS_PROBE_TIMER = 5


class Again(net.Endpoints):
    """A packet that is sent again, or a loss probe."""

    time: u64
    pid: u32  #: whose connection it is; 0: not known
    sequence: u32
    state: u8
    probe: u8
    comm: char[16]


class Key(Struct):
    """What -c counts."""

    laddr: IpAddress
    raddr: IpAddress
    lport: u16
    rport: u16


class Probes:
    """The probes, and what they send.

    :ivar again: an event for each packet.
    :ivar counts: with -c instead: how many there were of each connection.
    """

    def __init__(self, run: Run) -> None:
        options = run.options
        self.tracer = tracer = run.tracer()
        self.again = again = tracer.events(Again)
        self.counts = counts = tracer.count(Key)
        wanted = net.SocketFilter(options)
        owners = net.Owners(run, tracer, wanted)
        only, owner_of = owners.only, owners.map
        counting: bool = options.count
        with_probes: bool = options.lossprobe
        marked = with_probes and PROBE.find() is None

        def packet(sk: Any, sequence: int, probe: int) -> None:
            if not wanted.passes(sk):
                return
            owner = owner_of.get(u64(sk))
            if only and owner is None:
                return
            with again.reserve() as event:
                net.read_endpoints(event, sk)
                if counting:
                    counts[Key(event.laddr, event.raddr, event.lport, event.rport)].add()
                    return
                event.time, event.sequence, event.probe = ktime_ns(), sequence, probe
                event.state = sk.__sk_common.skc_state
                if owner is not None:
                    event.pid, event.comm = owner.pid, owner.comm

        def sent(sk: Any, skb: Any) -> None:
            probe = 0
            if marked and cast("struct inet_connection_sock", sk).icsk_pending == LOSS_PROBE_TIMER:
                probe = 1
            packet(sk, cast("struct tcp_skb_cb", skb.cb).seq, probe)

        @RETRANSMIT.on(tracer, RETRANSMIT.places[0], everyone=True)
        def tried(sk: Any, skb: Any, err: Any) -> None:
            if err == 0:
                sent(sk, skb)

        @RETRANSMIT.on(tracer, RETRANSMIT.places[1], "kprobe", everyone=True)
        def done(sk: Any, skb: Any) -> None:
            sent(sk, skb)

        @RETRANSMIT.on(tracer, "tracepoint", everyone=True)
        def record(args: Any) -> None:
            if not has_field("struct trace_event_raw_tcp_retransmit_skb", "err") or args.err == 0:
                sent(cast("struct sock", args.skaddr), cast("struct sk_buff", args.skbaddr))

        if with_probes:

            @PROBE.on(tracer, everyone=True)
            def loss_probe(sk: Any) -> None:
                packet(sk, 0, 1)

        owners.forget(tracer)


def trace(run: Run) -> None:
    """A row for each packet, or the counts at the end."""
    probes = Probes(run)
    run.start(probes.tracer)
    run.say("Tracing retransmits ... Hit Ctrl-C to end")
    if run.options.count:
        for when in run.intervals():
            report(run, when, dict(probes.counts.items()))
        return
    rows = run.rows(columns(run), moment=Moment(lambda event: f"{event.raddr}:{event.rport}"))
    rows.header()
    run.deliver({probes.again: rows.write})


def columns(run: Run) -> list[Column]:
    """Those of BCC's tcpretrans."""
    sequence: bool = run.options.sequence
    return [
        run.clock.wall("%-8s "),
        Column("PID", "%-7d ", "pid", lambda event: event.pid),
        Column("COMM", "%s", "comm", lambda event: event.comm, False),
        net.ip_column(),
        *net.endpoint_columns("LADDR:LPORT", "%-20s ", "l"),
        Column("T", "%1s> ", "type", lambda event: "L" if event.probe else "R"),
        *net.endpoint_columns("RADDR:RPORT", "%-20s ", "r"),
        Column("STATE", "%-12s " if sequence else "%s", "state", lambda event: net.state_name(event.state)),
        Column("SEQ", "%s", "seq", lambda event: event.sequence, sequence),
    ]


def report(run: Run, when: float, counts: dict[Key, int]) -> None:
    """How many packets of each connection were sent again, the fewest first."""
    ordered = sorted(counts.items(), key=lambda each: (each[0].laddr.version, each[1]))
    if run.options.json:
        found = [{**key._asdict(), "laddr": str(key.laddr), "raddr": str(key.raddr), "retransmits": count}
                 for key, count in ordered]  # fmt: skip
        run.output.object({"time": round(when, 3), "counts": found})
        return
    run.output.line()
    run.output.line(f"{'LADDR:LPORT':<25} {'RADDR:RPORT':<25} RETRANSMITS")
    for key, count in ordered:
        local, remote = f"[{key.laddr}]#{key.lport}", f"[{key.raddr}]#{key.rport}"
        run.output.line(f"{local:<20} <-> {remote:<20} {count:>10}")


TOOL = Tool(
    name="tcpretrans",
    topic="Network",
    summary="trace TCP packets that are sent again",
    trace=trace,
    probes=(RETRANSMIT, net.STATES, net.ACCEPTS, "with -l: " + PROBE.describe()),
    options=(
        option("-s", "--sequence", action="store_true", help="print sequence numbers"),
        option("-l", "--lossprobe", action="store_true", help="also tail loss probes (T is L, not R)"),
        option("-c", "--count", action="store_true", help="count by connection, until the end"),
        *shared("who net ends rows perfetto"),
    ),
    examples=(
        ("", "all packets that are sent again"),
        ("-c --netns /proc/self/ns/net", "how many of each connection in this network namespace"),
        ("-s --json", "with sequence numbers, as JSON"),
    ),
    notes="""\
PID is whose connection it is, as far as the tool has seen a process connect, accept or change it; otherwise 0. Where
functions of the kernel cannot be traced, -l marks those loss probes with L that send data again.""",
    check=lambda options: "-c counts: it has no rows for --csv" if options.count and options.csv else "",
)
main = TOOL.main
