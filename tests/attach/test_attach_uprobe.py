"""Uprobes in the real kernel: every mechanism, exact counts, containers, deleted files, what is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pybpf.attach import Link, uprobe, uprobes, uretprobe
from pybpf.attach.kinds.uprobe import attach_by_tracefs, find_place
from pybpf.attach.kinds.uprobe_multi import attach_places, find_places, uprobe_multi
from pybpf.errors import BpfError, ClosedError, KernelError, NotFoundError, PackError, UnsupportedError
from pybpf.maps import Array
from pybpf.prog import Program
from pybpf.symbols import find_binary
from pybpf.sys.bpf import AttachType, ProgType
from pybpf.sys.objects import PerfLink, PerfLinkKind, UprobeMultiLink
from pybpf.sys.tracefs import tracefs
from pybpf.types import u64
from tests.attach.targets import (
    COUNT,
    COUNT_BY_COOKIE,
    NOTHING,
    ROUNDS,
    Caller,
    finish,
    native_program,
    waiting,
)
from tests.symbols.elfmaker import BASE, CODE, Elf, Sym
from tests.sys.child import NOBODY, run

pytestmark = [pytest.mark.root, pytest.mark.needs("uprobe")]


class Hits:
    """The counters that the test programs write to."""

    def __init__(self) -> None:
        self.map = Array(u64[8], 1, name="hits")

    def __getitem__(self, index: int) -> int:
        return self.map[0][index]

    def all(self) -> list[int]:
        return list(self.map[0])

    @property
    def maps(self) -> dict[str, Array]:
        return {"hits": self.map}


@pytest.fixture
def hits() -> Iterator[Hits]:
    made = Hits()
    with made.map:
        yield made


@pytest.fixture
def program(hits: Hits) -> Iterator[Program]:
    with Program.load(COUNT, hits.maps) as program:
        yield program


@pytest.fixture(scope="module")
def caller() -> Iterator[Caller]:
    with Caller() as caller:
        yield caller


@pytest.fixture
def native(tmp_path: Path) -> str:
    return native_program(tmp_path / "native")


@pytest.mark.parametrize("attach", [uprobe, uretprobe])
def test_exact_count_of_a_library_function(attach: object, program: Program, hits: Hits, caller: Caller) -> None:
    with attach(program, "libc", "getppid", pid=caller.pid) as link:  # type: ignore[operator]
        assert isinstance(link, Link)
        caller.call(1000)
        assert hits[0] == 1000
        assert link.missed is None
        assert not link.closed
    assert link.closed
    caller.call(10)
    assert hits[0] == 1000


def test_all_threads_of_the_process(program: Program, hits: Hits, caller: Caller) -> None:
    with uprobe(program, "libc", "getppid", pid=caller.pid):
        caller.call(50, threads=4)
        assert hits[0] == 200


def test_no_other_process(program: Program, hits: Hits, caller: Caller) -> None:
    with Caller() as other, uprobe(program, "libc", "getppid", pid=other.pid):
        caller.call(100)
        other.call(7)
        assert hits[0] == 7


def test_every_process_that_runs_the_file(program: Program, hits: Hits, native: str) -> None:
    with uprobe(program, native, "work"):
        for _ in range(2):
            with waiting([native]) as process:
                finish(process)
    assert hits[0] == 2 * ROUNDS


def test_process_that_was_there_before(program: Program, hits: Hits, native: str) -> None:
    with waiting([native]) as process, uretprobe(program, native, "work", pid=process.pid):
        finish(process)
    assert hits[0] == ROUNDS


def test_program_of_the_process(program: Program, hits: Hits, native: str) -> None:
    with waiting([native]) as process, uprobe(program, None, "work", pid=process.pid):
        finish(process)
    assert hits[0] == ROUNDS


def test_address_and_offset(program: Program, hits: Hits, native: str) -> None:
    place = find_place(native, "work")
    address = place.offset + 0x400000
    second = {"x86_64": 4, "aarch64": 4}[os.uname().machine]
    links = uprobe(program, native, address=address), uprobe(program, native, "work", offset=second)
    with links[0], links[1], waiting([native]) as process:
        finish(process)
    assert hits[0] == 2 * ROUNDS


@pytest.mark.needs("cookies")
@pytest.mark.parametrize("attach", [uprobe, uretprobe])
def test_cookie(attach: object, hits: Hits, caller: Caller) -> None:
    with Program.load(COUNT_BY_COOKIE, hits.maps) as program:
        link = attach(program, "libc", "getppid", pid=caller.pid, cookie=5)  # type: ignore[operator]
        with link:
            caller.call(3)
    assert hits.all() == [0, 0, 0, 0, 0, 3, 0, 0]


@pytest.mark.needs("perf_link")
def test_link_tells_where_it_is(program: Program, caller: Caller) -> None:
    with uprobe(program, "libc", "getppid", pid=caller.pid) as link:
        info = link.info()
        assert info.prog_id == program.id
        assert link.target.startswith("uprobe:/")
        if info.detail is not None:  # Linux 6.6
            assert isinstance(info.detail, PerfLink)
            assert info.detail.kind == PerfLinkKind.UPROBE
            assert os.path.samefile(info.detail.name, find_binary("libc", caller.pid).path)
            assert info.detail.offset == find_place("libc", "getppid").offset
    with pytest.raises(ClosedError):
        link.info()
    with pytest.raises(ClosedError):
        link.missed  # noqa: B018
    link.close()


def test_without_links(program: Program, hits: Hits, caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Linux 5.15: an ioctl on the perf event."""
    monkeypatch.setattr("pybpf.attach.perf_link._create", lambda *_: None)
    with uprobe(program, "libc", "getppid", pid=caller.pid) as link:
        caller.call(12)
        assert link.missed is None
        for ask in (link.info, lambda: link.pin("/sys/fs/bpf/none")):
            with pytest.raises(UnsupportedError, match="perf event"):
                ask()
    caller.call(3)
    assert hits[0] == 12


