"""``Tracer`` for real: probes at processes that the tests start, exact counts, life and death of a tracer."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pybpf import BpfError, ClosedError, CompileError, Struct, Tracer, char, u32, u64
from pybpf.compiler.target import Target
from pybpf.lang import comm, pid, tid
from pybpf.sys.bpf import MapFlags
from tests.attach.targets import Caller

pytestmark = [pytest.mark.root, pytest.mark.needs("uprobe")]
LIBC = "libc.so.6"


class Call(Struct):
    pid: u32
    tid: u32
    comm: char[16]


@pytest.fixture(scope="module")
def child() -> Iterator[Caller]:
    with Caller() as process:
        yield process


def calls_of(tracer: Tracer, **options: Any) -> Any:
    """A stream with an event for each call of ``getppid``."""
    calls = tracer.events(Call)

    @tracer.uprobe(LIBC, "getppid", **options)
    def on_call() -> None:
        calls.emit(pid=pid(), tid=tid(), comm=comm())

    return calls


def test_events_are_typed_and_exact(child: Caller) -> None:
    tracer = Tracer(pid=child.pid)
    calls = calls_of(tracer)
    with tracer:
        child.call(5)
        events = calls.read()
        assert [event.pid for event in events] == [child.pid] * 5
        assert events[0] == Call(child.pid, child.pid, _comm(child))
        assert calls.lost == tracer.lost == 0
    assert calls.lost == 0


def test_maps_are_read_while_tracing_and_after_it_until_close(child: Caller) -> None:
    tracer = Tracer(pid=child.pid)
    counts = tracer.hash((char[16], u32), u64)

    @tracer.uprobe(LIBC, "getppid")
    def on_call() -> None:
        counts[comm(), pid()] += 1

    with tracer:
        child.call(3)
        assert [(key[1], value) for key, value in counts.items()] == [(child.pid, 3)]
        tracer.detach()
        child.call(4)
        assert list(counts.values()) == [3]
    with pytest.raises(ClosedError):
        list(counts.items())


def test_a_large_table_takes_memory_when_it_is_used(child: Caller) -> None:
    tracer = Tracer(pid=child.pid)
    calls = tracer.hash(u32, u64, 1_000_000, preallocate=False)

    @tracer.uprobe(LIBC, "getppid")
    def on_call() -> None:
        calls[pid()] += 1

    with tracer:
        child.call(3)
        assert dict(calls.items()) == {child.pid: 3}
        flags = calls.map.info().flags
    assert flags & MapFlags.NO_PREALLOC


def test_a_decorated_function_stays_what_it_was() -> None:
    tracer = Tracer()

    @tracer.kprobe("tcp_connect")
    @tracer.uprobe(LIBC, "getppid")
    def plain(value: int = 3) -> int:
        return value

    assert plain() == 3 and plain.__name__ == "plain"
    assert [each.probe.title for each in tracer.declared] == ["uprobe:libc.so.6:getppid", "kprobe:tcp_connect"]


def _comm(child: Caller) -> str:
    return Path(f"/proc/{child.pid}/comm").read_text().rstrip("\n")


def _filters(child: Caller) -> dict[str, tuple[dict[str, Any], int]]:
    return {
        "pid": ({"pid": child.pid}, 4),
        "tid": ({"tid": child.pid}, 4),
        "uid": ({"uid": os.getuid()}, 4),
        "comm": ({"comm": _comm(child)}, 4),
        "all": ({"pid": child.pid, "tid": child.pid, "uid": os.getuid()}, 4),
        "ppid": ({"ppid": os.getpid()}, 4),
        "another ppid": ({"ppid": child.pid}, 0),
        "several pids": ({"pid": (1, child.pid, 2), "tid": (child.pid, 1)}, 4),
        "other pids": ({"pid": (1, 2)}, 0),
        "another pid": ({"pid": 1}, 0),
        "another tid": ({"tid": 1}, 0),
        "another uid": ({"uid": 4242}, 0),
        "another comm": ({"comm": "nobody"}, 0),
    }


@pytest.mark.parametrize(
    "name",
    [
        "pid", "tid", "uid", "comm", "all", "several pids", "other pids", "another pid", "another tid", "another uid",
        "another comm",
        pytest.param("ppid", marks=pytest.mark.needs("btf_vmlinux")),
        pytest.param("another ppid", marks=pytest.mark.needs("btf_vmlinux")),
    ],
)  # fmt: skip
def test_filters(child: Caller, name: str) -> None:
    given, expected = _filters(child)[name]
    tracer = Tracer(**given)
    hits = tracer.array(u64, 1)

    def on_call() -> None:
        hits[0] += 1

    # whatever the filter: only this process
    tracer.uprobe(LIBC, "getppid", pid=child.pid)(on_call)
    with tracer:
        child.call(4)
        assert hits[0] == expected


def test_several_tracers_and_threads(child: Caller) -> None:
    done: dict[int, list[int]] = {}

    def trace(number: int) -> None:
        tracer = Tracer(pid=child.pid)
        calls = calls_of(tracer)
        with tracer:
            ready.wait()
            called.wait()
            done[number] = [event.pid for event in calls.read()]

    ready, called = threading.Barrier(4), threading.Event()
    threads = [threading.Thread(target=trace, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    ready.wait()
    child.call(6)
    called.set()
    for thread in threads:
        thread.join()
    assert done == {number: [child.pid] * 6 for number in range(3)}


def test_run_ends_and_calls_back(child: Caller) -> None:
    tracer = Tracer(pid=child.pid)
    first, second = calls_of(tracer), calls_of(tracer)
    seen: list[str] = []
    with tracer:
        child.call(2)
        tracer.run(
            {first: lambda event: seen.append("first"), second: lambda event: seen.append("second")},
            duration=0.05,
            every=0.02,
            callback=lambda: seen.append("tick"),
        )
    assert sorted(each for each in seen if each != "tick") == ["first"] * 2 + ["second"] * 2
    assert 2 <= seen.count("tick") <= 4 and seen[-1] == "tick"


def test_an_exception_of_a_handler_leaves_run_and_detaches(child: Caller) -> None:
    tracer = Tracer(pid=child.pid)
    calls = calls_of(tracer)

    def fail(event: Call) -> None:
        raise RuntimeError(str(event.pid))

    with pytest.raises(RuntimeError, match=str(child.pid)), tracer:
        child.call(1)
        tracer.run({calls: fail})
    assert tracer.closed


def test_ctrl_c_ends_run_and_maps_can_be_read(child: Caller) -> None:
    tracer = Tracer(pid=child.pid)
    hits = tracer.array(u64, 1)

    @tracer.uprobe(LIBC, "getppid")
    def on_call() -> None:
        hits[0] += 1

    before = signal.getsignal(signal.SIGINT)
    with tracer:
        child.call(3)
        tracer.run(every=0.01, callback=lambda: signal.raise_signal(signal.SIGINT))
        assert hits[0] == 3
        assert signal.getsignal(signal.SIGINT) is before


def test_close_by_another_thread_ends_reading(child: Caller) -> None:
    for wait in (lambda tracer, calls: tracer.run(), lambda tracer, calls: list(calls)):
        tracer = Tracer(pid=child.pid)
        calls = calls_of(tracer)
        with tracer:
            closer = threading.Timer(0.05, tracer.close)
            closer.start()
            wait(tracer, calls)
            closer.join()


def test_asyncio(child: Caller) -> None:
    tracer = Tracer(pid=child.pid)
    calls = calls_of(tracer)

    async def take(number: int) -> list[int]:
        found = []
        async for event in calls:
            found.append(event.pid)
            if len(found) == number:
                break
        return found

    with tracer:
        child.call(3)
        assert asyncio.run(take(3)) == [child.pid] * 3


def test_life_is_one_way(child: Caller) -> None:
    tracer = Tracer(pid=child.pid)
    calls = calls_of(tracer)
    with pytest.raises(BpfError, match="with tracer"):
        calls.read()
    with pytest.raises(ClosedError, match="not attached"):
        tracer.run()
    tracer.detach()
    tracer.attach()
    with pytest.raises(ClosedError, match="attached already"):
        tracer.attach()
    with pytest.raises(ClosedError, match="decorate functions first"):
        tracer.uprobe(LIBC, "getppid")(lambda: None)
    tracer.close()
    tracer.close()
    tracer.detach()
    with pytest.raises(ClosedError, match="make another one"):
        tracer.attach()
    with pytest.raises(ClosedError):
        calls.read()


def test_closed_before_it_was_attached() -> None:
    tracer = Tracer()
    tracer.close()
    with pytest.raises(ClosedError, match="is closed"), tracer:
        pass


def test_nothing_stays_where_attaching_fails(child: Caller) -> None:
    """The second probe cannot be attached, so the first one is not either."""
    tracer = Tracer(pid=child.pid)
    calls = calls_of(tracer)
    tracer.uprobe(LIBC, "no_such_function")(lambda: None)
    with pytest.raises(BpfError, match="no_such_function"):
        tracer.attach()
    with pytest.raises(BpfError):
        calls.read()


def test_a_wrong_probe_says_where() -> None:
    tracer = Tracer()

    @tracer.uprobe(LIBC, "getppid")
    def wrong() -> None:
        raise ValueError("no")

    with pytest.raises(CompileError, match="'raise' cannot be compiled") as caught:
        tracer.attach()
    assert caught.value.file == __file__ and caught.value.text.strip() == 'raise ValueError("no")'


def test_what_belongs_to_another_tracer_is_refused() -> None:
    other, tracer = Tracer(), Tracer()
    hits = other.array(u64, 1)

    @tracer.uprobe(LIBC, "getppid")
    def on_call() -> None:
        hits[0] += 1

    with pytest.raises(BpfError, match="hits is of another tracer: make it by the tracer of this probe"):
        tracer.attach()


def test_events_that_find_no_room_are_counted(child: Caller) -> None:
    tracer = Tracer(pid=child.pid)
    calls = tracer.events(Call, pages=1)

    @tracer.uprobe(LIBC, "getppid")
    def on_call() -> None:
        calls.emit(pid=pid())

    with tracer:
        child.call(1000)
        delivered = len(calls.read())
        assert 0 < delivered < 1000
        assert tracer.lost == calls.lost == 1000 - delivered
    assert tracer.lost == 1000 - delivered


def test_profile_samples_the_process_that_is_asked_for() -> None:
    tracer = Tracer(pid=os.getpid())
    samples = tracer.hash(u32, u64)

    @tracer.profile(hz=997)
    def sample() -> None:
        samples[pid()] += 1

    with tracer:
        end = time.monotonic() + 20
        while not len(samples) and time.monotonic() < end:
            sum(range(10000))
        assert list(samples.keys()) == [os.getpid()]


def test_interval_runs_whoever_runs() -> None:
    tracer = Tracer(pid=1)
    ticks = tracer.array(u64, 1)

    @tracer.interval(0.001)
    def tick() -> None:
        ticks[0] += 1

    with tracer:
        end = time.monotonic() + 20
        while not ticks[0] and time.monotonic() < end:
            time.sleep(0.001)
        assert ticks[0] > 0


def test_links_of_a_probe(child: Caller) -> None:
    tracer = Tracer(pid=child.pid)

    @tracer.uretprobe(LIBC, "getppid")
    @tracer.uprobe(LIBC, "getppid")
    def both() -> None:
        return

    with tracer:
        assert [link.target.split(":")[0] for link in tracer.links(both)] == ["uprobe", "uretprobe"]
        with pytest.raises(BpfError, match="no probe of this tracer"):
            tracer.links(calls_of)


def test_what_was_missed_is_asked_of_the_kernel(child: Caller) -> None:
    tracer = Tracer(pid=child.pid)
    hits = tracer.count()

    @tracer.tracepoint("raw_syscalls:sys_enter")
    def on_enter() -> None:
        hits.add()

    with pytest.raises(ClosedError, match="ask what was missed"):
        assert tracer.missed
    with tracer:
        child.call(5)
        assert hits.value >= 5 and tracer.missed == 0
        tracer.detach()
        tracer.detach()
        assert tracer.missed == 0
    with pytest.raises(ClosedError, match="ask what was missed"):
        assert tracer.missed


def test_patterns_attach_to_all_functions_that_match(child: Caller) -> None:
    tracer = Tracer(pid=child.pid)
    hits = tracer.array(u64, 1)

    @tracer.uprobe(LIBC, "getpp?d")
    def on_call() -> None:
        hits[0] += 1

    with tracer:
        child.call(3)
        assert hits[0] == 3


@pytest.mark.parametrize(
    "make",
    [
        lambda: Tracer(pid=-1),
        lambda: Tracer(pid=()),
        lambda: Tracer(tid=(1, -1)),
        lambda: Tracer(uid=1 << 32),
        lambda: Tracer(comm="a name that is too long"),
        lambda: Tracer(comm=""),
        lambda: Tracer(ppid=-1),
        lambda: Tracer(tid="1"),  # type: ignore[arg-type]
    ],
)
def test_filters_that_cannot_be(make: Callable[[], Tracer]) -> None:
    with pytest.raises(BpfError, match="cannot trace"):
        make()


def test_a_map_is_named_like_the_variable(child: Caller) -> None:
    tracer = Tracer(pid=child.pid)
    first = tracer.array(u64, 1)
    named = tracer.array(u64, 1, name="mine")
    again = tracer.array(u64, 1, name="mine")

    @tracer.uprobe(LIBC, "getppid")
    def on_call() -> None:
        first[0] += 1

    with tracer:
        assert [each.name for each in (first, named, again)] == ["first", "mine", "mine_2"]


def test_aggregates_give_numbers(child: Caller) -> None:
    tracer = Tracer(pid=child.pid)
    sizes, named = tracer.histogram(), tracer.histogram(key=u32)
    calls, values = tracer.count(key=char[16]), tracer.stats()

    @tracer.uprobe(LIBC, "getppid")
    def on_call() -> None:
        sizes.add(5)
        named[pid()].add(5)
        calls[comm()].add()
        values.add(7)

    with tracer:
        child.call(4)
        buckets = {"count": 4, "buckets": [{"min": 4, "max": 7, "count": 4}]}
        assert json.loads(json.dumps(sizes.to_dict())) == buckets
        assert named.to_dict() == {child.pid: buckets}
        assert sizes.percentile(100) == 7 and named[child.pid].percentile(100) == 7
        assert list(calls.to_dict().values()) == [4]
        assert values.to_dict()["total"] == 28
        with pytest.raises(TypeError, match="has keys"):
            named.percentile(50)


def test_what_was_closed_says_with_what(child: Caller) -> None:
    tracer = Tracer(pid=child.pid)
    calls, sizes, table = calls_of(tracer), tracer.histogram(), tracer.hash(u32, u64)
    with tracer:
        pass
    for act in (lambda: print(sizes), lambda: table[1], calls.read):
        with pytest.raises(ClosedError, match="tracer"):
            act()
    assert list(calls) == []  # a loop ends


def test_wrong_arguments_of_run(child: Caller) -> None:
    tracer = Tracer(pid=child.pid)
    calls = calls_of(tracer)
    with tracer:
        for wrong in ([calls], print, {calls.read: print}):
            with pytest.raises(BpfError, match=r"\{tracer.events\(...\): function\}"):
                tracer.run(wrong, duration=0)
        for options in ({"duration": "1"}, {"every": "1"}, {"every": 0}):
            with pytest.raises(BpfError, match="seconds"):
                tracer.run(**options)


def test_what_is_compiled_for_another_machine_is_not_attached() -> None:
    other = "aarch64" if os.uname().machine != "aarch64" else "x86_64"
    tracer = Tracer(pid=os.getpid(), target=Target.described("6.1", other))

    @tracer.uprobe("libc.so.6", "getppid")
    def on_call() -> None:
        pass

    with pytest.raises(BpfError, match=f"this tracer is for {other}, and this machine is {os.uname().machine}"), tracer:
        pass
