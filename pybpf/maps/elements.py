"""One element at a time: lookup, update and delete by key, without allocating anything per call."""

from __future__ import annotations

import ctypes
import errno
import struct
from typing import Any

from pybpf.maps.base import Map
from pybpf.maps.codec import Codec, NoCodec, codec
from pybpf.maps.spec import MapSpec
from pybpf.sys.bpf import Cmd, UpdateFlags, bpf_raw
from pybpf.sys.fd import Fd
from pybpf.types import layout

__all__ = ["MISSING", "UNSUPPORTED", "ElementMap", "KeyedMap"]

#: what a lookup gives when there is no such element
MISSING: Any = object()
#: errno of a command that this kernel, or this map type, does not know
UNSUPPORTED = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, 524})

#: what each command that gives a value does with it
_GETS = {Cmd.MAP_LOOKUP_ELEM: "look up {} in", Cmd.MAP_LOOKUP_AND_DELETE_ELEM: "take {} out of"}

# map_fd, key, value, flags: the element commands' part of union bpf_attr
_ELEMENT = struct.Struct("=IxxxxQQQ")


class _Scratch:
    """Buffers for one key and one value, and the attrs that point to them; used by one call at a time.

    The attrs never change, so that a call which a signal handler interrupts cannot leave one half made.
    """

    __slots__ = ("_attrs", "_kept", "delete", "element", "key", "updates", "value")

    def __init__(self, fd: int, key_size: int, value_size: int) -> None:
        self.key = bytearray(key_size)
        self.value = bytearray(value_size)
        # Exported buffers cannot move, so the addresses stay good.
        self._kept = [_exported(self.key), _exported(self.value)]
        key, value = ((ctypes.addressof(part) if part is not None else 0) for part in self._kept)
        rows = [_ELEMENT.pack(fd, key, 0, 0), *(_ELEMENT.pack(fd, key, value, flags) for flags in UpdateFlags)]
        self._attrs = ctypes.create_string_buffer(b"".join(rows), len(rows) * _ELEMENT.size)
        self.delete = ctypes.addressof(self._attrs)  #: delete: it refuses a value
        #: update, by its flags
        self.updates = tuple(self.delete + _ELEMENT.size * (1 + flags) for flags in UpdateFlags)
        self.element = self.updates[UpdateFlags.ANY]  #: lookup


def _exported(buffer: bytearray) -> Any:
    return (ctypes.c_char * len(buffer)).from_buffer(buffer) if buffer else None


class ElementMap(Map):
    """A map whose elements bpf(2) reads and writes one by one."""

    def _adopt(self, spec: MapSpec, fd: Fd) -> None:
        super()._adopt(spec, fd)
        self._keys = self._key_codec()
        self._values = self._value_codec()
        # Each call takes buffers from here and puts them back: threads and signal handlers never share them.
        # list.pop and list.append are atomic.
        self._free: list[_Scratch] = []

    def _key_codec(self) -> Codec:
        return NoCodec() if self.spec.key is None else codec(layout(self.spec.key))

    def _value_codec(self) -> Codec:
        return codec(layout(self.spec.value))

    def _scratch(self) -> _Scratch:
        number = self.fd.fileno()
        try:
            return self._free.pop()
        except IndexError:
            return _Scratch(number, self._keys.size, self._values.size)

    def _find(self, key: Any = None, cmd: Cmd = Cmd.MAP_LOOKUP_ELEM) -> Any:
        """The value under ``key``, or ``MISSING``; ``key`` is ignored by maps without keys."""
        scratch = self._scratch()
        try:
            if self._keys.size:
                self._keys.pack_into(scratch.key, key)
            return self._values.unpack(scratch.value) if self._fetch(scratch, key, cmd) else MISSING
        finally:
            self._free.append(scratch)

    def _fetch(self, scratch: _Scratch, key: Any, cmd: Cmd = Cmd.MAP_LOOKUP_ELEM) -> bool:
        """Read the value under the key in ``scratch`` to there; says whether there is one."""
        result = bpf_raw(cmd, scratch.element, _ELEMENT.size)
        if result < 0:
            if result == -errno.ENOENT:
                return False
            raise self._failed(_GETS[cmd].format("a value" if key is None else repr(key)), -result)
        return True

    def _store(self, key: Any, value: Any, flags: UpdateFlags = UpdateFlags.ANY) -> int:
        """Write an element: 0 or minus errno."""
        scratch = self._scratch()
        try:
            if self._keys.size:
                self._keys.pack_into(scratch.key, key)
            self._values.pack_into(scratch.value, value)
            return bpf_raw(Cmd.MAP_UPDATE_ELEM, scratch.updates[flags], _ELEMENT.size)
        finally:
            self._free.append(scratch)

    def _remove(self, key: Any) -> int:
        """Delete an element: 0 or minus errno."""
        scratch = self._scratch()
        try:
            self._keys.pack_into(scratch.key, key)
            return bpf_raw(Cmd.MAP_DELETE_ELEM, scratch.delete, _ELEMENT.size)
        finally:
            self._free.append(scratch)


