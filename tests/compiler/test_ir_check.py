"""The checker finds every break of the rules and names its place; the text form reads back."""

from __future__ import annotations

import pytest

from pybpf.compiler.check import IrError, check
from pybpf.compiler.parse import parse_unit
from pybpf.compiler.text import format_unit
from pybpf.errors import CompileError

pytestmark = pytest.mark.pure

WHOLE = """\
unit tracing attach=trace_fentry btf=do_exit
  map begun = hash key 4 value 16 entries 10240
  map two.words = array_of_maps key 4 value 4 entries 2 inner array key 4 value 3 entries 1 flags 1024
func on_enter(ptr):
entry:
  v0 = param index=0 : ptr
  v1 = slot size=16 align=8 name="a \\"name\\""
  v2 = call helper=get_current_pid_tgid : int
  v3 = zext v2 bits=32
  store v1, -1 offset=-8 size=4
  v4 = lookup v3 map=begun
  call v4, 0 helper=ringbuf_submit
  branch v4, 0 cond=eq -> missing, found
missing: <- entry
  ret 0
found: <- entry
  v5 = load v4 offset=0 size=8 signed=0 : int
  v6 = callfunc v5 func=twice : int
  jump -> loop
loop: <- loop, found
  v7 = phi v8, v6 : int
  v8 = add v7, -1
  branch v8, 0 cond=eq -> out, loop
out: <- loop
  ret v8
func twice(int):
entry:
  v0 = param index=0 : int
  v1 = shl v0, 1
  ret v1
"""


def test_text_reads_back() -> None:
    unit = parse_unit(WHOLE)
    check(unit)
    assert format_unit(unit) == WHOLE
    assert unit.maps["two.words"].inner is not None
    assert unit.maps["begun"].value_size == 16


def test_comments_and_free_order_of_predecessors() -> None:
    text = "unit kprobe ; a comment\nfunc f():\nentry:\n  jump -> b\n\nb:\n  ret 0 ; done\n"
    assert format_unit(parse_unit(text)) == "unit kprobe\nfunc f():\nentry:\n  jump -> b\nb: <- entry\n  ret 0\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("v0 = nonsense 1", "there is no operation nonsense"),
        ("v0 = add v9, 1", "there is no value v9"),
        ("v0 = add", "add needs operands"),
        ("jump -> nowhere", "there is no block nowhere in f"),
        ("ret 0 ?", "cannot be read"),
        ("v0 = add 1, 1 cond", "unexpected cond"),
    ],
)
def test_text_that_is_wrong(line: str, message: str) -> None:
    with pytest.raises(CompileError, match=message):
        parse_unit(f"unit kprobe\nfunc f():\nentry:\n  {line}\n")


HEAD = "unit kprobe\n  map m = hash key 4 value 8 entries 1\nfunc f(ptr):\nentry:\n"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("  v0 = neg v1\n  v1 = neg 1\n  ret v0\n", "v1 of block entry may not have a value yet"),
        (
            "  branch 1, 1 cond=eq -> a, b\na:\n  v0 = add 1, 1\n  jump -> c\nb:\n  jump -> c\nc:\n  ret v0\n",
            "f, block c, ret v0: v0 of block a may not",
        ),
        ("  v0 = add 1, 1\n  v1 = load v0 offset=0 size=8 signed=0 : int\n  ret v1\n", "operand 1 is int"),
        ("  v0 = param index=0 : ptr\n  ret v0\n", "operand 1 is ptr"),
        ("  v0 = param index=1 : ptr\n  ret 0\n", r"the parameters are \(ptr\)"),
        ("  v0 = zext 1\n  ret v0\n", "its attributes should be bits"),
        ("  v0 = zext 1 bits=33\n  ret v0\n", "bits cannot be 33"),
        ("  v0 = call helper=no_such : int\n  ret v0\n", "helper cannot be 'no_such'"),
        ("  v0 = map map=n\n  ret 0\n", "the unit has no map n"),
        ("  v0 = callfunc func=g : int\n  ret v0\n", "the unit has no function g"),
        ("  v0 = add 1, 1, 1\n  ret 0\n", "it needs 2 operands"),
        ("  v0 = add 1, 1\n", "it has no end"),
        ("  ret 0\n  ret 0\n", "it ends the block before its end"),
        ("  jump -> a\na:\n", "a: it is empty"),
        ("  branch 1, 1 cond=eq -> a\na:\n  ret 0\n", "its branch needs 2"),
        ("  jump -> a\na:\n  v0 = add 1, 1\n  v1 = phi 1 : int\n  ret 0\n", "it comes after other instructions"),
        ("  jump -> a\na:\n  v0 = phi 1, 1 : int\n  ret 0\n", "it has 2 operands, the block 1 predecessors"),
        ("  jump -> a\na:\n  v0 = slot size=8 align=8 name=s\n  ret 0\n", "it belongs into the entry block"),
        ("  ret 0\na:\n  ret 0\n", "nothing reaches a"),
        ("  jump -> entry\n", "something jumps to the entry"),
        ("  v0 = add 1, 9223372036854775807\n  v1 = call v0 helper=ktime_get_ns\n  ret 0\n", None),
    ],
)
def test_broken_rules(body: str, message: str | None) -> None:
    unit = parse_unit(HEAD + body)
    if message is None:
        check(unit)
        return
    with pytest.raises(IrError, match=message):
        check(unit)


def test_edges_that_disagree() -> None:
    unit = parse_unit(HEAD + "  jump -> a\na:\n  ret 0\n")
    unit.functions[0].blocks[1].predecessors.clear()
    with pytest.raises(IrError, match="successors and predecessors disagree about entry to a"):
        check(unit)


def test_an_instruction_that_is_there_twice() -> None:
    unit = parse_unit(HEAD + "  v0 = add 1, 1\n  ret v0\n")
    entry = unit.functions[0].blocks[0]
    entry.instrs.insert(0, entry.instrs[0])
    with pytest.raises(IrError, match="twice"):
        check(unit)
