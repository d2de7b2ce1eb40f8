"""Scripts that make no sense: where the message points, and its words; and what is warned of."""

from __future__ import annotations

import pytest

from pybpf.bt import compile_script, diagnostic
from pybpf.compiler.target import Target
from pybpf.errors import CompileError

pytestmark = pytest.mark.pure

TARGET = Target.described("6.12")

#: script, the column that the message points at, the message
WRONG = [
    ("interval:s { }", 10,
     "the period must be a number: 's' is not a number; write digits, or 0x and hexadecimal digits"),
    ("interval:x:1 { }", 10, "'x' is not a unit of time; write s, ms, us or hz"),
    ("profile:hz:99x { }", 12,
     "the rate must be a number: a number cannot end in 'x'; durations end in ns, us, ms, s, m, h or d"),
    ("software:pagefaults:1 { }", 10,
     "there is no software event 'pagefaults'; did you mean page-faults or major-faults?"),
    ('BEGIN { printff("x"); }', 9, "there is no function 'printff'; did you mean printf or print?"),
    ('BEGIN { printf("%d"); }', 9, "the format has 1 directive, and 0 values are given"),
    ('BEGIN { printf("%d", "x"); }', 22, "%d does not print string[2]; write %s"),
    ('BEGIN { printf("%s", 1); }', 22, "%s does not print int8; write %d"),
    ('BEGIN { printf("%q", 1); }', 16,
     "%q is no directive; there are %d, %u, %x, %X, %o, %c, %s, %p, %r, %rx, %rh, %gr and %%"),
    ('BEGIN { printf("%d\\n", 1, 2); }', 9, "the format has 1 directive, and 2 values are given"),
    ('BEGIN { $x = 1; $x = "a"; }', 17, "$x is an int8; a string[2] cannot be assigned to it"),
    ('BEGIN { @x = 1; @x = "a"; }', 17, "@x is an int8; a string[2] cannot be assigned to it"),
    ('BEGIN { @x[1] = 1; @x["a"] = 1; }', 20, "the keys of @x are int8; a string[2] is none"),
    ("BEGIN { @x[1] = 1; @x = 1; }", 20, "@x has keys: write which, as in @x[1]"),
    ("BEGIN { @x[1] = 1; @x[1,2] = 1; }", 20, "the keys of @x are int8; a (int8, int8) is none"),
    ("BEGIN { print($y); }", 15, "$y has no value here; assign it before this"),
    ("BEGIN { print(@y); }", 15, "@y is never assigned to"),
    ("BEGIN { $x = pidd; }", 14, "there is no builtin or constant 'pidd'; did you mean pid?"),
    ("BEGIN { $x = usernme; }", 14, "there is no builtin or constant 'usernme'; did you mean username or usermode?"),
    ("BEGIN { exit(1, 2); }", 9, "exit takes arguments as in exit([code]); 2 are given"),
    ('BEGIN { @ = hist("a"); }', 18, "what hist() is given must be an integer, not a string[2]"),
    ("BEGIN { @ = lhist(1, 10, 5, 1); }", 22, "the minimum of lhist(), 10, must be below the maximum, 5"),
    ("BEGIN { @ = lhist(1, 0, 10, 0); }", 29, "the step of lhist() is at least 1, not 0"),
    ("BEGIN { @ = lhist(1, 0, 100000, 1); }", 13, "lhist() has at most 1000 buckets, not 100000; widen the step"),
    ("BEGIN { @x = count(); @x = 5; }", 23, "@x is a count(); a plain value cannot be assigned to it"),
    ("BEGIN { @x = count(); @x++; }", 23, "@x is a count(), which ++ cannot change"),
    ("BEGIN { @x = sum(1); @x = count(); }", 22, "@x is a sum_t; a count_t cannot be assigned to it"),
    ("BEGIN { $a = count(); }", 14, "aggregates are values of maps; write @x = ... instead of $a"),
    ("BEGIN { count(); }", 9, "count() is assigned to a map, as in @x = count()"),
    ("BEGIN { delete(@x); }", 16, "@x is never assigned to"),
    ("BEGIN { delete($x); }", 16, "delete() takes a map and a key, as in delete(@x, 1)"),
    ("BEGIN { clear(1); }", 15, "clear() takes a whole map, as in clear(@x)"),
    ("BEGIN { print(args.x); }", 15, "begin has no field 'x': this kind of probe has no args"),
    ("BEGIN { print(retval); }", 15, "begin has no retval; kretprobe, uretprobe and fexit probes have it"),
    ("BEGIN { print(arg0); }", 15, "begin has no arg0; it has none"),
    ("BEGIN { print(arg12); }", 15, "there is no builtin or constant 'arg12'; did you mean arg2, arg1 or arg11?"),
    ("BEGIN { break; }", 9, "'break' is for loops"),
    ("BEGIN { for ($kv : @m) { } }", 20, "@m is never assigned to"),
    ("BEGIN { for ($kv : $m) { } }", 20,
     "a loop is over a map or a range; write for ($x : @map) or for ($x : 0..10)"),
    ("BEGIN { unroll(1000) { print(1); } }", 16, "unroll takes 1 to 100 turns, not 1000"),
    ("BEGIN { unroll(100) { unroll(100) { unroll(2) { print(1); } } } }", 37,
     "unrolled inside of each other these are 20000 turns; write for, or while"),
    ("BEGIN { unroll(-1) { print(1); } }", 16, "unroll takes 1 to 100 turns, not -1"),
    ("BEGIN { let $x: foo = 1; }", 17, "there is no type 'foo'"),
    ("BEGIN { let $x = 1; let $x = 2; }", 21, "this block has a variable $x already; assign to it without 'let'"),
    ("BEGIN { print(1 }", 17, "',' or ')' must stand here after an argument of print; found '}'"),
    ("BEGIN { print(1) print(2) }", 16, "';' must stand after this, where the statement ends"),
    ("BEGIN { if (1) { }", 7, "this '{' has no '}'; write one where the block ends"),
    ("BEGIN print(1);", 7, "'{' or a predicate such as /pid == 1/ must stand here after the probe; found 'print'"),
    ('BEGIN { "a" + 1; }', 9, "'+' does not work on a string[2] and an int8"),
    ('BEGIN { print("a" + 1); }', 15, "'+' does not work on a string[2] and an int8"),
    ('BEGIN { print(-"a"); }', 15, "'-' is for integers, not a string[2]"),
    ("BEGIN { print(1 / 0); }", 15, "division by zero"),
    ('BEGIN { $s = "abc"; print($s == 1); }', 27, "'==' does not work on a string[4] and an int8"),
    ('BEGIN { $s = (1, "a"); print($s.5); }', 30, "the tuple has items 0 to 1, not 5"),
    ("BEGIN { $x = 1; print($x.a); }", 23, "an int8 has no fields; cast it, as in ((struct name *)x).a"),
    ('BEGIN { print(ntop("a")); }', 20, "ntop() is for an integer, or an array of 4 or 16 bytes, not string[2]"),
    ("BEGIN { print(kstack(bad)); }", 22,
     "kstack takes a mode (bpftrace, perf, raw, build_id) and a depth, as in kstack(perf, 3)"),
    ("BEGIN { print(99999999999999999999999); }", 15, "99999999999999999999999 does not fit in 64 bits"),
    ("BEGIN { print('ab'); }", 15, 'strings are written in double quotes, as in "text"'),
    ('BEGIN { print("abc); }', 15,
     'the string has no end on this line; write " where it ends, and \\n for a new line'),
    ("config = { max_map_key = 1 } BEGIN { }", 12, "there is no setting 'max_map_key'; did you mean max_map_keys?"),
    ('config = { max_map_keys = "a" } BEGIN { }', 12, "max_map_keys is a number, not 'a'"),
    ('config = { license = "Potato" } BEGIN { }', 12,
     "license is GPL, GPL v2, GPL and additional rights, Dual BSD/GPL, Dual MIT/GPL or Dual MPL/GPL, not 'Potato'"),
    ("config = { stack_mode = perl } BEGIN { }", 12,
     "stack_mode is bpftrace, perf, raw or build_id, not 'perl'"),
    ("config = { missing_probes = 1 } BEGIN { }", 12, "missing_probes is error, warn or ignore, not 1"),
    ("config = { max_strlen = 0 } BEGIN { }", 12, "max_strlen is 1 to 1048576, not 0"),
    ("config = { print_maps_on_exit = maybe } BEGIN { }", 12, "print_maps_on_exit is true or false, not 'maybe'"),
    ("let @x = hsh(10); BEGIN { @x[1] = 1; }", 1,
     "there is no kind of map 'hsh'; did you mean hash or lruhash?"),
    ("let @x = hash(0); BEGIN { @x[1] = 1; }", 1, "a map has 1 to 4294967295 entries"),
    ("macro foo($a) { $a } BEGIN { foo(1); }", 30, "the macro is foo($a); this call does not fit"),
    ("macro foo(a) { a } BEGIN { foo(1, 2); }", 28, "the macro is foo(a); this call does not fit"),
    ("BEGIN { prnt(1); }", 9, "there is no function 'prnt'; did you mean print or printf?"),
    ("BEGIN { fooo(1); }", 9, "there is no function 'fooo'"),
    ("watchpoint:0x1000:3:rw { }", 19, "1, 2, 4 or 8 bytes can be watched"),
    ("self:signal:SIGFOO { }", 13, "the one probe of this kind is self:signal:SIGUSR1"),
    ('BEGIN { @x += "a"; }', 9, "'+=' is for integers and pointers, not a string[2]"),
    ('BEGIN { $s = "a"; $s += "b"; }', 19, "'+=' is for integers and pointers, not a string[2]"),
    ("BEGIN { print(typeof(int8)); }", 15, "this is a type, and a value must stand here"),
    ("BEGIN { $x = is_str() + 1; }", 14, "is_str takes arguments as in is_str(value); 0 are given"),
    ('BEGIN { print(is_ptr(printf("x")) | 1); }', 22, "printf() gives no value"),
    ("BEGIN { while (str()) { } }", 16, "str takes arguments as in str(address, [length]); 0 are given"),
    ("BEGIN { $x = @a; @a = $x; }", 14, "@a is never assigned to"),
    ("BEGIN { @a[@b] = 1; }", 12, "@b is never assigned to"),
]  # fmt: skip

