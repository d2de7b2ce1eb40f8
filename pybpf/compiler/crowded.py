"""Where a function keeps too many values at once for its stack: what to say of it."""

from __future__ import annotations

from collections import Counter

from pybpf.asm import SourceLine
from pybpf.compiler.frame import FramePlan
from pybpf.compiler.ir import Function
from pybpf.compiler.liveness import live_out
from pybpf.compiler.machine import Copies, MFunction, Spill
from pybpf.compiler.sharing import places
from pybpf.compiler.slots import padded
from pybpf.errors import CompileError

__all__ = ["too_many_values"]

#: memory of the function, and lines, that a message names
_MOST = 3


def too_many_values(function: Function, made: MFunction, plan: FramePlan, size: int, room: int) -> CompileError:
    """The error of a function whose values and memory do not fit the stack.

    :param made: its code, with values in places of the frame.
    :param size: bytes that it needs.
    :param room: bytes that it has.
    """
    where, kept = _fullest(made)
    message = f"function {function.name} needs {size} bytes of stack, and has {room}: {kept} values are kept here"
    slots = sorted(plan.offsets, key=padded, reverse=True)[:_MOST]
    named = [f"{slot.attrs['size']} bytes of {slot.attrs['name']}" for slot in slots if slot.attrs["name"]]
    if named:
        message += f", beside {', '.join(named)}"
    begun = _lines_of(function, made)
    if begun:
        message += f"; most of them are computed in {begun}"
    message += "; use fewer variables at once, or keep some in a map"
    if where is None:
        return CompileError(message)
    start = max(where.column, 1)
    return CompileError(message, where.file, where.line, start, len(where.text.rstrip()) + 1, where.text)


def _fullest(made: MFunction) -> tuple[SourceLine | None, int]:
    """The line where most values are in the frame, and how many."""
    found: tuple[SourceLine | None, int] = None, 0
    behind = live_out(made, places)
    for block in made.blocks:
        live = set(behind[block])
        line: SourceLine | None = None
        for item in reversed(block.items):
            line = item.line or line
            if len(live) > found[1] and line is not None:
                found = line, len(live)
            if isinstance(item, Copies):
                reads, writes = places(item)
                live.difference_update(writes)
                live.update(reads)
    return found


def _lines_of(function: Function, made: MFunction) -> str:
    """The lines that put most values into the frame."""
    lines: Counter[int] = Counter()
    seen: set[Spill] = set()
    for block in made.blocks:
        for item in block.items:
            if isinstance(item, Copies) and item.line is not None:
                for place in places(item)[1]:
                    if place not in seen:
                        seen.add(place)
                        lines[item.line.line] += 1
    found = sorted(line for line, _ in lines.most_common(_MOST))
    return f"line{'s' * (len(found) > 1)} {', '.join(map(str, found))}" if found else ""
