"""The passes between the front ends and the back end, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable

from pybpf.compiler.branches import branches
from pybpf.compiler.checks import checks
from pybpf.compiler.cse import cse
from pybpf.compiler.dce import dce
from pybpf.compiler.dead_stores import dead_stores
from pybpf.compiler.equalities import equalities
from pybpf.compiler.far_offsets import far_offsets
from pybpf.compiler.fold import fold
from pybpf.compiler.forward import forward
from pybpf.compiler.ir import Unit
from pybpf.compiler.lookups import lookups
from pybpf.compiler.lower_division import lower_division
from pybpf.compiler.lower_elements import lower_elements
from pybpf.compiler.lower_maps import direct_maps, lower_maps
from pybpf.compiler.lower_memory import lower_memory
from pybpf.compiler.lower_reads import lower_reads
from pybpf.compiler.outline_loops import outline_loops
from pybpf.compiler.promote import promote
from pybpf.compiler.sink import sink
from pybpf.compiler.target import Target
from pybpf.compiler.whole_words import whole_words
from pybpf.compiler.widen import widen

__all__ = ["PASSES_MID"]

#: Name, as dumps ask for it, and what changes the unit. After them there are machine operations only.
PASSES_MID: list[tuple[str, Callable[[Unit, Target], None]]] = [
    ("fold", fold),
    ("direct_maps", direct_maps),
    ("branches", branches),
    ("promote", promote),
    ("fold_promoted", fold),
    ("cse", cse),
    ("lookups", lookups),
    ("fold_found", fold),
    ("equalities", equalities),
    ("checks", checks),
    ("branches_checked", branches),
    ("fold_checked", fold),
    ("promote_checked", promote),
    ("lower_maps", lower_maps),
    ("lower_reads", lower_reads),
    ("forward", forward),
    ("dead_stores", dead_stores),
    ("dce", dce),
    ("lower_memory", lower_memory),
    ("lower_division", lower_division),
    ("fold_machine", fold),
    ("cse_machine", cse),
    ("sink", sink),
    ("widen", widen),
    ("lower_elements", lower_elements),
    ("far_offsets", far_offsets),
    ("dce_machine", dce),
    ("whole_words", whole_words),
    ("outline_loops", outline_loops),
    ("branches_machine", branches),
]
