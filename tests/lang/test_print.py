"""``print()`` in a probe: Python's formatting in user space, in order, safe for terminals, nothing lost silently."""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pybpf import CompileError, Struct, Tracer, char, u8, u32, u64
from pybpf.compiler.target import Target
from pybpf.lang import comm, current_task, kernel_stack, pid, user_stack
from pybpf.lang.builtins.printing import Prints
from pybpf.lang.state.counts import Counts
from pybpf.lang.state.stacks import Stacks
from pybpf.types import layout
from tests.attach.targets import Caller

pytestmark = [pytest.mark.root, pytest.mark.generic, pytest.mark.needs("uprobe")]
LIBC = "libc.so.6"
WIDTH = 9


@pytest.fixture(scope="module")
def child() -> Iterator[Caller]:
    with Caller() as process:
        yield process


def printed(child: Caller, probe: Callable[..., None], calls: int = 1) -> str:
    """What a probe at ``getppid`` of the child prints."""
    lines: list[str] = []
    tracer = Tracer(pid=child.pid, on_print=lines.append)
    tracer.uprobe(LIBC, "getppid")(probe)
    with tracer:
        child.call(calls)
        tracer.poll()
        assert tracer.lost == 0
    return "".join(lines)


def test_bytes_are_printed_as_python_does(child: Caller) -> None:
    """All of them, and none reaches the terminal as it is."""

    def probe() -> None:
        raw = u8[4]()
        raw[0], raw[1], raw[2] = 0x1B, 0x5B, 0x9B
        print("raw", raw)
        print(f"{raw!r}")

    assert printed(child, probe) == "raw b'\\x1b[\\x9b\\x00'\nb'\\x1b[\\x9b\\x00'\n"



def test_text_is_escaped_once() -> None:
    """By Python where the format asks for that, else for the terminal."""
    prints = Prints(Counts(), Stacks())
    number = prints.number("{0} {1!r} {2!s}", (char[8],) * 3)
    record = prints.lines[number].record(number, *["a\n\x1b"] * 3)
    assert prints.read(layout(type(record)).pack(record)) == "a\\n\\x1b 'a\\n\\x1b' a\\n\\x1b"


def test_addresses_are_hexadecimal(child: Caller) -> None:
    def probe() -> None:
        task = current_task()
        print(task, f"{task:d}", (task,), u64(task))

    shown, decimal, several, number = printed(child, probe).split()
    assert decimal == number
    assert shown == hex(int(number))
    assert several == f"({shown},)"


def name_of(child: Caller) -> str:
    return Path(f"/proc/{child.pid}/comm").read_text().strip()


def test_formats_are_those_of_python(child: Caller) -> None:
    def probe() -> None:
        print(f"{pid()}|{pid():>{WIDTH}}|{pid():#x}|{pid():,}|{pid():<9}|{comm()!r}|{comm():*^20}|{{}}|{WIDTH:03}")

    number, name = child.pid, name_of(child)
    assert printed(child, probe) == (
        f"{number}|{number:>{WIDTH}}|{number:#x}|{number:,}|{number:<9}|{name!r}|{name:*^20}|{{}}|{WIDTH:03}\n"
    )


def test_arguments_are_those_of_print(child: Caller) -> None:
    def probe() -> None:
        print("a{b}", 1, pid() - (1 << 40), pid() == 1, None, sep="-", end="!")
        print()
        print((pid(), comm(), 3))
        print("only text")

    number, name = child.pid, name_of(child)
    expected = f"a{{b}}-1-{number - (1 << 40)}-False-None!\n({number}, {name!r}, 3)\nonly text\n"
    assert printed(child, probe) == expected


def test_lines_of_several_probes_stay_in_order(child: Caller) -> None:
    lines: list[str] = []
    tracer = Tracer(pid=child.pid, on_print=lines.append)

    @tracer.uprobe(LIBC, "getppid")
    def enter() -> None:
        print(f"enter {pid()}")

    @tracer.uretprobe(LIBC, "getppid")
    def leave(ret: u32) -> None:
        print(f"leave {ret}")

    with tracer:
        child.call(3)
        tracer.run(duration=0)
    assert lines == [f"enter {child.pid}\n", f"leave {os.getpid()}\n"] * 3


