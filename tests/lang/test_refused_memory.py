"""Wrong uses of maps, structs, arrays, text, events and aggregates: the exact message, and what the caret points at."""

from __future__ import annotations

from types import FunctionType
from typing import Any

import pytest

from pybpf.compiler.target import Target
from pybpf.errors import CompileError
from pybpf.lang.state.aggregates import HistogramMap, Tally
from pybpf.lang.state.counts import Counts
from pybpf.lang.state.maps import Array, Hash, Queue, Variable
from pybpf.lang.state.output import Events
from pybpf.lang.state.specials import HashOfMaps
from pybpf.report import Log2Histogram
from pybpf.types import Struct, char, s64, u8, u16, u32, u64
from tests.lang.harness import compiled

pytestmark = pytest.mark.pure

TARGET = Target.described("6.12")


class Point(Struct):
    x: u16
    y: u32


class Open(Struct):
    pid: u8
    path: char[16]
    where: Point
    numbers: u32[4]  # type: ignore[type-arg]


counts = Counts()
NAMES: dict[str, Any] = {
    "Point": Point, "Open": Open, "u8": u8, "u16": u16, "u32": u32, "u64": u64, "s64": s64, "char": char,
    "hits": Hash(u32, u64, 10, counts, "hits"),
    "small": Hash(u8, u16, 10, counts, "small"),
    "points": Hash(u32, Point, 10, counts, "points"),
    "pairs": Hash((char[16], u16), u64, 10, counts, "pairs"),
    "cells": Array(u64, 4, counts, "cells"),
    "queue": Queue(u32, 4, counts, "queue"),
    "total": Variable(u64, counts, name="total"),
    "opens": Events(Open, counts, name="opens"),
    "count": Tally("count", counts, name="count"),
    "by": Tally("avg", counts, key=u32, name="by"),
    "turned": Tally("count", counts, key=u32, name="turned", double_buffered=True),
    "sizes": HistogramMap(Log2Histogram({}), counts, name="sizes"),
    "outer": HashOfMaps(u32, Hash(u32, u64, 10, counts, "inner"), counts, 10, "outer"),
}  # fmt: skip

