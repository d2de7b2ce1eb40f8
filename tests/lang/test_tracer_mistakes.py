"""Mistakes on the Python side of a tracer: each gives a documented exception that says what to do."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pybpf
from pybpf import BpfError, ClosedError, DeclarationError, NotFoundError, PackError, Struct, Tracer, u32, u64
from pybpf.attach.kinds.kprobe import kernel_place, not_found
from pybpf.lang import pid


class Event(Struct):
    """An event."""

    number: u32


def nothing() -> None:
    """A probe that does nothing."""


def before(use: Callable[[Tracer, Any, Any], Any]) -> Callable[[], Any]:
    """Use a tracer, its map and its events before it is attached."""
    tracer = Tracer()
    counts, events = tracer.hash(u32, u64, name="counts"), tracer.events(Event, name="events")
    return lambda: use(tracer, counts, events)


NO_TYPE = "is not a pybpf type (u8 .. u64, s8 .. s64, bool_, char[N], T[N], a Struct class)"
ROWS: list[tuple[Callable[[], Any], type[BpfError], str]] = [
    (before(lambda tracer, counts, events: counts[1]), BpfError,
     "the map 'counts' is not in the kernel yet: use it inside 'with tracer:'"),
    (before(lambda tracer, counts, events: list(counts.items())), BpfError,
     "the map 'counts' is not in the kernel yet: use it inside 'with tracer:'"),
    (before(lambda tracer, counts, events: list(events)), BpfError,
     "the events 'events' cannot be read yet: use them inside 'with tracer:'"),
    (before(lambda tracer, counts, events: tracer.run()), ClosedError,
     "cannot run this tracer: it is not attached: use 'with tracer:'"),
    (before(lambda tracer, counts, events: tracer.poll()), ClosedError,
     "cannot poll this tracer: it is not attached: use 'with tracer:'"),
    (before(lambda tracer, counts, events: tracer.close() or tracer.attach()), ClosedError,
     "this tracer is closed; make another one to trace again"),
    (before(lambda tracer, counts, events: tracer.close() or tracer.interval(1)(nothing)), ClosedError,
     "cannot add the probe nothing(): the tracer was attached before; decorate functions first"),
    (before(lambda tracer, counts, events: events.emit(number=1)), BpfError,
     "emit() works only in a probe, a function that a tracer's decorator compiles"),
    (lambda: pid(), BpfError,
     "pid() works only in a probe: call it in a function that a tracer's decorator compiles, such as "
     "@tracer.kprobe(...), or in a function that this one calls"),
    (lambda: Tracer().tracepoint(nothing), BpfError,  # type: ignore[arg-type]
     "@tracer.tracepoint is called before it decorates: write @tracer.tracepoint(...)"),
    (lambda: Tracer().kprobe(nothing), BpfError,  # type: ignore[arg-type]
     "@tracer.kprobe is called before it decorates: write @tracer.kprobe(...)"),
    (lambda: Tracer().kprobe([]), BpfError,
     "@tracer.kprobe: [] names nothing to trace: give its name, a pattern, or a list of names"),
    (lambda: Tracer().tracepoint(3), BpfError,  # type: ignore[arg-type]
     "@tracer.tracepoint: 3 names nothing to trace: give its name, a pattern, or a list of names"),
    (lambda: Tracer().tracepoint("a:b")(3), BpfError,  # type: ignore[type-var]
     "cannot make a probe of 3: @tracer.tracepoint(...) decorates a function"),
    (lambda: Tracer().hash(int, u32), DeclarationError,
     f"<class 'int'> {NO_TYPE}; an int has no size: write s64, or u64 where it is never negative"),
    (lambda: Tracer().histogram(key=5), DeclarationError, f"5 {NO_TYPE}"),  # type: ignore[arg-type]
    (lambda: Tracer().variable("x"), DeclarationError, f"'x' {NO_TYPE}"),  # type: ignore[arg-type]
    (lambda: Tracer().events(Struct), DeclarationError, f"<class 'pybpf.types.struct.Struct'> {NO_TYPE}"),
    (lambda: Tracer().events(u32), DeclarationError,
     "events are of a Struct class, not <class 'pybpf.types.scalars.u32'>: class Event(Struct): pid: u32"),
    (lambda: Tracer().hash(u32, u32, max_entries="a"), PackError,  # type: ignore[arg-type]
     "hash map: max_entries is 0 to 4294967295, not 'a'"),
    (lambda: Tracer().count(name=5), PackError,  # type: ignore[arg-type]
     "map name 5: a name has only letters, digits, '_' and '.'"),
    (lambda: Tracer(comm=5), PackError,  # type: ignore[arg-type]
     "cannot trace comm=5 only: a thread's name has 1 to 15 bytes"),
]


@pytest.mark.parametrize(("act", "kind", "message"), ROWS, ids=[message[:40] for _, _, message in ROWS])
def test_message(act: Callable[[], Any], kind: type[BpfError], message: str) -> None:
    with pytest.raises(BpfError) as raised:
        act()
    assert type(raised.value) is kind
    assert str(raised.value) == message


@pytest.mark.root
@pytest.mark.needs("perf_event")
def test_attached() -> None:
    tracer = Tracer(pid=os.getpid())
    tracer.interval(3600)(nothing)
    with tracer:
        for act, message in (
            (tracer.attach, "this tracer is attached already; make another one to trace again"),
            (lambda: tracer.interval(1)(nothing),
             "cannot add the probe nothing(): the tracer was attached before; decorate functions first"),
            (lambda: tracer.run({1: print}, duration=0), "1 is no stream of events"),  # type: ignore[dict-item]
            (lambda: tracer.links(print), "print is no probe of this tracer"),
        ):  # fmt: skip
            with pytest.raises(BpfError, match="^" + message.replace("(", r"\(").replace(")", r"\)")):
                act()
    tracer.close()
    tracer.close()


@pytest.mark.root
@pytest.mark.needs("tracepoint")
@pytest.mark.parametrize(("declare", "message"), [
    (lambda tracer: tracer.tracepoint("syscalls:sys_enter_opnat"), "there is no tracepoint syscalls:sys_enter_opnat"),
    (lambda tracer: tracer.tracepoint("openat"), "there is no tracepoint 'openat': one is written as system:event"),
    (lambda tracer: tracer.uprobe("libnothing.so", "x"), "cannot find libnothing.so"),
    (lambda tracer: tracer.uprobe("libc.so.6", "mallocc"), "there is no function mallocc in"),
])  # fmt: skip
def test_names_of_nothing(declare: Callable[[Tracer], Any], message: str) -> None:
    tracer = Tracer(pid=os.getpid())
    declare(tracer)(nothing)
    with pytest.raises(NotFoundError) as raised:
        tracer.attach()
    assert str(raised.value).startswith(message)


SHORT = """
from pybpf import Tracer, u32, u64

