"""Probes that are written as text, run in the kernel on maps that hold something: what tests of names rest on."""

from __future__ import annotations

from typing import Any

import pytest

from pybpf.lang import comm
from pybpf.lang.state.maps import Array, Hash, PerCpuHash, Queue, Variable
from pybpf.types import Struct, char, s32, u8, u32, u64
from tests.lang import harness
from tests.lang.sharing import Shared

__all__ = ["NAMES", "results", "rows"]

shared = Shared()


class Point(Struct):
    x: u8
    y: u32


class Path(Struct):
    first: Point
    second: Point
    rest: Point[2]


class Note(Struct):
    text: char[16]
    other: char[32]


MAPS: dict[str, Any] = {
    "counts": Hash(u32, u64, 10, shared.counts, "counts"),
    "small": Hash(u32, s32, 10, shared.counts, "small"),
    "points": Hash(u32, Point, 20, shared.counts, "points"),
    "others": Hash(u32, Point, 20, shared.counts, "others"),
    "own": PerCpuHash(u32, Point, 20, shared.counts, "own"),
    "paths": Hash(u32, Path, 20, shared.counts, "paths"),
    "row": Array(Point, 4, shared.counts, "row"),
    "notes": Array(Note, 2, shared.counts, "notes"),
    "texts": Hash(u32, char[16], 10, shared.counts, "texts"),
    "words": Hash(char[16], u64, 20, shared.counts, "words"),
    "wide": Hash(char[64], u64, 20, shared.counts, "wide"),
    "queue": Queue(u32, 8, shared.counts, "queue"),
    "last": Variable(Point, shared.counts, name="last"),
}
CONTENT: dict[str, dict[Any, Any]] = {
    "counts": {1: 7, 3: 0},
    "small": {1: -7},
    "points": {1: Point(1, 2), 2: Point(3, 4)},
    "others": {1: Point(5, 6)},
    "paths": {1: Path(Point(1, 2), Point(3, 4), (Point(5, 6), Point(7, 8)))},
    "row": {0: Point(1, 10), 1: Point(2, 20), 2: Point(3, 30)},
    "notes": {0: Note("first", "the other one")},
    "texts": {1: "text"},
}
NAMES: dict[str, Any] = {
    **MAPS, "Point": Point, "Path": Path, "Note": Note, "u8": u8, "u32": u32, "u64": u64, "s32": s32, "char": char,
    "comm": comm, "HERE": Point(8, 9), "NOWHERE": None,
}  # fmt: skip


def rows(*tables: dict[str, Any]) -> list[Any]:
    """The rows of tables of probes, as parameters of a test: some loops are for some kernels."""
    found = []
    for table in tables:
        for text, given in table.items():
            loops = ("helper_loop",) if "range(k)" in text or "while" in text else ()
            needs = ("iter_num",) if "best" in text else loops  # a pointer or null, carried from turn to turn
            found.append(pytest.param(text, given, marks=[pytest.mark.needs(*needs)] if needs else []))
    return found


def results(text: str, args: list[int], read: str = "") -> list[Any]:
    """What a probe of one integer k gives, and then what a map holds."""
    if not text.startswith("def"):
        text = "def probe(k: u32):\n" + "".join(f"    {line}\n" for line in text.splitlines())
    names = dict(NAMES)
    exec(compile(text, "<ways>", "exec", dont_inherit=True), names)
    with harness.load(names["probe"], source=text) as program:
        for name, content in CONTENT.items():
            if name in program.maps:
                for key, value in content.items():
                    program.maps[name][key] = value  # type: ignore[index]
        given: list[Any] = [program(each) for each in args]
        return [*given, dict(program.maps[read].items())] if read else given  # type: ignore[attr-defined]