#: script, the warning with the columns that it points at
WARNED = [
    ("BEGIN { 1 + 2; }", "9-14: This value is not used; write _ = ... if that is meant"),
    ("BEGIN { @a[1] = 1; @a[1]; }", "20-25: This value is not used; write _ = ... if that is meant"),
    ("BEGIN { print($1); }", "15-17: Positional parameter $1 is empty or not provided."),
    ("BEGIN { print(str($3)); }", "19-21: Positional parameter $3 is empty or not provided."),
    ("BEGIN { let $x; }", "9-15: $x is never assigned to"),
    ("BEGIN { $i = 0; while ($i < 3) { $i++; } }",
     "17-41: while may be left out of the language; for ($x : start..end) { ... } goes through a range"),
    ("BEGIN { @m[1] = 1; for ($kv : @m) { print(@m); } }",
     "37-46: print() of a map shows what is in it later, when the loop may have gone on"),
    ("BEGIN { print(str(0, 5000)); }", "15-27: The length 5000 is more than max_strlen: 1024 bytes are read"),
    ("BEGIN { let $x: int8 = 1000; }", "9-28: $x is an int8, which cannot be 1000: its lowest 8 bits are taken"),
    ("let @x = hash(10); BEGIN { }", "1-19: Unused map: @x"),
    ("BEGIN { $p = (int32 *)0; $q = (int8 *)0; print($p == $q); print($p == (void *)5); }",
     "48-56: int32 * and int8 *, which are compared, point to different things; cast one"),
    ("BEGIN { return; print(1); }", "17-25: Unreachable statement"),
    ("config = { log_size = 5; max_strlen = 64; unstable_import = true } BEGIN { }",
     "12-24: log_size makes no difference here: the verifier's log is as long as it needs to be"),
    ("config = { use_blazesym = true } BEGIN { }", "12-31: use_blazesym makes no difference here"),
    ("BEGIN { str(0); }", "9-15: This value is not used; write _ = ... if that is meant"),
    ("BEGIN { bswap(pid); }", "9-19: This value is not used; write _ = ... if that is meant"),
    ("BEGIN { let $x: int64; print($x); }", "30-32: $x is read before anything is assigned to it"),
    ("BEGIN { let $x; for ($i : 0..3) { print($x); $x = $i; } }",
     "41-43: $x is read before anything is assigned to it"),
    ("BEGIN { $c = (uint64)7; $b = (int64)-1; if ($c > $b) { } }",
     "45-52: '>' of a uint64 and an int64 takes both as int64; cast one of them"),
    ("BEGIN { $c = (uint64)7; $b = (int64)-1; print($b / $c); }",
     "47-54: '/' of an int64 and a uint64 takes both as int64; cast one of them"),
    ("BEGIN { $c = (int64)-1; $c = nsecs; }",
     "25-35: $c is an int64: a uint64 may become another number in it; cast it"),
    ("BEGIN { @c = (uint64)1; @c = (int64)-1; }",
     "9-23: @c is an int64: a uint64 may become another number in it; cast it"),
    ("BEGIN { let $c: uint64 = (int64)-1; }",
     "9-35: $c is a uint64: an int64 may become another number in it; cast it"),
]  # fmt: skip

