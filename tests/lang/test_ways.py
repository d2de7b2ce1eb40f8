"""Names and expressions that get different values, depending on the way: None or a value, places, text, tuples."""

from __future__ import annotations

import sys

import pytest

from pybpf.compiler.target import Target
from pybpf.errors import CompileError
from tests.lang import harness
from tests.lang.bodies import NAMES, results, rows

pytestmark = pytest.mark.root

#: text of a probe, or its body -> what it gives for some k
NONE: dict[str, dict[int, int]] = {
    "x = counts.get(k)\nif x is not None:\n    return min(x, 3)\nreturn 99": {1: 3, 2: 99, 3: 0},
    "x = counts.get(k)\nif x is None:\n    return 99\nreturn max(3, x)": {1: 7, 2: 99, 3: 3},
    "x = counts.get(k)\nreturn x if x is not None else 99": {1: 7, 2: 99, 3: 0},
    "x = counts.get(k)\nreturn 99 if None is x else x": {1: 7, 2: 99, 3: 0},
    "x = counts.get(k)\nif x is None: return 5\ny = x if k > 1 else 8\nreturn y": {1: 8, 2: 5, 3: 0},
    "return counts.get(k) or 33": {1: 7, 2: 33, 3: 33},
    "return counts.get(k, 4)": {1: 7, 2: 4, 3: 0},
    "x = counts.get(k) or 0\nreturn x + 1": {1: 8, 2: 1, 3: 1},
    "return (small.get(k) or 3) + 10": {1: 3, 2: 13},
    "x = counts.get(k)\ny = x and x + 1\nreturn 50 if y is None else y": {1: 8, 2: 50, 3: 0},
    "x = points.get(k)\ny = x and x.y\nreturn 50 if y is None else y": {1: 2, 2: 4, 3: 50},
    "x = counts.get(k)\nreturn x is not None and x > 3": {1: 1, 2: 0, 3: 0},
    "x = points.get(k)\nreturn x is None or x.y > 3": {1: 0, 2: 1, 3: 1},
    "x = counts.get(k)\nreturn x == 7": {1: 1, 2: 0, 3: 0},
    "x = counts.get(k)\nreturn x != 7": {1: 0, 2: 1, 3: 1},
    "x = counts.get(k)\nif x == 7:\n    return x + 1\nreturn 0": {1: 8, 2: 0, 3: 0},
    "x = counts.get(k)\nreturn x in (0, 7)": {1: 1, 2: 0, 3: 1},
    "x = texts.get(k)\nreturn x == 'text'": {1: 1, 2: 0},
    "if (x := counts.get(k)) is not None:\n    return x\nreturn 5": {1: 7, 2: 5, 3: 0},
    "if (x := points.get(k)) and x.y > 2:\n    return x.y\nreturn 5": {1: 5, 2: 4, 3: 5},
    "if not (x := points.get(k)):\n    return 5\nreturn x.y": {1: 2, 2: 4, 3: 5},
    "x = counts.get(k)\nif x:\n    return x\nif x is None:\n    return 5\nreturn x + 1": {1: 7, 2: 5, 3: 1},
    "x = counts.get(k)\nif not x:\n    return 5\nreturn x": {1: 7, 2: 5, 3: 5},
    "n = 0\nwhile (x := points.get(k)) is not None:\n    n += x.y\n    k += 1\nreturn n": {1: 6, 2: 4, 3: 0},
    "n = 0\nx = points.get(k)\nwhile x:\n    n += x.y\n    k += 1\n    x = points.get(k)\nreturn n": {1: 6, 2: 4, 3: 0},
    "x = None\nif k > 1:\n    x = k + 5\nif x is None:\n    return 3\nreturn x": {1: 3, 2: 7},
    "x = NOWHERE\nif k > 1:\n    x = points.get(k)\nreturn 3 if x is None else x.y": {1: 3, 2: 4, 3: 3},
    "x = points.get(k)\nif x is None:\n    x = others.get(k - 2)\nif x is None:\n    return 5\nreturn x.y": {
        1: 2, 3: 6, 4: 5},
    "x = points.get(k) or others.get(k - 2)\nreturn x.y if x else 5": {1: 2, 3: 6, 4: 5},
    "x = points.get(k) or Point(8, 9)\nreturn x.y": {1: 2, 3: 9},
    "x = points.get(k, Point(8, 9))\nreturn x.y": {1: 2, 3: 9},
    "x = points.get(k, HERE)\nx.y += 1\nreturn x.y": {1: 3, 3: 10},
    "x = points.pop(k, HERE)\nreturn x.y": {1: 2, 3: 9},
    "x = texts.get(k, 'none at all')\nreturn len(x)": {1: 4, 2: 11},
    "x = points.get(k)\nif x is None:\n    points[k] = Point(1, k)\n    x = points.get(k)\nreturn x.y if x else 0": {
        1: 2, 9: 9},
    "x = points.get(k)\ny = others.get(k)\nif x is not None and y is not None:\n    return x.y + y.y\n"
    "if x is None and y is None:\n    return 1000\nif x is None or y is None:\n    return 50\nreturn 1": {
        1: 8, 2: 50, 3: 1000},
    "x, y = points.get(k), others.get(k)\nif x is None or y is None:\n    return 5\nreturn x.y + y.y": {1: 8, 2: 5},
    "x = queue.pop()\nif x is None:\n    queue.push(k)\n    x = queue.peek()\nreturn x or 5": {3: 3},
    "best = None\nfor i in range(k):\n    x = points.get(i)\n    if x is not None and (best is None or x.y > best.y):\n"
    "        best = x\nreturn best.y if best else 0": {1: 0, 2: 2, 3: 4, 500: 4},
    "x = points.get(1)\nif x is None:\n    return 0\nn = 0\nfor i in range(k):\n    n = n * 100 + x.y\n"
    "    x = Point(3, i)\nreturn n": {1: 2, 2: 200, 4: 2000102},
}  # fmt: skip