#: statement of a probe with an integer x, what the caret points at, message
ROWS = [
    ("return points.get(x).y", "points.get(x).y",
     "points.get() may give None: write 'if x is not None:' (or 'if x is None: return') before what uses it"),
    ("return points[x].y", "points[x].y",
     "points[...] may give None: write 'if x is not None:' (or 'if x is None: return') before what uses it"),
    ("points[x].y += 1", "points[x].y += 1",
     "points[...] may give None: write 'if x is not None:' (or 'if x is None: return') before what uses it"),
    ("return hits.get(x) + 1", "hits.get(x) + 1",
     "hits.get() may give None: write 'if x is not None:' (or 'if x is None: return') before what uses it"),
    ("return hits.pop(x) + 1", "hits.pop(x) + 1",
     "hits.pop() may give None: write 'if x is not None:' (or 'if x is None: return') before what uses it"),
    ("return queue.pop() > 1", "queue.pop() > 1",
     "queue.pop() may give None: write 'if x is not None:' (or 'if x is None: return') before what uses it"),
    ("return outer[x][x]", "outer[x][x]",
     "outer[...] may give None: write 'if x is not None:' (or 'if x is None: return') before what uses it"),
    ("hits.clear()", "hits.clear()",
     "the hash map 'hits' cannot be cleared in a probe: that would visit all of it; call clear() in Python"),
    ("hits.items()", "hits.items",
     "the hash map 'hits' has no 'items' in a probe; it has get, pop, setdefault, clear"),
    ("hits.fetch(x)", "hits.fetch",
     "the hash map 'hits' has no 'fetch' in a probe; it has get, pop, setdefault, clear"),
    ("hits.get()", "hits.get()",
     "the method get() of the hash map 'hits' is called as get(key, default=...)"),
    ("points.get(x, 0)", "points.get(x, 0)",
     "cannot store 0 in struct Point: not a Point"),
    ("small[300] = 1", "300", "300 does not fit u8: its range is 0 to 255"),
    ("small[1] = 70000", "70000", "70000 does not fit u16: its range is 0 to 65535"),
    ("small[-1] += 1", "-1", "-1 does not fit u8: its range is 0 to 255"),
    ("hits['a'] = 1", "'a'", "'a' is not an integer"
     ": write a number, or declare char[N] for text"),
    ("points[x] = 5", "5", "cannot store 5 in struct Point: not a Point"),
    ("points[x] = x", "points[x]", "a u64 cannot be kept as Point"),
    ("points[x] = Open()", "points[x]", "an Open cannot be kept as Point"
     ": declare Open for it"),
    ("pairs[x] = 1", "x", "the keys of the hash map 'pairs' have 2 parts, and this has one: write pairs[a, b]"),
    ("pairs['a', x, x] += 1", "'a', x, x",
     "the keys of the hash map 'pairs' have 2 parts, and this has 3: write pairs[a, b]"),
    ("for key in hits:\n        pass", "hits",
     "the hash map 'hits' cannot be gone through in a probe: read it in Python, or look up keys that are known"),
    ("return len(hits)", "len(hits)", "the hash map 'hits' has no length"
     " in a probe: count in a variable, or ask len() in Python"),
    ("return cells[4]", "4", "the array map 'cells' has elements 0 to 3, not 4"),
    ("del cells[1]", "cells[1]", "the array map 'cells' is an array, whose elements are always there: store 0 instead"),
    ("total += 1", "total", "'total' is a variable of the tracer: write total.value"),
    ("total.count += 1", "total.count += 1", "the variable 'total' has no 'count'; its value is total.value"),
    ("outer[x] = 5", "outer[x]",
     "the hash_of_maps map 'outer' holds maps, which only Python can put in: outer[k] = map"),
    ("p = Point(1, 2, 3)", "Point(1, 2, 3)", "Point has 2 fields, but 3 values are given"),
    ("p = Point(z=3)", "Point(z=3)", "Point has no field 'z'; its fields are x, y"),
    ("p = Point(3, x=3)", "Point(3, x=3)", "Point: the field 'x' is given twice"),
    ("p = Point(x=70000)", "70000", "70000 does not fit u16: its range is 0 to 65535"),
    ("p = Point(x=1)\n    return p.z", "p.z", "a Point has no field 'z'; its fields are x, y"),
    ("p = Point(x=1)\n    p.z = 2", "p.z", "a Point has no field 'z'; its fields are x, y"),
    ("p = Point(x=1)\n    return p + 1", "p + 1", "a Point does not support '+'"
     ": write which field, as in x.x"),
    ("o = Open()\n    return o.numbers[4]", "4", "a u32[4] has elements 0 to 3, not 4"),
    ("o = Open()\n    o.numbers = (1, 2)", "(1, 2)", "cannot store 2 values in u32[4]"
     ": it takes 4"),
    ("o = Open()\n    o.numbers = (x, 2)", "o.numbers", "u32[4] has 4 elements, but 2 values are given"),
    ("o = Open()\n    o.path[0] = 'a'", "o.path[0]",
     "a char[16] is text, which is assigned as a whole; a u8[N] has bytes that can be assigned"),
    ("o = Open(path='a text that is too long')", "'a text that is too long'",
     "cannot store 'a text that is too long' in char[16]: it has 23 bytes"),
    ("o = Open()\n    return o.path == 5", "o.path == 5", "a char[16] can be compared with text of Python, not with 5"),
    ("o = Open()\n    return o.path.upper()", "o.path.upper",
     "a char[16] has no attribute 'upper'; it has startswith, endswith"),
    ("o = Open()\n    return o.path.startswith(x)", "o.path.startswith(x)",
     "startswith() takes one text, or a tuple of constant ones"),
    ("o = Open()\n    return o.path[3:1]", "o.path[3:1]",
     "a slice of a char[16] has a first and a last byte that are constant: x[:16]"),
    ("o = Open()\n    return o.path == 'a\\0b'", "o.path == 'a\\0b'",
     "text in the kernel ends at its first NUL: a constant that has one never matches"),
    ("opens.emit(x, 'a', nothing=3)", "opens.emit(x, 'a', nothing=3)",
     "Open has no field 'nothing'; its fields are pid, path, where, numbers"),
    ("opens.emit(pid=300)", "300", "300 does not fit u8: its range is 0 to 255"),
    ("opens.emit(where=x)", "x", "a u64 cannot be kept as Point"),
    ("opens.send(pid=3)", "opens.send",
     "the events 'opens' has no 'send' in a probe; it has emit, reserve, submit, discard"),
    ("opens.submit(x)", "opens.submit(x)", "submit() takes an event that reserve() gave"),
    ("opens.reserve().pid = 3", "opens.reserve().pid",
     "reserve() may give None: write 'if x is not None:' (or 'if x is None: return') before what uses it"),
    ("by.add(x)", "by.add(x)", "the avg 'by' has keys: write x[key].add(value)"),
    ("by[x] += 1", "by[x] += 1", "the avg 'by' does not support '+=': write x[key].add(value)"),
    ("return x in turned", "x in turned",
     "the count 'turned' is double-buffered: probes only add to it; keep what they look up in another map"),
    ("del turned[x]", "turned[x]",
     "the count 'turned' is double-buffered: probes only add to it; keep what they look up in another map"),
    ("by[x] = 1", "by[x]", "the avg 'by' cannot be assigned to: write x[key].add(value)"),
    ("count[x].add(1)", "count[x]", "the count 'count' has no keys: make it with key=..., or write .add() without one"),
    ("sizes.add()", "sizes.add()", "the method add() of the histogram 'sizes' takes one value: add(value)"),
    ("sizes.add('a')", "sizes.add('a')", "'a' is not an integer"
     ": write a number, or declare char[N] for text"),
    ("sizes.percentile(5)", "sizes.percentile",
     "the histogram 'sizes' has no 'percentile' in a probe; it has add(...)"),
    ("v = u64[4](1, 2)", "u64[4](1, 2)", "u64[4]() takes one value at most: what the array holds"),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "caret", "message"), ROWS)
def test_message_says_what_and_where(statement: str, caret: str, message: str) -> None:
    text = f"def probe(x):\n    {statement}\n"
    names = dict(NAMES)
    exec(compile(text, "<rows>", "exec"), names)
    probe: FunctionType = names["probe"]
    with pytest.raises(CompileError) as raised:
        compiled(probe, TARGET, source=text)
    error = raised.value
    assert error.message == message
    assert error.text[error.column - 1 : error.end_column - 1] == caret
