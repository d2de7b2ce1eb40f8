"""Arguments that make no sense end in one of the documented exceptions, before or in the kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pybpf.asm import R0, Code, exit_, mov
from pybpf.attach import PerfEvent, interval, perf_event, raw_tracepoint, tracepoint
from pybpf.errors import BpfError
from pybpf.prog import Program, ProgramSpec
from pybpf.sys.bpf import AttachType, ProgType

pytestmark = pytest.mark.root

BIG = 1 << 70
LONE_SURROGATE = "\ud800"


def spec(kind: Any = ProgType.SOCKET_FILTER, **fields: Any) -> ProgramSpec:
    return ProgramSpec(kind, Code([mov(R0, 0), exit_()]), **{"name": "bad", **fields})


LOADS: dict[str, Callable[[], Any]] = {
    "type of a later kernel": lambda: Program.load(spec(9999)),
    "negative type": lambda: Program.load(spec(-1)),
    "huge type": lambda: Program.load(spec(BIG)),
    "flags": lambda: Program.load(spec(flags=1 << 30)),
    "huge flags": lambda: Program.load(spec(flags=BIG)),
    "attach type": lambda: Program.load(spec(expected_attach_type=BIG)),
    "log level": lambda: Program.load(spec(), log=99),
    "negative log level": lambda: Program.load(spec(), log=-1),
    "unwritable function": lambda: Program.load(
        spec(ProgType.TRACING, expected_attach_type=AttachType.TRACE_FENTRY, attach_btf=LONE_SURROGATE)
    ),
    "path as module": lambda: Program.load(
        spec(ProgType.TRACING, expected_attach_type=AttachType.TRACE_FENTRY, attach_btf="../x:y")
    ),
    "no function": lambda: Program.load(spec(ProgType.TRACING, expected_attach_type=AttachType.TRACE_FENTRY)),
    "negative id": lambda: Program.from_id(-1),
    "huge id": lambda: Program.from_id(BIG),
    "NUL in a path": lambda: Program.open("/sys/fs/bpf/a\0b"),
    "unwritable path": lambda: Program.open(LONE_SURROGATE),
    "no path": lambda: Program.open(""),
}


@pytest.mark.parametrize("name", LOADS)
def test_loading(name: str) -> None:
    with pytest.raises(BpfError):
        LOADS[name]()


@pytest.mark.parametrize(
    "fields", [{"name": LONE_SURROGATE + "\0"}, {"license": LONE_SURROGATE}, {"license": "x" * 500}]
)
def test_texts_that_do_no_harm(fields: dict[str, str]) -> None:
    with Program.load(spec(**fields)) as program:
        assert program.test_run().retval == 0


@pytest.mark.parametrize(
    "fields",
    [{"repeat": -1}, {"repeat": BIG}, {"cpu": -5}, {"cpu": BIG}, {"cpu": 4000}, {"ctx": b"x" * 500}, {"data": b"xxx"}],
)
def test_running(fields: dict[str, Any]) -> None:
    with Program.load(spec()) as program, pytest.raises(BpfError):
        program.test_run(**fields)


PERF = ProgType.PERF_EVENT
ATTACHMENTS: dict[str, tuple[ProgType, Callable[[Program], Any]]] = {
    "NUL in a raw tracepoint": (ProgType.RAW_TRACEPOINT, lambda program: raw_tracepoint(program, "sys_enter\0")),
    "unwritable raw tracepoint": (ProgType.RAW_TRACEPOINT, lambda program: raw_tracepoint(program, LONE_SURROGATE)),
    "huge cookie": (ProgType.RAW_TRACEPOINT, lambda program: raw_tracepoint(program, "sys_enter", cookie=BIG)),
    "negative cookie": (ProgType.TRACEPOINT, lambda program: tracepoint(program, "sched:sched_switch", cookie=-1)),
    "NUL in a tracepoint": (ProgType.TRACEPOINT, lambda program: tracepoint(program, "sched:sched_switch\0")),
    "unwritable tracepoint": (ProgType.TRACEPOINT, lambda program: tracepoint(program, f"sched:{LONE_SURROGATE}")),
    "path as tracepoint": (ProgType.TRACEPOINT, lambda program: tracepoint(program, "sched:../sched/sched_switch")),
    "huge interval": (PERF, lambda program: interval(program, BIG)),
    "huge CPU": (PERF, lambda program: interval(program, 1 << 20, cpu=1 << 32)),
    "negative CPU": (PERF, lambda program: interval(program, 1 << 20, cpu=-1)),
    "huge period": (PERF, lambda program: perf_event(program, "cpu-clock", period=BIG)),
    "negative process": (PERF, lambda program: perf_event(program, "cpu-clock", period=1 << 20, pid=-1)),
    "huge process": (PERF, lambda program: perf_event(program, "cpu-clock", period=1 << 20, pid=1 << 32)),
    "impossible event": (PERF, lambda program: perf_event(program, PerfEvent("x", -1, BIG), period=1)),
    "unknown event": (PERF, lambda program: perf_event(program, PerfEvent("x", 1, 9999), period=1)),
}


@pytest.mark.parametrize("name", ATTACHMENTS)
def test_attaching(name: str) -> None:
    kind, attach = ATTACHMENTS[name]
    with Program.load(spec(kind)) as program, pytest.raises(BpfError):
        attach(program)
