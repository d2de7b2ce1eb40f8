"""What is listed can be attached to, and is written as bpftrace writes it."""

from __future__ import annotations

import sys

import pytest

from pybpf.attach import find_event
from pybpf.attach.fields import parse_format
from pybpf.attach.listing import list_probes, meant_instead, not_allowed
from pybpf.btf import Btf
from pybpf.errors import NotFoundError
from pybpf.sys import features
from pybpf.sys.perf import perf_event_open

pytestmark = pytest.mark.root

FORMAT = """name: example
ID: 7
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:__data_loc char[] name;\toffset:8;\tsize:4;\tsigned:0;
\tfield:pid_t pids[4];\toffset:12;\tsize:16;\tsigned:1;
\tfield:const char * path;\toffset:32;\tsize:8;\tsigned:0;

print fmt: "%s", REC->name
"""


def test_the_fields_of_a_format() -> None:
    fields = parse_format(FORMAT)
    assert [(field.name, field.type, field.offset, field.size, field.signed) for field in fields] == [
        ("name", "__data_loc char[]", 8, 4, False),
        ("pids", "pid_t[4]", 12, 16, True),
        ("path", "const char *", 32, 8, False),
    ]
    assert [field.declaration for field in fields] == ["__data_loc char name[]", "pid_t pids[4]", "const char * path"]


def test_text_that_is_no_format_has_no_fields() -> None:
    assert parse_format("\tfield:;\toffset:x;\n\tfield:int") == []


@pytest.mark.parametrize(
    ("declared", "kind", "name"),
    [
        ("const char * filename", "const char *", "filename"),
        ("char prev_comm[16]", "char[16]", "prev_comm"),
        ("__data_loc char[] name", "__data_loc char[]", "name"),
        ("u8 addr[2][3]", "u8[2][3]", "addr"),
        ("x", "", "x"),
    ],
)
def test_declarations(declared: str, kind: str, name: str) -> None:
    (field,) = parse_format(f"\tfield:{declared};\toffset:8;\tsize:4;\tsigned:0;\n")
    assert (field.type, field.name) == (kind, name)


def test_names_of_any_length_are_read_at_once() -> None:
    """In time that does not grow with the square of the length: that would take hours."""
    name = "a" * 1_000_000
    (field,) = parse_format(f"\tfield:int {name};\toffset:8;\tsize:4;\tsigned:0;\n")
    assert field.name == name
    assert parse_format(f"\tfield:int {']' * 1_000_000};\toffset:8;\tsize:4;\tsigned:0;\n") == []



@pytest.mark.parametrize("kind", ["software", "hardware"])
def test_listed_events_can_be_opened(kind: str) -> None:
    names = [probe.name for probe in list_probes(f"{kind}:*")]
    assert kind == "hardware" or "cpu-clock" in names
    for name in names:
        event = find_event(name)
        perf_event_open(pid=0, type=event.type, config=event.config).close()


def test_tracepoints_without_a_kind_and_with_an_abbreviated_one() -> None:
    assert str(next(iter(list_probes("t:sched:sched_switch")))) == "tracepoint:sched:sched_switch"
    found = [str(probe) for probe in list_probes("sched_switch")]
    assert {"tracepoint:sched:sched_switch", "rawtracepoint:sched_switch"} <= set(found)


@pytest.mark.needs("btf_vmlinux")
def test_iterators_are_those_of_the_kernel_and_no_helpers() -> None:
    names = {probe.name for probe in list_probes("iter:*")}
    assert {"task", "bpf_map"} <= names and not {"num_new", "bits_next"} & names


def test_functions_of_a_library_and_of_a_file() -> None:
    assert any(probe.name.endswith(":malloc") for probe in list_probes("uprobe:libc:mallo*"))
    assert list(list_probes(f"uprobe:{sys.executable}:no_such_function_*")) == []


@pytest.mark.parametrize("pattern", ["nosuch:*", "uprobe:*:malloc", "uprobe:malloc", "usdt:/nonexistent:*"])
def test_what_is_not_there_is_named(pattern: str) -> None:
    with pytest.raises(NotFoundError):
        list(list_probes(pattern))


@pytest.mark.root
@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        ("software:page-fault", "; did you mean software:page-faults?"),
        ("s:page-fault", "; did you mean s:page-faults?"),
        ("uprobe:libc:mallok", "; did you mean uprobe:libc:malloc, "),
        ("software:nothing-like-it", ""),
        ("software:page*fault", ""),
        ("page-fault", ""),
    ],
)
def test_a_name_that_nothing_matches_may_mean_another(pattern: str, meant: str) -> None:
    found = meant_instead(pattern)
    assert found.startswith(meant) and bool(found) == bool(meant)


@pytest.mark.needs("btf_vmlinux")
def test_arguments_of_many_functions_are_those_of_each() -> None:
    names = [name for name, _ in Btf.vmlinux().functions("vfs_*")]
    assert len(names) > 64
    listing = sys.modules[list_probes.__module__]
    together = list(listing._function_arguments(names))
    assert together == [next(listing._function_arguments([name])) for name in names]
    assert sum(map(bool, together)) > 50
    assert list(listing._function_arguments(["no_such_function", "no_module:f"])) == [(), ()]


@pytest.mark.needs("btf_vmlinux")
def test_the_types_of_a_module_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    listing = sys.modules[list_probes.__module__]
    read: list[str] = []

    def types(module: str = "") -> Btf:
        read.append(module)
        return Btf.vmlinux()

    monkeypatch.setattr(listing, "_kernel_types", types)
    names = [f"{module}:{name}" for name, _ in Btf.vmlinux().functions("vfs_*") for module in ("a", "b")]
    assert sum(map(bool, listing._function_arguments(names[:300]))) > 100
    assert sorted(read) == ["a", "b"]


def test_a_module_may_be_left_out_and_kinds_have_other_names(monkeypatch: pytest.MonkeyPatch) -> None:
    listing = sys.modules[list_probes.__module__]
    names = ["vmlinux:vfs_read", "vmlinux:vfs_readv", "ext4:ext4_read"]
    kind = listing.KINDS["fentry"]._replace(names=lambda pattern: iter(names), feature="")
    monkeypatch.setitem(listing.KINDS, "fentry", kind)

    def found(pattern: str) -> list[str]:
        return [str(probe) for probe in list_probes(pattern)]

    assert found("fentry:vfs_read") == found("kfunc:vfs_read") == ["fentry:vmlinux:vfs_read"]
    assert found("fentry:*_read") == ["fentry:ext4:ext4_read", "fentry:vmlinux:vfs_read"]  # sorted
    assert found("fentry:ext4:*") == ["fentry:ext4:ext4_read"]
    assert found("fentry:vmlinux:vfs_re*") == ["fentry:vmlinux:vfs_read", "fentry:vmlinux:vfs_readv"]
    assert "rawtracepoint:sched_switch" in found("raw_tracepoint:sched_switch")
    assert found("interval:*") == ["interval:hz:", "interval:ms:", "interval:s:", "interval:us:"]


def test_tracepoints_are_sorted() -> None:
    names = [probe.name for probe in list_probes("tracepoint:sched:*")]
    assert names == sorted(names) and len(names) > 5


def test_kinds_that_may_not_be_attached_to_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = features.Result(features.Support.NOT_ALLOWED, "EPERM: why")
    monkeypatch.setattr(features, "probe", lambda name: refused if name == "fentry" else features.YES)
    assert not_allowed("*") == not_allowed("f*:vfs_*") == {"fentry": "EPERM: why", "fexit": "EPERM: why"}
    assert not_allowed("tracepoint:*") == {}
