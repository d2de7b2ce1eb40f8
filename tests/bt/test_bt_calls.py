"""Functions of the language, each with values whose result is known; what they refuse."""

from __future__ import annotations

import pytest

import pybpf.bt
from pybpf.errors import CompileError
from tests.bt.harness import printed, traced

pytestmark = [pytest.mark.root, pytest.mark.native]

#: body of a probe -> what it prints
PRINTS = {
    'printf("%s %s", ntop(0x0100007f), ntop(AF_INET, 0x0100007f));': "127.0.0.1 127.0.0.1",
    'printf("%s %s", ntop(pton("1.2.3.4")), ntop(AF_INET6, pton("fe80::1")));': "1.2.3.4 fe80::1",
    'printf("[%s]", ntop(77, 1));': "[]",
    'printf("%d %d %x", pton("::1") == pton("::1"), pton("1.2.3.4") == pton("1.2.3.5"), (uint32)pton("127.0.0.1"));':
        "1 0 100007f",
    "$x = ntop(5); $y = ntop(5); $z = ntop(6); printf(\"%d %d %s\", $x == $y, $x == $z, $z);": "1 0 6.0.0.0",
}  # fmt: skip


@pytest.mark.parametrize("body", PRINTS)
def test_prints(body: str) -> None:
    assert printed(f"begin {{ {body} }}") == PRINTS[body]


def test_addresses_are_keys() -> None:
    done = traced('begin { @[ntop(0x0100007f), 1] = 1; @x = ntop(pton("::1")); @[ntop(0x0100007f), 1]++; }')
    assert done.maps == {"": {("127.0.0.1", 1): 2}, "x": "::1"}
    assert done.shown == "@[127.0.0.1, 1]: 2\n@x: ::1\n"


#: script -> what is said of it, and which part of it is meant
REFUSED = {
    "begin { ntop(); }": ("ntop takes arguments as in ntop([family], address); 0 are given", "ntop()"),
    'begin { ntop("abcd"); }': ("ntop() is for an integer, or an array of 4 or 16 bytes", '"abcd"'),
    'begin { ntop("x", 1); }': ("an address family must be an integer, not a string[2]", '"x"'),
    'begin { pton("1.2.3"); }': ("'1.2.3' is no address of the internet", '"1.2.3"'),
    "begin { pton(1); }": ("an address must be text that is known when the script is compiled, in quotes", "1"),
    "begin { macaddr(5); }": ("macaddr() is for an array of 6 bytes, and this is int8", "5"),
}


@pytest.mark.parametrize("script", REFUSED)
def test_refused_with_a_place(script: str) -> None:
    with pytest.raises(CompileError) as caught:
        pybpf.bt.compile_script(script)
    error, (message, part) = caught.value, REFUSED[script]
    assert message in error.message
    assert script[error.column - 1 : error.end_column - 1] == part
