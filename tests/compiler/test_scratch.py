"""Scratch memory: of several areas a run takes one that is free, and gives it back; what it costs where."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from pybpf.compiler import pipeline
from pybpf.compiler.compiled import Compiled
from pybpf.compiler.ir import Counter, Unit
from pybpf.compiler.outline_loops import outline_loops
from pybpf.compiler.parse import parse_unit
from pybpf.compiler.pipeline import compile_unit
from pybpf.compiler.scratch import runs_overlap
from pybpf.compiler.target import Target
from pybpf.errors import CompileError
from pybpf.maps import Map, MapSpec
from pybpf.prog import Program
from pybpf.sys.bpf import AttachType, MapType, ProgType
from pybpf.types import u32, u64

#: the features of older kernels, without which this one is compiled for
LACKS = {
    "new": frozenset[str](),
    "no exchange": frozenset({"atomics"}),
    "no loops": frozenset({"atomics", "bounded_loop"}),
}
SIZE = 4096
LARGE = """\
unit raw_tracepoint
func large(ptr):
entry:
  v0 = param index=0 : ptr
  v1 = slot size=4096 align=8 name=text
  v2 = load v0 offset=0 size=8 signed=0 : int
  store v1, v2 offset=4088 size=8
  v3 = call helper=ktime_get_ns : int
  branch v3, 0 cond=eq -> none, some
none:
  ret 0
some:
  v4 = load v1 offset=4088 size=8 signed=0 : int
  v5 = mul v4, 2
  ret v5
"""
#: the program has no large values, the function that it calls has, and so has one that this one calls
CALLS = """\
unit raw_tracepoint
func calls(ptr):
entry:
  v0 = param index=0 : ptr
  v1 = load v0 offset=0 size=8 signed=0 : int
  v2 = callfunc v0, v1, 3 func=middle : int
  ret v2
func middle(ptr, int, int):
entry:
  v0 = param index=1 : int
  v1 = param index=2 : int
  v2 = slot size=600 align=8 name=large
  store v2, v0 offset=592 size=8
  v3 = callfunc v1 func=inner : int
  v4 = load v2 offset=592 size=8 signed=0 : int
  v5 = mul v4, v3
  ret v5
func inner(int):
entry:
  v0 = param index=0 : int
  v1 = slot size=800 align=8 name=large
  store v1, v0 offset=0 size=8
  v2 = call helper=ktime_get_ns : int
  v3 = load v1 offset=0 size=8 signed=0 : int
  ret v3
"""
#: a function with large values is called by a callback of a loop
IN_LOOP = """\
unit raw_tracepoint
func turns(ptr):
entry:
  v0 = param index=0 : ptr
  v1 = load v0 offset=0 size=8 signed=0 : int
  jump -> head
head:
  v2 = phi 0, v6 : int
  v3 = phi 0, v7 : int
  v4 = again most=1000
  branch v4, 0 cond=ne -> body, done
body:
  v5 = callfunc v3 func=inner : int
  v6 = add v2, v5
  v7 = add v3, 1
  branch v3, v1 cond=ult -> head, done
done:
  v8 = phi v2, v6 : int
  ret v8
func inner(int):
entry:
  v0 = param index=0 : int
  v1 = slot size=800 align=8 name=large
  store v1, v0 offset=0 size=8
  v2 = call helper=ktime_get_ns : int
  v3 = load v1 offset=0 size=8 signed=0 : int
  ret v3
"""


@pytest.fixture(autouse=True)
def no_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slots stay slots: of the passes only the one that makes callbacks runs."""
    monkeypatch.setattr(pipeline, "PASSES", (("outline_loops", outline_loops),))


def unit_of(text: str) -> Unit:
    unit = parse_unit(text)
    unit.skipped = Counter("counts", MapSpec(MapType.ARRAY, u32, u64[4], 1, "counts"), 16)  # type: ignore[misc]
    return unit


def without(lacking: frozenset[str]) -> Target:
    host = Target.host()
    return replace(host, has=lambda name: name not in lacking and host.has(name))


class Loaded:
    """A program in the kernel, whose scratch memory this process sees as numbers of 8 bytes."""

    def __init__(self, made: Compiled, program: Program, maps: dict[str, Map]) -> None:
        self.program = program
        self.areas = maps[f"{made.spec.name}_scratch"].spec
        self.scratch = maps[f"{made.spec.name}_scratch"]
        self.counts = maps["counts"]

    def run(self, argument: int = 21) -> int:
        return self.program.test_run(ctx=struct.pack("<6Q", argument, 0, 0, 0, 0, 0)).retval

    def set_taken(self, area: int, taken: bool) -> None:
        """Let an area of all CPUs look taken, or free."""
        values = [[*each[:-1], int(taken)] for each in self.scratch[area]]  # type: ignore[index]
        self.scratch[area] = values  # type: ignore[index]

    def taken(self) -> list[int]:
        """How many CPUs have each area taken."""
        return [sum(cpu[-1] for cpu in self.scratch[area]) for area in range(self.areas.max_entries)]  # type: ignore[index]

    def used(self, area: int) -> bool:
        """Whether any CPU has written to an area."""
        return any(any(cpu[:-1]) for cpu in self.scratch[area])  # type: ignore[index]

    @property
    def skipped(self) -> int:
        return int(self.counts[0][2])  # type: ignore[index]


