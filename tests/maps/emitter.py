"""Programs that send numbered events through a ring buffer or perf buffer, run by BPF_PROG_TEST_RUN."""

from __future__ import annotations

import contextlib
import ctypes
import struct
import sys
from types import TracebackType
from typing import NamedTuple

from pybpf.asm import Code, assemble, encode
from pybpf.sys.bpf import Cmd, MapType, ProgType, bpf
from pybpf.sys.cpus import nr_cpu_ids
from pybpf.sys.fd import Fd
from pybpf.sys.memlock import bpf_charged
from pybpf.types import Struct, u8, u32, u64

#: events that one run sends at most; the verifier walks through each, and for `reserve` through three ways of each
MOST = {"output": 128, "perf": 128, "reserve": 4}
_HEAD = struct.Struct("=QII")
_RUN_ON_CPU = 1 << 0


class Event(Struct):
    """What the emitters send: 64 bytes, the last 48 all 0xa5."""

    number: u64
    cpu: u32
    size: u32
    filling: u8[48]


class Sent(NamedTuple):
    """One event as bytes."""

    number: int
    cpu: int
    size: int

    @classmethod
    def parse(cls, data: bytes) -> Sent:
        """:raises AssertionError: bytes are not those that were sent."""
        sent = cls(*_HEAD.unpack_from(data))
        assert data[16 : sent.size] == b"\xa5" * (sent.size - 16)
        return sent


def create_map(kind: MapType, entries: int, key: int = 0, value: int = 0) -> Fd:
    sizes = {"key_size": key, "value_size": value, "max_entries": entries}
    return Fd(bpf_charged(Cmd.MAP_CREATE, map_type=kind, map_name=b"rings_test", **sizes), f"{kind.name} map")


# r6 number of the next event, r7 number behind the last, r8 context, r9 CPU. Stack: 128 bytes of event at r10-128.
_START = "\n".join(
    [
        "r8 = r1",
        "r6 = *(u64 *)(r1 +0)",
        "r7 = *(u64 *)(r1 +8)",
        "call bpf_get_smp_processor_id",
        "r9 = r0",
        "r1 = 0xa5a5a5a5a5a5a5a5 ll",
        *(f"*(u64 *)(r10 {offset}) = r1" for offset in range(-112, 0, 8)),
    ]
)
_STEP = """
    if r6 >= r7 goto out
    r1 = r6
    r1 *= {mul}
    r1 &= {mask}
    r1 += {size}
    *(u64 *)(r10 -128) = r6
    *(u32 *)(r10 -120) = r9
    *(u32 *)(r10 -116) = r1
"""
_OUTPUT = """
    r3 = r1
    r1 = map[ring]
    r2 = r10
    r2 += -128
    r4 = 0
    call bpf_ringbuf_output
    if r0 == 0 goto sent{i}
"""
_PERF = """
    r5 = r1
    r1 = r8
    r2 = map[ring]
    r3 = 0xffffffff ll
    r4 = r10
    r4 += -128
    call bpf_perf_event_output
    if r0 == 0 goto sent{i}
"""
# Reserved in the ring itself; every number that is a multiple of `discard` is discarded.
_RESERVE = """
    r1 = map[ring]
    r2 = 64
    r3 = 0
    call bpf_ringbuf_reserve
    if r0 == 0 goto full{i}
    *(u64 *)(r0 +0) = r6
    *(u32 *)(r0 +8) = r9
    r1 = 64
    *(u32 *)(r0 +12) = r1
    r1 = 0xa5a5a5a5a5a5a5a5 ll
    *(u64 *)(r0 +16) = r1
    *(u64 *)(r0 +24) = r1
    *(u64 *)(r0 +32) = r1
    *(u64 *)(r0 +40) = r1
    *(u64 *)(r0 +48) = r1
    *(u64 *)(r0 +56) = r1
    r1 = r0
    r2 = 0
    r3 = r6
    r3 &= {discard}
    if r3 == 0 goto keep{i}
    call bpf_ringbuf_discard
    goto sent{i}
keep{i}:
    call bpf_ringbuf_submit
    goto sent{i}
full{i}:
"""
_COUNT_LOST = """
    r1 = map[lost][0]+0
    r2 = 1
    lock *(u64 *)(r1 +0) += r2
"""
_SEND = {"output": _OUTPUT, "perf": _PERF, "reserve": _RESERVE}


