"""Which functions of a unit call which, by ``callfunc`` or through ``func`` addresses."""

from __future__ import annotations

from pybpf.compiler.ir import Function, Unit
from pybpf.errors import CompileError

__all__ = ["CallGraph"]

#: functions that the kernel lets be active at once, MAX_CALL_FRAMES
_FRAMES = 8


class CallGraph:
    """The calls of a unit.

    :ivar order: the functions that the program needs, each behind those that it calls; the program is the last.
    :ivar callees: function -> the functions that it calls.
    :ivar above: function -> how many others are active, at most, when it is called.
    :raises CompileError: a function calls itself, or one that calls it, or calls are nested too deeply.
    """

    def __init__(self, unit: Unit) -> None:
        self._functions = {function.name: function for function in unit.functions}
        self.order: list[Function] = []
        self.callees: dict[Function, list[Function]] = {}
        self._visit(unit.functions[0], [])
        self.above = dict.fromkeys(self.order, 0)
        for function in reversed(self.order):
            for callee in self.callees[function]:
                self.above[callee] = max(self.above[callee], self.above[function] + 1)

    def _visit(self, function: Function, active: list[Function]) -> None:
        if function in active:
            raise CompileError(f"function {function.name} calls itself; write a loop instead: eBPF has no recursion")
        if len(active) >= _FRAMES:
            raise CompileError(
                f"function {function.name} would be number {len(active) + 1} of functions that call each other, and "
                f"the kernel allows {_FRAMES}; make it part of one that calls it"
            )
        if function in self.callees:
            return
        called = {
            instr.attrs["func"]: None
            for block in function.blocks
            for instr in block.instrs
            if instr.op in ("callfunc", "func")
        }
        callees = [self._functions[name] for name in called]
        for callee in callees:
            self._visit(callee, [*active, function])
        self.callees[function] = callees
        self.order.append(function)
