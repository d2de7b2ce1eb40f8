"""Replies of name servers: real shapes, cut ones, and any bytes."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybpf.errors import PackError
from pybpf.tool.dns import Names, Reply, parse_reply

pytestmark = pytest.mark.native

QUESTION = b"\3www\7example\3org\0" + struct.pack(">HH", 1, 1)
#: to the name of the question
POINTER = b"\xc0\x0c"


def header(answers: int, flags: int = 0x8180, questions: int = 1) -> bytes:
    return struct.pack(">HHHHHH", 7, flags, questions, answers, 0, 0)


def record(kind: int, data: bytes, name: bytes = POINTER, group: int = 1) -> bytes:
    return name + struct.pack(">HHIH", kind, group, 60, len(data)) + data


A, AAAA, ALIAS = record(1, b"\x7f\0\0\1"), record(28, b"\0" * 15 + b"\1"), record(5, b"\4real\xc0\x10")


@pytest.mark.parametrize(
    ("answers", "addresses"),
    [([], []), ([A], ["127.0.0.1"]), ([ALIAS, AAAA, A], ["::1", "127.0.0.1"]),
     ([record(1, b"\x7f\0\0\1", group=3), record(1, b"\x7f\0\0"), A], ["127.0.0.1"]),
     ([record(1, b"\x0a\0\0\1", b"\4real" + b"\xc0\x10")], ["10.0.0.1"])],
)  # fmt: skip
def test_addresses_of_all_answers(answers: list[bytes], addresses: list[str]) -> None:
    packet = header(len(answers)) + QUESTION + b"".join(answers)
    assert parse_reply(packet) == Reply("www.example.org", addresses)


def test_a_cut_reply_gives_what_is_in_it() -> None:
    packet = header(2) + QUESTION + A + AAAA
    assert parse_reply(packet[:-1]) == Reply("www.example.org", ["127.0.0.1"])
    assert parse_reply(packet[: len(header(0) + QUESTION)]) == Reply("www.example.org", [])


@pytest.mark.parametrize(
    "packet",
    [b"", header(0)[:-1], header(0), header(0, flags=0x0100) + QUESTION, header(0, questions=2) + QUESTION,
     header(0) + b"\xc0\x0c\0\1\0\1", header(0) + b"\xc0\xff\0\1\0\1", header(0) + b"\x40abc\0", header(0) + b"\3ab",
     header(0) + (b"\x3f" + b"a" * 63) * 5 + b"\0"],
)  # fmt: skip
def test_what_is_no_reply(packet: bytes) -> None:
    with pytest.raises(PackError):
        parse_reply(packet)


@given(st.binary(max_size=200), st.integers(0, 65535))
def test_any_bytes_end(data: bytes, answers: int) -> None:
    for packet in (data, header(answers) + data, header(answers) + QUESTION + data):
        try:
            found = parse_reply(packet)
        except PackError:
            continue
        assert len(found.addresses) <= len(packet) // 4


def test_names_are_the_last_ones_and_not_too_many() -> None:
    names = Names(most=2)
    names.learn(Reply("a", ["1.1.1.1", "2.2.2.2"]), 5)
    names.learn(Reply("b", ["1.1.1.1"]), 6)
    names.learn(Reply("c", ["3.3.3.3"]), 7)
    assert names.of("1.1.1.1") == ("b", 6) and names.of("3.3.3.3") == ("c", 7) and names.of("2.2.2.2") is None
