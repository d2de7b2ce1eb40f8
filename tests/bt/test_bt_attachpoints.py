"""Attach points: every kind and form, its canonical text, wildcards, and patterns of lists."""

from __future__ import annotations

import pytest

from pybpf.bt.syntax.attachpoints import AttachFault, AttachPoint, read, search
from pybpf.bt.syntax.kinds import ALIASES, KINDS

pytestmark = pytest.mark.pure

TABLE = [
    ("BEGIN", AttachPoint("begin"), "begin"),
    ("end", AttachPoint("end"), "end"),
    ("self:signal:SIGUSR1", AttachPoint("self", "signal", "SIGUSR1"), "self:signal:SIGUSR1"),
    ("test:a", AttachPoint("test", function="a"), "test:a"),
    ("bench:a", AttachPoint("bench", function="a"), "bench:a"),
    ("i:s:1", AttachPoint("interval", "s", count=1), "interval:s:1"),
    ("interval:100ms", AttachPoint("interval", "us", count=100_000), "interval:us:100000"),
    ("p:hz:99", AttachPoint("profile", "hz", count=99), "profile:hz:99"),
    ("t:sched:sched_*", AttachPoint("tracepoint", "sched", "sched_*"), "tracepoint:sched:sched_*"),
    ("t:*exec*", AttachPoint("tracepoint", "*", "*exec*"), "tracepoint:*:*exec*"),
    ("rt:sys_enter", AttachPoint("rawtracepoint", "", "sys_enter"), "rawtracepoint:sys_enter"),
    ("rt:mod:x", AttachPoint("rawtracepoint", "mod", "x"), "rawtracepoint:mod:x"),
    ("k:vfs_read", AttachPoint("kprobe", "", "vfs_read"), "kprobe:vfs_read"),
    ("kprobe:vfs_read+0x10", AttachPoint("kprobe", "", "vfs_read", offset=16), "kprobe:vfs_read+16"),
    ("kprobe:ext4:f*", AttachPoint("kprobe", "ext4", "f*"), "kprobe:ext4:f*"),
    ("kprobe:0xffff0000", AttachPoint("kprobe", address=0xFFFF0000), "kprobe:0xffff0000"),
    ("kr:f", AttachPoint("kretprobe", "", "f"), "kretprobe:f"),
    ("kfunc:f", AttachPoint("fentry", "", "f"), "fentry:f"),
    ("fr:mod:f", AttachPoint("fexit", "mod", "f"), "fexit:mod:f"),
    ("f:bpf:12:p", AttachPoint("fentry", "bpf", "p", program=12), "fentry:bpf:12:p"),
    ("f:bpf:p", AttachPoint("fentry", "bpf", "p"), "fentry:bpf:*:p"),
    ("u:libc:malloc+4", AttachPoint("uprobe", "libc", "malloc", offset=4), "uprobe:libc:malloc+4"),
    ("u:/bin/a:0x40", AttachPoint("uprobe", "/bin/a", address=64), "uprobe:/bin/a:0x40"),
    (
        'u:/bin/a:cpp:"ns::f(int, char)"',
        AttachPoint("uprobe", "/bin/a", "ns::f(int, char)", language="cpp"),
        'uprobe:/bin/a:cpp:"ns::f(int, char)"',
    ),
    ("u:a@b.c:12:3", AttachPoint("uprobe", "a", source=("b.c", 12, 3)), "uprobe:a@b.c:12:3"),
    ("ur:/a b:f", AttachPoint("uretprobe", "/a b", "f"), 'uretprobe:"/a b":f'),
    ("U:/a:p", AttachPoint("usdt", "/a", "p"), "usdt:/a:p"),
    ("usdt:/a:prov:p", AttachPoint("usdt", "/a", "p", provider="prov"), "usdt:/a:prov:p"),
    ("s:faults:100", AttachPoint("software", "page-faults", count=100), "software:page-faults:100"),
    ("h:cycles:", None, ""),
    ("h:cycles", AttachPoint("hardware", "cpu-cycles"), "hardware:cpu-cycles"),
    ("w:0x10:8:rw", AttachPoint("watchpoint", address=16, length=8, mode="rw"), "watchpoint:0x10:8:rw"),
    (
        "watchpoint:f+arg1:4:w",
        AttachPoint("watchpoint", function="f", argument=1, length=4, mode="w"),
        "watchpoint:f+arg1:4:w",
    ),
    ("it:task:/sys/fs/bpf/x", AttachPoint("iter", function="task", pin="/sys/fs/bpf/x"), "iter:task:/sys/fs/bpf/x"),
]


@pytest.mark.parametrize(("text", "point", "canonical"), TABLE)
def test_every_form(text: str, point: AttachPoint | None, canonical: str) -> None:
    if point is None:
        with pytest.raises(AttachFault, match="nothing stands after the ':'"):
            read(text)
        return
    assert read(text) == (point,)
    assert point.text == canonical
    assert read(canonical) == (point,)


def test_every_kind_reads_its_own_forms() -> None:
    for kind in KINDS.values():
        for form in kind.forms:
            text = form.replace("address", "0x10").replace("length", "8").replace("mode", "rw").replace("offset", "4")
            text = text.replace(":id:", ":7:").replace("event:count", "event:5").replace("source:line", "a.c:3")
            if kind.name in ("software", "hardware"):
                text = text.replace("event", "cpu-clock" if kind.name == "software" else "instructions")
            assert [point.kind for point in read(text)] == [kind.name]


def test_names_are_of_any_case_but_for_one() -> None:
    assert ALIASES["U"].name == "usdt" and ALIASES["u"].name == "uprobe"
    assert read("KPROBE:f") == read("K:f") == read("k:f")


def test_wildcards_in_the_kind() -> None:
    found = read("*:vfs_read")
    assert [point.kind for point in found] == ["rawtracepoint", "kprobe", "fentry", "iter"]
    assert all(point.optional for point in found)
    assert [point.kind for point in read("u*:/bin/a:f")] == ["uprobe", "usdt"]
    with pytest.raises(AttachFault, match="no kind of probe matches 'x\\*'"):
        read("x*:f")


def test_patterns_of_lists() -> None:
    assert search("kprobe") == (AttachPoint("kprobe", "", "*"),)
    assert search("tracepoint:*exec*") == (AttachPoint("tracepoint", "*", "*exec*"),)
    assert search("software:*") == (AttachPoint("software", "*"),)
    assert search("uprobe:/bin/bash") == (AttachPoint("uprobe", "/bin/bash", "*"),)
    assert {point.kind for point in search("*tcp*")} >= {"tracepoint", "kprobe", "fentry", "rawtracepoint"}
