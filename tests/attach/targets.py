"""What the tests of user-space probes trace: processes that the test starts, whose every call is counted here.

``native_program`` is a program in machine code with a function and three USDT sites::

    _start:   read(0, stack, 1)                  # wait until the probes are there
              count = 100
    loop:
    site1:    nop                                # p:many, arguments: count, -5
              work(count)
              store count on the stack
    site2:    nop                                # p:many, arguments: the stored count, -5
              if semaphore != 0:
    site3:        nop                            # p:guarded
              count -= 1; if count: goto loop
              exit_group(0)
    work:     return 2 * count
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pybpf.asm import (
    DW,
    R0,
    R1,
    R2,
    R6,
    Code,
    Item,
    add,
    atomic_add,
    call,
    exit_,
    jgt,
    label,
    ld_map_value,
    lsh,
    mov,
)
from pybpf.prog import ProgramSpec
from pybpf.symbols import mappings
from pybpf.sys.bpf import ProgType
from tests.symbols.elfmaker import BASE, CODE, DATA, Elf, Sym, usdt_note

ROUNDS = 100


class _Native(NamedTuple):
    """The program for one architecture: code, offsets in it, and the arguments of the sites."""

    code: str
    site1: int
    site2: int
    site3: int
    work: int
    args1: str
    args2: str


_NATIVE = {
    "x86_64": _Native(
        "4883ec1031ff4889e6ba0100000031c00f0541bc64000000904c89e7e81f000000415490415c6683"
        "3c25002040000074019049ffcc75e1b8e700000031ff0f05488d043fc3",
        0x18, 0x23, 0x31, 0x40, "8@%r12 -4@$-5", "8@(%rsp) -4@$-5",
    ),
    "aarch64": _Native(
        "ff4300d1000080d2e1030091220080d2e80780d2010000d4930c80d21f2003d5e00313aa0d000094"
        "f30700f91f2003d5020084d20208a0f243004079430000341f2003d5730600f1a1feff54000080d2"
        "c80b80d2010000d40000008bc0035fd6",
        0x1C, 0x2C, 0x40, 0x58, "8@x19 -4@-5", "8@[sp, 8] -4@-5",
    ),
}  # fmt: skip


def native_program(path: Path, shift: int = 0, names: tuple[str, str] = ("_start", "work")) -> str:
    """Write the program.

    :param shift: how far the notes are from the truth, as after prelinking.
    :param names: of the two functions.
    """
    native = _NATIVE[os.uname().machine]
    semaphore = BASE + DATA
    at = BASE + CODE + shift
    base = BASE + DATA + 8 if shift else 0  # where .stapsdt.base is
    old = base + shift if shift else 0  # where it was
    notes = usdt_note("p:many", at + native.site1, native.args1, base=old)
    notes += usdt_note("p:many", at + native.site2, native.args2, base=old)
    notes += usdt_note("p:guarded", at + native.site3, "", semaphore + shift, base=old)
    code = bytes.fromhex(native.code)
    start, work = names
    symbols = [Sym(start, BASE + CODE, native.work), Sym(work, BASE + CODE + native.work, len(code) - native.work)]
    return Elf(code=code, data=bytes(16), symbols=symbols, notes=notes, base=base).write(path)


@contextmanager
def waiting(command: Sequence[str], path: str | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs ``native_program`` and waits for input; :func:`finish` lets it go.

    :param path: of the program, when it is not the command.
    """
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    try:
        while process.poll() is None and not _reads(process.pid, path or command[0]):
            time.sleep(0.002)
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()


def _reads(pid: int, path: str) -> bool:
    mapped = any(mapping.path.endswith(path) for mapping in mappings(pid))
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return mapped and file.read().rpartition(")")[2].split()[0] == "S"


def finish(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.write(b"\n")
    process.stdin.flush()
    assert process.wait() == 0


_CALLER = """
import ctypes, sys, threading
libc = ctypes.CDLL(None)
def work(n):
    for _ in range(n):
        libc.getppid()
print(flush=True)
for line in sys.stdin:
    threads, n = map(int, line.split())
    if threads:
        workers = [threading.Thread(target=work, args=(n,)) for _ in range(threads)]
        for worker in workers: worker.start()
        for worker in workers: worker.join()
    else:
        work(n)
    print(flush=True)
"""


class Caller:
    """A Python process that calls libc's ``getppid`` as often as it is told."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", _CALLER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.pid = self.process.pid
        self._answer()

    def _answer(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"\n"

    def call(self, times: int, threads: int = 0) -> None:
        """In the main thread, or in each of so many new threads."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{threads} {times}\n".encode())
        self.process.stdin.flush()
        self._answer()

    def close(self) -> None:
        self.process.communicate()

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def kprobe_spec(*items: Item, name: str = "test") -> ProgramSpec:
    return ProgramSpec(ProgType.KPROBE, Code(items), name)


NOTHING = kprobe_spec(mov(R0, 0), exit_())

#: counts in ``hits[0]``
COUNT = kprobe_spec(ld_map_value(R1, "hits"), mov(R2, 1), atomic_add(DW, R1, 0, R2), mov(R0, 0), exit_())

#: counts in ``hits[cookie]``, of 8
COUNT_BY_COOKIE = kprobe_spec(
    mov(R6, R1),
    call("get_attach_cookie"),
    jgt(R0, 7, "out"),
    lsh(R0, 3),
    ld_map_value(R1, "hits"),
    add(R1, R0),
    mov(R2, 1),
    atomic_add(DW, R1, 0, R2),
    label("out"),
    mov(R0, 0),
    exit_(),
)
