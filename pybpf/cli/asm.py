"""``pybpf asm``: assembler text to bytecode."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pybpf.asm import assemble, encode

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="pybpf asm",
        description="Assemble text, in the syntax that the kernel's verifier and bpftool print, to eBPF bytecode.",
        epilog="example: printf 'r0 = 0\\nexit\\n' | pybpf asm -",
    )
    parser.add_argument("file", help="the text, - for standard input")
    parser.add_argument("-o", "--output", help="write the bytes to this file; else they are printed, a slot a line")
    parser.add_argument("--endian", choices=("little", "big"), default=sys.byteorder, help="default: %(default)s")
    options = parser.parse_args(arguments)
    with open(0 if options.file == "-" else options.file, encoding="utf-8", errors="surrogateescape") as file:
        code = encode(assemble(file.read()), endian=options.endian)
    if options.output:
        with open(options.output, "wb") as output:
            output.write(code)
    else:
        for start in range(0, len(code), 8):
            print(code[start : start + 8].hex(" "))
    return 0