#: needs Python 3.10
MATCH: dict[str, dict[int, int]] = {
    "x = points.get(k)\nmatch x:\n    case None:\n        return 5\n    case found:\n        return found.y": {
        1: 2, 3: 5},
    "x = counts.get(k)\nmatch x:\n    case 7:\n        return x + 1\n    case None:\n        return 5\nreturn x + 50": {
        1: 8, 2: 5, 3: 50},
}  # fmt: skip

FUNCTIONS: dict[str, dict[int, int]] = {
    "def find(k):\n    if k > 5:\n        return None\n    return points.get(k)\n\n"
    "def probe(k: u32):\n    p = find(k)\n    return 77 if p is None else p.y": {1: 2, 3: 77, 7: 77},
    "def find(k):\n    if k > 5:\n        return\n    return counts.get(k)\n\n"
    "def probe(k: u32):\n    p = find(k)\n    return 77 if p is None else p": {1: 7, 2: 77, 3: 0, 7: 77},
    "def find(k):\n    if k > 5:\n        return None\n    return k + 1\n\n"
    "def probe(k: u32):\n    if (p := find(k)) is not None:\n        return p\n    return 77": {1: 2, 7: 77},
    "def find(k):\n    if k > 5:\n        return Point(1, k)\n    return points.get(k)\n\n"
    "def probe(k: u32):\n    p = find(k)\n    return p.y if p else 77": {1: 2, 3: 77, 7: 7},
    "def find(k):\n    if k > 5:\n        return k, 'far away', None\n    return k * 2, 'near', points.get(k)\n\n"
    "def probe(k: u32):\n    n, text, p = find(k)\n    return n * 1000 + len(text) * 10 + (p.y if p else 0)": {
        1: 2042, 3: 6040, 7: 7080},
}  # fmt: skip

PLACES: dict[str, dict[int, int]] = {
    "e = paths.get(1)\nif e is None:\n    return 0\nx = e.first if k == 1 else e.second\nx.y += 10\n"
    "return e.first.y * 100 + e.second.y": {1: 1204, 2: 214},
    "e = paths.get(1)\nif e is None:\n    return 0\nif k == 1:\n    x = e.second\nelif k == 2:\n    x = row[2]\n"
    "else:\n    x = e.rest[k & 1]\nx.y += 1\nreturn (x.y * 100 + row[2].y) * 100 + e.second.y": {
        1: 53005, 2: 313104, 3: 93004},
    "x = row[1]\nif k == 2:\n    x = Point(1, 50)\nx.y += 10\nreturn x.y * 100 + row[1].y": {1: 3030, 2: 6020},
    "x = Point(1, k)\ny = last.value if k == 1 else x\ny.y += 3\nlast.value = y\nreturn x.y + last.value.y": {
        1: 4, 2: 10},
    "x = HERE if k == 1 else row[0]\nreturn x.y": {1: 9, 2: 10},
    "n = 0\np = Point(1, 2)\nfor i in range(k):\n    n = n * 100 + p.y\n    p = Point(3, i)\nreturn n * 100 + p.y": {
        1: 200, 2: 20001, 4: 200010203},
    "n = 0\np = row[0]\nfor i in range(k):\n    n = n * 100 + p.y\n    p = row[1]\nreturn n": {
        1: 10, 2: 1020, 3: 102020},
    "n = 0\np = Path(Point(1, 2), Point(3, 4))\nfor i in range(k):\n    n = n * 100 + p.first.y\n"
    "    p = Path(p.second, p.first)\nreturn n": {1: 2, 2: 204, 4: 2040204},
    "e = paths.get(1)\nif e is None:\n    return 0\ne.rest = (e.second, e.first)\ne.rest = (e.rest[1], e.rest[0])\n"
    "return e.rest[0].y * 10 + e.rest[1].y": {1: 24},
    "e = paths.get(1)\nif e is None:\n    return 0\nlast.value = e.first\nfor i in range(k):\n"
    "    e = paths.get(1)\n    if e is None:\n        break\n    e.first.y += 1\nreturn last.value.y": {3: 2},
}  # fmt: skip

