"""Probes that cannot be compiled: the exact message, and what the caret points at."""

from __future__ import annotations

import re
import subprocess
import sys
from types import FunctionType
from typing import Any

import pytest

from pybpf import Tracer, types, u32, u64
from pybpf.compiler.target import Target
from pybpf.errors import CompileError
from tests.lang.harness import compiled
from tests.lang.wrong import FIELDS

pytestmark = pytest.mark.pure

TARGET = Target.described("6.12")
#: stands before each probe
PRELUDE = '''class LIMITS:
    max = 5
NUMBERS = [1, 2]
NOTHING = 5
def helper(x, y=1):
    return x + y
def recursive(x):
    return other(x)
def other(x):
    return recursive(x - 1)
def broken(x):
    return x.missing
def mixed(x):
    y = s64(x)
    if y == 5:
        return x
    return y
'''
#: source of the probe, what the caret points at, message; FILE stands for the name of the source
ROWS = [
    ("def probe(x):\n    return mixed(x)", "return y",
     "mixed() returns a u64 or a signed value, depending on the way: say which by '-> s64', or convert by u64(x) "
     "or s64(x)"),
    ("def probe(x):\n    assert x > 1", "assert x > 1",
     "'assert' cannot be compiled: eBPF has no exceptions; write 'if not ...: return'"),
    ("def probe(x):\n    raise ValueError(x)", "raise ValueError(x)",
     "'raise' cannot be compiled: eBPF has no exceptions; write 'return', or emit an event that says what is wrong"),
    ("def probe(x):\n    try:\n        return x\n    except ValueError:\n        return 0", "try:",
     "'try' cannot be compiled: eBPF has no exceptions; test values before they are used"),
    ("def probe(x):\n    with x:\n        return 1", "with x:",
     "'with' is for events only: 'with events.reserve() as event:' submits at its end"),
    ("def probe(x):\n    yield x", "yield x",
     "'yield' cannot be compiled: send values by the emit() of tracer.events(...)"),
    ("async def probe(x):\n    return x", "async def probe(x):",
     "'async def' cannot be compiled: write a plain 'def'"),
    ("def probe(x):\n    f = lambda y: y\n    return f(x)", "lambda y: y",
     "a lambda inside of a probe cannot be compiled: define it outside of the probe, and call it here"),
    ("def probe(x):\n    return sum([y for y in (x, 2)])", "[y for y in (x, 2)]",
     "a list comprehension cannot be compiled: write a 'for' loop"),
    ("def probe(x):\n    return {1: x}", "{1: x}",
     "a dict cannot be made in a probe: use a map, such as tracer.hash(...)"),
    ("def probe(x):\n    global TOTAL\n    TOTAL = x", "global TOTAL",
     "'global' cannot be compiled: the globals of Python are constants in a probe; keep values in a map"),
    ("def probe(x):\n    import os", "import os",
     "'import' cannot be compiled: import outside of the probe"),
    ("def probe(x):\n    def inner():\n        return 1\n    return inner()", "def inner():",
     "a function inside of a probe cannot be compiled: define it outside of the probe, and call it here"),
    ("def probe(x):\n    class Inner:\n        pass", "class Inner:",
     "a class inside of a probe cannot be compiled: define it outside of the probe"),
    ("def probe(*args):\n    return args", "args",
     "parameters with '*' are not compiled: name each parameter"),
    ("def probe(x):\n    a, *b = (1, 2, 3)", "*b",
     "'*' among targets is not compiled: name each of them"),
    ("def probe(x):\n    a, b = (1, 2, 3)", "a, b",
     "2 targets for 3 values"
     ": write a target for each, such as _"),
    ("def probe(x):\n    a, b = x", "x",
     "a u64 cannot be unpacked to 2 targets"
     ": tuples, structs and arrays can"),
    ("def probe(x):\n    return x / 2", "x / 2",
     "'/' gives a float, which eBPF does not have: write '//' to divide integers"),
    ("def probe(x):\n    return 2 ** x", "2 ** x",
     "'**' by a value of run time: write '1 << n' for powers of two, or a loop"),
    ("def probe(x):\n    return x * 1.5", "x * 1.5",
     "eBPF has no floating point: scale to integers, such as nanoseconds or thousandths"),
    ("def probe(x):\n    return x // 0", "x // 0",
     "division by zero"
     ": Python would raise; divide by what is not 0"),
    ("def probe(x):\n    return 1 // 0", "1 // 0",
     "Python cannot compute this: ZeroDivisionError: integer division or modulo by zero"),
    ("def probe(x):\n    return x << 64", "x << 64",
     "a shift by 64: integers have 64 bits, so shift by 0 to 63"),
    ("def probe(x: u64, y: s64):\n    return x // y", "x // y",
     "'//' of a u64 and a signed value has no 64-bit type for its result: convert one of them by u64(x) or s64(x)"),
    ("def probe(x):\n    y: u8 = 300\n    return y", "300",
     "300 does not fit u8: its range is 0 to 255"),
    ("def probe(x):\n    y: s8 = 1\n    y = -129\n    return y", "-129",
     "-129 does not fit s8: its range is -128 to 127"),
    ("def probe(x):\n    y: u8 = 1\n    y: u16 = 2", "y: u16 = 2",
     "'y' is annotated as u8 already: a variable has one type"),
    ("def probe(x: u64, y: s64):\n    z = x\n    if y < 0:\n        z = y\n    return z", "z",
     "'z' is assigned a u64 and a signed value: annotate it, as in 'z: s64 = ...', or convert by u64(x) or s64(x)"),
    ("def probe(x: u64, y: s64):\n    return x if y else y", "x if y else y",
     "this is a u64 or a signed value, depending on the way: convert one by u64(x) or s64(x)"),
    ("def probe(x):\n    return y", "y",
     "name 'y' is not defined"
     ": import it, or define it outside of the probe"),
    ("def probe(x):\n    return lenn(x)", "lenn",
     "name 'lenn' is not defined; did you mean len?"),
    ("def probe(x):\n    if x:\n        y = 1\n    return y", "y",
     "'y' may not have been assigned here: assign it on every way that leads here"),
    ("def probe(x):\n    z = y\n    y = 1", "y",
     "'y' has no value here yet: assign it before, on every way that leads here"),
    ("def probe(x):\n    y = 1\n    del y\n    return y", "y",
     "'y' was deleted"
     ": assign it again before it is read"),
    ("def probe(x):\n    if x:\n        s = 'a'\n    else:\n        s = 1\n    return s == 'a'", "s",
     "'s' is 'a' or 1 here, depending on the way: use two names"),
    ("def probe(x):\n    return x.pid", "x.pid",
     "a u64 has no attribute 'pid'"
     ": what is at an address is read by read_user(x, u32), say, or cast(\"struct NAME\", x).member"),
    ("def probe(x):\n    return x[0]", "x[0]",
     "a u64 cannot be indexed"
     ": what is at an address is read by read_user(x, u32), say, or cast(\"struct NAME\", x).member"),
    ("def probe(x):\n    return x(1)", "x(1)",
     "a u64 cannot be called"
     ": functions, types and methods can; leave the parentheses away"),
    ("def probe(x):\n    return LIMITS.maxx", "LIMITS.maxx",
     "the type LIMITS has no attribute 'maxx'; did you mean max?"),
    ("def probe(x):\n    return (1, 2)[x]", "(1, 2)[x]",
     "(1, 2) is a constant of Python: its index must be constant too; put what is looked up at run time into a map or "
     "an array"),
    ("def probe(x):\n    return x == 'a'", "x == 'a'",
     "a u64 cannot be compared with 'a'"
     ": numbers are, with integers"),
    ("def probe(x):\n    return x + 'a'", "x + 'a'",
     "'a' is not an integer"
     ": write a number, or declare char[N] for text"),
    ("def probe(x):\n    return open('/etc/passwd')", "open('/etc/passwd')",
     "the function open() cannot be called in a probe: emit what is to be written, and write it in Python"),
    ("def probe(x):\n    for y in x:\n        pass", "x",
     "a u64 cannot be gone through: range(...), arrays and tuples can"),
    ("def probe(x):\n    for y in range(0, 10, x):\n        pass", "range(0, 10, x)",
     "the step of a range is a constant other than 0: write range(start, stop, 2), say"),
    ("def probe(x):\n    return range(1, 2, 3, 4)", "range(1, 2, 3, 4)",
     "range() takes 1 to 3 integers, and got 4"),
    ("def probe(x):\n    return min()", "min()",
     "Python cannot compute this: TypeError: min expected at least 1 argument, got 0"),
    ("def probe(x):\n    return abs(x, x)", "abs(x, x)",
     "abs() takes one value, and got 2"),
    ("def probe(x):\n    return u8(x, x)", "u8(x, x)",
     "u8() takes one value, and got 2"),
    ("def probe(x):\n    return helper()", "helper()",
     "helper() needs a value for 'x'"
     ": it is called as helper(x, y=1)"),
    ("def probe(x):\n    return helper(x, 1, 2)", "helper(x, 1, 2)",
     "helper() takes 2 positional arguments, and got 3: it is called as helper(x, y=1)"),
    ("def probe(x):\n    return helper(x, z=1)", "helper(x, z=1)",
     "helper() has no parameter 'z'"
     ": it is called as helper(x, y=1)"),
    ("def probe(x):\n    return helper(x, y=1, **LIMITS)", "LIMITS",
     "'**' in a call is not compiled: name each argument"),
    ("def probe(x):\n    return recursive(x)", "recursive(x - 1)",
     "recursive() calls itself (recursive -> other -> recursive): eBPF has no recursion, write a loop (in other(), "
     "called from FILE:8, from FILE:19)"),
    ("def probe(x):\n    return broken(x)", "x.missing",
     "a u64 has no attribute 'missing': what is at an address is read by read_user(x, u32)"
     ", say, or cast(\"struct NAME\", x).member (in broken(), called from FILE:19)"),
    ("def probe(x):\n    x.y: u8 = 1", "x.y",
     "only variables are annotated: a field or an item has the type of its struct or map"),
    ("def probe(x):\n    del x.y", "x.y",
     "'del' takes variables, and items of maps: del m[key]"),
    ("def probe(x):\n    return len(x)", "len(x)",
     "a u64 has no length"
     ": text, arrays, tuples and ranges have one"),
    ("def probe(x):\n    return 1 << 5000", "1 << 5000",
     "this integer has more than 4096 bits"
     ": registers have 64"),
    ("def probe(x):\n    return x + (1 << 64)", "x + (1 << 64)",
     "18446744073709551616 does not fit 64 bits"
     ": integers are 64 bits wide at most"),
    ("def probe(x):\n    return x @ x", "x @ x",
     "a u64 does not support '@'"
     ": integers have + - * // % ** & | ^ << >>"),
    ("def probe(x):\n    y: NOTHING = 1\n    return y", "NOTHING",
     "5 is not a type that a variable can have: write u8 .. u64, s8 .. s64, bool, char[N], T[N] or a Struct"),
    ("def probe(x):\n    return NUMBERS[5]", "NUMBERS[5]",
     "Python cannot compute this: IndexError: list index out of range"),
    ("def probe(x):\n    return x[1:x]", "x",
     "the ends of a slice are constants: memory has a fixed length in eBPF; of a loop over "
     "(0, 1, 2), which is written out, the variable is one"),
]  # fmt: skip
#: the same, for syntax that Python 3.9 does not have
NEW_ROWS = [
    ("def probe(x):\n    match x:\n        case [1, 2]:\n            return 1", "[1, 2]",
     "this pattern cannot be compiled: a case is a constant, constants with '|', a name or '_'"),
    ("def probe(x):\n    match x:\n        case LIMITS():\n            return 1", "LIMITS()",
     "this pattern cannot be compiled: a case is a constant, constants with '|', a name or '_'"),
]  # fmt: skip


