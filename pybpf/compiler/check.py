"""Check IR: what every pass may rely on and must keep. A failure is a mistake of the compiler, never of the source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NoReturn

from pybpf.asm import HELPERS
from pybpf.compiler.flow import Dominators
from pybpf.compiler.ir import Block, Function, Instr, Operand, Unit
from pybpf.compiler.ops import CONDITIONS, INT, NONE, OPS, PTR
from pybpf.compiler.text import format_instr, number_values

__all__ = ["IrError", "check"]


class IrError(AssertionError):
    """IR that breaks its rules: a mistake in the compiler."""


def check(unit: Unit) -> None:
    """Check a unit, in time linear in its size.

    :raises IrError: naming function, block and instruction, and what is wrong.
    """
    names = Counter(function.name for function in unit.functions)
    if not unit.functions:
        raise IrError("the unit has no function")
    for function in unit.functions:
        if names[function.name] > 1:
            raise IrError(f"two functions are named {function.name}")
        _Checker(unit, function, set(names)).run()


_Valid = Callable[[Any], bool]


def _one_of(*values: Any) -> _Valid:
    return lambda value: value in values


def _is_number(value: Any) -> bool:
    return isinstance(value, int)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and value >= 0


#: Attribute -> whether a value is possible, whatever the operation
_ATTRIBUTES: dict[str, _Valid] = {
    "align": _one_of(1, 2, 4, 8),
    "cond": _one_of(*CONDITIONS),
    "func": _is_text,
    "helper": HELPERS.__contains__,
    "index": _is_count,
    "map": _is_text,
    "most": _is_count,
    "name": _is_text,
    "offset": _is_number,
    "signed": _one_of(0, 1),
    "size": _is_count,
    "space": _one_of("kernel", "user"),
}
_WIDTHS, _ATOMIC_WIDTHS = _one_of(1, 2, 4, 8), _one_of(4, 8)
_KINDS = ("add", "and", "or", "xor")
#: (operation, attribute) -> whether a value is possible, where the operation says more than :data:`_ATTRIBUTES`
_BY_OP: dict[tuple[str, str], _Valid] = {
    **{(op, "size"): _WIDTHS for op in ("load", "store", "peek")},
    **{(op, "size"): _ATOMIC_WIDTHS for op in ("atomic", "fetch", "cmpxchg")},
    ("atomic", "kind"): _one_of(*_KINDS),
    ("fetch", "kind"): _one_of(*_KINDS, "xchg"),
    ("zext", "bits"): _one_of(8, 16, 32),
    ("sext", "bits"): _one_of(8, 16, 32),
    ("bswap", "bits"): _one_of(16, 32, 64),
}
_KIND_OF = {"i": INT, "p": PTR}
_TARGETS = {"jump": 1, "branch": 2, "ret": 0}


class _Checker:
    """The check of one function."""

    def __init__(self, unit: Unit, function: Function, functions: set[str]) -> None:
        self._unit = unit
        self._function = function
        self._functions = functions
        self._block: Block | None = None
        self._instr: Instr | None = None
        self._place: dict[Instr, tuple[Block, int]] = {}

    def run(self) -> None:
        if not self._function.blocks:
            self._fail("it has no blocks")
        self._edges()
        self._dominators = Dominators(self._function)
        if len(self._dominators.order) != len(self._function.blocks):
            unreached = set(self._function.blocks) - set(self._dominators.order)
            self._fail(f"nothing reaches {', '.join(sorted(each.name for each in unreached))}")
        for block in self._function.blocks:
            for at, instr in enumerate(block.instrs):
                self._block, self._instr = block, instr
                if instr.op not in OPS:
                    self._fail("there is no such operation")
                if instr in self._place:
                    self._fail("it is in the function twice")
                self._place[instr] = block, at
        for block in self._function.blocks:
            self._block, self._instr = block, None
            self._shape(block)
            for at, instr in enumerate(block.instrs):
                self._instr = instr
                self._instruction(block, at, instr)

    def _fail(self, message: str) -> NoReturn:
        where = self._function.name
        if self._block is not None:
            where += f", block {self._block.name}"
        if self._instr is not None:
            where += f", {format_instr(self._instr, number_values(self._function), self._block)}"
        raise IrError(f"{where}: {message}")

    def _edges(self) -> None:
        """Successors and predecessors agree."""
        blocks = set(self._function.blocks)
        if len({block.name for block in blocks}) != len(self._function.blocks):
            self._fail("two blocks have one name")
        if self._function.blocks[0].predecessors:
            self._fail("something jumps to the entry")
        forth = Counter((block, target) for block in blocks for target in block.successors)
        back = Counter((before, block) for block in blocks for before in block.predecessors)
        for source, target in forth.keys() | back.keys():
            if source not in blocks or target not in blocks:
                self._fail(f"the edge from {source.name} to {target.name} leaves the function")
            if forth[source, target] != back[source, target]:
                self._fail(f"successors and predecessors disagree about {source.name} to {target.name}")

    def _shape(self, block: Block) -> None:
        """One end, last; as many successors as it needs; phis first."""
        if not block.instrs:
            self._fail("it is empty")
        targets = _TARGETS.get(block.end.op)
        if targets is None:
            self._fail("it has no end")
        if len(block.successors) != targets:
            self._fail(f"it has {len(block.successors)} successors, its {block.end.op} needs {targets}")
        phis = sum(1 for _ in block.phis)
        for at, instr in enumerate(block.instrs):
            self._instr = instr
            if instr.op in _TARGETS and at != len(block.instrs) - 1:
                self._fail("it ends the block before its end")
            if instr.op == "phi" and at >= phis:
                self._fail("it comes after other instructions")

    def _instruction(self, block: Block, at: int, instr: Instr) -> None:
        self._attributes(instr)
        self._operand_kinds(instr)
        if instr.op in ("slot", "param") and block is not self._function.blocks[0]:
            self._fail("it belongs into the entry block")
        if instr.op == "phi":
            if len(instr.args) != len(block.predecessors):
                self._fail(f"it has {len(instr.args)} operands, the block {len(block.predecessors)} predecessors")
            seen: dict[Block, Operand] = {}
            for arg, before in zip(instr.args, block.predecessors):
                self._defined(arg, before, len(before.instrs))
                if seen.setdefault(before, arg) != arg:
                    self._fail(f"it has two values for the two edges from {before.name}")
        else:
            for arg in instr.args:
                self._defined(arg, block, at)

    def _attributes(self, instr: Instr) -> None:
        if instr.attrs.keys() != set(instr.info.attrs):
            self._fail(f"its attributes should be {', '.join(instr.info.attrs) or 'none'}")
        for name, value in instr.attrs.items():
            valid = _BY_OP.get((instr.op, name)) or _ATTRIBUTES.get(name)
            if valid is not None and not valid(value):
                self._fail(f"{name} cannot be {value!r}")
        if "map" in instr.attrs and instr.attrs["map"] not in self._unit.maps:
            self._fail(f"the unit has no map {instr.attrs['map']}")
        if "func" in instr.attrs and instr.attrs["func"] not in self._functions:
            self._fail(f"the unit has no function {instr.attrs['func']}")
        if instr.op == "param":
            params = self._function.params
            if instr.attrs["index"] >= len(params) or params[instr.attrs["index"]] != instr.type:
                self._fail(f"the parameters are ({', '.join(params)})")

    def _operand_kinds(self, instr: Instr) -> None:
        letters = instr.info.args
        if letters.endswith("*"):
            letters = letters[0] * len(instr.args)
        if len(letters) != len(instr.args):
            self._fail(f"it needs {len(letters)} operands")
        types = [INT if isinstance(arg, int) else arg.type for arg in instr.args]
        for position, (letter, type) in enumerate(zip(letters, types), 1):
            if type == NONE or _KIND_OF.get(letter, type) != type:
                self._fail(f"operand {position} is {type or 'no value'}")
        for arg in instr.args:
            if isinstance(arg, int) and not -(1 << 63) <= arg < 1 << 63:
                self._fail(f"{arg} is not a signed number of 64 bits")
        self._result(instr, types)

    def _result(self, instr: Instr, types: list[str]) -> None:
        result = instr.info.result
        if result == "same":
            result = INT if instr.op == "sub" and types == [PTR, PTR] else types[0]
            if instr.op == "sub" and types == [INT, PTR]:
                self._fail("it subtracts a pointer from an integer")
        if result == "said":
            possible: tuple[str, ...] = (INT, PTR, NONE) if instr.info.effect == "writes" else (INT, PTR)
        else:
            possible = (result,)
        if instr.type not in possible:
            self._fail(f"its type is {instr.type or 'none'}, not {' or '.join(possible) or 'none'}")

    def _defined(self, arg: Operand, block: Block, at: int) -> None:
        """The operand has its value before instruction ``at`` of ``block``."""
        if isinstance(arg, int):
            return
        if arg not in self._place:
            self._fail(f"an operand, {arg.op}, is not in the function")
        there, position = self._place[arg]
        if not (position < at if there is block else self._dominators.dominates(there, block)):
            name = number_values(self._function)[arg]
            self._fail(f"{name} of block {there.name} may not have a value yet")
