"""Scripts: canonical text, what is refused and in which words, and that no text does worse than an error."""

from __future__ import annotations

import random
import re
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pybpf.bt.syntax import tree
from pybpf.bt.syntax.parse import parse, parse_expression
from pybpf.bt.syntax.printer import expression_text, script_text
from pybpf.bt.syntax.source import diagnostic
from pybpf.errors import CompileError
from tests.guide import find_guide

pytestmark = pytest.mark.pure

GUIDE = find_guide()

EXPRESSIONS = [
    ("1+2*3", "1 + 2 * 3"),
    ("(1+2)*3", "(1 + 2) * 3"),
    ("1-(2-3)-4", "1 - (2 - 3) - 4"),
    ("a||b&&c|d^e&f==g<h<<i+j*k", "a || b && c | d ^ e & f == g < h << i + j * k"),
    ("- -x", "- -x"),
    ("!~-*$p", "!~-*$p"),
    ("a?b:c?d:e", "a ? b : c ? d : e"),
    ("(a?b:c)?d:e", "(a ? b : c) ? d : e"),
    ("a ?: b", "a ?: b"),
    ("(struct sock*)arg0", "(struct sock *)arg0"),
    ("((struct sock *)arg0)->sk.x", "((struct sock *)arg0)->sk.x"),
    ("(uint8)-1", "(uint8)-1"),
    ("(pid)-1", "pid - 1"),
    ("(int32[4])$x", "(int32[4])$x"),
    ("(int8*[2])$x", "(int8 *[2])$x"),
    ("(unsigned long)$x", "(unsigned long)$x"),
    ("(unknown)$x", "(unknown)$x"),
    ("(unknown *)$x", "(unknown *)$x"),
    ("(unknown)*3", "unknown * 3"),
    ("(typeof($a))$b", "(typeof($a))$b"),
    ("sizeof(struct a)+sizeof($x)+sizeof(uint64)", "sizeof(struct a) + sizeof($x) + sizeof(uint64)"),
    ("offsetof(struct a, b.c)", "offsetof(struct a, b.c)"),
    ("typeinfo((exp[0])) == typeinfo(int8)", "typeinfo(exp[0]) == typeinfo(int8)"),
    ("(1,)", "(1,)"),
    ("()", "()"),
    ("(1,\"a\",)", '(1, "a")'),
    ("(a=1, b=(2,3))", "(a = 1, b = (2, 3))"),
    ("$t.0.1", "$t.0.1"),
    ("@m[1,2].x++", None),
    ("@m[pid,comm]++", "@m[pid, comm]++"),
    ("--$x", "--$x"),
    ("&$x", "&$x"),
    ("@ + @a", "@ + @a"),
    ("$1 + $#", "$1 + $#"),
    ("str($1)", "str($1)"),
    ('"=".repeat(80)', '"=".repeat(80)'),
    ('"a\\x00\\xff\\n\\"\\\\\\101é"', '"a\\x00\\xff\\n\\"\\\\Aé"'),
    ("10ms + 1e6 + 0x1f + 1_000ull", "10ms + 1e6 + 0x1f + 1_000ull"),
    ("comptime is_str(x)", "comptime is_str(x)"),
    ("{ let $a = 1; $a } + 1", "({\n    let $a = 1;\n    $a\n}) + 1"),
    ("if (a) { 1 } else if b { 2 } else { 3 }", "if (a) {\n    1\n} else if (b) {\n    2\n} else {\n    3\n}"),
    ("args->x.y[3]", "args->x.y[3]"),
    ("true != false", "true != false"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "canonical"), [each for each in EXPRESSIONS if each[1] is not None])
def test_expression(text: str, canonical: str) -> None:
    found = parse_expression(text)
    assert expression_text(found) == canonical
    assert tree.dump(parse_expression(canonical)) == tree.dump(found)


