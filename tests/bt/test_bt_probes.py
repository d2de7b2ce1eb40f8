"""Every kind of probe fires, on programs that the tests start; what each can tell."""

from __future__ import annotations

import ctypes
import mmap
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import pybpf.bt
from pybpf.bt.runtime.events import Warned
from pybpf.bt.show.text import event_text
from pybpf.errors import BpfError, CompileError, NotFoundError
from pybpf.symbols import find_binary
from pybpf.symbols.elf import ElfFile
from tests.attach.targets import ROUNDS, finish, native_program, waiting
from tests.bt.harness import Done, command, traced

pytestmark = pytest.mark.root

SUM = ROUNDS * (ROUNDS + 1) // 2


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> str:
    return native_program(tmp_path_factory.mktemp("native") / "native")


def run(script: str, native: str) -> Done:
    """Trace the native program."""
    with waiting([native]) as process:
        return traced(script.replace("FILE", native), lambda: finish(process), pid=process.pid)


def test_uprobes_at_functions_offsets_and_addresses(native: str) -> None:
    done = run(
        "uprobe:FILE:work { @n = count(); @sum = sum(arg0); @at[func] = count(); }"
        "uprobe:FILE:work+0 { @offset = count(); } uretprobe:FILE:work { @ret = sum(retval); }"
        "uprobe:FILE:wor* { @many = count(); @[probe] = count(); }",
        native,
    )
    assert (done.maps["n"], done.maps["sum"], done.maps["offset"], done.maps["many"]) == (ROUNDS, SUM, ROUNDS, ROUNDS)
    assert done.maps["at"] == {"work": ROUNDS}
    assert done.maps[""] == {f"uprobe:{native}:work": ROUNDS}


def live_text(script: str, act: Callable[[], object], pid: int) -> str:
    """What a script prints that only a script that is running can print: stacks."""
    with pybpf.bt.run(script, pid=pid) as running:
        act()
        return "".join(map(event_text, [*running.events(0), *running.stop()]))


def test_stacks_in_each_mode(native: str) -> None:
    with waiting([native]) as process:
        text = live_text(
            f'uprobe:{native}:work /@n < 1/ {{ @n = 1; printf("%s%s%s", ustack(1), ustack(perf, 1), ustack(raw, 1));'
            ' @stack = ustack(1); $own = ustack(1); printf("%d %d", len(@stack), len($own)); }',
            lambda: finish(process),
            process.pid,
        )
    named, perf, raw, depths = *text.split("\n")[1::2][:3], text.rpartition("\n")[2]
    assert re.fullmatch(r"[0-9a-f]+", raw)
    assert (named, perf, depths) == ("        work+0", f"\t{raw} work+0 ({native})", "1 1")


@pytest.mark.native
def test_stacks_as_places_in_files() -> None:
    """The build id is the one that readelf shows."""
    libc = find_binary("libc.so.6").path
    with ElfFile(libc) as elf:
        offset = elf.file_offset(elf.functions("strtol")[0].address)
        place = f"{elf.build_id} 0x{offset:x}"
    act = ctypes.CDLL(None).strtol
    text = live_text("uprobe:libc:strtol { print(ustack(build_id, 1)); }", lambda: act(b"7", None, 10), os.getpid())
    assert text.strip() == place


def test_patterns_of_files(native: str) -> None:
    """Of the file system, and of what a process has mapped."""
    folder, name = os.path.split(native)
    (Path(folder) / f"{name}.txt").write_text("no program")
    for target in (f"{folder}/{name[:3]}*", "*"):
        with waiting([native]) as process:
            done = traced(
                f"uprobe:{target}:work {{ @[probe] = count(); }} usdt:{target}:p:many {{ @usdt = count(); }}",
                lambda: finish(process),
                pid=process.pid,
            )
        assert done.maps == {"": {f"uprobe:{native}:work": ROUNDS}, "usdt": 2 * ROUNDS}
    assert f"uprobe:{native}:work" in command("-l", f"uprobe:{folder}/{name[:3]}*:w*").stdout.splitlines()
    with pytest.raises(CompileError, match=r"-p PID looks in what a process has mapped"):
        pybpf.bt.compile_script("uprobe:*:work { }")


