"""From a unit of IR to a program that can be loaded: the table of passes, then selection, allocation, emission."""

from __future__ import annotations

import re
from collections.abc import Callable

from pybpf.asm import Code, Item, Label
from pybpf.asm.code import check_label
from pybpf.compiler.callgraph import CallGraph
from pybpf.compiler.compiled import Compiled
from pybpf.compiler.crowded import too_many_values
from pybpf.compiler.emit import emit
from pybpf.compiler.frame import STACK, SpillFrame, plan_frame
from pybpf.compiler.ir import Function, Unit
from pybpf.compiler.machine import format_machine
from pybpf.compiler.midend import PASSES_MID
from pybpf.compiler.regalloc import allocate
from pybpf.compiler.scratch import Scratch
from pybpf.compiler.select import select
from pybpf.compiler.sharing import share_places
from pybpf.compiler.target import Target
from pybpf.errors import AsmError, CompileError
from pybpf.lazy import Uncollected
from pybpf.prog import ProgramSpec

__all__ = ["PASSES", "Compiled", "compile_unit"]


#: Name, as dumps ask for it, and what changes the unit. After the last one every operation is of level ``machine``.
PASSES: tuple[tuple[str, Callable[[Unit, Target], None]], ...] = (*PASSES_MID,)


def compile_unit(unit: Unit, target: Target, *, check: bool = False, stages: bool = False) -> Compiled:
    """Compile a unit, which is changed on the way.

    :param check: check the unit before each pass and behind the last one.
    :param stages: keep the text of each stage: ``source``, the passes by their names, ``select``, ``code``.
    :raises CompileError: the target cannot do what is asked for, or the program needs too much stack.
    """
    with Uncollected():
        return _compile(unit, target, check, stages)


def _compile(unit: Unit, target: Target, check: bool, stages: bool) -> Compiled:
    texts: dict[str, str] = {}
    for name, run in (("source", _nothing), *PASSES):
        run(unit, target)
        if check:
            from pybpf.compiler.check import check as check_unit

            check_unit(unit)
        if stages:
            from pybpf.compiler.text import format_unit

            texts[name] = format_unit(unit)
    linker = _Linker(unit, target, stages)
    code = linker.link()
    spec = ProgramSpec(
        unit.type,
        _within_reach(code, target, unit.name),
        unit.name,
        expected_attach_type=unit.expected_attach_type,
        attach_btf=unit.attach_btf,
    )
    if stages:
        texts["select"] = "\n".join(linker.selected)
        texts["code"] = str(code)
    return Compiled(spec, {**unit.maps, **linker.scratch.maps()}, texts)


def _within_reach(code: Code, target: Target, name: str) -> Code:
    """The code, whose jumps all reach where they go to.

    :raises CompileError: one does not, and the kernel has no longer ones.
    """
    if code.slots <= 0x8000:
        return code
    if target.has("gotol"):
        return code.relax()
    try:
        for _ in code.resolved():
            pass
    except AsmError:
        raise CompileError(
            f"program {name} has {code.slots} instructions, and jumps over more than 32,767 of them, which this kernel "
            "has not (Linux 6.6): split it, or make loops of what is written out"
        ) from None
    return code


def _nothing(unit: Unit, target: Target) -> None:
    """The unit as the front end made it."""


class _Linker:
    """Puts the functions of a unit into one piece of code."""

    def __init__(self, unit: Unit, target: Target, stages: bool) -> None:
        self.unit = unit
        self.stages = stages
        self.selected: list[str] = []
        self.target = target
        self.scratch = Scratch(unit, target, f"{unit.name}_scratch")
        self.used: set[str] = set()
        self.labels: dict[str, str] = {}

    def link(self) -> Code:
        """The code of the program and of the functions that it needs."""
        calls = CallGraph(self.unit)
        parts: dict[Function, list[Item]] = {}
        deep: dict[Function, int] = {}
        for function in calls.order:  # what is called comes first: then it is known how much stack is left
            below = max((deep[each] for each in calls.callees[function]), default=0)
            above = calls.above[function]
            room = (STACK - below) // (1 + above) // 32 * 32
            parts[function], size = self.function(function, room, STACK - below - 32 * above, calls.callees[function])
            deep[function] = below + max(32, (size + 31) // 32 * 32)
        items: list[Item] = []
        for function in reversed(calls.order):
            if items:
                items.append(Label(self.function_label(function.name)))
            items += parts[function]
        return Code(items)

    def function(self, function: Function, room: int, most: int, callees: list[Function]) -> tuple[list[Item], int]:
        """The items of one function, and the size of its frame; slots give way to spills where both are too many.

        :param room: bytes that it may take: its part of the stack.
        :param most: what it may take where it cannot do with that; those that call it have the less.
        """
        scratch = self.scratch
        is_program = scratch.is_program(function)
        prefix = "" if is_program else f"{function.name}."
        passes_on = any(each.name in scratch.needed_by for each in callees)
        slots, before = room, scratch.size
        while True:
            plan = plan_frame(function, slots, before, passes_on, is_program)
            scratch.size = plan.scratch_end
            made = select(function, self.target, plan, scratch, self.function_label)
            if self.stages:
                self.selected.append(format_machine(made))
            colours = allocate(made)
            frame = SpillFrame(plan.size, share_places(made))
            used = set(self.used)
            items = emit(made, colours, frame, lambda name: self.new_label(prefix + name))
            if frame.size <= (room if plan.size > plan.least else most):
                if plan.needs_scratch:
                    scratch.needed_by.add(function.name)
                return items, frame.size
            if plan.size <= plan.least:
                raise too_many_values(function, made, plan, frame.size, most)
            self.used = used
            slots = min(slots, plan.size) - (frame.size - room)

    def function_label(self, name: str) -> str:
        """The label of a function of the unit."""
        if name not in self.labels:
            self.labels[name] = self.new_label(name)
        return self.labels[name]

    def new_label(self, wanted: str) -> str:
        """A label like a name, used once."""
        name = re.sub(r"[^A-Za-z0-9_.$]|^(?=[0-9])", "_", wanted)
        if check_label(name):
            name += "_"
        number, made = 1, name
        while made in self.used:
            number += 1
            made = f"{name}.{number}"
        self.used.add(made)
        return made
