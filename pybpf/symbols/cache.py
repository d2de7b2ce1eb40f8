"""A cache that is bounded by the memory that its values take."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["ByteCache"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ByteCache(Generic[K, V]):
    """Drops what was not used for the longest time once all takes more than ``max_bytes``; the newest always stays."""

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        #: bytes, as the users of the cache count them
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """The value, which counts as used now."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: K, value: V, nbytes: int) -> None:
        """Set a value, or what it takes by now."""
        _, before = self._entries.pop(key, (None, 0))
        self._entries[key] = value, nbytes
        self.nbytes += nbytes - before
        while self.nbytes > self._max and len(self._entries) > 1:
            _, (_, freed) = self._entries.popitem(last=False)
            self.nbytes -= freed
