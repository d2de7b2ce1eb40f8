"""What is left of mappings, compared with a model that has every page."""

from __future__ import annotations

import random

import pytest

from pybpf.tool import Mappings

pytestmark = pytest.mark.pure
PAGE = 4096


def test_mappings_are_as_pages_are() -> None:
    rng = random.Random(1)
    for _ in range(100):
        mappings = Mappings()
        pages: dict[int, tuple[int, int]] = {}  # -> how many bytes of it were asked for, and when
        for now in range(60):
            first, size = rng.randrange(64), rng.randrange(1, 9 * PAGE)
            covered = range(first, first + -(-size // PAGE))
            since = now - rng.choice([0, 0, 0, 20])
            gone = [page for page in covered if page in pages and pages[page][1] <= since]
            removed = mappings.remove((1, 0), first * PAGE, size, since)
            assert sum(length for _, length in removed) == sum(pages.pop(page)[0] for page in gone)
            if rng.random() < 0.5 and not any(page in pages for page in covered):
                mappings.add((1, 0), first * PAGE, size, now, f"stack {now}")
                pages.update((page, (min(size - PAGE * index, PAGE), now)) for index, page in enumerate(covered))
            found = {}
            for space, piece in mappings:
                assert space == (1, 0) and piece.stack == f"stack {piece.time}" and piece.start % PAGE == 0
                for start in range(piece.start, piece.end, PAGE):
                    assert start // PAGE not in found
                    found[start // PAGE] = min(PAGE, piece.end - start), piece.time
            assert found == pages


def test_what_the_kernel_refuses_removes_nothing() -> None:
    mappings = Mappings()
    mappings.add((7, 0), PAGE, 3 * PAGE, 1, None)
    assert mappings.remove((7, 0), PAGE + 1, PAGE, 2) == mappings.remove((7, 0), PAGE, 0, 2) == []
    assert mappings.remove((8, 0), PAGE, PAGE, 2) == []
    assert mappings.remove((7, 0), 2 * PAGE, 1, 2) == [(2 * PAGE, PAGE)]
    assert [(piece.start, piece.end, piece.number) for _, piece in mappings] == [
        (PAGE, 2 * PAGE, 1), (3 * PAGE, 4 * PAGE, 1),
    ]  # fmt: skip
    mappings.forget((7, 0))
    assert not list(mappings)
