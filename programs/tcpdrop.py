"""Trace TCP packets that the kernel drops: which, why, and where in the kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pybpf import Struct, Tracer, char, u8, u16, u32, u64
from pybpf.btf import Btf
from pybpf.lang import (
    IpAddress,
    KernelStack,
    cast,
    enum,
    kernel_stack,
    ktime_ns,
    ntoh16,
    ntop,
    read_kernel,
)
from pybpf.tool import Column, FirstOf, Moment, Run, Tool, net, shared

# Typed ones first: what handles packets runs them also while it interrupts another program.
DROP = FirstOf(
    "tp_btf:kfree_skb(rx_sk)", "tp_btf:kfree_skb(reason)", "tracepoint:skb:kfree_skb(reason)", "kprobe:tcp_drop",
    what="packets being dropped",
)  # fmt: skip

ETH_P_IP, ETH_P_IPV6, IPPROTO_TCP = 0x0800, 0x86DD, 6
#: bytes of a header of IPv6; in one of TCP, where the flags are
IPV6_HEADER, FLAGS_OFFSET = 40, 13
#: a destination that the packet does not hold a reference to has this bit in its address (SKB_DST_NOREF)
NOREF = 1
FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")
PREFIX = "SKB_DROP_REASON_"


class Drop(Struct):
    """A packet that is dropped."""

    time: u64
    pid: u32  #: whose connection it is of; 0: not known
    reason: u32
    saddr: IpAddress
    daddr: IpAddress
    sport: u16
    dport: u16
    state: u8  #: of the socket; 0: there is none
    flags: u8
    stack: KernelStack
    comm: char[16]


def trace(run: Run) -> None:
    """A row and a stack for each packet."""
    tracer = run.tracer()
    drops = tracer.events(Drop, pages=256)
    wanted = net.SocketFilter(run.options)
    owners = net.Owners(run, tracer, wanted)
    probe(tracer, packets(drops, wanted, owners))
    owners.forget(tracer)
    rows = run.rows(columns(run), moment=Moment(lambda event: f"{event.daddr}:{event.dport}"))
    run.start(tracer)
    rows.header()

    def show(event: Drop) -> None:
        rows.write(event)
        if run.output.form == "text":
            for frame in event.stack.frames:
                run.output.line(f"\t{frame}")
            run.output.line()

    run.deliver({drops: show})


def namespace_of(skb: Any) -> int:
    """In a probe: the network namespace of a packet's device, or of where it was routed to."""
    if skb.dev is not None:
        return u32(skb.dev.nd_net.net.ns.inum)
    return u32(cast("struct dst_entry", skb._skb_refdst & ~NOREF).dev.nd_net.net.ns.inum)


def packets(drops: Any, wanted: net.SocketFilter, owners: net.Owners) -> Callable[[Any, int, int, int, int], None]:
    """For probes: ``dropped(skb, reason, socket, state, inum)`` makes an event of a packet, if it is wanted."""
    only, owner_of, netns = owners.only, owners.map, wanted.netns
    wants4, wants6 = (family in wanted.families for family in (net.AF_INET, net.AF_INET6))

    def dropped(skb: Any, reason: int, socket: int, state: int, inum: int) -> None:
        network = u64(skb.head) + skb.network_header
        version = ntoh16(skb.protocol)
        ip4, ip6 = cast("struct iphdr", network), cast("struct ipv6hdr", network)
        if version == ETH_P_IP and wants4 and ip4.version == 4 and ip4.protocol == IPPROTO_TCP:
            transport = network + ip4.ihl * 4
        elif version == ETH_P_IPV6 and wants6 and ip6.version == 6 and ip6.nexthdr == IPPROTO_TCP:
            transport = network + IPV6_HEADER
        else:
            return
        if netns is not None and (inum or namespace_of(skb)) != netns:
            return
        owner = owner_of.get(socket)
        if only and owner is None:
            return
        with drops.reserve() as event:
            event.time, event.reason, event.state, event.stack = ktime_ns(), reason, state, kernel_stack()
            if version == ETH_P_IP:
                event.saddr, event.daddr = ntop(ip4.saddr), ntop(ip4.daddr)
            else:
                event.saddr, event.daddr = ntop(ip6.saddr), ntop(ip6.daddr)
            tcp = cast("struct tcphdr", transport)
            event.sport, event.dport = ntoh16(tcp.source), ntoh16(tcp.dest)
            event.flags = read_kernel(transport + FLAGS_OFFSET, u8)
            if owner is not None:
                event.pid, event.comm = owner.pid, owner.comm

    return dropped


