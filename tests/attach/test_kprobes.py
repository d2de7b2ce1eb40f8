"""Kprobes and kretprobes by every way that there is: exact counts of calls that this process makes."""

from __future__ import annotations

import fcntl
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from pybpf.asm import DW, R0, R1, R6, Code, exit_, jne, ldx, mov
from pybpf.attach import Link, MultiLink, kprobe, kprobes, kretprobe, perf_link
from pybpf.attach.kinds.kprobe import attach_by_tracefs, attach_kernel_place, kernel_place
from pybpf.attach.kinds.kprobes import find_functions, traceable_functions
from pybpf.errors import BpfError, KernelError, NotFoundError, PackError, UnsupportedError, VerifierError
from pybpf.prog import Program, ProgramSpec
from pybpf.symbols import functions_named, kernel_functions
from pybpf.sys import cpus, objects
from pybpf.sys.bpf import ProgType
from pybpf.sys.cpus import num_possible_cpus
from pybpf.sys.features import has
from pybpf.sys.tracefs import tracefs
from tests.attach.counting import ARCH, BY_COOKIE, LINUX, counter, counting, function_of, make_calls, new_hits

pytestmark = pytest.mark.root
needs_kprobe = pytest.mark.needs("kprobe")

GETPGID = function_of("getpgid")
SPEC = ProgramSpec(ProgType.KPROBE, counting() if has("test_run_raw_tp") else Code([mov(R0, 0), exit_()]), "counter")


@pytest.fixture(params=["link", "ioctl", "tracefs"])
def attach(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Link]:
    """Each way to attach a kprobe: (program, function, ret)."""
    if request.param == "tracefs":
        return lambda program, function, ret: attach_by_tracefs(program, kernel_place(function), ret=ret)
    if request.param == "ioctl":
        monkeypatch.setattr(perf_link, "_create", lambda *_: None)
    return lambda program, function, ret: (kretprobe if ret else kprobe)(program, function)


@needs_kprobe
@pytest.mark.parametrize("ret", [False, True], ids=["entry", "return"])
def test_counts_exactly(attach: Callable[..., Link], ret: bool) -> None:
    with counter(ProgType.KPROBE) as counted:
        make_calls("getpgid", 5)
        with attach(counted.program, GETPGID, ret) as link:
            make_calls("getpgid", 1000)
            assert link.target == f"{'kretprobe' if ret else 'kprobe'}:{GETPGID}"
            assert link.missed == (0 if link.is_bpf_link and LINUX >= (6, 7) else None)
        make_calls("getpgid", 7)
        assert counted.count == 1000


@needs_kprobe
def test_tracefs_events_are_removed() -> None:
    def ours() -> list[str]:
        with tracefs() as files:
            return [line for line in files.read("kprobe_events").splitlines() if "pybpf_" in line]

    with counter(ProgType.KPROBE) as counted:
        with attach_by_tracefs(counted.program, kernel_place(GETPGID)):
            assert len(ours()) == 1
        assert ours() == []
        with pytest.raises(NotFoundError, match="did you mean"):
            attach_by_tracefs(counted.program, kernel_place(GETPGID + "_"))
        assert ours() == []


@needs_kprobe
def test_offset() -> None:
    """At some instruction behind the first one; which offsets are instructions depends on the compiler."""
    with counter(ProgType.KPROBE) as counted:
        refused = 0
        for offset in range(1, 64):
            try:
                link = kprobe(counted.program, GETPGID, offset=offset)
            except KernelError as error:
                assert "no instruction that can be probed" in str(error)
                refused += 1
                continue
            break
        else:
            pytest.fail("no offset was taken")
        with link:
            assert link.target == f"kprobe:{GETPGID}+{offset:#x}"
            make_calls("getpgid", 100)
        assert counted.count == 100
        with kprobe(counted.program, f"{GETPGID}+{offset:#x}"):
            make_calls("getpgid", 10)
        assert counted.count == 110
        assert refused or ARCH.name == "aarch64" or offset == 1


@needs_kprobe
def test_address() -> None:
    address = next(kernel_functions(GETPGID)).address
    if not address:
        pytest.skip("the kernel hides addresses")
    with counter(ProgType.KPROBE) as counted:
        with kprobe(counted.program, address) as link:
            make_calls("getpgid", 100)
            assert link.target == f"kprobe:{address:#x}"
        assert counted.count == 100


