"""``pybpf disasm``: the instructions of a loaded program, or of a file of bytecode."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from contextlib import suppress

from pybpf.asm import disassemble
from pybpf.cli.files import read_input
from pybpf.errors import BpfError, NotFoundError
from pybpf.sys.objects import Kind, open_id, xlated

__all__ = ["main"]

#: Bytes: the million instructions that the kernel takes.
MOST_CODE = 8 << 20
_REWRITTEN = re.compile(r"\bunknown#(-?\d+)$", re.MULTILINE)
_BASE = "__bpf_call_base"


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="pybpf disasm", description="Show eBPF instructions as the kernel's verifier and bpftool print them."
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("file", nargs="?", help="a file of raw bytecode, - for standard input")
    what.add_argument("--id", type=int, help="a loaded program, as the verifier left it")
    parser.add_argument("--endian", choices=("little", "big"), default=sys.byteorder, help="default: %(default)s")
    options = parser.parse_args(arguments)
    if options.id is not None:
        with open_id(Kind.PROG, options.id) as fd:
            code = xlated(fd)
        if not code:
            raise NotFoundError(f"the kernel does not show the instructions of program {options.id} to this process")
        # The kernel rewrites some instructions to ones of its own, which no table has.
        print(_with_functions(disassemble(code, style="bpftool", lenient=True)))
        return 0
    code = read_input(options.file, MOST_CODE)
    if code:
        print(disassemble(code, style="bpftool", endian=options.endian))
    return 0


def _with_functions(text: str) -> str:
    """The functions that the kernel put in the place of helpers, by name: a call has its distance from one of them."""
    calls = {int(each) for each in _REWRITTEN.findall(text)}
    names = {}
    if calls:
        from pybpf.symbols import KernelSymbols
        from pybpf.symbols.kallsyms import functions_named

        with suppress(BpfError):  # there is no kallsyms
            for base in functions_named([_BASE]):
                symbols = KernelSymbols()
                names = {each: symbols.resolve(base.address + each) for each in calls if base.address}
    known = {str(each): symbol.name for each, symbol in names.items() if symbol.known and not symbol.offset}
    return _REWRITTEN.sub(lambda found: f"{known.get(found[1], 'unknown')}#{found[1]}", text)