class KeyedMap(ElementMap):
    """A map with keys, used like a dict. Keys and values are those of :attr:`key_type` and :attr:`value_type`.

    :raises PackError: (by everything that takes a key or value) it does not fit its type.
    :raises KernelError: (by everything) the kernel refuses, for example because the map is full.
    """

    #: Not by Python's protocol of sequences, which would look up 0, 1, 2, ...
    __iter__: Any = None

    def __getitem__(self, key: Any) -> Any:
        value = self._find(key)
        if value is MISSING:
            raise self._no_element(key)
        return value

    def get(self, key: Any, default: Any = None) -> Any:
        """The value under ``key``, or ``default``."""
        value = self._find(key)
        return default if value is MISSING else value

    def __contains__(self, key: Any) -> bool:
        return self._find(key) is not MISSING

    def __setitem__(self, key: Any, value: Any) -> None:
        result = self._store(key, value)
        if result < 0:
            raise self._failed(f"store under {key!r} in", -result)

    def add(self, key: Any, value: Any) -> bool:
        """Store ``value`` if there is nothing under ``key`` yet; says whether it did. Atomic."""
        result = self._store(key, value, UpdateFlags.NOEXIST)
        if result < 0 and result != -errno.EEXIST:
            raise self._failed(f"store under {key!r} in", -result)
        return result == 0

    def replace(self, key: Any, value: Any) -> bool:
        """Store ``value`` if there is something under ``key`` already; says whether it did. Atomic."""
        result = self._store(key, value, UpdateFlags.EXIST)
        if result < 0 and result != -errno.ENOENT:
            raise self._failed(f"store under {key!r} in", -result)
        return result == 0

    def __delitem__(self, key: Any) -> None:
        result = self._remove(key)
        if result == -errno.ENOENT:
            raise self._no_element(key)
        if result < 0:
            raise self._failed(f"delete {key!r} from", -result)

    def pop(self, key: Any, default: Any = MISSING) -> Any:
        """Take the value under ``key`` out of the map; ``default``, when given, if there is none.

        In one step where the kernel can (hash maps since Linux 5.14), else by lookup and delete.

        :raises KeyError: there is none and no ``default``.
        """
        value = self._take(key)
        if value is MISSING:
            if default is MISSING:
                raise self._no_element(key)
            return default
        return value

    #: whether the kernel takes LOOKUP_AND_DELETE for this map; None: not tried yet
    _can_take: bool | None = None

    def _take(self, key: Any) -> Any:
        scratch = self._scratch()
        try:
            self._keys.pack_into(scratch.key, key)
            return self._values.unpack(scratch.value) if self._fetch_taking(scratch, key) else MISSING
        finally:
            self._free.append(scratch)

    def _fetch_taking(self, scratch: _Scratch, key: Any) -> bool:
        """As :meth:`_fetch`, and delete the element."""
        if self._can_take is not False:
            try:
                found = self._fetch(scratch, key, Cmd.MAP_LOOKUP_AND_DELETE_ELEM)
            except OSError as error:
                if self._can_take or error.errno not in UNSUPPORTED:
                    raise
                self._can_take = False
            else:
                self._can_take = True
                return found
        if not self._fetch(scratch, key):
            return False
        result = bpf_raw(Cmd.MAP_DELETE_ELEM, scratch.delete, _ELEMENT.size)
        if result < 0 and result != -errno.ENOENT:
            raise self._failed(f"delete {key!r} from", -result)
        return result == 0  # otherwise somebody else deleted it in between, and it is theirs

    def _no_element(self, key: Any) -> Exception:
        """What to raise when there is no element under ``key``."""
        return KeyError(key)
