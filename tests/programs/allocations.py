"""Processes that allocate what they are told to."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

# Of each allocator that the library has three blocks, of which one is given back; and what realloc and its like may do.
# argv: the least size. Prints the sizes of what is left.
WORK = """
import ctypes, os, sys
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
lib, P, N = ctypes.CDLL(None), ctypes.c_void_p, ctypes.c_size_t
base, left = int(sys.argv[1]), []
def call(name, *args):
    function = getattr(lib, name)
    function.restype = P
    return function(*args)
def posix_memalign(size):
    into = P()
    assert lib.posix_memalign(ctypes.byref(into), N(64), N(size)) == 0
    return into.value
def mmap(size):
    return call("mmap", P(0), N(size), 3, 0x22, -1, P(0))
def munmap(address, size):
    assert lib.munmap(P(address), N(size)) == 0
def free(address, size):
    call("free", P(address))
def mremap(size):
    return call("mremap", P(mmap(base + 50)), N(base + 50), N(size), 1)
WAYS = {
    "malloc": (lambda size: call("malloc", N(size)), free),
    "calloc": (lambda size: call("calloc", N(1), N(size)), free),
    "realloc": (lambda size: call("realloc", P(call("malloc", N(base + 50))), N(size)), free),
    "posix_memalign": (posix_memalign, free),
    "valloc": (lambda size: call("valloc", N(size)), free),
    "memalign": (lambda size: call("memalign", N(64), N(size)), free),
    "pvalloc": (lambda size: call("pvalloc", N(size)), free),
    "aligned_alloc": (lambda size: call("aligned_alloc", N(64), N(size)), free),
    "mmap": (mmap, munmap),
    "mremap": (mremap, munmap),
}
def work():
    for number, (name, (make, unmake)) in enumerate(WAYS.items(), 1):
        if hasattr(lib, name):
            size = base + number
            made = [make(size) for _ in range(3)]
            unmake(made[1], size)
            left.extend([size] * 2)
    assert not call("realloc", P(call("malloc", N(base + 20))), N(1 << 62))     # refused: the old block stays
    assert not call("malloc", N(1 << 62)) and not call("calloc", N(base + 40), N(1 << 61))
    left.append(base + 20)
    call("free", P(call("realloc", P(0), N(base + 21))))                       # as malloc
    left.append(base + 22)
    part = mmap(base + 30)                                                     # of a mapping the first page
    munmap(part, 4096)
    left.append(base + 30 - 4096)
    gone = mmap(base + 31)
    munmap(gone, base + 31)
    lib.munmap(P(gone + 1), N(1))                                              # refused
    call("realloc", P(call("realloc", P(0), N(base + 21))), N(base + 22))
"""
# Pages that are given back, moved and mapped over in parts; each mapping has one page more than the one before.
PARTS = """
PAGE = 4096
def pages(number):
    return mmap(number * PAGE)
def at(address, number, flags=0x32):                          # MAP_FIXED
    assert call("mmap", P(address), N(number * PAGE), 3, flags, -1, P(0)) == address
def parts():
    munmap(pages(101) + 51 * PAGE, 50 * PAGE)                 # the tail
    munmap(pages(102) + 10 * PAGE, 3 * PAGE - 5)              # a hole; a part of a page is a page
    munmap(pages(103), 5 * PAGE)                              # the head
    over = pages(104)
    at(over + 4 * PAGE, 60)                                   # in the place of a part
    two = pages(205)                                          # of two that touch an end and a begin
    at(two + 100 * PAGE, 105)
    munmap(two + 90 * PAGE, 20 * PAGE)
    moved = pages(107)
    assert lib.munmap(P(moved + 1), N(PAGE)) and lib.munmap(P(moved), N(0))     # both are refused
    left.append(PAGE * 107)
    shrunk = pages(108)
    assert call("mremap", P(shrunk), N(108 * PAGE), N(70 * PAGE), 1) == shrunk
    left.extend(PAGE * n for n in (51, 10, 89, 98, 4, 40, 60, 90, 95, 70))
"""
STEPS = WORK + PARTS + """
for line in sys.stdin:
    exec(line)
    print(*left, flush=True)
"""


class Worker:
    """The process; ``do`` runs a line of Python in it and gives the sizes of what is left by then."""

    def __init__(self, base: int) -> None:
        words = [sys.executable, "-c", STEPS, str(base)]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = str(self.process.pid)
        self.do("mmap(1), free(call('malloc', N(1)), 1)")  # what Python itself needs for calls is there now

    def do(self, line: str) -> Counter[int]:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return Counter(map(int, self.process.stdout.readline().split()))

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.communicate()


#: functions with frame pointers; allocations of 70001 to 70004 bytes; ends with its input
PROGRAM = r"""
#include <stdlib.h>
#include <stdio.h>
void *kept[16];
int n;
__attribute__((noinline)) void leaf(size_t size) { kept[n++] = malloc(size); }
__attribute__((noinline)) void once(void) { leaf(70001); n |= 0; }
__attribute__((noinline)) void thrice(void) { leaf(70002); leaf(70003); leaf(70004); n |= 0; }
int main(void) { once(); thrice(); getchar(); return 0; }
"""


def compiled(directory: Path) -> Path:
    """The program in C; skips the test where there is no compiler."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    source, made = directory / "leaky.c", directory / "leaky"
    source.write_text(PROGRAM)
    subprocess.run(["cc", "-O1", "-fno-omit-frame-pointer", "-o", made, source], check=True, timeout=60)
    return made