tracer = Tracer()
counts = tracer.hash(u32, u64)

def helper():
    counts["x"] += 1

@tracer.uprobe("libc.so.6", "getppid")
def probe():
    helper()

def main():
    HOW

main()
"""


@pytest.mark.root
@pytest.mark.native
@pytest.mark.parametrize("how", ["tracer.__enter__()", "tracer.attach()", "tracer.compile()"])
def test_a_script_that_is_refused_ends_in_few_lines(how: str, tmp_path: Path) -> None:
    """The frames of pybpf, but the one that was called, are left out; 'python -X dev' shows them."""
    script = tmp_path / "script.py"
    script.write_text(SHORT.replace("HOW", how))
    shown = []
    for options in ([], ["-X", "dev"]):
        done = subprocess.run(
            [sys.executable, *options, str(script)],
            env={**os.environ, "PYTHONPATH": str(Path(pybpf.__file__).parents[1])},
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 1 and "'x' is not an integer: write a number" in done.stderr
        shown.append(re.findall(r'^  File "(.*)", line', done.stderr, re.MULTILINE))
        assert "During handling" not in done.stderr and "direct cause" not in done.stderr
    short, whole = shown
    assert [Path(each).name for each in short] == ["script.py", "script.py", "tracer.py"]
    assert len(whole) > 10


SCRIPT = """
from pybpf import PermissionDenied, Tracer, u32, u64
def probe(args):
    counts[args.pid] += 1
def sample():
    counts[1] += 1
for declare in (lambda tracer: tracer.tracepoint("syscalls:sys_enter_kill")(probe),
                lambda tracer: tracer.profile(hz=9)(sample)):
    tracer = Tracer()
    counts = tracer.hash(u32, u64)
    declare(tracer)
    try:
        tracer.attach()
    except PermissionDenied as error:
        print(error.advice)
"""


@pytest.mark.root
@pytest.mark.needs("tracepoint")
def test_without_privileges(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    ids = ["--reuid=0", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]  # root only by name
    done = subprocess.run(
        ["setpriv", *ids, sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(Path(pybpf.__file__).parents[1])},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.stderr == "" and done.returncode == 0
    advice = done.stdout.splitlines()
    assert len(advice) == 2 and all("run as root" in each for each in advice)


@pytest.mark.root
@pytest.mark.needs("tracepoint")
@pytest.mark.parametrize(("declare", "meant"), [
    (lambda tracer: tracer.tracepoint("syscalls:sys_enter_opnat"), "syscalls:sys_enter_openat"),
    (lambda tracer: tracer.tracepoint("syscals:sys_enter_openat"), "syscalls:sys_enter_openat"),
    (lambda tracer: tracer.tracepoint("sys_enter_openat"), "syscalls:sys_enter_openat"),
    (lambda tracer: tracer.uprobe("libc.so.6", "mallok"), "malloc"),
    (lambda tracer: tracer.uprobe("/bin/bassh", "main"), "bash"),
    (lambda tracer: tracer.uprobe("bassh", "main"), "bash"),
    (lambda tracer: tracer.perf_event("page-fault", period=1), "page-faults"),
])  # fmt: skip
def test_misspelt_names_are_told(declare: Callable[[Tracer], Any], meant: str) -> None:
    tracer = Tracer()
    declare(tracer)(nothing)
    with pytest.raises(NotFoundError) as raised:
        tracer.attach()
    assert f"; did you mean {meant}" in str(raised.value)


@pytest.mark.skipif(not os.path.exists("/proc/kallsyms"), reason="the kernel has no symbol table")
@pytest.mark.parametrize("name", ["vfs_raed", "fs_read"])
def test_a_misspelt_function_is_told_by_the_symbol_table_alone(name: str) -> None:
    assert "did you mean vfs_read" in str(not_found(kernel_place(name)))
