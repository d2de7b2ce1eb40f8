"""``SyscallProbes``: a system call's entry and return, wherever the kernel lets them be seen."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from pybpf.arch import host_arch, syscall_names
from pybpf.errors import UnsupportedError
from pybpf.record import NamedTuple
from pybpf.tool import places
from pybpf.tool.places import attach_at

if TYPE_CHECKING:
    from pybpf.lang import Tracer

__all__ = ["SyscallProbes"]

F = TypeVar("F", bound=Callable[..., Any])


class _Way(NamedTuple):
    """One way to see system calls."""

    enter: str  #: the place of the entry, ``{call}`` standing for the name
    leave: str
    entered: Callable[[str, Sequence[str]], str]  #: name of the call, parameters -> the source of a probe
    left: Callable[[str], str]


def _fields(call: str, names: Sequence[str]) -> str:
    from pybpf.attach import tracepoint_fields

    event = f"syscalls:sys_enter_{_FUNCTIONS.get(call, call)}"
    fields = [field.name for field in tracepoint_fields(event)][1:]  # the first: its number
    return f"def entered(args):\n    begins({', '.join(f'args.{name}' for name in fields[: len(names)])})\n"


def _parameters(call: str, names: Sequence[str]) -> str:
    return f"def entered({', '.join(f'{name}: u64' for name in names)}):\n    begins({', '.join(names)})\n"


def _registers(call: str, names: Sequence[str]) -> str:
    arch = host_arch()
    found = [f"word(regs, {arch.registers[name]})" for name in arch.syscall_arguments[: len(names)]]
    return f"def entered(regs, id):\n    if id == syscall({call!r}):\n        begins({', '.join(found)})\n"


def _number_of_registers(call: str) -> str:
    number = "regs.orig_ax" if host_arch().name == "x86_64" else "regs.syscallno"
    return f"def left(regs, ret):\n    if {number} == syscall({call!r}):\n        ends(s64(ret))\n"


_WAYS = (
    _Way("tracepoint:syscalls:sys_enter_{call}", "tracepoint:syscalls:sys_exit_{call}", _fields,
         lambda call: "def left(args):\n    ends(args.ret)\n"),
    _Way("kprobe:{prefix}{call}", "kretprobe:{prefix}{call}", _parameters,
         lambda call: "def left(ret: s64):\n    ends(ret)\n"),
    _Way("raw_tracepoint:sys_enter", "raw_tracepoint:sys_exit", _registers, _number_of_registers),
)  # fmt: skip


#: Calls whose function in the kernel has another name, by which its probes go.
_FUNCTIONS = MappingProxyType({
    "fstat": "newfstat", "lstat": "newlstat", "sendfile": "sendfile64", "stat": "newstat", "umount2": "umount",
    "uname": "newuname",
})  # fmt: skip


class SyscallProbes:
    """Some system calls, for probes at their entry and return::

        OPENS = SyscallProbes("open", "openat", what="files being opened")

        @OPENS.enter(tracer, "openat")
        def begins(dfd, filename, flags):     # the call's arguments, in their order, as many as are wanted
            ...

        @OPENS.leave(tracer)                  # of all of them
        def ends(ret):
            ...

    Arguments and result are 64-bit integers; annotate parameters to have less (``flags: s32``), and read strings by
    ``read_user_str``. Each call is seen by the first of its tracepoint, a kprobe, and the raw tracepoint of all calls,
    that this kernel has. Calls that this machine or kernel does not have are left out.

    :param calls: names as in ``man 2 syscalls``.
    :param what: what they do, for messages.
    """

    def __init__(self, *calls: str, what: str = "") -> None:
        self.calls = calls
        self.what = what or ", ".join(calls)

    def enter(self, tracer: Tracer, *calls: str, **options: Any) -> Callable[[F], F]:
        """A decorator: the function runs at the entry of these calls; with none, of all.

        :param options: what decorators of the tracer take.
        :raises UnsupportedError: the kernel shows none of the calls.
        """

        def decorate(begins: F) -> F:
            code = begins.__code__
            names = list(code.co_varnames[: code.co_argcount])
            for call, way in self._ways(calls):
                source = way.entered(call, names)
                attach_at(tracer, _place(way.enter, call), source=source, **options)(_made(source, begins=begins))
            return begins

        return decorate

    def leave(self, tracer: Tracer, *calls: str, **options: Any) -> Callable[[F], F]:
        """A decorator: the function, which takes the result, runs at the return; otherwise as :meth:`enter`."""

        def decorate(ends: F) -> F:
            for call, way in self._ways(calls):
                source = way.left(call)
                attach_at(tracer, _place(way.leave, call), source=source, **options)(_made(source, ends=ends))
            return ends

        return decorate

    def _ways(self, wanted: Sequence[str]) -> list[tuple[str, _Way]]:
        """Each call that there is, and how it is seen."""
        known = set(syscall_names(host_arch()).values())
        found: list[tuple[str, _Way]] = []
        why = ""
        for call in self.calls:
            if call not in known:
                continue
            for way in _WAYS:
                why = places.lack(_place(way.enter, call))
                if not why and way is _WAYS[-1] and self._shown_at_all(found):
                    why = "others are seen"  # the kernel does not have this call
                if not why:
                    found.append((call, way))
                    break
        if not found:
            cause = f"this kernel shows none of its calls: {why}"
            raise UnsupportedError(f"trace {self.what}", errno.EOPNOTSUPP, cause)
        return [(call, way) for call, way in found if not wanted or call in wanted]

    @staticmethod
    def _shown_at_all(found: Sequence[tuple[str, _Way]]) -> bool:
        return any(way is not _WAYS[-1] for _, way in found)

    def describe(self, here: bool = False) -> str:
        """One line for people: the ways; with ``here``, which of them is taken."""
        from pybpf.errors import BpfError

        some = self.calls[0] if len(self.calls) == 1 else f"{{{','.join(self.calls)}}}"
        ways = [f"{_place(way.enter, some)} and {_place(way.leave, some).partition(':')[2]}" for way in _WAYS]
        text = ", or ".join(ways)
        if not here:
            return text
        try:
            taken = dict.fromkeys(way.enter.partition(":")[0] for _, way in self._ways(()))
        except (BpfError, OSError):
            return f"{text}  [here: none]"
        return f"{text}  [here: {', '.join(taken)}]"


def _place(place: str, call: str) -> str:
    return place.format(call=_FUNCTIONS.get(call, call), prefix=host_arch().syscall_prefix)


def _made(source: str, **names: Any) -> Callable[..., Any]:
    """The function of a text that has one, with names that it uses."""
    from pybpf.lang import kernel_ptr, read_kernel, syscall
    from pybpf.types import s64, u64

    def word(regs: Any, offset: int) -> Any:
        return read_kernel(u64(regs) + offset, u64)

    scope: dict[str, Any] = {
        **names, "s64": s64, "u64": u64, "syscall": syscall, "word": word, "kernel_ptr": kernel_ptr,
    }  # fmt: skip
    exec(compile(source, "<system call>", "exec"), scope)
    (function,) = (scope[name] for name in ("entered", "left") if name in scope)
    made: Callable[..., Any] = function
    return made
