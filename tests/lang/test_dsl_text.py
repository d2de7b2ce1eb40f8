"""Text in probes: every operation compared with Python's ``str``, on texts that come from a map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pybpf.lang.state.maps import Array, Hash
from pybpf.types import Struct, array_of, char, u8, u16, u32, u64
from tests.lang.sharing import Shared

pytestmark = pytest.mark.root
shared = Shared()

NOTHING = ""
SIZES = (1, 3, 7, 8, 15, 16, 33, 100)


class Text(Struct):
    odd: u16
    a: char[15]
    b: char[16]
    long: char[100]
    raw: u8[5]


texts = Array(Text, 2, shared.counts, "texts")
words = Hash(char[16], u32, 100, shared.counts, "words")


def text(most: int) -> st.SearchStrategy[str]:
    return st.text("ab/", max_size=most)


def check(probe: Callable[..., Any], expected: Callable[[Text, Text], int], *parts: Any, examples: int = 60) -> None:
    """Compare the result for many texts with what Python makes of them."""
    with shared.load(probe, texts, *parts) as run:

        @settings(
            max_examples=min(examples, settings.default.max_examples), deadline=None,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(text(15), text(16), text(100), text(15), text(16))
        def same(a: str, b: str, long: str, other_a: str, other_b: str) -> None:
            one, two = Text(a=a, b=b, long=long, raw=b"abcde"), Text(a=other_a, b=other_b, long=long[:40])
            texts[0], texts[1] = one, two
            assert run() == expected(one, two), (one, two)

        same()


def bits(*values: bool) -> int:
    return sum(bool(value) << index for index, value in enumerate(values))


def test_equality() -> None:
    def probe() -> u64:
        x, y = texts[0], texts[1]
        n = 0
        if x.a == "ab":
            n |= 1
        if x.b != "ab":
            n |= 2
        if x.a == y.a:
            n |= 4
        if x.a == x.b:
            n |= 8
        if x.b != x.a:
            n |= 16
        if x.long == "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa":
            n |= 32
        if x.b == "abababababababab":
            n |= 64
        if x.long == y.long:
            n |= 128
        if x.a in ("a", "b", "/"):
            n |= 256
        if x.a:
            n |= 512
        if x.raw == b"abcde" and x.raw[1] == 98 and x.long == "":
            n |= 1024
        if x.b == "":
            n |= 2048
        return n

    def expected(x: Text, y: Text) -> int:
        return bits(
            x.a == "ab", x.b != "ab", x.a == y.a, x.a == x.b, x.b != x.a, x.long == "a" * 47, x.b == "ab" * 8,
            x.long == y.long, x.a in ("a", "b", "/"), bool(x.a), x.long == "", x.b == "",
        )  # fmt: skip

    check(probe, expected, examples=100)


def test_starts_and_ends() -> None:
    def probe() -> u64:
        x = texts[0]
        n = x.a.startswith("a") | x.b.startswith("ab/") << 1 | x.long.startswith("/ab") << 2
        n |= x.a.endswith("a") << 3 | x.b.endswith("ab") << 4 | x.long.endswith("/") << 5
        n |= x.b.startswith(("a", "/")) << 6 | x.b.endswith("") << 7 | x.a.startswith("aaaaaaaaaaaaaaaa") << 8
        return n

    def expected(x: Text, y: Text) -> int:
        return bits(
            x.a.startswith("a"), x.b.startswith("ab/"), x.long.startswith("/ab"), x.a.endswith("a"),
            x.b.endswith("ab"), x.long.endswith("/"), x.b.startswith(("a", "/")), True, False,
        )  # fmt: skip

    check(probe, expected, examples=100)


def test_starts_and_ends_with_text_of_run_time() -> None:
    def probe() -> u64:
        x, y = texts[0], texts[1]
        n = x.a.startswith(y.a) | x.b.startswith(x.a) << 1 | x.long.startswith(y.long) << 2
        n |= x.a.startswith(x.long) << 3 | x.a.endswith(y.a) << 4
        return n | x.b.endswith(x.a[1:4]) << 5 | x.long.endswith(y.b) << 6

    def expected(x: Text, y: Text) -> int:
        return bits(
            x.a.startswith(y.a), x.b.startswith(x.a), x.long.startswith(y.long), x.a.startswith(x.long),
            x.a.endswith(y.a), x.b.endswith(x.a[1:4]), x.long.endswith(y.b),
        )  # fmt: skip

    check(probe, expected, examples=100)


@pytest.mark.parametrize("length", [8, 500])
def test_numbers_in_arrays(length: int) -> None:
    kind = array_of(u32, length)
    place = Array(kind, 1, shared.counts, f"numbers{length}")

    def probe(n: u64) -> u64:
        return (n in place[0]) | (7 not in place[0]) << 1

    with shared.load(probe, place) as run:
        place[0] = list(range(100, 100 + length))
        assert [run(n) for n in (99, 100, 99 + length, 100 + length, 1 << 32 | 100)] == [2, 3, 3, 2, 2]
        place[0] = [0] * (length - 1) + [7]
        assert run(0) == run(7) == 1


def test_search_and_length() -> None:
    def probe() -> u64:
        x = texts[0]
        n = ("ab" in x.a) | ("/" in x.b) << 1 | ("ba/" in x.long) << 2 | ("a" not in x.b) << 3
        return n | len(x.a) << 8 | len(x.b) << 16 | len(x.long) << 24 | len(x.raw) << 32

    def expected(x: Text, y: Text) -> int:
        found = bits("ab" in x.a, "/" in x.b, "ba/" in x.long, "a" not in x.b)
        return found | len(x.a) << 8 | len(x.b) << 16 | len(x.long) << 24 | 5 << 32

    check(probe, expected, examples=100)


def test_search_for_text_of_run_time() -> None:
    def probe() -> u64:
        x, y = texts[0], texts[1]
        n = (x.a in x.b) | (y.b in x.long) << 1 | (x.a[:1] in x.b) << 2 | (x.a in "ab/ba") << 3
        return n | (x.a in NOTHING) << 4 | (x.a[1:3] not in x.long) << 5 | (x.long in x.a) << 6

    def expected(x: Text, y: Text) -> int:
        return bits(
            x.a in x.b, y.b in x.long, x.a[:1] in x.b, x.a in "ab/ba", x.a == "", x.a[1:3] not in x.long, x.long in x.a
        )

    check(probe, expected, examples=100)


def test_slices_and_copies() -> None:
    def probe() -> u64:
        x = texts[0]
        y = texts[1]
        y.a = x.b
        y.b = x.a
        y.long = x.a[:4]
        part = x.b[2:5]
        kept: char[16] = x.long
        words[x.a] = 1
        words[x.b[1:]] = 2
        words[kept] = 3
        y.raw = b"\x01\x02\x00\x04\x05"
        y.raw[1] = 7
        return (part == "ab/") | (x.a[0] == "/") << 1 | (x.long[:2] == "ab") << 2 | (kept == x.long[:16]) << 3

    def expected(x: Text, y: Text) -> int:
        cut = x.long[:16]
        assert texts[1].a == x.b[:15]
        assert texts[1].b == x.a
        assert texts[1].long == x.a[:4]
        assert texts[1].raw == b"\x01\x07\x00\x04\x05"
        found = {x.a: 1}
        found[x.b[1:]] = 2
        found[cut] = 3
        assert dict(words.items()) == found
        words.clear()
        return bits(x.b[2:5] == "ab/", x.a[:1] == "/", x.long[:2] == "ab", True)

    check(probe, expected, words, examples=100)


@pytest.mark.parametrize("size", SIZES)
def test_literals_of_every_length(size: int) -> None:
    kind = array_of(char, size)
    place = Array(kind, 1, shared.counts, "place")
    literal = "xyzw" * 25

    def probe() -> u64:
        place[0] = whole
        return (place[0] == whole) | (place[0] == whole + "y") << 1 | (place[0] == almost) << 2

    whole, almost = literal[:size], literal[: size - 1]
    with shared.load(probe, place) as run:
        assert run() == 1
        assert place[0] == whole
    whole = almost
    with shared.load(probe, place) as run:
        assert run() == 5
        assert place[0] == almost
