"""Mistakes on the Python side of a tracer: each gives a documented exception that says what to do."""

from __future__ import annotations

import contextlib
import inspect
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
from pybpf.maps import Ipv4Prefix


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


#: what a method of a tracer is called with -> the end of its message
GIVEN: list[tuple[Callable[[Tracer], Any], type[BpfError], str]] = [
    (lambda t: t.profile("x"), PackError, "hz='x' is not a whole number from 1 to 2147483648"),
    (lambda t: t.profile(0), PackError, "hz=0 is not a whole number from 1 to 2147483648"),
    (lambda t: t.profile(nothing), BpfError,
     "@tracer.profile is called before it decorates: write @tracer.profile(...)"),
    (lambda t: t.profile(cpu=-1), PackError, "cpu=-1 is not a whole number from 0 to 1048576"),
    (lambda t: t.interval("1x"), PackError, "seconds='1x' is no number of seconds from 1e-05 on: write 0.5, say"),
    (lambda t: t.interval(0), PackError, "seconds=0 is no number of seconds from 1e-05 on: write 0.5, say"),
    (lambda t: t.interval(float("nan")), PackError,
     "seconds=nan is no number of seconds from 1e-05 on: write 0.5, say"),
    (lambda t: t.perf_event("page-faults"), PackError,
     "@tracer.perf_event takes period= (every so many events) or frequency= (times a second)"),
    (lambda t: t.perf_event("page-faults", period=0), PackError,
     "period=0 is not a whole number from 1 to 9223372036854775807"),
    (lambda t: t.kprobe("f", offset="x"), PackError, "offset='x' is not a whole number from 0 to 9223372036854775807"),
    (lambda t: t.kprobe("f", cookie=-1), PackError, "cookie=-1 is not a whole number from 0 to 18446744073709551615"),
    (lambda t: t.kprobe(["f", "g"], cookies=[1]), PackError,
     "cookies=[1] are not one for each of 2 names: cookie= is for one name, or for all"),
    (lambda t: t.kprobe("f", cookies=[1]), PackError,
     "cookies=[1] are not one for each of one name: cookie= is for one name, or for all"),
    (lambda t: t.kprobe("f", source=3), PackError, "source=3 is no text"),
    (lambda t: t.uprobe("libc.so.6", "f", pid="1"), PackError, "pid='1' is not a whole number from 1 to 2147483647"),
    (lambda t: t.iterator(3), BpfError, "cannot iterate 3: name a kind, \"task\", say; 'pybpf list' shows them"),
    (lambda t: t.events(Event, pages="x"), PackError, "an event buffer has 1 to 262144 pages of 4 KiB, not 'x'"),
    (lambda t: t.histogram(bits=6), PackError, "bits=6 is not a whole number from 0 to 5"),
    (lambda t: t.linear(0, "x", 1), PackError,
     "hi='x' is not a whole number from -9223372036854775808 to 9223372036854775807"),
    (lambda t: t.linear(5, 1, 1), PackError, "cannot count in steps of 1 from 5 to 1: hi (1) must be above lo (5)"),
    (lambda t: t.histogram().value.percentile(1), BpfError,
     "this map is not in the kernel yet: use it inside 'with tracer:'"),
    (lambda t: t.count().text("foo"), PackError, "a style is \"bpftrace\" or \"bcc\", not 'foo'"),
    (lambda t: t.histogram(key=u32).text("bcc", 3), PackError,  # type: ignore[arg-type]
     'a unit is text such as "usecs", not 3'),
    (lambda t: t.hash_of_maps(u32, u32), DeclarationError,
     "a map of maps holds maps like one given, not <class 'pybpf.types.scalars.u32'>: hash_of_maps(u32, m)"),
    (lambda t: t.task_storage(u32), DeclarationError,
     "a task storage keeps a Struct, not <class 'pybpf.types.scalars.u32'>: class Mine(Struct): calls: u64"),
    (lambda t: t.perf_counter(3), PackError, "a perf event is named by text such as 'page-faults', not 3"),
    (lambda t: Tracer(max_stacks=0), PackError, "max_stacks=0 is not a whole number from 1 to 16777216"),
    (lambda t: Tracer(target="5.10"), DeclarationError,
     "target='5.10' is no Target: Target.described(\"5.10\", \"aarch64\"), say"),
    (lambda t: Tracer(on_print=3), BpfError, "on_print=3 is no function"),
]


@pytest.mark.pure
@pytest.mark.parametrize(("act", "kind", "message"), GIVEN, ids=[message[:40] for _, _, message in GIVEN])
def test_what_is_given_is_checked_at_once(act: Callable[[Tracer], Any], kind: type[BpfError], message: str) -> None:
    with pytest.raises(BpfError) as raised:
        act(Tracer())
    assert type(raised.value) is kind and str(raised.value) == message


#: of every type, and none of them what is meant anywhere
ANYTHING: tuple[Any, ...] = ("1x", -1, 1.5, [], u32, object(), b"x", 1 << 70, (), {}, nothing, float("nan"))


@pytest.mark.pure
def test_no_argument_of_any_method_ends_in_another_exception() -> None:
    """Each parameter of each method that makes a map or a probe, given anything: a documented error, or none."""
    inner = Tracer().hash(u32, u32)
    needed = {
        "name": "x", "function": "x", "binary": "x", "symbol": "x", "probe": "a:b", "kind": Event, "key": Ipv4Prefix,
        "value": Event, "length": 4, "inner": inner, "event": "page-faults", "lo": 0, "hi": 10, "step": 1,
        "seconds": 1, "max_entries": 4,
    }  # fmt: skip
    tried = 0
    for name, method in inspect.getmembers(Tracer, inspect.isfunction):
        makes = method.__module__.rpartition(".")[2] in ("declare", "making", "counting")
        if not makes or name.startswith(("_", "pinned_")):  # what is pinned is opened at once
            continue
        parameters = [each for each in inspect.signature(method).parameters.values() if each.name != "self"]
        plain = {each.name: needed[each.name] for each in parameters if each.default is each.empty}
        if name == "iterator":
            plain["kind"] = "task"
        for each in parameters:
            for wrong in ANYTHING:
                with contextlib.suppress(BpfError):
                    made = getattr(Tracer(), name)(**{**plain, each.name: wrong})
                    if method.__module__.endswith("declare"):
                        made(nothing)
                tried += 1
    assert tried > 1000


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
