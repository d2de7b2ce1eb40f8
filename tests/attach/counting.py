"""Programs that count the hits of this process, and calls to be counted: what every test of attaching needs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

from pybpf.arch import host_arch
from pybpf.arch.syscalls import syscall_names
from pybpf.asm import (
    DW,
    FP,
    R0,
    R1,
    R2,
    R6,
    Code,
    W,
    add,
    atomic_add,
    call,
    exit_,
    jeq,
    jne,
    label,
    ld_map,
    ldx,
    mov,
    rsh,
    stx,
)  # fmt: skip
from pybpf.maps import Array
from pybpf.prog import Program, ProgramSpec
from pybpf.sys.bpf import ProgType
from pybpf.sys.libc import syscall
from pybpf.types import u64

ARCH = host_arch()
NUMBERS = {name: number for number, name in syscall_names(ARCH).items()}
SLOTS = 8
#: the release, as (6, 12); for what no probe of a feature shows
LINUX = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])


def function_of(name: str) -> str:
    """The kernel's function of a syscall: ``"getpgid"`` -> ``"__x64_sys_getpgid"``."""
    return f"{ARCH.syscall_prefix}{name}"


def make_calls(name: str, times: int) -> None:
    """Make a syscall with arguments of 0, which Python itself does not make meanwhile.

    Of those without any argument, x86 has no function that can be traced.
    """
    number = NUMBERS[name]
    for _ in range(times):
        syscall(number)


@cache
def tgid() -> int:
    """The number of this process in the initial namespace, which programs see."""
    code = Code([call("get_current_pid_tgid"), rsh(R0, 32), exit_()])
    with Program.load(ProgramSpec(ProgType.RAW_TRACEPOINT, code, "tgid")) as program:
        return program.test_run().retval


def counting(*condition: Any, key: tuple[Any, ...] = (mov(R0, 0),)) -> Code:
    """A program that adds 1 to element R0 of the map ``hits``, for this process only.

    :param condition: what runs first, with the context in R6; goes to ``out`` for hits that do not count.
    :param key: puts the index into R0.
    """
    return Code(
        [
            mov(R6, R1), call("get_current_pid_tgid"), rsh(R0, 32), jne(R0, tgid(), "out"), *condition,
            *key, stx(W, FP, -4, R0), mov(R2, FP), add(R2, -4), ld_map(R1, "hits"), call("map_lookup_elem"),
            jeq(R0, 0, "out"), mov(R1, 1), atomic_add(DW, R0, 0, R1),
            label("out"), mov(R0, 0), exit_(),
        ]
    )  # fmt: skip


#: the index that a cookie gives
BY_COOKIE = (mov(R1, R6), call("get_attach_cookie"))


def argument(index: int) -> Any:
    """Loads an element of a context that is an array of u64 into R1."""
    return ldx(DW, R1, R6, 8 * index)


class Counter(NamedTuple):
    """A loaded program and what it counted."""

    program: Program
    hits: Array[int]

    @property
    def count(self) -> int:
        """Hits without a cookie, or with cookie 0."""
        return self.hits[0]

    @property
    def counts(self) -> list[int]:
        """Hits by cookie."""
        return [self.hits[index] for index in range(SLOTS)]


@contextmanager
def counter(kind: ProgType, code: Code | None = None, **fields: Any) -> Iterator[Counter]:
    """Load a program that counts."""
    spec = ProgramSpec(kind, counting() if code is None else code, "counter", **fields)
    with new_hits() as hits, Program.load(spec, {"hits": hits}) as program:
        yield Counter(program, hits)


def new_hits() -> Array[int]:
    return Array(u64, max_entries=SLOTS, name="hits")
