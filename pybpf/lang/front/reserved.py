"""Records that a probe reserves are given back once on every way out: what surely does otherwise is refused.

What depends on conditions that may belong together, only the verifier can tell.
"""

from __future__ import annotations

from collections.abc import Iterable

from pybpf.asm import SourceLine
from pybpf.compiler.addresses import address_of
from pybpf.compiler.effects import released
from pybpf.compiler.flow import reverse_postorder
from pybpf.compiler.ir import Block, Function, Instr, Operand
from pybpf.errors import CompileError

__all__ = ["check_reserved"]

#: What may be true of a record at a place: there is none, it is held, or it has been given back.
_NONE, _HELD, _GONE = 1, 2, 4
#: operation -> the operands that it may use a record's address as, without keeping it
_USES = {
    "load": (0,), "store": (0,), "atomic": (0,), "fetch": (0,), "cmpxchg": (0,), "zero": (0,), "copy": (0, 1),
    "add": (0,), "sub": (0,), "cmp": (0, 1), "branch": (0, 1), "element": (0,), "call": tuple(range(5)),
}  # fmt: skip
_COMPARE = frozenset({"cmp", "branch", "add", "sub"})


def check_reserved(function: Function) -> None:
    """Refuse a function that loses a record, gives it back twice, or uses it afterwards.

    :raises CompileError: at the line that does.
    """
    order = reverse_postorder(function)
    found = [
        instr
        for block in order
        for instr in block.instrs
        if instr.op == "call" and instr.attrs["helper"] == "ringbuf_reserve"
    ]
    for record in found:
        if not _is_kept(record, order):
            _Record(record, order).check()


def _is_kept(record: Instr, order: Iterable[Block]) -> bool:
    """Whether its address goes where it is not followed: into a phi, memory, or a function."""
    return any(
        position not in _USES.get(instr.op, ())
        for block in order
        for instr in block.instrs
        for position, arg in enumerate(instr.args)
        if _is_of(arg, record)
    )


def _is_of(arg: Operand, record: Instr) -> bool:
    return isinstance(arg, Instr) and address_of(arg).base is record


class _Record:
    """One place that reserves."""

    def __init__(self, record: Instr, order: list[Block]) -> None:
        self.record = record
        self.order = order
        self.releasing = self._releasing()

    def _releasing(self) -> set[Block]:
        """The blocks from whose begin on the record may still be given back."""
        found: set[Block] = set()
        gives: dict[Block, bool | None] = {}
        for block in self.order:
            first = next((each for each in block.instrs if each is self.record or self._gives_back(each)), None)
            gives[block] = None if first is None else first is not self.record
        work = [block for block, here in gives.items() if here]
        while work:
            block = work.pop()
            if block not in found:
                found.add(block)
                work += [each for each in block.predecessors if gives.get(each, False) is None]
        return found

    def _gives_back(self, instr: Instr) -> bool:
        given = released(instr)
        return given is not None and _is_of(given, self.record)

    def _uses(self, instr: Instr) -> bool:
        return instr.op not in _COMPARE and any(_is_of(arg, self.record) for arg in instr.args)

    def check(self) -> None:
        """Refuse what surely goes wrong."""
        before = dict.fromkeys(self.order, 0)
        before[self.order[0]] = _NONE
        work = list(reversed(self.order))
        while work:
            block = work.pop()
            behind = self._through(block, before[block])
            for way, after in enumerate(block.successors):
                state = self._on_edge(block, way, behind)
                if before[after] | state != before[after]:
                    before[after] |= state
                    work.append(after)
        for block in self.order:
            behind = self._through(block, before[block], refuse=True)
            ends = [(each, self._on_edge(block, way, behind)) for way, each in enumerate(block.successors)]
            lost = next((each for each, state in ends if state == _HELD and each not in self.releasing), None)
            if lost is not None or (not ends and behind == _HELD):
                self._lost(lost or block)

    def _through(self, block: Block, state: int, refuse: bool = False) -> int:
        """What is true behind a block."""
        for instr in block.instrs:
            if instr is self.record:
                state = _NONE | _HELD  # until it is compared with null
            elif self._gives_back(instr):
                if refuse and state == _GONE:
                    _fail(instr.line, "this event was submitted or discarded before: submit() and discard() take what "
                          "reserve() gave, once")  # fmt: skip
                state = _GONE
            elif refuse and state == _GONE and self._uses(instr):
                _fail(instr.line, "this event was submitted or discarded before: use it first, or keep what is needed "
                      "of it in variables")  # fmt: skip
        return state

    def _on_edge(self, block: Block, way: int, state: int) -> int:
        """The same on one of the ways out of a block: a comparison with null tells whether there is a record."""
        end = block.end
        if end.op != "branch" or end.attrs["cond"] not in ("eq", "ne"):
            return state
        if self.record not in end.args or 0 not in end.args:
            return state
        is_null = (end.attrs["cond"] == "eq") == (way == 0)
        return state & _NONE if is_null else state & ~_NONE

    def _lost(self, block: Block) -> None:
        seen, work = {block}, [block]
        for each in work:
            if not each.successors:
                break
            work += [after for after in each.successors if after not in seen]
            seen.update(each.successors)
        here, end = self.record.line, each.end.line
        # behind the last statement a function ends in the line of its definition
        where = f"that ends in line {end.line}" if here and end and end.line > here.line else "to the function's end"
        _fail(here, f"what reserve() gives here is neither submitted nor discarded on a way {where}: pass it to "
              "submit() or discard() before, or write 'with events.reserve() as event:'")  # fmt: skip


def _fail(line: SourceLine | None, message: str) -> None:
    if line is None:
        raise CompileError(message)
    start = max(line.column, 1)
    end = len(line.text.split(" #")[0].rstrip()) + 1
    raise CompileError(message, line.file, line.line, start, end, line.text)
