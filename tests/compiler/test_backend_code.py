"""The code that the back end makes of small functions, line by line, and what it does for which kernel."""

from __future__ import annotations

import re

import pytest

from pybpf.asm import encode
from pybpf.compiler import pipeline
from pybpf.compiler.compiled import Compiled
from pybpf.compiler.parse import parse_unit
from pybpf.compiler.pipeline import compile_unit
from pybpf.compiler.target import Target
from pybpf.errors import CompileError
from pybpf.sys.bpf import MapType
from tests.compiler.machines import run_in_kernel

#: what the examples may use
HEAD = "unit raw_tracepoint\n  map m = array key 4 value 64 entries 1\n"
ARGS = "func f(ptr):\nentry:\n  v0 = param index=0 : ptr\n  v1 = load v0 offset=0 size=8 signed=0 : int\n"


@pytest.fixture
def only_back_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pass changes the IR."""
    monkeypatch.setattr(pipeline, "PASSES", ())


def compiled(text: str, release: str = "6.18", arch: str = "x86_64") -> Compiled:
    """A unit, given without its head."""
    return compile_unit(parse_unit(HEAD + text), Target.described(release, arch), check=True)


def lines(text: str, release: str = "6.18", arch: str = "x86_64") -> list[str]:
    """The code of a unit."""
    return [line.strip() for line in str(compiled(text, release, arch).spec.code).splitlines()]


LOAD = "r1 = *(u64 *)(r1 +0)"
LOAD0 = "r0 = *(u64 *)(r1 +0)"


@pytest.mark.usefixtures("only_back_end")
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        # constants: in the instruction where they fit
        ("  v2 = add v1, 5\n  ret v2\n", [LOAD0, "r0 += 5"]),
        ("  v2 = add 5, v1\n  ret v2\n", [LOAD0, "r0 += 5"]),
        ("  v2 = sub 5, v1\n  ret v2\n", [LOAD, "r0 = 5", "r0 -= r1"]),
        ("  v2 = and v1, 4294967295\n  ret v2\n", [LOAD0, "w0 &= -1"]),
        ("  v2 = and v1, 2147483648\n  ret v2\n", [LOAD0, "w0 &= -2147483648"]),
        ("  v2 = or v1, 2147483648\n  ret v2\n", [LOAD0, "w1 = -2147483648", "r0 |= r1"]),
        ("  v2 = xor v1, 81985529216486895\n  ret v2\n", [LOAD0, "r1 = 0x123456789abcdef", "r0 ^= r1"]),
        ("  v2 = udiv v1, 0\n  ret v2\n", ["r0 = 0"]),
        ("  v2 = umod v1, 0\n  ret v2\n", [LOAD0]),
        ("  v2 = shl v1, 65\n  ret v2\n", [LOAD0, "r0 <<= 1"]),
        ("  v2 = add v1, v1\n  ret v2\n", [LOAD0, "r0 += r0"]),
        # extensions
        ("  v2 = zext v1 bits=8\n  ret v2\n", [LOAD0, "r0 &= 255"]),
        ("  v2 = mul v1, 3\n  v3 = zext v2 bits=32\n  ret v3\n", [LOAD0, "w0 *= 3"]),
        ("  v2 = bswap v1 bits=16\n  ret v2\n", [LOAD0, "r0 = be16 r0"]),
        # what nobody needs
        ("  v2 = mul v1, 3\n  v3 = mul v2, v2\n  ret v1\n", [LOAD0]),
        # addresses: offsets are part of the access
        ("  v2 = add v0, 8\n  v3 = load v2 offset=8 size=4 signed=0 : int\n  ret v3\n", ["r0 = *(u32 *)(r1 +16)"]),
        (
            '  v2 = slot size=16 align=8 name="s"\n  v3 = add v2, 8\n  store v3, -1 offset=0 size=4\n'
            "  v4 = load v2 offset=8 size=4 signed=0 : int\n  ret v4\n",
            ["*(u32 *)(r10 -8) = -1", "r0 = *(u32 *)(r10 -8)"],
        ),
        # a constant is not stored into the context, and neither is one that needs 64 bits
        ("  store v0, 7 offset=8 size=8\n  ret 0\n", ["r2 = 7", "*(u64 *)(r1 +8) = r2", "r0 = 0"]),
        # the address of a value is taken once
        (
            "  v2 = mapvalue map=m offset=8\n  store v2, 1 offset=0 size=8\n  v3 = mapvalue map=m offset=32\n"
            "  atomic v3, v1 kind=add offset=4 size=4\n  ret 0\n",
            [LOAD, "r2 = map[m][0]+0", "*(u64 *)(r2 +8) = 1", "lock *(u32 *)(r2 +36) += r1", "r0 = 0"],
        ),
        # a comparison into a register
        ("  v2 = cmp v1, 7 cond=ult\n  ret v2\n", [LOAD, "r0 = 1", "if r1 < 0x7 goto pc+1", "r0 = 0"]),
        ("  v2 = cmp 7, v1 cond=clear\n  ret v2\n", [LOAD, "r0 = 0", "if r1 & 0x7 goto pc+1", "r0 = 1"]),
        # arguments come where they belong
        (
            '  v2 = slot size=8 align=8 name="k"\n  store v2, 0 offset=0 size=8\n  v3 = map map=m\n  v4 = add v2, 4\n'
            "  v5 = call v3, v4 helper=map_lookup_elem : ptr\n  ret 0\n",
            ["*(u64 *)(r10 -8) = 0", "r1 = map[m]", "r2 = r10", "r2 += -4", "call bpf_map_lookup_elem#1", "r0 = 0"],
        ),
        ("  tail v0, v1 map=m\n  ret 1\n", ["r3 = *(u64 *)(r1 +0)", "r2 = map[m]", "call bpf_tail_call#12", "r0 = 1"]),
        (
            "  v2 = mapvalue map=m offset=0\n  v3 = cmpxchg v2, 4, v1 offset=0 size=8\n  ret v3\n",
            [LOAD, "r2 = map[m][0]+0", "r0 = 4", "r0 = atomic64_cmpxchg((u64 *)(r2 +0), r0, r1)"],
        ),
        ("  v2 = kfunc v0, 3 name=bpf_f : int\n  ret v2\n", ["r2 = 3", "call kfunc[bpf_f]"]),
    ],
)  # fmt: skip
def test_one_block(body: str, expected: list[str]) -> None:
    used = "v1" in body
    text = ARGS if used else ARGS.rsplit("\n", 2)[0] + "\n"
    assert lines(text + ("" if used else "  v1 = add 1, 1\n") + body) == [*expected, "exit"]


EXTENDED = "  v2 = sext v1 bits={bits}\n  ret v2\n"
DIVIDED = "  v2 = sdiv v1, 3\n  ret v2\n"


@pytest.mark.usefixtures("only_back_end")
@pytest.mark.parametrize(
    ("body", "release", "expected"),
    [
        (EXTENDED.format(bits=8), "6.18", [LOAD, "r0 = (s8)r1"]),
        (EXTENDED.format(bits=8), "6.1", [LOAD0, "r0 <<= 56", "r0 s>>= 56"]),
        ("  v2 = load v0 offset=0 size=4 signed=1 : int\n  ret v2\n", "6.6", ["r0 = *(s32 *)(r1 +0)"]),
        (
            "  v2 = load v0 offset=0 size=4 signed=1 : int\n  ret v2\n",
            "5.10",
            ["r0 = *(u32 *)(r1 +0)", "r0 <<= 32", "r0 s>>= 32"],
        ),
        (DIVIDED, "6.6", [LOAD0, "r0 s/= 3"]),
    ],
)
def test_by_kernel(body: str, release: str, expected: list[str]) -> None:
    assert lines(ARGS + body, release) == [*expected, "exit"]


def branch(compare: str) -> str:
    return ARGS + compare + " -> a, b\na:\n  v8 = call helper=ktime_get_ns : int\n  ret v8\nb:\n  ret 0\n"


@pytest.mark.usefixtures("only_back_end")
@pytest.mark.parametrize(
    ("compare", "release", "expected"),
    [
        ("  branch v1, 5 cond=ult", "6.18", "if r1 >= 0x5 goto"),
        ("  branch 5, v1 cond=ult", "6.18", "if r1 <= 0x5 goto"),
        ("  branch v1, -1 cond=sgt", "6.18", "if r1 s<= 0xffffffff goto"),
        ("  branch v1, 6 cond=set", "6.18", "if r1 & 0x6 goto"),
        ("  branch v1, 6 cond=clear", "6.18", "if r1 & 0x6 goto"),
        ("  v2 = cmp v1, 5 cond=sle\n  branch v2, 0 cond=ne", "6.18", "if r1 s> 0x5 goto"),
        ("  v2 = cmp v1, 5 cond=sle\n  branch v2, 0 cond=eq", "6.18", "if r1 s<= 0x5 goto"),
        ("  v2 = zext v1 bits=32\n  branch v2, 4294967295 cond=eq", "6.18", "if w1 != 0xffffffff goto"),
        ("  v2 = sext v1 bits=32\n  branch v2, -1 cond=slt", "6.18", "if w1 s>= 0xffffffff goto"),
        ("  v2 = sext v1 bits=32\n  branch v2, -1 cond=slt", "5.0", "if r1 s>= 0xffffffff goto"),
        ("  v2 = zext v1 bits=32\n  branch v2, -1 cond=slt", "6.18", "if r1 s>= 0xffffffff goto"),
    ],
)
def test_branches(compare: str, release: str, expected: str) -> None:
    assert next(line for line in lines(branch(compare), release) if line.startswith("if ")).startswith(expected)


def test_equal_returns_are_one() -> None:
    body = "".join(
        f"b{n}:\n  v{n + 10} = call helper=ktime_get_ns : int\n  branch v{n + 10}, {n} cond=eq -> r{n}, b{n + 1}\n"
        f"r{n}:\n  ret 0\n"
        for n in range(5)
    )
    made = lines(f"func f(ptr):\nentry:\n  jump -> b0\n{body}b5:\n  ret 0\n")
    assert made.count("exit") == 1
    assert not [line for line in made if line.startswith("goto")]


def test_source_lines_stay() -> None:
    from pybpf.asm import SourceLine

    unit = parse_unit(HEAD + ARGS + "  v2 = mul v1, 7\n  v3 = call v2 helper=get_prandom_u32 : int\n  ret v3\n")
    for number, instr in enumerate(unit.functions[0].blocks[0].instrs):
        instr.line = SourceLine("a.py", number + 1, 1, "text")
    code = compile_unit(unit, Target.described("6.18")).spec.code
    assert [insn.line.line for insn in code if insn.line] == [2, 3, 4, 5]


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
@pytest.mark.parametrize("release", ["4.18", "5.4", "5.10", "6.1", "6.12"])
def test_every_target_is_served(release: str, arch: str) -> None:
    made = compiled(ARGS + DIVIDED, release, arch)
    assert encode(made.spec.code, maps={"m": 1}, endian="little")


@pytest.mark.parametrize(
    ("op", "message"),
    [
        ("atomic v2, v1 kind=or offset=0 size=8", "no atomic or .Linux 5.12."),
        ("v3 = fetch v2, v1 kind=add offset=0 size=8", "no atomic add that gives the old value"),
        ("v3 = cmpxchg v2, v1, 1 offset=0 size=8", "no compare and exchange"),
    ],
)
def test_what_a_target_lacks_is_refused(op: str, message: str) -> None:
    text = ARGS + f"  v2 = mapvalue map=m offset=0\n  {op}\n  ret 0\n"
    with pytest.raises(CompileError, match=message):
        compiled(text, "5.10")
    assert compiled(text, "5.15")


# frames


BIG = """\
func f(ptr):
entry:
  v0 = param index=0 : ptr
  v1 = slot size=4096 align=8 name=path
  v2 = slot size=16 align=8 name=key
  v3 = slot size=504 align=8 name=other
  v4 = load v0 offset=0 size=8 signed=0 : int
  store v1, v4 offset=4088 size=8
  store v2, 2 offset=8 size=8
  store v3, 3 offset=496 size=8
  v5 = load v1 offset=4088 size=8 signed=0 : int
  v6 = load v2 offset=8 size=8 signed=0 : int
  v7 = load v3 offset=496 size=8 signed=0 : int
  v8 = mul v5, v6
  v9 = mul v8, v7
  ret v9
