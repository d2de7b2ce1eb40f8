"""Stacks: the builtins that take one, the types that keep one in keys, values and events, what Python sees of it."""

from __future__ import annotations

import ast
from collections.abc import Hashable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from pybpf.errors import ClosedError
from pybpf.lang.builtins.builtin import Lowering, builtin, call_helper, meant_for_probes
from pybpf.lang.front.gen import Gen
from pybpf.lang.state.stacks import Stacks
from pybpf.lang.values.val import Val
from pybpf.report import printable
from pybpf.types import Struct, StructLayout, array_of, layout, s32, u32
from pybpf.types.layout import TupleLayout
from pybpf.types.scalars import ElementType

if TYPE_CHECKING:
    from pybpf.compiler.ir import Operand
    from pybpf.symbols import Symbol

__all__ = [
    "KernelStack",
    "UserStack",
    "bound",
    "kernel_stack",
    "key_with_stacks",
    "processes_in",
    "user_stack",
]

_USER_STACK = 1 << 8  # BPF_F_USER_STACK
_MOST_SKIPPED = 255  # BPF_F_SKIP_FIELD_MASK


class KernelStack(Struct):
    """A stack of the kernel: what :func:`kernel_stack` gives, as the type of keys, values and fields.

    Two are equal when all their frames are. Names are looked up when :attr:`frames` is read.

    :ivar id: of the stack in its tracer's map; negative (an errno) where the kernel could not take or keep it:
        ``-EFAULT`` there is none, ``-EEXIST`` its place in the map was taken.
    """

    id: s32
    _stacks = cast("Stacks | None", None)

    @property
    def addresses(self) -> tuple[int, ...]:
        """The frames' addresses, innermost first; empty where there is no stack.

        :raises ClosedError: the tracer is closed.
        """
        return _stacks_of(self).addresses(self.id)

    @property
    def frames(self) -> list[Symbol]:
        """The frames with their names, innermost first. :raises ClosedError: the tracer is closed."""
        return _stacks_of(self).names.kernel(self.addresses, stack=True)

    def __str__(self) -> str:
        return repr(self) if self._stacks is None else _text(self.frames, self.id)


class UserStack(Struct):
    """A stack of a process: what :func:`user_stack` gives, as the type of keys, values and fields.

    Equal are those of one process with equal frames. Names are looked up when :attr:`frames` is read, in the files
    that the process runs. When it has ended by then, names are as they were when its last event was read, when
    :meth:`remember` was last called, or when the tracer was attached if that traces this process only; otherwise only
    addresses are left.

    :ivar id: as of :class:`KernelStack`.
    :ivar pid: the process.
    """

    id: s32
    pid: u32
    _stacks = cast("Stacks | None", None)

    @property
    def addresses(self) -> tuple[int, ...]:
        """The frames' addresses, innermost first; empty where there is no stack.

        :raises ClosedError: the tracer is closed.
        """
        return _stacks_of(self).addresses(self.id)

    @property
    def frames(self) -> list[Symbol]:
        """The frames with their names, innermost first. :raises ClosedError: the tracer is closed."""
        return _stacks_of(self).names.user(self.pid, self.addresses, stack=True)

    def remember(self) -> None:
        """Look at what its process has mapped, so that there are names when it has ended.

        :raises ClosedError: it was not read from a tracer's map or event.
        """
        _stacks_of(self).names.watch(self.pid)

    def __str__(self) -> str:
        return repr(self) if self._stacks is None else _text(self.frames, self.id)


def _stacks_of(stack: KernelStack | UserStack) -> Stacks:
    if stack._stacks is None:
        raise ClosedError("this stack was not read from a tracer's map or event: its frames are not known")
    return stack._stacks


def _text(frames: Sequence[Symbol], number: int) -> str:
    """A line per frame."""
    if frames:
        return "\n".join(map(str, frames))
    return "[no stack]" if number >= 0 else f"[no stack: errno {-number}]"


def key_with_stacks(key: object) -> str:
    """A key as bpftrace writes it between brackets: the frames of a stack on lines of their own."""
    if isinstance(key, (KernelStack, UserStack)):
        return "\n" + "".join(f"    {line}\n" for line in str(key).splitlines())
    if isinstance(key, Struct) and type(key).__str__ is not Struct.__str__:
        return printable(str(key))
    if isinstance(key, tuple):
        return ", ".join(map(key_with_stacks, key))
    from pybpf.report import key_text  # only here: most tracers print no maps

    return key_text(key)


