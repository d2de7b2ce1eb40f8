"""Lower map operations: values that have an address of their own are used there, others by helper calls.

Keys and values that are integers are kept in slots for the helpers.
"""

from __future__ import annotations

from pybpf.compiler.ir import Instr, Operand, Unit
from pybpf.compiler.ops import INT, PTR
from pybpf.compiler.rewrite import KEEP, Rewriter, lower
from pybpf.compiler.target import Target
from pybpf.sys.bpf import MapType

__all__ = ["direct_maps", "lower_maps"]

#: flags of an update that an array cannot refuse: BPF_ANY and BPF_EXIST
_ALWAYS_DONE = (0, 2)


def direct_maps(unit: Unit, target: Target) -> None:
    """Use the value of an array of one by its address: then there is no missing entry, and what tests for it folds."""
    lower(unit, target, {"lookup": _direct_lookup, "update": _direct_update, "tryupdate": _direct_update})


def lower_maps(unit: Unit, target: Target) -> None:
    """Leave no ``lookup``, ``update``, ``tryupdate`` and ``delete``."""
    lower(unit, target, {"lookup": _lookup, "update": _update, "tryupdate": _update, "delete": _delete})


def _is_direct(to: Rewriter, instr: Instr) -> bool:
    """Whether the key's value has an address that instructions can hold: the kernel gives it for arrays of one."""
    spec = to.unit.maps[instr.attrs["map"]]
    array = spec.type == MapType.ARRAY and spec.max_entries == 1
    return array and instr.args[0] == 0 and to.target.has("map_value")


def _direct_lookup(to: Rewriter, instr: Instr) -> object:
    return to.emit("mapvalue", map=instr.attrs["map"], offset=0) if _is_direct(to, instr) else KEEP


def _direct_update(to: Rewriter, instr: Instr) -> object:
    _, value, flags = instr.args
    if not _is_direct(to, instr) or flags not in _ALWAYS_DONE:
        return KEEP
    name = instr.attrs["map"]
    size = to.unit.maps[name].value_size
    place = to.emit("mapvalue", map=name, offset=0)
    if isinstance(value, Instr) and value.type == PTR:
        to.emit("copy", place, value, size=size)
    else:
        to.emit("store", place, value, offset=0, size=size)
    return 0 if instr.type else None


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
    return _call(to, instr, "map_lookup_elem", _key(to, instr), type=PTR)


def _update(to: Rewriter, instr: Instr) -> Operand | None:
    _, value, flags = instr.args
    key = _key(to, instr)
    size = to.unit.maps[instr.attrs["map"]].value_size
    result = _call(to, instr, "map_update_elem", key, _in_memory(to, value, size, "value"), flags)
    return result if instr.type else None


def _delete(to: Rewriter, instr: Instr) -> Operand:
    return _call(to, instr, "map_delete_elem", _key(to, instr))