def made(text: str) -> FunctionType:
    names: dict[str, Any] = {name: getattr(types, name) for name in ("u8", "u16", "u32", "u64", "s8", "s16", "s64")}
    exec(compile(text, "<rows>", "exec"), names)
    probe: FunctionType = names["probe"]
    return probe


@pytest.mark.parametrize(("source", "caret", "message"), ROWS + (NEW_ROWS if sys.version_info >= (3, 10) else []))
def test_message_says_what_and_where(source: str, caret: str, message: str) -> None:
    text = PRELUDE + source + "\n"
    probe = made(text)
    with pytest.raises(CompileError) as raised:
        compiled(probe, TARGET, source=text)
    error = raised.value
    assert error.message == message.replace("FILE", error.file)
    assert error.text == text.split("\n")[error.line - 1]
    assert error.text[error.column - 1 : error.end_column - 1] == caret


def test_source_that_is_not_to_be_found() -> None:
    names: dict[str, Any] = {}
    exec("def probe(x): return x", names)
    with pytest.raises(CompileError) as raised:
        compiled(names["probe"], TARGET)
    assert raised.value.message == (
        "the source of probe() is not to be found: it was made in '<string>', not in a file that can be read; put it "
        "into a file, or pass its text as source=..."
    )
    compiled(names["probe"], TARGET, source="def probe(x): return x")


