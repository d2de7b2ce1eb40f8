"""Flame graphs: counted stacks as one SVG file that a browser shows, with a script inside to zoom and to search.

Each box is a function, as wide as its part of the whole; what it called stands on it. The order from left to right is
that of the alphabet, so that equal calls come together.
"""

from __future__ import annotations

from collections.abc import Iterator
from colorsys import hls_to_rgb
from unicodedata import east_asian_width
from xml.sax.saxutils import escape, quoteattr
from zlib import crc32

from pybpf.report.flamescript import SCRIPT, STYLE
from pybpf.report.stacks import Box, Frame, StackCounts
from pybpf.report.text import printable

__all__ = ["flame_graph"]

#: pixels: the picture without a script, which makes it as wide as the window; its edge; a row; above and below them
WIDTH, EDGE, ROW, ABOVE, BELOW = 1200, 12, 18, 66, 10
#: boxes that would be narrower are left out; of a character of the font
NARROWEST, CHARACTER = 0.1, 6.7
#: kind of frame -> the hues of its boxes, in degrees, and how strong their colours are
_HUES = {"user": (14, 48, 0.85), "kernel": (190, 222, 0.6), "process": (0, 0, 0.0)}
_SHADES = 8
#: lightness of boxes in light and in dark surroundings
_LIGHT, _DARK = (0.68, 0.80), (0.27, 0.36)


def flame_graph(stacks: StackCounts, title: str) -> str:
    """The text of the SVG file. It loads nothing from elsewhere.

    :param title: stands above it.
    """
    total = stacks.total
    boxes = [_root(box) for box in stacks.boxes()]
    boxes.append(Box(Frame("all", "process"), 0, 0, total))
    drawn = [box for box in boxes if total and box.value / total * (WIDTH - 2 * EDGE) >= NARROWEST]
    drawn.sort(key=lambda box: (box.row, box.start))
    rows = 1 + max((box.row for box in drawn), default=0)
    hidden = len(boxes) - len(drawn) if total else 0
    return "\n".join(_lines(stacks, title, drawn, rows, hidden)) + "\n"


def _root(box: Box) -> Box:
    """One row up: below all of them there is one more."""
    return box._replace(row=box.row + 1)


def _lines(stacks: StackCounts, title: str, boxes: list[Box], rows: int, hidden: int) -> Iterator[str]:
    height = ABOVE + rows * ROW + BELOW
    note = f"{stacks.total:,} {_unit(stacks)}" if stacks.total else "nothing was counted"
    if hidden:
        note += f"; {hidden:,} of the narrowest boxes are left out"
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="flame" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}">'
    )
    yield f"<title>{_text(title)}</title>"
    yield f"<style>{STYLE}\n{_colours()}</style>"
    yield '<rect class="back" width="100%" height="100%"/>'
    yield f'<text class="head" x="{EDGE}" y="24">{_text(title)}</text>'
    yield f'<text class="note" x="{EDGE}" y="42">{_text(note)}</text>'
    yield f'<text class="details" x="{EDGE}" y="59"></text>'
    yield f'<text class="matched" x="{WIDTH - EDGE}" y="42" text-anchor="end"></text>'
    yield f'<text class="reset" x="{WIDTH - EDGE}" y="59" text-anchor="end"></text>'
    yield (
        f'<foreignObject class="find" x="{WIDTH - EDGE - 240}" y="6" width="240" height="24">'
        '<input xmlns="http://www.w3.org/1999/xhtml" type="search" spellcheck="false" aria-label="search" '
        'placeholder="search: a regular expression"/></foreignObject>'
    )
    yield (
        f'<svg class="boxes" x="{EDGE}" y="{ABOVE}" width="{WIDTH - 2 * EDGE}" height="{rows * ROW}" '
        f"data-unit={quoteattr(_unit(stacks))}>"
    )
    yield from (_box(box, rows, stacks.total) for box in boxes)
    yield "</svg>"
    yield f"<script>//<![CDATA[\n{SCRIPT}\n//]]></script>"
    yield "</svg>"


def _box(box: Box, rows: int, total: int) -> str:
    name = printable(box.frame.name)
    y = (rows - 1 - box.row) * ROW
    left, part = box.start / total, box.value / total
    file = f" data-file={quoteattr(printable(box.frame.path))}" if box.frame.path else ""
    shown = fitting(name, part * (WIDTH - 2 * EDGE))
    label = f'<text x="{left:.5%}" dx="3" y="{y + 12.5}">{escape(shown)}</text>' if shown else ""
    return (
        f'<g data-name={quoteattr(name)}{file} data-row="{box.row}" data-start="{box.start}" data-value="{box.value}">'
        f'<rect class="{_class(box.frame)}" x="{left:.5%}" y="{y}" width="{part:.5%}" height="{ROW - 1}"/>{label}</g>'
    )


def fitting(name: str, pixels: float) -> str:
    """As much of a name as a box of so many pixels shows: the whole, or its beginning and two dots, or nothing."""
    room = int((pixels - 6) / CHARACTER)
    if room < 3:
        return ""
    used = 0
    for index, char in enumerate(name):
        used += 2 if east_asian_width(char) in "WF" else 1
        if used > room:
            kept = name[:index]
            while kept and len(kept) + 2 > room:
                kept = kept[:-1]
            return f"{kept}.."
    return name


def _unit(stacks: StackCounts) -> str:
    """What is written behind a number."""
    short = {"count": stacks.measure, "nanoseconds": "ns", "microseconds": "us", "milliseconds": "ms"}
    return printable(short.get(stacks.unit, stacks.unit))


def _text(text: str) -> str:
    return escape(printable(text))


def _class(frame: Frame) -> str:
    """Of the same name the same colour, in every picture."""
    return f"{frame.kind[0]}{crc32(frame.name.encode('utf-8', 'surrogatepass')) % _SHADES}"


def _colours() -> str:
    light = "\n".join(_rules(*_LIGHT))
    dark = "\n".join(_rules(*_DARK))
    return f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}"


def _rules(darkest: float, lightest: float) -> Iterator[str]:
    for kind, (first, last, strength) in _HUES.items():
        for shade in range(_SHADES):
            at = shade / (_SHADES - 1)
            hue = (first + (last - first) * at) / 360
            lightness = darkest + (lightest - darkest) * (shade * 3 % _SHADES) / _SHADES
            colour = "".join(f"{round(part * 255):02x}" for part in hls_to_rgb(hue, lightness, strength))
            yield f".flame .{kind[0]}{shade} {{ fill: #{colour} }}"
