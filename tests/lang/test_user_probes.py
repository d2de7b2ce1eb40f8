"""Uprobes and USDT probes of programs that the test starts: parameters, results, registers, memory of the process."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pybpf import Tracer
from pybpf.attach import iterator, uprobe, uretprobe, usdt
from pybpf.compiler.target import Target
from pybpf.lang import cast, read_user, read_user_str, user_ptr
from pybpf.prog import Program
from pybpf.types import Struct, char, s32, u8, u16, u32, u64
from tests.attach.targets import ROUNDS, finish, native_program, waiting
from tests.lang.recorder import Record, Recorded, recording

pytestmark = [pytest.mark.root, pytest.mark.needs("uprobe")]
COOKIES = pytest.mark.needs("cookies")

PID, IS_X86 = os.getpid(), os.uname().machine == "x86_64"
SUM = ROUNDS * (ROUNDS + 1) // 2


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> str:
    return native_program(tmp_path_factory.mktemp("native") / "native")


def traced(function: Callable[..., Any], kind: str, name: str, native: str) -> Record:
    """What a probe recorded of a run of the program."""
    attaches = {"uprobe": uprobe, "uretprobe": uretprobe, "usdt": usdt}
    with waiting([native]) as process:
        probe = Recorded(kind, name, native, pid=process.pid)
        with recording(function, probe, lambda program: attaches[kind](program, native, name)) as record:
            finish(process)
            return record()


def argument(count: u64):
    return count


def as_byte(count: u8):
    return count


def register(ctx):
    return ctx.reg("rdi" if IS_X86 else "x0")


def returned(ret: u64):
    return ret


def first(count):
    return count


def second(count, five):
    return five


def narrowed(count: u32, five: u16):
    return five - 65531 + count




@pytest.mark.parametrize(
    ("kind", "name", "function", "runs", "total"),
    [
        ("uprobe", "work", argument, ROUNDS, SUM),
        ("uprobe", "work", as_byte, ROUNDS, SUM),
        ("uprobe", "work", register, ROUNDS, SUM),
        ("uretprobe", "work", returned, ROUNDS, 2 * SUM),
        # two sites, whose arguments are in a register and on the stack
        pytest.param("usdt", "p:many", first, 2 * ROUNDS, 2 * SUM, marks=COOKIES),
        pytest.param("usdt", "p:many", second, 2 * ROUNDS, -5 * 2 * ROUNDS, marks=COOKIES),
        pytest.param("usdt", "p:many", narrowed, 2 * ROUNDS, 2 * SUM, marks=COOKIES),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_native(kind: str, name: str, function: Callable[..., Any], runs: int, total: int, native: str) -> None:
    record = traced(function, kind, name, native)
    assert (record.runs, record.total) == (runs, total)


class Inner(Struct):
    kind: u16
    numbers: u32[3]


class Request(Struct):
    """What this process passes to a function of libc, which takes it for text."""

    start: char[8]
    size: s32
    inner: Inner
    name: u64
    words: u64


class Words(ctypes.Structure):
    """The same for ctypes."""

    _fields_ = (
        ("start", ctypes.c_char * 8), ("size", ctypes.c_int32), ("kind", ctypes.c_uint16),
        ("numbers", ctypes.c_uint32 * 3), ("name", ctypes.c_char_p), ("words", ctypes.POINTER(ctypes.c_char_p)),
    )  # fmt: skip


def size(text: user_ptr(Request)):  # type: ignore[valid-type]
    return text.size


def nested(text: user_ptr(Request)):  # type: ignore[valid-type]
    return text.inner.kind * 1000 + text.inner.numbers[2]


def computed(text: user_ptr(Request)):  # type: ignore[valid-type]
    return text.inner.numbers[text.size + 8] + text.inner.numbers[text.size]


def whole(text: user_ptr(Request)):  # type: ignore[valid-type]
    request = read_user(text)
    copy: Request = request
    return copy.inner.numbers[0] + copy.size


def start(text: user_ptr(Request)):  # type: ignore[valid-type]
    return text.start


def starts(text: user_ptr(Request)):  # type: ignore[valid-type]
    return text.start.startswith("sta") and text.start == "start"


def name(text: user_ptr(Request)):  # type: ignore[valid-type]
    return read_user_str(text.name)


def second_word(text: user_ptr(Request)):  # type: ignore[valid-type]
    return read_user_str(cast(user_ptr(user_ptr(char)), text.words)[1])


def as_text(text: user_ptr(char)):  # type: ignore[valid-type]
    return read_user_str(text, 3)


def letters(text: user_ptr(char)):  # type: ignore[valid-type]
    return text[0] * 256 + text[4]


@pytest.mark.parametrize(
    ("function", "wanted"),
    [
        (size, -7), (nested, 9_000 + 33), (computed, 22), (whole, 11 - 7), (start, "start"), (starts, 1),
        (name, "a name"), (second_word, "two"), (as_text, "st"), (letters, ord("s") * 256 + ord("t")),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)  # fmt: skip
def test_memory_of_the_process(function: Callable[..., Any], wanted: int | str) -> None:
    libc = ctypes.CDLL("libc.so.6")
    words = (ctypes.c_char_p * 3)(b"one", b"two", None)
    given = Words(b"start", -7, 9, (11, 22, 33), b"a name", words)

    def attach(program: Program) -> Any:
        return uprobe(program, "libc.so.6", "a64l", pid=os.getpid())

    with recording(function, Recorded("uprobe", "a64l", "libc.so.6"), attach) as record:
        libc.a64l(ctypes.byref(given))
        assert record().runs == 1
        assert (record().text if isinstance(wanted, str) else record().number) == wanted


@pytest.mark.needs("iter")
def test_iterator() -> None:
    def threads(task):
        if task is None:
            return 0
        return 1 if task.tgid == PID else 0

    links: list[Any] = []

    def attach(program: Program) -> Any:
        links.append(iterator(program))
        return links[0]

    more = threading.Event()
    thread = threading.Thread(target=more.wait)
    thread.start()
    try:
        with recording(threads, Recorded("iterator", "task"), attach) as record:
            links[0].read()
            assert record().total == len(os.listdir("/proc/self/task"))
            assert record().runs > record().total
    finally:
        more.set()
        thread.join()


def test_sites_that_no_cookie_tells_apart(native: str) -> None:
    """Before Linux 5.15: a program for each way in which the sites have their arguments."""
    host = Target.host()
    target = replace(host, has_helper=lambda kind, name: name != "get_attach_cookie" and host.has_helper(kind, name))
    with waiting([native]) as process:
        tracer = Tracer(pid=process.pid, target=target)
        sums = tracer.hash(s32, u64)

        @tracer.usdt(native, "p:many")
        def many(count, five):
            sums[five] += count

        assert len(tracer.compile()) == 2
        with tracer:
            finish(process)
            assert dict(sums.items()) == {-5: 2 * SUM}
