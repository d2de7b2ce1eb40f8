"""What a program is before the kernel has it: pure data."""

from __future__ import annotations

from dataclasses import dataclass, field

from pybpf.asm import Code
from pybpf.sys.bpf import AttachType, ProgFlags, ProgType

__all__ = ["ProgramSpec"]


@dataclass(frozen=True)
class ProgramSpec:
    """A program that can be loaded any number of times; making one needs no kernel and no privileges."""

    type: ProgType
    code: Code
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
