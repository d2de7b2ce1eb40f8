"""The pybpf command as a user meets it."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence

import pytest

from pybpf.arch import host_arch
from pybpf.asm import assemble
from pybpf.attach import raw_tracepoint
from pybpf.cli import COMMANDS
from pybpf.maps import Array, HashMap
from pybpf.prog import Program, ProgramSpec, run_time_stats
from pybpf.sys.bpf import MapFlags, ProgType
from pybpf.sys.features import has
from pybpf.sys.privilege import sysctl
from pybpf.types import u32, u64
from tests.attach.counting import counter
from tests.sys.child import refuse_by_seccomp

ISO = "%Y-%m-%dT%H:%M:%S"
NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all",
          "--bounding-set=-all"]  # fmt: skip


def pybpf(*words: str, before: Sequence[str] = (), **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*before, sys.executable, "-m", "pybpf", *words], capture_output=True, text=True, timeout=120, **options
    )  # type: ignore[call-overload, no-any-return]


def test_alone_it_lists_every_command() -> None:
    run = pybpf()
    assert run.returncode == 0
    for command in COMMANDS:
        assert f"  {command.name} " in run.stdout and command.summary in run.stdout


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_every_command_has_help(command: str) -> None:
    run = pybpf(command, "--help")
    assert run.returncode == 0 and run.stdout.startswith(f"usage: pybpf {command}")


def test_an_unknown_command_suggests_the_nearest() -> None:
    run = pybpf("sysocunt")
    assert run.returncode == 2 and run.stderr == "pybpf: no command 'sysocunt'; did you mean 'syscount'?\n"


@pytest.mark.parametrize("words", ["sysocunt", "disasm /nonexistent", "syscount --no-such-option"])
def test_errors_stay_out_of_the_output_when_there_is_nowhere_to_say_them(words: str) -> None:
    run = subprocess.run(["sh", "-c", f"exec {sys.executable} -m pybpf {words} 2>&-"], capture_output=True, text=True)
    assert (run.returncode in (1, 2), run.stdout, run.stderr) == (True, "", "")


def test_version() -> None:
    from pybpf import __version__

    assert pybpf("--version").stdout == f"pybpf {__version__}\n"


def test_assemble_and_disassemble() -> None:
    text = "r0 = 7\nif r0 > 0x5 goto pc+1\nr0 = 0\nexit\n"
    run = pybpf("asm", "-", input=text)
    assert run.returncode == 0
    code = bytes.fromhex(run.stdout)
    shown = subprocess.run([sys.executable, "-m", "pybpf", "disasm", "-"], input=code, capture_output=True, check=True)
    assert shown.stdout.decode().splitlines() == [
        "   0: (b7) r0 = 7", "   1: (25) if r0 > 0x5 goto pc+1", "   2: (b7) r0 = 0", "   3: (95) exit",
    ]  # fmt: skip


def test_wrong_text_and_missing_files_take_one_line() -> None:
    wrong = pybpf("asm", "-", input="r0 = r99\n")
    assert wrong.returncode == 1 and len(wrong.stderr.splitlines()) == 1 and "line 1" in wrong.stderr
    missing = pybpf("disasm", "/nonexistent")
    assert missing.returncode == 1
    assert missing.stderr == "pybpf disasm: No such file or directory: /nonexistent\n"


@pytest.mark.root
def test_info_as_text_and_json_agree() -> None:
    text, data = pybpf("info"), pybpf("info", "--json")
    assert (text.returncode, data.returncode, text.stderr, data.stderr) == (0, 0, "", "")
    features = json.loads(data.stdout)["features"]
    assert features["map_hash" if "map_hash" in features else "hash"]["support"] == "yes"
    rows = {words[0]: words[1] for words in map(str.split, text.stdout.splitlines()) if len(words) > 1}
    for name, feature in features.items():
        assert rows[name] == feature["support"].split()[0]


@pytest.mark.root
def test_info_has_numbers_and_lists_as_json() -> None:
    data = json.loads(pybpf("info", "--json").stdout)
    assert data["host"]["cpus_online"] > 0
    assert "CAP_SYS_ADMIN" in data["process"]["capabilities"] and data["process"]["seccomp_filter"] is False
    assert all(key.isidentifier() for part in ("host", "process", "features") for key in data[part])
    assert data["features"]["hash"]["group"] == "map"


@pytest.mark.root
@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
def test_info_says_when_a_seccomp_filter_is_in_the_way(number: int) -> None:
    run = pybpf("info", preexec_fn=lambda: refuse_by_seccomp(host_arch().nr_bpf, number))
    assert run.returncode == 1
    (line,) = run.stderr.splitlines()
    assert re.fullmatch(r"pybpf info: \d+ features could not be tried: a seccomp filter .*bpf\(2\); let the .*", line)
    assert "hash" in run.stdout and run.stdout.count("a seccomp filter of this process") <= 3


def test_info_says_once_what_is_lacking() -> None:
    run = pybpf("info", before=NOBODY)
    assert run.returncode == 1 and len(run.stderr.splitlines()) == 1
    shown = run.stdout.partition("Not allowed:")[2].splitlines()[1:]
    assert 0 < len(shown) == len(set(shown)) < 20 and all(re.match(r"  \[\d+\] E\w+: ", line) for line in shown)


@pytest.mark.root
def test_lists_tracepoints_with_their_arguments() -> None:
    run = pybpf("list", "probes", "tracepoint:syscalls:*enter_openat")
    assert (run.returncode, run.stdout) == (0, "tracepoint:syscalls:sys_enter_openat\n")
    run = pybpf("list", "probes", "-v", "t:syscalls:sys_enter_openat")
    assert run.stdout.splitlines()[:3] == [
        "tracepoint:syscalls:sys_enter_openat", "    int __syscall_nr", "    int dfd",
    ]  # fmt: skip
    row = json.loads(pybpf("list", "probes", "--json", "-v", "t:syscalls:sys_enter_openat").stdout)
    assert row["kind"] == "tracepoint" and "const char * filename" in row["arguments"]


@pytest.mark.root
@pytest.mark.parametrize("pattern", ["software:cpu-*", "uprobe:libc:malloc", "rawtracepoint:sched_switch"])
def test_lists_other_kinds(pattern: str) -> None:
    run = pybpf("list", "probes", pattern)
    assert run.returncode == 0, run.stderr
    kind, _, name = pattern.partition(":")
    assert all(line.startswith(kind + ":") for line in run.stdout.splitlines())
    assert name.rpartition(":")[2].rstrip("*") in run.stdout


@pytest.mark.root
@pytest.mark.needs("kprobe")
def test_lists_kernel_functions() -> None:
    run = pybpf("list", "probes", "kprobe:vfs_rea*")
    assert "kprobe:vfs_read" in run.stdout.splitlines()


@pytest.mark.root
@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("nosuchkind:*", "there is no kind of probe 'nosuchkind'"),
        ("tracepoint:no_such:*", "no probe matches"),
        ("uprobe:no_such_library:*", "cannot find no_such_library"),
        ("uprobe:mem*", "name a file"),
    ],
)
def test_probes_that_are_not_there(pattern: str, says: str) -> None:
    run = pybpf("list", "probes", pattern)
    assert run.returncode == 1 and says in run.stderr and len(run.stderr.splitlines()) == 1


@pytest.mark.root
def test_lists_objects_of_the_kernel() -> None:
    code = assemble("r1 = map[shown]\ncall bpf_ktime_get_ns\nr0 = 0\nexit")
    with Array(u64, max_entries=3, name="shown_map") as shown:
        spec = ProgramSpec(ProgType.SOCKET_FILTER, code, name="shown_prog")
        with Program.load(spec, {"shown": shown}) as program:
            rows = [json.loads(line) for line in pybpf("list", "programs", "--json").stdout.splitlines()]
            (row,) = (row for row in rows if row["id"] == program.id)
            assert row["uid"] == 0 and abs(time.time() - time.mktime(time.strptime(row["loaded"][:19], ISO))) < 60
            if not sysctl("bpf_stats_enabled"):
                assert row["runs"] is None and row["ns"] is None
            with run_time_stats():
                program.test_run(bytes(64), repeat=3)
            rows = [json.loads(line) for line in pybpf("list", "programs", "--json").stdout.splitlines()]
            (row,) = (row for row in rows if row["id"] == program.id)
            assert row["runs"] == 3 or not has("enable_stats")
            assert (row["name"], row["type"], row["maps"]) == ("shown_prog", "socket_filter", [shown.id])
            rows = [json.loads(line) for line in pybpf("list", "maps", "--json").stdout.splitlines()]
            (row,) = (row for row in rows if row["id"] == shown.id)
            assert (row["type"], row["key"], row["value"], row["max_entries"]) == ("array", 4, 8, 3)
            assert row["flags"] == []
            assert "shown_prog" in pybpf("list", "programs").stdout
            shown_text = pybpf("disasm", "--id", str(program.id)).stdout
            assert f"map[id:{shown.id}]" in shown_text and shown_text.splitlines()[-1].endswith("exit")
            # the kernel replaces the helper's number by where its function is
            assert re.search(r"call bpf_ktime_get_ns#-?\d+$", shown_text, re.MULTILINE)


@pytest.mark.root
@pytest.mark.needs("raw_tp")
def test_lists_links_as_data() -> None:
    with counter(ProgType.RAW_TRACEPOINT) as made, raw_tracepoint(made.program, "task_newtask") as link:
        rows = [json.loads(line) for line in pybpf("list", "links", "--json").stdout.splitlines()]
        (row,) = (row for row in rows if row["id"] == link.info().id)
        assert row["program"] == made.program.id and row["type"] == "raw_tracepoint"
        assert row["target"] == {"kind": "rawtracepoint", "name": "task_newtask"}
        (line,) = (x for x in pybpf("list", "links").stdout.splitlines() if x.split()[0] == str(link.info().id))
        assert line.split()[-1] == "rawtracepoint:task_newtask"


@pytest.mark.root
def test_flags_of_maps_are_named() -> None:
    with HashMap(u32, u64, name="flagged", flags=MapFlags.NO_PREALLOC) as made:
        rows = [json.loads(line) for line in pybpf("list", "maps", "--json").stdout.splitlines()]
        (row,) = (row for row in rows if row["id"] == made.id)
        assert row["flags"] == ["no_prealloc"]


@pytest.mark.root
@pytest.mark.parametrize(
    "words",
    [["info"], ["list", "programs"], ["list", "maps"], ["list", "links"], ["list", "probes", "tracepoint:sched:*"],
     ["syscount", "-d", "1"], ["disasm", "--id", "1"]],
    ids=" ".join,
)  # fmt: skip
def test_without_privileges_one_line_says_what_is_lacking(words: list[str]) -> None:
    run = pybpf(*words, before=NOBODY)
    assert run.returncode == 1
    (line,) = run.stderr.splitlines()
    assert line.startswith("pybpf ") and ("CAP_" in line or "root" in line)


def test_a_user_namespace_is_named() -> None:
    """There, uid 0 is not what counts."""
    run = pybpf("syscount", "-d", "1", before=["unshare", "-Ur"])
    if "unshare" in run.stderr:
        pytest.skip("may not make a user namespace")
    assert run.returncode == 1
    (line,) = run.stderr.splitlines()
    assert "it is in a user namespace of its own" in line
    assert line.endswith("run it outside of the user namespace, as root")


def test_output_into_a_closed_pipe_is_quiet() -> None:
    read, write = os.pipe()
    os.close(read)
    run = subprocess.run(
        [sys.executable, "-m", "pybpf", "syscount", "-l"], stdout=write, stderr=subprocess.PIPE, timeout=120
    )
    os.close(write)
    assert (run.returncode, run.stderr) == (0, b"")


@pytest.mark.root
@pytest.mark.parametrize("number", ["-1", "0", "99999999999999", "4294967297"])
def test_ids_that_no_program_can_have(number: str) -> None:
    run = pybpf("disasm", "--id", number)
    assert run.returncode == 1 and run.stderr == f"pybpf disasm: there is no program with id {number}\n"


@pytest.mark.parametrize("command", ["asm", "disasm"])
def test_input_without_end_is_refused(command: str) -> None:
    run = pybpf(command, "/dev/zero")
    assert run.returncode == 1 and run.stderr.startswith(f"pybpf {command}: /dev/zero has more than ")


def test_names_that_the_terminal_cannot_show_are_escaped() -> None:
    code = "import pybpf.cli.asm; pybpf.cli.asm.main = lambda _: print('sl\\xe9ep'); pybpf.cli.main(['asm'])"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": os.getcwd()}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (run.stdout, run.stderr) == ("sl\\xe9ep\n", "")


def test_without_standard_output_there_is_no_traceback() -> None:
    run = subprocess.run(
        ["sh", "-c", '"$0" -m pybpf --version >&-', sys.executable], capture_output=True, text=True, timeout=120
    )
    assert "Traceback" not in run.stderr
