"""The ``pybpf`` command: finds the tool or subcommand, runs it, turns errors into one line and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import TextIOWrapper
from typing import Any, NoReturn

from pybpf.errors import BpfError
from pybpf.lazy import collect_seldom
from pybpf.record import NamedTuple

__all__ = ["main"]


class Command(NamedTuple):
    """A subcommand: a module with ``main(arguments) -> exit code``, imported when it is run."""

    name: str
    module: str
    topic: str
    summary: str


#: What ``pybpf NAME`` can run beside the tracers, in the order in which ``pybpf`` lists it.
COMMANDS = (
    Command("bt", "pybpf.cli.bt", "Languages", "run a script of the bpftrace language"),
    Command("info", "pybpf.cli.info", "This host", "what the kernel and this process's privileges allow"),
    Command("list", "pybpf.cli.list", "This host", "list probes to attach to, or loaded programs, maps and links"),
    Command("asm", "pybpf.cli.asm", "Bytecode", "assemble text to eBPF bytecode"),
    Command("dump", "pybpf.cli.dump", "Bytecode", "show what the compiler makes of a script's probes, pass by pass"),
    Command("disasm", "pybpf.cli.disasm", "Bytecode", "show the instructions of a loaded program or a bytecode file"),
    Command("man", "pybpf.cli.man", "Help", "print the manual page of a tracer, in roff"),
    Command("completion", "pybpf.cli.completion", "Help", "print completions of all commands for bash, zsh or fish"),
)

#: Exit codes, as shells and Python's argparse have them.
EXIT_ERROR, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130

#: seconds until Ctrl-C comes again where it had no effect
_MOMENT = 0.001


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 success, 1 error (one line on stderr), 2 wrong usage."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    name = words[0] if words else "--help"
    if sys.stderr is None:  # it was closed before we started: print() would write errors to stdout
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # as long as the process
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
        run = _find(name)
        if run is None:
            return _unknown(name)
        code = run(words[1:])
        if sys.stdout is not None:  # None: it was closed before we started
            sys.stdout.flush()
        return code
    except BpfError as error:
        print(f"pybpf {name}: {error}", file=sys.stderr)
        return EXIT_ERROR
    except BrokenPipeError:
        _drop_output()  # its reader has gone
        return 0
    except OSError as error:
        what = f": {error.filename}" if error.filename else ""
        print(f"pybpf {name}: {error.strerror or error}{what}", file=sys.stderr)
        _drop_output()  # it may be what failed: a full disk
        return EXIT_ERROR
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def process(*first: str) -> NoReturn:
    """The command as a process of its own: runs the words of its command line, and never returns.

    Imports and compiling make many objects and hardly any garbage: Python looks for it less often. And when all is
    done and closed, nothing is gained by taking each of those objects apart, which takes half as long as the imports.

    :param first: words that come before those of the command line.
    """
    try:
        sys.unraisablehook = _dropped
        collect_seldom()
        code = main([*first, *sys.argv[1:]])
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                with suppress(OSError):  # its reader has gone
                    stream.flush()
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    os._exit(code)


def _dropped(what: Any) -> None:
    """An exception that Python cannot raise: in a ``__del__``, in a callback of a weak reference, as imports have them.

    Ctrl-C comes again in a moment, and then it finds another place.
    """
    if issubclass(what.exc_type, KeyboardInterrupt):
        signal.signal(signal.SIGALRM, lambda number, frame: signal.raise_signal(signal.SIGINT))
        signal.setitimer(signal.ITIMER_REAL, _MOMENT)
    else:
        sys.__unraisablehook__(what)


def process_bt() -> NoReturn:
    """``pybpf-bt``: the same as ``pybpf bt``, for those who link it as ``bpftrace``."""
    process("bt")


def _drop_output() -> None:
    """Write what is buffered, if that can be; otherwise Python does not try again at exit, and complain."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def _find(name: str) -> Callable[[list[str]], int] | None:
    """What runs a command or a tracer."""
    from importlib import import_module

    command = next((command for command in COMMANDS if command.name == name), None)
    if command is not None:
        found: Callable[[list[str]], int] = import_module(command.module).main
        return found
    from pybpf.cli.tools import find_tool, tool_names

    return find_tool(name).main if name in tool_names() else None


def _overview() -> str:
    """All tracers and commands by topic."""
    from pybpf.cli.tools import all_tools

    lines = ["usage: pybpf COMMAND [options]      (pybpf COMMAND --help says more)", ""]
    rows = [(each.topic, each.name, each.summary) for each in all_tools()]
    rows += [(each.topic, each.name, each.summary) for each in COMMANDS]
    for topic in dict.fromkeys(row[0] for row in rows):
        lines.append(f"{topic}:")
        lines += [f"  {name:<15}{summary}" for under, name, summary in rows if under == topic]
        lines.append("")
    return "\n".join(lines[:-1])


def _unknown(name: str) -> int:
    from difflib import get_close_matches

    from pybpf.cli.tools import tool_names

    near = get_close_matches(name, [*(command.name for command in COMMANDS), *tool_names()], 1)
    hint = f"did you mean {near[0]!r}?" if near else "pybpf alone lists the commands"
    print(f"pybpf: no command {name!r}; {hint}", file=sys.stderr)
    return EXIT_USAGE
