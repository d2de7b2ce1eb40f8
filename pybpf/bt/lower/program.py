"""From a checked probe to a unit of IR, and from there to a program: pure, needs neither a kernel nor privileges."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pybpf.bt.check.checker import Checker
from pybpf.bt.lower.gen import Gen
from pybpf.compiler.build import Builder
from pybpf.compiler.ir import Counter, Function, Unit
from pybpf.lang.values.running import namespace_ids
from pybpf.lazy import regex

if TYPE_CHECKING:
    from pybpf.bt.check.facts import Checked, Facts
    from pybpf.bt.state.shared import Shared
    from pybpf.compiler.target import Target

__all__ = ["lower"]

_NO_LETTER = regex(r"[^A-Za-z0-9_]+", re.ASCII)
#: Kinds of probes that the kernel itself restricts to a process, or that belong to none.
_UNFILTERED = frozenset({"begin", "end", "self", "test", "bench", "interval", "profile", "software", "hardware",
                         "iter", "uprobe", "uretprobe", "usdt", "watchpoint"})  # fmt: skip


def lower(facts: Facts, checked: Checked, shared: Shared, target: Target, pid: int | None = None) -> Unit:
    """The unit of a probe.

    :param pid: the one process to trace, or None.
    :raises CompileError: the target cannot do what the script asks for.
    """
    place = checked.place
    program = Function(_NO_LETTER.sub("_", place.name).strip("_") or "probe")
    unit = Unit(place.type, [program], {}, place.expected, place.attach_btf)
    b = Builder(program)
    check = Checker(facts, checked)
    check.finished = True
    gen = Gen(target, checked, check, shared, unit, b)
    with gen.at(checked.probe):
        place.arguments.begin(gen)
        if pid is not None and place.kind not in _UNFILTERED:
            _only(gen, pid)
        if checked.probe.predicate is not None:
            wanted, unwanted = b.new_block("wanted"), b.new_block("unwanted")
            gen.branch(checked.probe.predicate, wanted, unwanted)
            gen.land(unwanted)
            gen.leave()
            gen.land(wanted)
        gen.block(checked.probe.body)
        gen.leave()
    b.finish()
    unit.alone = gen.alone
    if not unit.alone:
        counts = shared.counts
        unit.skipped = Counter(gen.map_name(counts), counts.spec, 8 * counts.skipped.index)
    return unit


def _only(gen: Gen, pid: int) -> None:
    """Leave the program where another process runs."""
    _, process = namespace_ids(gen)
    wanted, other = gen.b.new_block("wanted"), gen.b.new_block("other")
    gen.b.branch("eq", process, pid, wanted, other)
    gen.land(other)
    gen.leave()
    gen.land(wanted)
