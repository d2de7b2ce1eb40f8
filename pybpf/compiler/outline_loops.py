"""Loops that ask for turns by ``again`` become callbacks of bpf_loop, those by ``entry`` of bpf_for_each_map_elem.

What a loop needs of its function and what it changes is in a slot of that function, the record, whose address the
callback is given: what a turn leaves to the next one, what is needed behind the loop, and through which exit the loop
is left. Before Linux 6.7 the verifier looks at one turn only, so it must know nothing there that holds in the first
turn alone: integers that a turn leaves to the next one are unknown to it from the start, pointers that are tested may
be null, and slots whose address is in the record are in scratch memory (:mod:`pybpf.compiler.frame`). What a callback
reserves it must give back itself: the blocks that do so on the ways out of the loop belong to the turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pybpf.compiler.build import result_type
from pybpf.compiler.effects import released
from pybpf.compiler.flow import Dominators, replace_values
from pybpf.compiler.ir import Block, Function, Instr, Operand, Unit
from pybpf.compiler.ops import INT, NONE, PTR
from pybpf.compiler.target import Target
from pybpf.compiler.unknown import Unknown

__all__ = ["outline_loops"]

#: turns of one call of bpf_loop, BPF_MAX_LOOPS
_MOST = 1 << 23
#: Operation that asks for turns -> the parameters of the callback, and which of them is the record.
_KINDS: Mapping[str, tuple[tuple[str, ...], int]] = MappingProxyType({
    "again": ((INT, PTR), 1),
    "entry": ((PTR, PTR, PTR, PTR), 3),  # the map, key, value
})  # fmt: skip
#: operation inside of a loop over a map -> the parameter of the callback that it is
_PARAMETERS: Mapping[str, int] = MappingProxyType({"entrykey": 1, "entryvalue": 2})
#: operations that any function can do again: their value is the same everywhere
_ANYWHERE = frozenset({"map", "mapvalue", "func"})


def outline_loops(unit: Unit, target: Target) -> None:
    """Turn loops into callbacks, the inner ones first."""
    for function in list(unit.functions):
        records: set[Instr] = set()
        # what dominates a block comes before it, so an inner loop behind the one around it
        for header in reversed(Dominators(function).order):
            again = next((instr for instr in header.instrs if instr.op in _KINDS), None)
            if again is None:
                continue
            now = Dominators(function)  # inner loops have become other blocks
            if again.op == "entry" or any(now.dominates(header, before) for before in header.predecessors):
                records.add(_Loop(unit, function, header, again, records).outline())
            else:  # every turn leaves it: there is one
                replace_values(function, {again: 1})


class _Writer:
    """Appends to a block; the first instructions of a new one, or more in front of nothing."""

    def __init__(self, name: str, line: Any) -> None:
        self.block = Block(name)
        self.line = line

    def emit(self, op: str, *args: Operand, type: str = INT, **attrs: Any) -> Instr:
        instr = Instr(op, list(args), result_type(op, list(args), type), attrs, self.line)
        self.block.instrs.append(instr)
        return instr

    def store(self, record: Operand, place: int, value: Operand) -> None:
        self.emit("store", record, value, offset=8 * place, size=8)

    def load(self, record: Operand, place: int, type: str) -> Instr:
        return self.emit("load", record, type=type, offset=8 * place, size=8, signed=False)

    def end(self, op: str, *args: Operand, to: tuple[Block, ...] = (), **attrs: Any) -> None:
        """End the block; it becomes a predecessor of where it goes."""
        self.emit(op, *args, **attrs)
        self.block.successors = list(to)
        for each in to:
            each.predecessors.append(self.block)


class _Loop:
    """One loop.

    :ivar inside: its blocks, in the order of the function.
    :ivar home: value that is made inside -> its block.
    :ivar phis: what a turn leaves to the next one.
    :ivar kept: what else is needed behind the loop.
    :ivar captured: what the loop needs of its function.
    :ivar exits: (block, which of its successors) of the edges that leave it; the first where turns have run out.
    :ivar places: value -> its place in the record; in place 0 is the number of the exit, and place 1 is that of the
        address of the scratch memory (:mod:`pybpf.compiler.scratch`).
    """

    def __init__(self, unit: Unit, function: Function, header: Block, again: Instr, records: set[Instr]) -> None:
        self.unit = unit
        self.function = function
        self.header = header
        self.again = again
        self.dominators = Dominators(function)
        self.inside = self._inside()
        self.home = {instr: block for block in self.inside for instr in block.instrs}
        self.phis = list(header.phis)
        self.captured = self._captured()
        self.own = [each for each in self.captured if each in records]
        self.captured = [each for each in self.captured if each not in records]
        self.kept = self._kept()
        self.places = {value: 2 + at for at, value in enumerate([*self.phis, *self.kept, *self.captured])}
        self.over = 1 if header.end.attrs["cond"] == "ne" else 0
        self.exits = [(header, self.over)] + [
            (block, way)
            for block in self.inside
            for way, target in enumerate(block.successors)
            if target not in self.blocks and (block, way) != (header, self.over)
        ]

    def _inside(self) -> list[Block]:
        """The header, all from which the loop comes back to it, and what gives back on the ways out."""
        back = [each for each in self.header.predecessors if self.dominators.dominates(self.header, each)]
        self.blocks = _before(back, {self.header})
        made = {instr for block in self.blocks for instr in block.instrs}
        giving = []
        for block in [each for each in self.function.blocks if each not in self.blocks]:
            last = max((at for at, instr in enumerate(block.instrs, 1) if released(instr) in made), default=0)
            if last:
                giving.append(block)
                _split(self.function, block, last)
        if giving:
            self.blocks = _before(giving, self.blocks)
            self.dominators = Dominators(self.function)
        return [block for block in self.function.blocks if block in self.blocks]

    def _arguments(self, instr: Instr, block: Block) -> list[Operand]:
        """The operands of an instruction of the loop that are needed inside: of its phis, those of its own edges."""
        if block is not self.header or instr.op != "phi":
            return instr.args
        return [arg for arg, before in zip(instr.args, block.predecessors) if before in self.blocks]

    def _captured(self) -> list[Instr]:
        used = {
            arg: None
            for block in self.inside
            for instr in block.instrs
            for arg in self._arguments(instr, block)
            if isinstance(arg, Instr) and arg not in self.home
        }
        return [arg for arg in used if arg.op not in _ANYWHERE]

    def _kept(self) -> list[Instr]:
        phis = set(self.phis)
        used = {
            arg: None
            for block in self.function.blocks
            if block not in self.blocks
            for instr in block.instrs
            for arg in instr.args
            if isinstance(arg, Instr) and arg in self.home and arg not in phis
        }
        return [arg for arg in used if arg.op not in _ANYWHERE]

    def outline(self) -> Instr:
        """Make the callback, and call it; gives the record."""
        record = Instr("slot", [], PTR, {"size": 8 * (2 + len(self.places)), "align": 8, "name": "loop"},
                       self.again.line)  # fmt: skip
        names = {each.name for each in self.unit.functions}
        name = f"{self.function.name}_loop"
        while name in names:
            name += "_"
        targets = [block.successors[way] for block, way in self.exits]
        made = _call(self, record, name, targets)
        self.unit.functions.append(_turn(self, name))
        entry = self.function.blocks[0]
        entry.instrs.insert(0, record)
        self.function.blocks = [block for block in self.function.blocks if block not in self.blocks] + made
        if self.again.attrs.get("most", 0) > _MOST:
            self.unit.functions.append(_round(name, self.again.line))
        return record

    def writer(self, name: str) -> _Writer:
        """Of a new block."""
        return _Writer(f"{self.header.name}_{name}", self.again.line)


def _before(blocks: list[Block], known: set[Block]) -> set[Block]:
    """Blocks, and all that lead to them, up to those that are known already."""
    found, work = set(known), list(blocks)
    while work:
        block = work.pop()
        if block not in found:
            found.add(block)
            work += block.predecessors
    return found


def _split(function: Function, block: Block, at: int) -> None:
    """Let a new block follow with the instructions from ``at`` on."""
    rest = Block(f"{block.name}_rest")
    rest.instrs, rest.successors, rest.predecessors = block.instrs[at:], block.successors, [block]
    for each in rest.successors:
        each.predecessors = [rest if before is block else before for before in each.predecessors]
    block.instrs[at:] = [Instr("jump", [], NONE, {}, block.instrs[at - 1].line)]
    block.successors = [rest]
    function.blocks.insert(function.blocks.index(block) + 1, rest)


def _call(loop: _Loop, record: Instr, name: str, targets: list[Block]) -> list[Block]:
    """The blocks that take the place of the loop."""
    start, null, call = loop.writer("start"), loop.writer("null"), loop.writer("call")
    first = _first_values(loop, start)
    unknown = Unknown(start.emit)
    hidden = {phi: unknown.hide(first[phi]) if phi.type == INT else first[phi] for phi in loop.phis}
    tested = [phi for phi in loop.phis if phi.type == PTR and _is_tested(loop, phi)]
    made = [start.block, call.block]
    if tested:
        made.append(null.block)
        start.end("branch", unknown.zero, 0, to=(call.block, null.block), cond="eq")
        null.end("jump", to=(call.block,))
        for phi in tested:
            hidden[phi] = call.emit("phi", hidden[phi], 0, type=PTR)
    else:
        start.end("jump", to=(call.block,))
    call.store(record, 0, 0)
    for phi in loop.phis:
        call.store(record, loop.places[phi], hidden[phi])
    for value in loop.kept:
        call.store(record, loop.places[value], 0)
    for value in loop.captured:
        call.store(record, loop.places[value], value)
    if loop.again.op == "entry":
        entries = call.emit("map", map=loop.again.attrs["map"])
        call.emit("call", entries, call.emit("func", func=name), record, 0, helper="for_each_map_elem")
    else:
        whole = loop.again.attrs["most"] > _MOST
        callback = call.emit("func", func=f"{name}_round" if whole else name)
        call.emit("call", _MOST if whole else loop.again.attrs["most"], callback, record, 0, helper="loop")
    return made + _dispatch(loop, record, call, targets)


def _first_values(loop: _Loop, start: _Writer) -> dict[Instr, Operand]:
    """Let the ways into the loop lead to a block instead, and what they bring for its phis."""
    header = loop.header
    outside = [at for at, before in enumerate(header.predecessors) if before not in loop.blocks]
    first: dict[Instr, Operand] = {}
    for phi in loop.phis:
        brought = [phi.args[at] for at in outside]
        first[phi] = brought[0] if len(brought) == 1 else start.emit("phi", *brought, type=phi.type)
    for at in outside:
        before = header.predecessors[at]
        before.successors[before.successors.index(header)] = start.block
        start.block.predecessors.append(before)
    return first


def _is_tested(loop: _Loop, phi: Instr) -> bool:
    return any(block.end.op == "branch" and phi in block.end.args and 0 in block.end.args for block in loop.inside)


def _dispatch(loop: _Loop, record: Instr, call: _Writer, targets: list[Block]) -> list[Block]:
    """Behind the call: go to where the loop was left to, with what is needed there."""
    needed = {
        arg
        for block in loop.function.blocks
        if block not in loop.blocks
        for instr in block.instrs
        for arg in instr.args
        if isinstance(arg, Instr) and arg in loop.home
    }
    after: dict[Instr, Operand] = {}
    for value in sorted(needed, key=lambda each: loop.places.get(each, 0)):
        if value in loop.places:
            after[value] = call.load(record, loop.places[value], value.type)
        else:
            after[value] = call.emit(value.op, type=value.type, **value.attrs)
    code = call.load(record, 0, INT) if len(loop.exits) > 1 else 0
    made: list[Block] = []
    at = call
    for number in range(len(loop.exits) - 1, -1, -1):
        way = loop.writer(f"exit{number}")
        made.append(way.block)
        if number:
            following = loop.writer(f"not{number}")
            made.append(following.block)
            at.end("branch", code, number, to=(way.block, following.block), cond="eq")
            at = following
        else:
            at.end("jump", to=(way.block,))
        _replace_edge(*loop.exits[number], way, targets[number])
    for block in loop.function.blocks:
        if block not in loop.blocks:
            _use(block, after)
    return made


def _replace_edge(block: Block, way: int, new: _Writer, target: Block) -> None:
    """Let an edge that leaves the loop come from a new block instead."""
    at = [at for at, each in enumerate(target.predecessors) if each is block][block.successors[:way].count(target)]
    new.emit("jump")
    new.block.successors = [target]
    target.predecessors[at] = new.block


def _use(block: Block, after: dict[Instr, Operand]) -> None:
    for instr in block.instrs:
        instr.args = [after.get(arg, arg) if isinstance(arg, Instr) else arg for arg in instr.args]


def _turn(loop: _Loop, name: str) -> Function:
    """The callback: one turn."""
    entry = loop.writer("turn")
    params, place = _KINDS[loop.again.op]
    entry.emit("param", type=PTR, index=place)
    record = entry.block.instrs[0]
    values: dict[Instr, Operand] = _parts(loop, entry)
    entry.block.instrs += loop.own
    outer = loop.function.blocks[0]
    outer.instrs = [instr for instr in outer.instrs if instr not in loop.own]
    for value in (*loop.phis, *loop.captured):
        values[value] = entry.load(record, loop.places[value], value.type)
    for block in loop.inside:
        for instr in block.instrs:
            for arg in loop._arguments(instr, block):
                if isinstance(arg, Instr) and arg.op in _ANYWHERE and arg not in loop.home and arg not in values:
                    values[arg] = entry.emit(arg.op, type=arg.type, **arg.attrs)
    ends = _ends(loop, record)
    header = loop.header
    header.instrs = [instr for instr in header.instrs if instr.op != "phi" and instr is not loop.again]
    for block in loop.inside:
        block.instrs = [instr for instr in block.instrs if not _is_part(loop, instr)]
    header.instrs[-1] = Instr("jump", [], NONE, {}, loop.again.line)
    del header.successors[loop.over]
    header.predecessors = []
    entry.end("jump", to=(header,))
    blocks = [entry.block, *loop.inside, *ends]
    for block in blocks[1:]:
        _use(block, values)
    return Function(name, blocks, params)


def _is_part(loop: _Loop, instr: Instr) -> bool:
    """Whether it is the key or value of the entry that a turn is for."""
    return instr.op in _PARAMETERS and instr.args[0] is loop.again


def _parts(loop: _Loop, entry: _Writer) -> dict[Instr, Operand]:
    """The key and value of the entry, as parameters of the callback."""
    found: dict[Instr, Operand] = {}
    made: dict[str, Instr] = {}
    for block in loop.inside:
        for instr in block.instrs:
            if _is_part(loop, instr):
                if instr.op not in made:
                    made[instr.op] = entry.emit("param", type=PTR, index=_PARAMETERS[instr.op])
                found[instr] = made[instr.op]
    return found


def _ends(loop: _Loop, record: Instr) -> list[Block]:
    """Blocks that return: for each way back to the head of the loop, and each way out."""
    made = []
    header = loop.header
    seen: dict[Block, int] = {}
    for block in loop.inside:
        for way, target in enumerate(block.successors):
            if target is header:
                columns = [at for at, each in enumerate(header.predecessors) if each is block]
                column = columns[seen.get(block, 0)]
                seen[block] = seen.get(block, 0) + 1
                back = _Writer(f"{block.name}_back{way}", block.end.line)
                for phi in loop.phis:
                    if phi.args[column] is not phi:
                        back.store(record, loop.places[phi], phi.args[column])
                back.end("ret", 0)
            elif target not in loop.blocks and (block, way) != loop.exits[0]:
                back = _Writer(f"{block.name}_out{way}", block.end.line)
                for value in loop.kept:
                    if loop.dominators.dominates(loop.home[value], block):
                        back.store(record, loop.places[value], value)
                back.store(record, 0, loop.exits.index((block, way)))
                back.end("ret", 1)
            else:
                continue
            block.successors[way] = back.block
            back.block.predecessors.append(block)
            made.append(back.block)
    return made


def _round(name: str, line: Any) -> Function:
    """A callback that takes as many turns as one call allows, and ends where the loop was left."""
    entry, done, more = _Writer("entry", line), _Writer("done", line), _Writer("more", line)
    record = entry.emit("param", type=PTR, index=1)
    entry.emit("call", _MOST, entry.emit("func", func=name), record, 0, helper="loop")
    entry.end("branch", entry.load(record, 0, INT), 0, to=(done.block, more.block), cond="ne")
    done.end("ret", 1)
    more.end("ret", 0)
    return Function(f"{name}_round", [entry.block, done.block, more.block], (INT, PTR))
