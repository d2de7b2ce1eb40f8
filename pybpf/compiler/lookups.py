"""Look up once: a lookup of a key is reused until something may change which entries its map has, along every way.

Another processor may change the map at any time; what it does then looks as if it had come after.
"""

from __future__ import annotations

from pybpf.asm import HELPERS
from pybpf.compiler.addresses import address_of
from pybpf.compiler.effects import is_pure_call, is_removable_call, reads_only
from pybpf.compiler.flow import replace_values, reverse_postorder
from pybpf.compiler.ir import Block, Function, Instr, Operand, Unit
from pybpf.compiler.memory import Memory
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
#: what starts an address that is in no slot but, for a slot, its own
_ELSEWHERE = frozenset(("slot", "param", "lookup", "mapvalue", "map", "call"))
#: (map, key) -> the lookup
_Found = dict[tuple[str, Operand], Instr]


def lookups(unit: Unit, target: Target) -> None:
    """Reuse lookups in all functions of a unit."""
    for function in unit.functions:
        if any(instr.op == "lookup" for block in function.blocks for instr in block.instrs):
            _reuse(function, unit.maps)


def _reuse(function: Function, maps: dict[str, MapSpec]) -> None:
    after: dict[Block, _Found] = {}
    memory = Memory(function)
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
                _forget(instr, found, maps, memory)
        after[block] = found
    replace_values(function, replaced)


def _before(block: Block, after: dict[Block, _Found]) -> _Found:
    """What all predecessors agree on; nothing where a loop comes back."""
    if not block.predecessors or any(each not in after for each in block.predecessors):
        return {}
    first, *others = (after[each] for each in block.predecessors)
    return {key: value for key, value in first.items() if all(other.get(key) is value for other in others)}


def _forget(instr: Instr, found: _Found, maps: dict[str, MapSpec], memory: Memory) -> None:
    """Drop lookups whose map, or whose key in memory, the instruction may change."""
    if not found or is_pure_call(instr) or is_removable_call(instr):
        return
    for name, key in list(found):
        if (maps[name].type not in _ARRAYS and _may_change_map(instr, name)) or (
            isinstance(key, Instr) and key.type == PTR and _may_write(instr, key, memory)
        ):
            del found[name, key]


def _may_change_map(instr: Instr, name: str) -> bool:
    if instr.op in _MAP_CHANGES:
        return bool(instr.attrs["map"] == name)
    if instr.op in ("callfunc", "kfunc", "tail"):
        return True
    if any(isinstance(arg, Instr) and arg.op == "func" for arg in instr.args):
        return True  # it calls back
    # a map that is reached by a pointer came out of a map of maps: it may be any
    return any(
        not isinstance(arg, Instr) or arg.op != "map" or arg.attrs["map"] == name for arg in _maps_given(instr)
    )


def _maps_given(instr: Instr) -> list[Operand]:
    """The arguments of a call that are maps."""
    kinds = HELPERS[instr.attrs["helper"]].args if instr.op == "call" else ()
    return [arg for arg, kind in zip(instr.args, kinds) if kind == "CONST_MAP_PTR"]


def _may_write(instr: Instr, key: Instr, memory: Memory) -> bool:
    """Whether memory that a key is in may change: only slots are followed."""
    slot = address_of(key).base
    if not isinstance(slot, Instr) or slot.op != "slot":
        return True
    if instr.op in _MAP_CHANGES:
        return False
    if instr.op in ("callfunc", "kfunc", "tail"):
        return memory.is_written(slot, instr)
    if instr.op != "call":
        return _may_be_in(slot, instr.args[0])
    if slot in memory.private:
        return memory.is_written(slot, instr)
    return any(_may_be_in(slot, arg) and not reads_only(instr, at) for at, arg in enumerate(instr.args))


def _may_be_in(slot: Instr, pointer: Operand) -> bool:
    """Whether an address may be in a slot; an integer is in none."""
    base = address_of(pointer).base
    if not isinstance(base, Instr) or base.type != PTR:
        return False
    return base is slot or base.op not in _ELSEWHERE
