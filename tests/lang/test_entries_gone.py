"""Names of entries that are deleted or replaced, which they keep as in Python; memory of variables; what is outside."""

from __future__ import annotations

import pytest

from pybpf.errors import CompileError
from tests.lang.bodies import results, rows

pytestmark = [pytest.mark.root, pytest.mark.generic]

#: an entry of that key, so that what was freed is used again
REUSED = "points[90] = Point(1, 77)\n"

GONE: dict[str, dict[int, int]] = {
    f"e = points.get(k)\nif e is None:\n    return 0\ndel points[k]\n{REUSED}e.y += 1\nreturn e.y": {1: 3, 2: 5, 3: 0},
    f"e = points.get(k)\nif e is None:\n    return 0\np = points.pop(k)\n{REUSED}if p is None:\n    return 1\n"
    "p.y += 1\nreturn e.y": {1: 3, 2: 5},
    f"e = points.get(k)\ndel points[k]\n{REUSED}return 99 if e is None else e.y": {1: 2, 2: 4, 3: 99},
    "e = points.get(k)\nif e is None:\n    return 0\npoints[k] = Point(1, 70)\npoints[k] = Point(1, 71)\n"
    "x = points.get(k)\nreturn e.y * 100 + (x.y if x else 0)": {1: 271, 2: 471},
    "e = own.get(k)\nown[k] = Point(1, 70)\nf = own.get(k)\nown[k] = Point(1, 71)\n"
    "return (f.y if f else 0) * 10 + (e is None)": {5: 701},
    "e = points.get(k)\nif e is None:\n    return 0\ndel points[k - 1]\ne.y += 10\nx = points.get(k)\n"
    "return x.y if x else 0": {1: 12, 2: 14},
    "e = paths.get(1)\nif e is None:\n    return 0\nx = e.second\nz = (e, x)\ndel paths[k]\n"
    "paths[5] = Path(Point(9, 9), Point(10, 10))\nx.y += 10\na, b = z\n"
    "return e.second.y * 10000 + b.y * 100 + a.first.y": {2: 141402, 1: 141402},
    f"e = points.get(k)\nf = points.get(2)\nif k != 5:\n    del points[k]\n{REUSED}if e is None or f is None:\n"
    "    return 0\nf.y += 1\nreturn e.y * 100 + f.y": {1: 205, 2: 505, 3: 0},
    "e = points.get(1)\nn = 0\nfor i in range(k):\n    del points[i]\n    points[50 + (i & 7)] = Point(1, i)\n"
    "    if e is not None:\n        n += e.y\n        e.y += 1\nreturn n": {1: 2, 3: 9, 200: 20300},
    f"def drop(k):\n    del points[k]\n    {REUSED}\ndef probe(k: u32):\n    e = points.get(1)\n    if e is None:\n"
    "        return 0\n    drop(k)\n    return e.y\n": {1: 2, 2: 2},
    "def first(p, q):\n    points[30] = Point(9, 99)\n    return p.y\n\n"
    "def probe(k: u32):\n    e = points.get(k)\n    if e is None:\n        return 0\n"
    "    return first(e, points.pop(k))\n": {1: 2, 2: 4},
    f"e = points.get(k)\nif e is None:\n    return 0\ne.y += points.pop(k, Point(0, 0)).y\n{REUSED}return e.y": {
        1: 4, 2: 8},
    "e = points.get(k)\nif e is None:\n    return 0\nreturn e == points.pop(k, Point(9, 9))": {1: 1, 2: 1},
    "e = paths.get(1)\nif e is None:\n    return 0\nn = 0\nfor x in e.rest:\n    paths.pop(1)\n"
    "    paths[k + 8] = Path(Point(9, 9), Point(9, 9), (Point(9, 9), Point(9, 9)))\n    n = n * 100 + x.y\nreturn n": {
        1: 608},
    "if k == 1:\n    e = points.get(1)\nelse:\n    e = others.get(1)\nif e is None:\n    return 0\ndel points[1]\n"
    f"{REUSED}del others[1]\nothers[7] = Point(5, 66)\nreturn e.y": {1: 2, 2: 6},
}  # fmt: skip