@pytest.mark.needs("uprobe_events")
@pytest.mark.parametrize("ret", [False, True])
def test_through_tracefs(ret: bool, program: Program, hits: Hits, caller: Caller) -> None:
    """Before Linux 4.17, or without sysfs."""
    place = find_place("libc", "getppid", pid=caller.pid)
    with attach_by_tracefs(program, place, ret=ret, pid=caller.pid):
        caller.call(20)
        with tracefs() as directory:
            assert f"pybpf_{os.getpid()}/" in directory.read("uprobe_events")
    caller.call(4)
    assert hits[0] == 20
    with tracefs() as directory:
        assert f"pybpf_{os.getpid()}/" not in directory.read("uprobe_events")


@pytest.mark.needs("uprobe_events")
def test_failure_through_tracefs_leaves_no_event(program: Program) -> None:
    place = find_place("libc", "getppid")
    with pytest.raises(KernelError):
        attach_by_tracefs(program, place._replace(offset=1 << 40))
    with pytest.raises(NotFoundError, match="no process"):
        attach_by_tracefs(program, place, pid=0x7FFFFFFF)
    with tracefs() as directory:
        assert f"pybpf_{os.getpid()}/" not in directory.read("uprobe_events")


@pytest.mark.needs("uprobe_events")
def test_tracefs_takes_any_path(tmp_path: Path, program: Program, hits: Hits) -> None:
    native = native_program(tmp_path / "a b:c")
    with attach_by_tracefs(program, find_place(native, "work")), waiting([native]) as process:
        finish(process)
    assert hits[0] == ROUNDS


def test_what_does_not_exist(program: Program, native: str) -> None:
    with pytest.raises(NotFoundError, match="did you mean work"):
        uprobe(program, native, "workk")
    with pytest.raises(NotFoundError, match="cannot find libnothing_of_the_kind"):
        uprobe(program, "libnothing_of_the_kind", "f")
    with pytest.raises(NotFoundError, match="no file"):
        uprobe(program, native + "x", "f")
    for pid in (0x7FFFFFFF, -1, 0):
        with pytest.raises(NotFoundError, match=f"no process {pid}"):
            uprobe(program, "libc", "getppid", pid=pid)
    with pytest.raises(NotFoundError, match="no process 2147483647"):
        uprobe_place_of_no_process(program)


def uprobe_place_of_no_process(program: Program) -> None:
    from pybpf.attach.kinds.uprobe import attach_place

    attach_place(program, find_place("libc", "getppid"), pid=0x7FFFFFFF)


def test_functions_of_one_name(program: Program, hits: Hits, tmp_path: Path) -> None:
    """A name that means several functions is refused, as one of them would be missing; a pattern means all."""
    both = native_program(tmp_path / "native", names=("helper", "helper"))
    for attach in (uprobe, uretprobe):
        with pytest.raises(BpfError, match="2 functions have that name"):
            attach(program, both, "helper")
    with pytest.raises(BpfError, match="2 functions have that name"):
        uprobes(COUNT, both, ["helper"], maps=hits.maps)
    with uprobes(COUNT, both, "helpe[r]", maps=hits.maps), waiting([both]) as process:
        finish(process)
    assert hits[0] == 1 + ROUNDS