#: what is as it should be
RIGHT = [
    "BEGIN { $x = 1; $x++; @a[1] = count(); delete(@a, 1); _ = 1 + 2; print($x); }",
    "BEGIN { 1 ? print(1) : print(2); }",
    "BEGIN { @a[1] = 1; delete(@a, 1); delete(@a[1]); $x = 1; if (find(@a, 1, $x)) { } find(@a, 1, $x); }",
    "BEGIN { let $x: int64; let $y: typeof($x) = 1; print(sizeof($x)); $p = &$x; print(($x, $y, $p)); }",
    "BEGIN { let $x: typeof(@y) = 3; @y = (int64)9; print($x); }",
    "BEGIN { $a = (uint32)1; $b = (int64)-1; print($a < $b); print($a / $b); print(nsecs > 5); @x = 0; @x = nsecs; }",
    "BEGIN { $a = 1; $a = (uint64)2; $b = (int32)1; $b = (uint32)2; print($a == (uint64)1); }",
    "BEGIN { let $x; $x = 1; print($x); let $y: uint8 = 255; print($y); let $z: int8 = -128; print($z); }",
]


@pytest.mark.parametrize(("script", "column", "message"), WRONG)
def test_wrong_scripts(script: str, column: int, message: str) -> None:
    with pytest.raises(CompileError) as caught:
        compile_script(script, "x.bt", target=TARGET)
    found = caught.value
    assert (found.message, found.file, found.line, found.column) == (message, "x.bt", 1, column)
    head, line, marks = diagnostic(found).split("\n")
    assert head.startswith(f"x.bt:1:{column}-") and head.endswith(f": ERROR: {message}") and line == script
    assert marks.lstrip(" ").strip("~") == "" and marks.index("~") == column - 1