"""


@pytest.mark.usefixtures("only_back_end")
@pytest.mark.needs("test_run_raw_tp")
def test_large_slots_go_to_scratch_memory() -> None:
    made = compiled(BIG)
    assert [(spec.type, spec.value_size) for name, spec in made.maps.items() if name != "m"] == [
        (MapType.PERCPU_ARRAY, 4096 + 504 + 8)
    ]
    del made.maps["m"]
    assert run_in_kernel(made, [7])[0] == 7 * 2 * 3


@pytest.mark.usefixtures("only_back_end")
def test_slots_that_fit_need_no_map() -> None:
    made = compiled("func f():\nentry:\n  v0 = slot size=512 align=8 name=s\n  store v0, 1 offset=0 size=8\n  ret 0\n")
    assert list(made.maps) == ["m"]
    assert "*(u64 *)(r10 -512) = 1" in str(made.spec.code)


def slots_in_turn(stored: bool) -> str:
    """Two slots of 400 bytes, one used after the other; the address of the first may be kept."""
    keep = "  store v3, v1 offset=0 size=8\n" if stored else ""
    return (
        "func f(ptr):\nentry:\n  v0 = param index=0 : ptr\n  v1 = slot size=400 align=8 name=a\n"
        "  v2 = slot size=400 align=8 name=b\n  v3 = slot size=8 align=8 name=c\n  v4 = add v1, 16\n"
        f"{keep}  store v4, 3 offset=0 size=8\n  v5 = load v4 offset=0 size=8 signed=0 : int\n"
        "  store v2, 4 offset=0 size=8\n  v6 = load v2 offset=0 size=8 signed=0 : int\n"
        "  v7 = mul v5, v6\n  ret v7\n"
    )


@pytest.mark.usefixtures("only_back_end")
@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.needs("test_run_raw_tp")
def test_slots_that_are_used_in_turn_share_memory(stored: bool) -> None:
    made = compiled(slots_in_turn(stored))
    del made.maps["m"]
    assert len(made.maps) == stored
    assert run_in_kernel(made, [])[0] == 12


FUNCTIONS = """\
func main(ptr):
entry:
  v0 = param index=0 : ptr
  v1 = slot size=200 align=8 name=a
  v2 = load v0 offset=0 size=8 signed=0 : int
  store v1, v2 offset=192 size=8
  v3 = callfunc v2, 10 func=r0 : int
  v4 = load v1 offset=192 size=8 signed=0 : int
  v5 = add v3, v4
  ret v5
