"""Small C programs that say where their functions are, and wait: what stacks are symbolised against."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

CC = shutil.which("cc") or shutil.which("gcc") or ""
OBJCOPY = shutil.which("objcopy") or ""
NM = shutil.which("nm") or ""

needs_cc = pytest.mark.skipif(not CC, reason="needs a C compiler")
needs_objcopy = pytest.mark.skipif(not (CC and OBJCOPY), reason="needs a C compiler and objcopy")

PROGRAM = r"""
#include <stdio.h>
#include <unistd.h>
static __attribute__((noinline, noclone)) int hidden_one(int a) { return a * 3 + getpid(); }
__attribute__((noinline, noclone)) int open_one(int a) { return hidden_one(a) + getpid(); }
extern int from_library(int a) __attribute__((weak));
int main(int argc, char **argv) {
    char byte;
    printf("hidden_one %lx\nopen_one %lx\nmain %lx\n", (long)hidden_one, (long)open_one, (long)main);
    if (from_library)
        printf("from_library %lx\n", (long)from_library);
    printf("end 0\n");
    fflush(stdout);
    open_one(1);
    if (read(0, &byte, 1) == 1) {
        open_one(2);
        if (argc > 1)
            execv(argv[1], argv + 1);
    }
    return 0;
}
"""

LIBRARY = """
#include <unistd.h>
static __attribute__((noinline, noclone)) int in_library(int a) { return a * 5 + getpid(); }
int from_library(int a) { return in_library(a) + getpid(); }
"""


class Running(NamedTuple):
    """A program that runs. On a byte of input it calls ``open_one`` and goes on to the program of its argument."""

    process: subprocess.Popen[str]
    functions: dict[str, int]  #: where it says that they are

    @property
    def pid(self) -> int:
        """Its number."""
        return self.process.pid

    def go_on(self) -> None:
        """Give it a byte of input."""
        assert self.process.stdin is not None
        self.process.stdin.write("x")
        self.process.stdin.flush()

    def end(self) -> None:
        """Let it end, and wait for that."""
        self.process.kill()
        self.process.wait()


def build(path: Path, *options: str, source: str = PROGRAM) -> str:
    """Compile a program or a library; returns its path."""
    command = [CC, "-g", "-O1", "-x", "c", "-", "-x", "none", "-o", str(path), *options]
    subprocess.run(command, input=source, text=True, check=True, cwd=path.parent)
    return str(path)


def objcopy(*arguments: str) -> None:
    """Run objcopy."""
    subprocess.run([OBJCOPY, *arguments], check=True)


@contextmanager
def running(command: Sequence[str], before: Callable[[], None] | None = None) -> Iterator[Running]:
    """Start a program and read where its functions are.

    :param before: called in the new process first.
    """
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=before
    ) as process:
        try:
            yield Running(process, functions_of(process))
        finally:
            process.kill()


def functions_of(process: subprocess.Popen[str]) -> dict[str, int]:
    """What the program prints when it starts."""
    assert process.stdout is not None
    functions = {}
    for line in process.stdout:
        name, _, address = line.partition(" ")
        if name == "end":
            break
        functions[name] = int(address, 16)
    return functions
