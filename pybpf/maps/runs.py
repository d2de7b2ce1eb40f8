"""Finds runs of equally sized records in the memory of a ring buffer or perf buffer; pure functions.

Layouts: include/uapi/linux/bpf.h (``BPF_RINGBUF_*``), kernel/bpf/ringbuf.c, include/uapi/linux/perf_event.h.
"""

from __future__ import annotations

import sys

from pybpf.errors import BpfError
from pybpf.record import NamedTuple

__all__ = ["PERF_SKIP", "RING_SKIP", "PerfScan", "Run", "equal_run", "perf_runs", "ring_runs", "stride"]

#: bytes in front of a record's data: ``u32 len; u32 pg_off``
RING_SKIP = 8
#: bytes in front of a sample's data: ``u32 type; u16 misc; u16 size; u32 raw_size``
PERF_SKIP = 12

_BUSY, _DISCARD = 1 << 31, 1 << 30
_LENGTH = _DISCARD - 1
# struct perf_event_header: u32 type; u16 misc; u16 size; taken as one 64-bit word.
_KIND_SHIFT, _STEP_SHIFT = (0, 48) if sys.byteorder == "little" else (32, 0)
_SAMPLE, _LOST = 9, 2
_CUT = 8 << _STEP_SHIFT  # stands for a header of which less than 8 bytes are there
# Fewer equal records than this are handled one by one: looking for a run takes as long as about so many.
_WORTH = 8
# Headers compared at once: few at first, for one odd record must not cost a look at all that follow.
_FIRST_WINDOW, _LAST_WINDOW = 32, 4096


#: Records in a row: byte offset of the first one's header, how many, bytes of data in each. A plain tuple, for there
#: can be one for each record.
Run = tuple[int, int, int]


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
        ahead = position + _WORTH * step
        if ahead < last and words[ahead >> 2] == header == words[following >> 2]:
            count = equal_run(words, position >> 2, step >> 2, (last - position) // step)
            following = position + count * step
        if not header & _DISCARD:
            runs.append((position - start, count, size))
        position = following
    return runs, position


def perf_runs(data: bytes, complete: bool) -> PerfScan:
    """The samples of a part of a perf buffer that starts with a record.

    :param complete: the part ends with a record; otherwise its last one may be cut off and is left for later.
    :raises BpfError: a record's size is wrong.
    """
    runs: list[Run] = []
    position, stop, lost = 0, len(data), 0
    view = memoryview(data)[: stop & ~7]
    words, halves = view.cast("Q"), view.cast("I")
    whole = stop - 7  # where a header begins before this, all of it is there
    while position < stop:
        header = words[position >> 3] if position < whole else _CUT
        step = header >> _STEP_SHIFT & 0xFFFF
        following = position + step
        if following > stop and not complete:
            break
        if step < 8 or step & 7 or following > stop:
            raise _corrupt(position, f"has the size {step}, and {stop - position} bytes are there")
        count = 1
        kind = header >> _KIND_SHIFT & 0xFFFFFFFF
        if kind == _SAMPLE:
            size = halves[(position >> 2) + 2] if step > PERF_SKIP else 0
            if size != step - PERF_SKIP:
                raise _corrupt(position, f"has the size {step}, but {size} bytes of data")
            ahead = position + _WORTH * step
            if ahead < whole and words[ahead >> 3] == header == words[following >> 3]:
                count = equal_run(words, position >> 3, step >> 3, (stop - position) // step)
                following = position + count * step
            runs.append((position, count, size))
        elif kind == _LOST:
            if step < 24:
                raise _corrupt(position, f"has the size {step}, too little for a count of lost samples")
            lost += words[(position >> 3) + 2]
        position = following
    return PerfScan(runs, position, lost)


def _corrupt(position: int, problem: str) -> BpfError:
    return BpfError(f"cannot read perf buffer: the record at byte {position} {problem}; something wrote to its memory")