def test_program_of_another_type(hits: Hits, native: str) -> None:
    from dataclasses import replace

    with Program.load(replace(NOTHING, type=ProgType.TRACEPOINT)) as program:
        with pytest.raises(KernelError, match="is of type tracepoint, and kprobe is needed"):
            uprobe(program, native, "work")
        with pytest.raises(KernelError, match="kprobe is needed"):
            uprobe_multi(program, [find_place(native, "work")])
    with Program.load(NOTHING) as program, pytest.raises(KernelError, match="not TRACE_UPROBE_MULTI"):
        uprobe_multi(program, [find_place(native, "work")])


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give up privileges")
def test_without_privileges(program: Program, native: str) -> None:
    """What is missing is named: the perf events of uprobes need more than those of kprobes."""
    for parent in list(Path(native).parents)[:3]:  # pytest's own directories
        parent.chmod(0o755)
    uprobe(program, native, "work").close()  # what is imported only now, an ordinary user may not be able to read
    code = f"""
from pybpf.attach import uprobe
from pybpf.prog import Program
from tests.attach.targets import NOTHING
with Program.load(NOTHING) as program:
    uprobe(program, {native!r}, "work").close()
print("attached")
"""
    assert run(code) == "attached"
    text = run(code, uid=NOBODY, caps=["BPF", "PERFMON"])
    assert text.startswith("PermissionDenied: cannot attach to uprobe:")
    assert "CAP_SYS_ADMIN" in text
    assert run(code, uid=NOBODY).startswith("PermissionDenied: cannot load kprobe program")


def test_what_is_outside_the_code(program: Program, native: str, tmp_path: Path) -> None:
    for address in (0, 0x400000 - 1, 0x402000, 1 << 63, -1):
        with pytest.raises(BpfError, match="outside the code of the file"):
            uprobe(program, native, address=address)
    for offset in (5 if os.uname().machine == "x86_64" else 8, 1 << 40, -1):
        with pytest.raises(BpfError, match=r"the function is \d bytes long"):
            uprobe(program, native, "work", offset=offset)
    text = tmp_path / "text"
    text.write_text("#!/bin/sh\n")
    with pytest.raises(BpfError, match="as an ELF file"):
        uprobe(program, str(text), "f")


def test_what_is_not_said(program: Program, native: str) -> None:
    with pytest.raises(BpfError, match="either a function or an address"):
        uprobe(program, native)
    with pytest.raises(BpfError, match="either a function or an address"):
        uprobe(program, native, "work", address=0x401000)
    for cookie in (-1, 1 << 64):
        with pytest.raises(PackError, match="cookie"):
            uprobe(program, native, "work", cookie=cookie)


def test_indirect_function(program: Program) -> None:
    from pybpf.symbols import ElfFile

    with ElfFile(find_binary("libc", os.getpid()).path) as elf:
        if elf.symbol("memcpy") is None or elf.symbol("memcpy").kind != 10:  # type: ignore[union-attr]
            pytest.skip("memcpy of this libc is an ordinary function")
    with pytest.raises(BpfError, match="indirect function"):
        uprobe(program, "libc", "memcpy")


def test_deleted_program(program: Program, hits: Hits, native: str) -> None:
    with waiting([native]) as process:
        Path(native).unlink()
        with uprobe(program, None, "work", pid=process.pid):
            finish(process)
    assert hits[0] == ROUNDS


def test_deleted_program_by_its_path(program: Program, hits: Hits, native: str) -> None:
    with waiting([native]) as process:
        Path(native).unlink()
        with uprobe(program, native, "work", pid=process.pid) as link:
            assert native in link.target
            finish(process)
    assert hits[0] == ROUNDS


@pytest.mark.parametrize("binary", ["/bin/tool", "tool", None])
def test_program_in_another_root(binary: str | None, program: Program, hits: Hits, tmp_path: Path) -> None:
    """A container: the path leads to another file there than here."""
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    native_program(root / "bin/tool")
    code = f"import os; os.chroot({str(root)!r}); os.chdir('/'); os.execv('/bin/tool', ['t'])"
    command = [sys.executable, "-c", code]
    with waiting(command, "/bin/tool") as process, uprobe(program, binary, "work", pid=process.pid) as link:
        assert link.target.endswith("/bin/tool:work")
        finish(process)
    assert hits[0] == ROUNDS


