"""Look up once: a lookup of a key is reused until something may change which entries its map has, along every way.

Another processor may change the map at any time; what it does then looks as if it had come after.
"""

from __future__ import annotations

from typing import Any

from pybpf.compiler.addresses import address_of
from pybpf.compiler.effects import is_pure_call, is_removable_call, reads_only
from pybpf.compiler.flow import replace_values, reverse_postorder
from pybpf.compiler.ir import Block, Function, Instr, Operand, Unit
from pybpf.compiler.ops import PTR
from pybpf.compiler.target import Target
from pybpf.maps import MapSpec
from pybpf.sys.bpf import MapType

__all__ = ["lookups"]

#: lookups that are remembered at one point of a program
_MOST = 16
#: whose entries are always there
_ARRAYS = (MapType.ARRAY, MapType.PERCPU_ARRAY)
_MAP_CHANGES = frozenset(("update", "tryupdate", "delete"))
#: (map, key) -> the lookup
_Found = dict[tuple[str, Operand], Instr]


def lookups(unit: Unit, target: Target) -> None:
    """Reuse lookups in all functions of a unit."""
    for function in unit.functions:
        if any(instr.op == "lookup" for block in function.blocks for instr in block.instrs):
            _reuse(function, unit.maps)


def _reuse(function: Function, maps: dict[str, MapSpec]) -> None:
    after: dict[Block, _Found] = {}
    replaced: dict[Instr, Operand] = {}
    for block in reverse_postorder(function):
        found = _before(block, after)
        for instr in block.instrs:
            if instr.op == "lookup":
                key = instr.attrs["map"], instr.args[0]
                if key in found:
                    replaced[instr] = found[key]
                else:
                    found[key] = instr
                    if len(found) > _MOST:
                        del found[next(iter(found))]
            elif instr.info.effect == "writes":
                _forget(instr, found, maps)
        after[block] = found
    replace_values(function, replaced)


def _before(block: Block, after: dict[Block, _Found]) -> _Found:
    """What all predecessors agree on; nothing where a loop comes back."""
    if not block.predecessors or any(each not in after for each in block.predecessors):
        return {}
    first, *others = (after[each] for each in block.predecessors)
    return {key: value for key, value in first.items() if all(other.get(key) is value for other in others)}


def _forget(instr: Instr, found: _Found, maps: dict[str, MapSpec]) -> None:
    """Drop lookups whose map, or whose key in memory, the instruction may change."""
    if not found or is_pure_call(instr) or is_removable_call(instr):
        return
    for name, key in list(found):
        if (maps[name].type not in _ARRAYS and _may_change_map(instr, name)) or (
            isinstance(key, Instr) and key.type == PTR and _may_write(instr, key)
        ):
            del found[name, key]


def _may_change_map(instr: Instr, name: str) -> bool:
    if instr.op in _MAP_CHANGES:
        return bool(instr.attrs["map"] == name)
    if instr.op in ("callfunc", "kfunc", "tail"):
        return True
    named = {arg.attrs["map"] for arg in instr.args if isinstance(arg, Instr) and arg.op == "map"}
    calls_back = any(isinstance(arg, Instr) and arg.op == "func" for arg in instr.args)
    return calls_back or name in named


def _may_write(instr: Instr, key: Instr) -> bool:
    """Whether memory that a key is in may change: only slots that nothing else points to are followed."""
    slot = address_of(key).base
    if not isinstance(slot, Instr) or slot.op != "slot":
        return True
    if instr.op in _MAP_CHANGES:
        return False
    if instr.op == "call":
        pointed: dict[int, Any] = {at: address_of(arg).base for at, arg in enumerate(instr.args)}
        return any(
            (base is slot and not reads_only(instr, at)) or (isinstance(base, Instr) and base.op in ("func", "phi"))
            for at, base in pointed.items()
        )
    if instr.op in ("callfunc", "kfunc"):
        return True
    base = address_of(instr.args[0]).base
    return base is slot or not isinstance(base, Instr) or base.op not in ("slot", "lookup", "mapvalue", "call")
