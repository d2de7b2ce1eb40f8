"""Links: what keeps a program attached; closing one detaches it."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Protocol, TypeVar, Union

from pybpf.errors import BpfError, ClosedError, UnsupportedError
from pybpf.sys.fd import Fd
from pybpf.sys.objects import (
    Kind,
    KprobeMultiLink,
    LinkInfo,
    LinkType,
    PerfLink,
    PerfLinkKind,
    link_info,
    open_id,
    prog_info,
    type_name,
)
from pybpf.sys.pin import Path, open_pinned, pin

__all__ = ["AnyLink", "Closeable", "Link", "MultiLink"]


L = TypeVar("L", bound="Link")


#: links; fewer are closed faster than a thread is worth
_WORTH_A_THREAD = 4


class Closeable(Protocol):
    """What a link can own besides its descriptor: a program, a tracefs event, a semaphore that it raised."""

    def close(self) -> None: ...


#: links at whose hits the kernel skips a program only because it is running already, and counts that (Linux 5.12)
_COUNTED_BY_PROGRAM = (LinkType.TRACING, LinkType.RAW_TRACEPOINT)
#: perf events at whose hits it skips a program when any is running on that CPU, and counts that (Linux 6.7)
_COUNTED = (PerfLinkKind.KPROBE, PerfLinkKind.KRETPROBE, PerfLinkKind.TRACEPOINT)


def _program_missed(program: Fd | None) -> int | None:
    """How many hits skipped the program because one was already running on that CPU; None before Linux 5.12."""
    if program is None or program.closed:
        return None
    return prog_info(program).recursion_misses


def _total(counts: Iterable[int | None]) -> int | None:
    """The sum; None when one is not known, for the others are only a part of the answer."""
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total


def _close_all(things: Sequence[Closeable]) -> None:
    """Close each one, the last first, whatever happens to the others; the first error is raised in the end."""
    with ExitStack() as stack:
        for thing in things:
            stack.callback(thing.close)


def _close_at_once(things: Sequence[Closeable]) -> None:
    """Close all in some threads, in any order, whatever happens to the others; then the first error is raised.

    The kernel waits when it detaches a perf event, some 70 ms each time, and in part does so for several together: two
    threads take half of the time of one, and more threads not less.
    """
    left, errors = list(things), []

    def work() -> None:
        while left:
            try:
                thing = left.pop()
            except IndexError:  # another thread took the last one
                return
            try:
                thing.close()
            except BaseException as error:
                errors.append(error)

    helper = threading.Thread(target=work)
    with suppress(RuntimeError):  # no more threads: it takes longer
        helper.start()
    work()
    if helper.ident is not None:
        helper.join()
    if errors:
        raise errors[0]


class Link:
    """A program that is attached to one place, or by one bpf_link to many places.

    :meth:`close`, the end of a ``with`` block, or the end of the process detaches it, unless it was pinned.

    :param fd: the bpf_link, or the perf event where the kernel has no links for them (before 5.15). Owned.
    :param target: what the program is attached to, for messages: ``"kprobe:tcp_connect"``.
    :param program: the descriptor of the program, to read how many hits it missed. Not owned.
    :param is_bpf_link: False when ``fd`` is a perf event.
    :param owned: closed after ``fd``, in reverse order.
    """

    def __init__(
        self,
        fd: Fd,
        target: str,
        *,
        program: Fd | None = None,
        is_bpf_link: bool = True,
        owned: Sequence[Closeable] = (),
    ) -> None:
        self.fd = fd
        self.target = target
        self.is_bpf_link = is_bpf_link
        self.program = program
        self._owned: list[Closeable] = [*owned, fd]

    @classmethod
    def open(cls: type[L], path: Path) -> L:
        """The link that is pinned at ``path``. Closing it detaches nothing as long as the pin is there.

        :raises NotFoundError: nothing is pinned there.
        :raises KernelError: something else than a link is pinned there.
        """
        return cls._opened(open_pinned(path, "link"))

    @classmethod
    def from_id(cls: type[L], number: int) -> L:
        """The link with this id in the kernel, as in ``pybpf list links`` (Linux 5.8). Needs CAP_SYS_ADMIN.

        :raises NotFoundError: there is none (any more).
        """
        return cls._opened(open_id(Kind.LINK, number))

    @classmethod
    def _opened(cls: type[L], fd: Fd) -> L:
        from pybpf.attach.attached import in_words, what_is_attached  # not needed by who makes links

        try:
            info = link_info(fd)
            target = in_words(what_is_attached(info)) or f"{type_name(info.type)} link {info.id}"
            try:
                program = open_id(Kind.PROG, info.prog_id)
            except BpfError:  # without CAP_SYS_ADMIN: what the program missed stays unknown
                return cls(fd, target)
            return cls(fd, target, program=program, owned=(program,))
        except BaseException:
            fd.close()
            raise

    def fileno(self) -> int:
        """The descriptor's number. :raises ClosedError: after :meth:`close`."""
        return self.fd.fileno()

    @property
    def closed(self) -> bool:
        """True once the program is detached."""
        return self.fd.closed

    def own(self, thing: Closeable) -> None:
        """Close ``thing`` too when this link is closed, after the program is detached."""
        self._owned.insert(0, thing)

    def close(self) -> None:
        """Detach; a second call does nothing."""
        owned, self._owned = self._owned, []
        _close_all(owned)

    def info(self) -> LinkInfo:
        """What the kernel says about the link.

        :raises ClosedError: after :meth:`close`.
        :raises UnsupportedError: the attachment is a bare perf event.
        """
        self._check_is_link("read the link information of")
        return link_info(self.fd)

    @property
    def missed(self) -> int | None:
        """How many hits did not run the program; None where the kernel does not count them all.

        The sum of what the probe missed, for lack of room or because it was being hit already, and of the hits at which
        the program was skipped because one was running on that CPU. The second number counts per program, so it takes
        in all places that the program is attached to. Counted are raw tracepoints and trampolines (fentry and the like)
        since Linux 5.12, kprobes and tracepoints since 6.7; uprobes, perf events and iterators are not.

        :raises ClosedError: after :meth:`close`.
        """
        self.fd.fileno()
        return _total((self._probe_missed(), _program_missed(self.program)))

    def _probe_missed(self) -> int | None:
        """How many hits the probe itself missed; None where hits of this kind are missed without being counted."""
        if not self.is_bpf_link:
            return None
        info = self.info()
        if info.type in _COUNTED_BY_PROGRAM:
            return 0
        detail = info.detail
        if isinstance(detail, KprobeMultiLink) or (isinstance(detail, PerfLink) and detail.kind in _COUNTED):
            return detail.missed
        return None

    def pin(self, path: Path) -> None:
        """Keep the program attached under ``path``, in a bpf file system, after the process has ended.

        :raises UnsupportedError: the attachment is a bare perf event.
        :raises NotFoundError: the directory does not exist.
        :raises KernelError: the path exists or is not in a bpf file system.
        """
        self._check_is_link("pin")
        pin(self.fd, path)

    def _check_is_link(self, action: str) -> None:
        self.fd.fileno()
        if not self.is_bpf_link:
            raise UnsupportedError(
                f"{action} {self.target}",
                errno.EOPNOTSUPP,
                "this kernel attaches by a perf event, not by a link (Linux 5.15)",
            )

    def __enter__(self) -> Link:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<link to {self.target}, {'closed' if self.closed else f'fd {self.fd.fileno()}'}>"