def test_usdt_arguments_of_all_sites(native: str) -> None:
    done = run(
        "usdt:FILE:p:many { @n = count(); @first = sum(arg0); @second = sum(arg1); @[probe] = count(); }"
        " usdt:FILE:guarded { @guarded = count(); } usdt:FILE:p:m* { @pattern = count(); }",
        native,
    )
    assert (done.maps["n"], done.maps["first"], done.maps["second"]) == (2 * ROUNDS, 2 * SUM, -5 * 2 * ROUNDS)
    assert done.maps["guarded"] == ROUNDS and done.maps["pattern"] == 2 * ROUNDS
    assert done.maps[""] == {f"usdt:{native}:p:many": 2 * ROUNDS}


@pytest.mark.needs("iter")
def test_iterators_lose_nothing() -> None:
    done = traced(
        f"iter:task {{ @n = count(); if (ctx.task.tgid == {os.getpid()}) {{"
        ' printf("%s %d\\n", ctx.task.comm, ctx->task->pid); } } end { printf("end"); }'
    )
    comm = Path("/proc/self/comm").read_text().strip()
    assert f"{comm} {os.getpid()}\n" in done.text and done.text.endswith("end")
    assert done.maps["n"] >= 1
    flood = command("-e", 'iter:task { @n[ctx.task.pid] = 1; for ($i : 0..100) { printf("%s\\n", "=".repeat(100)); } }')
    assert flood.returncode == 0, flood.stderr
    # the kernel asks again for an object whose text did not fit; what it then has is whole
    assert flood.stdout.count("=" * 100 + "\n") == 100 * flood.stdout.count("@n[")


def test_watchpoint() -> None:
    number = ctypes.c_uint64()
    address = ctypes.addressof(number)

    def act() -> None:
        for value in range(3):
            number.value = value

    try:
        done = traced(f"watchpoint:{address}:8:w {{ @ = count(); }}", act)
    except BpfError as error:
        pytest.skip(f"no debug registers here: {error}")
    assert done.maps[""] == 3


@pytest.mark.needs("tp_btf")
def test_raw_tracepoints_are_typed() -> None:
    done = traced(
        "rawtracepoint:sys_enter /args.id == 121 || args.id == 155/ { @ = count(); @comm = curtask.comm;"
        " @nr[arg1] = count(); }",
        lambda: [os.getpgid(0) for _ in range(3)],
    )
    assert done.maps[""] == 3


def test_tests_and_self_are_run_by_user_space() -> None:
    script = "test:one { @ = count(); } self:signal:SIGUSR1 { @self = count(); } bench:b { @b = count(); }"
    with pybpf.bt.run(script) as it:
        assert (it.run("test"), it.run("self"), it.run("self")) == (1, 1, 1)
        assert {name: found.value for name, found in it.maps.items()} == {"": 1, "self": 2, "b": None}


def test_software_events() -> None:
    def act() -> None:
        with mmap.mmap(-1, 64 * mmap.PAGESIZE) as memory:
            for at in range(64):
                memory[at * mmap.PAGESIZE] = 1

    assert traced("software:page-faults:1 { @ = count(); }", act).maps[""] >= 64


def test_interval_units() -> None:
    assert traced("interval:us:20000 { @ = count(); } i:hz:50 { @hz = count(); } i:20ms { @ms = count(); }",
                  lambda: time.sleep(0.3)).maps.keys() == {"", "hz", "ms"}  # fmt: skip


@pytest.mark.needs("kprobe")
def test_kprobes() -> None:
    script = (
        "kprobe:vfs_fstat* { @many = count(); } kprobe:vfs_write { @[probe, func] = count(); @n = count();"
        " @size = sum(arg2); @named = sum(args.count); @from = ((struct file *)arg0)->f_inode->i_mode; }"
        " kretprobe:vfs_write { @ret = sum(retval); } kprobe:vmlinux:vfs_writ* { @module = count(); }"
    )
    read, write = os.pipe()
    try:
        done = traced(script, lambda: [os.write(write, b"12345") for _ in range(4)])
    finally:
        os.close(read)
        os.close(write)
    assert (done.maps["n"], done.maps["size"], done.maps["named"], done.maps["ret"]) == (4, 20, 20, 20)
    assert done.maps[""] == {("kprobe:vfs_write", "vfs_write"): 4}


