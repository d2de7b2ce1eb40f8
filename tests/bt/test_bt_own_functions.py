"""Functions that a script defines (``fn``): what they compute, and what is refused."""

from __future__ import annotations

import pytest

from pybpf.bt import compile_script
from pybpf.compiler.target import Target
from pybpf.errors import CompileError
from tests.bt.harness import traced

SCRIPT = """
macro twice(x) { x * 2 }
fn add($a: int64, $b: int64): int64 { return $a + twice($b); }
fn factorial($n: uint64): uint64 { let $all: uint64 = 1; for ($i : 1..($n + 1)) { $all *= $i; } return $all; }
fn first($least: int64): int64 { for ($i : 0..100) { if ($i * $i > $least) { return $i; } } return -1; }
fn label($n: int64): string {
    if ($n < 0) { return "negative"; } else if ($n == 0) { return "zero"; } else { return "positive"; }
}
fn note($what: string, $n: int64): void { @notes[$what] = $n; if ($n > 5) { return; } @small[$what] = count(); }
fn pair($a: int64): typeof((1, "abc")) { return ($a, "xyz"); }
fn before($key: int64): int64 {
    $sum = 0;
    for ($kv : @m) { if ($kv.0 == $key) { return $sum; } $sum += $kv.1; }
    return $sum;
}
fn like($x: int64, $y: typeof($x)): typeof($x) { return add($x, add($y, 1)); }
fn narrow($x: uint8): uint8 { return $x + 1; }
begin {
    @m[1] = 10; @m[2] = 20;
    $a = 7;
    printf("%d %d %d %d\\n", add(1, 2), factorial(10), first(50), first(100000));
    printf("%s %s %s\\n", label(-3), label(0), label(7));
    note("a", 3); note("b", 9);
    print(pair(5)); print(before(3)); print(before(1) <= 20);
    $x = like($a, 2); print(($x, $a)); print(narrow(255));
    print((label(1) == "positive", label(1) == label(2), label(1) == label(0)));
}
"""

#: the function and what calls it, the column that the message points at, the message
WRONG = [
    ("fn f($n: int64): int64 { return f($n - 1); } begin { f(1); }", 33,
     "the function f() calls itself: f calls f; write a loop"),
    ("fn f(): void { g(); } fn g(): void { f(); } begin { f(); }", 38,
     "the function f() calls itself: f calls g calls f; write a loop"),
    ("fn f(): int64 { $x = 1; } begin { f(); }", 1,
     "f() must return a value on every way through it; write return ... at its end"),
    ("fn f($x: int8): int8 { if ($x > 0) { return 0; } } begin { }", 1,
     "f() must return a value on every way through it; write return ... at its end"),
    ("fn f(): void { return 1; } begin { f(); }", 16, "f() returns nothing: its type is void"),
    ("fn f(): int64 { return; } begin { f(); }", 17, "f() returns an int64; write which, as in return 0"),
    ('fn f(): int64 { return "a"; } begin { f(); }', 24, "f() returns an int64, not a string[2]"),
    ("fn f($a: int64): int64 { return $a; } begin { f(); }", 47, "f($a: int64) takes 1; 0 are given"),
    ('fn f($a: int64): int64 { return $a; } begin { f("a"); }', 49,
     "$a is an int64; a string[2] cannot be assigned to it"),
    ("fn f($a: int64): void { } begin { f(1); print($a); }", 47, "$a has no value here; assign it before this"),
    ("fn f($a: int8): void { print($b); } begin { $b = 1; f($b); }", 30, "$b has no value here; assign it before this"),
    ("fn f(): void { } begin { $x = f(); }", 31, "f() gives no value"),
    ("fn f(): void { break; } begin { while (1) { f(); } }", 16, "'break' is for loops"),
    ("fn str(): void { } begin { }", 1, "there is a builtin function str() already; call this one otherwise"),
    ("fn f(): void { } fn f(): void { } begin { }", 18, "there is a function f() already; call this one otherwise"),
    ("fn f(): nope { return 1; } begin { f(); }", 9, "there is no type 'nope'"),
    ("fn f($a: int8, $a: int8): void { } begin { }", 16, "the function has a parameter $a already"),
    ("fn f($a: int8): void { } begin { f(typeof(int8)); }", 36, "f($a: int8) takes values, and this is a type"),
]  # fmt: skip


@pytest.mark.root
@pytest.mark.native
def test_functions_run() -> None:
    done = traced(SCRIPT)
    assert done.text.splitlines() == [
        "5 3628800 8 -1", "negative zero positive", "(5, xyz)", "30", "true", "(15, 7)", "0", "(true, true, false)",
    ]  # fmt: skip
    assert (done.maps["notes"], done.maps["small"]) == ({"a": 3, "b": 9}, {"a": 1})


@pytest.mark.pure
@pytest.mark.parametrize(("script", "column", "message"), WRONG)
def test_wrong_functions(script: str, column: int, message: str) -> None:
    with pytest.raises(CompileError) as caught:
        compile_script(script, target=Target.described("6.12"))
    assert (caught.value.message, caught.value.column) == (message, column)


@pytest.mark.pure
def test_functions_that_double_each_other() -> None:
    """Each calls the next twice: what they become would be 2**40 times as long."""
    chain = " ".join(f"fn f{n}(): void {{ f{n + 1}(); f{n + 1}(); }}" for n in range(40))
    with pytest.raises(CompileError, match="grow too large"):
        compile_script(f"{chain} fn f40(): void {{ }} begin {{ f0(); }}", target=Target.described("6.12"))