def program(how: str, size: int, mask: int, mul: int, discard: int, most: int) -> Code:
    """Sends the numbers from ctx[0] to ctx[1], at most ``most``; the size of each is size + (number * mul & mask)."""
    fill = {"size": size, "mask": mask, "mul": mul, "discard": discard, "i": ""}
    text = [
        _START,
        f"r1 = {most}",
        "*(u64 *)(r10 -136) = r1",
        "again:",
        _STEP.format(**fill),
        _SEND[how].format(**fill),
        _COUNT_LOST,
        "sent:",
        "r6 += 1",
        "r1 = *(u64 *)(r10 -136)",
        "r1 += -1",
        "*(u64 *)(r10 -136) = r1",
        "if r1 != 0 goto again",
        "out:",
        "r0 = 0",
        "exit",
    ]
    return assemble("\n".join(text))


def _load(code: bytes) -> Fd:
    """Load a raw tracepoint program, for BPF_PROG_TEST_RUN; the verifier's last words are in the exception."""
    log = ctypes.create_string_buffer(1 << 20)
    values = {"prog_type": ProgType.RAW_TRACEPOINT, "license": b"Dual MIT/GPL\0", "prog_name": b"rings_test"}
    program = {"insns": code, "insn_cnt": len(code) // 8, **values}
    try:
        return Fd(bpf_charged(Cmd.PROG_LOAD, **program), "program")
    except OSError:
        with contextlib.suppress(OSError):
            bpf(Cmd.PROG_LOAD, log_buf=log, log_size=len(log), log_level=1, **program)
        raise AssertionError(log.value[-3000:].decode()) from None


class Emitter:
    """A ring with a program that sends events through it.

    :param how: ``output``, ``reserve`` (ring buffer) or ``perf``.
    :param entries: bytes of the ring buffer.
    :param discard: events whose number has one of these bits are discarded (``reserve``).
    """

    def __init__(
        self,
        how: str,
        entries: int = 1 << 16,
        *,
        size: int = 64,
        mask: int = 0,
        mul: int = 13,
        discard: int = 0,
        most: int | None = None,
    ) -> None:
        kind = MapType.PERF_EVENT_ARRAY if how == "perf" else MapType.RINGBUF
        self.most = most or MOST[how]
        self.number = 0
        with contextlib.ExitStack() as made:
            ring = create_map(kind, nr_cpu_ids(), 4, 4) if how == "perf" else create_map(kind, entries)
            self.fd = made.enter_context(ring)
            self.lost_map = made.enter_context(create_map(MapType.ARRAY, 1, 4, 8))
            code = encode(
                program(how, size, mask, mul, discard, self.most),
                maps={"ring": self.fd.fileno(), "lost": self.lost_map.fileno()},
                endian=sys.byteorder,
            )
            self.program = made.enter_context(_load(code))
            self.close = made.pop_all().close

    def send(self, count: int, cpu: int | None = None) -> range:
        """Send the next ``count`` events, from ``cpu``; returns their numbers."""
        sent = range(self.number, self.number + count)
        while self.number < sent.stop:
            stop = min(self.number + self.most, sent.stop)
            where = {} if cpu is None else {"flags": _RUN_ON_CPU, "cpu": cpu}
            context = struct.pack("=QQ", self.number, stop)
            bpf(Cmd.PROG_TEST_RUN, prog_fd=self.program.fileno(), ctx_in=context, ctx_size_in=16, **where)
            self.number = stop
        return sent

    def refused(self) -> int:
        """How many events the program could not send, by its own count."""
        value = ctypes.c_uint64()
        bpf(Cmd.MAP_LOOKUP_ELEM, map_fd=self.lost_map.fileno(), key=bytes(4), value=value)
        return value.value

    def __enter__(self) -> Emitter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
