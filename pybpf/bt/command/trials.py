"""``--test`` and ``--bench``: probes that are run once, or until their time is known, with a line for each."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TextIO

from pybpf.bt.show.text import event_errors, event_text
from pybpf.errors import BpfError
from pybpf.prog import run_time_stats

if TYPE_CHECKING:
    from pybpf.bt import CompiledScript
    from pybpf.bt.command.options import Options
    from pybpf.bt.runtime.trials import Outcome, Trial

__all__ = ["keep_probes", "run_trials"]

_TRIALS = ("test", "bench")
#: probes that run before and after trials, too
_AROUND = ("begin", "end")
_UNITS = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us"))
_NAME, _TIME = 40, 15  # widths of columns


def keep_probes(compiled: CompiledScript, options: Options) -> None:
    """Leave in a script the probes that are to be run: trials of the kind that is asked for, or no trials.

    Of these, those whose names match ``--probe-filter``; ``begin`` and ``end`` stay.

    :raises BpfError: none is left.
    """
    try:
        wanted = re.compile(options.filter)
    except re.error as error:
        raise BpfError(f"--probe-filter is no regular expression: {error}") from None
    kinds = {built.site.kind for built in compiled.built}
    of_kind = {options.trial} if options.trial else kinds - set(_TRIALS)
    compiled.built = [
        each for each in compiled.built
        if each.site.kind in _AROUND
        or (each.site.kind in of_kind and wanted.search(each.site.name))
    ]  # fmt: skip
    left = {each.site.kind for each in compiled.built}
    named = " of that name" if options.filter else ""
    if options.trial and options.trial not in left:
        raise BpfError(f"the script has no {options.trial} probes{named}")
    if not left:
        kind = next((each for each in _TRIALS if each in kinds), None)
        raise BpfError(f"no probes attached; use --{kind} to run {kind} probes" if kind else
                       f"the script has no probes{named}")  # fmt: skip


def run_trials(compiled: CompiledScript, options: Options, stream: TextIO) -> int:
    """Run the trials of a script; the exit code: 1 if one failed."""
    from pybpf.bt.command.tracing import started
    from pybpf.bt.show.output import output_of

    shown = output_of(options.format, stream, sys.stderr)
    with run_time_stats(), started(compiled) as running:
        for event in running.waiting():
            shown.event(event)
        passed = _RUN[options.trial, options.format](running.trials(options.trial), stream)
        stream.flush()
        return 0 if passed else 1


def _tests(trials: list[Trial], stream: TextIO) -> bool:
    """Each on two lines, with what one that fails printed between them."""
    failed = []
    stream.write(f"[==========] Running {len(trials)} tests.\n")
    for trial in trials:
        stream.write(f"[ RUN      ] {trial.name}\n")
        found = trial.run()
        if not _passed(found):
            failed.append(trial.name)
            stream.write(_told(found))
        verdict = "       OK " if _passed(found) else "  FAILED  "
        stream.write(f"[{verdict}] {trial.name} ({_duration(found.time)})\n")
    stream.write(f"[==========] {_tests_text(len(trials))} ran.\n")
    stream.write(f"[  PASSED  ] {_tests_text(len(trials) - len(failed))}.\n")
    if failed:
        stream.write(f"[  FAILED  ] {_tests_text(len(failed))}, listed below:\n")
        stream.writelines(f"[  FAILED  ] {name}\n" for name in failed)
    return not failed


def _tests_json(trials: list[Trial], stream: TextIO) -> bool:
    all_passed = True
    for trial in trials:
        found = trial.run()
        all_passed = all_passed and _passed(found)
        told = {"duration": found.time, "passed": _passed(found), "output": _told(found)}
        stream.write(_json("test_result", trial.name, told))
    return all_passed


def _benches(trials: list[Trial], stream: TextIO) -> bool:
    """A table; those that return something have no line."""
    width = max(_NAME, *(len(each.name) for each in trials)) + 1
    heading = f"{'Benchmark':<{width}}{'Time(ns)':<{_TIME}}Iterations"
    stream.write(f"{heading}\n{'-' * len(heading)}\n")
    return _measured(trials, lambda name, found: f"{name:<{width}}{found.time:<{_TIME}}{found.runs}\n", stream)


def _benches_json(trials: list[Trial], stream: TextIO) -> bool:
    def line(name: str, found: Outcome) -> str:
        return _json("benchmark_result", name, {"average": found.time, "iters": found.runs})

    return _measured(trials, line, stream)


def _measured(trials: list[Trial], line: Callable[[str, Outcome], str], stream: TextIO) -> bool:
    failed = []
    for trial in trials:
        found = trial.measure()
        if found.failed:
            failed.append(trial.name)
        elif not found.result:
            stream.write(line(trial.name, found))
            stream.flush()
    if failed:
        raise BpfError(f"failed: {', '.join(failed)}")
    return True


def _passed(found: Outcome) -> bool:
    return not found.result and not found.failed


def _told(found: Outcome) -> str:
    text = "".join(event_text(each) + event_errors(each) for each in found.events)
    return text if not text or text.endswith("\n") else f"{text}\n"


def _duration(ns: int) -> str:
    for scale, unit in _UNITS:
        if ns >= scale:
            return f"{ns // scale} {unit}"
    return f"{ns} ns"


def _tests_text(count: int) -> str:
    return f"{count} test" if count == 1 else f"{count} tests"


def _json(kind: str, name: str, data: Any) -> str:
    import json

    return json.dumps({"type": kind, "data": {name: data}}, ensure_ascii=False) + "\n"


#: (kind, format) -> what runs them and tells of it; whether all is well
_RUN: Mapping[tuple[str, str], Callable[[list[Trial], TextIO], bool]] = MappingProxyType({
    ("test", "text"): _tests,
    ("test", "json"): _tests_json,
    ("bench", "text"): _benches,
    ("bench", "json"): _benches_json,
})  # fmt: skip
