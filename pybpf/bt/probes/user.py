"""Probes in programs and libraries: functions by uprobe, and the places that a program itself prepares (USDT)."""

from __future__ import annotations

from dataclasses import replace

from pybpf import attach
from pybpf.bt.probes.arguments import Registers
from pybpf.bt.probes.place import Environment, Place, Wants
from pybpf.bt.syntax.attachpoints import AttachPoint, has_wildcard
from pybpf.errors import NotFoundError
from pybpf.lang.tracer.attaching import at_one, by_spec
from pybpf.lang.values.reading import USER
from pybpf.sys.bpf import ProgType

__all__ = ["uprobe"]


def uprobe(point: AttachPoint, wants: Wants, environment: Environment) -> list[Place]:
    """``uprobe:file:function``, ``uprobe:file:function+offset``, ``uprobe:file:address``, ``uretprobe:...``"""
    pid = environment.pid
    binary = _binary(point.target)
    point = replace(point, target=binary)
    ret = point.kind == "uretprobe"
    if has_wildcard(point.function):
        if wants.apart:
            names = [name.rpartition(":")[2] for name in _matching(binary, point.function)]
            return [place for name in names for place in uprobe(replace(point, function=name), wants, environment)]
        many = by_spec(lambda spec, maps: attach.uprobes(spec, binary, point.function, maps=maps, ret=ret, pid=pid))
        registers = Registers(environment.target, USER, ret=ret)
        return [Place(point.kind, point.text, ProgType.KPROBE, registers, many, places=0, point=point)]
    name = point.function or None
    if ret:
        how = at_one(lambda program: attach.uretprobe(program, binary, name, address=point.address, pid=pid))
    else:
        how = at_one(
            lambda program: attach.uprobe(program, binary, name, offset=point.offset, address=point.address, pid=pid)
        )
    registers = Registers(environment.target, USER, ret=ret)
    return [Place(point.kind, point.text, ProgType.KPROBE, registers, how, point=point)]


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