EVERYTHING = """#!/usr/bin/env bpftrace
#include <linux/sched.h>
#define N 4
struct a { int x; /* } */ char s[N]; }
struct b { int y; } __attribute__((packed));
typedef struct b b_t;
config = { max_strlen = 128; stack_mode=perf; lazy = true; name = "x" }
import "lib.bt";
let @m = lruhash(100);
macro add($x, @m, y) { @m[$x] = y; $x + 1 }
fn f($a: int64, $p : struct a *) : void { return; }
BEGIN, END { }
mine=kprobe:vfs_read+0x10, k:mod:f*, tracepoint:a:b,
/ pid == $1 && (1 / 2) / // comment
{
  let $x; let $y: uint64; let $z: int8[4] = 1; $x = 1; $x <<= 2; @ = count(); @m[1] += 2
  ;;
  for ($kv : @m) { print($kv.0); continue; }
  for $i : 0..10 { break }
  while ($x < 3) { $x++ }
  unroll (3) { @++; }
  if (1) { } else { return 1; }
  if $x { } ++@c; { @d = 1; }
  _ = f(1); import "x.bt";
  $y == 2 ? 3 : 4
}
uprobe:/bin/ba*:readline,u:libc:malloc/*c*/ { } interval:1s { } U:/a/b:p:n{}
"""

CANONICAL = """#!/usr/bin/env bpftrace
#include <linux/sched.h>
#define N 4
struct a { int x; /* } */ char s[N]; }
struct b { int y; } __attribute__((packed));
typedef struct b b_t;
config = {
    max_strlen = 128;
    stack_mode = "perf";
    lazy = true;
    name = "x";
}
import "lib.bt";
let @m = lruhash(100);

macro add($x, @m, y)
{
    @m[$x] = y;
    $x + 1
}

fn f($a: int64, $p: struct a *): void
{
    return;
}

begin,
end
{
}

mine=kprobe:vfs_read+16,
kprobe:mod:f*,
tracepoint:a:b
/pid == $1 && 1 / 2/
{
    let $x;
    let $y: uint64;
    let $z: int8[4] = 1;
    $x = 1;
    $x <<= 2;
    @ = count();
    @m[1] += 2;
    for ($kv : @m) {
        print($kv.0);
        continue;
    }
    for ($i : 0..10) {
        break;
    }
    while ($x < 3) {
        $x++
    }
    unroll (3) {
        @++;
    }
    if (1) { } else {
        return 1;
    }
    if ($x) { }
    ++@c;
    {
        @d = 1;
    }
    _ = f(1);
    import "x.bt";
    $y == 2 ? 3 : 4
}

uprobe:/bin/ba*:readline,
uprobe:libc:malloc
{
}

interval:us:1000000
{
}

usdt:/a/b:p:n
{
}
"""


def test_everything_once() -> None:
    found = parse(EVERYTHING.replace("/*c*/", " "))
    assert script_text(found) == CANONICAL
    again = parse(CANONICAL)
    assert script_text(again) == CANONICAL


def _block(body: str) -> str:
    return "BEGIN { " + body + " }"


