"""Targets: the running kernel, and descriptions of others, which need no kernel at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from pybpf.btf import Btf, BtfBuilder
from pybpf.compiler.target import Target
from pybpf.errors import BtfError, NotFoundError, UnsupportedError
from pybpf.sys import features
from pybpf.sys.bpf import ProgType
from tests.sys.child import NOBODY, run

KPROBE, TRACING, RAW = ProgType.KPROBE, ProgType.TRACING, ProgType.RAW_TRACEPOINT
FORMAT = "format:\n\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n" + (
    "\tfield:char comm[16];\toffset:8;\tsize:16;\tsigned:0;\n\tfield:pid_t pid;\toffset:24;\tsize:4;\tsigned:1;\n"
)


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
@pytest.mark.parametrize(
    ("release", "has", "lacks"),
    [
        ("4.18", {"raw_tp", "kprobe", "percpu_array"}, {"jmp32", "bounded_loop", "ringbuf", "btf_vmlinux"}),
        ("5.4", {"jmp32", "bounded_loop", "map_value"}, {"tp_btf", "fentry", "ringbuf"}),
        ("5.10", {"tp_btf", "ringbuf", "iter"}, {"atomics", "helper_loop", "cookies"}),
        ("6.12.3-generic", {"cpu_v4", "may_goto", "uprobe_multi"}, {"acquire_release", "uprobe_session"}),
    ],
)
def test_described_features(release: str, has: set[str], lacks: set[str], arch: str) -> None:
    target = Target.described(release, arch)
    assert target.arch.name == arch
    assert {name for name in has | lacks if target.has(name)} == has
    assert target.types() is None
    assert target.module_types("nf_tables") is None


@pytest.mark.parametrize(
    ("kind", "helper", "first"),
    [
        (KPROBE, "map_lookup_elem", "4.18"),
        (KPROBE, "probe_read_kernel", "5.5"),
        (RAW, "probe_read_user_str", "5.5"),
        (TRACING, "map_lookup_elem", "5.5"),
        (TRACING, "d_path", "5.10"),
        (KPROBE, "get_attach_cookie", "5.15"),
        (RAW, "get_attach_cookie", "6.12"),  # the table knows no release between this and 6.8
        (KPROBE, "loop", "5.17"),
        (ProgType.SYSCALL, "sys_bpf", "5.14"),
    ],
)
def test_helpers_come_with_a_release(kind: ProgType, helper: str, first: str) -> None:
    releases = ["4.18", "5.4", "5.5", "5.10", "5.14", "5.15", "5.17", "6.1", "6.8", "6.12", "6.18"]
    having = [release for release in releases if Target.described(release).has_helper(kind, helper)]
    assert having == releases[releases.index(first) :]


def test_helpers_that_a_type_never_has() -> None:
    target = Target.described("6.18")
    assert not target.has_helper(KPROBE, "d_path")
    assert not target.has_helper(KPROBE, "no_such_helper")


def test_ktime_get_coarse_ns_was_there_for_a_while_only() -> None:
    having = [each for each in ("5.10", "5.15", "6.0", "6.1") if
              Target.described(each).has_helper(KPROBE, "ktime_get_coarse_ns")]  # fmt: skip
    assert having == ["5.15", "6.0"]


def test_without() -> None:
    assert not Target.described("6.12", without=["ringbuf"]).has("ringbuf")
    assert Target.described("6.12", without=["ringbuf"]).has("tp_btf")


def test_types_from_a_file_and_from_an_object(tmp_path: Path) -> None:
    builder = BtfBuilder()
    builder.int("int", 4, signed=True)
    blob = builder.bytes()
    path = tmp_path / "vmlinux"
    path.write_bytes(blob)
    types = Target.described("5.10", types=str(path)).types()
    assert types is not None
    assert types.named("int") == 1
    given = Btf.from_bytes(blob)
    assert Target.described("5.10", types=given).types() is given


def test_described_tracepoint() -> None:
    target = Target.described("5.10", fields={"sched:x": FORMAT})
    assert target.tracepoint_fields
    assert [(field.name, field.type, field.offset) for field in target.tracepoint_fields("sched:x")] == [
        ("comm", "char[16]", 8),
        ("pid", "pid_t", 24),
    ]
    with pytest.raises(NotFoundError, match="the described kernel has no tracepoint sched:y: give its format file"):
        target.tracepoint_fields("sched:y")


def test_wrong_descriptions(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no kernel release 'new'; one is named as in '5\.10'"):
        Target.described("new")
    with pytest.raises(NotFoundError, match="no feature 'warp'"):
        Target.described("5.10", without=["warp"])
    with pytest.raises(NotFoundError, match="no feature 'warp'"):
        Target.described("5.10").has("warp")
    with pytest.raises(UnsupportedError, match="no table for m68k"):
        Target.described("5.10", "m68k")
    with pytest.raises(BtfError, match=r"cannot read type information from .*nothing.*: No such file"):
        Target.described("5.10", types=str(tmp_path / "nothing"))
    (tmp_path / "text").write_text("not BTF, though long enough for its header", "utf-8")
    with pytest.raises(BtfError):
        Target.described("5.10", types=str(tmp_path / "text"))


def test_host_is_the_running_kernel() -> None:
    target = Target.host()
    assert target.has("ringbuf") == features.has("ringbuf")
    with pytest.raises(NotFoundError):
        target.has("warp")
    for kind, name in ((KPROBE, "probe_read_kernel"), (KPROBE, "d_path"), (RAW, "seq_write")):
        assert target.has_helper(kind, name) == bool(features.helper(name, kind))
    assert not target.has_helper(KPROBE, "no_such_helper")


@pytest.mark.root
@pytest.mark.needs("btf_vmlinux")
def test_host_types_are_those_of_the_kernel() -> None:
    assert Target.host().types() is Btf.vmlinux()
    assert Target.host().module_types("no_such_module") is None


@pytest.mark.root
@pytest.mark.needs("tracepoint")
def test_host_tracepoints() -> None:
    fields = Target.host().tracepoint_fields
    assert fields
    names = [field.name for field in fields("sched:sched_process_exec")]
    assert names[:2] == ["filename", "pid"]
    with pytest.raises(NotFoundError, match="did you mean sched:sched_switch"):
        fields("sched:sched_swich")


@pytest.mark.root
def test_host_agrees_with_its_description() -> None:
    """What this kernel is known to have since 5.10 it has: the table and the probes are of the same names."""
    target, described = Target.host(), Target.described("5.10")
    if not features.has("ringbuf"):
        pytest.skip("an older kernel")
    for name in ("map_lookup_elem", "probe_read_kernel", "probe_read_user_str", "get_current_comm", "ringbuf_output"):
        for kind in (KPROBE, RAW, ProgType.TRACEPOINT, ProgType.PERF_EVENT, TRACING):
            assert described.has_helper(kind, name)
            assert target.has_helper(kind, name), (name, kind)


_AS_NOBODY = """
from pybpf.compiler.target import Target
from pybpf.sys import features, probes
from pybpf.sys.bpf import ProgType
from tests.sys.child import NOBODY, run
features._RESULTS.clear()
probes._HELPERS.clear()
print(Target.host().{question})
"""


@pytest.mark.root
@pytest.mark.parametrize("question", ["has('prog_kprobe')", "has_helper(ProgType.KPROBE, 'probe_read_kernel')"])
def test_what_may_not_be_asked_is_no_answer(question: str) -> None:
    """An ordinary user would get the code for older kernels without a word."""
    answer = run(_AS_NOBODY.format(question=question), uid=NOBODY)
    assert answer.startswith("PermissionDenied: cannot find out whether this kernel (")
    assert "this process lacks CAP_" in answer and answer.endswith("Target.described() in Python")
    assert run(_AS_NOBODY.format(question=question), uid=NOBODY, caps=["BPF", "PERFMON"]) == "True"


@pytest.mark.root
def test_what_cannot_be_asked_just_now_is_no_answer() -> None:
    code = "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
    answer = run(code + _AS_NOBODY.format(question="has('ringbuf')"))
    assert answer.startswith("KernelError: cannot find out") and answer.endswith("Too many open files (EMFILE)")
