"""A mapping from keys to numbers, histograms or statistics, as bpftrace and BCC print a map."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, TypeVar

from pybpf.report.histogram import Histogram
from pybpf.report.stats import Stats
from pybpf.report.text import check_look, printable

__all__ = ["in_order", "key_text", "keyed", "one_value"]

_K = TypeVar("_K")
_V = TypeVar("_V")


def key_text(key: object) -> str:
    """A key as bpftrace writes it between brackets: ``1, abc`` for a tuple, an enum by name, text made safe."""
    if isinstance(key, Enum):
        return printable(key.name)
    if isinstance(key, tuple):
        return ", ".join(key_text(part) for part in key)
    return printable(key.decode("utf-8", "surrogateescape") if isinstance(key, bytes) else str(key))


def in_order(values: Mapping[_K, _V]) -> list[tuple[_K, _V]]:
    """The items in bpftrace's order: by value, statistics by average, histograms by count, ascending.

    Other values, and what is equal, come by key; keys that do not compare with each other, by their text.
    """
    items = list(values.items())
    try:
        items.sort(key=lambda item: item[0])  # type: ignore[arg-type, return-value]
    except TypeError:
        items.sort(key=lambda item: key_text(item[0]))
    if all(_size(value) is not None for _, value in items):
        items.sort(key=lambda item: _size(item[1]) or 0)
    return items


def _size(value: object) -> float | None:
    """What a value is sorted by, or ``None`` if it is text or something else."""
    if isinstance(value, Histogram):
        return value.count
    if isinstance(value, Stats):
        return value.average
    return value if isinstance(value, (int, float)) else None


def keyed(
    values: Mapping[_K, Any],
    name: str = "",
    style: str = "bpftrace",
    unit: str = "value",
    show: Callable[[_K], str] = key_text,
) -> str:
    """The whole mapping in bpftrace's order, without a newline at the end.

    :param values: numbers, :class:`Histogram`, :class:`Stats` or text, by key.
    :param name: the map's name: ``@name[key]: 3``. In BCC's style what a key is: ``name = key`` above a histogram.
    :param style: ``"bpftrace"`` or ``"bcc"``.
    :param unit: what a histogram counts, see :meth:`Histogram.text`.
    :param show: how to write a key; what it returns is printed as it is.
    :raises PackError: there is no such style, or the unit is no text. It is a ValueError, too.
    """
    check_look(style, unit)
    block = _BLOCKS[style]
    return "\n".join(block(printable(name), show(key), value, unit) for key, value in in_order(values))


def one_value(value: object, name: str, style: str = "bpftrace", unit: str = "value") -> str:
    """What has no keys, without a newline at the end: ``@name: 3``. In BCC's style it has no name.

    :raises PackError: there is no such style, or the unit is no text. It is a ValueError, too.
    """
    check_look(style, unit)
    if style == "bpftrace":
        return _named(f"@{printable(name)}", value, unit)
    return value.text(style, unit) if isinstance(value, Histogram) else printable(str(value))


def _named(head: str, value: object, unit: str) -> str:
    if isinstance(value, Histogram):
        return f"{head}:\n{value.text(unit=unit)}\n"
    return f"{head}: {printable(str(value))}"


def _bpftrace_block(name: str, key: str, value: object, unit: str) -> str:
    return _named(f"@{name}[{key}]", value, unit)


def _bcc_block(name: str, key: str, value: object, unit: str) -> str:
    title = f"{name or 'bucket'} = {key}"
    if isinstance(value, Histogram):
        return f"\n{title}\n{value.text('bcc', unit)}"
    return f"\t{printable(str(value)):<10} {title}"  # as argdist does


_BLOCKS: Mapping[str, Callable[[str, str, object, str], str]] = {"bpftrace": _bpftrace_block, "bcc": _bcc_block}
