"""What callers of a tracer give: numbers, text, functions; checked where they are given, by names that messages use."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType, MappingProxyType
from typing import Any

from pybpf.errors import BpfError, PackError

__all__ = ["check_options", "check_seconds", "check_whole"]

_COOKIES = (1 << 64) - 1
#: what a perf event counts to, and nanoseconds of a timer: the kernel keeps them signed
_LONG = (1 << 63) - 1


def check_whole(what: str, value: object, least: int, most: int) -> None:
    """:raises PackError: it is not a whole number of that range.

    :param what: its name: ``"hz"``.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise PackError(f"{what}={value!r:.60} is not a whole number from {least} to {most}")


def check_seconds(what: str, value: object, least: float = -math.inf) -> None:
    """:raises PackError: it is no number of seconds, one below ``least``, or one of more than 292 years.

    :param what: its name: ``"duration"``.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= _LONG / 10**9:
        from_least = "" if least < 0 else f" from {least:g} on"
        raise PackError(f"{what}={value!r:.60} is no number of seconds{from_least}: write 0.5, say")


def _check_cookies(what: str, value: object) -> None:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise PackError(f"{what}={value!r:.60} is no list of numbers, one for each name")
    for each in value:
        check_whole(what, each, 0, _COOKIES)


def _check_text(what: str, value: object) -> None:
    if not isinstance(value, str):
        raise PackError(f"{what}={value!r:.60} is no text")


def _whole(least: int, most: int) -> Callable[[str, object], None]:
    return lambda what, value: check_whole(what, value, least, most)


#: the parameters that may be lists of names
_NAMES = ("name", "function", "symbol")
#: parameters of decorators -> what checks a value that is given
_CHECKS: Mapping[str, Callable[[str, object], None]] = MappingProxyType({
    "address": _whole(0, _COOKIES),
    "cookie": _whole(0, _COOKIES),
    "cookies": _check_cookies,
    "cpu": _whole(0, 1 << 20),
    "frequency": _whole(1, 1 << 31),
    "hz": _whole(1, 1 << 31),
    "offset": _whole(0, _LONG),
    "period": _whole(1, _LONG),
    "pid": _whole(1, (1 << 31) - 1),
    "source": _check_text,
})  # fmt: skip


def check_options(kind: str, given: Mapping[str, Any]) -> None:
    """Check what a decorator was called with, by the names of its parameters; None is always allowed.

    :param kind: of the probe.
    :param given: ``locals()`` at its begin.
    :raises PackError: one of them cannot be.
    :raises BpfError: it was given the function itself.
    """
    if any(isinstance(each, FunctionType) for each in given.values()):
        raise BpfError(f"@tracer.{kind} is called before it decorates: write @tracer.{kind}(...)")
    for name, value in given.items():
        check = _CHECKS.get(name)
        if check is not None and value is not None:
            check(name, value)
    cookies = given.get("cookies")
    names = next((given[each] for each in _NAMES if each in given), None) or ()
    if cookies is not None and (not isinstance(names, (list, tuple)) or len(cookies) != len(names)):
        there = f"{len(names)} names" if isinstance(names, (list, tuple)) and names else "one name"
        raise PackError(f"cookies={cookies!r:.60} are not one for each of {there}: cookie= is for one name, or for all")
