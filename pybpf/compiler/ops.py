"""Every operation of the intermediate representation: one table that builder, text, checker and passes share."""

from __future__ import annotations

from pybpf.record import NamedTuple

__all__ = ["CONDITIONS", "INT", "NEGATED", "NONE", "OPS", "PTR", "SWAPPED", "Op"]

#: What a value is. All values are 64 bits wide; narrower types exist in loads, stores and extensions only.
INT, PTR, NONE = "int", "ptr", ""


class Op(NamedTuple):
    """One operation."""

    name: str
    args: str
    """A letter per operand: ``i`` integer, ``p`` pointer, ``a`` either; a last ``*`` repeats the letter before it."""
    result: str
    """:data:`INT`, :data:`PTR`, :data:`NONE`; ``"same"``: that of the first operand; ``"said"``: the instruction's
    own ``type``."""
    attrs: tuple[str, ...] = ()
    """Names of the attributes; all must be present."""
    effect: str = "pure"
    """``pure``: depends on the operands only. ``reads``: also on memory. ``writes``: changes memory or the outside;
    stays where it is. ``ends``: ends its block."""
    level: str = "machine"
    """``machine``: the back end selects instructions for it. ``lowered``: a pass turns it into machine operations
    first."""
    text: str = ""


def _table(*rows: Op) -> dict[str, Op]:
    return {row.name: row for row in rows}


OPS: dict[str, Op] = _table(
    # arithmetic on 64 bits; shifts use the low six bits; x // 0 is 0 and x % 0 is x, as the kernel defines it
    Op("add", "ai", "same", text="the sum; of a pointer and an integer, a pointer"),
    Op("sub", "aa", "same", text="the difference; of two pointers, an integer"),
    Op("mul", "ii", INT),
    Op("udiv", "ii", INT),
    Op("umod", "ii", INT),
    Op("sdiv", "ii", INT, level="lowered", text="truncates towards zero; lowered where the target has no such opcode"),
    Op("smod", "ii", INT, level="lowered", text="has the sign of the dividend; lowered as sdiv is"),
    Op("and", "ii", INT),
    Op("or", "ii", INT),
    Op("xor", "ii", INT),
    Op("shl", "ii", INT),
    Op("lshr", "ii", INT),
    Op("ashr", "ii", INT),
    Op("neg", "i", INT),
    Op("number", "a", INT, text="the same 64 bits: of an address that the verifier watches over, a number"),
    Op("zext", "i", INT, ("bits",), text="the low 8, 16 or 32 bits, zero-extended"),
    Op("sext", "i", INT, ("bits",), text="the low 8, 16 or 32 bits, sign-extended"),
    Op("bswap", "i", INT, ("bits",), text="the low 16, 32 or 64 bits, bytes reversed, zero-extended"),
    Op("cmp", "aa", INT, ("cond",), text="1 or 0"),
    Op("phi", "a*", "said", text="first in its block: an operand per predecessor, in their order"),
    # addresses
    Op("slot", "", PTR, ("size", "align", "name"), text="memory of the function, undefined at first; entry block only"),
    Op("param", "", "said", ("index",), text="a parameter of the function; entry block only; of a program: 0 is ctx"),
    Op("map", "", PTR, ("map",), text="a map, as helpers take it"),
    Op("mapvalue", "", PTR, ("map", "offset"), text="address of a byte of the only value of an array map"),
    Op("func", "", PTR, ("func",), text="address of a function of the unit, for bpf_loop and its like: "
       "its last parameter is the call's third argument, a slot whose bytes 8 to 15 are left to the compiler"),
    Op("element", "pi", PTR, ("size",), level="lowered", text="of an array: its address; a test "
       "that bounds the index comes before"),
    # memory that the program may access directly
    Op("load", "p", "said", ("offset", "size", "signed"), effect="reads"),
    Op("store", "pa", NONE, ("offset", "size"), effect="writes"),
    Op("atomic", "pi", NONE, ("kind", "offset", "size"), effect="writes", text="kind: add, and, or, xor"),
    Op("fetch", "pi", INT, ("kind", "offset", "size"), effect="writes", text="as atomic, and xchg; the old value"),
    Op("cmpxchg", "pii", INT, ("offset", "size"), effect="writes", text="pointer, expected, new; the old value"),
    Op("zero", "p", NONE, ("offset", "size"), effect="writes", level="lowered", text="clear bytes"),
    Op("copy", "pp", NONE, ("size",), effect="writes", level="lowered", text="to, from: copy bytes, 8-byte aligned"),
    # calls
    Op("call", "a*", "said", ("helper",), effect="writes", text="a helper; PURE_HELPERS are as pure"),
    Op("callfunc", "a*", "said", ("func",), effect="writes", text="another function of the unit"),
    Op("kfunc", "a*", "said", ("name",), effect="writes", text="a kernel function that programs may call"),
    # memory of the kernel or of the process: a faulting read gives 0
    Op("peek", "a", INT, ("space", "offset", "size", "signed"), "reads", "lowered",
       "space: kernel or user; read an integer at an address by a probe read"),
    # maps. A key or value is an integer (stored with the map's own size, 8 bytes at most) or a pointer to it.
    Op("lookup", "a", PTR, ("map",), "reads", "lowered", "the address of the value, or null"),
    Op("update", "aai", NONE, ("map",), "writes", "lowered", "key, value, flags"),
    Op("tryupdate", "aai", INT, ("map",), "writes", "lowered", "as update; 0 or the negative errno"),
    Op("delete", "a", INT, ("map",), "writes", "lowered", "0 or the negative errno"),
    # loops
    Op("again", "", INT, ("most",), "reads", "lowered",
       "first in the head of a loop: whether it takes one more turn, up to so many; the branch on it ends the block"),
    Op("entry", "", INT, ("map",), "reads", "lowered",
       "as again: whether it takes one more turn, with another entry of a map (Linux 5.13)"),
    Op("entrykey", "i", PTR, (), "reads", "lowered", "the address of the key of an entry's turn; inside of the loop"),
    Op("entryvalue", "i", PTR, (), "reads", "lowered", "likewise, of its value: this CPU's, where each has one"),
    # ends of blocks
    Op("jump", "", NONE, (), "ends"),
    Op("branch", "aa", NONE, ("cond",), "ends", text="to the block's first successor if the condition holds"),
    Op("ret", "i", NONE, (), "ends"),
    Op("tail", "pa", NONE, ("map",), "writes", text="ctx, index: a tail call; goes on where there is no program"),
)  # fmt: skip

#: Condition -> the one that holds exactly when it does not. ``set``: the operands have a bit in common.
NEGATED = {
    "eq": "ne", "ne": "eq", "ult": "uge", "uge": "ult", "ule": "ugt", "ugt": "ule",
    "slt": "sge", "sge": "slt", "sle": "sgt", "sgt": "sle", "set": "clear", "clear": "set",
}  # fmt: skip
#: Condition -> the one that holds when the operands change places.
SWAPPED = {
    "eq": "eq", "ne": "ne", "ult": "ugt", "ugt": "ult", "ule": "uge", "uge": "ule",
    "slt": "sgt", "sgt": "slt", "sle": "sge", "sge": "sle", "set": "set", "clear": "clear",
}  # fmt: skip
CONDITIONS = tuple(NEGATED)
