"""Probes in programs and libraries: functions by uprobe, and the places that a program itself prepares (USDT)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pybpf import attach
from pybpf.bt.probes.arguments import Registers, Sites
from pybpf.bt.probes.place import Environment, Place, Wants
from pybpf.bt.syntax.attachpoints import AttachPoint, has_wildcard
from pybpf.errors import NotFoundError
from pybpf.lang.tracer.attaching import Attach, at_one, by_spec
from pybpf.lang.values.reading import USER
from pybpf.sys.bpf import ProgType

if TYPE_CHECKING:
    from pybpf.attach.kinds.usdt import UsdtPlace

__all__ = ["uprobe", "usdt"]


def uprobe(point: AttachPoint, wants: Wants, environment: Environment) -> list[Place]:
    """``uprobe:file:function``, ``uprobe:file:function+offset``, ``uprobe:file:address``, ``uretprobe:...``"""
    pid = environment.pid
    binary = _binary(point.target)
    point = replace(point, target=binary)
    ret = point.kind == "uretprobe"
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
    if ret:
        how = at_one(lambda program: attach.uretprobe(program, binary, name, address=point.address, pid=pid))
    else:
        how = at_one(
            lambda program: attach.uprobe(program, binary, name, offset=point.offset, address=point.address, pid=pid)
        )
    registers = Registers(environment.target, USER, ret=ret)
    return [Place(point.kind, point.text, ProgType.KPROBE, registers, how, point=point)]


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
