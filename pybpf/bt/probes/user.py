"""Probes in programs and libraries: functions by uprobe, and the places that a program itself prepares (USDT)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from pybpf import attach
from pybpf.bt.probes.arguments import FieldSpec, Registers, Sites
from pybpf.bt.probes.place import Environment, Place, Resolve, Wants
from pybpf.bt.syntax.attachpoints import AttachPoint, has_wildcard
from pybpf.bt.types import Bool, Integer, Pointer, Type
from pybpf.errors import BpfError, NotFoundError
from pybpf.lang.tracer.attaching import AtPlace, Attach, by_spec
from pybpf.lang.values.reading import USER
from pybpf.record import replace
from pybpf.sys.bpf import ProgType

if TYPE_CHECKING:
    from pybpf.attach.kinds.usdt import UsdtPlace
    from pybpf.compiler.target import Target

__all__ = ["uprobe", "usdt"]


def _in_all_files(resolve: Resolve) -> Resolve:
    """Places in every file that a pattern means; where that is none, or none of them has it, there is no place."""

    def places(point: AttachPoint, wants: Wants, environment: Environment) -> list[Place]:
        if not has_wildcard(point.target):
            return resolve(point, wants, environment)
        from pybpf.symbols import ElfFile
        from pybpf.symbols.library import matching_files

        found: list[Place] = []
        pid = None if "/" in point.target else environment.pid
        for path in matching_files(point.target, pid):
            with suppress(BpfError):  # it has no such function, or is no program
                if point.kind != "usdt" and point.function and not has_wildcard(point.function):
                    with ElfFile(path) as elf:
                        elf.function(point.function)
                found += resolve(replace(point, target=path), wants, environment)
        if not found:
            which = "that the process has mapped" if pid is not None else f"{point.target!r}"
            hint = "" if "/" in point.target or pid is not None else "; -p PID looks in what a process has mapped"
            raise NotFoundError(f"no file {which} has what {point.text} names{hint}")
        return found

    return places


@_in_all_files
def uprobe(point: AttachPoint, wants: Wants, environment: Environment) -> list[Place]:
    """``uprobe:file:function``, ``uprobe:file:function+offset``, ``uprobe:file:address``, ``uretprobe:...``"""
    pid = environment.pid
    binary = _binary(point.target)
    point = replace(point, target=binary)
    ret = point.kind == "uretprobe"
    if point.source is not None:
        return _by_line(point, environment)
    if point.language:
        return _demangled(point, environment)
    if has_wildcard(point.function):
        names = [name.rpartition(":")[2] for name in _matching(binary, point.function)]
        if wants.separate(environment.target, ProgType.KPROBE):
            return [place for name in names for place in uprobe(replace(point, function=name), wants, environment)]
        if wants.shown:
            return [_many(point, names, ret, environment)]
        many = by_spec(lambda spec, maps: attach.uprobes(spec, binary, point.function, maps=maps, ret=ret, pid=pid))
        registers = Registers(environment.target, USER, ret=ret)
        return [Place(point.kind, point.text, ProgType.KPROBE, registers, many, places=len(names), point=point)]
    name = point.function or None
    how = AtPlace(binary, name, offset=0 if ret else point.offset, address=point.address, ret=ret, pid=pid)
    registers = Described(environment.target, point, ret)
    return [Place(point.kind, point.text, ProgType.KPROBE, registers, how, point=point)]


class Described(Registers):
    """The arguments of a function that the debug information describes, which is read when they are asked for."""

    def __init__(self, target: Target, point: AttachPoint, ret: bool) -> None:
        super().__init__(target, USER, ret=ret)
        self._point = point
        self._asked = ret or bool(point.offset)

    def fields(self) -> Mapping[str, FieldSpec]:
        if not self._asked:
            self._asked = True
            try:
                self._known = list(_parameters(self._point))
            except BpfError as error:
                self._why = str(error)
        return super().fields()


def _parameters(point: AttachPoint) -> Iterator[tuple[str, Type, int]]:
    """Name, type and number of the register of each parameter that is passed in one, by the calling convention."""
    from pybpf.bt.types.debug import of_debug
    from pybpf.symbols import ElfFile
    from pybpf.symbols.dwarf import DebugInfo

    with ElfFile(point.target) as elf:
        found = elf.function(point.function)
    word = 0
    for each in DebugInfo(point.target).parameters(point.function, found.address):
        kind = of_debug(each.type)
        if each.type.kind == "float":
            continue  # those have registers of their own, which programs cannot read
        if isinstance(kind, (Integer, Bool, Pointer)):
            yield each.name, kind, word
        word += max(1, -(-each.type.size // 8)) if each.type.size <= 16 else 0


def _by_line(point: AttachPoint, environment: Environment) -> list[Place]:
    """``uprobe:file@source:line``"""
    from pybpf.symbols.dwarf import DebugInfo

    assert point.source is not None
    found = DebugInfo(point.target).addresses(*point.source)
    return [_at_address(point, address, environment) for address in found]


def _at_address(point: AttachPoint, address: int, environment: Environment) -> Place:
    pid, ret = environment.pid, point.kind == "uretprobe"
    how = AtPlace(point.target, None, address=address, ret=ret, pid=pid)
    registers = Registers(environment.target, USER, ret=ret, why="the names of the arguments are not known here")
    return Place(point.kind, point.text, ProgType.KPROBE, registers, how, point=point)


def _demangled(point: AttachPoint, environment: Environment) -> list[Place]:
    """``uprobe:file:cpp:"ns::name(int)"``; without parentheses, all functions of the name."""
    from pybpf.symbols import ElfFile
    from pybpf.symbols.demangle import demangle

    wanted = point.function.replace(" ", "")
    with ElfFile(point.target) as elf:
        found = [
            symbol
            for symbol in elf.functions("_Z*")
            if _same(demangle(symbol.name.partition("@")[0]).replace(" ", ""), wanted)
        ]
    if not found:
        raise NotFoundError(f"{point.target} has no C++ function {point.function}")
    addresses = dict.fromkeys(symbol.address for symbol in found)
    return [_at_address(point, address, environment) for address in addresses]


def _same(name: str, wanted: str) -> bool:
    if has_wildcard(wanted):
        return fnmatchcase(name, wanted)
    return name == wanted or ("(" not in wanted and name.partition("(")[0] == wanted)


def _many(point: AttachPoint, names: list[str], ret: bool, environment: Environment) -> Place:
    """One program for several functions, which it can tell apart."""
    how = by_spec(
        lambda spec, maps: attach.uprobes(
            spec, point.target, names, maps=maps, ret=ret, pid=environment.pid, cookies=range(len(names))
        )
    )
    registers = Registers(environment.target, USER, ret=ret)
    return Place(point.kind, point.text, ProgType.KPROBE, registers, how, places=len(names), point=point,
                 names=tuple(replace(point, function=name).text for name in names))  # fmt: skip


@_in_all_files
def usdt(point: AttachPoint, wants: Wants, environment: Environment) -> list[Place]:
    """``usdt:file:probe``, ``usdt:file:provider:probe``"""
    from pybpf.attach.kinds.usdt import find_usdt_places

    pid = environment.pid
    binary = _binary(point.target)
    wanted = f"{point.provider or '*'}:{point.function}"
    found = []
    for name in _usdt_names(binary, wanted):
        provider, _, probe = name.partition(":")
        exact = replace(point, target=binary, provider=provider, function=probe)
        found += _sites(exact, find_usdt_places(binary, name, pid=pid), environment)
    return found


def _usdt_names(binary: str, wanted: str) -> list[str]:
    """``"provider:probe"`` of all that a pattern matches. :raises NotFoundError: none."""
    from pybpf.attach.listing import list_probes

    if not has_wildcard(wanted):
        return [wanted]
    prefix = f"{binary}:"
    found = [probe.name[len(prefix) :] for probe in list_probes(f"usdt:{binary}:{wanted}")]
    if not found:
        raise NotFoundError(f"{binary} has no USDT probe {wanted}")
    return found


def _sites(point: AttachPoint, places: Sequence[UsdtPlace], environment: Environment) -> list[Place]:
    """One program for all sites of a probe, or, where the kernel cannot tell them apart, for each way to have them."""
    from pybpf.attach.kinds.usdt import attach_usdt
    from pybpf.lang.probes.usdt import site_groups

    groups = site_groups(places)
    cookies = environment.target.has_helper(ProgType.KPROBE, "get_attach_cookie")
    parts = [groups] if cookies else [[group] for group in groups]
    found = []
    for part in parts:
        chosen = [places[index] for _, indices in part for index in sorted(indices)] if not cookies else list(places)
        found.append(Place(point.kind, point.text, ProgType.KPROBE, Sites(part), _attach(attach_usdt, chosen,
                           environment.pid), point=point))  # fmt: skip
    return found


def _attach(attach_usdt: Any, places: list[UsdtPlace], pid: int | None) -> Attach:
    return by_spec(lambda spec, maps: attach_usdt(spec, places, maps=maps, pid=pid))


def _binary(name: str) -> str:
    """The path of a program or library. :raises NotFoundError: there is none."""
    from pybpf.symbols import find_binary

    return name if name.startswith("/") else find_binary(name).path


def _matching(binary: str, pattern: str) -> list[str]:
    from pybpf.attach.listing import list_probes

    found = [probe.name for probe in list_probes(f"uprobe:{binary}:{pattern}")]
    if not found:
        raise NotFoundError(f"no function of {binary} matches {pattern}")
    return found
