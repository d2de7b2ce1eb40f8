"""Lower map operations to helper calls, with keys and values that are integers kept in slots."""

from __future__ import annotations

from pybpf.compiler.ir import Instr, Operand, Unit
from pybpf.compiler.ops import INT, PTR
from pybpf.compiler.rewrite import Rewriter, lower
from pybpf.compiler.target import Target
from pybpf.maps import MapSpec
from pybpf.sys.bpf import MapType

__all__ = ["is_direct", "lower_maps"]

#: flags of an update that an array cannot refuse: BPF_ANY and BPF_EXIST
_ALWAYS_DONE = (0, 2)


def lower_maps(unit: Unit, target: Target) -> None:
    """Leave no ``lookup``, ``update``, ``tryupdate`` and ``delete``."""
    lower(unit, target, {"lookup": _lookup, "update": _update, "tryupdate": _update, "delete": _delete})


def is_direct(spec: MapSpec, key: Operand, target: Target) -> bool:
    """Whether the key's value has an address that instructions can hold: the kernel gives it for arrays of one."""
    return spec.type == MapType.ARRAY and spec.max_entries == 1 and key == 0 and target.has("map_value")


def _in_memory(to: Rewriter, operand: Operand, size: int, name: str) -> Operand:
    """A pointer to a key or value: equal integers share a slot, so that they are stored once."""
    if isinstance(operand, Instr) and operand.type == PTR:
        return operand
    slot = to.slot(size, name, key=(operand, size))
    to.emit("store", slot, operand, offset=0, size=size)
    return slot


def _key(to: Rewriter, instr: Instr) -> Operand:
    return _in_memory(to, instr.args[0], to.unit.maps[instr.attrs["map"]].key_size, "key")


def _call(to: Rewriter, instr: Instr, helper: str, *args: Operand, type: str = INT) -> Operand:
    return to.emit("call", to.emit("map", map=instr.attrs["map"]), *args, helper=helper, type=type)


def _lookup(to: Rewriter, instr: Instr) -> Operand:
    name = instr.attrs["map"]
    if is_direct(to.unit.maps[name], instr.args[0], to.target):
        return to.emit("mapvalue", map=name, offset=0)
    return _call(to, instr, "map_lookup_elem", _key(to, instr), type=PTR)


def _update(to: Rewriter, instr: Instr) -> Operand | None:
    name = instr.attrs["map"]
    spec = to.unit.maps[name]
    key, value, flags = instr.args
    if is_direct(spec, key, to.target) and flags in _ALWAYS_DONE:
        place = to.emit("mapvalue", map=name, offset=0)
        if isinstance(value, Instr) and value.type == PTR:
            to.emit("copy", place, value, size=spec.value_size)
        else:
            to.emit("store", place, value, offset=0, size=spec.value_size)
        result: Operand = 0
    else:
        pointer = _key(to, instr)
        result = _call(to, instr, "map_update_elem", pointer, _in_memory(to, value, spec.value_size, "value"), flags)
    return result if instr.type else None


def _delete(to: Rewriter, instr: Instr) -> Operand:
    return _call(to, instr, "map_delete_elem", _key(to, instr))