def test_the_source_of_a_command_is_its_argument() -> None:
    """``python -c`` keeps its text nowhere before 3.13."""
    program = """
from pybpf.lang.front.source import source_of

def probe(x):
    return x.missing

found = source_of(probe)
print(found.node.lineno, found.text(5).strip())
"""
    for options in (["-c", program], ["-X", "dev", "-Bc", program, "argument"]):
        done = subprocess.run([sys.executable, *options], capture_output=True, text=True, check=True)
        assert done.stdout == "4 return x.missing\n", done
    other = "exec('def probe(x):\\n    return 1'); from pybpf.lang.front.source import source_of; source_of(probe)"
    for program in (other, f"def probe(x): return 2\n{other}"):  # text that is not the function's
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert "the source of probe() is not to be found" in done.stderr, done


def test_source_that_was_changed() -> None:
    names: dict[str, Any] = {}
    exec("def probe(x): return x", names)
    with pytest.raises(CompileError) as raised:
        compiled(names["probe"], TARGET, source="def other(x): return x")
    assert raised.value.message == (
        "probe() is not in line 1 of its source; the text was changed after the function was made: load it anew"
    )


@pytest.mark.parametrize("what", [len, 5, "text", int, None])
def test_only_functions_are_compiled(what: Any) -> None:
    with pytest.raises(CompileError, match="is not a Python function; a probe is made from `def` or `lambda`"):
        compiled(what, TARGET)


