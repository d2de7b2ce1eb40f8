"""From the text of a script to programs that can be loaded: pure, for this kernel or a described one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from pybpf.bt.c.declarations import read_script_c
from pybpf.bt.c.includes import Includes
from pybpf.bt.c.types import CType
from pybpf.bt.check.facts import Checked, Facts, MapFacts
from pybpf.bt.check.script import CheckedScript, check_script
from pybpf.bt.check.settings import SettingError, setting, without_effect
from pybpf.bt.expand.functions import expand_functions
from pybpf.bt.expand.imports import import_all
from pybpf.bt.expand.macros import expand_macros
from pybpf.bt.lasting import depends_on
from pybpf.bt.lower.program import lower
from pybpf.bt.probes.place import Environment
from pybpf.bt.state.maps import ScriptMap
from pybpf.bt.state.script import Built, CompiledScript, Site
from pybpf.bt.state.settings import Settings
from pybpf.bt.state.shared import Shared
from pybpf.bt.syntax import tree
from pybpf.bt.syntax.parse import parse
from pybpf.bt.types.foreign import to_c
from pybpf.compiler.pipeline import compile_unit
from pybpf.compiler.target import Target
from pybpf.lang.state.counts import Counts
from pybpf.record import replace

__all__ = ["CompiledScript", "compile_script"]

#: What scripts ask for to know that types come without headers.
_MACROS = {"BPFTRACE_HAVE_BTF": "1"}


def compile_script(
    text: str,
    file: str = "<script>",
    arguments: Sequence[str] = (),
    *,
    target: Target | None = None,
    settings: Mapping[str, Any] | None = None,
    named: Mapping[str, str] | None = None,
    pid: int | None = None,
    unsafe: bool = False,
    command: int | None = None,
    stages: bool = False,
    includes: Includes | None = None,
) -> CompiledScript:
    """Compile a script.

    :param file: what messages call it.
    :param arguments: ``$1`` and so on.
    :param target: what to compile for; by default the running kernel.
    :param settings: beside those of the script's ``config`` block, which they come before.
    :param named: named arguments, for ``getopt()``.
    :param pid: trace this process alone.
    :param unsafe: allow what changes the processes that are traced.
    :param command: the process of the command that is started to be traced: ``cpid``. As in bpftrace, what is attached
        to a process (uprobes, USDT, perf events, watchpoints) is attached to it; all else sees the whole system.
    :param stages: keep the text of each stage of the compiler.
    :param includes: where the files of C are that it includes.
    :raises CompileError: it makes no sense, or the target cannot do what it asks for.
    """
    chosen = target or Target.host()
    script = parse(text, file, arguments)
    import_all(script, os.path.dirname(os.path.abspath(file)) if os.path.exists(file) else os.getcwd())
    expand_macros(script)
    expand_functions(script)
    found = _settings(script, settings or {})
    definitions = read_script_c(script, _MACROS, lambda name: _of_kernel(chosen, name), includes)
    facts = Facts(script, definitions, chosen, found, arguments, named, unsafe, command)
    process = command if pid is None else pid
    for each in script.settings:
        message = without_effect(each.name)
        if message:
            facts.warnings[each.span, message] = script.source.error(each.span, message)
    checked = check_script(facts, Environment(chosen, process, found.missing_probes))
    shared = _shared(checked, found)
    built = []
    for probe in checked.probes:
        unit = lower(facts, probe, shared, chosen, pid)
        compiled = compile_unit(unit, chosen, stages=stages)
        compiled = replace(compiled, spec=replace(compiled.spec, license=found.license))
        built.append(Built(_site(probe), compiled, dict(unit.owners), probe))
    depends = None if target is not None or facts.passing else depends_on(script, checked)
    warnings = list(facts.warnings.values())
    return CompiledScript(script.source, found, chosen, shared, built, process, warnings, depends)


def _site(probe: Checked) -> Site:
    place = probe.place
    pin = getattr(place.point, "pin", "")
    return Site(place.kind, place.name, place.attach, place.places, pin, probe.point.span)


def _of_kernel(target: Target, name: str) -> CType | None:
    types = target.types()
    return None if types is None else to_c(types, name)


def _shared(checked: CheckedScript, settings: Settings) -> Shared:
    counts = Counts("AT_counts")
    facts = checked.facts
    maps = {}
    for name, each in facts.maps.items():
        if each.value is not None:
            maps[name] = _map(each, settings, counts)
    return Shared(settings, maps, counts)


def _map(facts: MapFacts, settings: Settings, counts: Counts) -> ScriptMap:
    assert facts.value is not None
    entries = facts.entries or settings.max_map_keys
    return ScriptMap(facts.name, facts.key, facts.value, entries, counts.counter(), facts.declared, facts.first.span)


def _settings(script: tree.Script, given: Mapping[str, Any]) -> Settings:
    """The settings of the script's ``config`` block, and those that were given, which come first."""
    found = {}
    for each in script.settings:
        try:
            known = setting(each.name, each.value)
        except SettingError as error:
            script.source.fail(each.span, str(error))
        if known is not None:
            found[known[0]] = known[1]
    return Settings(**{**found, **given})
