"""``pybpf disasm``: the instructions of a loaded program, or of a file of bytecode."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from pybpf.asm import disassemble
from pybpf.cli.files import read_input
from pybpf.errors import BpfError, NotFoundError
from pybpf.lazy import regex
from pybpf.report import printable
from pybpf.sys.fd import Fd
from pybpf.sys.objects import CodeLine, Kind, code_lines, open_id, prog_info, xlated

if TYPE_CHECKING:
    from pybpf.btf import Btf

__all__ = ["main"]

#: Bytes: the million instructions that the kernel takes.
MOST_CODE = 8 << 20
_REWRITTEN = regex(r"\bunknown#(-?\d+)$", re.MULTILINE)
_BASE = "__bpf_call_base"
_SLOT = regex(r" *(\d+): ")
_LOCAL_CALL = regex(r"call pc([+-]\d+)#(\S+)$")


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
            code, notes = xlated(fd), _Notes(fd)
        if not code:
            raise NotFoundError(f"the kernel does not show the instructions of program {options.id} to this process")
        # The kernel rewrites some instructions to ones of its own, which no table has.
        for line in _with_functions(disassemble(code, style="bpftool", lenient=True)).split("\n"):
            print(notes.annotated(line))
        return 0
    code = read_input(options.file, MOST_CODE)
    if code:
        print(disassemble(code, style="bpftool", endian=options.endian))
    return 0


class _Notes:
    """What the program's BTF says of its instructions: functions and source lines, as bpftool shows them."""

    def __init__(self, fd: Fd) -> None:
        self._before: dict[int, list[str]] = {}
        self._names: dict[int, str] = {}
        lines = code_lines(fd)
        if not lines:
            return
        from pybpf.btf import Btf  # many programs have no types

        types = Btf.from_id(prog_info(fd).btf_id)
        for line in lines:
            text = self._function(types, line) if line.btf_id else "; " + printable(types.string(line.text).strip())
            if text != "; ":
                self._before.setdefault(line.slot, []).append(text)

    def _function(self, types: Btf, line: CodeLine) -> str:
        self._names[line.slot] = printable(types.name(line.btf_id))
        return printable(types.c(line.btf_id).rstrip("; ")) + ":"

    def annotated(self, line: str) -> str:
        """A line of the dump with what stands before it, and the name of the function that it calls."""
        slot = _SLOT.match(line)
        if slot is None:
            return line
        called = _LOCAL_CALL.search(line)
        if called:
            name = self._names.get(int(slot[1]) + 1 + int(called[1]))
            line = f"{line[: called.start(2)]}{name}" if name else line
        return "\n".join([*self._before.get(int(slot[1]), ()), line])


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