def test_too_deep() -> None:
    text = f"def probe(x):\n    return {'-' * 90}{'(' * 80}x{')' * 80}\n"
    compiled(made(text), TARGET, source=text)
    text = "def probe(x):\n    return " + " + ".join(["x"] * 700) + "\n"
    with pytest.raises(CompileError, match="nested too deeply: split it"):
        compiled(made(text), TARGET, source=text)


def test_too_many_values_point_at_the_fullest_line() -> None:
    """And say where they come from."""
    first = [f"    v{number} = args.dfd + {number}" for number in range(80)]
    second = [f"    if args.flags > {number}:\n        v{number} += v{79 - number}" for number in range(80)]
    text = "\n".join(["def probe(args):", *first, *second, f"    counts[1] = {' + '.join(f'v{n}' for n in range(80))}"])
    tracer = Tracer()
    space: dict[str, Any] = {"counts": tracer.hash(u32, u64)}
    exec(text, space)
    tracer.tracepoint("syscalls:sys_enter_openat", source=text)(space["probe"])
    fields = {"syscalls:sys_enter_openat": FIELDS["syscalls:sys_enter_openat"]}
    with pytest.raises(CompileError) as raised:
        tracer.compile(Target.described("6.8", "x86_64", fields=fields))
    found = re.match(r"function probe needs \d+ bytes of stack, and has 512: (\d+) values are kept here; most of them "
                     r"are computed in lines [\d, ]+; use fewer variables", raised.value.message)  # fmt: skip
    assert found and int(found.group(1)) > 60
    assert raised.value.line > 70 and raised.value.text == text.split("\n")[raised.value.line - 1]
