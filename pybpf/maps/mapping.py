"""Whole maps, as Python's dicts do it: keys, values, items, update, clear; batches where the kernel has them."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any, Union

from pybpf.maps.batch import (
    CHUNK,
    BatchError,
    BatchInterrupted,
    KeyCursor,
    Run,
    batched,
    delete_batch,
    store_batch,
    walk,
)
from pybpf.maps.elements import MISSING, UNSUPPORTED, KeyedMap
from pybpf.maps.spec import MapSpec
from pybpf.sys.bpf import Cmd
from pybpf.sys.cpus import num_possible_cpus
from pybpf.sys.explain import explaining
from pybpf.sys.fd import Fd

__all__ = ["DictMap", "Pairs"]

#: what ``update`` takes
Pairs = Union[Mapping[Any, Any], "DictMap", Iterable[tuple[Any, Any]]]

#: elements that the one-by-one fallback hands on at once
_RUN = 256


class DictMap(KeyedMap):
    """A map that can be read as a whole.

    Iteration gives keys, as a dict's; ``dict(m.items())`` copies the map. It is lazy, needs memory for one batch
    only (and for the keys of a trie), and ends even while programs change the map. With batch operations (hash and
    array maps: Linux 5.6; per-CPU arrays, maps of maps: 5.13) an element that is there all the time comes exactly
    once and no key comes twice; elements that come or go meanwhile may be seen or not. Without them all keys are read
    first; no key comes twice either, but when elements are deleted meanwhile others can be missed.
    """

    def _adopt(self, spec: MapSpec, fd: Fd) -> None:
        super()._adopt(spec, fd)
        # batch command -> whether the kernel takes it for this map
        self._batches: dict[Cmd, bool] = {}

    def __iter__(self) -> Iterator[Any]:
        return self.keys()

    def keys(self) -> Iterator[Any]:
        """The keys."""
        decode = self._keys.unpack_run
        return chain.from_iterable(decode(keys) for keys, _ in self._runs())

    def values(self) -> Iterator[Any]:
        """The values."""
        decode = self._values.unpack_run
        return chain.from_iterable(decode(values) for _, values in self._runs())

    def items(self) -> Iterator[tuple[Any, Any]]:
        """Pairs of key and value."""
        return self._pairs(self._runs())

    def drain(self) -> Iterator[tuple[Any, Any]]:
        """Take everything out of the map: pairs of key and value, each deleted as it is read.

        Hash maps do both in one step under the bucket's lock (batches since Linux 5.6): what programs add in the
        meantime stays for the next time, so repeated drains lose no count. What was not iterated may be gone too.
        """
        return self._pairs(self._runs(Cmd.MAP_LOOKUP_AND_DELETE_BATCH))

    def __len__(self) -> int:
        """How many elements there are: reads the whole map, for the kernel does not count.

        ``list(m)`` asks for it, too; ``list(m.keys())`` does not.
        """
        return sum(len(keys) // self._keys.size for keys, _ in self._runs())

    def __bool__(self) -> bool:
        """Whether there is any element; one system call."""
        with explaining(f"read {self.spec}", "map_elem"):
            return KeyCursor(self.fd, self._keys.size).step() is not None

    def setdefault(self, key: Any, default: Any) -> Any:
        """The value under ``key``, after storing ``default`` there if there was none."""
        for _ in range(64):  # unless somebody deletes it again and again between the two
            if self.add(key, default):
                return default
            value = self._find(key)
            if value is not MISSING:
                return value
        raise self._failed(f"store under {key!r} in", errno.EAGAIN)

    def update(self, *others: Pairs) -> None:
        """Store the items of mappings, or pairs of key and value.

        Items go to the kernel in chunks of a megabyte. When one does not fit its type, the chunks before its own are
        stored; when the kernel refuses one, so are all items before it.
        """
        for other in others:
            pairs: Any = iter(other.items() if isinstance(other, (Mapping, DictMap)) else other)
            most = max(CHUNK // (self._keys.size + self._values.size), 1)
            chunk = list(islice(pairs, most))
            while chunk:
                self._update(chunk)
                chunk = list(islice(pairs, most))

    def discard(self, keys: Iterable[Any]) -> int:
        """Delete the elements under many keys (in batches since Linux 5.6); says how many there were."""
        wanted = iter(keys)
        deleted = 0
        while chunk := list(islice(wanted, max(CHUNK // self._keys.size, 1))):
            deleted += self._discard(chunk)
        return deleted

    def clear(self) -> None:
        """Delete all elements."""
        for _ in self._runs(Cmd.MAP_LOOKUP_AND_DELETE_BATCH):
            pass

    def _pairs(self, runs: Iterator[Run]) -> Iterator[tuple[Any, Any]]:
        keys_of, values_of = self._keys.unpack_run, self._values.unpack_run
        return chain.from_iterable(zip(keys_of(keys), values_of(values)) for keys, values in runs)

    def _runs(self, cmd: Cmd = Cmd.MAP_LOOKUP_BATCH) -> Iterator[Run]:
        """The raw elements, deleted on the way if ``cmd`` says so."""
        with explaining(f"{'read' if cmd is Cmd.MAP_LOOKUP_BATCH else 'empty'} {self.spec}", "map_elem"):
            after = None
            if self._batches.get(cmd, True):
                try:
                    for run in batched(self.fd, cmd, self._keys.size, self._values.size, self.max_entries):
                        self._batches[cmd] = True
                        yield run
                    self._batches[cmd] = True
                    return
                except BatchInterrupted as error:
                    after = error.after
                except OSError as error:
                    if self._batches.get(cmd) or error.errno not in UNSUPPORTED:
                        raise
                    self._batches[cmd] = False
            yield from self._one_by_one(cmd is not Cmd.MAP_LOOKUP_BATCH, after)

    def _one_by_one(self, take: bool, after: bytes | None) -> Iterator[Run]:
        """As :meth:`_runs`, with a system call or two for each element; those behind the key ``after``."""
        fetch = self._fetch_taking if take else self._fetch
        # Some tables hold more: they round up to a power of two, or keep spare elements for each CPU.
        keys = walk(self.fd, self._keys.size, 2 * (self.max_entries + num_possible_cpus()), after)
        for start in range(0, len(keys), _RUN):
            found = []
            scratch = self._scratch()
            try:
                for key in keys[start : start + _RUN]:
                    scratch.key[:] = key
                    if fetch(scratch, key):
                        found.append((key, bytes(scratch.value)))
            finally:
                self._free.append(scratch)
            yield b"".join(key for key, _ in found), b"".join(value for _, value in found)

    def _update(self, pairs: list[tuple[Any, Any]]) -> None:
        """Store one chunk."""
        cmd = Cmd.MAP_UPDATE_BATCH
        keys = self._keys.pack_run([key for key, _ in pairs])
        values = self._values.pack_run([value for _, value in pairs])
        if self._batches.get(cmd, True):
            try:
                store_batch(self.fd, keys, values, len(pairs))
            except BatchError as error:
                number = error.errno or 0
                if number not in UNSUPPORTED or self._batches.get(cmd):
                    what = f"{len(pairs)} elements" if error.done is None else f"under {pairs[error.done][0]!r}"
                    raise self._failed(f"store {what} in", number) from None
                self._batches[cmd] = False
            else:
                self._batches[cmd] = True
                return
        for key, value in pairs:
            self[key] = value

    def _discard(self, keys: list[Any]) -> int:
        """Delete one chunk of keys, going on behind each that there is no element under."""
        cmd, width, start, deleted = Cmd.MAP_DELETE_BATCH, self._keys.size, 0, 0
        packed = self._keys.pack_run(keys)
        while start < len(keys) and self._batches.get(cmd, True):
            try:
                delete_batch(self.fd, packed[start * width :], len(keys) - start)
                self._batches[cmd] = True
                return deleted + len(keys) - start
            except BatchError as error:
                if error.errno == errno.ENOENT and error.done is not None:
                    self._batches[cmd] = True
                    deleted, start = deleted + error.done, start + error.done + 1
                elif error.errno in UNSUPPORTED and not self._batches.get(cmd):
                    self._batches[cmd] = False
                else:
                    raise self._failed(f"delete {len(keys)} elements from", error.errno or 0) from None
        for key in keys[start:]:
            result = self._remove(key)
            if result < 0 and result != -errno.ENOENT:
                raise self._failed(f"delete {key!r} from", -result)
            deleted += result == 0
        return deleted
