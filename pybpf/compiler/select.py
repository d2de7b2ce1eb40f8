"""Instruction selection: a function of machine-level IR to machine instructions over virtual registers.

Blocks, and the instructions in them, are walked from last to first. So all uses of a value are seen before its
definition: a value that nobody asked for by then, because it is dead or has been folded into its uses, is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from pybpf.asm import DW, HELPERS, B, H, KfuncRef, MapRef, W, find_helper
from pybpf.asm.opcodes import ALU, ATOMIC_CMPXCHG, ATOMIC_FETCH, ATOMIC_OPS, ATOMIC_XCHG, JUMPS
from pybpf.compiler.frame import FramePlan
from pybpf.compiler.ir import Block, Function, Instr, Operand, signed64
from pybpf.compiler.machine import (
    ARGUMENTS,
    Copies,
    Imm,
    Item,
    MBlock,
    MFunction,
    MInsn,
    Place,
    SetCond,
    Source,
    Wide,
    call,
    fits32,
)
from pybpf.compiler.operands import MAP, Operands
from pybpf.compiler.ops import NEGATED, OPS, SWAPPED
from pybpf.compiler.order import postorder
from pybpf.compiler.scratch import PLACE, Scratch
from pybpf.compiler.target import Target
from pybpf.errors import CompileError

__all__ = ["select"]

_ALU32, _JMP, _JMP32, _ALU64 = 4, 5, 6, 7
_X = 0x08
_LDX_MEM, _LDX_SIGNED, _ST_MEM, _STX_MEM, _STX_ATOMIC = 0x61, 0x81, 0x62, 0x63, 0xC3
_NEG, _LE, _BE = 0x80, 0xD4, 0xDC
_EXIT = 0x95
_KFUNC = 2
_SIZES = {1: B, 2: H, 4: W, 8: DW}
#: Operation -> name of the opcode that works in place on its first operand.
_IN_PLACE = {
    "add": "add", "sub": "sub", "mul": "mul", "udiv": "div", "umod": "mod", "sdiv": "div", "smod": "mod",
    "and": "and", "or": "or", "xor": "xor", "shl": "lsh", "lshr": "rsh", "ashr": "arsh",
}  # fmt: skip
_COMMUTATIVE = frozenset({"add", "mul", "and", "or", "xor"})
_SHIFTS = frozenset({"shl", "lshr", "ashr"})
#: Operations whose low 32 bits depend on those of the operands only.
_LOW_BITS = frozenset({"add", "sub", "mul", "and", "or", "xor", "neg"})
#: Condition -> opcode bits; ``clear`` has no opcode: its targets are swapped.
_JUMP_BITS = {
    name: JUMPS[jump][0]
    for name, jump in {
        "eq": "jeq", "ne": "jne", "ult": "jlt", "ule": "jle", "ugt": "jgt", "uge": "jge",
        "slt": "jslt", "sle": "jsle", "sgt": "jsgt", "sge": "jsge", "set": "jset",
    }.items()
}  # fmt: skip
#: Extension of both operands -> the conditions that then give the same on the lower halves.
_HALF = {
    "zext": frozenset({"eq", "ne", "ult", "ule", "ugt", "uge", "set"}),
    "sext": frozenset({"eq", "ne", "slt", "sle", "sgt", "sge"}),
}


def select(
    function: Function, target: Target, plan: FramePlan, scratch: Scratch, label: Callable[[str], str]
) -> MFunction:
    """Choose instructions for a function.

    :param plan: where the function's slots are.
    :param scratch: the memory of those that are not on the stack.
    :param label: function of the unit -> the label that it begins at.
    :raises CompileError: the target has no instruction for an operation.
    """
    return _Selector(function, target, plan, scratch, label).run()


def _needed(blocks: list[Block]) -> set[Instr]:
    """Instructions with an effect, and whatever they depend on."""
    work = [instr for block in blocks for instr in block.instrs if OPS[instr.op].effect in ("writes", "ends")]
    found = set(work)
    while work:
        for arg in work.pop().args:
            if isinstance(arg, Instr) and arg not in found:
                found.add(arg)
                work.append(arg)
    return found


class _Selector(Operands):
    def __init__(
        self, function: Function, target: Target, plan: FramePlan, scratch: Scratch, label: Callable[[str], str]
    ) -> None:
        super().__init__(MFunction(function.name), plan, label)
        self.function = function
        self.target = target
        self.memories = scratch
        self.is_program = scratch.is_program(function)
        self.order = postorder(function.blocks[0])
        needed = _needed(self.order)
        self.phis = {block: [phi for phi in block.phis if phi in needed] for block in self.order}
        self.uses = Counter(
            arg for block in self.order for instr in block.instrs if instr in needed for arg in instr.args
        )
        self.blocks = {block: MBlock(block.name) for block in self.order}
        self.own = set(self.blocks.values())
        self.returns: dict[int, MBlock] = {}
        #: block -> predecessor -> which operands of phis belong to it
        self.columns: dict[Block, dict[Block, list[int]]] = {}
        self.params: list[Instr] = []

    def run(self) -> MFunction:
        laid_out: list[MBlock] = []
        for block in self.order:
            made = self.blocks[block]
            self.line = block.end.line
            if block.end.op == "branch":
                made.successors = [self.edge(block, way) for way in range(2)]
                laid_out += [edge for edge in made.successors if edge not in self.own]
            elif block.end.op == "jump":
                made.successors = [self.blocks[block.successors[0]]]
            self.fill(block, made)
            laid_out.append(made)
        laid_out.reverse()
        self.enter(laid_out)
        self.made.blocks = laid_out + list(self.returns.values())
        return self.made

    # blocks

    def fill(self, block: Block, made: MBlock) -> None:
        """Select the instructions of a block."""
        self.out = []
        _ENDS[block.end.op](self, block, made)
        self.finish()
        for instr in reversed(block.instrs[:-1]):
            if instr.op == "phi":
                break
            if instr in self.regs or OPS[instr.op].effect == "writes":
                self.line = instr.line
                _EMITTERS[instr.op](self, instr)
                self.finish()
        self.flush()
        self.out.reverse()
        made.items = self.out

    def edge(self, block: Block, way: int) -> MBlock:
        """Where a branch goes: the successor, or a block in between with the copies for its phis."""
        target = block.successors[way]
        if not self.phis[target]:
            return self.blocks[target]
        self.out = []
        self.copy_phis(block, way)
        self.finish()
        self.flush()
        made = MBlock(f"{block.name}_{target.name}")
        made.items = self.out[::-1]
        made.successors = [self.blocks[target]]
        return made

    def copy_phis(self, block: Block, way: int) -> None:
        target = block.successors[way]
        if target not in self.columns:
            columns: dict[Block, list[int]] = {}
            for index, each in enumerate(target.predecessors):
                columns.setdefault(each, []).append(index)
            self.columns[target] = columns
        # a branch may have both its ways to one block, which then has two operands in each phi
        column = self.columns[target][block][block.successors[:way].count(target)]
        self.copies([(self.result(phi), self.source(phi.args[column])) for phi in self.phis[target]])

    def enter(self, laid_out: list[MBlock]) -> None:
        """Take the parameters, and get the address of the scratch memory if it is needed."""
        entry = laid_out[0]
        self.line = next((item.line for block in laid_out for item in block.items if item.line is not None), None)
        taken: list[Item] = []
        if self.params:
            pairs: list[tuple[Place, Source]] = [
                (self.regs[param], ARGUMENTS[param.attrs["index"]]) for param in self.params
            ]
            taken.append(Copies(pairs))
        made: list[MBlock] = []
        if self.base >= 0 and self.is_program:
            made = self.memories.take(self.made, self.plan, self.base, entry, self.return_block)
            laid_out[:0] = made
        elif self.base >= 0:
            # all parameters are taken at once: none may be where another one comes from
            given = self.memories.pass_in(self.base, self.function, self.made)
            first = given[0]
            assert isinstance(first, Copies)
            taken = [Copies([*(pair for each in taken if isinstance(each, Copies) for pair in each.pairs),
                             *first.pairs]), *given[1:]]  # fmt: skip
        for item in (*taken, *(item for block in made for item in block.items)):
            item.line = self.line
        laid_out[0].items[:0] = taken

    def return_block(self, value: int) -> MBlock:
        """The one place that returns a constant."""
        if value not in self.returns:
            made = MBlock(f"return_{value}" if value >= 0 else f"return_minus_{-value}")
            made.items = [*self.leave(), Copies([(0, Imm(value))]), MInsn(_EXIT)]
            for item in made.items:
                item.line = self.line
            self.returns[value] = made
        return self.returns[value]

    def leave(self) -> list[MInsn]:
        """What comes before the end of the function."""
        return self.memories.release(self.scratch()) if self.is_program and self.plan.needs_scratch else []

    # operations

    def alu(self, name: str, dst: int, operand: Operand, half: bool = False, signed: bool = False) -> None:
        """``dst op= operand``"""
        code = (_ALU32 if half else _ALU64) | ALU[name][0]
        if isinstance(operand, int):
            if half:
                operand = (operand + (1 << 31)) % (1 << 32) - (1 << 31)
            if fits32(operand):
                self.put(MInsn(code, dst, off=int(signed), imm=operand))
                return
        self.put(MInsn(code | _X, dst, self.reg(operand), int(signed)))

    def arithmetic(self, instr: Instr) -> None:
        self.compute(instr, self.result(instr), half=False)

    def number(self, instr: Instr) -> None:
        """Negated twice: what the verifier takes for a number, and a move or an addition it does not."""
        dst = self.result(instr)
        self.copies([(dst, self.source(instr.args[0]))])
        self.put(MInsn(_ALU64 | _NEG, dst))
        self.put(MInsn(_ALU64 | _NEG, dst))

    def compute(self, instr: Instr, dst: int, half: bool) -> None:
        """Arithmetic with two operands, or ``neg``, on all 64 bits or on the lower half."""
        op = instr.op
        if op == "neg":
            self.copies([(dst, self.source(instr.args[0]))])
            self.put(MInsn((_ALU32 if half else _ALU64) | _NEG, dst))
            return
        left, right = instr.args
        if op in _COMMUTATIVE and (isinstance(left, int) or self.ends_here(right, left)):
            left, right = right, left
        if op in _SHIFTS and isinstance(right, int):
            right &= 63
        if op == "and" and isinstance(right, int) and 0x7FFFFFFF < right <= 0xFFFFFFFF:
            half = True  # it clears the upper half, as this constant does
        if op in ("udiv", "sdiv", "umod", "smod"):
            if op in ("sdiv", "smod") and not self.target.has("cpu_v4"):
                raise CompileError(f"the target has no instruction for {op}; lower it first")
            if right == 0:
                self.copies([(dst, Imm(0) if op.endswith("div") else self.source(left))])
                return
        # what needs a register gets it before the copy, so that the copy can be left out more often
        operand: Operand | None = right
        reg = -1
        if isinstance(right, Instr) or not (half or fits32(right)):
            reg, operand = self.reg(right), None
        self.copies([(dst, self.source(left))])
        if operand is None:
            code = (_ALU32 if half else _ALU64) | ALU[_IN_PLACE[op]][0] | _X
            self.put(MInsn(code, dst, reg, int(op in ("sdiv", "smod"))))
        else:
            self.alu(_IN_PLACE[op], dst, operand, half, op in ("sdiv", "smod"))

    def ends_here(self, one: Operand, other: Operand) -> bool:
        """Whether only the first of two operands is needed by nothing else, as far as is known yet."""
        return (
            isinstance(one, Instr)
            and isinstance(other, Instr)
            and not self.asked(one)
            and self.asked(other)
            and self.recipe(one) is None
        )

    def zext(self, instr: Instr) -> None:
        dst, (arg,), bits = self.result(instr), instr.args, instr.attrs["bits"]
        if isinstance(arg, int):
            self.copies([(dst, Imm(arg & ((1 << bits) - 1)))])
        elif bits < 32:
            self.copies([(dst, self.source(arg))])
            self.alu("and", dst, (1 << bits) - 1)
        elif self.uses[arg] == 1 and (arg.op in _LOW_BITS or (arg.op == "shl" and arg.args[1] in range(32))):
            self.compute(arg, dst, half=True)
        else:
            self.put(MInsn(_ALU32 | ALU["mov"][0] | _X, dst, self.reg(arg)))

    def sext(self, instr: Instr) -> None:
        dst, (arg,), bits = self.result(instr), instr.args, instr.attrs["bits"]
        if isinstance(arg, int):
            self.copies([(dst, Imm(_sign_extended(arg, bits)))])
        elif self.target.has("cpu_v4"):
            self.put(MInsn(_ALU64 | ALU["mov"][0] | _X, dst, self.reg(arg), bits))
        else:
            self.copies([(dst, self.source(arg))])
            self.extend(dst, bits)

    def extend(self, dst: int, bits: int) -> None:
        """Extend the sign in place, as every kernel can."""
        self.alu("lsh", dst, 64 - bits)
        self.alu("arsh", dst, 64 - bits)

    def bswap(self, instr: Instr) -> None:
        dst = self.result(instr)
        self.copies([(dst, self.source(instr.args[0]))])
        code = _BE if self.target.arch.endian == "little" else _LE
        self.put(MInsn(code, dst, imm=instr.attrs["bits"]))

    def param(self, instr: Instr) -> None:
        self.params.append(instr)

    # memory

    def load(self, instr: Instr) -> None:
        dst, size = self.result(instr), instr.attrs["size"]
        base, offset = self.memory(instr.args[0], instr.attrs["offset"])
        signed = instr.attrs["signed"] and size < 8
        if signed and self.target.has("cpu_v4"):
            self.put(MInsn(_LDX_SIGNED | _SIZES[size], dst, base, offset))
            return
        self.put(MInsn(_LDX_MEM | _SIZES[size], dst, base, offset))
        if signed:
            self.extend(dst, 8 * size)

    def store(self, instr: Instr) -> None:
        pointer, value = instr.args
        size = instr.attrs["size"]
        if isinstance(value, int):
            value = _sign_extended(value, 8 * size)
            # a constant cannot be stored into a context before Linux 6.4
            origin = self.place(pointer)[0]
            if fits32(value) and not (isinstance(origin, Instr) and origin.op == "param"):
                base, offset = self.memory(pointer, instr.attrs["offset"])
                self.put(MInsn(_ST_MEM | _SIZES[size], base, 0, offset, value))
                return
        src = self.reg(value)
        base, offset = self.memory(pointer, instr.attrs["offset"])
        self.put(MInsn(_STX_MEM | _SIZES[size], base, src, offset))

    def atomic(self, instr: Instr) -> None:
        kind = instr.attrs["kind"]
        if kind != "add":
            self.need_atomics(f"atomic {kind}")
        src = self.reg(instr.args[1])
        base, offset = self.memory(instr.args[0], instr.attrs["offset"])
        self.put(MInsn(_STX_ATOMIC | _SIZES[instr.attrs["size"]], base, src, offset, ATOMIC_OPS[kind][0]))

    def fetch(self, instr: Instr) -> None:
        kind = instr.attrs["kind"]
        self.need_atomics(f"atomic {kind} that gives the old value")
        dst = self.result(instr)
        imm = ATOMIC_XCHG if kind == "xchg" else ATOMIC_OPS[kind][0] | ATOMIC_FETCH
        base, offset = self.memory(instr.args[0], instr.attrs["offset"])
        self.copies([(dst, self.source(instr.args[1]))])
        self.put(MInsn(_STX_ATOMIC | _SIZES[instr.attrs["size"]], base, dst, offset, imm))

    def cmpxchg(self, instr: Instr) -> None:
        self.need_atomics("compare and exchange")
        new = self.reg(instr.args[2])
        base, offset = self.memory(instr.args[0], instr.attrs["offset"])
        self.copies([(0, self.source(instr.args[1]))])
        self.put(MInsn(_STX_ATOMIC | _SIZES[instr.attrs["size"]], base, new, offset, ATOMIC_CMPXCHG))
        if instr.attrs["size"] == 4:
            # x86 leaves the upper half of r0 as it was where the values are equal; Linux 6.18 adds this by itself only
            # where it sees the upper half read on the first way that it follows
            self.put(MInsn(_ALU32 | ALU["mov"][0] | _X, 0, 0))
        self.take_result(instr)

    def need_atomics(self, what: str) -> None:
        if not self.target.has("atomics"):
            raise CompileError(f"the kernel has no {what} (Linux 5.12); use an atomic add")

    # calls

    def call(self, instr: Instr) -> None:
        for callback in instr.args:
            if isinstance(callback, Instr) and callback.op == "func" and self.needs_scratch(callback):
                base, offset = self.memory(instr.args[2], PLACE)
                self.put(MInsn(_STX_MEM | DW, base, self.scratch(), offset))
        self.invoke(instr, instr.args, call(find_helper(instr.attrs["helper"]).id, args=len(instr.args)))

    def callfunc(self, instr: Instr) -> None:
        name = self.label(instr.attrs["func"])
        more = [self.scratch()] if self.needs_scratch(instr) else []
        self.invoke(instr, instr.args, call(src=1, ref=name, args=len(instr.args) + len(more)), more)

    def needs_scratch(self, instr: Instr) -> bool:
        """Whether the function that an instruction names must be given the address of the scratch memory."""
        return instr.attrs["func"] in self.memories.needed_by

    def kfunc(self, instr: Instr) -> None:
        self.invoke(instr, instr.args, call(src=_KFUNC, ref=KfuncRef(instr.attrs["name"]), args=len(instr.args)))

    def tail(self, instr: Instr) -> None:
        self.flush()
        context, index = (self.source(arg) for arg in instr.args)
        self.copies([(1, context), (2, Wide(MAP, MapRef(instr.attrs["map"]))), (3, index)])
        self.put(call(HELPERS["tail_call"].id, args=3))

    def invoke(self, instr: Instr, args: list[Operand], made: MInsn, more: Sequence[int] = ()) -> None:
        """
        :param more: registers that are passed behind the arguments.
        """
        if len(args) + len(more) > len(ARGUMENTS):
            large = ", the address of the memory for large values among them" if more else ""
            raise CompileError(
                f"a call with {len(args) + len(more)} arguments{large}; at most {len(ARGUMENTS)} can be passed"
            )
        self.flush()  # what is shared does not survive a call
        self.copies(list(zip(ARGUMENTS, [*(self.source(arg) for arg in args), *more])))
        self.put(made)
        self.take_result(instr)

    def take_result(self, instr: Instr) -> None:
        if self.asked(instr):
            self.copies([(self.regs[instr], 0)])

    # comparisons and ends

    def compare(self, cond: str, left: Operand, right: Operand) -> tuple[MInsn, bool]:
        """A conditional jump, and whether it is taken when the condition does not hold instead."""
        if isinstance(left, int):
            cond, left, right = SWAPPED[cond], right, left
        inverted = cond == "clear"
        cond = "set" if inverted else cond
        half = self.halves(cond, left, right)
        if half is not None:
            left, right = half
        code = (_JMP if half is None else _JMP32) | _JUMP_BITS[cond]
        first = self.reg(left)
        if isinstance(right, int) and fits32(right):
            return MInsn(code, first, imm=right), inverted
        return MInsn(code | _X, first, self.reg(right)), inverted

    def halves(self, cond: str, left: Operand, right: Operand) -> tuple[Operand, Operand] | None:
        """The operands of a 32-bit comparison that gives the same, where that saves extensions."""
        if not isinstance(left, Instr) or cond not in _HALF.get(left.op, ()) or not self.extends(left, left.op):
            return None
        if not self.target.has("jmp32"):
            return None
        if isinstance(right, int):
            if right != (right & 0xFFFFFFFF if left.op == "zext" else _sign_extended(right, 32)):
                return None
            return left.args[0], _sign_extended(right, 32)
        if not self.extends(right, left.op):
            return None
        return left.args[0], right.args[0]

    def extends(self, operand: Instr, op: str) -> bool:
        """Whether an operand is an extension from 32 bits that nothing else needs."""
        return operand.op == op and operand.attrs["bits"] == 32 and self.uses[operand] == 1

    def cmp(self, instr: Instr) -> None:
        jump, inverted = self.compare(instr.attrs["cond"], *instr.args)
        self.put(SetCond(jump, self.result(instr), int(not inverted)))

    def branch(self, block: Block, made: MBlock) -> None:
        instr = block.end
        cond, (left, right) = instr.attrs["cond"], instr.args
        compared = cond in ("eq", "ne") and right == 0 and isinstance(left, Instr) and left.op == "cmp"
        if compared and isinstance(left, Instr) and self.uses[left] == 1:
            cond = left.attrs["cond"] if cond == "ne" else NEGATED[left.attrs["cond"]]
            left, right = left.args
        jump, inverted = self.compare(cond, left, right)
        self.put(jump)
        if inverted:
            made.successors.reverse()

    def jump(self, block: Block, made: MBlock) -> None:
        """Go on in another block; layout decides whether that takes an instruction."""
        self.copy_phis(block, 0)

    def ret(self, block: Block, made: MBlock) -> None:
        value = block.end.args[0]
        if isinstance(value, int):
            made.successors = [self.return_block(value)]
            return
        self.copies([(0, self.source(value))])
        self.put(*self.leave(), MInsn(_EXIT))


def _sign_extended(value: int, bits: int) -> int:
    return signed64(((value + (1 << bits - 1)) & ((1 << bits) - 1)) - (1 << bits - 1))


_ENDS: dict[str, Callable[[_Selector, Block, MBlock], None]] = {
    "jump": _Selector.jump,
    "branch": _Selector.branch,
    "ret": _Selector.ret,
}
_EMITTERS: dict[str, Callable[[_Selector, Instr], None]] = {
    **dict.fromkeys((*_IN_PLACE, "neg"), _Selector.arithmetic),
    "number": _Selector.number,
    "zext": _Selector.zext,
    "sext": _Selector.sext,
    "bswap": _Selector.bswap,
    "cmp": _Selector.cmp,
    "param": _Selector.param,
    "load": _Selector.load,
    "store": _Selector.store,
    "atomic": _Selector.atomic,
    "fetch": _Selector.fetch,
    "cmpxchg": _Selector.cmpxchg,
    "call": _Selector.call,
    "callfunc": _Selector.callfunc,
    "kfunc": _Selector.kfunc,
    "tail": _Selector.tail,
}