def test_text_goes_to_stdout_by_default(child: Caller, capsys: pytest.CaptureFixture[str]) -> None:
    tracer = Tracer(pid=child.pid)

    @tracer.uprobe(LIBC, "getppid")
    def probe() -> None:
        print(f"{pid()}")

    with tracer:
        child.call(2)
        tracer.poll()
    assert capsys.readouterr().out == f"{child.pid}\n" * 2


def test_a_for_over_events_prints_too(child: Caller, capsys: pytest.CaptureFixture[str]) -> None:
    class Call(Struct):
        pid: u32

    tracer = Tracer(pid=child.pid)
    calls = tracer.events(Call)

    @tracer.uprobe(LIBC, "getppid")
    def probe() -> None:
        print("called")
        calls.emit(pid=pid())

    with tracer:
        child.call(2)
        for seen, event in enumerate(calls, 1):
            assert event.pid == child.pid
            if seen == 2:
                child.call(1)
            if seen == 3:
                break
    assert capsys.readouterr().out.splitlines() in (["called"] * 2, ["called"] * 3)


@pytest.mark.parametrize("prints", [True, False])
def test_an_async_for_over_events_prints_too(child: Caller, prints: bool) -> None:
    class Call(Struct):
        pid: u32

    lines: list[str] = []
    tracer = Tracer(pid=child.pid, on_print=lines.append)
    calls = tracer.events(Call)

    @tracer.uprobe(LIBC, "getppid")
    def probe() -> None:
        if prints:
            print("called")
        calls.emit(pid=pid())

    async def watch() -> int:
        seen = 0
        child.call(2)
        async for event in calls:
            assert event.pid == child.pid
            seen += 1
            if seen == 2:  # there is nothing to read now: what comes while it waits wakes it
                asyncio.get_running_loop().call_later(0.05, child.call, 3)
            if seen == 5:
                asyncio.get_running_loop().call_later(0.05, tracer.close)
        return seen

    with tracer:
        assert asyncio.run(watch()) == 5
    assert lines[:2] == ["called\n"] * 2 * prints and len(lines) in ((2, 5) if prints else (0,))


def test_what_a_process_calls_itself_cannot_drive_the_terminal() -> None:
    lines: list[str] = []
    tracer = Tracer(pid=os.getpid(), comm="\x1b[2Jx", on_print=lines.append)

    @tracer.uprobe(LIBC, "getppid")
    def probe() -> None:
        print(comm())

    def call() -> None:
        Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_bytes(b"\x1b[2Jx")
        ctypes.CDLL(None).getppid()

    with tracer:
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        tracer.poll()
    assert lines == ["\\x1b[2Jx\n"]


def test_stacks_are_printed_with_names(child: Caller) -> None:
    lines: list[str] = []
    tracer = Tracer(pid=child.pid, on_print=lines.append)

    @tracer.uprobe(LIBC, "getppid")
    def probe() -> None:
        print(f"{user_stack()}")
        print(kernel_stack(skip=200))

    with tracer:
        child.call(1)
        tracer.poll()
    assert lines[0].splitlines()[0].startswith(("getppid+0x0", "__getppid+0x0"))
    assert "libc.so.6" in lines[0]
    assert lines[1].startswith("[no stack")


def test_lines_that_find_no_room_are_counted(child: Caller) -> None:
    lines: list[str] = []
    tracer = Tracer(pid=child.pid, on_print=lines.append)

    @tracer.uprobe(LIBC, "getppid")
    def probe() -> None:
        print(f"{comm()} {pid()}")

    with tracer:
        for _ in range(20):
            child.call(1000)
        while tracer.poll():
            pass
        assert tracer.lost > 0
        assert len(lines) + tracer.lost == 20000


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        (lambda: print(f"{comm():d}"), "a char[16] cannot be formatted by 'd': Unknown format code 'd'"),
        (lambda: print(f"{pid():>{pid()}}"), "what follows ':' in an f-string of a probe must be constant"),
        (lambda: print(pid(), file=None), "print() of a probe takes sep= and end=, constant strings, not file="),
        (lambda: print(pid(), sep=comm()), "print() of a probe takes sep= and end=, constant strings, not sep="),
        (lambda: f"{pid()}" == "1", "an f-string with values of run time"),
    ],
)
def test_refusals(probe: Callable[[], object], message: str) -> None:
    tracer = Tracer()
    tracer.uprobe(LIBC, "getppid")(probe)
    with pytest.raises(CompileError) as caught:
        tracer.compile(Target.described("6.12"))
    assert caught.value.message.startswith(message)
