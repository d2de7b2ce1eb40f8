"""Probes at many functions of a program or library, by one system call where the kernel can (Linux 6.6)."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import groupby

from pybpf.asm import R0, Code, exit_, mov
from pybpf.attach.check import check_attach_type, check_type
from pybpf.attach.kinds.uprobe import UserPlace, attach_place, explain_place, place_in
from pybpf.attach.link import Closeable, Link, MultiLink
from pybpf.attach.many import MOST_AT_ONCE, NO_MAPS, attach_many, check_cookies_of, is_pattern, u64s
from pybpf.attach.perf_link import check_cookies
from pybpf.errors import BpfError, NotFoundError
from pybpf.prog import Program, ProgramSpec
from pybpf.prog.load import HasFd
from pybpf.record import replace
from pybpf.symbols import ElfFile, find_binary
from pybpf.symbols.files import show
from pybpf.sys.bpf import AttachType, Cmd, ProgType, bpf
from pybpf.sys.fd import Fd
from pybpf.sys.features import has

__all__ = ["attach_places", "find_places", "for_many", "uprobe_multi", "uprobes"]

_RETURN = 1  # BPF_F_UPROBE_MULTI_RETURN
_NOTHING = ProgramSpec(
    ProgType.KPROBE, Code([mov(R0, 0), exit_()]), "nothing", expected_attach_type=AttachType.TRACE_UPROBE_MULTI
)


def uprobes(
    spec: ProgramSpec,
    binary: str | None,
    symbols: str | Sequence[str],
    *,
    maps: Mapping[str, HasFd] = NO_MAPS,
    cookies: Sequence[int] | None = None,
    ret: bool = False,
    pid: int | None = None,
    skip_failures: bool = False,
) -> MultiLink:
    """Load a program and run it whenever a process enters (or leaves) one of many functions.

    The program is loaded here because the form for one link to all differs from that for one link each. The link owns
    it.

    :param spec: of type KPROBE.
    :param binary: as for :func:`~pybpf.attach.uprobe.uprobe`.
    :param symbols: functions, or shell patterns such as ``"SSL_*"``. Several names of one function count once.
    :param maps: what the program's code refers to.
    :param cookies: for each of ``symbols`` what ``bpf_get_attach_cookie`` returns there; then no patterns (Linux 5.15).
    :param ret: run it at return instead of entry.
    :param pid: only in this process.
    :param skip_failures: attach to the others when a function does not exist or cannot be probed, and list it in
        ``failures`` of the result.
    :raises NotFoundError: no such file, process or function, or nothing matches a pattern.
    :raises BpfError: as :func:`~pybpf.attach.uprobe.uprobe`; and as ``Program.load``.
    """
    names = [symbols] if isinstance(symbols, str) else list(symbols)
    check_cookies_of(names, cookies)
    places, indices, failures = find_places(binary, names, pid=pid, distinct=cookies is None, skip=skip_failures)
    return attach_places(
        spec,
        places,
        maps=maps,
        cookies=None if cookies is None else [cookies[index] for index in indices],
        ret=ret,
        pid=pid,
        skip_failures=skip_failures,
        failures=failures,
    )


def find_places(
    binary: str | None, names: Sequence[str], *, pid: int | None = None, distinct: bool = True, skip: bool = False
) -> tuple[list[UserPlace], list[int], list[tuple[str, BpfError]]]:
    """The functions that names and shell patterns mean, for each the index of its name, and what was not found.

    :param distinct: leave out functions that were there before under another name.
    :param skip: leave out what is not found, unless that is all.
    :raises NotFoundError, BpfError: as :func:`uprobes`.
    """
    found = find_binary(binary, pid)
    places: dict[tuple[int, int], tuple[UserPlace, int]] = {}
    failures: list[tuple[str, BpfError]] = []
    with ElfFile(found.path, found.name) as elf:
        for index, name in enumerate(names):
            try:
                # names of Go have wildcards in them: main.(*T).Method, main.Map[go.shape.int]
                pattern = is_pattern(name) and not elf.symbols_named(name)
                functions = elf.functions(name) if pattern else [elf.function(name)]
                if not functions:
                    raise NotFoundError(f"no function of {elf.name} matches {show(name)}")
                for function in functions:
                    place = place_in(elf, function.name, function.address)
                    places.setdefault((place.offset, 0 if distinct else index), (place, index))
            except BpfError as error:
                if not skip:
                    raise
                failures.append((f"{elf.name}:{show(name)}", error))
    if not places:
        raise failures[0][1] if failures else BpfError("cannot attach: no functions are given")
    return [place for place, _ in places.values()], [index for _, index in places.values()], failures


def attach_places(
    program: Program | ProgramSpec,
    places: Sequence[UserPlace],
    *,
    maps: Mapping[str, HasFd] = NO_MAPS,
    cookies: Sequence[int] | None = None,
    ret: bool = False,
    pid: int | None = None,
    skip_failures: bool = False,
    failures: Sequence[tuple[str, BpfError]] = (),
) -> MultiLink:
    """Attach to places that are known: by as few links as the form of the program allows.

    :param program: a loaded program, or a spec, which is loaded in the best form and then owned by the link.
    :param maps: what a spec's code refers to.
    :param failures: what is listed first in ``failures`` of the result.
    """
    owned: tuple[Closeable, ...] = ()
    if isinstance(program, ProgramSpec):
        program = Program.load(for_many(program, pid), maps)
        owned = (program,)
    loaded = program
    at_once = program.spec is not None and program.spec.expected_attach_type == AttachType.TRACE_UPROBE_MULTI

    def attach(indices: Sequence[int]) -> Link:
        part = [places[index] for index in indices]
        part_cookies = None if cookies is None else [cookies[index] for index in indices]
        if at_once:
            return uprobe_multi(loaded, part, cookies=part_cookies, ret=ret, pid=pid)
        return attach_place(loaded, part[0], ret=ret, pid=pid, cookie=part_cookies[0] if part_cookies else None)

    try:
        names = [place.name for place in places]
        parts = _parts(places) if at_once else [range(index, index + 1) for index in range(len(places))]
        links, refused = attach_many(names, attach, parts, skip_failures=skip_failures)
    except BaseException:
        for thing in owned:
            thing.close()
        raise
    return MultiLink(links, _target(places, ret), failures=[*failures, *refused], owned=owned)


def for_many(spec: ProgramSpec, pid: int | None) -> ProgramSpec:
    """A program in the form for one link to many places, where the kernel has such links."""
    if has("uprobe_multi") and (pid is None or _pid_is_process()):
        return replace(spec, expected_attach_type=AttachType.TRACE_UPROBE_MULTI)
    return spec


def uprobe_multi(
    program: Program,
    places: Sequence[UserPlace],
    *,
    cookies: Sequence[int] | None = None,
    ret: bool = False,
    pid: int | None = None,
) -> Link:
    """One link to many places of one file; it is made for all or for none.

    :param program: a KPROBE program that was loaded with ``expected_attach_type=AttachType.TRACE_UPROBE_MULTI``.
    :param cookies: one for each place.
    :param pid: a process; from Linux 6.6 until 6.10 the kernel takes it for the number of one thread.
    :raises NotFoundError: there is no such process.
    :raises PackError: a cookie does not fit into 64 bits.
    :raises KernelError: a place is bad (the kernel does not say which), or the kernel is older than 6.6.
    """
    target = _target(places, ret)
    check_type(program, target, ProgType.KPROBE)
    check_attach_type(program, target, AttachType.TRACE_UPROBE_MULTI)
    if len({place.path for place in places}) != 1:
        raise BpfError(f"cannot attach to {target}: a link takes places of one file")
    if cookies is not None:
        check_cookies(cookies, target)
        if len(cookies) != len(places):
            raise BpfError(f"cannot attach to {target}: there are {len(cookies)} cookies for {len(places)} places")
    counters = [place.ref_ctr_offset for place in places]
    try:
        fd = bpf(
            Cmd.LINK_CREATE,
            prog_fd=program.fileno(),
            attach_type=AttachType.TRACE_UPROBE_MULTI,
            uprobe_multi_path=os.fsencode(places[0].path) + b"\0",
            uprobe_multi_offsets=u64s([place.offset for place in places]),
            uprobe_multi_ref_ctr_offsets=u64s(counters) if any(counters) else 0,
            uprobe_multi_cookies=u64s(cookies) if cookies is not None else 0,
            uprobe_multi_cnt=len(places),
            uprobe_multi_flags=_RETURN if ret else 0,
            uprobe_multi_pid=pid or 0,
        )
    except OSError as error:
        raise explain_place(error, target, pid, "link_create") from None
    return Link(Fd(fd, f"link to {target}"), target, program=program.fd)


def _parts(places: Sequence[UserPlace]) -> list[Sequence[int]]:
    """The indices of places that one link can take: of one file, and not too many."""
    parts: list[Sequence[int]] = []
    for _, group in groupby(range(len(places)), lambda index: places[index].path):
        indices = list(group)
        parts += [indices[start : start + MOST_AT_ONCE] for start in range(0, len(indices), MOST_AT_ONCE)]
    return parts


def _target(places: Sequence[UserPlace], ret: bool) -> str:
    return places[0].target(ret) + (f" and {len(places) - 1} more" if len(places) > 1 else "")


@lru_cache(maxsize=1)
def _pid_is_process() -> bool:
    """Whether ``pid`` of a multi link means a process with all its threads.

    At first the kernel let only the thread of that number run the program (fixed in 6.10 and in stable releases of
    6.6 and later). The fixed one looks processes up, and so knows no process by the number of a second thread; the
    others come as far as the offset, which is beyond the end of the file.
    """
    errors: list[int | None] = []

    def attach() -> None:
        with Program.load(_NOTHING) as program:
            try:
                os.close(
                    bpf(
                        Cmd.LINK_CREATE,
                        prog_fd=program.fileno(),
                        attach_type=AttachType.TRACE_UPROBE_MULTI,
                        uprobe_multi_path=b"/proc/self/exe\0",
                        uprobe_multi_offsets=u64s([1 << 62]),
                        uprobe_multi_cnt=1,
                        uprobe_multi_pid=threading.get_native_id(),
                    )
                )
            except OSError as error:
                errors.append(error.errno)

    thread = threading.Thread(target=attach)
    thread.start()
    thread.join()
    return errors == [errno.ESRCH]