TEXT: dict[str, dict[int, int]] = {
    "name = 'a' if k == 1 else 'longer than eight'\nreturn len(name)": {1: 1, 2: 17},
    "if k == 1:\n    name = 'a'\nelif k == 2:\n    name = notes[0].text\nelse:\n    name = notes[0].other\n"
    "return len(name) * 10 + (name == 'a') + 2 * name.startswith('the')": {1: 11, 2: 50, 3: 132},
    "name = notes[0].text\nother = name if k == 1 else 'x'\nnotes[0].text = 'second'\n"
    "return (name == 'first') * 2 + (other == 'first')": {1: 3},
    "name = ''\nfor i in range(k):\n    if i == 2:\n        name = 'much longer than it was'\n    elif i == 300:\n"
    "        name = notes[0].text\nreturn len(name)": {1: 0, 3: 23, 301: 5},
    "name = 'ab' if k else 'abc'\nreturn (name[1:9] == 'bc') * 2 + (name[8:11] == '')": {0: 3, 1: 1},
    "name = texts.get(k) or 'nothing there'\nreturn len(name)": {1: 4, 2: 13},
    "name = None\nif k == 1:\n    name = 'one'\nelif k == 2:\n    name = notes[0].other\n"
    "return 50 if name is None else len(name)": {1: 3, 2: 13, 3: 50},
}  # fmt: skip


@pytest.mark.skipif(sys.version_info < (3, 10), reason="no match statement")
@pytest.mark.parametrize(("text", "given"), MATCH.items())
def test_match(text: str, given: dict[int, int]) -> None:
    assert dict(zip(given, (results(text, [each])[0] for each in given))) == given


@pytest.mark.parametrize(("text", "given"), rows(NONE, FUNCTIONS, PLACES, TEXT))
def test_value(text: str, given: dict[int, int]) -> None:
    assert dict(zip(given, (results(text, [each])[0] for each in given))) == given


def test_chosen_text_in_keys_and_values() -> None:
    text = (
        "words['a' if k == 1 else notes[0].text] = 5\n"
        "words[comm() if k > 5 else 'k'] = 6\n"
        "name = 'more than sixteen bytes' if k == 1 else notes[0].other\n"
        "words[name] = 7\n"
        "notes[1].text = 'x' if k == 1 else 'yz'\n"
        "words[notes[1].text] = 8\n"
    )
    found = results(text, [1, 2], "words")[-1]
    assert found == {"a": 5, "first": 5, "k": 6, "more than sixtee": 7, "the other one": 7, "x": 8, "yz": 8}


STALE = (
    "'q' stands for a Point that line {} makes anew in each turn of the loop: copy it before, as in 'q: Point = ...'"
)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("n = 0\nq = p = Point(1, 2)\nfor i in range(k):\n    q = p\n    p = Point(3, i)\n    n += q.y\nreturn n", 6),
        ("n = 0\nq = points.pop(9)\nfor i in range(k):\n    p = points.pop(i)\n    if q:\n        n += q.y\n    q = p\n"
         "return n", 5),
    ],
)  # fmt: skip
def test_what_an_earlier_turn_made_is_lost(text: str, line: int) -> None:
    with pytest.raises(CompileError) as error:
        results(text, [])
    assert error.value.message == STALE.format(line)


def test_a_place_or_none_from_turn_to_turn() -> None:
    """Behind bpf_loop, whose callback the verifier lets forget what null is."""
    text = (
        "def probe(k: u32):\n    best = None\n    for i in range(k):\n"
        "        best = points.get(i)\n    return not best\n"
    )
    names = dict(NAMES)
    exec(compile(text, "<ways>", "exec", dont_inherit=True), names)
    harness.compiled(names["probe"], Target.described("6.12"), source=text)
    with pytest.raises(CompileError, match=r"'best' stands for a place or for None, depending on the turn"):
        harness.compiled(names["probe"], Target.described("6.1"), source=text)
