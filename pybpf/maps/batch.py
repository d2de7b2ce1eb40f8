"""Many elements per system call where the kernel can, one by one where it cannot: runs of keys and values."""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Iterator
from typing import Union

from pybpf.sys.bpf import Attr, Cmd, bpf_raw
from pybpf.sys.fd import Fd

__all__ = [
    "CHUNK",
    "BatchError",
    "BatchInterrupted",
    "KeyCursor",
    "Run",
    "batched",
    "delete_batch",
    "store_batch",
    "walk",
]

_Raw = Union[bytes, "memoryview[int]"]
#: keys and values, each one after the other as raw bytes
Run = tuple[_Raw, _Raw]
#: bytes of keys and values asked for at once; more is not faster
CHUNK = 1 << 20
_RETRIES = 16
# map_fd, key, next_key: its part of union bpf_attr
_NEXT_KEY = struct.Struct("=IxxxxQQ")


class _Buffers:
    """Room for ``count`` keys and values."""

    def __init__(self, count: int, key_size: int, value_size: int) -> None:
        self.count = count
        self._sizes = key_size, value_size
        self.keys = ctypes.create_string_buffer(count * key_size)
        self.values = ctypes.create_string_buffer(count * value_size)

    def run(self, count: int) -> Run:
        key_size, value_size = self._sizes
        return memoryview(self.keys)[: count * key_size], memoryview(self.values)[: count * value_size]


class BatchInterrupted(OSError):
    """Batches come no further than to the key ``after`` (None: they did not even begin); :func:`walk` does."""

    def __init__(self, number: int, after: bytes | None) -> None:
        super().__init__(number, "batch")
        self.after = after


def batched(fd: Fd, cmd: Cmd, key_size: int, value_size: int, max_entries: int) -> Iterator[Run]:
    """All elements by LOOKUP_BATCH or LOOKUP_AND_DELETE_BATCH; each run is valid until the next is asked for.

    The kernel goes through a hash table bucket by bucket and locks each once: an element that is there all the
    time comes exactly once, no key comes twice, and the end comes however much is inserted meanwhile.

    :raises BatchInterrupted: the kernel stops again and again at an element that is gone.
    :raises OSError: plain; the first call's says whether the kernel can do it at all.
    """
    most = max(CHUNK // (key_size + value_size), 1)
    room = _Buffers(min(most, max_entries), key_size, value_size)
    # Where to go on: opaque, four bytes or a key.
    tokens = [ctypes.create_string_buffer(max(key_size, 4)) for _ in range(2)]
    attr = Attr(cmd, out_batch=tokens[0])
    after: bytes | None = None
    retries = 0
    while True:
        attr["map_fd"] = fd.fileno()  # may be closed between two runs
        attr["keys"], attr["values"] = ctypes.addressof(room.keys), ctypes.addressof(room.values)
        attr["count"] = room.count
        ended = False
        try:
            attr.call()
        except OSError as error:
            if error.errno == errno.ENOSPC and room.count <= 2 * max_entries:
                # One bucket holds more than the buffers do.
                room = _Buffers(2 * room.count, key_size, value_size)
                continue
            # An element vanished under the kernel's feet, or an array has gaps (array-like and trie maps before
            # Linux 6.14): what was read until there counts, and is where to go on.
            if error.errno in (errno.EINTR, errno.EAGAIN):
                if not attr["count"]:
                    retries += 1
                    if retries > _RETRIES:
                        raise BatchInterrupted(error.errno, after) from None
                    continue
            elif error.errno == errno.ENOENT:
                ended = True
            else:
                raise
        retries = 0
        count = attr["count"]
        if count:
            yield room.run(count)
        if ended:
            return
        attr["in_batch"] = ctypes.addressof(tokens[0])
        after = tokens[0].raw[:key_size]  # a key where interruptions are known, see above
        tokens.reverse()
        attr["out_batch"] = ctypes.addressof(tokens[0])


class KeyCursor:
    """Steps from key to key: one system call each, and nothing allocated but the key."""

    def __init__(self, fd: Fd, key_size: int, after: bytes | None = None) -> None:
        """:param after: the key to go on from; None: begin with the first."""
        self._fd = fd
        # Two keys, each once the one to go on from and once the one found.
        self._keys = [ctypes.create_string_buffer(key_size) for _ in range(2)]
        one, other = (ctypes.addressof(key) for key in self._keys)
        number = fd.fileno()
        # From the first key to the second, back again, and how it starts: from nothing to the first.
        steps = ((one, other), (other, one), (0, one))
        self._attrs = ctypes.create_string_buffer(b"".join(_NEXT_KEY.pack(number, *step) for step in steps))
        self._found = 1  # and so the next step finds the other one
        if after is not None:
            self._keys[1].raw = after
        self._attr = ctypes.addressof(self._attrs) + (2 if after is None else 1) * _NEXT_KEY.size

    def step(self) -> bytes | None:
        """The next key, ``None`` after the last. When the last one found is gone, it starts again at the first.

        :raises OSError: plain.
        """
        self._fd.fileno()  # refuses when it is closed
        result = bpf_raw(Cmd.MAP_GET_NEXT_KEY, self._attr, _NEXT_KEY.size)
        if result == 0:
            self._found = found = 1 - self._found
            self._attr = ctypes.addressof(self._attrs) + found * _NEXT_KEY.size
            return self._keys[found].raw
        if result == -errno.ENOENT:
            return None
        raise OSError(-result, "next key")


def walk(fd: Fd, key_size: int, most: int, after: bytes | None = None) -> list[bytes]:
    """All keys, or those behind ``after``, one system call each, without duplicates.

    When the key just read is deleted, the kernel starts again at the beginning; then known keys come again, and
    are left out. Under changes that never end the walk does: with ``most`` keys, or when it met eight times
    as many known keys as there are. Elements that are there all the time may then be missing.

    :raises OSError: plain.
    """
    seen: dict[bytes, None] = {}
    repeats = 0
    cursor = KeyCursor(fd, key_size, after)
    key = cursor.step()
    while key is not None and len(seen) < most:
        if key in seen:
            repeats += 1
            if repeats > 8 * len(seen) + 64:
                break
        seen[key] = None
        key = cursor.step()
    return list(seen)


class BatchError(OSError):
    """A batch failed at element number ``done``; those before it are stored. ``None``: it was refused as a whole."""

    def __init__(self, number: int, done: int | None) -> None:
        super().__init__(number, "batch")
        self.done = done


def store_batch(fd: Fd, keys: bytes, values: bytes, count: int) -> None:
    """UPDATE_BATCH: write ``count`` elements. :raises BatchError: the kernel refused one, or all."""
    _call(Attr(Cmd.MAP_UPDATE_BATCH, map_fd=fd.fileno(), keys=keys, values=values, count=count))


def delete_batch(fd: Fd, keys: bytes, count: int) -> None:
    """DELETE_BATCH: delete the elements under ``count`` keys. :raises BatchError: there is none, or all are refused."""
    _call(Attr(Cmd.MAP_DELETE_BATCH, map_fd=fd.fileno(), keys=keys, count=count))


def _call(attr: Attr) -> None:
    count = attr["count"]
    try:
        attr.call()
    except OSError as error:
        done = attr["count"]  # not written when no element was looked at
        raise BatchError(error.errno or 0, done if done < count else None) from None
