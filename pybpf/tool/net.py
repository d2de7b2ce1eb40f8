"""What the network tools share: which sockets are wanted, their addresses and ports, states, and who uses them."""

from __future__ import annotations

import argparse
import socket
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from pybpf.lang import IpAddress, cast, comm, current_task, ntoh16, ntop, pid, tid, uid
from pybpf.tool.columns import Column
from pybpf.tool.places import FirstOf
from pybpf.tool.syscalls import SyscallProbes
from pybpf.types import Struct, char, s64, u16, u32, u64

if TYPE_CHECKING:
    from pybpf.lang import Tracer
    from pybpf.tool.run import Run

    Name = str
else:
    Name = char[16]

__all__ = [
    "ACCEPTS",
    "AF_INET",
    "AF_INET6",
    "CLOSE",
    "ESTABLISHED",
    "STATES",
    "SYN_RECV",
    "SYN_SENT",
    "Endpoints",
    "Owner",
    "Owners",
    "SocketCalls",
    "SocketFilter",
    "endpoint_columns",
    "ip_column",
    "on_states",
    "read_endpoints",
    "socket_of",
    "state_name",
]

IPPROTO_TCP = socket.IPPROTO_TCP
AF_INET, AF_INET6 = int(socket.AF_INET), int(socket.AF_INET6)
#: include/net/tcp_states.h
ESTABLISHED, SYN_SENT, SYN_RECV, CLOSE = 1, 2, 3, 7
_NAMES = ("", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT",
          "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV")  # fmt: skip
#: sockets that are followed at a time
MOST_SOCKETS = 65536

STATES = FirstOf(
    "tp_btf:inet_sock_set_state", "tracepoint:sock:inet_sock_set_state", "kprobe:tcp_set_state",
    what="states of connections",
)  # fmt: skip
ACCEPTS = SyscallProbes("accept", "accept4", what="connections being accepted")


def state_name(state: int) -> str:
    """``1`` -> ``"ESTABLISHED"``."""
    return _NAMES[state] if 0 < state < len(_NAMES) else str(state)


# --- which sockets


class SocketFilter:
    """Which sockets the options ``-4``, ``-6`` and ``--netns`` and lists of ports let pass; tried in the kernel.

    :param lports: local ports; none: all of them.
    :param rports: ports of the other end.
    :ivar netns: the inode number of the namespace, or None.
    :ivar families: AF_INET, AF_INET6, or both.
    :ivar inside: for probes, of a ``struct sock``: whether it is in the namespace.
    :ivar passes: likewise: family, namespace, and TCP. ``if not wanted.passes(sk): return``.
    :ivar port_passes: likewise, by local and remote port, which a socket does not have from its beginning.
    """

    def __init__(
        self, options: argparse.Namespace, lports: Sequence[int] | None = None, rports: Sequence[int] | None = None
    ) -> None:
        netns: int | None = options.netns
        chosen = [number for number, asked in ((AF_INET, options.ipv4), (AF_INET6, options.ipv6)) if asked]
        families = tuple(chosen or (AF_INET, AF_INET6))
        self.netns, self.families = netns, families
        local, remote = tuple(lports or ()), tuple(rports or ())

        def inside(sk: Any) -> bool:
            return netns is None or bool(sk.__sk_common.skc_net.net.ns.inum == netns)

        def passes(sk: Any) -> bool:
            return sk.__sk_common.skc_family in families and sk.sk_protocol == IPPROTO_TCP and inside(sk)

        def port_passes(lport: int, rport: int) -> bool:
            return (not local or lport in local) and (not remote or rport in remote)

        self.inside: Callable[[Any], bool] = inside
        self.passes: Callable[[Any], bool] = passes
        self.port_passes: Callable[[int, int], bool] = port_passes


# --- both ends of a connection


class Endpoints(Struct):
    """The ends of a connection; a base for events."""

    laddr: IpAddress
    raddr: IpAddress
    lport: u16
    rport: u16


def read_endpoints(event: Any, sk: Any) -> None:
    """In a probe: fill the fields of an :class:`Endpoints` from a ``struct sock``."""
    ends = sk.__sk_common
    if ends.skc_family == AF_INET:
        event.laddr = ntop(ends.skc_rcv_saddr)
        event.raddr = ntop(ends.skc_daddr)
    else:
        event.laddr = ntop(ends.skc_v6_rcv_saddr)
        event.raddr = ntop(ends.skc_v6_daddr)
    # skc_num is 0 once a closed socket has given its port back
    event.lport = ntoh16(cast("struct inet_sock", sk).inet_sport)
    event.rport = ntoh16(ends.skc_dport)


def ip_column(format: str = "%-2d ", shown: Any = True) -> Column:
    """The version of the protocol, of a row that is an :class:`Endpoints`."""
    return Column("IP", format, "ip", lambda row: row.laddr.version, shown)


