"""A whole script: attach points become places, probes are checked until nothing new is found."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from pybpf.bt.check.checker import Checker
from pybpf.bt.check.facts import Checked, Facts
from pybpf.bt.expand.clone import walk
from pybpf.bt.probes.place import Environment, Place, Wants
from pybpf.bt.probes.table import resolve
from pybpf.bt.state.maps import KINDS
from pybpf.bt.syntax import tree
from pybpf.bt.syntax.attachpoints import AttachPoint, has_wildcard
from pybpf.errors import BpfError, CompileError, NotFoundError
from pybpf.record import dataclass, replace
from pybpf.sys.near import did_you_mean

__all__ = ["CheckedScript", "check_script"]

#: Passes until types must stand still: each widens a type, and of integers there are few.
_MOST_PASSES = 40


@dataclass
class CheckedScript:
    """A script whose probes all have their types.

    :ivar probes: in the order of the script.
    """

    facts: Facts
    probes: list[Checked]


def check_script(facts: Facts, environment: Environment) -> CheckedScript:
    """Check a script.

    :raises CompileError: something makes no sense, or a probe does not exist.
    """
    missing: list[CompileError] = []
    probes = [
        Checked(probe, point, place)
        for probe in facts.script.probes
        for point, place in _places(facts, probe, environment, missing)
    ]
    if not facts.script.probes:
        raise facts.script.source.error((0, 0), "the script has no probes")
    if missing and not probes:
        raise missing[0]
    _count(facts, probes)
    for declared in facts.script.maps:
        found = facts.map(declared.map)
        if declared.kind not in KINDS:
            hint = did_you_mean(declared.kind, KINDS) or f"; there are {', '.join(KINDS)}"
            facts.script.source.fail(declared.span, f"there is no kind of map {declared.kind!r}{hint}")
        if not 0 < declared.entries < 1 << 32:
            facts.script.source.fail(declared.span, f"a map has 1 to {(1 << 32) - 1} entries")
        found.declared, found.entries = declared.kind, declared.entries
    for _ in range(_MOST_PASSES):
        facts.changed = False
        for each in probes:
            Checker(facts, each).run()
        if not facts.changed:
            break
    facts.final = True
    for each in probes:
        Checker(facts, each).run()
    _check_arguments(facts)
    for declared in facts.script.maps:
        if facts.map(declared.map).value is None:
            facts.warn(declared, f"Unused map: @{declared.map.name}")
    return CheckedScript(facts, probes)


def _check_arguments(facts: Facts) -> None:
    """:raises CompileError: the script asks for no argument of a name that was given, ``--help`` for instance."""
    unknown = next((name for name in facts.named if name not in facts.options), None)
    if unknown is None:
        return
    known = ", ".join(f"--{name} ({text})" if text else f"--{name}" for name, text in sorted(facts.options.items()))
    what = f"it has {known}" if known else 'getopt("name") would make one'
    raise CompileError(f"the script has no argument --{unknown}; {what}", facts.script.source.file)


#: Functions whose arguments are only shown.
_SHOW = ("printf", "print", "errorf", "warnf")


def _wants(facts: Facts, probe: tree.Probe) -> Wants:
    nodes = list(walk(probe))
    names = {node.name for node in nodes if isinstance(node, (tree.Name, tree.Call))}
    shown = set(filter(_is_probe, _shown(nodes)))
    facts.shown |= shown
    facts.words |= names
    computed = any(_is_probe(node) and node not in shown for node in nodes)
    return Wants("args" in names, computed, bool(shown))


def _shown(nodes: list[tree.Node]) -> Iterator[tree.Node]:
    """What is only kept in a key, or printed."""
    for node in nodes:
        if isinstance(node, tree.MapAccess):
            yield from node.keys
        elif isinstance(node, tree.Call) and node.name in _SHOW:
            yield from node.arguments


def _is_probe(node: tree.Node) -> bool:
    return (isinstance(node, tree.Name) or (isinstance(node, tree.Call) and not node.arguments)) and (
        node.name == "probe"
    )


def _places(
    facts: Facts, probe: tree.Probe, environment: Environment, missing: list[CompileError]
) -> Iterator[tuple[tree.ProbePoint, Place]]:
    wants, before, some = _wants(facts, probe), len(missing), False
    for point in probe.points:
        assert point.points is not None  # the parser was given the arguments
        for each in point.points:
            for place in _resolved(facts, point, each, wants, environment, missing):
                some = True
                yield point, _called(place, point.name) if point.name else place
    if environment.missing == "error" and not some and len(missing) > before:
        raise missing[before]


def _called(place: Place, name: str) -> Place:
    """The place by the name that the script gives it, however many it stands for."""
    return replace(place, name=name, names=(name,) * len(place.names))


def _count(facts: Facts, probes: list[Checked]) -> None:
    """:raises CompileError: there are more probes or programs than the settings allow."""
    for name, what, counts in (
        ("max_probes", "probes", [each.place.places for each in probes]),
        ("max_bpf_progs", "programs", [1] * len(probes)),
    ):
        most: int = getattr(facts.settings, name)
        sums = list(accumulate(counts))
        if sums and sums[-1] > most:
            point = next(each.point for each, number in zip(probes, sums) if number > most)
            message = f"the script has {sums[-1]} {what}, more than {most}; "
            facts.script.source.fail(
                point.span, f"{message}{name} allows more, each of which takes time and memory of the kernel"
            )


def _resolved(
    facts: Facts,
    node: tree.ProbePoint,
    point: AttachPoint,
    wants: Wants,
    environment: Environment,
    missing: list[CompileError],
) -> list[Place]:
    """The places of an attach point; none, and why, where there is no such place.

    A pattern may match nothing, as long as its probe has another place.
    """
    try:
        return resolve(point, wants, environment)
    except NotFoundError as error:
        if point.optional:
            return []
        several = len(facts.script.probes) > 1 or len(facts.script.probes[0].points) > 1
        hint = '; config = { missing_probes = "warn" } goes on without it' if several else ""
        found = facts.script.source.error(node.span, f"{error}{hint if environment.missing == 'error' else ''}")
        if environment.missing == "error" and not has_wildcard(point.text):
            raise found from None
        missing.append(found)
        if environment.missing == "warn":
            facts.warnings.setdefault((node.span, str(error)), found)
        return []
    except CompileError:
        raise
    except BpfError as error:
        raise facts.script.source.error(node.span, str(error)) from None
