"""Probes that programs carry in themselves (USDT): every site, with its arguments and its counter of listeners.

Many programs prepare a probe's arguments only while its counter, the semaphore, is not 0. The kernel raises it in every
process that runs the file (Linux 4.20); before that it is raised here, in one process.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence

from pybpf.attach.kinds.uprobe import UserPlace
from pybpf.attach.kinds.uprobe_multi import attach_places
from pybpf.attach.link import MultiLink
from pybpf.attach.many import NO_MAPS
from pybpf.attach.semaphore import Semaphore, semaphore_address
from pybpf.errors import BpfError, NotFoundError, UnsupportedError
from pybpf.prog import Program, ProgramSpec
from pybpf.prog.load import HasFd
from pybpf.record import NamedTuple
from pybpf.symbols import Binary, ElfFile, UsdtSite, find_binary, find_usdt, mapped_binary, mappings, usdt_sites
from pybpf.symbols.elf import ELF_MAGIC
from pybpf.symbols.files import read_regular, show
from pybpf.symbols.library import process_root
from pybpf.symbols.usdt import check_one_probe
from pybpf.sys.features import Support
from pybpf.sys.features import probe as support

__all__ = ["UsdtPlace", "attach_usdt", "find_usdt_places", "usdt"]


class UsdtPlace(NamedTuple):
    """One site of a probe in one file."""

    binary: Binary
    site: UsdtSite


def usdt(
    program: Program | ProgramSpec,
    binary: str | None,
    probe: str,
    *,
    maps: Mapping[str, HasFd] = NO_MAPS,
    pid: int | None = None,
) -> MultiLink:
    """Run a program whenever a process comes to a USDT probe, at all of its sites.

    The cookie of each site, ``bpf_get_attach_cookie`` in the program, is its index in :func:`find_usdt_places`; by it
    the program can tell where the arguments are. A probe whose sites all have the same arguments needs no cookies.

    :param program: of type KPROBE: a spec, which is loaded here so that one system call attaches to all sites of a file
        where the kernel can, or a loaded program.
    :param binary: as for :func:`~pybpf.attach.uprobe.uprobe`; None for the program and all libraries that ``pid`` has
        mapped.
    :param probe: ``"provider:name"``, or ``"name"`` where that is clear.
    :param maps: what a spec's code refers to.
    :param pid: only in this process.
    :raises NotFoundError: there is no such file, probe or process; the message says what comes close.
    :raises BpfError: several providers have a probe of that name, or the file is damaged.
    :raises UnsupportedError: the sites differ, and the kernel has no cookies (before 5.15); or the probe counts its
        listeners, which the kernel does not do (before 4.20), and no ``pid`` is given.
    :raises KernelError: the kernel refused.
    """
    return attach_usdt(program, find_usdt_places(binary, probe, pid=pid), maps=maps, pid=pid)


def find_usdt_places(binary: str | None, probe: str, *, pid: int | None = None) -> list[UsdtPlace]:
    """The sites that :func:`usdt` attaches to. :raises NotFoundError, BpfError: as there."""
    if binary is None and pid is not None:
        return _in_process(probe, pid)
    return _in_file(find_binary(binary, pid), probe)


def _in_file(binary: Binary, probe: str) -> list[UsdtPlace]:
    with ElfFile(binary.path, binary.name) as elf:
        return [UsdtPlace(binary, site) for site in find_usdt(elf, probe)]


def _in_process(probe: str, pid: int) -> list[UsdtPlace]:
    """The sites in all files that the process runs; a file that cannot be read matters only when there are none."""
    places: list[UsdtPlace] = []
    unread: BpfError | None = None
    root = process_root(pid)
    mapped = {(mapping.path, mapping.inode): mapping for mapping in mappings(pid) if mapping.executable}
    for mapping in mapped.values():
        binary = mapped_binary(pid, mapping, root)
        try:
            if read_regular(binary.path, len(ELF_MAGIC)) == ELF_MAGIC:
                with ElfFile(binary.path, binary.name) as elf:
                    places += [UsdtPlace(binary, site) for site in usdt_sites(elf) if site.is_called(probe)]
        except NotFoundError:  # it is gone
            continue
        except BpfError as error:
            unread = unread or error
    if not places:
        why = f"; but not all of them could be read: {unread}" if unread else ""
        raise NotFoundError(
            f"neither the program of process {pid} nor a library of it has a USDT probe {show(probe)}{why}"
        ) from unread
    check_one_probe((place.site for place in places), probe, f"process {pid}")
    return places


def attach_usdt(
    program: Program | ProgramSpec,
    places: Sequence[UsdtPlace],
    *,
    maps: Mapping[str, HasFd] = NO_MAPS,
    pid: int | None = None,
) -> MultiLink:
    """What :func:`usdt` does once the sites are known; the cookie of each is its index in ``places``."""
    counted = not _lacks("uprobe_ref_ctr")
    targets = [_place(place, counted) for place in places]
    cookies: Sequence[int] | None = range(len(places))
    if _lacks("perf_link"):
        if len({place.site.args_text for place in places}) > 1:
            raise UnsupportedError(
                f"attach to the USDT probe {show(places[0].site.probe)}",
                errno.EOPNOTSUPP,
                "its sites have their arguments in different places, which takes attach cookies (Linux 5.15)",
                "attach one program for each site",
            )
        cookies = None
    link = attach_places(program, targets, maps=maps, cookies=cookies, pid=pid)
    if not counted:
        try:
            _raise_semaphores(link, places, pid)
        except BaseException:
            link.close()
            raise
    return link


def _lacks(feature: str) -> bool:
    """Whether the kernel has it not; one that refuses to tell says why when the program is loaded."""
    return support(feature).support is Support.NO


def _place(place: UsdtPlace, counted: bool) -> UserPlace:
    name = f"{show(place.binary.name)}:{show(place.site.probe)}"
    return UserPlace(place.binary.path, place.site.offset, name, place.site.semaphore if counted else 0, "usdt")


def _raise_semaphores(link: MultiLink, places: Sequence[UsdtPlace], pid: int | None) -> None:
    """Do what the kernel does not: raise each counter in the process, until the link is closed."""
    for binary, offset in dict.fromkeys((place.binary, place.site.semaphore) for place in places):
        if not offset:
            continue
        if pid is None:
            raise UnsupportedError(
                f"attach to {link.target}",
                errno.EOPNOTSUPP,
                "the probe counts its listeners, and this kernel cannot do that in all processes (Linux 4.20)",
                "give the process to trace",
            )
        link.own(Semaphore(pid, semaphore_address(pid, binary, offset)))
