"""What waits: names of a package (PEP 562) and regular expressions until they are used; the search for garbage."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from re import compile as regex
else:

    class regex:
        """A regular expression that is compiled when it is first used: most runs need few of those that there are."""

        def __init__(self, text, flags=0):
            self._pattern, self._flags = text, flags

        def __getattr__(self, name):
            import re

            value = getattr(re.compile(self._pattern, self._flags), name)
            self.__dict__[name] = value  # next time it is found without coming here
            return value


__all__ = ["Uncollected", "collect_again", "collect_seldom", "lazy_names", "regex"]

#: new objects after which Python looks for garbage
_SELDOM, _OFTEN = 100_000, 10_000


class Uncollected:
    """No garbage is looked for in a ``with``, in which what is made stays.

    Looking through all that has been made, again and again, takes a sixth of the time of imports, and of a long
    program's compilation half of it.
    """

    def __enter__(self) -> None:
        self._was_enabled = gc.isenabled()
        gc.disable()

    def __exit__(self, *raised: object) -> None:
        if self._was_enabled:
            gc.enable()


def collect_seldom() -> None:
    """Garbage is looked for after so many new objects that a command starts without it; see :func:`collect_again`."""
    gc.set_threshold(_SELDOM)


def collect_again() -> None:
    """Where :func:`collect_seldom` was called: what is there by now stays, and what is made later is looked through.

    Reading symbols leaves much garbage.
    """
    if gc.get_threshold()[0] == _SELDOM:
        gc.freeze()
        gc.set_threshold(_OFTEN)


def lazy_names(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A ``__getattr__`` for the package, which gets a ``__dir__`` too: completion knows what is not there yet.

    No name may be that of a file of the package: importing the file would put the module in its place.

    :param homes: file of the package, without ``.py``, or of another one (``"pybpf.sys.bpf"``) -> the names that it
        has, separated by spaces.
    """
    top = package.partition(".")[0] + "."
    home = {
        name: file if file.startswith(top) else f"{package}.{file}"
        for file, names in homes.items()
        for name in names.split()
    }

    def __getattr__(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        with Uncollected():
            value = getattr(import_module(home[name]), name)
        setattr(sys.modules[package], name, value)  # next time it is found without coming here
        return value

    module = sys.modules[package]
    setattr(module, "__dir__", lambda: sorted({*vars(module), *home}))  # noqa: B010 - mypy takes it for a method
    return __getattr__
