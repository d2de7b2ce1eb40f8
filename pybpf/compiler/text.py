"""Print IR: the text form that people read in dumps and tests; :mod:`pybpf.compiler.parse` reads it back.

::

    unit tracepoint
      map begun = hash key 4 value 16 entries 10240
    func on_enter(ptr):
    entry:
      v0 = call helper=get_current_pid_tgid : int
      v1 = lookup v0 map=begun
      branch v1, 0 cond=eq -> missing, found
    missing: <- entry
      ret 0

A value has the number of its instruction in its function. A block names its predecessors in the order of the operands
of its phis. ``;`` begins a comment. Types are named where the operation leaves them open.
"""

from __future__ import annotations

import json
import re
from typing import Any

from pybpf.compiler.ir import Block, Function, Instr, Operand, Unit
from pybpf.lazy import regex
from pybpf.maps import MapSpec
from pybpf.sys.bpf import AttachType

__all__ = ["format_function", "format_instr", "format_unit", "number_values"]

_WORD = regex(r"[A-Za-z_.$][\w.$]*", re.ASCII)


def format_unit(unit: Unit, lines: bool = False) -> str:
    """The text of a unit.

    :param lines: add as comments which source line instructions come from, where it changes.
    """
    head = f"unit {unit.type.name.lower()}"
    if unit.expected_attach_type != AttachType.NONE:
        head += f" attach={unit.expected_attach_type.name.lower()}"
    if unit.attach_btf is not None:
        head += f" btf={_word(unit.attach_btf)}"
    maps = [f"  map {_word(name)} = {_map(spec)}" for name, spec in unit.maps.items()]
    return "\n".join([head, *maps, *(format_function(function, lines) for function in unit.functions)]) + "\n"


def _map(spec: MapSpec) -> str:
    text = f"{spec.type.name.lower()} key {spec.key_size} value {spec.value_size} entries {spec.max_entries}"
    if spec.flags:
        text += f" flags {int(spec.flags)}"
    return text if spec.inner is None else f"{text} inner {_map(spec.inner)}"


def number_values(function: Function) -> dict[Instr, str]:
    """Instruction -> the name of its value in text."""
    numbers: dict[Instr, str] = {}
    for block in function.blocks:
        for instr in block.instrs:
            if instr.type:
                numbers.setdefault(instr, f"v{len(numbers)}")
    return numbers


def format_function(function: Function, lines: bool = False) -> str:
    """The text of a function, without a line end at its end."""
    names = number_values(function)
    text = [f"func {_word(function.name)}({', '.join(function.params)}):"]
    line = None
    for block in function.blocks:
        before = ", ".join(each.name for each in block.predecessors)
        text.append(f"{block.name}: <- {before}" if before else f"{block.name}:")
        for instr in block.instrs:
            if lines and instr.line is not None and instr.line[:2] != line:
                line = instr.line[:2]
                text.append(f"  ; {line[0]}:{line[1]}: {instr.line.text.strip()}")
            text.append(f"  {format_instr(instr, names, block)}")
    return "\n".join(text)


def format_instr(instr: Instr, names: dict[Instr, str], block: Block | None = None) -> str:
    """The text of one instruction.

    :param names: names of values, as :func:`number_values` gives them.
    :param block: the block that it ends, for where it goes.
    """
    text = f"{names.get(instr, '?')} = {instr.op}" if instr.type else instr.op
    if instr.args:
        text += " " + ", ".join(_operand(arg, names) for arg in instr.args)
    for name, value in instr.attrs.items():
        text += f" {name}={_attribute(value)}"
    if instr.type and instr.info.result == "said":
        text += f" : {instr.type}"
    if block is not None and block.instrs[-1] is instr and block.successors:
        text += " -> " + ", ".join(each.name for each in block.successors)
    return text


def _operand(arg: Operand, names: dict[Instr, str]) -> str:
    return names.get(arg, f"?{arg.op}") if isinstance(arg, Instr) else str(arg)


def _attribute(value: Any) -> str:
    return str(int(value)) if isinstance(value, int) else _word(str(value))


def _word(text: str) -> str:
    return text if _WORD.fullmatch(text) else json.dumps(text)