DECLARED: dict[str, dict[int, int]] = {
    "p = Point(1, 2)\nkept: Point = p\nn = 0\nfor i in range(k):\n    n = n * 10 + kept.y\n    kept = p\n"
    "    p = Point(3, i)\nreturn n": {1: 2, 3: 220, 5: 22012},
    "p = Point(1, 2)\nq: Point = Point(5, 6)\nq = p\nq.y = 9\nreturn p.y * 10 + q.y": {1: 29},
    "q: Point\nq = points.get(k, Point(7, 8))\nq.y += 1\nx = points.get(k)\nreturn q.y * 10 + (x.y if x else 0)": {
        1: 32, 3: 90},
    "t: char[16]\nfor i in range(k):\n    t = 'even' if i & 1 else 'more than sixteen bytes'\nreturn len(t)": {
        0: 0, 1: 16, 2: 4, 300: 4},
    "n: u32[4] = [1, 2, 3, 4]\nm = n\nn = [5, 6, 7, 8]\nreturn m[k]": {1: 6},
}  # fmt: skip


#: an index that is outside: reads 0, and writes nothing
OUTSIDE: dict[str, dict[int, int]] = {
    "n: u32[4] = [1, 2, 3, 4]\nn[k] = 9\nn[k + 1] += 10\nreturn ((n[0] * 100 + n[1]) * 100 + n[2]) * 100 + n[3]": {
        0: 9120304, 2: 1020914, 3: 1020309, 4: 1020304, 0xFFFFFFFF: 1020304},
    "n: u32[4] = [1, 2, 3, 4]\nreturn n[k] + 5": {0: 6, 3: 9, 4: 5, 1000: 5, 0xFFFFFFFF: 5},
    "n: u32[4] = [1, 2, 3, 4]\nreturn n[s32(k) - 2]": {0: 0, 1: 0, 2: 1, 5: 4, 6: 0},
    "e = paths.get(1)\nif e is None:\n    return 0\ne.rest[k].y += 10\nx = e.rest[k]\nx.x += 1\n"
    "return (e.rest[0].y * 100 + e.rest[1].y) * 100 + x.y * 10 + x.x": {0: 160966, 1: 61988, 2: 60800, 9: 60800},
    "e = paths.get(1)\nif e is None:\n    return 0\ne.rest[k] = Point(1, 2)\nreturn e.rest[0].y * 10 + e.rest[1].y": {
        0: 28, 1: 62, 2: 68},
    "b: u8[5] = b'abcde'\nb[k] = 1\nreturn b[k] * 1000 + b[4]": {0: 1101, 4: 1001, 5: 101, 200: 101},
    "t = notes[0].text\nreturn (t[k] == 'f') * 2 + (t[k] == '')": {0: 2, 1: 0, 16: 1, 99: 1},
    "row[k] = Point(1, 70)\nx = row[k]\nreturn x.y if x else 5": {3: 70, 4: 5},
}  # fmt: skip


@pytest.mark.parametrize(("text", "given"), rows(GONE, DECLARED, OUTSIDE))
def test_value(text: str, given: dict[int, int]) -> None:
    assert dict(zip(given, (results(text, [each])[0] for each in given))) == given


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("e = paths.get(1)\nif e is None:\n    return 0\nx = e.rest[k & 1]\ndel paths[k]\nreturn x.y",
         "'x' stands for a part of an entry of 'paths' that line 6 may take away: copy it before, as in "
         "'x: Point = ...'"),
        ("n = 0\nq = Point(1, 1)\nfor i in range(3):\n    p: Point = Point(1, i)\n    n += q.y\n    q = p\nreturn n",
         "'q' stands for a Point that line 5 makes anew in each turn of the loop: copy it before, as in "
         "'q: Point = ...'"),
    ],
)  # fmt: skip
def test_refused(text: str, message: str) -> None:
    with pytest.raises(CompileError) as error:
        results(text, [])
    assert error.value.message == message
