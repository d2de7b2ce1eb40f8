"""From a unit of IR to a program that can be loaded: the table of passes, then selection, allocation, emission."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pybpf.asm import Code, Item, Label
from pybpf.asm.code import check_label
from pybpf.compiler.emit import emit
from pybpf.compiler.frame import STACK, SpillFrame, plan_frame
from pybpf.compiler.ir import Function, Unit
from pybpf.compiler.regalloc import allocate
from pybpf.compiler.select import select
from pybpf.compiler.target import Target
from pybpf.errors import CompileError
from pybpf.maps import MapSpec
from pybpf.prog import ProgramSpec
from pybpf.sys.bpf import MapType
from pybpf.types import char, u32

__all__ = ["PASSES", "Compiled", "Pass", "compile_unit"]


class Pass(NamedTuple):
    """A step that turns a unit into a better or lower one, in place."""

    name: str
    run: Callable[[Unit, Target], None]


#: In the order in which they run; after the last one every operation is of level ``machine``.
PASSES: tuple[Pass, ...] = ()


@dataclass(frozen=True)
class Compiled:
    """A program, ready to be loaded.

    :ivar spec: the program.
    :ivar maps: the maps that its code names, among them one that the compiler may have added for large slots.
    """

    spec: ProgramSpec
    maps: dict[str, MapSpec] = field(default_factory=dict)


def compile_unit(unit: Unit, target: Target, *, after: Callable[[str, Unit], None] | None = None) -> Compiled:
    """Compile a unit, which is changed on the way.

    :param after: is told the name of each pass when it is done, and the unit as it is then.
    :raises CompileError: the target cannot do what is asked for, or the program needs too much stack.
    """
    for each in PASSES:
        each.run(unit, target)
        if after:
            after(each.name, unit)
    linker = _Linker(unit, target)
    code = linker.link()
    spec = ProgramSpec(
        unit.type,
        code.relax() if target.has("cpu_v4") else code,
        unit.name,
        expected_attach_type=unit.expected_attach_type,
        attach_btf=unit.attach_btf,
    )
    return Compiled(spec, {**unit.maps, **linker.scratch_map()})


class _Linker:
    """Puts the functions of a unit into one piece of code."""

    def __init__(self, unit: Unit, target: Target) -> None:
        self.unit = unit
        self.target = target
        self.functions = {function.name: function for function in unit.functions}
        self.scratch_name = f"{unit.name}_scratch"
        self.scratch_size = 0
        self.used: set[str] = set()
        self.labels: dict[str, str] = {}

    def link(self) -> Code:
        """The code of the program and of the functions that it needs."""
        needed, depth = _reached(self.functions, self.unit.functions[0])
        room = STACK // depth // 32 * 32
        items: list[Item] = []
        for index, function in enumerate(needed):
            if index:
                items.append(Label(self.function_label(function.name)))
            items += self.function(function, room)
        return Code(items)

    def function(self, function: Function, room: int) -> list[Item]:
        """The items of one function; slots give way to spills where both are too many."""
        prefix = "" if function is self.unit.functions[0] else f"{function.name}."
        slots = room
        while True:
            plan = plan_frame(function, slots, self.scratch_name, self.scratch_size)
            made = select(function, self.target, plan, self.function_label)
            frame = SpillFrame(plan.size)
            used = set(self.used)
            items = emit(made, allocate(made), frame, lambda name: self.new_label(prefix + name))
            if frame.size <= room:
                self.scratch_size = plan.scratch_end
                return items
            if not plan.offsets:
                raise CompileError(
                    f"function {function.name} needs {frame.size} bytes of stack for values, and has {room}; "
                    "use fewer variables at once, or keep some in a map"
                )
            self.used = used
            slots = min(slots, plan.size) - (frame.size - room)

    def scratch_map(self) -> dict[str, MapSpec]:
        """The map for slots that do not fit on the stack, if there are any."""
        if not self.scratch_size:
            return {}
        byte: Any = char
        spec = MapSpec(MapType.PERCPU_ARRAY, u32, byte[self.scratch_size], 1, self.scratch_name)
        return {self.scratch_name: spec}

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


def _reached(functions: dict[str, Function], program: Function) -> tuple[list[Function], int]:
    """The functions that a program needs, itself first, and the most that are active at once.

    :raises CompileError: a function calls itself.
    """
    depths: dict[Function, int] = {}
    active: list[Function] = []

    def visit(function: Function) -> int:
        if function in active:
            raise CompileError(f"function {function.name} calls itself; the kernel has no recursion")
        if function not in depths:
            active.append(function)
            names = {
                instr.attrs["func"]
                for block in function.blocks
                for instr in block.instrs
                if instr.op in ("callfunc", "func")
            }
            depths[function] = 1 + max((visit(functions[name]) for name in sorted(names)), default=0)
            active.remove(function)
        return depths[function]

    depth = visit(program)
    return sorted(depths, key=lambda each: each is not program), depth
