"""USDT probes of an ELF file: the notes in ``.note.stapsdt``, relocated to places in the file."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping

from pybpf.arch import ARCHES, Arch
from pybpf.errors import BpfError, NotFoundError
from pybpf.record import NamedTuple, replace
from pybpf.symbols.elf import FUNC, NOTYPE, OBJECT, ElfFile, Section
from pybpf.symbols.files import show
from pybpf.symbols.usdt_args import UsdtArg, UsdtArgKind, parse_args
from pybpf.sys.near import did_you_mean

__all__ = ["UsdtSite", "check_one_probe", "find_usdt", "usdt_sites"]

_NT_STAPSDT = 3
_ADDRESSES = (NOTYPE, OBJECT, FUNC)  # kinds of symbols that arguments name
_MOST_NAME = 512
_MOST_ARGS = 4096
#: Linux can replace the pair by a call instead of a trap (6.18) if the probe is on the second instruction.
_NOP_NOP5 = b"\x90\x0f\x1f\x44\x00\x00"


class UsdtSite(NamedTuple):
    """One place of a USDT probe; a probe can have many, each with its own arguments."""

    provider: str
    name: str
    address: int  #: of the probe's instruction, virtual, as in the file
    offset: int  #: of the probe's instruction in the file
    semaphore: int  #: file offset of the 16-bit counter that must not be 0 while somebody listens; 0: none
    semaphore_address: int  #: its virtual address; 0: none
    args: tuple[UsdtArg, ...]
    args_text: str  #: as in the note

    @property
    def probe(self) -> str:
        """``"provider:name"``."""
        return f"{self.provider}:{self.name}"

    def is_called(self, name: str) -> bool:
        """Whether ``name`` is that of the probe, with or without its provider."""
        return name in (self.probe, self.name)


def usdt_sites(elf: ElfFile) -> list[UsdtSite]:
    """Every site of every USDT probe of the file, in the order of the notes.

    :raises BpfError: the file is of an architecture that pybpf does not know.
    """
    section = elf.section(".note.stapsdt")
    if section is None:
        return []
    arch = next((arch for arch in ARCHES.values() if arch.elf_machine == elf.machine), None)
    if arch is None or elf.bits != 64:
        raise BpfError(f"cannot read the USDT probes of {elf.name}: it is for {elf.machine}, {elf.bits} bits")
    sites = list(_sites(elf, section, arch))
    wanted = {arg.symbol for site in sites for arg in site.args if arg.symbol is not None}
    if not wanted:
        return sites
    addresses = {symbol.name: symbol.address for symbol in elf.symbols(_ADDRESSES) if symbol.name in wanted}
    return [
        site._replace(args=tuple(_resolved(arg, addresses, site.address, arch) for arg in site.args)) for site in sites
    ]


def _sites(elf: ElfFile, section: Section, arch: Arch) -> Iterator[UsdtSite]:
    head = struct.Struct(("<" if arch.endian == "little" else ">") + "QQQ")
    base_section = elf.section(".stapsdt.base")
    for note in elf.notes(section):
        if note.owner != b"stapsdt" or note.type != _NT_STAPSDT or len(note.data) < head.size:
            continue
        address, base, semaphore_address = head.unpack_from(note.data)
        texts = note.data[head.size :].split(b"\0")
        if len(texts) < 3 or any(len(text) > _MOST_NAME for text in texts[:2]) or len(texts[2]) > _MOST_ARGS:
            continue
        provider, name, args_text = (text.decode("utf-8", "surrogateescape") for text in texts[:3])
        if base_section is not None and base and base_section.address:  # the file was prelinked
            moved = base_section.address - base
            address += moved
            semaphore_address += moved if semaphore_address else 0
        # the newer <sys/sdt.h> of x86-64 emits two instructions, of which the longer takes the faster probe
        if arch.name == "x86_64" and (at := elf.file_offset(address, executable=True)) is not None:
            address += elf.read(at, len(_NOP_NOP5)) == _NOP_NOP5
        offset = elf.file_offset(address, executable=True)
        semaphore = elf.file_offset(semaphore_address) if semaphore_address else 0
        if offset is None or semaphore is None:
            continue
        args = tuple(parse_args(args_text, arch))
        yield UsdtSite(provider, name, address, offset, semaphore, semaphore_address, args, args_text)


def _resolved(arg: UsdtArg, addresses: Mapping[str, int], address: int, arch: Arch) -> UsdtArg:
    """The argument with its symbol replaced by a displacement from the instruction pointer at the probe."""
    if arg.symbol is None:
        return arg
    target = addresses.get(arg.symbol)
    if target is None:
        return replace(arg, kind=UsdtArgKind.UNREADABLE, problem=f"the file has no symbol {show(arg.symbol)}")
    if arg.kind is UsdtArgKind.CONST or arg.index is not None or arg.register is not None:
        # an absolute address: such code is not position-independent
        return replace(arg, symbol=None, offset=target + arg.offset)
    ip = arch.registers[arch.ip]
    return replace(arg, symbol=None, register=ip, offset=target + arg.offset - address)


def find_usdt(elf: ElfFile, probe: str) -> list[UsdtSite]:
    """The sites of the probe ``"provider:name"``; just ``"name"`` where one provider only has it.

    :raises NotFoundError: there is no such probe; the message says what comes close.
    :raises BpfError: several providers have a probe of that name.
    """
    sites = usdt_sites(elf)
    found = [site for site in sites if site.is_called(probe)]
    if not found:
        names = {site.probe for site in sites}
        close = did_you_mean(probe, map(show, names | {site.name for site in sites}))
        why = close if names else ": the file has no USDT probes"
        raise NotFoundError(f"there is no USDT probe {show(probe)} in {elf.name}{why}")
    check_one_probe(found, probe, elf.name)
    return found


def check_one_probe(found: Iterable[UsdtSite], probe: str, where: str) -> None:
    """:raises BpfError: the sites found for a name are of several probes."""
    probes = sorted({site.probe for site in found})
    if len(probes) > 1:
        raise BpfError(
            f"{show(probe)} names several USDT probes of {where}: {', '.join(map(show, probes))}; give the provider too"
        )