def test_library_in_another_mount_namespace(program: Program, hits: Hits, tmp_path: Path) -> None:
    """unshare and a bind mount: the name of our libc is another file for that process."""
    if shutil.which("unshare") is None or shutil.which("mount") is None:
        pytest.skip("needs unshare and mount")
    mine, other = native_program(tmp_path / "mine"), native_program(tmp_path / "other")
    script = f"mount --bind {other} {mine} && exec {mine}"
    with waiting(["unshare", "-m", "sh", "-c", script], mine) as process:
        if process.poll() is not None:
            pytest.skip("may not mount in a namespace")
        with uprobe(program, mine, "work", pid=process.pid):
            finish(process)
    assert hits[0] == ROUNDS


@pytest.mark.needs("perf_link")
def test_pinned_link_outlives_its_owner(program: Program, hits: Hits, caller: Caller, tmp_path: Path) -> None:
    directory = tmp_path / "bpf"
    directory.mkdir()
    if subprocess.run(["mount", "-t", "bpf", "bpf", str(directory)], check=False).returncode:
        pytest.skip("may not mount a bpf file system")
    try:
        with uprobe(program, "libc", "getppid", pid=caller.pid) as link:
            link.pin(directory / "link")
        caller.call(5)
        assert hits[0] == 5
        (directory / "link").unlink()
        # the kernel frees what was pinned a moment after its name has gone
        for _ in range(1000):
            before = hits[0]
            caller.call(5)
            if hits[0] == before:
                break
            time.sleep(0.01)
        assert hits[0] == before
    finally:
        subprocess.run(["umount", str(directory)], check=True)


# Many functions at once.

MANY = ["getppid", "getpid", "getuid", "geteuid", "getgid", "getegid"]


