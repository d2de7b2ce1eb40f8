"""``pybpf bt``: reads the command line, then lists, shows or runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from io import TextIOWrapper
from typing import TYPE_CHECKING, TextIO

from pybpf.bt.command.ending import heed_interrupts
from pybpf.bt.command.options import HELP, Options, UsageError, read_options
from pybpf.errors import BpfError, CompileError, NotFoundError

if TYPE_CHECKING:
    from pybpf.bt import CompiledScript
    from pybpf.bt.kept import Kept
    from pybpf.bt.runtime.command import Command
    from pybpf.compiler.target import Target

__all__ = ["main"]

#: the version of bpftrace that has the language; scripts around it look for a number behind a "v"
_LANGUAGE = "0.26.0"
#: bpftrace ends so for wrong usage too
EXIT_ERROR = 1


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    if not arguments:
        print(HELP, file=sys.stderr)
        return EXIT_ERROR
    try:
        options = read_options(arguments)
    except UsageError as error:
        print(f"pybpf bt: {error}; --help lists the options", file=sys.stderr)
        return EXIT_ERROR
    try:
        return _do(options)
    except CompileError as error:
        from pybpf.bt import diagnostic

        print(_coloured(diagnostic(error)), file=sys.stderr)
        return EXIT_ERROR


def _do(options: Options) -> int:
    if options.help:
        print(HELP)
    elif options.version:
        from pybpf import __version__

        print(f"pybpf {__version__}, for scripts of bpftrace v{_LANGUAGE}")
    elif options.info:
        from pybpf.bt.command.info import info_lines

        print("\n".join(info_lines()))
    elif options.listing:
        _list(options)
    elif options.canonical:
        _print_canonical(options)
    else:
        return _compile_and_run(options)
    return 0


def _script(options: Options) -> tuple[str, str]:
    """The text of the script, and what messages call it."""
    if options.program is not None:
        return options.program, "stdin"
    if options.file == "-":
        return sys.stdin.read(), "stdin"
    with open(options.file, encoding="utf-8", errors="surrogateescape") as file:
        return file.read(), options.file


def _list(options: Options) -> None:
    from pybpf.bt.command.listing import list_matching, list_script

    if options.program is None and not options.file:
        lines = list_matching(options.words[0] if options.words else "", options.verbose)
    else:
        lines = list_script(*_script(options), options.words, options.verbose)
    for line in lines:
        print(line)


def _print_canonical(options: Options) -> None:
    from pybpf.bt import parse
    from pybpf.bt.syntax.printer import script_text

    text, file = _script(options)
    with ExitStack() as stack:
        _output(options, stack).write(script_text(parse(text, file)))


def _output(options: Options, stack: ExitStack) -> TextIO:
    """Where the output goes; a file is closed with the stack."""
    if sys.stdout is None and not options.output:
        raise BpfError("cannot write the output: stdout is closed; -o FILE writes it to a file")
    stream: TextIO = sys.stdout
    if options.output:
        try:
            stream = open(options.output, "w", encoding="utf-8")  # noqa: SIM115  # closed with the stack
            stack.callback(stream.close)
        except OSError as error:
            raise BpfError(f"cannot write to {options.output}: {error.strerror}") from None
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="surrogateescape", line_buffering=False)
    return stream


def _target(kernel: str) -> Target | None:
    """What is compiled for; None: the running kernel."""
    from pybpf.compiler.target import Target
    from pybpf.record import replace

    if kernel:
        release, _, arch = kernel.partition("/")
        return Target.described(release, arch)
    path = os.environ.get("BPFTRACE_BTF", "")
    if not path:
        return None
    from pybpf.btf import Btf

    try:
        with open(path, "rb") as file:
            types = Btf.from_bytes(file.read())
    except OSError as error:
        raise BpfError(f"cannot read the types in {path} (BPFTRACE_BTF): {error.strerror}") from None
    return replace(Target.host(), types=lambda: types)


def _compile_and_run(options: Options) -> int:
    if options.pid is not None and not os.path.exists(f"/proc/{options.pid}"):
        raise NotFoundError(f"there is no process {options.pid}")
    with ExitStack() as stack:
        if options.dry_run or options.stages:
            _show(options, _compiled(options, *_script(options)))
            return 0
        heed_interrupts()
        command = None
        if options.command:
            from pybpf.bt.runtime.command import Command

            command = Command(options.command)
            stack.callback(command.close)
        return _run(options, command, stack)


def _run(options: Options, command: Command | None, stack: ExitStack) -> int:
    text, file = _script(options)
    kept = _kept(options, text, file)
    known = kept.load() if kept is not None else None

    def compiled() -> CompiledScript:
        found = _compiled(options, text, file, command.pid if command else None)
        if kept is not None:
            kept.save(found)
        return found

    script = known or compiled()
    if known is not None:
        _warn(options, known)
    if options.trial or options.filter or any(each.site.kind in ("test", "bench") for each in script.built):
        from pybpf.bt.command.trials import keep_probes, run_trials

        keep_probes(script, options)
        if options.trial:
            return run_trials(script, options, _output(options, stack))
    from pybpf.bt.command.tracing import trace

    def again(error: BpfError) -> CompiledScript:
        """What the kernel takes no more is compiled again; if it is refused again, the error can say more."""
        if known is None or kept is None:
            raise error
        kept.forget()
        return compiled()

    return trace(script, again, command, options, _output(options, stack))


def _kept(options: Options, text: str, file: str) -> Kept | None:
    """Where a script is kept when it has been compiled; None: not at all."""
    passing = options.command or options.kernel or options.trial or options.unsafe or os.environ.get("BPFTRACE_BTF")
    if passing or options.directories or options.includes:
        return None
    from pybpf.bt.command.environment import settings_of
    from pybpf.bt.kept import kept_at

    settings = sorted(settings_of(os.environ).items())
    return kept_at(os.environ, (text, file, options.words, sorted(options.named.items()), settings, options.pid))


def _compiled(options: Options, text: str, file: str, command: int | None = None) -> CompiledScript:
    """The script, compiled, and its warnings told.

    :param command: the process of the command that is traced.
    """
    from pybpf.bt import compile_script
    from pybpf.bt.c.includes import Includes
    from pybpf.bt.command.environment import settings_of

    compiled = compile_script(
        text, file, options.words, target=_target(options.kernel), settings=settings_of(os.environ),
        named=options.named, pid=options.pid, unsafe=options.unsafe, command=command,
        stages=bool(options.stages), includes=Includes(options.directories, options.includes),
    )  # fmt: skip
    _warn(options, compiled)
    return compiled


def _show(options: Options, compiled: CompiledScript) -> None:
    if options.stages:
        from pybpf.bt.command.stages import stage_texts

        for shown in stage_texts(compiled, options.stages):
            print(shown)


def _warn(options: Options, compiled: CompiledScript) -> None:
    from pybpf.bt import diagnostic

    if options.warnings:
        for warning in compiled.warnings:
            print(_coloured(diagnostic(warning, "WARNING")), file=sys.stderr)


def _coloured(text: str) -> str:
    """A diagnostic with its severity in colour, on a terminal that wants it (``BPFTRACE_COLOR``, ``NO_COLOR``)."""
    wish = os.environ.get("BPFTRACE_COLOR", "auto")
    plain = bool(os.environ.get("NO_COLOR")) or not (sys.stderr is not None and sys.stderr.isatty())
    if wish == "never" or (wish != "always" and plain):
        return text
    for severity, colour in (("ERROR: ", 31), ("WARNING: ", 33)):
        text = text.replace(severity, f"\x1b[{colour}m{severity}\x1b[0m", 1)
    return text
