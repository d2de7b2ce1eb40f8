"""What a program must be loaded as, checked before the kernel is asked: its answer would be EINVAL and nothing else."""

from __future__ import annotations

import errno

from pybpf.errors import KernelError
from pybpf.prog import Program
from pybpf.sys.bpf import AttachType, ProgType
from pybpf.sys.objects import type_name

__all__ = ["check_attach_type", "check_type"]


def check_type(program: Program, target: str, *types: ProgType) -> None:
    """:raises KernelError: the program is of none of the types."""
    if program.type not in types:
        wanted = " or ".join(map(type_name, types))
        cause = f"program {program.name!r} is of type {type_name(program.type)}, and {wanted} is needed"
        raise KernelError(f"attach to {target}", errno.EINVAL, cause)


def check_attach_type(program: Program, target: str, wanted: AttachType) -> None:
    """:raises KernelError: the program was loaded for something else, as far as that is known."""
    given = wanted if program.spec is None else program.spec.expected_attach_type
    if given != wanted:
        cause = f"program {program.name!r} was loaded with expected_attach_type {given.name}, not {wanted.name}"
        raise KernelError(f"attach to {target}", errno.EINVAL, cause)