func r0(int, int):
entry:
  v0 = param index=0 : int
  v1 = param index=1 : int
  v2 = slot size=400 align=8 name=b
  store v2, v0 offset=0 size=8
  v3 = callfunc v1 func=inner : int
  v4 = load v2 offset=0 size=8 signed=0 : int
  v5 = mul v3, v4
  ret v5
func inner(int):
entry:
  v0 = param index=0 : int
  v1 = add v0, 1
  ret v1
func unused(int):
entry:
  ret 1
"""


@pytest.mark.needs("test_run_raw_tp")
def test_functions_share_the_stack() -> None:
    made = compiled(FUNCTIONS)
    del made.maps["m"]
    assert run_in_kernel(made, [5])[0] == 11 * 5 + 5
    text = str(made.spec.code)
    assert "call r0_" in text  # r0 would be a register
    assert "unused" not in text


def test_recursion_is_refused() -> None:
    text = "func f(ptr):\nentry:\n  v0 = callfunc 1 func=g : int\n  ret v0\n"
    text += "func g(int):\nentry:\n  v0 = callfunc 1 func=g : int\n  ret v0\n"
    with pytest.raises(CompileError, match="g calls itself"):
        compiled(text)


def chain(length: int) -> str:
    """Functions each of which calls the next."""
    texts = [
        f"func f{n}({'ptr' if n == 0 else 'int'}):\nentry:\n  v0 = callfunc {n} func=f{n + 1} : int\n  ret v0\n"
        for n in range(length - 1)
    ]
    return "".join(texts) + f"func f{length - 1}(int):\nentry:\n  v0 = param index=0 : int\n  ret v0\n"


@pytest.mark.needs("test_run_raw_tp")
def test_nested_calls() -> None:
    made = compiled(chain(8))
    del made.maps["m"]
    assert run_in_kernel(made, [])[0] == 6
    with pytest.raises(CompileError, match="f8 would be number 9"):
        compiled(chain(9))


@pytest.mark.needs("test_run_raw_tp", "kfunc")
def test_callback() -> None:
    """bpf_loop (Linux 5.17) calls a function of the unit, which gets a pointer to the caller's memory."""
    made = compiled(
        "func f(ptr):\nentry:\n  v0 = slot size=8 align=8 name=sum\n  store v0, 0 offset=0 size=8\n"
        "  v1 = func func=step\n  v2 = call 10, v1, v0, 0 helper=loop : int\n"
        "  v3 = load v0 offset=0 size=8 signed=0 : int\n  ret v3\n"
        "func step(int, ptr):\nentry:\n  v0 = param index=0 : int\n  v1 = param index=1 : ptr\n"
        "  v2 = load v1 offset=0 size=8 signed=0 : int\n  v3 = add v2, v0\n  store v1, v3 offset=0 size=8\n  ret 0\n"
    )
    del made.maps["m"]
    assert run_in_kernel(made, [])[0] == 45


@pytest.mark.usefixtures("only_back_end")
def test_too_many_values_for_the_stack() -> None:
    loads = "".join(f"  v{n} = load v0 offset={n % 5 * 8} size=8 signed=0 : int\n" for n in range(1, 101))
    call = "  v101 = call helper=ktime_get_ns : int\n"
    sums = "".join(f"  v{n + 101} = xor v{n + 100}, v{n}\n" for n in range(1, 101))
    text = f"func f(ptr):\nentry:\n  v0 = param index=0 : ptr\n{loads}{call}{sums}  ret v201\n"
    assert text.count("load") == 100
    with pytest.raises(CompileError, match=r"f needs \d+ bytes of stack, and has 512: \d+ values are kept here"):
        compiled(text)


def test_stages_are_kept_on_request() -> None:
    made = compile_unit(parse_unit(HEAD + ARGS + "  ret v1\n"), Target.described("6.18"), stages=True)
    assert next(iter(made.stages)) == "source"
    assert list(made.stages)[-2:] == ["select", "code"]
    assert re.search(r"r\d+ <- r1", made.stages["select"])
    assert not compiled(ARGS + "  ret v1\n").stages