@needs_kprobe
def test_function_of_the_kernel_itself() -> None:
    with counter(ProgType.KPROBE) as counted:
        with kprobe(counted.program, f"vmlinux:{GETPGID}"):
            make_calls("getpgid", 10)
        assert counted.count == 10
        with attach_by_tracefs(counted.program, kernel_place(f"vmlinux:{GETPGID}")):
            make_calls("getpgid", 10)
        assert counted.count == 20


@needs_kprobe
def test_function_of_the_kernel_itself_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done where the kernel hides addresses."""
    monkeypatch.setattr(sys.modules[kprobe.__module__], "_module_address", lambda place: 0)
    with counter(ProgType.KPROBE) as counted:
        with kprobe(counted.program, f"vmlinux:{GETPGID}") as link:
            assert link.target == f"kprobe:vmlinux:{GETPGID}"
            make_calls("getpgid", 10)
        assert counted.count == 10


@needs_kprobe
def test_no_cpu_is_taken_for_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    """CPU 0 can be offline."""
    monkeypatch.setattr(cpus, "online_cpus", lambda: [77777])
    with counter(ProgType.KPROBE) as counted:
        for way in (attach_kernel_place, attach_by_tracefs):
            with pytest.raises(KernelError, match="EINVAL"):  # which a bad place gives too
                way(counted.program, kernel_place(GETPGID))


@needs_kprobe
def test_function_of_a_module() -> None:
    # those with a name such as "bpf" and "__builtin__kprobes" are none
    in_modules = (each for each in kernel_functions("[!_]*:*") if each.module not in ("bpf", ""))
    module = next(in_modules, None)
    if module is None:
        pytest.skip("the kernel has no modules loaded")
    names = list(kernel_functions(f"{module.module}:*"))
    traceable = traceable_functions() or {}
    chosen = next((each for each in names if f"{each.name} [{each.module}]" in traceable), None)
    if chosen is None:
        pytest.skip(f"nothing in module {module.module} can be traced")
    with counter(ProgType.KPROBE) as counted:
        with kprobe(counted.program, f"{chosen.module}:{chosen.name}") as link:
            assert link.target == f"kprobe:{chosen.module}:{chosen.name}"
        with pytest.raises(NotFoundError, match=rf"no function '{GETPGID}' in module '{chosen.module}'"):
            kprobe(counted.program, f"{chosen.module}:{GETPGID}")


@needs_kprobe
@pytest.mark.needs("cookies")
def test_cookies() -> None:
    with counter(ProgType.KPROBE, counting(key=BY_COOKIE)) as counted:
        one = kprobe(counted.program, GETPGID, cookie=2)
        two = kretprobe(counted.program, function_of("getsid"), cookie=7)
        with one, two:
            make_calls("getpgid", 10)
            make_calls("getsid", 20)
        assert counted.counts == [0, 0, 10, 0, 0, 0, 0, 20]


@needs_kprobe
def test_result_of_a_function() -> None:
    """A kretprobe sees what the function returns."""
    condition = (ldx(DW, R1, R6, ARCH.registers[ARCH.result]), jne(R1, os.getpgid(0), "out"))
    with counter(ProgType.KPROBE, counting(*condition)) as counted:
        with kretprobe(counted.program, GETPGID):
            make_calls("getpgid", 30)
        assert counted.count == 30


@needs_kprobe
@pytest.mark.parametrize("name", ["", "two words", "a:b:c", "x+", "+4", "do_sys_*"])
def test_what_cannot_be_a_function(name: str) -> None:
    with counter(ProgType.KPROBE) as counted, pytest.raises(NotFoundError, match=r"not a kernel function|no function"):
        kprobe(counted.program, name)


@needs_kprobe
def test_unknown_function() -> None:
    with counter(ProgType.KPROBE) as counted:
        with pytest.raises(NotFoundError, match=rf"no function '{GETPGID}x' in this kernel; did you mean .*{GETPGID}"):
            kprobe(counted.program, GETPGID + "x")
        with pytest.raises(NotFoundError):
            kretprobe(counted.program, GETPGID + "x")


def shared_name() -> str:
    """Of several functions of the kernel itself."""
    seen: set[str] = set()
    for each in kernel_functions("vmlinux:[a-z]*"):
        if each.name in seen:
            return each.name
        seen.add(each.name)
    pytest.fail("the kernel has no two functions of one name")


@needs_kprobe
@pytest.mark.parametrize("checks", ["as it does", "never"])
def test_several_functions_of_one_name(checks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels before 6.7 take one of them without a word."""
    name = shared_name()
    if checks == "never":
        monkeypatch.setattr(sys.modules[kprobe.__module__], "_refuses_ambiguous", lambda pmu: False)
        monkeypatch.setattr(sys.modules[kprobe.__module__], "perf_event_open", None)  # it does not come so far
    with counter(ProgType.KPROBE) as counted:
        for way in (kprobe, kretprobe):
            for spelt in (name, f"vmlinux:{name}"):
                refused = rf"\d+ functions are named {name} \(.*vmlinux at 0x.*; give (its module, or )?the address, of"
                with pytest.raises(KernelError, match=refused):
                    way(counted.program, spelt)
    with pytest.raises(KernelError, match=rf"functions are named {name}"):
        kprobes(SPEC, [name])


