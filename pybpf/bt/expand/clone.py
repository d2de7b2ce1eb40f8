"""Copies of trees: later stages tell nodes apart by identity, so what stands in several places must be several."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pybpf.bt.syntax import tree
from pybpf.record import field_names

__all__ = ["clone", "shift", "walk"]

#: Gives what stands for a node in the copy; None: a copy of it.
Replace = Callable[[tree.Node], "tree.Node | None"]


def clone(node: Any, replace: Replace = lambda node: None) -> Any:
    """A copy of a node, a list or a tuple of nodes."""
    if isinstance(node, tree.Node):
        instead = replace(node)
        if instead is not None:
            return instead
        kind: Any = type(node)
        made = kind.__new__(kind)
        for name in field_names(kind):
            setattr(made, name, clone(getattr(node, name), replace))
        return made
    if isinstance(node, list):
        return [clone(each, replace) for each in node]
    if isinstance(node, tuple) and any(isinstance(each, (tree.Node, tuple, list)) for each in node):
        return tuple(clone(each, replace) for each in node)
    return node


def walk(node: Any) -> Iterator[tree.Node]:
    """A node and all that it is made of."""
    waiting = [node]
    while waiting:
        each = waiting.pop()
        if isinstance(each, tree.Node):
            yield each
            waiting += [getattr(each, name) for name in field_names(type(each))]
        elif isinstance(each, (list, tuple)):
            waiting += each


def shift(node: Any, offset: int) -> None:
    """Let the spans of a tree count from further on."""
    for each in walk(node):
        start, end = each.span
        each.span = (start + offset, end + offset)
