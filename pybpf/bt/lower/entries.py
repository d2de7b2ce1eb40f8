"""``for ($kv : @map)``: the body is a function that the kernel calls for each entry of the map."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pybpf.bt.syntax import tree

if TYPE_CHECKING:
    from pybpf.bt.check.facts import VariableFacts
    from pybpf.bt.lower.gen import Gen

__all__ = ["each_entry"]


def each_entry(gen: Gen, node: tree.For, variable: VariableFacts) -> None:
    """The body, for each entry. :raises CompileError: loops over maps are not compiled yet."""
    gen.fail(node, "loops over maps are not compiled yet; print the map, or go through a range")
