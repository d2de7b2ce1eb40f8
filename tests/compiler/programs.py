"""Random programs in IR, written through the builder as a front end would, that end and touch only what they may."""

from __future__ import annotations

import random
from collections.abc import Callable

from pybpf.compiler.build import Builder
from pybpf.compiler.check import check
from pybpf.compiler.ir import Function, Instr, Operand, Unit
from pybpf.compiler.ops import CONDITIONS
from pybpf.maps import MapSpec
from pybpf.sys.bpf import MapType, ProgType
from pybpf.types import char, u32, u64
from tests.compiler.interp import BINARY, Machine

#: bytes of the context, of the object in the kernel whose address is its first word, and of slots
CONTEXT, OBJECT, SLOT = 64, 128, 32
#: (offset, size) of the fields of slots that are used as structs
_FIELDS = ((0, 4), (4, 4), (8, 8), (16, 1), (17, 1), (18, 2), (20, 4), (24, 8))
_NUMBERS = (0, 1, 2, 3, 5, 7, 8, 10, 63, 64, 255, 256, 1000, -1, -2, -8, 1 << 31, (1 << 32) - 1, 1 << 32, -1 << 63)


def maps() -> dict[str, MapSpec]:
    return {
        "hash": MapSpec(MapType.HASH, u32, u64, 3, "hash"),
        "structs": MapSpec(MapType.LRU_HASH, u64, char[SLOT], 4, "structs"),
        "one": MapSpec(MapType.ARRAY, u32, char[16], 1, "one"),
        "array": MapSpec(MapType.PERCPU_ARRAY, u32, u64, 3, "array"),
        "ring": MapSpec(MapType.RINGBUF, None, None, 4096, "ring"),
    }