WRONG = [
    ("bgin { }", "there is no kind of probe 'bgin'; did you mean begin?"),
    ("kprob:f { }", "there is no kind of probe 'kprob'; did you mean kprobe?"),
    ("kprobe { }",
     "kprobe needs more; write kprobe:function, kprobe:function+offset, kprobe:module:function or kprobe:address"),
    ("tracepoint:a { }", "tracepoint needs a category and an event; write tracepoint:category:event"),
    ("tracepoint:a:b:c { }", "tracepoint cannot have so many parts; write tracepoint:category:event"),
    ("interval:x:1 { }", "'x' is not a unit of time; write s, ms, us or hz"),
    ("interval:s:0 { }", "interval needs a number above 0"),
    ("interval:5 { }", "the shortest period is 1us, and this is 5 ns; write a unit, as in 1s"),
    ("kretprobe:f+4 { }", "kretprobe cannot have an offset: it fires at a function's return; leave out '+4'"),
    ("software:cpu-clok { }", "there is no software event 'cpu-clok'; did you mean cpu-clock?"),
    ("watchpoint:0x10:3:w { }", "1, 2, 4 or 8 bytes can be watched"),
    ("watchpoint:0x10:8:q { }", "'q' is not a mode; write letters of r, w and x, each once, as in rw"),
    ("iter:t* { }", "iter takes no wildcards; write the name of one iterator, such as task"),
    ("kprobe:f", "'{' or a predicate such as /pid == 1/ must stand here after the probe; found the end of the script"),
    ("kprobe:f /pid { }", "'/' must stand here, where the predicate ends; found '{'"),
    ("BEGIN {", "this '{' has no '}'; write one where the block ends"),
    ("{ }", "a probe must stand here, as in kprobe:vfs_read { }; found '{'"),
    (_block("$x = ;"), "a value must stand here; found ';'"),
    (_block("$x = 1 $y = 2"), "';' must stand after this, where the statement ends"),
    (_block("whle (1) { }"), "'whle' does not start a statement; did you mean while?"),
    (_block("retrun 1;"), "'retrun' does not start a statement; did you mean return?"),
    (_block("if (1) { } els { }"), "'els' does not start a statement; did you mean else?"),
    (_block("else { }"), "'else' follows the '}' of an 'if'; found 'else'"),
    (_block("if (1) $x = 1;"), "'{' must stand here: the body of 'if' is in braces; found '$x'"),
    (_block("pid = 1;"), "this cannot be assigned to; write $x or @x before the '='"),
    (_block("$x.y = 1;"), "what is in a struct, tuple, record or array cannot be changed; make a new value"),
    (_block("pid += 1;"), "this cannot be assigned to; write $x or @x before the '+='"),
    (_block("if ($x = 1) { }"), "')' must stand here after the condition of 'if'; found '='"),
    (_block("$x = $y = 1;"), "an assignment has no value: one '=' may stand in a statement; found '='"),
    (_block("pid++;"), "++ changes a variable or a map; write $x++ or @x++"),
    (_block("--pid;"), "-- changes a variable or a map; write --$x or --@x"),
    (_block("$x = &pid;"), "& gives the address of a variable or a map: $x or @x must stand here; found 'pid'"),
    (_block("$x = &@m[1];"), "& gives the address of a whole map; write it without a key"),
    (_block("print(1 2);"), "',' or ')' must stand here after an argument of print; found '2'"),
    (_block("@x[] = 1;"), "the key must stand here, as in @x[pid]; found ']'"),
    (_block("@x[1 = 1;"), "']' must stand here after the keys of the map; found '='"),
    (_block("$x = (1, 2;"), "')' must stand here after the items of the tuple; found ';'"),
    (_block("$x = (1;"), "')' must stand here after the expression that '(' started; found ';'"),
    (_block("$x = (a=1, a=2);"), "the record has a field 'a' already; give this one another name"),
    (_block("$x = 1 ? 2;"), "':' must stand here after the second part of 'condition ? value : value'; found ';'"),
    (_block("$x = 1.5;"), "there are no fractions; write an integer"),
    (_block("$x = 5q;"), "a number cannot end in 'q'; durations end in ns, us, ms, s, m, h or d"),
    (_block("$x = 08;"), "08 starts with 0, so it is octal, and has a digit above 7; leave out the 0"),
    (_block("$x = 1_;"), "a number cannot end in '_'; write it between digits, as in 1_000"),
    (_block("$x = 99999999999999999999;"), "99999999999999999999 does not fit in 64 bits"),
    (_block("$x = 12e3;"), "before the 'e' stands one digit, 1 to 9, as in 2e6"),
    (_block('print("abc);'), 'the string has no end on this line; write " where it ends, and \\n for a new line'),
    (_block('print("\\q");'), '\\q is not an escape; write \\n, \\t, \\r, \\", \\\\, \\0 to \\377 or \\x00 to \\xff'),
    (_block('print("\\777");'), "\\777 is more than a byte holds; the largest is \\377"),
    (_block("$x = 'a';"), 'strings are written in double quotes, as in "text"'),
    (_block("/* "), "the comment has no end; write */ where it ends"),
    (_block("$ = 1;"), "'$' needs a name or a number, as in $x or $1"),
    (_block("$0;"), "the script's arguments are $1, $2 and so on"),
    (_block("$x = `;"), "the character '`' has no meaning here; remove it"),
    (_block("for (pid : @m) { }"), "the variable of the loop must stand here, as in for ($x : 0..10); found 'pid'"),
    (_block("for ($x : 1) { }"), "a loop is over a map or a range; write for ($x : @map) or for ($x : 0..10)"),
    (_block("let @x = 1;"), "maps are declared outside of probes: $x must stand here; found '@x'"),
    (_block("#define A"), "preprocessor lines stand at the top of the script, before the first probe; found '#'"),
    ("BEGIN { }\nstruct a { };",
     "the definition of a struct must stand before probes, macros, functions and maps; move it to the top"),
    ("config = { } config = { }", "there is a config block already; put the settings into that one"),
    ("config = { a }", "'=' must stand here after the name of the setting; found '}'"),
    ("let $x = 1;", "outside of probes, 'let' declares a map, as in let @x = hash(100);; found '$x'"),
    ("macro m(1) { }", "a parameter of a macro must stand here: $x, @x or a name; found '1'"),
    ("fn f($x) : void { }",
     "':' must stand here after a parameter of a function: it has a type, as in $x: int64; found ')'"),
    ('import "a"', "';' must stand here after the import; found the end of the script"),
    ("struct a { int x;", "the definition has no end; write '};' there"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_wrong_script(text: str, message: str) -> None:
    with pytest.raises(CompileError) as info:
        parse(text, "wrong.bt")
    assert info.value.message == message
    assert info.value.file == "wrong.bt"


def test_errors_are_shown_as_bpftrace_shows_them() -> None:
    with pytest.raises(CompileError) as info:
        parse("BEGIN\n{\n\tprint(1 two);\n}", "a.bt")
    assert diagnostic(info.value) == (
        "a.bt:3:10-13: ERROR: ',' or ')' must stand here after an argument of print; found 'two'\n"
        "\tprint(1 two);\n"
        "\t        ~~~"
    )


def test_arguments_in_attach_points() -> None:
    text = "interval:s:$1 { } uprobe:$2:f { }"
    assert [each.points[0].points for each in parse(text).probes] == [None, None]
    found = parse(text, arguments=["5", "/bin/x"]).probes
    points = [each.points[0].points for each in found]
    assert points[0] is not None and points[0][0].count == 5
    assert points[1] is not None and points[1][0].target == "/bin/x"
    with pytest.raises(CompileError, match=r"\$2 has no value: the script was given 1 argument"):
        parse(text, arguments=["5"])


NESTED = [
    "(", "{", "[", "@x[", "f(", "if (", "if ", "if if ", "- ", "!", "(int32)", "comptime ", "a?", "a?b:", "1+(", "++",
    "*", "&", "a.b[", "if (1) {", "while (1) {", "for ($x : @y) {", "if (1) { } else {", "sizeof(", "typeof(", "(a=",
    "(1,", "@x = {", "@x[{@x[", "a +", "a.b.", '"x".f(', "a || b && (", "return {", "$x = if (1) {", " \n", "/*x*/ ",
    "//x\n", "struct a {",
]  # fmt: skip


@pytest.mark.parametrize("piece", NESTED)
def test_depth_is_bounded(piece: str) -> None:
    for text in (_block("$x = " + piece * 3000), _block(piece * 3000), piece * 3000, "struct a {" + piece * 3000):
        with suppress(CompileError):
            parse(text)


@pytest.mark.parametrize(
    "text", ["-".join(["1"] * 5000), "a" + ".b" * 5000, "- " * 5000 + "1", "1?" * 400 + "2" + ":3" * 400]
)
def test_chains_are_bounded(text: str) -> None:
    with pytest.raises(CompileError, match="this nests more than 100 levels deep; use variables for its parts"):
        parse_expression(text)
    assert parse_expression("-".join(["1"] * 90))


@pytest.mark.parametrize("operator", ["||", "&&", "|", "^", "&", "+", "*"])
def test_chains_in_which_the_order_makes_no_difference_are_as_long_as_one_likes(operator: str) -> None:
    names = [f"$x{number}" for number in range(5000)]
    found = parse_expression(f" {operator} ".join(names))
    waiting: list[tuple[tree.Expression, int]] = [(found, 0)]
    leaves, deepest = [], 0
    while waiting:
        node, level = waiting.pop()
        deepest = max(deepest, level)
        if isinstance(node, tree.Binary):
            waiting += [(node.right, level + 1), (node.left, level + 1)]
        else:
            assert isinstance(node, tree.Variable)
            leaves.append(f"${node.name}")
    assert leaves == names and deepest == 13


def test_many_branches_are_one_level() -> None:
    found = parse(_block("if (1) { }" + " else if (2) { }" * 2000 + " else { }"))
    value = found.probes[0].body.value
    assert isinstance(value, tree.If) and len(value.arms) == 2001


def test_many_statements() -> None:
    body = "".join(f"@x{i}[tid, comm] = nsecs - @start[tid] + {i};\n" for i in range(4096))
    assert len(parse(_block(body)).probes[0].body.statements) == 4096


_pieces = st.lists(
    st.sampled_from([*re.findall(r"\s+|\w+|.", EVERYTHING), "'", '"', "\\", "\x00", "\ud800", "é", "..", "$"])
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(), _pieces.map("".join), _pieces.map(lambda each: _block(" ".join(each)))))
def test_any_text_is_a_script_or_an_error(text: str) -> None:
    check_text(text)


def test_mutated_scripts() -> None:
    source = random.Random(5)
    for _ in range(400):
        check_text(mutated(EVERYTHING, source))


def mutated(text: str, source: random.Random) -> str:
    """A script with a few words taken out, doubled, moved or replaced."""
    words = re.findall(r"\s+|\w+|.", text)
    for _ in range(source.randint(1, 6)):
        at, other = source.randrange(len(words)), source.randrange(len(words))
        change = source.randrange(4)
        if change == 0:
            del words[at : at + source.randint(1, 4)]
        elif change == 1:
            words[at] = words[other]
        elif change == 2:
            words.insert(at, words[other])
        else:
            words[at] = source.choice(["'", '"', "/*", "(", "{", "}", "\x00", "é", "$", "..", "0x", "1e", "\\"])
        words = words or ["x"]
    return "".join(words)


def check_text(text: str) -> None:
    """It is refused, or it is read, and its canonical text says the same and is stable."""
    try:
        found = parse(text)
    except CompileError as error:
        assert error.line >= 1 and 1 <= error.column <= error.end_column
        assert diagnostic(error)
        return
    canonical = script_text(found)
    assert script_text(parse(canonical)) == canonical


@pytest.mark.skipif(GUIDE is None, reason="the guide is not beside the tree")
def test_the_guide() -> None:
    assert GUIDE is not None
    texts = [path.read_text("utf-8") for path in sorted(GUIDE.glob("*.bt"))]
    guide = (GUIDE / "guide.md").read_text("utf-8")
    texts += re.findall(r"bpftrace (?:--unsafe )?-e '([^']*)'", guide)
    texts += re.findall(r"```[a-z]*\n(#!/usr/bin/env bpftrace\n.*?)```", guide, re.DOTALL)
    assert len(texts) > 15
    for text in texts:
        check_text(text)
        parse(text)
