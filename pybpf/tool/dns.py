"""Replies of name servers, as processes receive them: which name has which addresses. RFC 1035, RFC 3596."""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable
from socket import AF_INET, AF_INET6, IPPROTO_UDP, inet_ntop
from typing import TYPE_CHECKING, Any

from pybpf.errors import PackError
from pybpf.lang import cast, current_task, ktime_ns, ntoh16, read_user, read_user_bytes, tid
from pybpf.record import NamedTuple
from pybpf.tool.syscalls import SyscallProbes
from pybpf.types import Struct, array_of, s32, s64, u8, u16, u32, u64

if TYPE_CHECKING:
    from pybpf.lang import Tracer
    from pybpf.lang.state.output import Events

    Bytes = bytes
else:
    Bytes = array_of(u8, 1472)

__all__ = ["RECEIVES", "Names", "Packet", "Reply", "parse_reply", "see_replies"]

RECEIVES = SyscallProbes("read", "recvfrom", "recvmsg", what="replies of name servers")

PORT = 53
#: where msg_iov is in a struct msghdr, which begins with msg_name; an iovec begins with its address
_MSG_IOV = 16
#: where the port is in a struct sockaddr_in or sockaddr_in6
_PORT_AT = 2
_S_IFMT, _S_IFSOCK = 0o170000, 0o140000

_HEADER = struct.Struct(">HHHHHH")
_RECORD = struct.Struct(">HHIH")
_REPLY = 0x8000
#: type of a record -> family and bytes of its address
_ADDRESSES = {1: (AF_INET, 4), 28: (AF_INET6, 16)}
_INET = (int(AF_INET), int(AF_INET6))
_IN = 1
_MOST_NAME = 255


class Packet(Struct):
    """A packet from a name server."""

    time: u64
    size: u32  #: what is above that of ``data`` is cut
    data: Bytes

    @property
    def payload(self) -> bytes:
        """As far as it is known."""
        return bytes(self.data[: self.size])


class _Receiving(Struct):
    """A call that may bring one."""

    address: u64
    source: u64  #: where the kernel puts who sent it; 0: the socket is connected, or it is of a struct msghdr
    message: u8  #: the address is of a struct msghdr
    connected: u8  #: to a name server


def see_replies(tracer: Tracer, inside: Callable[[Any], bool]) -> Events[Packet]:
    """Replies from port 53 that any process receives on a UDP socket that is connected, or asks who sent them.

    :param inside: for probes: whether a ``struct sock`` is of interest.
    """
    packets = tracer.events(Packet, pages=256)
    receiving = tracer.hash(u32, _Receiving)

    def begins(fd: int, address: int, source: int, message: int) -> None:
        file = current_task().files.fdt.fd[fd]
        if file.f_inode.i_mode & _S_IFMT != _S_IFSOCK:
            return
        sk = cast("struct socket", file.private_data).sk
        ends = sk.__sk_common
        if sk.sk_protocol != IPPROTO_UDP or ends.skc_family not in _INET or not inside(sk):
            return
        if ntoh16(ends.skc_dport) == PORT or (ends.skc_dport == 0 and (source or message)):
            receiving[tid()] = _Receiving(address=address, source=source, message=message,
                                          connected=ends.skc_dport != 0)  # fmt: skip

    # Whoever asks: the cache of names may be another process than the one that connects.
    @RECEIVES.enter(tracer, "read", everyone=True)
    def reads(fd: s32, address: u64) -> None:
        begins(fd, address, 0, 0)

    @RECEIVES.enter(tracer, "recvfrom", everyone=True)
    def receives(fd: s32, address: u64, size: u64, flags: u64, source: u64) -> None:
        begins(fd, address, source, 0)

    @RECEIVES.enter(tracer, "recvmsg", everyone=True)
    def receives_message(fd: s32, address: u64) -> None:
        begins(fd, address, 0, 1)

    @RECEIVES.leave(tracer, everyone=True)
    def received(ret: s64) -> None:
        call = receiving.pop(tid())
        if call is None or ret <= 0:
            return
        address: u64 = call.address
        source: u64 = call.source
        if call.message:
            source = read_user(address, u64)
            address = read_user(read_user(address + _MSG_IOV, u64), u64)
        if not call.connected and (not source or ntoh16(read_user(source + _PORT_AT, u16)) != PORT):
            return
        with packets.reserve() as packet:
            packet.time, packet.size = ktime_ns(), ret
            packet.data = read_user_bytes(address, ret)

    return packets


class Reply(NamedTuple):
    """What a name server said."""

    name: str  #: that was asked for, without the last dot; bytes that are not ASCII are surrogates
    addresses: list[str]


def parse_reply(packet: bytes) -> Reply:
    """The question of a reply and all addresses in its answers, of aliases too; of a packet that is cut, those in it.

    :raises PackError: it is no reply to one question.
    """
    if len(packet) < _HEADER.size:
        raise PackError("no reply of a name server: it is shorter than the header")
    _, flags, questions, answers, _, _ = _HEADER.unpack_from(packet)
    if not flags & _REPLY or questions != 1:
        raise PackError("no reply of a name server to one question")
    name, at = _name(packet, _HEADER.size)
    at += 4  # type and class of the question
    found: list[str] = []
    for _ in range(answers):
        try:
            _, at = _name(packet, at)
            kind, group, _, size = _RECORD.unpack_from(packet, at)
        except (PackError, struct.error):
            break  # cut
        at += _RECORD.size
        family, length = _ADDRESSES.get(kind, (None, 0))
        if family is not None and group == _IN and size == length and at + size <= len(packet):
            found.append(inet_ntop(family, packet[at : at + size]))
        at += size
    return Reply(name, found)


def _name(packet: bytes, at: int) -> tuple[str, int]:
    """The name that begins at an offset, and where it ends. :raises PackError: there is none."""
    labels: list[bytes] = []
    total, end = 0, -1
    while True:
        if at >= len(packet):
            raise PackError("a name goes beyond the end of its packet")
        size = packet[at]
        if size & 0xC0 == 0xC0 and at + 1 < len(packet):  # the rest is elsewhere: before, or it would have no end
            end = at + 2 if end < 0 else end
            to = (size & 0x3F) << 8 | packet[at + 1]
            if to >= at:
                raise PackError("a name refers to what follows it")
            at = to
            continue
        total += size + 1
        if size & 0xC0 or total > _MOST_NAME or at + 1 + size > len(packet):
            raise PackError("a name has a wrong length")
        at += 1
        if size == 0:
            return b".".join(labels).decode("ascii", "surrogateescape"), at if end < 0 else end
        labels.append(packet[at : at + size])
        at += size


class Names:
    """Addresses -> the names that were asked for last, and when.

    :param most: addresses that are remembered; the oldest are forgotten.
    """

    def __init__(self, most: int = 10240) -> None:
        self._most = most
        self._found: OrderedDict[str, tuple[str, int]] = OrderedDict()

    def learn(self, reply: Reply, time: int) -> None:
        """Remember a reply that came at a time (of any clock)."""
        for address in reply.addresses:
            self._found[address] = (reply.name, time)
            self._found.move_to_end(address)
            if len(self._found) > self._most:
                self._found.popitem(last=False)

    def of(self, address: str) -> tuple[str, int] | None:
        """The name, and when it was learnt; None: no reply had it."""
        return self._found.get(address)
