"""Reads by address: of the memory of the traced process and of the kernel's; and the types of pointers to them."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from pybpf.compiler.ir import Operand
from pybpf.lang.builtins.builtin import builtin, meant_for_probes
from pybpf.lang.builtins.kernel import where_of
from pybpf.lang.front.annotations import type_of
from pybpf.lang.front.gen import Gen
from pybpf.lang.values import raw
from pybpf.lang.values.constants import Const
from pybpf.lang.values.flow import Choice, when
from pybpf.lang.values.memory import Written, name_of
from pybpf.lang.values.pointers import Pointer, Text, value_at
from pybpf.lang.values.reading import KERNEL, USER, Where, probe_read
from pybpf.lang.values.val import Val
from pybpf.types import Array, PointerType, array_of, pointer_to, u8

__all__ = [
    "kernel_ptr", "read_kernel", "read_kernel_bytes", "read_kernel_str", "read_user", "read_user_bytes",
    "read_user_str", "user_ptr",
]  # fmt: skip

#: Bytes of text that a helper takes at most, as far as maps can hold it.
_MOST_TEXT = 1 << 15


class _Reads:
    """The lowering of ``read_user`` and ``read_kernel``."""

    def __init__(self, space: str) -> None:
        self._space = space

    def __call__(self, gen: Gen, at: ast.AST, pointer: Val, kind: Val) -> Val:
        where = where_of(gen, pointer, at)
        if gen.const(kind) is None and isinstance(kind, Const):
            if not isinstance(pointer, Pointer):
                gen.fail(at, f"say what is there: read_{self._space}(address, u32), say")
            shape = pointer.shape
        else:
            shape = type_of(gen, kind, at)
        if where.space != self._space or not isinstance(pointer, Pointer) or shape != pointer.shape:
            where = where._replace(direct=None, typed=False, space=self._space)
        return value_at(gen, where, shape, at, f"read_{self._space}()")


class _ReadsText:
    """The lowering of ``read_user_str`` and ``read_kernel_str``."""

    def __init__(self, space: str) -> None:
        self._space = space

    def __call__(self, gen: Gen, at: ast.AST, pointer: Val, most: Val) -> Val:
        size = gen.const(most)
        known = isinstance(most, Const) and (size is None or (isinstance(size, int) and 0 < size <= _MOST_TEXT))
        if not known:
            gen.fail(at, f"the size of text is a constant of 1 to {_MOST_TEXT} bytes, not {most.what}")
        where = where_of(gen, pointer, at)._replace(direct=None, typed=False, space=self._space)
        return Text(where, size)


@builtin(_Reads(USER))
def read_user(pointer: Any, kind: Any = None) -> Any:
    """What lies at an address of the traced process: ``read_user(address, u32)``.

    A ``Struct`` is read as a whole when it is kept, member by member otherwise. What cannot be read is 0.

    :param kind: a type of pybpf, the name of one of the kernel, or ``user_ptr(T)``; by default what the pointer is to.
    """
    meant_for_probes()


@builtin(_Reads(KERNEL))
def read_kernel(pointer: Any, kind: Any = None) -> Any:
    """What lies at an address of the kernel; otherwise as :func:`read_user`."""
    meant_for_probes()


@builtin(_ReadsText(USER))
def read_user_str(pointer: Any, most: int | None = None) -> str:
    """The text at an address of the traced process, up to its NUL; empty if it cannot be read.

    :param most: its longest length in bytes, the NUL included; by default what the field that it is kept in has, and
        256 for a variable.
    """
    meant_for_probes()


@builtin(_ReadsText(KERNEL))
def read_kernel_str(pointer: Any, most: int | None = None) -> str:
    """The text at an address of the kernel; otherwise as :func:`read_user_str`."""
    meant_for_probes()


class _Bytes(Written):
    """So many bytes from an address, as many as there is room for; zeros where they end, and if they cannot be read."""

    clean = True

    def __init__(self, where: Where, size: Operand) -> None:
        self.where = where
        self.size = size
        self.kind = array_of(u8, Text.DEFAULT)

    def store(self, gen: Gen, address: Operand, offset: int, kind: Any, at: ast.AST) -> None:
        if not (isinstance(kind, type) and issubclass(kind, Array) and kind.element is u8):
            self.refuse(gen, at, f"cannot be kept as {name_of(kind)}; bytes take a u8[N]")
        b, most = gen.b, kind.length
        raw.clear(gen, address, offset, most)
        size = Choice(b, most)
        with when(b, "ult", self.size, most, "fits"):
            size.set(self.size)
        helper = probe_read(gen, self.where.space)
        b.emit("call", raw.pointer(gen, address, offset), size.value, self.where.pointer(gen), helper=helper)


class _ReadsBytes:
    """The lowering of ``read_user_bytes`` and ``read_kernel_bytes``."""

    def __init__(self, space: str) -> None:
        self._space = space

    def __call__(self, gen: Gen, at: ast.AST, pointer: Val, size: Val) -> Val:
        where = where_of(gen, pointer, at)
        return _Bytes(where._replace(direct=None, typed=False, space=self._space), size.scalar(gen, at))


@builtin(_ReadsBytes(USER))
def read_user_bytes(pointer: Any, size: int) -> bytes:
    """``size`` bytes at an address of the traced process, for a ``u8[N]``: as many as it has, and zeros behind them.

    If not all of them can be read there are zeros. Keep ``size`` too, to tell the data from what follows.
    """
    meant_for_probes()


@builtin(_ReadsBytes(KERNEL))
def read_kernel_bytes(pointer: Any, size: int) -> bytes:
    """``size`` bytes at an address of the kernel; otherwise as :func:`read_user_bytes`."""
    meant_for_probes()


class _PointerTo:
    """``user_ptr`` and ``kernel_ptr``: called, in a probe or outside, they give a type of pointer."""

    def __init__(self, user: bool, doc: str) -> None:
        self._user = user
        self.__doc__ = doc

    def __call__(self, to: Any) -> type[PointerType]:
        return pointer_to(to, self._user)

    def __probe_value__(self, gen: Gen) -> Val:
        return _PointerToVal(self)


class _PointerToVal(Val):
    """One of them, in a probe."""

    what = "a type of pointer"

    def __init__(self, make: _PointerTo) -> None:
        self._make = make

    def call(self, gen: Gen, args: Sequence[Val], named: Mapping[str, Val], at: ast.AST) -> Val:
        if len(args) != 1 or named:
            gen.fail(at, "a type of pointer is made of one type: user_ptr(u32)")
        to = gen.const(args[0])
        to = getattr(args[0], "kind", None) if to is None else to
        made = self._make(to)
        type_of(gen, Const(made), at)
        return Const(made)


user_ptr = _PointerTo(True, "The type of a pointer into memory of the traced process: ``def f(p: user_ptr(u32))``.")
kernel_ptr = _PointerTo(False, "The type of a pointer into the kernel's memory: ``sk: kernel_ptr(\"struct sock\")``.")
