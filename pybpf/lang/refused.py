"""What Python has and a probe cannot have: why, and what to write instead; one table."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["reason"]

_FUNCTION = "define it outside of the probe, and call it here"
_COMPREHENSION = "write a 'for' loop"
_EXCEPTIONS = "eBPF has no exceptions"

_REASONS: Mapping[str, str] = MappingProxyType({
    "Assert": f"'assert' cannot be compiled: {_EXCEPTIONS}; write 'if not ...: return'",
    "AsyncFor": "'async for' cannot be compiled: a probe does not wait",
    "AsyncFunctionDef": f"a function inside of a probe cannot be compiled: {_FUNCTION}",
    "AsyncWith": "'async with' cannot be compiled: a probe does not wait",
    "Await": "'await' cannot be compiled: a probe does not wait",
    "ClassDef": "a class inside of a probe cannot be compiled: define it outside of the probe",
    "Dict": "a dict cannot be made in a probe: use a map, such as tracer.hash(...)",
    "DictComp": "a dict cannot be made in a probe: use a map, such as tracer.hash(...)",
    "FunctionDef": f"a function inside of a probe cannot be compiled: {_FUNCTION}",
    "GeneratorExp": f"a generator cannot be compiled: {_COMPREHENSION}",
    "Global": "'global' cannot be compiled: the globals of Python are constants in a probe; keep values in a map",
    "Import": "'import' cannot be compiled: import outside of the probe",
    "ImportFrom": "'import' cannot be compiled: import outside of the probe",
    "Lambda": f"a lambda inside of a probe cannot be compiled: {_FUNCTION}",
    "ListComp": f"a list comprehension cannot be compiled: {_COMPREHENSION}",
    "Nonlocal": "'nonlocal' cannot be compiled: what is outside of a probe is constant in it; keep values in a map",
    "Raise": f"'raise' cannot be compiled: {_EXCEPTIONS}; write 'return', or emit an event that says what is wrong",
    "SetComp": f"a set comprehension cannot be compiled: {_COMPREHENSION}",
    "Starred": "'*' cannot be compiled here: name each value",
    "Try": f"'try' cannot be compiled: {_EXCEPTIONS}; test values before they are used",
    "TryStar": f"'try' cannot be compiled: {_EXCEPTIONS}; test values before they are used",
    "TypeAlias": "'type' cannot be compiled: define types outside of the probe",
    "With": "'with' cannot be compiled: nothing in a probe needs to be closed",
    "Yield": "'yield' cannot be compiled: send values by the emit() of tracer.events(...)",
    "YieldFrom": "'yield' cannot be compiled: send values by the emit() of tracer.events(...)",
})  # fmt: skip


def reason(node: ast.AST) -> str:
    """Why a node of the syntax tree cannot be compiled."""
    name = type(node).__name__
    return _REASONS.get(name, f"{name} has no meaning in eBPF")
