"""A struct that is taken from a map, by position or by name, wherever one is wanted: events, maps, fields, keys."""

from __future__ import annotations

import pytest

from pybpf.lang.state.maps import Array, Hash, PerCpuHash, Queue, Variable
from pybpf.lang.state.output import Events
from pybpf.types import Struct, char, u8, u32, u64
from tests.lang.sharing import Shared

pytestmark = pytest.mark.root

shared = Shared()


class Point(Struct):
    x: u8
    y: u32


class Path(Struct):
    first: Point
    rest: Point[2]
    length: u64


P, Q = Point(1, 2), Point(3, 4)
found = Hash(u32, Point, 10, shared.counts, "found")
points = Hash(u32, Point, 20, shared.counts, "points")
paths = Hash(u32, Path, 20, shared.counts, "paths")
keys = Hash(Point, u32, 20, shared.counts, "keys")
pairs = Hash((Point, u32), u32, 20, shared.counts, "pairs")
own = PerCpuHash(u32, Point, 20, shared.counts, "own")
places = Array(Point, 4, shared.counts, "places")
queue = Queue(Point, 9, shared.counts, "queue")
last = Variable(Point, shared.counts, name="last")
sent: Events[Point] = Events(Point, shared.counts, name="sent")
sent_paths: Events[Path] = Events(Path, shared.counts, name="sent_paths")
PARTS = (found, points, paths, keys, pairs, own, places, queue, last, sent, sent_paths)


@pytest.mark.needs("ringbuf")
def test_events() -> None:
    def probe(key: u32) -> None:
        point = found.get(key)
        if point is None:
            return
        sent.emit(point)
        sent.emit(Point(*point))
        sent_paths.emit(point, (point, point), 5)
        sent_paths.emit(first=point, length=6)
        sent_paths.emit(Path(point, rest=(point, Point(3, 4))))
        event = sent_paths.reserve()
        if event is None:
            return
        event.first = point
        event.rest[1] = point
        sent_paths.submit(event)

    with shared.load(probe, *PARTS) as run:
        found[1] = P
        run(1)
        run(2)
        none = Point()
        assert sent.read() == [P, P]
        assert sent_paths.read() == [
            Path(P, (P, P), 5), Path(P, length=6), Path(P, (P, Q)), Path(P, (none, P)),
        ]  # fmt: skip


def same(point):  # type: ignore[no-untyped-def]
    return point


def test_maps() -> None:
    def probe(key: u32) -> None:
        point = found[key]
        if point is None:
            return
        points[1] = point
        points[2] = same(point)
        points.setdefault(3, point)
        points[4] = point if key else same(point)
        paths[1] = Path(point, (point, point))
        path = paths.get(1)
        if path is not None:
            path.rest[key & 1] = Point(3, 4)
            path.first = path.rest[1]
            points[5] = path.first
        keys[point] = 1
        keys[point] += 1
        pairs[point, 7] += 1
        own[0] = places[1] = places[key + 1] = last.value = point
        queue.push(point)
        copy: Point = point
        copy.y = 8
        points[6] = copy

    with shared.load(probe, *PARTS) as run:
        found[1] = P
        run(1)
        assert dict(points.items()) == {1: P, 2: P, 3: P, 4: P, 5: Q, 6: Point(1, 8)}
        assert paths[1] == Path(Q, (P, Q))
        assert (dict(keys.items()), dict(pairs.items())) == ({P: 2}, {(P, 7): 1})
        assert (P in own[0], list(places.values()), last.value, queue.pop()) == (True, [Point(), P, P, Point()], P, P)


def test_what_was_taken_out() -> None:
    def probe(key: u32) -> None:
        if (point := found.pop(key)) is not None:
            points[key] = point
            queue.push(point)
        point = queue.pop()
        if point:
            points[key + 1] = point

    with shared.load(probe, *PARTS) as run:
        found[1] = P
        run(1)
        assert (dict(points.items()), dict(found.items())) == ({1: P, 2: P}, {})


class Note(Struct):
    text: char[16]
    other: char[16]
    point: Point
    back: Point
    numbers: u32[3]  # type: ignore[type-arg]
    turned: u32[3]  # type: ignore[type-arg]


notes = Array(Note, 2, shared.counts, "notes")
texts = Hash(u32, char[16], 10, shared.counts, "texts")
written = Hash(char[16], u64, 10, shared.counts, "written")


def test_values_are_read_before_they_are_exchanged() -> None:
    def probe() -> None:
        note = notes[0]
        note.text, note.other = note.other, note.text
        note.point, (note.back, note.numbers), note.turned = note.back, (note.point, note.turned), note.numbers
        places[0], places[1] = places[1], places[0]
        one: Point = P
        other: Point = Q
        places[2], places[3] = other, one
        one.x, other.x = other.x, one.x
        points[1], points[2] = one, other

    with shared.load(probe, *PARTS, notes) as run:
        notes[0] = Note("a", "b", P, Q, (1, 2, 3), (4, 5, 6))
        places[0], places[1] = P, Q
        run()
        assert notes[0] == Note("b", "a", Q, P, (4, 5, 6), (1, 2, 3))
        assert list(places.values()) == [Q, P, Q, P]
        assert dict(points.items()) == {1: Point(3, 2), 2: Point(1, 4)}


def changed(text, note):  # type: ignore[no-untyped-def]
    note.text = "changed"
    return text


def test_text_stays_what_it_was() -> None:
    def probe() -> None:
        note = notes[0]
        old = note.text
        note.text = "second"
        written[old] += 1
        written[changed(note.text, note)] += 10
        first, other = old, note.other
        for each in range(1, 200):
            now = written.get(note.text)
            if now is not None:
                return
            first, other, old = other, first, note.text
            if each % 2:
                note.text = "even"
            else:
                note.text = "odd"
        written[old] += 100
        written[first] += 1000
        kept = texts.get(1)
        texts[1] = "later"
        if kept is not None:
            written[kept] += 10_000

    with shared.load(probe, *PARTS, notes, written, texts) as run:
        notes[0] = Note("first", "x")
        texts[1] = "before"
        run()
        assert dict(written.items()) == {"first": 1, "second": 10, "odd": 100, "x": 1000, "before": 10_000}
