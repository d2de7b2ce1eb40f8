"""Stacks to symbols: ``python -m benchmarks.symbols``.

Makes stacks of a process (this one, with a large library loaded where there is one) and of the kernel out of the
addresses of functions that exist, and times how long it takes to name all frames, as processor time of the thread.
Prints a table: "first" includes reading all symbol tables; "again" is a second pass over the same stacks. Memory is
what the symbols keep, by their own count.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import glob
import json
import os
import random
import time
from collections.abc import Callable
from typing import NamedTuple

from pybpf.symbols import ElfFile, KernelSymbols, Symbol, Symbolizer, kernel_functions, mappings

__all__ = ["main"]

#: how often a frame of a stack is drawn from the few functions that most stacks have in common
_COMMON = 0.8
_LARGE = "/usr/lib/*/libLLVM*.so*"


class Row(NamedTuple):
    """One row of the table."""

    what: str
    stacks: list[list[int]]
    make: Callable[[], Callable[[list[int]], list[Symbol]]]
    memory: Callable[[], int]


def _addresses(pid: int) -> list[int]:
    """Places inside functions of everything that a process runs."""
    places = []
    for mapping in mappings(pid):
        if not mapping.executable:
            continue
        with ElfFile(mapping.path) as elf:
            for symbol in elf.functions():
                offset = elf.file_offset(symbol.address, executable=True)
                if offset is None or symbol.size < 2:
                    continue
                if 0 <= offset - mapping.offset < mapping.end - mapping.start:
                    places.append(mapping.start + offset - mapping.offset + symbol.size // 2)
    return places


def _stacks(places: list[int], count: int, depth: int) -> list[list[int]]:
    """Stacks whose frames are mostly the same few hundred, as real ones are."""
    generator = random.Random(1)
    common = generator.sample(places, min(300, len(places)))
    return [
        [generator.choice(common if generator.random() < _COMMON else places) for _ in range(depth)]
        for _ in range(count)
    ]


def measure(row: Row) -> tuple[float, float, int]:
    """Seconds for all stacks at first and again, and bytes of memory."""
    gc.collect()
    start = time.thread_time()
    resolve = row.make()
    for stack in row.stacks:
        resolve(stack)
    first = time.thread_time() - start
    start = time.thread_time()
    unknown = sum(not symbol.known for stack in row.stacks for symbol in resolve(stack))
    again = time.thread_time() - start
    frames = sum(map(len, row.stacks))
    if unknown > frames // 100:
        raise SystemExit(f"{row.what}: {unknown} of {frames} frames have no name")
    return first, again, row.memory()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stacks", type=int, default=10_000, help="how many (10000)")
    parser.add_argument("--depth", type=int, default=20, help="frames of each (20)")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    options = parser.parse_args()
    large = max(glob.glob(_LARGE), key=os.path.getsize, default=None)
    if large is not None:
        ctypes.CDLL(large)
    pid = os.getpid()
    kernel: list[KernelSymbols] = []
    user: list[Symbolizer] = []

    def of_kernel() -> Callable[[list[int]], list[Symbol]]:
        kernel.append(KernelSymbols())
        return lambda stack: kernel[-1].resolve_all(stack, stack=True)

    def of_user() -> Callable[[list[int]], list[Symbol]]:
        user.append(Symbolizer())
        return lambda stack: user[-1].user(pid, stack, stack=True)

    rows = [Row("user", _stacks(_addresses(pid), options.stacks, options.depth), of_user, lambda: user[-1].nbytes)]
    functions = [function.address + 1 for function in kernel_functions()]
    if any(address > 1 for address in functions):
        stacks = _stacks(functions, options.stacks, options.depth)
        rows.append(Row("kernel", stacks, of_kernel, lambda: kernel[-1].nbytes))
    if options.json:
        print(json.dumps({row.what: measure(row) for row in rows}))
        return
    print(f"{options.stacks} stacks of {options.depth} frames; large library: {large or 'none'}")
    print(f"{'of':<8}{'first s':>9}{'again s':>9}{'us/stack':>10}{'MB':>7}")
    for row in rows:
        first, again, memory = measure(row)
        stack = again / len(row.stacks) * 1e6
        print(f"{row.what:<8}{first:>9.3f}{again:>9.3f}{stack:>10.1f}{memory / 1e6:>7.1f}", flush=True)


if __name__ == "__main__":
    main()