@needs_kprobe
def test_return_at_an_offset() -> None:
    with counter(ProgType.KPROBE) as counted, pytest.raises(KernelError, match="one return"):
        kretprobe(counted.program, GETPGID + "+4")


@needs_kprobe
def test_wrong_program() -> None:
    with counter(ProgType.TRACEPOINT) as counted, pytest.raises(KernelError, match="kprobe is needed"):
        kprobe(counted.program, GETPGID)


@pytest.mark.skipif(has("kprobe"), reason="kernel has kprobes")
def test_kernel_without_kprobes() -> None:
    refused = pytest.raises(UnsupportedError, match=r"CONFIG_KPROBES.*use fentry, a tracepoint or a raw tracepoint")
    with Program.load(ProgramSpec(ProgType.KPROBE, Code([mov(R0, 0), exit_()]), "probe")) as program, refused:
        kprobe(program, GETPGID)
    with pytest.raises(UnsupportedError, match="CONFIG_KPROBES"):
        kprobes(SPEC, "tcp_*")


# --- many at a time ---------------------------------------------------------------------------------------------

NAMES = ["getpgid", "getsid", "sched_get_priority_max", "sched_get_priority_min"]
FUNCTIONS = [function_of(name) for name in NAMES]


@pytest.fixture(params=["at once", "one by one"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    way: str = request.param
    if way == "at once" and not has("kprobe_multi"):
        pytest.skip("kernel lacks kprobe_multi (Linux 5.18, on arm64 6.14)")
    if way == "one by one":
        monkeypatch.setattr(sys.modules[kprobes.__module__], "has", lambda name: False)
    return way


def call_all() -> None:
    for times, name in enumerate(NAMES, 1):
        make_calls(name, 10 * times)


@needs_kprobe
@pytest.mark.parametrize("ret", [False, True], ids=["entry", "return"])
def test_many_count_exactly(way: str, ret: bool) -> None:
    with new_hits() as hits:
        with kprobes(SPEC, FUNCTIONS, maps={"hits": hits}, ret=ret) as links:
            call_all()
            assert len(links) == (1 if way == "at once" else 4)
            assert links.failures == []
            assert links.missed == (0 if LINUX >= (6, 7) else None)
        call_all()
        assert hits[0] == 10 + 20 + 30 + 40


@needs_kprobe
@pytest.mark.parametrize("at_once", [False, True])
def test_every_return_is_counted_or_missed(at_once: bool, tmp_path: Path) -> None:
    """More threads are in one function at a time than there is room for."""
    if at_once and not has("kprobe_multi"):
        pytest.skip("kernel lacks kprobe_multi (Linux 5.18, on arm64 6.14)")
    room = max(10, 2 * num_possible_cpus())
    calls = room + 7
    path = tmp_path / "lock"
    path.touch()

    def lock() -> None:
        with open(path, encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)

    spec = SPEC if at_once else replace(SPEC, name="one")
    with new_hits() as hits, ExitStack() as undo:
        held = undo.enter_context(open(path, encoding="utf-8"))
        fcntl.flock(held, fcntl.LOCK_EX)
        if at_once:
            link: Link | MultiLink = kprobes(spec, function_of("flock"), maps={"hits": hits}, ret=True)
        else:
            link = kretprobe(undo.enter_context(Program.load(spec, {"hits": hits})), function_of("flock"))
        undo.enter_context(link)
        threads = [threading.Thread(target=lock) for _ in range(calls)]
        for thread in threads:
            thread.start()
        while _waiting_for_locks() < calls:
            time.sleep(0.01)
        fcntl.flock(held, fcntl.LOCK_UN)  # which is a hit that finds no room, or finds it just given back
        for thread in threads:
            thread.join()
        total = calls + 1
        if LINUX < (6, 7):
            assert link.missed is None
            return
        assert link.missed == total - hits[0]
        assert at_once or link.missed >= calls - room


@needs_kprobe
@pytest.mark.needs("kprobe_multi")
def test_missed_hits_before_they_were_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux 6.6 tells how many functions a link has, but not what it missed, although the field lies within."""
    monkeypatch.setattr(objects, "_LINK", (48, objects._LINK[1]))
    with new_hits() as hits, kprobes(SPEC, FUNCTIONS, maps={"hits": hits}) as links:
        assert links.missed is None


def _waiting_for_locks() -> int:
    with open("/proc/locks", encoding="ascii") as file:
        return sum("-> FLOCK" in line and f" {os.getpid()} " in line for line in file)


@needs_kprobe
@pytest.mark.needs("cookies")
def test_many_with_cookies(way: str) -> None:
    spec = ProgramSpec(ProgType.KPROBE, counting(key=BY_COOKIE), "counter")
    with new_hits() as hits:
        with kprobes(spec, FUNCTIONS, maps={"hits": hits}, cookies=[4, 3, 2, 1]):
            call_all()
        assert [hits[index] for index in range(6)] == [0, 40, 30, 20, 10, 0]
        with pytest.raises(BpfError, match="one cookie for each function"):
            kprobes(spec, FUNCTIONS, maps={"hits": hits}, cookies=[1])
        with pytest.raises(BpfError, match="no patterns"):
            kprobes(spec, "tcp_*", maps={"hits": hits}, cookies=[1])
        with pytest.raises(BpfError, match="again"):
            kprobes(spec, [GETPGID, GETPGID], maps={"hits": hits}, cookies=[1, 2])


@pytest.mark.parametrize("again", [GETPGID, f"vmlinux:{GETPGID}"])
def test_function_with_two_cookies(again: str) -> None:
    """A link to many has one cookie for each function."""
    found, indices, _ = find_functions([GETPGID, again], at_once=False)
    assert ([each.name for each in found], indices) == ([GETPGID], [0])
    with pytest.raises(BpfError, match=f"cookies: '{again}' is '{GETPGID}' again"):
        find_functions([GETPGID, again], at_once=False, distinct=False)


def test_two_names_of_a_function() -> None:
    by_address: dict[int, list[str]] = {}
    for function in functions_named(("memcpy", "__memcpy", "__pi_memcpy", "__pi___memcpy")):
        by_address.setdefault(function.address, []).append(function.name)
    names = next((names for address, names in by_address.items() if address and len(set(names)) > 1), None)
    if names is None:
        pytest.skip("no function is known here that has two names, or the kernel hides addresses")
    found, indices, _ = find_functions(names, at_once=False)
    assert (len(found), indices) == (1, [0])
    with pytest.raises(BpfError, match="again"):
        find_functions(names, at_once=False, distinct=False)


@needs_kprobe
def test_pattern(way: str) -> None:
    with new_hits() as hits:
        with kprobes(SPEC, function_of("getpg*"), maps={"hits": hits}) as links:
            make_calls("getpgid", 10)
            make_calls("getsid", 10)
            if way == "one by one":
                assert f"kprobe:{GETPGID}" in {link.target for link in links}
        assert hits[0] == 10


@needs_kprobe
@pytest.mark.needs("kprobe_multi")
def test_hundreds_by_one_system_call() -> None:
    with new_hits() as hits:
        with kprobes(SPEC, function_of("*"), maps={"hits": hits}) as links:
            call_all()
            assert len(links) == 1
            detail = links.links[0].info().detail
            assert detail is None or getattr(detail, "sites", 300) >= 300
        assert hits[0] >= 100


@needs_kprobe
def test_unknown_one_undoes_all(way: str) -> None:
    with new_hits() as hits:
        with pytest.raises(NotFoundError, match="no function 'no_such_function_of_pybpf'"):
            kprobes(SPEC, [*FUNCTIONS, "no_such_function_of_pybpf"], maps={"hits": hits})
        call_all()
        assert hits[0] == 0


@needs_kprobe
def test_unknown_one_is_skipped(way: str) -> None:
    with new_hits() as hits:
        names = ["no_such_function_of_pybpf", *FUNCTIONS, "bad name"]
        with kprobes(SPEC, names, maps={"hits": hits}, skip_failures=True) as links:
            call_all()
            assert [name for name, _ in links.failures] == ["no_such_function_of_pybpf", "bad name"]
            assert all(isinstance(error, NotFoundError) for _, error in links.failures)
        assert hits[0] == 100
        with pytest.raises(NotFoundError):
            kprobes(SPEC, ["no_such_function_of_pybpf"], maps={"hits": hits}, skip_failures=True)


def _untraceable() -> str:
    """A function that exists once and that the kernel lets nobody trace."""
    candidates = ("do_int3", "kprobe_ftrace_handler", "brk_handler", "do_debug_exception", "exc_int3")
    found = [function.name for function in functions_named(candidates)]
    for name in set(found).difference(traceable_functions() or ()):
        if found.count(name) == 1:
            return name
    pytest.skip("no function is known here that cannot be traced")


@needs_kprobe
def test_one_that_refuses_is_found_and_named(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the kernel does not list what can be traced, and only says that one of all is bad."""
    bad = _untraceable()
    monkeypatch.setattr(sys.modules[kprobes.__module__], "traceable_functions", lambda: None)
    names = [*FUNCTIONS[:3], bad, FUNCTIONS[3]]
    with new_hits() as hits:
        with pytest.raises(KernelError, match=bad):
            kprobes(SPEC, names, maps={"hits": hits})
        call_all()
        assert hits[0] == 0
        with kprobes(SPEC, names, maps={"hits": hits}, skip_failures=True) as links:
            call_all()
            assert [name for name, _ in links.failures] == [bad]
        assert hits[0] == 100


@needs_kprobe
@pytest.mark.needs("kprobe_multi")
def test_one_that_cannot_be_traced_is_known_before() -> None:
    with new_hits() as hits, pytest.raises(KernelError, match="does not let this function be traced"):
        kprobes(SPEC, [GETPGID, _untraceable()], maps={"hits": hits})


@needs_kprobe
def test_nothing_matches(way: str) -> None:
    with new_hits() as hits:
        with pytest.raises(NotFoundError, match=r"matches 'no_such_\*'"):
            kprobes(SPEC, "no_such_*", maps={"hits": hits})
        with pytest.raises(BpfError, match="no functions are given"):
            kprobes(SPEC, [], maps={"hits": hits})
        with pytest.raises(KernelError, match="without an offset"):
            kprobes(SPEC, [GETPGID + "+4"], maps={"hits": hits})


@needs_kprobe
def test_refused_program(way: str) -> None:
    with pytest.raises(VerifierError, match="R0 !read_ok"):
        kprobes(ProgramSpec(ProgType.KPROBE, Code([exit_()]), "wrong"), FUNCTIONS)


def test_places() -> None:
    assert kernel_place("f") == ("f", "", 0)
    assert kernel_place("m:f+0x10", 4) == ("f", "m", 20)
    assert kernel_place("f.isra.0") == ("f.isra.0", "", 0)
    assert kernel_place(0x1000, 8) == ("", "", 0x1008)
    assert str(kernel_place("m:f+16")) == "m:f+0x10"
    for function, offset in (("f", -1), ("f+0x10000000000000000", 0), (-1, 0), ((1 << 64) - 1, 1)):
        with pytest.raises(PackError, match=r"is not a number from 0 to 2\*\*64 - 1"):
            kernel_place(function, offset)
    with pytest.raises(NotFoundError):
        kernel_place("f+" + "9" * 5000)


