"""Random programs of machine operations that run in the kernel and in the interpreter, and what they left there."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from contextlib import ExitStack

from pybpf.compiler.build import Builder
from pybpf.compiler.compiled import Compiled
from pybpf.compiler.ir import Function, Instr, Operand, Unit
from pybpf.compiler.ops import CONDITIONS
from pybpf.compiler.pipeline import compile_unit
from pybpf.compiler.target import Target
from pybpf.maps import MapSpec
from pybpf.prog import Program
from pybpf.sys.bpf import MapType, ProgType
from pybpf.types import u32, u64
from tests.compiler.interp import Machine

#: arguments of the program, of 8 bytes each, and the bytes of the one value of its map
ARGUMENTS, STATE = 6, 256
NUMBERS = (
    0, 1, 2, 5, 8, 63, 255, 256, -1, -2, 1 << 31, -1 << 31, (1 << 32) - 1, 1 << 32, -1 << 63, (1 << 63) - 1,
    0x1234_5678_9ABC_DEF0,
)  # fmt: skip
BINARY = ("add", "sub", "mul", "udiv", "umod", "sdiv", "smod", "and", "or", "xor", "shl", "lshr", "ashr")


def new_unit(*functions: Function) -> Unit:
    """A unit with a map ``state`` for what the program leaves behind."""
    return Unit(
        ProgType.RAW_TRACEPOINT, list(functions), {"state": MapSpec(MapType.ARRAY, u32, u64[STATE // 8], 1, "state")}
    )


def run_in_kernel(compiled: Compiled, args: list[int]) -> tuple[int, bytes]:
    """The result, of 32 bits, and the bytes of the map."""
    with ExitStack() as stack:
        maps = {name: stack.enter_context(spec.create()) for name, spec in compiled.maps.items()}
        program = stack.enter_context(Program.load(compiled.spec, maps))
        ctx = b"".join((arg & ((1 << 64) - 1)).to_bytes(8, "little") for arg in args)
        result = program.test_run(ctx=ctx).retval
        if "state" not in maps:
            return result, b""
        return result, struct.pack(f"<{STATE // 8}Q", *maps["state"][0])


def run_in_python(unit: Unit, args: list[int]) -> tuple[int, bytes]:
    """The same from the interpreter."""
    machine = Machine(unit)
    ctx = machine.memory(b"".join((arg & ((1 << 64) - 1)).to_bytes(8, "little") for arg in args))
    result = machine.run(ctx.address)
    return result & 0xFFFFFFFF, machine.contents()["state"][bytes(4)]


class Writer:
    """Writes a random program with a number of variables, all of which end in the map.

    :param callbacks: its loops ask for turns, and become callbacks.
    """

    def __init__(
        self, seed: int, variables: int, statements: int, atomics: bool = True, callbacks: bool = False
    ) -> None:
        self.callbacks = callbacks
        self.random = random.Random(seed)
        self.function = Function("prog")
        self.unit = new_unit(self.function)
        self.b = Builder(self.function)
        self.ctx = self.b.param(0)
        self.state = self.b.emit("mapvalue", map="state", offset=0)
        self.slots = [self.b.slot(16, f"s{number}") for number in range(3)]
        for slot in self.slots:
            self.b.emit("zero", slot, offset=0, size=16)
        self.variables = variables
        for number in range(variables):
            self.b.write(number, self.b.emit("load", self.ctx, offset=8 * (number % ARGUMENTS), size=8, signed=0))
        self.budget = statements
        self.helper = self.callee()
        self.kinds: list[Callable[[int], None]] = [
            self.assign, self.assign, self.assign, self.assign, self.store, self.load, self.call, self.call_function,
            self.choose, self.choose, self.loop, self.lookup, self.local, self.local,
        ] + [self.atomic] * atomics  # fmt: skip

    def callee(self) -> Function:
        function = Function("callee", [], ("int", "int"))
        b = Builder(function)
        one, other = b.param(0, "int"), b.param(1, "int")
        less, done = b.new_block("less"), b.new_block("done")
        b.write("x", b.emit("sub", one, other))
        b.branch("slt", one, other, less, done)
        b.seal(less)
        b.start(less)
        kept = b.slot(self.random.choice((16, 120, 240)), "kept")
        b.emit("store", kept, other, offset=8, size=8)
        b.emit("call", helper="get_smp_processor_id")
        b.write("x", b.emit("xor", b.emit("load", kept, offset=8, size=8, signed=0), one))
        b.jump(done)
        b.seal(done)
        b.start(done)
        b.ret(b.read("x"))
        self.unit.functions.append(b.finish())
        return function

    def write(self) -> Unit:
        while self.budget > 0:
            self.random.choice(self.kinds)(0)
        result: Operand = 0
        for number in range(self.variables):
            value = self.b.read(number)
            result = self.b.emit("xor", self.b.emit("mul", result, 3), value)
            if number < STATE // 8:
                self.b.emit("store", self.state, value, offset=8 * number, size=8)
        self.b.ret(result)
        self.b.finish()
        return self.unit

    def operand(self) -> Operand:
        if self.random.randrange(4) == 0:
            return self.random.choice(NUMBERS)
        return self.b.read(self.random.randrange(self.variables))

    def set(self, value: Operand) -> None:
        self.b.write(self.random.randrange(self.variables), value)

    def assign(self, depth: int) -> None:
        self.budget -= 1
        kind = self.random.randrange(6)
        if kind == 0:
            bits = self.random.choice((8, 16, 32))
            op = self.random.choice(("zext", "sext", "zext", "sext", "bswap"))
            self.set(self.b.emit(op, self.operand(), bits=max(bits, 16) if op == "bswap" else bits))
        elif kind == 1:
            self.set(self.b.emit("cmp", self.operand(), self.operand(), cond=self.random.choice(CONDITIONS)))
        elif kind == 2:
            value = self.b.emit(self.random.choice(("add", "sub", "mul", "shl")), self.operand(), self.operand())
            self.set(self.b.emit("zext", self.b.emit("neg", value) if self.random.randrange(2) else value, bits=32))
        else:
            self.set(self.b.emit(self.random.choice(BINARY), self.operand(), self.operand()))

    def place(self, size: int) -> dict[str, int]:
        width = self.random.choice((1, 2, 4, 8))
        return {"offset": self.random.randrange(size // width) * width, "size": width}

    def memory(self) -> tuple[Instr, dict[str, int]]:
        """A place in a slot, in the context's map, or beyond a sum."""
        if self.random.randrange(3):
            base = self.random.choice(self.slots)
            if self.random.randrange(2):
                place = self.place(8)
                return self.b.emit("add", base, 8), place
            return base, self.place(16)
        return self.b.emit("mapvalue", map="state", offset=self.random.choice((0, 8, 64))), self.place(128)

    def store(self, depth: int) -> None:
        self.budget -= 1
        base, place = self.memory()
        self.b.emit("store", base, self.operand(), **place)

    def load(self, depth: int) -> None:
        self.budget -= 1
        base, place = self.memory()
        self.set(self.b.emit("load", base, signed=self.random.randrange(2), **place))

    def atomic(self, depth: int) -> None:
        self.budget -= 1
        width = self.random.choice((4, 8))
        place = {"offset": self.random.randrange(8) * 8, "size": width}
        kind = self.random.choice(("add", "and", "or", "xor"))
        choice = self.random.randrange(4)
        if choice == 0:
            self.b.emit("atomic", self.state, self.operand(), kind=kind, **place)
        elif choice == 1:
            self.set(self.b.emit("fetch", self.state, self.operand(), kind=kind, **place))
        elif choice == 2:
            self.set(self.b.emit("fetch", self.state, self.operand(), kind="xchg", **place))
        else:
            self.set(self.b.emit("cmpxchg", self.state, self.operand(), self.operand(), **place))

    def call(self, depth: int) -> None:
        """A call that destroys registers, and whose result is known to be masked away."""
        self.budget -= 1
        self.set(self.b.emit("and", self.b.emit("call", helper="get_smp_processor_id"), 0))

    def call_function(self, depth: int) -> None:
        self.budget -= 1
        self.set(self.b.emit("callfunc", self.operand(), self.operand(), func="callee"))

    def lookup(self, depth: int) -> None:
        """A pointer that lives over a call."""
        self.budget -= 3
        key = self.random.choice(self.slots)
        self.b.emit("store", key, 0, offset=0, size=4)
        found = self.b.emit("call", self.b.emit("map", map="state"), key, helper="map_lookup_elem", type="ptr")
        there, done = self.b.new_block("there"), self.b.new_block("done")
        self.b.branch("ne", found, 0, there, done)
        self.b.seal(there)
        self.b.start(there)
        self.call(depth)
        self.b.emit("store", found, self.operand(), **self.place(STATE))
        self.set(self.b.emit("load", found, signed=1, **self.place(STATE)))
        self.b.jump(done)
        self.b.seal(done)
        self.b.start(done)

    def local(self, depth: int) -> None:
        """A slot, maybe a large one, that is used here, and perhaps later."""
        self.budget -= 2
        slot = self.b.slot(self.random.choice((16, 40, 104, 200)), "local")
        self.b.emit("zero", slot, offset=0, size=16)
        others = self.slots
        self.slots = [slot]
        self.body(max(depth, 2))
        self.slots = others
        self.set(self.b.emit("load", slot, signed=0, **self.place(16)))
        if depth == 0 and self.random.randrange(3) == 0:
            self.slots = [*others, slot]

    def body(self, depth: int) -> None:
        for _ in range(self.random.randrange(1, 4)):
            kind = self.random.choice(self.kinds)
            (self.assign if depth > 2 else kind)(depth + 1)

    def choose(self, depth: int) -> None:
        self.budget -= 1
        yes, no, done = (self.b.new_block(name) for name in ("yes", "no", "done"))
        left = self.operand()
        if self.random.randrange(2):
            left = self.b.emit(self.random.choice(("zext", "sext")), left, bits=32)
        self.b.branch(self.random.choice(CONDITIONS), left, self.operand(), yes, no)
        for block in (yes, no):
            self.b.seal(block)
            self.b.start(block)
            self.body(depth)
            self.b.jump(done)
        self.b.seal(done)
        self.b.start(done)

    def loop(self, depth: int) -> None:
        """A loop that turns a few times, and exchanges variables."""
        if depth > 1:
            return
        self.budget -= 1
        counter = f"i{depth}"
        head, body, done = (self.b.new_block(name) for name in ("head", "body", "done"))
        self.b.write(counter, 0)
        self.b.jump(head)
        self.b.start(head)
        if self.callbacks:
            asks, more = self.b.emit("again", most=8), self.b.new_block("more")
            self.b.branch("ne", asks, 0, more, done)
            self.b.seal(more)
            self.b.start(more)
        self.b.branch("ult", self.b.read(counter), self.random.randrange(1, 4), body, done)
        self.b.seal(body)
        self.b.start(body)
        chosen = [self.random.randrange(self.variables) for _ in range(self.random.randrange(5))]
        values = [self.b.read(each) for each in chosen]
        for variable, value in zip(chosen, values[1:] + values[:1]):
            self.b.write(variable, value)
        if depth == 0 and self.random.randrange(2):
            self.body(depth + 1)
        self.b.write(counter, self.b.emit("add", self.b.read(counter), 1))
        self.b.jump(head)
        self.b.seal(head)
        self.b.seal(done)
        self.b.start(done)


def random_unit(
    seed: int, variables: int, statements: int, atomics: bool = True, callbacks: bool = False
) -> Unit:
    """The program of a seed."""
    return Writer(seed, variables, statements, atomics, callbacks).write()


def random_arguments(seed: int) -> list[int]:
    chosen = random.Random(seed)
    return [chosen.choice(NUMBERS) if chosen.randrange(2) else chosen.getrandbits(64) for _ in range(ARGUMENTS)]


def compiled(unit: Unit, target: Target) -> Compiled:
    return compile_unit(unit, target, check=True)
