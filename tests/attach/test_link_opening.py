"""Links that are found again, by their pin or their id: they count on, and tell what they are attached to."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pybpf.asm import R1, R7, Code, W, jne, ldx
from pybpf.attach import (
    IteratorLink,
    Link,
    btf_tracepoint,
    fentry,
    iterator,
    kprobe,
    perf_event,
    raw_tracepoint,
    tracepoint,
    uprobe,
)
from pybpf.attach.attached import in_words, what_is_attached
from pybpf.errors import ClosedError, KernelError, NotFoundError
from pybpf.maps import Array
from pybpf.prog import Program
from pybpf.sys import objects
from pybpf.sys.bpf import AttachType, ProgType
from pybpf.sys.objects import LinkInfo, LinkType, PerfLink, PerfLinkKind
from pybpf.types import u32
from tests.attach.counting import LINUX, NUMBERS, Counter, argument, counter, counting, function_of, make_calls
from tests.attach.test_iterators import offset_of, printing, program

pytestmark = [pytest.mark.root, pytest.mark.needs("perf_link")]

GETPGID = function_of("getpgid")


def only_getpgid() -> Code:
    """For sys_enter, whose context is (registers, number)."""
    return counting(argument(1), jne(R1, NUMBERS["getpgid"], "out"))


class Kind(NamedTuple):
    """A kind of link: how it is made, and what it says later."""

    type: ProgType
    attach: Callable[[Program], Link]
    told: dict[str, Any]
    words: str
    fields: dict[str, Any] = {}  # noqa: RUF012 - never changed


def _event(program: Program) -> Link:
    (link,) = perf_event(program, "cpu-clock", period=1000000, cpu=0).links
    return link


KINDS = {
    "raw_tp": Kind(
        ProgType.RAW_TRACEPOINT, lambda program: raw_tracepoint(program, "sys_enter"),
        {"kind": "rawtracepoint", "name": "sys_enter"}, "rawtracepoint:sys_enter",
    ),
    "tp_btf": Kind(
        ProgType.TRACING, btf_tracepoint, {"kind": "rawtracepoint", "name": "sys_enter"}, "rawtracepoint:sys_enter",
        {"expected_attach_type": AttachType.TRACE_RAW_TP, "attach_btf": "sys_enter"},
    ),
    "tracepoint": Kind(
        ProgType.TRACEPOINT, lambda program: tracepoint(program, "syscalls:sys_enter_getpgid"),
        {"kind": "tracepoint", "name": "sys_enter_getpgid"}, "tracepoint:sys_enter_getpgid",
    ),
    "kprobe": Kind(
        ProgType.KPROBE, lambda program: kprobe(program, GETPGID), {"kind": "kprobe", "name": GETPGID, "offset": 0},
        f"kprobe:{GETPGID}",
    ),
    "fentry": Kind(
        ProgType.TRACING, fentry, {"kind": "fentry", "name": GETPGID}, f"fentry:{GETPGID}",
        {"expected_attach_type": AttachType.TRACE_FENTRY, "attach_btf": GETPGID},
    ),
}  # fmt: skip


@contextmanager
def counted(kind: Kind) -> Iterator[Counter]:
    of_all = kind.words.endswith("sys_enter")
    with counter(kind.type, only_getpgid() if of_all else None, **kind.fields) as made:
        yield made


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.needs(name)) for name in KINDS])
def test_pinned_link_counts_on_and_is_found_again(name: str, bpffs: Path) -> None:
    kind = KINDS[name]
    with counted(kind) as made:
        with kind.attach(made.program) as link:
            make_calls("getpgid", 100)
            link.pin(bpffs / "link")
            info = link.info()
        make_calls("getpgid", 10)
        with Link.open(bpffs / "link") as again, Link.from_id(info.id) as same:
            make_calls("getpgid", 1)
            assert made.count == 111
            assert again.info() == same.info() == info
            assert again.missed == same.missed == (0 if name in ("raw_tp", "tp_btf", "fentry") else again.missed)
            if LINUX >= (6, 6) or info.type != LinkType.PERF_EVENT:
                assert kind.told.items() <= what_is_attached(info).items()
                assert again.target == same.target == kind.words
            else:
                assert again.target == f"perf_event link {info.id}"
        (bpffs / "link").unlink()
        assert again.closed
        with pytest.raises(ClosedError):
            again.info()


@pytest.mark.needs("uprobe")
def test_a_uprobe_tells_its_file() -> None:
    with (
        counter(ProgType.KPROBE) as made,
        uprobe(made.program, "libc", "getppid") as link,
        Link.from_id(link.info().id) as same,
    ):
        if same.info().detail is None:
            pytest.skip("the kernel does not tell (Linux 6.6)")
        told = what_is_attached(same.info())
        assert told["kind"] == "uprobe" and Path(told["path"]).samefile(link.target.split(":")[1])
        assert same.target == f"uprobe:{told['path']}+{told['offset']:#x}"


@pytest.mark.needs("perf_event")
def test_a_clock_is_named() -> None:
    with counter(ProgType.PERF_EVENT) as made, _event(made.program) as link:
        told = what_is_attached(link.info())
        if not told:
            pytest.skip("the kernel does not tell (Linux 6.6)")
        assert (told["kind"], told["event"], told["config"]) == ("perf_event", "cpu-clock", 0)
        assert in_words(told) == "perf_event:cpu-clock"


@pytest.mark.parametrize(
    ("kind", "config", "words"),
    [(0, 1, "hardware:0x1"), (1, 9, "dummy"), (1, 77, "software:0x4d"), (4, 0xC0, "raw:0xc0"), (2, 5, "tracepoint:0x5"),
     (99, 1, "task-clock"), (99, 4, "type 99:0x4")],
)  # fmt: skip
def test_events_in_words(kind: int, config: int, words: str) -> None:
    detail = PerfLink(PerfLinkKind.EVENT, "", 0, 0, 0, kind, config, 0)
    assert what_is_attached(LinkInfo(LinkType.PERF_EVENT, 1, 1, detail))["event"] == words


@pytest.mark.needs("iter")
def test_an_iterator_is_read_again(bpffs: Path) -> None:
    with Array(u32, max_entries=1, name="mine") as mine:
        condition = (ldx(W, R1, R7, offset_of("bpf_map", "id")), jne(R1, mine.id, "out"))
        with program("bpf_map", printing(*condition)) as each, iterator(each) as link:
            link.pin(bpffs / "link")
        with IteratorLink.open(bpffs / "link") as again:
            assert again.read() == b"hello.\n" and again.target == "iter:bpf_map"
        (bpffs / "link").unlink()


def test_what_is_no_link(bpffs: Path) -> None:
    with Array(u32, name="values") as values:
        values.pin(bpffs / "map")
    with pytest.raises(KernelError, match="it is a map"):
        Link.open(bpffs / "map")
    (bpffs / "map").unlink()
    with pytest.raises(NotFoundError, match="there is no"):
        Link.open(bpffs / "nothing")
    for number in (0, -1, 0xFFFFFFFF):
        with pytest.raises(NotFoundError, match="no link with id"):
            Link.from_id(number)


def test_without_the_program_misses_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """As without CAP_SYS_ADMIN, which opening by a pin does not take."""
    real = objects.open_id

    def refuse(kind: objects.Kind, number: int) -> Any:
        if kind is objects.Kind.PROG:
            raise KernelError("open", 1)
        return real(kind, number)

    with counter(ProgType.RAW_TRACEPOINT) as made, raw_tracepoint(made.program, "task_newtask") as link:
        monkeypatch.setattr(sys.modules[Link.__module__], "open_id", refuse)
        with Link.from_id(link.info().id) as same:
            assert same.missed is None and same.target == "rawtracepoint:task_newtask"
