"""``join_user_str``: the strings of an array such as ``argv``, one behind the other in one text."""

from __future__ import annotations

import ast
from typing import Any

from pybpf.lang.builtins.builtin import builtin, meant_for_probes
from pybpf.lang.builtins.kernel import where_of
from pybpf.lang.front.gen import Gen
from pybpf.lang.values import raw
from pybpf.lang.values.constants import Const
from pybpf.lang.values.flow import Choice, when
from pybpf.lang.values.memory import Written, name_of
from pybpf.lang.values.pointers import Text
from pybpf.lang.values.reading import USER, Where, probe_read
from pybpf.lang.values.val import Val
from pybpf.types import Array, array_of, char, u8

__all__ = ["join_user_str"]

#: strings that are joined at most: each takes some 25 instructions
_MOST_STRINGS = 64
_MOST_SEPARATOR = 8
_MOST_TEXT = 1 << 14
_POINTER = 8
#: What is larger than the stack is not there: before Linux 5.3 helpers cannot write to a variable offset of it.
_MORE_THAN_STACK = 520


class _Joined(Written):
    """The strings of an array, read where they are wanted: first to memory of the CPU, where there is room for more
    than the text may have, so that a mask is bound enough for every verifier."""

    is_clean = False

    def __init__(self, array: Where, count: int, sep: bytes, most: int, at: ast.AST) -> None:
        self.array = array
        self.count = count
        self.sep = sep
        self.kind = array_of(char, most)
        self.at = at

    def store(self, gen: Gen, address: Any, offset: int, kind: Any, at: ast.AST) -> None:
        element = u8 if b"\0" in self.sep else char
        if not (isinstance(kind, type) and issubclass(kind, Array) and kind.element is element):
            takes = "strings with NULs between take a u8[N]" if element is u8 else "text takes a char[N]"
            self.refuse(gen, at, f"cannot be kept as {name_of(kind)}; {takes}")
        if kind.length > _MOST_TEXT:
            gen.fail(at, f"strings are joined to at most {_MOST_TEXT} bytes, not {kind.length}")
        joined = self._join(gen, 1 << (kind.length - 1).bit_length())
        if element is char:
            Text(Where(joined), None).store(gen, address, offset, kind, at)
        else:
            Where(joined).copy(gen, address, offset, kind.length)

    def _join(self, gen: Gen, size: int) -> Any:
        """Memory with the text, which is at least ``size`` bytes, a power of two, where it is not complete."""
        b = gen.b
        slot = b.slot(max(2 * size + len(self.sep), _MORE_THAN_STACK), "joined")
        raw.clear(gen, slot, 0, size if b"\0" in self.sep else 1)
        length, done = Choice(b, 0), b.new_block("joined")
        for index in range(self.count):
            string = self.array.moved(index * _POINTER).load(gen, _POINTER)
            there = b.new_block("string")
            b.branch("eq", string, 0, done, there)
            b.seal(there)
            b.start(there)
            start = length.value
            behind = 0
            if index:
                room = b.new_block("room")
                b.branch("ult", start, size, room, done)
                b.seal(room)
                b.start(room)
                start = b.emit("and", start, size - 1)
                raw.write(gen, b.emit("add", slot, start), 0, self.sep, align=1)
                behind = len(self.sep)
            target = raw.pointer(gen, b.emit("add", slot, start), behind)
            # what cannot be read leaves nothing but a NUL
            raw.store(gen, target, 0, 1, 0)
            got = b.emit("call", target, size, string, helper=probe_read(gen, USER, "_str"))
            length.set(raw.pointer(gen, start, behind))
            with when(b, "sgt", got, 0, "read"):
                length.set(b.emit("add", length.value, b.emit("sub", got, 1)))
        b.jump(done)
        b.seal(done)
        b.start(done)
        return slot


def _constant(gen: Gen, at: ast.AST, value: Val, low: int, high: int, what: str) -> int:
    found = gen.const(value)
    if not isinstance(found, int) or not low <= found <= high:
        gen.fail(at, f"{what} is a constant of {low} to {high}, not {value.what}")
    return found


def _join_user_str(gen: Gen, at: ast.AST, array: Val, count: Val, sep: Val, most: Val) -> Val:
    strings = _constant(gen, at, count, 1, _MOST_STRINGS, "the number of strings that are joined")
    between = gen.const(sep)
    data = between.encode() if isinstance(between, str) else b""
    if not 0 < len(data) <= _MOST_SEPARATOR:
        gen.fail(at, f"what strings are joined by is constant text of 1 to {_MOST_SEPARATOR} bytes, not {sep.what}")
    default = isinstance(most, Const) and most.value is None
    size = Text.DEFAULT if default else _constant(gen, at, most, 1, _MOST_TEXT, "the size of the text")
    where = where_of(gen, array, at)._replace(direct=None, typed=False, space=USER)
    return _Joined(where, strings, data, size, at)


@builtin(_join_user_str)
def join_user_str(array: Any, count: int = 20, sep: str = " ", most: int | None = None) -> str:
    """The strings of an array of the traced process that a null pointer ends, such as ``argv``, as one text.

    ``join_user_str(args.argv)`` in ``syscalls:sys_enter_execve`` is the command line. What does not fit is cut.

    :param array: the address of the array of pointers, each of 8 bytes.
    :param count: how many of the strings at most, up to 64.
    :param sep: what comes between two, 1 to 8 bytes; with a NUL in it, the strings are kept in a ``u8[N]``, and can be
        told apart.
    :param most: the text's longest length in bytes for a variable, by default 256; a field has its own.
    """
    meant_for_probes()