@pytest.mark.parametrize(("script", "warning"), WARNED)
def test_warnings(script: str, warning: str) -> None:
    found = compile_script(script, "x.bt", target=TARGET).warnings
    assert [f"{each.column}-{each.end_column}: {each.message}" for each in found] == [warning]


@pytest.mark.parametrize("script", RIGHT)
def test_no_warnings(script: str) -> None:
    assert compile_script(script, "x.bt", target=TARGET).warnings == []


def test_of_long_lines_what_is_meant_is_shown() -> None:
    script = "begin { print(1); " + "print(pid); " * 100 + "prnt(1); " + "print(pid); " * 100 + "}"
    with pytest.raises(CompileError, match="did you mean print or printf") as caught:
        compile_script(script, "x.bt", target=TARGET)
    head, line, marks = diagnostic(caught.value).split("\n")
    assert head.startswith(f"x.bt:1:{script.index('prnt') + 1}-")
    assert line.startswith("...") and line.endswith("...") and len(line) == 206
    assert line[marks.index("~") :][: marks.count("~")] == "prnt(1)"


def test_override_is_compiled() -> None:
    """No kernel of the tests has CONFIG_BPF_KPROBE_OVERRIDE: what they would run is looked at."""
    script = "kprobe:do_nothing { override(-13); }"
    built = compile_script(script, target=TARGET, unsafe=True, stages=True).built
    code = [line.strip() for line in built[0].compiled.stages["code"].splitlines()]
    assert code[code.index("r2 = -13") + 1] == "call bpf_override_return#58"
    with pytest.raises(CompileError, match="--unsafe allows it"):
        compile_script(script, target=TARGET)