@contextmanager
def loaded(text: str, target: Target) -> Iterator[Loaded]:
    made = compile_unit(unit_of(text), target, check=True)
    specs = dict(made.maps)
    name = f"{made.spec.name}_scratch"
    specs[name] = replace(specs[name], value=u64[specs[name].value_size // 8])  # type: ignore[misc]
    with ExitStack() as stack:
        maps = {name: stack.enter_context(spec.create()) for name, spec in specs.items()}
        yield Loaded(made, stack.enter_context(Program.load(made.spec, maps)), maps)


@pytest.mark.root
@pytest.mark.needs("test_run_raw_tp", "bounded_loop")
@pytest.mark.parametrize("lacking", LACKS.values(), ids=LACKS)
def test_a_run_takes_the_first_free_area_and_gives_it_back(lacking: frozenset[str]) -> None:
    with loaded(LARGE, without(lacking)) as program:
        assert program.run() == 42
        areas = program.areas.max_entries
        assert [program.used(area) for area in range(areas)] == [True] + [False] * (areas - 1)
        assert not any(program.taken())
        for area in range(areas - 1):
            program.set_taken(area, True)
            assert program.run(area + 5) == 2 * (area + 5)
            assert program.used(area + 1)
            assert [bool(each) for each in program.taken()] == [each <= area for each in range(areas)]
        program.set_taken(1, False)
        assert program.run() == 42


@pytest.mark.root
@pytest.mark.needs("test_run_raw_tp", "bounded_loop")
@pytest.mark.parametrize("lacking", LACKS.values(), ids=LACKS)
def test_a_run_that_finds_no_area_ends_at_once_and_is_counted(lacking: frozenset[str]) -> None:
    with loaded(LARGE, without(lacking)) as program:
        areas = program.areas.max_entries
        for area in range(areas):
            program.set_taken(area, True)
        before = program.taken()
        assert [program.run(), program.run()] == [0, 0]
        assert program.skipped == 2
        assert program.taken() == before
        assert not any(program.used(area) for area in range(areas))


@pytest.mark.root
@pytest.mark.needs("test_run_raw_tp", "atomics")
def test_functions_use_the_memory_of_the_program() -> None:
    with loaded(CALLS, Target.host()) as program:
        assert program.run(7) == 21
        assert not any(program.taken())
        assert not program.used(1)
        program.set_taken(0, True)
        assert program.run(8) == 24
        assert program.used(1)


@pytest.mark.root
@pytest.mark.needs("test_run_raw_tp", "helper_loop")
def test_callbacks_pass_the_memory_on() -> None:
    with loaded(IN_LOOP, Target.host()) as program:
        program.set_taken(0, True)
        assert program.run(10) == sum(range(11))
        assert not program.used(0)
        assert program.used(1)


@pytest.mark.parametrize(
    ("kind", "attach", "release", "alone", "overlap"),
    [
        (ProgType.TRACEPOINT, AttachType.NONE, "6.18", False, False),
        (ProgType.PERF_EVENT, AttachType.NONE, "4.18", False, False),
        (ProgType.KPROBE, AttachType.NONE, "6.18", True, False),
        (ProgType.KPROBE, AttachType.NONE, "6.18", False, True),
        (ProgType.RAW_TRACEPOINT, AttachType.NONE, "6.18", False, True),
        (ProgType.TRACING, AttachType.TRACE_FENTRY, "5.10", False, True),
        (ProgType.TRACING, AttachType.TRACE_FENTRY, "5.12", False, False),
        (ProgType.TRACING, AttachType.TRACE_ITER, "6.18", False, True),
    ],
)
def test_which_runs_may_overlap(kind: ProgType, attach: AttachType, release: str, alone: bool, overlap: bool) -> None:
    unit = Unit(kind, [], {}, attach, alone=alone)
    assert runs_overlap(unit, Target.described(release)) is overlap


def test_what_never_overlaps_costs_nothing() -> None:
    unit = unit_of(LARGE.replace("raw_tracepoint", "tracepoint"))
    made = compile_unit(unit, Target.described("6.18"))
    assert {name: (spec.max_entries, spec.value_size) for name, spec in made.maps.items()} == {
        "large_scratch": (1, SIZE)
    }
    assert "xchg" not in str(made.spec.code)


def test_more_than_a_per_cpu_value_can_hold_is_refused() -> None:
    def made(size: int) -> Compiled:
        slots = LARGE.replace("size=4096", f"size={size}").replace("offset=4088", f"offset={size - 8}")
        return compile_unit(unit_of(slots), Target.described("6.18"))

    assert made(32752).maps["large_scratch"].value_size == 32760
    assert made(32760).maps["large_scratch"].value_size == 32768
    with pytest.raises(CompileError, match=r"values of 32768 bytes .* the kernel gives 32760"):
        made(32768)


def test_a_tail_call_could_not_give_the_memory_back() -> None:
    text = LARGE.replace("\nfunc", "\n  map jumps = prog_array key 4 value 4 entries 1\nfunc")
    text = text.replace("  v5 = mul", "  tail v0, 0 map=jumps\n  v5 = mul")
    with pytest.raises(CompileError, match="makes a tail call and has values that are too large for the stack"):
        compile_unit(unit_of(text), Target.described("6.18"))
    alone = unit_of(text)
    alone.alone = True
    assert "bpf_tail_call" in str(compile_unit(alone, Target.described("6.18")).spec.code)
