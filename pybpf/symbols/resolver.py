"""What the kernel's and a process's symbols share: answers that are remembered, and stacks."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from pybpf.symbols.symbol import Symbol

__all__ = ["KNOWN_BYTES", "Resolver"]

_MOST_KNOWN = 1 << 11
#: longer names are not remembered
_MOST_NAME = 1 << 10
#: about what a remembered answer takes, in bytes
KNOWN_BYTES = 500


class Resolver:
    """From addresses to symbols. Nothing that is wrong with the files or the process raises: names are missing then."""

    def __init__(self) -> None:
        # of addresses as they are, and of return addresses
        self._known: tuple[dict[int, Symbol], dict[int, Symbol]] = ({}, {})

    def resolve(self, address: int, *, returns: bool = False) -> Symbol:
        """What an address is.

        :param returns: it is a return address: what counts is the call before it, which can be the last instruction
            of its function.
        """
        self._prepare()
        return self._known[returns].get(address) or self._new(address, returns)

    def resolve_all(self, addresses: Iterable[int], *, stack: bool = False) -> list[Symbol]:
        """:meth:`resolve` of each.

        :param stack: they are a stack, innermost first: all but the first are return addresses.
        """
        self._prepare()
        plain, returning = self._known
        frames = iter(addresses)
        innermost = islice(frames, 1) if stack else frames
        found = [plain.get(address) or self._new(address, False) for address in innermost]
        found += [returning.get(address) or self._new(address, True) for address in frames]
        return found

    def _new(self, address: int, returns: bool) -> Symbol:
        found, lasting = self._find(address, address - returns)
        if lasting and len(found.name) <= _MOST_NAME:
            known = self._known[returns]
            if len(known) >= _MOST_KNOWN:
                known.clear()
            known[address] = found
        return found

    def _prepare(self) -> None:
        """Called before addresses are looked up."""

    def _find(self, address: int, inside: int) -> tuple[Symbol, bool]:
        """What the byte at ``inside`` makes of ``address``, and whether that stays true."""
        raise NotImplementedError

    def _forget(self) -> None:
        for known in self._known:
            known.clear()

    @property
    def known_bytes(self) -> int:
        """About what the remembered answers take, in bytes of memory."""
        return KNOWN_BYTES * sum(map(len, self._known))