@pytest.mark.needs("fentry")
def test_fentry() -> None:
    read, write = os.pipe()
    try:
        done = traced(
            "fentry:vfs_write { @n = count(); @size = sum(args.count); } fexit:vfs_write { @ret = sum(retval);"
            " @both = sum(args.count); }",
            lambda: [os.write(write, b"12345") for _ in range(4)],
        )
    finally:
        os.close(read)
        os.close(write)
    assert done.maps == {"n": 4, "size": 20, "ret": 20, "both": 20}


_NO_FUNCTION = "uprobe:libc:no_such_function"


def test_missing_probes() -> None:
    script = "tracepoint:syscalls:sys_enter_none { @a = count(); } begin { @b = 1; }"
    warn, ignore = {"missing_probes": "warn"}, {"missing_probes": "ignore"}
    with pytest.raises(CompileError, match=r'sys_enter_none.*; config = \{ missing_probes = "warn" \} goes on'):
        pybpf.bt.compile_script(script)
    compiled = pybpf.bt.compile_script(script, settings=warn)
    assert [each.checked.place.name for each in compiled.built] == ["begin"]
    assert ["sys_enter_none" in each.message for each in compiled.warnings] == [True]
    assert not pybpf.bt.compile_script(script, settings=ignore).warnings
    several = "tracepoint:syscalls:sys_enter_none, tracepoint:syscalls:sys_enter_getpgid { @a = args.pid; }"
    assert len(pybpf.bt.compile_script(several, settings=warn).built) == 1
    with pytest.raises(CompileError, match="sys_enter_none"):
        pybpf.bt.compile_script("tracepoint:syscalls:sys_enter_none { @a = 1; }", settings=ignore)


def test_patterns_may_match_nothing_where_the_probe_has_another_place() -> None:
    nothing = "tracepoint:syscalls:sys_enter_none*"
    script = f"{nothing}, tracepoint:syscalls:sys_enter_getpgid {{ @ = count(); }}"
    assert traced(script, lambda: os.getpgid(0)).maps == {"": 1}
    with pytest.raises(CompileError, match="no tracepoint matches syscalls:sys_enter_none"):
        pybpf.bt.compile_script(f"{nothing} {{ @ = count(); }} begin {{ }}")


def test_what_cannot_be_attached_is_left_out_where_it_may_be() -> None:
    script = f"{_NO_FUNCTION} {{ @a = count(); }} begin {{ @b = 1; }}"
    with pytest.raises(NotFoundError, match="no_such_function"):
        traced(script)
    done = traced(script, settings={"missing_probes": "warn"})
    assert done.maps == {"a": None, "b": 1}
    (warned,) = done.events
    assert isinstance(warned, Warned) and "no function no_such_function" in warned.message
    assert (warned.severity, warned.place) == ("WARNING", f"<script>:1:1-{len(_NO_FUNCTION) + 1}")
    done = traced(script, settings={"missing_probes": "ignore"})
    assert (done.maps, done.events) == ({"a": None, "b": 1}, [])
    with pytest.raises(NotFoundError, match="no_such_function"):  # nothing is left
        traced(f"{_NO_FUNCTION} {{ @a = count(); }}", settings={"missing_probes": "ignore"})


@pytest.mark.parametrize("probe", [_NO_FUNCTION, "rawtracepoint:sched_swich", "tracepoint:sched:sched_swich",
                                   "fentry:vfs_reed", "kprobe:vfs_reed", "usdt:libc:no:such"])  # fmt: skip
def test_errors_of_probes_point_at_them(probe: str) -> None:
    done = command("-e", f"begin {{ }}\n{probe} {{ }}")
    assert (done.returncode, done.stdout) == (1, "")
    head, line, mark = done.stderr.splitlines()
    assert head.startswith(f"stdin:2:1-{len(probe) + 1}: ERROR: ")
    assert (line, mark) == (f"{probe} {{ }}", "~" * len(probe))


