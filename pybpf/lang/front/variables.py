"""The variables of a function while it is compiled: what each name is bound to here, and on all ways that lead here.

An integer, and every value that has operands (:meth:`~pybpf.lang.values.val.Val.ssa`), is kept in variables of the IR
builder. Everything else is bound while compiling: the same value must then come from every way to a place, or reading
the name there is an error.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Union

from pybpf.compiler.ops import INT
from pybpf.lang.values.constants import Const
from pybpf.lang.values.joins import same
from pybpf.lang.values.val import Val
from pybpf.record import NamedTuple

__all__ = ["RESULT", "Binding", "Env", "Kept", "Known", "Unset", "assume", "is_number", "join_bindings", "join_envs"]


#: The variable that holds what a function returns: no name of Python's.
RESULT = "return"


class Kept(NamedTuple):
    """A name whose value the IR builder has."""

    key: Hashable
    """What :meth:`Val.ssa` says must be equal."""
    val: Val
    """One such value, to make others like it."""
    types: tuple[str, ...] = (INT,)
    """Of the registers, as the IR has them."""


class Known(NamedTuple):
    """A name that is bound to one value; that of an integer constant is in the IR builder, too."""

    val: Val


class Unset(NamedTuple):
    """A name that cannot be read here."""

    why: str


Binding = Union[Kept, Known, Unset]
Env = dict[str, Binding]

_MAYBE = Unset("may not have been assigned here: assign it on every way that leads here")


def is_number(binding: Binding) -> bool:
    """Whether a name is an integer, which the IR builder has."""
    if isinstance(binding, Kept):
        return binding.key == "int"
    return isinstance(binding, Known) and isinstance(binding.val, Const) and isinstance(binding.val.value, int)


def join_bindings(one: Binding | None, other: Binding | None) -> Binding:
    """What a name is where two ways join; None: never assigned."""
    if one is None or other is None:
        unset = one or other
        return unset if isinstance(unset, Unset) else _MAYBE
    if isinstance(one, Unset) or isinstance(other, Unset):
        return one if isinstance(one, Unset) else other
    if (isinstance(one, Kept) and isinstance(other, Kept) and (one.key, one.types) == (other.key, other.types)) or (
        isinstance(one, Known) and isinstance(other, Known) and same(one.val, other.val)
    ):
        return one if one.val.known is other.val.known else one._replace(val=one.val.assumed(None))
    if is_number(one) and is_number(other):
        return one if isinstance(one, Kept) else Kept("int", one.val)
    return Unset(f"is {one.val.what} or {other.val.what} here, depending on the way: use two names")


def assume(env: Env, name: str, known: bool) -> Env:
    """The variables where one of them is there, or is None."""
    binding = env.get(name)
    if binding is None or isinstance(binding, Unset) or binding.val.known is not None:
        return env
    return {**env, name: binding._replace(val=binding.val.assumed(known))}


def join_envs(envs: list[Env]) -> Env:
    """What the names are where ways join."""
    if len(envs) == 1:
        return dict(envs[0])
    first, *others = envs
    joined = dict(first)
    for env in others:
        if env is first:
            continue
        for name in joined.keys() | env.keys():
            mine, its = joined.get(name), env.get(name)
            if mine is not its:
                joined[name] = join_bindings(mine, its)
    return joined
