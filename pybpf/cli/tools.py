"""The bundled tracers, found as the files of ``pybpf.programs``: each says of itself what it is."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pybpf.tool import Tool

__all__ = ["all_tools", "find_tool", "tool_names"]

_PACKAGE = "pybpf.programs"


def tool_names() -> list[str]:
    """The names of all tools, sorted; nothing of them is loaded."""
    import pkgutil  # not needed by commands that are no tools

    return sorted(module.name for module in pkgutil.iter_modules(import_module(_PACKAGE).__path__))


def find_tool(name: str) -> Tool:
    """A tool by its name, one of :func:`tool_names`."""
    found: Tool = import_module(f"{_PACKAGE}.{name}").TOOL
    return found


def all_tools() -> list[Tool]:
    """All of them, by topic and name; loads each."""
    from pybpf.tool import TOPICS

    return sorted(map(find_tool, tool_names()), key=lambda tool: (TOPICS.index(tool.topic), tool.name))
