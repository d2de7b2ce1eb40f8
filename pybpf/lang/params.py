"""How the parameters of a probe function get their values from the program's context: one function per way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pybpf.lang.gen import Gen
    from pybpf.lang.probes import Param, Probe
    from pybpf.lang.values import Val

__all__ = ["BINDINGS", "Binding"]

Binding = Callable[["Gen", "Probe", "Sequence[Param]"], "list[Val]"]


def _nothing(gen: Gen, probe: Probe, params: Sequence[Param]) -> list[Val]:
    if params:
        gen.fail(params[0].node, f"{probe.title} has no parameters")
    return []


#: :attr:`ProbeKind.params` -> what binds them
BINDINGS: Mapping[str, Binding] = MappingProxyType({"nothing": _nothing})
