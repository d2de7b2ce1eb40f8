"""What a name of a probe means that is not a variable of it: closure, globals, builtins, as Python looks them up."""

from __future__ import annotations

import builtins
from types import FunctionType
from typing import Any

from pybpf.sys.near import did_you_mean

__all__ = ["NameIsUnset", "look_up", "outside"]


class NameIsUnset(LookupError):
    """A name that means nothing; its text says why."""


def look_up(function: FunctionType, name: str) -> Any:
    """The object that a name refers to inside a function, now.

    :raises NameIsUnset: none.
    """
    free = function.__code__.co_freevars
    if name in free and function.__closure__:
        try:
            return function.__closure__[free.index(name)].cell_contents
        except ValueError:
            raise NameIsUnset(f"{name!r} of the enclosing function has no value yet: assign it before the "
                              "tracer is attached") from None
    if name in function.__globals__:
        return function.__globals__[name]
    if hasattr(builtins, name):
        return getattr(builtins, name)
    near = did_you_mean(name, _visible(function)) or ": import it, or define it outside of the probe"
    raise NameIsUnset(f"name {name!r} is not defined{near}")


def outside(function: FunctionType, name: str) -> Any:
    """The global of that name that a variable of the function hides, or None."""
    return function.__globals__.get(name)


def _visible(function: FunctionType) -> list[str]:
    code = function.__code__
    return [*code.co_varnames, *code.co_freevars, *function.__globals__, *vars(builtins)]