@pytest.mark.parametrize(("setting", "script", "message"), [
    ("max_probes", "begin { } tracepoint:syscalls:sys_enter_g* { }", r"the script has \d+ probes, more than 2;"),
    ("max_bpf_progs", "begin { } end { } tracepoint:syscalls:sys_enter_g* { }", r"has 3 programs, more than 2;"),
])  # fmt: skip
def test_there_are_no_more_probes_than_allowed(setting: str, script: str, message: str) -> None:
    with pytest.raises(CompileError, match=message) as raised:
        pybpf.bt.compile_script(script, settings={setting: 2})
    assert raised.value.column == script.index("tracepoint") + 1
    pybpf.bt.compile_script(script, settings={setting: 1000})


def test_probes_go_by_the_names_that_the_script_gives_them() -> None:
    script = 'mine=begin { printf("%s\\n", probe); } yours=tracepoint:syscalls:sys_enter_getpg* { @[probe] = count(); }'
    done = traced(script, lambda: os.getpgid(0))
    assert (done.text, done.maps[""]) == ("mine\n", {"yours": 1})


def test_all_arguments_together() -> None:
    done = traced(
        "tracepoint:syscalls:sys_enter_getpriority { print(args); @ = args; }",
        lambda: os.getpriority(os.PRIO_PROCESS, os.getpid()),
    )
    assert re.fullmatch(rf"\{{ .*\.which = 0, \.who = {os.getpid()} \}}\n", done.text)
    assert done.maps[""]["who"] == os.getpid()


_SOURCE = """
#include <stdio.h>
enum color { RED, GREEN = 5 };
struct point { int x; unsigned low : 3, high : 5; struct { long inner; }; char name[8]; struct point *next; };
__attribute__((noinline)) long work(struct point *p, int count, double factor, enum color c, const char *text) {
  long sum = p->x + count + (long)factor;
  return sum + c + text[0];
}
int main(void) {
  struct point second = {7, 1, 2, {-3}, "two", 0}, first = {-5, 6, 17, {40}, "one", &second};
  for (int i = 0; i < 3; i++) printf("%ld", work(&first, i, 1.5, GREEN, "text"));
  return 0;
}
"""


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A program with debug information."""
    if shutil.which("gcc") is None:
        pytest.skip("there is no gcc")
    folder = tmp_path_factory.mktemp("described")
    (folder / "work.c").write_text(_SOURCE)
    subprocess.run(["gcc", "-g", "-O0", "-o", folder / "work", folder / "work.c"], check=True)
    return str(folder / "work")


def test_uprobe_arguments_by_name(described: str) -> None:
    script = (
        f"uprobe:{described}:work {{ @sum = sum(args.count); @x = args.p.x; @bits = (args.p->low, args.p.high);"
        " @inner = args.p.inner; @name = args.p.name; @next = (args.p.next.x, args.p.next->inner);"
        " @c = args.c; @text = str(args.text); }"
    )
    done = command("-q", "-c", described, "-e", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.partition("\n\n")[2].splitlines() == [
        "@bits: (6, 17)", "@c: GREEN", "@inner: 40", "@name: one", "@next: (7, -3)", "@sum: 3", "@text: text", "@x: -5",
    ]  # fmt: skip


def test_uprobe_at_a_line(described: str) -> None:
    line = _SOURCE.splitlines().index("  long sum = p->x + count + (long)factor;") + 1
    done = command("-q", "-c", described, "-e", f"uprobe:{described}@work.c:{line} {{ @ = count(); }}")
    assert done.stdout.endswith("@: 3\n"), done.stderr
    with pytest.raises(CompileError, match="no code of"):
        pybpf.bt.compile_script(f"uprobe:{described}@work.c:1 {{ }}")


def test_functions_without_debug_information(native: str) -> None:
    with pytest.raises(CompileError, match="no debug information"):
        pybpf.bt.compile_script(f"uprobe:{native}:work {{ @ = args.n; }}")


def test_fields_of_tracepoints_have_the_types_that_c_has() -> None:
    """Pointers to pointers of a process, and the names of an enumeration's values."""
    done = command(
        "-q", "-c", "/bin/sh -c 'exec /bin/true two'", "-e",
        'tracepoint:syscalls:sys_enter_execve /pid == cpid && str(args.argv[0]) == "/bin/true"/ {'
        ' $all = args.argv; printf("%s %s\\n", str($all[1]), str(*$all)); }',
    )  # fmt: skip
    assert done.stdout.strip() == "two /bin/true", done.stderr