def endpoint_columns(title: str, format: str, end: str) -> list[Column]:
    """Address and port of a row that is an :class:`Endpoints`: one column of a table, two of JSON and CSV.

    :param end: ``"l"`` for the local end, ``"r"`` for the remote one.
    """
    address, port = attrgetter(f"{end}addr"), attrgetter(f"{end}port")
    return [
        Column(title, format, f"{end}addr", lambda row: str(address(row)), True,
               lambda row: f"{address(row)}:{port(row)}"),
        Column("PORT", "%d", f"{end}port", port, False),
    ]  # fmt: skip


# --- what happens to sockets


def on_states(tracer: Tracer, changed: Callable[[Any, Any, Any], object], everyone: bool = False) -> None:
    """Call ``changed(sk, old, new)`` in the kernel when a TCP socket changes its state.

    The new state is not yet in the socket. Functions that are given first are called first.

    :param everyone: whatever process runs there: most packets arrive while another one does.
    :raises UnsupportedError: the kernel shows no changes of states.
    """

    @STATES.on(tracer, "tp_btf", everyone=everyone)
    def typed(sk: Any, oldstate: Any, newstate: Any) -> None:
        changed(sk, oldstate, newstate)

    @STATES.on(tracer, "tracepoint", everyone=everyone)
    def record(args: Any) -> None:
        changed(cast("struct sock", args.skaddr), args.oldstate, args.newstate)

    @STATES.on(tracer, "kprobe", everyone=everyone)
    def called(sk: Any, state: Any) -> None:
        changed(sk, sk.__sk_common.skc_state, state)


def socket_of(fd: int) -> Any:
    """In a probe: the ``struct sock`` of a descriptor of the running process, which is one of a socket."""
    return cast("struct socket", current_task().files.fdt.fd[fd].private_data).sk


class SocketCalls(FirstOf):
    """A function of the kernel that is given a socket first, seen at its return.

    :param function: its name; its first parameter is ``struct sock *sk``.
    :param others: where else the same can be seen, for kernels that do not let their functions be traced.
    """

    def __init__(self, function: str, *others: str, what: str = "", optional: bool = False) -> None:
        super().__init__(f"fexit:{function}", f"kretprobe:{function}", *others, what=what, optional=optional)
        self.function = function

    def returns(self, tracer: Tracer, done: Callable[[Any, Any], object]) -> bool:
        """Call ``done(sk, ret)`` in the kernel; returns whether the function can be traced, if not nothing is attached.

        :raises UnsupportedError: as :meth:`choose`, if it is not optional.
        """
        found = self.find() if self.optional else self.choose()
        if found not in self.places[:2]:
            return False
        begun = tracer.hash(u32, u64)

        @self.on(tracer, "fexit")
        def leaves(sk: Any, ret: Any) -> None:
            done(sk, ret)

        if found == self.places[1]:

            @tracer.kprobe(self.function)
            def enters(sk: Any) -> None:
                begun[tid()] = u64(sk)

        @self.on(tracer, "kretprobe")
        def returned(ret: Any) -> None:
            address = begun.pop(tid())
            if address is not None:
                done(cast("struct sock", address), ret)

        return True


class Owner(Struct):
    """A process that uses a socket."""

    pid: u32
    uid: u32
    comm: Name


class Owners:
    """Which process uses each socket, as far as it was seen to: connect, accept, close, or change its state itself.

    Of the processes that the filters of the options let pass alone; packets arrive while any process runs, which says
    nothing of them.

    :ivar map: address of the ``struct sock`` -> :class:`Owner`. Whoever sees a socket's end pops it, or calls
        :meth:`forget`.
    :ivar only: whether the options say whose sockets are wanted: those of others are not in the map.
    """

    def __init__(self, run: Run, tracer: Tracer, wanted: SocketFilter) -> None:
        self.map = owners = tracer.hash(u64, Owner, max_entries=MOST_SOCKETS)
        self.only = run.chooses_tasks
        passes = wanted.passes

        def changed(sk: Any, old: int, new: int) -> None:
            # A process that uses a socket owns its lock meanwhile; what handles a packet never runs then.
            if sk.sk_lock.owned and passes(sk):
                owners[u64(sk)] = Owner(pid=pid(), uid=uid(), comm=comm())

        on_states(tracer, changed)

        @ACCEPTS.leave(tracer)
        def accepted(ret: s64) -> None:
            if ret >= 0:
                sk = socket_of(ret)
                if passes(sk):
                    owners[u64(sk)] = Owner(pid=pid(), uid=uid(), comm=comm())

    def forget(self, tracer: Tracer) -> None:
        """Let the kernel forget sockets that are closed; call it behind the declaration of probes that look them up."""
        owners = self.map

        def closes(sk: Any, old: int, new: int) -> None:
            if new == CLOSE:
                del owners[u64(sk)]

        on_states(tracer, closes, everyone=True)
