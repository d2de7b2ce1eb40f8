"""The kernel's own structures in probes: the running task, casts, what is known of types while compiling."""

from __future__ import annotations

import ast
from typing import Any

from pybpf.compiler.ops import PTR
from pybpf.errors import BtfError
from pybpf.lang.builtins.builtin import builtin, meant_for_probes
from pybpf.lang.front.annotations import kernel_shape, kernel_types, type_of
from pybpf.lang.front.gen import Gen
from pybpf.lang.values.constants import Const
from pybpf.lang.values.ints import convert
from pybpf.lang.values.pointers import Place, Pointer, Row, Rows
from pybpf.lang.values.reading import KERNEL, USER, Where
from pybpf.lang.values.shapes import Address, Record, Shape
from pybpf.lang.values.val import Val
from pybpf.types import u32

__all__ = [
    "cast", "container_of", "current_task", "current_task_pointer", "enum", "has_field", "offsetof", "parent_id",
    "ppid", "sizeof", "where_of",
]  # fmt: skip

_TASK = "struct task_struct"


def _text(gen: Gen, val: Val, at: ast.AST, what: str, example: str) -> str:
    """A constant string."""
    found = gen.const(val)
    if not isinstance(found, str):
        gen.fail(at, f"{what} is a constant string, not {val.what}: {example}")
    return found


def where_of(gen: Gen, val: Val, at: ast.AST) -> Where:
    """The memory that a pointer points to, that a record or an array lies in, or whose address an integer is."""
    if isinstance(val, (Pointer, Place, Row, Rows)):
        return val.where
    return Where(val.scalar(gen, at))


def current_task_pointer(gen: Gen, at: ast.AST) -> Pointer:
    """The running task."""
    shape = kernel_shape(gen, _TASK, at)
    address, typed = gen.b.emit("call", helper="get_current_task"), None
    if gen.target.has_helper(gen.unit.type, "get_current_task_btf"):
        typed = gen.b.emit("call", type=PTR, helper="get_current_task_btf")  # of the two, one is used and the other not
    return Pointer(Where(address, direct=typed, typed=typed is not None), shape)


@builtin(current_task_pointer)
def current_task() -> Any:
    """The running task, a pointer to the kernel's ``struct task_struct``: ``current_task().real_parent.tgid``.

    Needs the types of the kernel (BTF).
    """
    meant_for_probes()


def parent_id(gen: Gen, at: ast.AST) -> Val:
    """The id of the parent of the running process, in the initial pid namespace."""
    parent = current_task_pointer(gen, at).attr(gen, "real_parent", at)
    return convert(gen, parent.attr(gen, "tgid", at), u32, at)


@builtin(parent_id)
def ppid() -> u32:
    """The id of the parent of the running process, as ``os.getppid()`` gives it there. Needs BTF."""
    meant_for_probes()


def _cast(gen: Gen, at: ast.AST, kind: Val, pointer: Val) -> Val:
    shape = type_of(gen, kind, at)
    # what the verifier knows of the pointer is not what the program says
    where = where_of(gen, pointer, at)._replace(direct=None, typed=False)
    if isinstance(shape, Address):
        return Pointer(where._replace(space=USER if shape.user else KERNEL), shape.target)
    return Pointer(where, shape)


@builtin(_cast)
def cast(kind: Any, pointer: Any) -> Any:
    """The same address as a pointer to something else: ``cast("struct inet_sock", sk)``.

    :param kind: what is there, of the kernel by name or a type of :mod:`pybpf`; or the type of the pointer itself:
        ``user_ptr(T)``, ``kernel_ptr("struct NAME")``, ``"struct NAME *"``.
    :param pointer: a pointer, a record or an array in memory (``skb.cb``), or an address.
    """
    meant_for_probes()


def _container_of(gen: Gen, at: ast.AST, pointer: Val, kind: Val, member: Val) -> Val:
    example = 'container_of(inode, "struct socket_alloc", "vfs_inode")'
    name = _text(gen, kind, at, "the type of the container", example)
    path = _text(gen, member, at, "the member", example)
    shape = kernel_shape(gen, name, at)
    where = where_of(gen, pointer, at)._replace(direct=None, typed=False)
    return Pointer(where.moved(-_member_offset(gen, name, path, at)), shape)