@lru_cache(maxsize=256)
def bound(kind: Any, stacks: Stacks) -> Any:
    """A type whose values have what a tracer knows of stacks: the type itself where it has no stacks in it."""
    if not isinstance(kind, type):
        return kind
    if hasattr(kind, "_stacks"):
        return ElementType(kind.__name__, (kind,), {"_stacks": stacks, "__module__": kind.__module__})
    inner = layout(kind)
    if isinstance(inner, StructLayout):
        fields = {field.name: (field.kind, bound(field.kind, stacks)) for field in inner.fields.values()}
        changed = {name: new for name, (old, new) in fields.items() if new is not old}
        if not changed:
            return kind
        space = {"__annotations__": changed, "__module__": kind.__module__, "__qualname__": kind.__qualname__}
        return ElementType(kind.__name__, (kind,), space, packed=inner.packed)
    if isinstance(inner, TupleLayout):
        element = bound(kind.element, stacks)  # type: ignore[attr-defined]
        return kind if element is kind.element else array_of(element, inner.length)  # type: ignore[attr-defined]
    return kind


def processes_in(kind: Any, offset: int = 0) -> Iterator[int]:
    """Where in a value of a type there are the ids of processes that stacks and addresses are of."""
    inner = layout(kind)
    if isinstance(inner, StructLayout):
        named = hasattr(kind, "_stacks")
        for field in inner.fields.values():
            if named and field.name == "pid":
                yield offset + field.offset
            elif not named:
                yield from processes_in(field.kind, offset + field.offset)
    elif isinstance(inner, TupleLayout):
        for index in range(inner.length):
            yield from processes_in(kind.element, offset + index * layout(kind.element).size)


class StackVal(Val):
    """A stack in a probe: its id, and for one of user space the process."""

    def __init__(self, kind: type[Struct], operands: Sequence[Operand]) -> None:
        self.kind = kind
        self.operands = tuple(operands)

    @property
    def what(self) -> str:
        return "a kernel stack" if self.kind is KernelStack else "a user stack"

    @property
    def instead(self) -> str:
        return f"keep it as a {self.kind.__name__}, in a field, a key or print()"

    def ssa(self) -> tuple[Hashable, tuple[Operand, ...]]:
        return (self.kind,), self.operands

    def with_ssa(self, operands: Sequence[Operand]) -> Val:
        return StackVal(self.kind, operands)

    def attr(self, gen: Gen, name: str, at: ast.AST) -> Val:
        from pybpf.lang.values.ints import Int

        fields = self.kind.__layout__.fields
        if name not in fields:
            self.refuse(gen, at, f"has no attribute {name!r} in a probe; it has {' and '.join(fields)}")
        field = fields[name]
        return Int(self.operands[list(fields).index(name)], field.kind)

    def store(self, gen: Gen, address: Operand, offset: int, kind: Any, at: ast.AST) -> None:
        if not (isinstance(kind, type) and issubclass(kind, self.kind)):
            name = getattr(kind, "__name__", kind)
            self.refuse(gen, at, f"cannot be kept as {name}; the type for it is {self.kind.__name__} of pybpf.lang")
        for operand, field in zip(self.operands, self.kind.__layout__.fields.values()):
            gen.b.emit("store", address, operand, offset=offset + field.offset, size=4)


def _take(kind: type[Struct]) -> Lowering:
    def lower(gen: Gen, at: ast.AST, skip: Val) -> Val:
        frames = gen.const(skip)
        if not isinstance(frames, int) or not 0 <= frames <= _MOST_SKIPPED:
            gen.fail(at, f"skip is a constant from 0 to {_MOST_SKIPPED}: how many frames to leave out")
        from pybpf.lang.tracer.session import session_of  # which knows this file

        name = gen.use_map(session_of(gen, at, kind.__name__).stacks)
        stacks = gen.b.emit("map", map=name)
        flags = frames | (0 if kind is KernelStack else _USER_STACK)
        number = call_helper(gen, at, f"{ast.unparse(at)}", "get_stackid", gen.ctx, stacks, flags)
        operands: list[Operand] = [gen.b.emit("sext", number, bits=32)]
        if kind is UserStack:
            operands.append(gen.b.emit("lshr", gen.b.emit("call", helper="get_current_pid_tgid"), 32))
        return StackVal(kind, operands)

    return lower


@builtin(_take(KernelStack))
def kernel_stack(skip: int = 0) -> KernelStack:
    """The stack of the kernel, to be kept in keys, values or fields of type :class:`KernelStack`, or printed.

    :param skip: how many frames to leave out, from the innermost on.
    """
    meant_for_probes()


@builtin(_take(UserStack))
def user_stack(skip: int = 0) -> UserStack:
    """The stack of the running process, to be kept in keys, values or fields of type :class:`UserStack`, or printed.

    The kernel follows frame pointers: code that was compiled without them shows one frame or two.

    :param skip: how many frames to leave out, from the innermost on.
    """
    meant_for_probes()