class Writer:
    """Writes one random program."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.unit = Unit(ProgType.RAW_TRACEPOINT, [Function("prog")], maps())
        self.b = Builder(self.unit.functions[0])
        self._ctx = self.b.param(0)
        self._object = self.b.emit("load", self._ctx, offset=0, size=8, signed=0)
        self._slots = [self.b.slot(SLOT, f"s{number}") for number in range(2)]
        for slot in self._slots:
            self.b.emit("zero", slot, offset=0, size=SLOT)
        self._structs = [self.b.slot(SLOT, f"struct{number}") for number in range(2)]
        for struct in self._structs:
            self.b.emit("zero", struct, offset=0, size=SLOT)
        self._variables = [f"x{number}" for number in range(4)]
        for variable in self._variables:
            offset, size = self._place(CONTEXT, 8)
            self.b.write(variable, self.b.emit("load", self._ctx, offset=offset, size=size, signed=self._flip()))
        self._budget = 30
        self._statements: list[Callable[[int], None]] = [
            self._assign, self._assign, self._assign, self._store, self._store, self._if, self._if, self._loop,
            self._copy, self._output, self._field, self._field, self._copy_struct,
            self._update, self._delete, self._increment, self._entry, self._time, self._pop,
            self._element,
        ]  # fmt: skip

    def _flip(self) -> int:
        return self._random.randrange(2)

    def _place(self, size: int, most: int = 8, start: int = 0) -> tuple[int, int]:
        width = self._random.choice([each for each in (1, 2, 4, 8, 8, 8) if each <= most])
        return self._random.randrange(start // width, size // width) * width, width

    # values

    def _value(self, depth: int = 0) -> Operand:
        kind = self._random.random()
        if kind < 0.3 or depth > 3:
            return self.b.read(self._random.choice(self._variables))
        if kind < 0.5:
            return self._random.choice(_NUMBERS)
        if kind < 0.75:
            op = self._random.choice(sorted(BINARY))
            return self.b.emit(op, self._value(depth + 1), self._value(depth + 1))
        kinds = [self._extension, self._comparison, self._load, self._load_field, self._peek, self._helper]
        return self._random.choice(kinds)(depth)

    def _extension(self, depth: int) -> Operand:
        op = self._random.choice(["zext", "sext", "bswap"])
        bits = self._random.choice([16, 32, 64 if op == "bswap" else 8])
        return self.b.emit(op, self._value(depth + 1), bits=bits)

    def _comparison(self, depth: int) -> Operand:
        return self.b.emit("cmp", self._value(depth + 1), self._value(depth + 1), cond=self._random.choice(CONDITIONS))

    def _load(self, depth: int) -> Operand:
        offset, size = self._place(SLOT)
        return self.b.emit("load", self._slot(), offset=offset, size=size, signed=self._flip())

    def _load_field(self, depth: int) -> Operand:
        offset, size = self._random.choice(_FIELDS)
        return self.b.emit("load", self._struct(), offset=offset, size=size, signed=self._flip())

    def _struct(self) -> Instr:
        return self._random.choice(self._structs)

    def _peek(self, depth: int) -> Operand:
        offset, size = self._place(OBJECT)
        base: Operand = self._object if self._random.random() < 0.9 else self._value(depth + 1)
        return self.b.emit("peek", base, space="kernel", offset=offset, size=size, signed=self._flip())

    def _helper(self, depth: int) -> Operand:
        name = self._random.choice(["get_current_pid_tgid", "get_smp_processor_id", "get_current_uid_gid"])
        return self.b.emit("call", helper=name)

    def _slot(self) -> Instr:
        return self._random.choice(self._slots)

    # statements

    def _block(self, depth: int) -> None:
        for _ in range(self._random.randrange(1, 6)):
            self._budget -= 1
            if self._budget < 0:
                return
            self._random.choice(self._statements)(depth)

    def _assign(self, depth: int) -> None:
        self.b.write(self._random.choice(self._variables), self._value())

    def _store(self, depth: int) -> None:
        offset, size = self._place(SLOT)
        self.b.emit("store", self._slot(), self._value(), offset=offset, size=size)

    def _element(self, depth: int) -> None:
        """A part of a slot by an index."""
        size = self._random.choice([4, 8])
        index = self.b.emit("and", self._value(), 3)
        place = self.b.emit("element", self._slot(), index, size=size)
        if self._flip():
            self.b.emit("store", place, self._value(), offset=0, size=size)
        else:
            loaded = self.b.emit("load", place, offset=0, size=size, signed=False)
            self.b.write(self._random.choice(self._variables), loaded)

    def _time(self, depth: int) -> None:
        """The time, which the outside sees, so that no pass may ask for it less or more often."""
        now = self.b.emit("call", helper="ktime_get_ns")
        self.b.emit("call", now, helper="send_signal")
        self.b.write(self._random.choice(self._variables), now)

    def _copy(self, depth: int) -> None:
        if self._flip():
            into, source = self._slots[:: self._random.choice([1, -1])]
            self.b.emit("copy", into, source, size=self._random.choice([8, 13, 16, SLOT]))
        else:
            self.b.emit("call", self._slot(), 16, helper="get_current_comm")

    def _field(self, depth: int) -> None:
        offset, size = self._random.choice(_FIELDS)
        if self._flip():
            pointer = self.b.emit("add", self._struct(), offset)
            self.b.emit("store", pointer, self._value(), offset=0, size=size)
        else:
            self.b.emit("store", self._struct(), self._value(), offset=offset, size=size)

    def _copy_struct(self, depth: int) -> None:
        kind = self._random.randrange(5)
        into, source = self._structs[:: self._random.choice([1, -1])]
        if kind == 0:
            self.b.emit("copy", into, source, size=self._random.choice([8, 16, SLOT]))
        elif kind == 1:
            self.b.emit("copy", into, self._slot(), size=SLOT)
        elif kind == 2:
            self.b.emit("copy", self._slot(), source, size=self._random.choice([8, SLOT]))
        elif kind == 3:
            self.b.emit("zero", into, offset=8, size=self._random.choice([8, 10, 24]))
        elif self._random.random() < 0.2:
            self.b.emit("update", self._key(), source, 0, map="structs")

    def _output(self, depth: int) -> None:
        ring = self.b.emit("map", map="ring")
        self.b.emit("call", ring, self._slot(), self._random.choice([8, SLOT]), 0, helper="ringbuf_output")

    def _key(self) -> Operand:
        return self.b.emit("and", self._value(2), 3)

    def _update(self, depth: int) -> None:
        name = self._random.choice(["hash", "structs", "one", "array"])
        value: Operand = self._slot() if name in ("structs", "one") else self._value()
        key: Operand = 0 if self._flip() else self._key()
        if name == "structs" and self._flip():
            key = self._slot()
        flags = self._random.choice([0, 0, 0, 1, 2])
        if self._flip():
            self.b.emit("update", key, value, flags, map=name)
        else:
            self.b.write(self._random.choice(self._variables), self.b.emit("tryupdate", key, value, flags, map=name))

    def _delete(self, depth: int) -> None:
        result = self.b.emit("delete", self._key(), map="hash")
        self.b.write(self._random.choice(self._variables), result)

    def _increment(self, depth: int) -> None:
        """``m[k] += n`` as a front end writes it."""
        key, amount = self._key(), self._value(2)
        found = self.b.emit("lookup", key, map="hash")
        there, missing, done = (self.b.new_block(name) for name in ("there", "missing", "done"))
        self.b.branch("ne", found, 0, there, missing)
        self.b.seal(there)
        self.b.seal(missing)
        self.b.start(there)
        self.b.emit("atomic", found, amount, kind="add", offset=0, size=8)
        self.b.jump(done)
        self.b.start(missing)
        self.b.emit("update", key, amount, 1, map="hash")
        self.b.jump(done)
        self.b.seal(done)
        self.b.start(done)

    def _entry(self, depth: int) -> None:
        """Use a value of a map in place, or a copy of it."""
        name, size = self._random.choice([("structs", SLOT), ("one", 16), ("array", 8)])
        found = self.b.emit("lookup", 0 if self._flip() else self._key(), map=name)

        def use() -> None:
            offset, width = self._place(size)
            loaded = self.b.emit("load", found, offset=offset, size=width, signed=self._flip())
            self.b.write(self._random.choice(self._variables), loaded)
            if self._flip():
                self.b.emit("store", found, self._value(2), offset=offset, size=width)
            if self._flip():
                self.b.emit("copy", self._random.choice([self._slot(), self._struct()]), found, size=size)

        self._when("ne", found, 0, use, lambda: self._block(depth + 1))

    def _pop(self, depth: int) -> None:
        """``v = m.pop(k)`` and ``if v is None``: the pointer is tested for the copy, and then again."""
        found = self.b.emit("lookup", self._key(), map="structs")
        popped = self._struct()

        def take() -> None:
            self.b.emit("copy", popped, found, size=SLOT)
            if self._flip():
                self.b.emit("delete", self._key(), map="structs")

        def use() -> None:
            loaded = self.b.emit("load", popped, offset=8, size=8, signed=0)
            self.b.write(self._random.choice(self._variables), loaded)

        self._when("ne", found, 0, take, lambda: self._assign(depth) if self._flip() else None)
        self._when(self._random.choice(["eq", "ne"]), found, 0, use, lambda: self._block(depth + 1))

    def _when(self, cond: str, left: Operand, right: Operand, yes: Callable[[], None], no: Callable[[], None]) -> None:
        holds, otherwise, done = (self.b.new_block(name) for name in ("holds", "otherwise", "done"))
        self.b.branch(cond, left, right, holds, otherwise)
        for block, body in ((holds, yes), (otherwise, no)):
            self.b.seal(block)
            self.b.start(block)
            body()
            self.b.jump(done)
        self.b.seal(done)
        self.b.start(done)

    def _if(self, depth: int) -> None:
        if depth > 3:
            return
        bodies = [lambda: self._block(depth + 1), lambda: self._block(depth + 1) if self._flip() else None]
        self._when(self._random.choice(CONDITIONS), self._value(), self._value(), *bodies)

    def _loop(self, depth: int) -> None:
        if depth > 1:
            return
        counter = f"i{self._budget}"
        self.b.write(counter, 0)
        head, body, done = (self.b.new_block(name) for name in ("head", "body", "done"))
        self.b.jump(head)
        self.b.start(head)
        self.b.branch("ult", self.b.read(counter), self._random.randrange(1, 5), body, done)
        self.b.seal(body)
        self.b.start(body)
        self._block(depth + 1)
        if self._random.random() < 0.3:  # break
            self._when("eq", self._value(), self._value(), lambda: self.b.jump(done), lambda: None)
        self.b.write(counter, self.b.emit("add", self.b.read(counter), 1))
        self.b.jump(head)
        self.b.seal(head)
        self.b.seal(done)
        self.b.start(done)

    def write(self) -> Unit:
        self._block(0)
        while self._budget > 0:
            self._block(0)
        result = self.b.read(self._variables[0])
        for variable in self._variables[1:]:
            result = self.b.emit("xor", result, self.b.read(variable))
        self.b.ret(result)
        self.b.finish()
        check(self.unit)
        return self.unit


def random_unit(seed: int) -> Unit:
    """The program of a seed; its context is what :func:`outcome` gives it."""
    return Writer(seed).write()


def outcome(unit: Unit, seed: int, little: bool = True) -> object:
    """All that can be seen of a run on a context of a seed: the result, map contents, outputs in order."""
    chosen = random.Random(seed)
    machine = Machine(unit, little)
    content = machine.memory(bytes(chosen.randrange(256) for _ in range(OBJECT)))
    words = [chosen.choice(_NUMBERS) & ((1 << 64) - 1) for _ in range(CONTEXT // 8 - 1)]
    context = machine.memory(b"".join(word.to_bytes(8, machine.order) for word in [content.address, *words]))
    return machine.run(context.address), machine.contents(), machine.trace