def probe(tracer: Tracer, dropped: Callable[[Any, int, int, int, int], None]) -> None:
    """The probes. Of a packet's sockets the sender's comes first."""

    def freed(skb: Any, receiver: Any, reason: int) -> None:
        if reason <= enum("SKB_DROP_REASON_NOT_SPECIFIED"):
            return
        sender = skb.sk
        socket, state, inum = 0, 0, 0
        if sender is not None:
            ends = sender.__sk_common
            socket, state, inum = u64(sender), ends.skc_state, ends.skc_net.net.ns.inum
        elif receiver is not None:
            ends = receiver.__sk_common
            socket, state, inum = u64(receiver), ends.skc_state, ends.skc_net.net.ns.inum
        dropped(skb, reason, socket, state, inum)

    @DROP.on(tracer, DROP.places[0], everyone=True)
    def with_receiver(skb: Any, rx_sk: Any, reason: Any) -> None:
        freed(skb, rx_sk, reason)

    @DROP.on(tracer, DROP.places[1], everyone=True)
    def typed(skb: Any, reason: Any) -> None:
        freed(skb, cast("struct sock", 0), reason)

    @DROP.on(tracer, "tracepoint", everyone=True)
    def record(args: Any) -> None:
        freed(cast("struct sk_buff", args.skbaddr), cast("struct sock", 0), args.reason)

    @DROP.on(tracer, "kprobe", everyone=True)
    def without_reason(sk: u64, skb: u64) -> None:
        ends = cast("struct sock", sk).__sk_common
        dropped(cast("struct sk_buff", skb), 0, sk, ends.skc_state, ends.skc_net.net.ns.inum)


def columns(run: Run) -> list[Column]:
    """Those of BCC's tcpdrop."""
    reason_of = reasons()

    def flags(event: Drop) -> str:
        return "|".join(name for bit, name in enumerate(FLAGS) if event.flags >> bit & 1)

    def state(event: Drop) -> str | None:
        return net.state_name(event.state) if event.state else None

    return [
        run.clock.wall("%-8s "),
        Column("PID", "%-7d ", "pid", lambda event: event.pid),
        Column("COMM", "%s", "comm", lambda event: event.comm, False),
        Column("IP", "%-2d ", "ip", lambda event: event.saddr.version),
        Column("SADDR:SPORT", "%-20s > ", "saddr", lambda event: str(event.saddr), True,
               lambda event: f"{event.saddr}:{event.sport}"),
        Column("SPORT", "%d", "sport", lambda event: event.sport, False),
        Column("DADDR:DPORT", "%-20s ", "daddr", lambda event: str(event.daddr), True,
               lambda event: f"{event.daddr}:{event.dport}"),
        Column("DPORT", "%d", "dport", lambda event: event.dport, False),
        Column("STATE (FLAGS)", "%-20s ", "state", state, True,
               lambda event: f"{state(event) or '-'} ({flags(event)})"),
        Column("FLAGS", "%s", "flags", flags, False),
        Column("REASON (CODE)", "%s", "reason", lambda event: reason_of(event.reason), True,
               lambda event: f"{reason_of(event.reason)} ({event.reason})"),
        Column("CODE", "%d", "reason_code", lambda event: event.reason, False),
        Column("STACK", "%s", "stack", lambda event: list(map(str, event.stack.frames)), False),
    ]  # fmt: skip


def reasons() -> Callable[[int], str]:
    """Names of reasons, as this kernel has them: ``3`` -> ``"NO_SOCKET"``."""
    types = Btf.vmlinux()
    found = types.find("enum", "skb_drop_reason")
    values = () if found is None else types.type(found).values  # type: ignore[union-attr]
    names = {each.value: each.name.replace(PREFIX, "", 1) for each in values}
    return lambda reason: names.get(reason, "UNKNOWN")


TOOL = Tool(
    name="tcpdrop",
    topic="Network",
    summary="trace TCP packets that the kernel drops, and why",
    trace=trace,
    probes=(DROP, net.STATES, net.ACCEPTS),
    options=shared("who net ends rows perfetto"),
    examples=(
        ("", "all TCP packets that are dropped, with the reason and the stack"),
        ("-4 --netns /proc/self/ns/net", "those of IPv4 in this network namespace"),
        ("--json -d 10", "those of ten seconds, as JSON"),
    ),
    notes="""\
PID is whose connection it is, as far as the tool has seen a process connect, accept or change it; otherwise 0. Options
that choose processes mean that. Reasons are those that the kernel gives (Linux 5.17); before, what tcp_drop drops is
shown without. Packets of IPv6 with extension headers are not seen.""",
)
main = TOOL.main
