"""``pybpf bt``: run a bpftrace script."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper
from typing import TYPE_CHECKING, TextIO

from pybpf.errors import CompileError

if TYPE_CHECKING:
    from pybpf.bt import CompiledScript
    from pybpf.bt.runtime.command import Command
    from pybpf.bt.show.output import Output

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="pybpf bt", description="Run a script of the bpftrace language.")
    parser.add_argument("-e", dest="program", metavar="PROGRAM", help="the script itself")
    parser.add_argument("-f", dest="format", choices=("text", "json"), default="text", help="format of the output")
    parser.add_argument("-o", dest="output", metavar="FILE", help="write the output to a file")
    parser.add_argument("-p", dest="pid", type=int, metavar="PID", help="trace this process only")
    parser.add_argument("-c", dest="command", metavar="COMMAND", help="start a command, and trace it only")
    parser.add_argument("-q", dest="quiet", action="store_true", help="do not say how many probes are attached")
    parser.add_argument("--unsafe", action="store_true", help="allow what changes the processes that are traced")
    parser.add_argument("--dry-run", action="store_true", help="compile the script, and run nothing")
    parser.add_argument("words", nargs="*", metavar="FILE", help="the script, unless -e has it; then its arguments")
    options = parser.parse_args(arguments)
    words = list(options.words)
    if options.program is None and not words:
        parser.error("there is nothing to run: give a file, or a script by -e")
    file = "stdin" if options.program is not None else words.pop(0)
    try:
        text = options.program if options.program is not None else _read(file)
        return _run(text, file, words, options)
    except CompileError as error:
        from pybpf.bt import diagnostic

        print(diagnostic(error), file=sys.stderr)
        return 1


def _read(file: str) -> str:
    with open(0 if file == "-" else file, encoding="utf-8", errors="surrogateescape") as opened:
        return opened.read()


def _run(text: str, file: str, words: list[str], options: argparse.Namespace) -> int:
    from pybpf.bt import compile_script, diagnostic
    from pybpf.bt.runtime.command import Command

    command = Command(options.command) if options.command else None
    try:
        pid = command.pid if command else options.pid
        compiled = compile_script(text, file, words, pid=pid, unsafe=options.unsafe)
        for warning in compiled.warnings:
            print(diagnostic(warning, "WARNING"), file=sys.stderr)
        if options.dry_run:
            return 0
        from pybpf.bt.show.output import output_of

        target: TextIO = open(options.output, "w", encoding="utf-8") if options.output else sys.stdout  # noqa: SIM115
        if isinstance(target, TextIOWrapper):
            target.reconfigure(errors="surrogateescape", line_buffering=False)
        shown = output_of(options.format, target, sys.stderr)
        return _trace(compiled, command, shown, options.quiet)
    finally:
        if command is not None:
            command.close()


def _trace(compiled: CompiledScript, command: Command | None, shown: Output, quiet: bool) -> int:
    from pybpf.bt import Running

    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Running(compiled).start() as running:
            if not quiet:
                shown.attached(running.probes)
            if command is not None:
                command.go()
            with suppress(KeyboardInterrupt):
                for event in running.events(ended=command.ended if command else None):
                    shown.event(event)
            for event in running.stop():
                shown.event(event)
            shown.end(running.shown_maps())
            return running.exit_code or 0
    finally:
        signal.signal(signal.SIGTERM, before)

