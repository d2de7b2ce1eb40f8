"""The ``pybpf`` command: finds the tool or subcommand, runs it, turns errors into one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import NamedTuple

from pybpf.errors import BpfError

__all__ = ["main"]


class Command(NamedTuple):
    """A subcommand or tool: a module with ``main(arguments) -> exit code``, imported when it is run."""

    name: str
    module: str
    topic: str
    summary: str


#: Everything that ``pybpf NAME`` can run, in the order in which ``pybpf`` lists it.
COMMANDS = (
    Command("syscount", "pybpf.programs.syscount", "Tracers", "count system calls by name or process"),
    Command("info", "pybpf.cli.info", "This host", "what the kernel and this process's privileges allow"),
    Command("list", "pybpf.cli.list", "This host", "list probes to attach to, or loaded programs, maps and links"),
    Command("asm", "pybpf.cli.asm", "Bytecode", "assemble text to eBPF bytecode"),
    Command("dump", "pybpf.cli.dump", "Bytecode", "show what the compiler makes of a script's probes, pass by pass"),
    Command("disasm", "pybpf.cli.disasm", "Bytecode", "show the instructions of a loaded program or a bytecode file"),
)

#: Exit codes, as shells and Python's argparse have them.
EXIT_ERROR, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 success, 1 error (one line on stderr), 2 wrong usage."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    name = words[0] if words else "--help"
    if isinstance(sys.stdout, TextIOWrapper):
        # Names of traced programs can be anything; whoever reads our output sees each line when it is complete.
        sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    try:
        if name in ("-h", "--help", "help"):
            print(_overview())
            return 0
        if name in ("-V", "--version"):
            from pybpf import __version__

            print(f"pybpf {__version__}")
            return 0
        command = next((command for command in COMMANDS if command.name == name), None)
        if command is None:
            return _unknown(name)
        code = _run(command, words[1:])
        if sys.stdout is not None:  # None: it was closed before we started
            sys.stdout.flush()
        return code
    except BpfError as error:
        print(f"pybpf {name}: {error}", file=sys.stderr)
        return EXIT_ERROR
    except BrokenPipeError:
        # The reader of our output has gone: what is still buffered cannot be written, now or at exit.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
        return 0
    except OSError as error:
        what = f": {error.filename}" if error.filename else ""
        print(f"pybpf {name}: {error.strerror or error}{what}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _run(command: Command, arguments: list[str]) -> int:
    from importlib import import_module

    code: int = import_module(command.module).main(arguments)
    return code


def _overview() -> str:
    lines = ["usage: pybpf COMMAND [options]      (pybpf COMMAND --help says more)", ""]
    for topic in dict.fromkeys(command.topic for command in COMMANDS):
        lines.append(f"{topic}:")
        lines += [f"  {command.name:<12}{command.summary}" for command in COMMANDS if command.topic == topic]
        lines.append("")
    return "\n".join(lines[:-1])


def _unknown(name: str) -> int:
    from difflib import get_close_matches

    near = get_close_matches(name, [command.name for command in COMMANDS], 1)
    hint = f"did you mean {near[0]!r}?" if near else "pybpf alone lists the commands"
    print(f"pybpf: no command {name!r}; {hint}", file=sys.stderr)
    return EXIT_USAGE
