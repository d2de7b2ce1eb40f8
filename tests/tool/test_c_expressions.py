"""C expressions of trace and argdist: what they become in Python, computed and compared; formats; what is refused."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybpf.errors import BpfError
from pybpf.tool.c.bodies import Body
from pybpf.tool.c.expressions import Names, translate
from pybpf.tool.c.formats import parse_format
from pybpf.tool.c.specs import Place, Spec, split
from pybpf.tool.c.types import ctype, parameter
from pybpf.tool.output import clean

pytestmark = pytest.mark.native

NAMES = Names(
    lambda name: name, lambda name, values, written: f"{name}({', '.join(values)})",
    lambda kind, code: f"_cast({kind.code(False)}, {code})", False,
)  # fmt: skip
#: C's precedence, strongest last: in each row operators of one strength
ROWS = (("||",), ("&&",), ("|",), ("^",), ("&",), ("==", "!="), ("<", "<=", ">", ">="), ("<<", ">>"), ("+", "-"),
        ("*",))  # fmt: skip
STRENGTH = {op: row for row, ops in enumerate(ROWS) for op in ops}


def _trees(depth: int) -> st.SearchStrategy[Any]:
    leaf = st.one_of(st.integers(0, 9), st.sampled_from(["a", "b", "c"]))
    if not depth:
        return leaf
    below = _trees(depth - 1)
    return st.one_of(
        leaf,
        st.tuples(st.sampled_from(["!", "-", "~"]), below),
        st.tuples(st.sampled_from(list(STRENGTH)), below, below),
        st.tuples(st.just("?"), below, below, below),
    )


def _c(tree: Any, least: int = 0) -> str:
    """The tree in C, with those parentheses only that it needs."""
    if not isinstance(tree, tuple):
        return str(tree)
    if len(tree) == 2:
        return f"{tree[0]} {_c(tree[1], 99)}"
    if tree[0] == "?":
        text = f"{_c(tree[1], 1)} ? {_c(tree[2])} : {_c(tree[3])}"
        return f"({text})" if least else text
    strength = STRENGTH[tree[0]] + 1
    text = f"{_c(tree[1], strength)} {tree[0]} {_c(tree[2], strength + 1)}"
    return f"({text})" if strength < least else text


def _value(tree: Any, given: dict[str, int]) -> int:
    """What C makes of the tree, in integers without bounds."""
    if isinstance(tree, str):
        return given[tree]
    if not isinstance(tree, tuple):
        return int(tree)
    if len(tree) == 2:
        below = _value(tree[1], given)
        return {"!": int(not below), "-": -below, "~": ~below}[tree[0]]
    if tree[0] == "?":
        return _value(tree[2] if _value(tree[1], given) else tree[3], given)
    left, right = _value(tree[1], given), _value(tree[2], given)
    return int({
        "||": bool(left or right), "&&": bool(left and right), "|": left | right, "^": left ^ right, "&": left & right,
        "==": left == right, "!=": left != right, "<": left < right, "<=": left <= right, ">": left > right,
        ">=": left >= right, "<<": left << max(right, 0), ">>": left >> max(right, 0), "+": left + right,
        "-": left - right, "*": left * right,
    }[tree[0]])  # fmt: skip


def _bounded(tree: Any) -> Any:
    """The tree with small counts of shifts."""
    if not isinstance(tree, tuple):
        return tree
    if tree[0] in ("<<", ">>"):
        return (tree[0], _bounded(tree[1]), len(str(tree[2])) % 8)
    return (tree[0], *map(_bounded, tree[1:]))


@given(_trees(4), st.integers(-5, 5), st.integers(0, 100), st.integers(-100, 100))
def test_operators_bind_as_in_c(tree: Any, a: int, b: int, c: int) -> None:
    tree = _bounded(tree)
    variables = {"a": a, "b": b, "c": c}
    assert eval(translate(_c(tree), NAMES), {}, variables) == _value(tree, variables)
    condition = eval(translate(_c(tree), NAMES, condition=True), {}, variables)
    assert bool(condition) == bool(_value(tree, variables))


@pytest.mark.parametrize(
    ("text", "python"),
    [
        ("sk->__sk_common.skc_dport", "sk.__sk_common.skc_dport"),
        ("*p", "p[0]"),
        ("p[i + 1]->x", "p[(i + 1)].x"),
        ("0x10UL + 010 + 'a' + '\\n'", "(((16 + 8) + 97) + 10)"),
        ("(int)x", "s32(x)"),
        ("(unsigned long long)x / 2", "(u64(x) // 2)"),
        ("(x) - 1", "((x) - 1)"),
        ("(struct sock *)x", "_cast(_kernel_ptr('struct sock'), x)"),
        ("((struct inet_sock *)sk)->inet_sport", "(_cast(_kernel_ptr('struct inet_sock'), sk)).inet_sport"),
        ("*(u32 *)x", "_cast(_kernel_ptr(u32), x)[0]"),
        ("(const char *)x", "_cast(_kernel_ptr(_char), x)"),
        ("sizeof(struct sock) > 4", "(_sizeof('struct sock') > 4)"),
        ('STRCMP("a\\"b", x)', "STRCMP('a\"b', x)"),
        ("a < b < c", "((a < b) < c)"),
        ("!a == b", "((not a) == b)"),
        ("a - -b", "(a - (-b))"),
        ("a || b && c", "(1 if (a or (b and c)) else 0)"),
        ("2 * (a || b)", "(2 * (1 if (a or b) else 0))"),
    ],
)
def test_translations(text: str, python: str) -> None:
    assert translate(text, NAMES) == python


def test_conditions_are_plain() -> None:
    text = "(a || b > 1) && !(c && a) ? a : b || c"
    python = "(a if ((a or (b > 1)) and (not (c and a))) else (1 if (b or c) else 0))"
    assert translate(text, NAMES, condition=True) == python
    assert translate("(a || b) && c", NAMES, condition=True) == "((a or b) and c)"


@pytest.mark.parametrize(
    "text", ["", "a +", "(a", "a)", "a b", "&a", "a ? b", "1x", "a->", "a.1", '"open', "f(a", "{1}", "a = b", "$",
             "a[1", "(" * 500 + "a" + ")" * 500, "!" * 500 + "a", "STRCMP({1, 300}, a)"],
)  # fmt: skip
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(BpfError):
        translate(text, NAMES)


@given(st.text(alphabet="ab1()+-*/<>=!&|?:,.[]{}\"'$@ \\", max_size=30))
def test_any_text_is_translated_or_refused(text: str) -> None:
    with suppress(BpfError):
        translate(text, NAMES)


@pytest.mark.parametrize(
    ("text", "values", "line"),
    [
        ("fd=%d", [0xFFFFFFFF], "fd=-1"),
        ("%u %lu %zu %lld", [0x1_FFFFFFFF, 1 << 63, 5, (1 << 64) - 2], "4294967295 9223372036854775808 5 -2"),
        ("%5d|%-5d|%05d|%+d", [1, 2, 3, 4], "    1|2    |00003|+4"),
        ("%d%d", [1, 2], "12"),
        ("%x %#X %02x %p", [255, 255, 5, 4096], "ff 0XFF 05 0x1000"),
        ("%hd %hhu %c %o", [0xFFFF, 257, 65, 8], "-1 1 A 10"),
        ("%s|%6s|%.2s|%%", ["ab", "c", "def"], "ab|     c|de|%"),
        ("100%% %d%%", [3], "100% 3%"),
        ("%c%c|%3c|%-2c|", [0, 27, 127, 65], r"\x00\x1b|\x7f|A |"),
        ("%c%c%c", [200, 255, 92], r"\xc8\xff\\"),
    ],
)
def test_formats_are_those_of_printf(text: str, values: list[Any], line: str) -> None:
    assert parse_format(text).fill(values, clean) == line


@pytest.mark.parametrize("text", ["%", "%q", "%5", "%n", "%99999d", "a%b"])
def test_formats_that_are_none(text: str) -> None:
    with pytest.raises(BpfError, match="format"):
        parse_format(text)


def test_probes_are_taken_apart() -> None:
    spec = Spec.parse('p:c:write(int fd, const void *buf) (fd > 1 && (fd < 9)) "%d, %s", fd, f(a, b)')
    assert spec.place == Place("p", "c", "write") and spec.signature == "int fd, const void *buf"
    assert spec.predicate == "fd > 1 && (fd < 9)" and spec.format == "%d, %s" and spec.expressions == ("fd", "f(a, b)")
    assert Spec.parse("do_nanosleep").place == Place("p", "", "do_nanosleep")
    assert Spec.parse("r::open").place == Place("r", "", "open")
    assert Spec.parse("p:/bin/bash:main+0x10").place == Place("p", "/bin/bash", "main", 16)
    assert Spec.parse("t:sched:sched_switch").place.function == "sched_switch"
    assert Spec.parse("u:c:libc:setjmp").place == Place("u", "c", "libc:setjmp")
    assert split("a, f(b, c), \"d,e\"", ",") == ["a", "f(b, c)", '"d,e"']


@pytest.mark.parametrize(
    "text", ["", "p:", "t:x", "u::x", "p::", 'f "a', 'f "a" b', "f (a", "f(a) (b) c", "t:a:b(int x)"]
)
def test_probes_that_are_none(text: str) -> None:
    with pytest.raises(BpfError):
        Spec.parse(text)


def test_types_and_parameters() -> None:
    assert ctype("unsigned long").name == "u64" and ctype("const char *").is_text
    assert parameter("struct sock *sk") == ("sk", ctype("struct sock *"))
    assert parameter("char buf[16]")[1].pointers == 1 and ctype("char __user *").user
    for text in ("", "int +", "struct", "struct a b"):
        with pytest.raises(BpfError):
            ctype(text)


def test_names_that_mean_nothing_say_what_there_is() -> None:
    body = Body(Place.parse("p:c:write"))
    assert body.expression("arg3") == "arg3" and body.parameters() == "arg1: u64, arg2: u64, arg3: u64"
    assert body.expression("EINVAL") == "22"
    for text, says in (("retval", "r: probes only"), ("nothing_of_that_name", "means nothing here"), ("arg7", "arg6")):
        with pytest.raises(BpfError, match=says):
            body.expression(text)
    with pytest.raises(BpfError, match="gone when it returns"):
        Body(Place.parse("r:c:write")).expression("arg1")