@builtin(_container_of)
def container_of(pointer: Any, kind: str, member: str) -> Any:
    """A pointer to the struct whose member ``pointer`` points to: ``container_of(inode, "struct socket_alloc",
    "vfs_inode")``.
    """
    meant_for_probes()


def _member_offset(gen: Gen, name: str, path: str, at: ast.AST) -> int:
    """Bytes from a record's start to a member."""
    types = kernel_types(gen, at, f"the place of {path!r}")
    try:
        found = types.member(types.named(name), path)
    except BtfError as error:
        gen.fail(at, str(error))
    if found.hops or found.bits:
        why = "lies behind a pointer" if found.hops else "is a bitfield"
        gen.fail(at, f"{path!r} of {name} {why}: it has no offset")
    return found.offset


def _has_field(gen: Gen, at: ast.AST, kind: Val, path: Val) -> Val:
    name, member = _type_and_path(gen, at, kind, path, "has_field")
    types = gen.target.types()
    if types is None:
        return Const(False)
    try:
        record = types.named(name)
    except BtfError:
        if not name.startswith(("struct ", "union ")):
            kernel_shape(gen, name, at)  # which says what is meant: a type that other kernels lack has its keyword
        return Const(False)
    try:
        types.member(record, member)
    except BtfError:
        return Const(False)
    return Const(True)


def _type_and_path(gen: Gen, at: ast.AST, kind: Val, path: Val, asks: str) -> tuple[str, str]:
    example = f'{asks}("struct task_struct", "real_parent")'
    shape = kind.shape if isinstance(kind, (Pointer, Place)) else None
    if isinstance(shape, Record) and shape.source is not None:
        example = f'{asks}("{shape.title}", "{next(iter(shape.names()), "member")}")'
    name = _text(gen, kind, at, "the type is asked by its name, which", example)
    return name, _text(gen, path, at, "the path of the member", example)


@builtin(_has_field)
def has_field(kind: str, path: str) -> bool:
    """Whether the kernel's type has a member: ``has_field("struct task_struct", "__state")``.

    Known while compiling: what is not taken is not compiled. False where the kernel has no types.

    :param path: a member, or a path such as ``"mm->pgd"`` or ``"a.b"``.
    """
    meant_for_probes()


def _sizeof(gen: Gen, at: ast.AST, kind: Val) -> Val:
    shape: Shape = kind.shape if isinstance(kind, Place) else type_of(gen, kind, at)
    if not shape.size:
        gen.fail(at, f"a {shape.title} has no size")
    return Const(shape.size)


@builtin(_sizeof)
def sizeof(kind: Any) -> int:
    """The size of a type of the kernel or of pybpf in bytes, known while compiling: ``sizeof("struct sock")``."""
    meant_for_probes()


def _offsetof(gen: Gen, at: ast.AST, kind: Val, path: Val) -> Val:
    name, member = _type_and_path(gen, at, kind, path, "offsetof")
    return Const(_member_offset(gen, name, member, at))


@builtin(_offsetof)
def offsetof(kind: str, path: str) -> int:
    """Bytes from the start of a struct of the kernel to a member, known while compiling."""
    meant_for_probes()


def _enum(gen: Gen, at: ast.AST, name: Val) -> Val:
    wanted = _text(gen, name, at, "the name of an enum constant", 'enum("TCP_ESTABLISHED")')
    value = kernel_types(gen, at, f"the value of {wanted!r}").constant(wanted)
    if value is None:
        gen.fail(at, f"the kernel has no enum constant {wanted!r}; one that it defines by #define is not in its types")
    return Const(value)


@builtin(_enum)
def enum(name: str) -> int:
    """The value of a constant of the kernel's enums, known while compiling: ``enum("TCP_ESTABLISHED")``."""
    meant_for_probes()
