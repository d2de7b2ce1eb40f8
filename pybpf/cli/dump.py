"""``pybpf dump``: what the compiler makes of the probes of a script, without loading them."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from types import ModuleType
from typing import NoReturn

from pybpf.cli.tools import tool_names
from pybpf.compiler.target import Target
from pybpf.errors import BpfError, NotFoundError
from pybpf.lang.front.source import source_of
from pybpf.lang.tracer.loading import Built
from pybpf.lang.tracer.tracer import Tracer
from pybpf.record import replace
from pybpf.tool import Tool

__all__ = ["main"]

#: characters of source beside the bytecode
_COLUMN = 60


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="pybpf dump",
        usage="%(prog)s [-h] [OPTION ...] FILE [-- ARGUMENT ...]",
        description="Show the source, the intermediate code after each pass and the bytecode of a script's probes. "
        "The script runs as if it were imported, and if that makes no Tracer, as a program, with its arguments; up to "
        "where it attaches a tracer, which is not done: nothing is loaded or traced. A tool is run with its "
        "arguments up to there. What it prints goes to standard error.",
    )
    parser.add_argument("file", help="a script that makes Tracers, or a tool, by its name or its file")
    parser.add_argument("--pass", dest="stage", metavar="NAME", help="only this stage: python, source, ..., lines")
    parser.add_argument("--probe", metavar="NAME", help="only the probe functions of this name")
    parser.add_argument(
        "--kernel", metavar="RELEASE", help="compile for this release (5.10, say) instead of this kernel"
    )
    parser.add_argument(
        "--btf", metavar="FILE", help="its types, as of its /sys/kernel/btf/vmlinux, instead of this kernel's"
    )
    parser.add_argument("--arch", default="", metavar="NAME", help="and for this architecture: x86_64, aarch64")
    own = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser.parse_args(arguments[:own])
    for name in ("arch", "btf"):
        if getattr(options, name) and not options.kernel:
            parser.error(f"--{name} is of a kernel that is described: give its --kernel RELEASE too")
    target = _described(options.kernel, options.arch, options.btf) if options.kernel else Target.host()
    path = _path(options.file)
    tracers = _tracers(path, arguments[own + 1 :])
    if not tracers:
        raise NotFoundError(f"{path} makes no Tracer, neither imported nor run as a program")
    built = [each for tracer in tracers for each in tracer.compile(target, stages=True)]
    texts = [_text(each, options.stage) for each in built if options.probe in (None, each.declared.function.__name__)]
    if not texts:
        raise NotFoundError(f"{path} has no probes{f' named {options.probe!r}' if options.probe else ''}")
    print("\n\n".join(texts))
    return 0


def _path(name: str) -> str:
    """The file that is meant: also that of a tool by its name."""
    if os.path.exists(name) or name not in tool_names():
        return name
    return str(import_module(f"pybpf.programs.{name}").__file__)


def _described(release: str, arch: str, btf: str | None) -> Target:
    """A kernel by its release, with the fields of tracepoints of this one, and its types, if no others are given."""
    target, host = Target.described(release, arch, types=btf), Target.host()
    if target.arch.name == host.arch.name:
        target = replace(target, tracepoint_fields=host.tracepoint_fields, tracepoints=host.tracepoints)
        if btf is None:
            target = replace(target, types=host.types, module_types=host.module_types)
            print("the types of the kernel are those of this one: give --btf FILE for others", file=sys.stderr)
    return target


def _tracers(path: str, arguments: Sequence[str]) -> list[Tracer]:
    """The tracers that a script makes: by being imported, or else by running as a program.

    :raises BpfError: it cannot be run.
    """
    with redirect_stdout(sys.stderr):
        return _run(path, arguments, "<pybpf dump>") or _run(path, arguments, "__main__")


def _run(path: str, arguments: Sequence[str], name: str) -> list[Tracer]:
    """The tracers among the global variables of a script, and the one that it attaches."""
    module = ModuleType(name)
    module.__file__ = path
    with open(path, "rb") as file:
        text = file.read()
    attached: list[Tracer] = []
    with _as_script(module, arguments), _not_attaching():
        try:
            exec(compile(text, path, "exec"), vars(module))
            tool = vars(module).get("TOOL")
            if isinstance(tool, Tool):
                tool.main(arguments)  # up to where it attaches its tracer
        except _Attaches as stopped:
            attached = [stopped.tracer]
        except (BpfError, OSError):
            raise
        except (Exception, SystemExit) as error:
            raise BpfError(f"cannot run {path}: {type(error).__name__}: {error}") from error
    return list(dict.fromkeys([*(each for each in vars(module).values() if isinstance(each, Tracer)), *attached]))


class _Attaches(BaseException):
    """Stops a script that would begin to trace; not an ``Exception``, which scripts may catch."""

    def __init__(self, tracer: Tracer) -> None:
        super().__init__("this script was stopped before it traced")
        self.tracer = tracer


@contextmanager
def _not_attaching() -> Iterator[None]:
    """Tracers are not attached in the ``with`` block, which is left instead. :raises _Attaches: one would be."""

    def stop(tracer: Tracer, progress: object = None) -> NoReturn:
        raise _Attaches(tracer)

    attach = Tracer.attach
    Tracer.attach = stop  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        Tracer.attach = attach  # type: ignore[method-assign]


@contextmanager
def _as_script(module: ModuleType, arguments: Sequence[str]) -> Iterator[None]:
    """What a script finds around itself: its arguments; the modules beside it; itself among the modules."""
    path = str(module.__file__)
    before, shadowed = (sys.argv, sys.path), sys.modules.get(module.__name__)
    sys.argv, sys.path = [path, *arguments], [os.path.dirname(os.path.abspath(path)), *sys.path]
    sys.modules[module.__name__] = module
    try:
        yield
    finally:
        sys.argv, sys.path = before
        del sys.modules[module.__name__]
        if shadowed is not None:
            sys.modules[module.__name__] = shadowed


def _text(built: Built, stage: str | None) -> str:
    """The stages of a probe, each under its name. :raises NotFoundError: there is no such stage."""
    stages = {"python": _python(built), **built.compiled.stages, "lines": _side_by_side(built)}
    if stage is not None:
        if stage not in stages:
            raise NotFoundError(f"there is no stage {stage!r}; the stages are {', '.join(stages)}")
        stages = {stage: stages[stage]}
    lines = [f"# {built.probe.title}: {built.declared.function.__name__}()"]
    before = ""
    for name, text in stages.items():
        lines += [f"## {name}", "(as before)" if text == before else text.rstrip()]
        before = text
    return "\n".join(lines)


def _python(built: Built) -> str:
    source = source_of(built.declared.function, built.declared.source)
    last = source.node.end_lineno or source.node.lineno
    return "\n".join(f"{number:5} {source.text(number)}" for number in range(source.node.lineno, last + 1))


def _side_by_side(built: Built) -> str:
    """Each instruction beside the line of Python that it comes from."""
    code = built.compiled.spec.code
    rows, before = [], None
    labels = {index: name for name, index in code.labels.items()}
    for index, insn in enumerate(code.insns):
        if index in labels:
            rows.append(f"{'':{_COLUMN}} | {labels[index]}:")
        place = insn.line and insn.line[:2]
        text = f"{insn.line.line:5} {insn.line.text.strip()}" if insn.line is not None and place != before else ""
        before = place
        rows.append(f"{text[:_COLUMN]:<{_COLUMN}} | {code.slot(index):4}: {insn}")
    return "\n".join(rows)
