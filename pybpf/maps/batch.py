"""Many elements per system call where the kernel can, one by one where it cannot: runs of keys and values."""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Iterator
from typing import Union

from pybpf.sys.bpf import Attr, Cmd, bpf_raw
from pybpf.sys.fd import Fd

__all__ = ["CHUNK", "BatchError", "KeyCursor", "Run", "batched", "store_batch", "walk"]

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


def batched(fd: Fd, cmd: Cmd, key_size: int, value_size: int, max_entries: int) -> Iterator[Run]:
    """All elements by LOOKUP_BATCH or LOOKUP_AND_DELETE_BATCH; each run is valid until the next is asked for.

    The kernel goes through a hash table bucket by bucket and locks each once: an element that is there all the
    time comes exactly once, no key comes twice, and the end comes however much is inserted meanwhile.

    :raises OSError: plain; the first call's says whether the kernel can do it at all.
    """
    most = max(CHUNK // (key_size + value_size), 1)
    room = _Buffers(min(most, max_entries), key_size, value_size)
    # Where to go on: opaque, four bytes or a key.
    tokens = [ctypes.create_string_buffer(max(key_size, 4)) for _ in range(2)]
    attr = Attr(cmd, out_batch=tokens[0])
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
            if error.errno in (errno.EINTR, errno.EAGAIN) and retries < _RETRIES:
                # Elements vanished under the kernel's feet (array-like and trie maps before Linux 6.14).
                retries += 1
                continue
            if error.errno != errno.ENOENT:
                raise
            ended = True
        retries = 0
        count = attr["count"]
        if count:
            yield room.run(count)
        if ended:
            return
        attr["in_batch"] = ctypes.addressof(tokens[0])
        tokens.reverse()
        attr["out_batch"] = ctypes.addressof(tokens[0])


class KeyCursor:
    """Steps from key to key: one system call each, and nothing allocated but the key."""

    def __init__(self, fd: Fd, key_size: int) -> None:
        self._fd = fd
        # Two keys, each once the one to go on from and once the one found.
        self._keys = [ctypes.create_string_buffer(key_size) for _ in range(2)]
        one, other = (ctypes.addressof(key) for key in self._keys)
        number = fd.fileno()
        # From the first key to the second, back again, and how it starts: from nothing to the first.
        steps = ((one, other), (other, one), (0, one))
        self._attrs = ctypes.create_string_buffer(b"".join(_NEXT_KEY.pack(number, *step) for step in steps))
        self._found = 1  # and so the next step finds the other one
        self._attr = ctypes.addressof(self._attrs) + 2 * _NEXT_KEY.size

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


def walk(fd: Fd, key_size: int, most: int) -> list[bytes]:
    """All keys, one system call each, without duplicates.

    When the key just read is deleted, the kernel starts again at the beginning; then known keys come again, and
    are left out. Under changes that never end the walk does: with ``most`` keys, or when it met eight times
    as many known keys as there are. Elements that are there all the time may then be missing.

    :raises OSError: plain.
    """
    seen: dict[bytes, None] = {}
    repeats = 0
    cursor = KeyCursor(fd, key_size)
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
    """A batch failed at element number ``done``; those before it are stored."""

    def __init__(self, number: int, done: int) -> None:
        super().__init__(number, "batch")
        self.done = done


def store_batch(fd: Fd, keys: bytes, values: bytes, count: int) -> None:
    """UPDATE_BATCH: write ``count`` elements. :raises BatchError: the kernel refused one, or all."""
    attr = Attr(Cmd.MAP_UPDATE_BATCH, map_fd=fd.fileno(), keys=keys, values=values, count=count)
    try:
        attr.call()
    except OSError as error:
        raise BatchError(error.errno or 0, attr["count"]) from None