class MultiLink:
    """Several links that are closed as one.

    :param links: the links. Owned.
    :param target: what they are attached to, for messages: ``"uprobe:libc.so.6:str*"``.
    :param failures: (target, error) of each place that was to be skipped when it cannot be attached to.
    :param owned: closed after the links, in reverse order: the program that the links run, when it was made for them.
    """

    def __init__(
        self,
        links: Sequence[Link],
        target: str,
        *,
        failures: Sequence[tuple[str, BpfError]] = (),
        owned: Sequence[Closeable] = (),
    ) -> None:
        self.links = tuple(links)
        self.target = target
        self.failures: list[tuple[str, BpfError]] = list(failures)
        self._owned: list[Closeable] = [*owned, *links]
        self._closed = False

    @property
    def closed(self) -> bool:
        """True once all of them are detached."""
        return self._closed

    def own(self, thing: Closeable) -> None:
        """Close ``thing`` too when this link is closed, after the programs are detached."""
        self._owned.insert(0, thing)

    def close(self) -> None:
        """Detach all; a second call does nothing."""
        self._closed = True
        owned, self._owned = self._owned, []
        with ExitStack() as behind:
            behind.callback(_close_all, owned)
            if len(self.links) >= _WORTH_A_THREAD:
                _close_at_once(self.links)

    @property
    def missed(self) -> int | None:
        """The sum over the links, see :attr:`Link.missed`; each program's own count is taken once.

        :raises ClosedError: after :meth:`close`.
        """
        if self._closed:
            raise ClosedError(f"the link to {self.target} is closed")
        programs = {id(link.program): link.program for link in self.links}
        counts = [link._probe_missed() for link in self.links]
        return _total([*counts, *map(_program_missed, programs.values())])

    def __len__(self) -> int:
        return len(self.links)

    def __iter__(self) -> Iterator[Link]:
        return iter(self.links)

    def __enter__(self) -> MultiLink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self.links)} links"
        return f"<links to {self.target}, {state}>"


AnyLink = Union[Link, MultiLink]
