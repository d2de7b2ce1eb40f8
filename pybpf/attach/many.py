"""Attaching to many places: as many as possible at once, and finding the one that refuses."""

from __future__ import annotations

import errno
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

from pybpf.attach.link import Link
from pybpf.errors import BpfError, KernelError, PermissionDenied
from pybpf.prog.load import HasFd

__all__ = ["MOST_AT_ONCE", "NO_MAPS", "attach_many", "check_cookies_of", "is_pattern", "u64s"]

NO_MAPS: Mapping[str, HasFd] = MappingProxyType({})
#: places of one link (MAX_KPROBE_MULTI_CNT, MAX_UPROBE_MULTI_CNT)
MOST_AT_ONCE = 1 << 20
_WILDCARDS = frozenset("*?[")


#: what the kernel says when it, or this process, has no room left
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC)


def is_pattern(name: str) -> bool:
    """Whether it has wildcards."""
    return not _WILDCARDS.isdisjoint(name)


def check_cookies_of(names: Sequence[str], cookies: Sequence[int] | None) -> None:
    """:raises BpfError: there are cookies, but not just one for each place."""
    if cookies is not None and (len(cookies) != len(names) or any(map(is_pattern, names))):
        raise BpfError("cannot attach with cookies: give one cookie for each function, and no patterns")


def u64s(numbers: Iterable[int]) -> bytes:
    """An array for the kernel to read."""
    return array("Q", numbers).tobytes()


def attach_many(
    names: Sequence[str],
    attach: Callable[[Sequence[int]], Link],
    parts: Iterable[Sequence[int]],
    *,
    skip_failures: bool = False,
) -> tuple[list[Link], list[tuple[str, BpfError]]]:
    """Attach to all of ``names``; returns the links and, for each place that was skipped, its name and why.

    The kernel refuses a whole call when one place is bad, and does not say which. So a part that fails is halved until
    the bad place is alone: for one bad place among n that takes about 2 log2(n) calls.

    :param attach: makes one link to the places with these indices in ``names``.
    :param parts: the indices to call ``attach`` with at first; of one index each for one link per place.
    :param skip_failures: go on without the places that refuse.
    :raises BpfError: the first place that refuses, unless they are to be skipped; nothing stays attached. When all
        refuse, the first one's error in any case. What is not the fault of a place is not searched for.
    """
    links: list[Link] = []
    failures: list[tuple[str, BpfError]] = []
    todo = list(parts)[::-1]
    try:
        while todo:
            part = todo.pop()
            try:
                links.append(attach(part))
            except BpfError as error:
                if not _is_of_a_place(error, len(part)):
                    raise
                if len(part) > 1:
                    middle = len(part) // 2
                    todo += [part[middle:], part[:middle]]
                elif skip_failures:
                    failures.append((names[part[0]], error))
                else:
                    raise
        if failures and not links:
            raise failures[0][1]
    except BaseException:
        for link in links:
            link.close()
        raise
    return links, failures


def _is_of_a_place(error: BpfError, places: int) -> bool:
    """Whether one of the places is the reason; errors of another kind would come again for each part."""
    if isinstance(error, KernelError):
        return not isinstance(error, PermissionDenied) and error.errno not in _NO_ROOM
    # found before the kernel was asked, of one place; or of several, that the process has ended, or a wrong argument
    return places == 1
