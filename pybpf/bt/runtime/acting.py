"""What user space does when a record arrives: a table from the name of an action to what carries it out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from pybpf.bt.runtime.events import Event, Exited, MapShown, PrintedRun, TextShown, ValueShown, Warned
from pybpf.bt.show.values import safe
from pybpf.bt.state.actions import Asked, AskedRun

if TYPE_CHECKING:
    from pybpf.bt.runtime.running import Running

__all__ = ["ACTIONS", "printed"]


def printed(running: Running, asked: AskedRun) -> PrintedRun | None:
    """What records make together that print by a format; None: they do something else."""
    action = asked.action
    if action.name not in _PRINTING:
        return None
    format, span = action.options
    place = running.place(span)
    return PrintedRun(action.name, format, action.fields, asked.columns, asked.records, running.names, place)


def _print(running: Running, asked: Asked) -> Event:
    (kind,), (raw,) = asked.action.fields, asked.values
    return ValueShown(kind, raw, running.names)


def _print_map(running: Running, asked: Asked) -> Event:
    name, *rest = asked.action.options
    top, divisor = [*rest, 0, 1][:2] if len(rest) < 2 else rest
    found = running.maps[name]
    return MapShown(found, found.ordered(top) or found.map.nothing(), divisor or 1)


def _print_entry(running: Running, asked: Asked) -> Event:
    found = running.maps[asked.action.options[0]]
    (key,) = asked.values
    return MapShown(found, [(each, value) for each, value in found.map.items() if each == key])


def _clear(running: Running, asked: Asked) -> None:
    running.maps[asked.action.options[0]].map.clear()


def _delete(running: Running, asked: Asked) -> None:
    running.maps[asked.action.options[0]].map.delete(asked.values[0])


def _zero(running: Running, asked: Asked) -> None:
    running.maps[asked.action.options[0]].map.zero()


def _exit(running: Running, asked: Asked) -> Event:
    return Exited(asked.values[0])


def _time(running: Running, asked: Asked) -> Event:
    return TextShown("time", time.strftime(asked.action.options[0]))


def _error(running: Running, asked: Asked) -> Event:
    span, message = asked.action.options
    return Warned(message, running.place(span), "ERROR")


def _warning(running: Running, asked: Asked) -> Event:
    span, message = asked.action.options
    return Warned(message, running.place(span))


def _formatted(running: Running, asked: Asked) -> str:
    format = asked.action.options[0]
    text: str = format.apply(asked.action.fields, asked.values, running.names)
    return text


def _cat(running: Running, asked: Asked) -> Event:
    path = _formatted(running, asked)
    try:
        with open(path, "rb") as file:
            data = file.read(running.script.settings.max_cat_bytes)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        return Warned(f"cannot read {path}: {why}", running.place(asked.action.options[1]), "ERROR")
    return TextShown("cat", safe(data.decode("utf-8", "surrogateescape")))


def _system(running: Running, asked: Asked) -> Event:
    import subprocess  # most scripts run nothing

    command = _formatted(running, asked)
    try:
        done = subprocess.run(["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    except (OSError, ValueError) as error:
        return Warned(f"cannot run {command!r}: {error}", running.place(asked.action.options[1]), "ERROR")
    return TextShown("syscall", safe(done.stdout.decode("utf-8", "surrogateescape")))


def _join(running: Running, asked: Asked) -> Event:
    (found,) = asked.values
    return TextShown("join", safe(bytes(found.data[: found.length]).decode("utf-8", "surrogateescape")) + "\n")


#: Actions that print by a format.
_PRINTING = frozenset({"printf", "errorf", "warnf"})
#: Name of any other action -> what carries it out; the event that it makes, or None.
ACTIONS: Mapping[str, Callable[[Running, Asked], Event | None]] = MappingProxyType({
    "print": _print,
    "print_map": _print_map,
    "print_entry": _print_entry,
    "cat": _cat,
    "system": _system,
    "join": _join,
    "clear": _clear,
    "delete": _delete,
    "zero": _zero,
    "exit": _exit,
    "time": _time,
    "error": _error,
    "warning": _warning,
})  # fmt: skip