@pytest.fixture(params=["best", "one_by_one"])
def mechanism(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "one_by_one":
        monkeypatch.setattr("pybpf.attach.kinds.uprobe_multi.has", lambda _: False)
    return str(request.param)


def test_many_functions(mechanism: str, hits: Hits, caller: Caller) -> None:
    with uprobes(COUNT, "libc", MANY, maps=hits.maps, pid=caller.pid) as link:
        caller.call(30)
        caller.call(10, threads=2)
        assert hits[0] == 50
        assert link.failures == []
        assert link.missed is None
    caller.call(5)
    assert hits[0] == 50
    assert link.closed
    link.close()


def test_many_at_return_by_pattern(mechanism: str, hits: Hits, native: str) -> None:
    with uprobes(COUNT, native, "w*", maps=hits.maps, ret=True), waiting([native]) as process:
        finish(process)
    assert hits[0] == ROUNDS


@pytest.mark.needs("cookies")
def test_many_with_cookies(mechanism: str, hits: Hits, native: str) -> None:
    link = uprobes(COUNT_BY_COOKIE, native, ["_start", "work"], maps=hits.maps, cookies=[3, 4])
    with link, waiting([native]) as process:
        finish(process)
    assert hits.all() == [0, 0, 0, 1, ROUNDS, 0, 0, 0]


@pytest.mark.needs("cookies")
def test_one_function_twice_with_two_cookies(mechanism: str, hits: Hits, native: str) -> None:
    link = uprobes(COUNT_BY_COOKIE, native, ["work", "work"], maps=hits.maps, cookies=[1, 2])
    with link, waiting([native]) as process:
        finish(process)
    assert hits.all()[:4] == [0, ROUNDS, ROUNDS, 0]


@pytest.mark.needs("uprobe_multi")
def test_one_call_for_hundreds(hits: Hits, caller: Caller) -> None:
    places, _, _ = find_places("libc", ["*"], pid=caller.pid)
    assert len(places) > 500
    with uprobes(COUNT, "libc", ["get*", "set*"], maps=hits.maps, pid=caller.pid) as link:
        assert len(link) == 1
        detail = link.links[0].info().detail
        if detail is not None:  # Linux 6.8
            assert isinstance(detail, UprobeMultiLink)
            assert detail.sites > 100
            assert detail.pid == caller.pid
        caller.call(25)
        assert hits[0] == 25


def test_missing_function_is_named(mechanism: str, hits: Hits) -> None:
    with pytest.raises(NotFoundError, match="no function no_such"):
        uprobes(COUNT, "libc", [*MANY, "no_such"], maps=hits.maps)
    with pytest.raises(NotFoundError, match=r"no function of .* matches no_such\*"):
        uprobes(COUNT, "libc", "no_such*", maps=hits.maps)
    with pytest.raises(BpfError, match="no functions are given"):
        uprobes(COUNT, "libc", [], maps=hits.maps)


def test_missing_function_is_skipped_and_listed(mechanism: str, hits: Hits, caller: Caller) -> None:
    names = ["no_such", "getppid", "nor_this*"]
    with uprobes(COUNT, "libc", names, maps=hits.maps, pid=caller.pid, skip_failures=True) as link:
        caller.call(9)
        assert [name.rpartition(":")[2] for name, _ in link.failures] == ["no_such", "nor_this*"]
        assert all(isinstance(error, NotFoundError) for _, error in link.failures)
    assert hits[0] == 9
    with pytest.raises(NotFoundError, match="no_such"):
        uprobes(COUNT, "libc", ["no_such", "nor_this"], maps=hits.maps, skip_failures=True)


def test_place_that_the_kernel_refuses(mechanism: str, hits: Hits, native: str) -> None:
    """The kernel refuses the whole call; the bad place is found, and named or skipped."""
    places, _, _ = find_places(native, ["*"])
    bad = places[0]._replace(offset=1 << 40, name="the bad one")
    for position in range(len(places) + 1):
        mixed = [*places[:position], bad, *places[position:]]
        with pytest.raises(KernelError, match="the bad one"):
            attach_places(COUNT, mixed, maps=hits.maps)
        with attach_places(COUNT, mixed, maps=hits.maps, skip_failures=True) as link:
            assert [name for name, _ in link.failures] == ["the bad one"]
            with waiting([native]) as process:
                finish(process)
        assert hits[0] == (position + 1) * (ROUNDS + 1)
    with pytest.raises(KernelError, match="the bad one"):
        attach_places(COUNT, [bad, bad], maps=hits.maps, skip_failures=True)


def test_cookies_that_do_not_fit(hits: Hits, native: str) -> None:
    for symbols, cookies in ((["work"], []), (["work"], [1, 2]), (["w*"], [1])):
        with pytest.raises(BpfError, match="one cookie for each function"):
            uprobes(COUNT, native, symbols, maps=hits.maps, cookies=cookies)
    with pytest.raises(PackError):
        uprobes(COUNT, native, ["work"], maps=hits.maps, cookies=[-1])


@pytest.mark.needs("uprobe_multi")
def test_multi_link_of_a_loaded_program(hits: Hits, native: str) -> None:
    from dataclasses import replace

    places, _, _ = find_places(native, ["_start", "work"])
    spec = replace(COUNT, expected_attach_type=AttachType.TRACE_UPROBE_MULTI)
    with Program.load(spec, hits.maps) as program:
        with uprobe_multi(program, places), waiting([native]) as process:
            finish(process)
        assert hits[0] == ROUNDS + 1
        with pytest.raises(BpfError, match="places of one file"):
            uprobe_multi(program, [places[0], places[1]._replace(path="/other")])
        with pytest.raises(BpfError, match="1 cookies for 2 places"):
            uprobe_multi(program, places, cookies=[1])
        with pytest.raises(NotFoundError, match="no process"):
            uprobe_multi(program, places, pid=0x7FFFFFFF)


@pytest.mark.needs("uprobe_multi")
def test_process_that_ended_is_not_searched_for_among_the_functions(hits: Hits) -> None:
    places, _, _ = find_places("libc", MANY)
    ended = subprocess.Popen(["true"])
    ended.wait()
    with pytest.raises(NotFoundError, match=f"{len(places) - 1} more: there is no process {ended.pid}"):
        attach_places(COUNT, places, maps=hits.maps, pid=ended.pid, skip_failures=True)


@pytest.mark.needs("uprobe_multi")
def test_what_pid_means_to_multi_links() -> None:
    """Known of the kernels that the suite runs on; from 6.6 until 6.10 it is the number of a thread."""
    from pybpf.attach.kinds.uprobe_multi import _pid_is_process

    release = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
    if release >= (6, 10):
        assert _pid_is_process()


def test_names_with_wildcards_in_them_mean_themselves(tmp_path: Path) -> None:
    """Those of Go: methods of pointers, and generic functions. Where there is none of that name it is a pattern."""
    names = ["main.(*T).Run", "main.(xT).Run", "main.Map[go.shape.int]", "main.Mapg"]
    symbols = [Sym(name, BASE + CODE + 8 * index, 8) for index, name in enumerate(names)]
    path = Elf(symbols=symbols).write(tmp_path / "program")

    def found(name: str) -> list[str]:
        return [place.name.partition("program:")[2] for place in find_places(path, [name])[0]]

    assert found("main.(*T).Run") == ["main.(*T).Run"]
    assert found("main.Map[go.shape.int]") == ["main.Map[go.shape.int]"]
    assert found("main.(?T).Run") == names[:2]
    assert found("main.Map[go]") == ["main.Mapg"]
