"""``pybpf asm``: assembler text to bytecode."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pybpf.asm import assemble, encode
from pybpf.cli.files import read_input

__all__ = ["main"]

#: Bytes; the kernel takes a million instructions.
MOST_TEXT = 64 << 20


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
    text = read_input(options.file, MOST_TEXT).decode("utf-8", "surrogateescape")
    code = encode(assemble(text), endian=options.endian)
    if options.output:
        with open(options.output, "wb") as output:
            output.write(code)
    else:
        for start in range(0, len(code), 8):
            print(code[start : start + 8].hex(" "))
    return 0
