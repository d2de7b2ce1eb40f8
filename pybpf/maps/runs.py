"""Finds runs of equally sized records in the memory of a ring buffer or perf buffer; pure functions.

Layouts: include/uapi/linux/bpf.h (``BPF_RINGBUF_*``), kernel/bpf/ringbuf.c, include/uapi/linux/perf_event.h.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from pybpf.errors import BpfError

__all__ = ["PERF_SKIP", "RING_SKIP", "PerfScan", "Run", "equal_run", "perf_runs", "ring_runs", "stride"]

#: bytes in front of a record's data: ``u32 len; u32 pg_off``
RING_SKIP = 8
#: bytes in front of a sample's data: ``u32 type; u16 misc; u16 size; u32 raw_size``
PERF_SKIP = 12

_BUSY, _DISCARD = 1 << 31, 1 << 30
_LENGTH = _DISCARD - 1
_PERF_HEADER = struct.Struct("=IHH")
_SAMPLE, _LOST = 9, 2
_U32, _U64 = struct.Struct("=I"), struct.Struct("=Q")
# Headers compared at once: few at first, for one odd record must not cost a look at all that follow.
_FIRST_WINDOW, _LAST_WINDOW = 32, 4096


class Run(NamedTuple):
    """``records`` records in a row, each with ``size`` bytes of data, the first one's header at byte ``offset``."""

    offset: int
    records: int
    size: int


class PerfScan(NamedTuple):
    """What :func:`perf_runs` found."""

    runs: list[Run]
    end: int  #: bytes that were looked at and need not be seen again
    lost: int  #: samples that the kernel reports as dropped


def stride(skip: int, size: int) -> int:
    """Bytes from a record to the next: ``skip`` of header and ``size`` of data, up to a multiple of 8."""
    return (skip + size + 7) & ~7


def equal_run(words: memoryview, first: int, step: int, most: int) -> int:
    """How many of ``words[first]``, ``words[first + step]``, ... are equal to the first, of at most ``most``."""
    word = words[first : first + 1].tobytes()
    count, window = 1, _FIRST_WINDOW
    while count < most:
        window = min(window, most - count)
        start = first + count * step
        found = words[start : start + (window - 1) * step + 1 : step].tobytes()
        expected = word * window
        if found != expected:
            differing = int.from_bytes(found, "little") ^ int.from_bytes(expected, "little")
            lowest = (differing & -differing).bit_length() - 1
            return count + lowest // (8 * len(word))
        count += window
        window = min(4 * window, _LAST_WINDOW)
    return count


def ring_runs(words: memoryview, start: int, stop: int, budget: int) -> tuple[list[Run], int]:
    """The finished records of a BPF ring buffer between two byte positions.

    Ends at ``stop``, at a record that a program has reserved but not yet submitted, or when ``budget`` bytes are
    used up, but takes one record whatever its size. Discarded records are left out.

    :param words: the data pages as 32-bit words, mapped twice in a row, so that no record is cut at the end.
    :return: runs, with offsets from ``start``, and the position behind the last record.
    :raises BpfError: a record does not end before ``stop``.
    """
    runs: list[Run] = []
    position, last = start, min(stop, start + budget)
    while position < last:
        header = words[position >> 2]
        if header & _BUSY:
            break
        size = header & _LENGTH
        step = (size + 15) & ~7  # stride(RING_SKIP, size)
        following = position + step
        if following > stop:
            raise BpfError(
                f"cannot read ring buffer: the record at byte {position} is {step} bytes long, but {stop - position} "
                "are there; something wrote to its memory"
            )
        count = 1
        if following < last and words[following >> 2] == header:
            count = equal_run(words, position >> 2, step >> 2, (last - position) // step)
            following = position + count * step
        if not header & _DISCARD:
            runs.append(Run(position - start, count, size))
        position = following
    return runs, position


def perf_runs(data: bytes, complete: bool) -> PerfScan:
    """The samples of a part of a perf buffer that starts with a record.

    :param complete: the part ends with a record; otherwise its last one may be cut off and is left for later.
    :raises BpfError: a record's size is wrong.
    """
    runs: list[Run] = []
    position, stop, lost = 0, len(data), 0
    words = memoryview(data)[: stop & ~7].cast("Q")
    while position < stop:
        there = stop - position
        kind, _, step = _PERF_HEADER.unpack_from(data, position) if there >= 8 else (0, 0, 8)
        if step > there and not complete:
            break
        if step < 8 or step % 8 or step > there:
            raise _corrupt(position, f"has the size {step}, and {there} bytes are there")
        count = 1
        if kind == _SAMPLE:
            (size,) = _U32.unpack_from(data, position + 8) if step > PERF_SKIP else (0,)
            if size != step - PERF_SKIP:
                raise _corrupt(position, f"has the size {step}, but {size} bytes of data")
            following = (position + step) >> 3
            if following < len(words) and words[following] == words[position >> 3]:
                count = equal_run(words, position >> 3, step >> 3, there // step)
            runs.append(Run(position, count, size))
        elif kind == _LOST:
            if step < 24:
                raise _corrupt(position, f"has the size {step}, too little for a count of lost samples")
            lost += _U64.unpack_from(data, position + 16)[0]
        position += count * step
    return PerfScan(runs, position, lost)


def _corrupt(position: int, problem: str) -> BpfError:
    return BpfError(f"cannot read perf buffer: the record at byte {position} {problem}; something wrote to its memory")
