"""Scratch variables: scalars are variables of the IR builder, everything else is memory of the function."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pybpf.bt.lower.values import Own, Scalar, Value, converted
from pybpf.lang.values import raw

if TYPE_CHECKING:
    from pybpf.bt.check.facts import VariableFacts
    from pybpf.bt.lower.gen import Gen
    from pybpf.compiler.ir import Operand

__all__ = ["address", "read", "write"]


def read(gen: Gen, variable: VariableFacts) -> Value:
    """The value of a variable here; zero where nothing was assigned to it."""
    kind = variable.type
    assert kind is not None
    if kind.scalar and not variable.addressed:
        return Scalar(kind, gen.b.read(variable))
    home = _home(gen, variable)
    return Scalar(kind, Own(kind, home, 0).operand(gen)) if kind.scalar else Own(kind, home, 0)


def write(gen: Gen, variable: VariableFacts, value: Value) -> None:
    """Assign to a variable."""
    kind = variable.type
    assert kind is not None
    value = converted(gen, value, kind)
    if kind.scalar and not variable.addressed:
        gen.b.write(variable, value.operand(gen))
        return
    home = _home(gen, variable)
    if not value.clean:
        raw.clear(gen, home, 0, kind.size)
    value.store(gen, home, 0)


def address(gen: Gen, variable: VariableFacts) -> Operand:
    """The address of a variable, which lives in memory from the start then."""
    return _home(gen, variable)


def _home(gen: Gen, variable: VariableFacts) -> Operand:
    found = gen.homes.get(variable)
    if found is None:
        kind = variable.type
        assert kind is not None
        found = gen.homes[variable] = gen.b.slot(max(kind.size, 1), variable.name)
        if variable.early or variable.addressed:
            gen.b.zero_at_entry(found, kind.size)
    return found


