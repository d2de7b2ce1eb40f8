"""What a program is before the kernel has it: pure data."""

from __future__ import annotations

from pybpf.asm import Code
from pybpf.errors import AsmError
from pybpf.record import dataclass, field
from pybpf.sys.bpf import AttachType, ProgFlags, ProgType

__all__ = ["ProgramSpec"]


@dataclass(frozen=True)
class ProgramSpec:
    """A program that can be loaded any number of times; making one needs no kernel and no privileges.

    :param type: what kind of program it is, which decides what may be done in it and what it can be attached to.
    :param code: its instructions; maps and kernel functions are named in it.
    :param name: shown by ``pybpf list programs`` and in stack traces.
    :param license: decides whether GPL-only helpers may be called.
    :param expected_attach_type: what it will be attached to, for the types that have a choice.
    :param attach_btf: what it will be attached to, for types that are bound to it when they are loaded.
    :param flags: how the verifier is to take it.
    :param debug: whether the kernel is told its functions and source lines.
    :raises AsmError: ``code`` is no :class:`~pybpf.asm.Code`.
    """

    type: ProgType
    """``KPROBE``, ``TRACEPOINT``, ``RAW_TRACEPOINT``, ``TRACING``, ``PERF_EVENT``, ..."""
    code: Code
    """Made by :func:`pybpf.asm.assemble` from text, or ``Code([...])`` from what :mod:`pybpf.asm` builds."""
    name: str = ""
    """Shown by ``pybpf list programs`` and in stack traces. The kernel takes 15 letters, digits and ``_``; others
    become ``_``, longer names are cut."""
    license: str = "Dual MIT/GPL"
    """Decides whether GPL-only helpers may be called."""
    expected_attach_type: AttachType = AttachType.NONE
    """What the program will be attached to, for the types that have a choice: ``TRACE_FENTRY``,
    ``TRACE_KPROBE_MULTI``, ..."""
    attach_btf: str | None = None
    """For types that are bound to their target when they are loaded: the name of the kernel function
    (``TRACE_FENTRY``, ``TRACE_FEXIT``, ``MODIFY_RETURN``, ``LSM_MAC``), tracepoint (``TRACE_RAW_TP``) or iterator
    (``TRACE_ITER``); ``"module:name"`` for one of a module."""
    flags: ProgFlags = field(default=ProgFlags(0))
    """``ProgFlags.SLEEPABLE`` for programs that may sleep; others are for tests of the verifier."""

    debug: bool = True
    """Whether the kernel is told which functions and source lines the program has, which takes half a millisecond.
    Programs that have callbacks need it."""

    def __post_init__(self) -> None:
        if isinstance(self.code, str):
            raise AsmError("a program's code is text here: make instructions of it by pybpf.asm.assemble()")
        if not isinstance(self.code, Code):
            raise AsmError(f"a program's code is a pybpf.asm.Code, not {type(self.code).__name__}: Code([...])")
