"""profile: a process that spends its time in known functions is seen to do so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.conftest import IN_VM
from tests.programs.cases import Running, run

pytestmark = [pytest.mark.root, pytest.mark.generic]
#: nearly all of its time is in one function of the C library, or in one system call
WORK = {
    "user": "b = ctypes.create_string_buffer(1 << 20)\nwhile 1: libc.memfrob(b, 1 << 20)",
    "kernel": "f = os.open('/dev/zero', os.O_RDONLY); b = bytearray(1 << 22)\nwhile 1: os.readv(f, [b])",
}
#: samples that say something about shares; an emulated processor of arm64 takes one in some seconds
ENOUGH = 8 if IN_VM else 20


@contextmanager
def busy(kind: str) -> Iterator[int]:
    """A process that is busy: its id."""
    code = f"import ctypes, os; libc = ctypes.CDLL(None)\nprint('ready', flush=True)\n{WORK[kind]}"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline() == b"ready\n"
    try:
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def samples_of(*options: str) -> list[dict[str, Any]]:
    """What the tool says until there are enough samples."""
    tool = Running("profile", "--json", "-F", "99", "-i", "0.3", *options)
    assert tool.process.stdout
    found: list[dict[str, Any]] = []
    while sum(each["count"] for each in found) < ENOUGH:
        found += json.loads(tool.process.stdout.readline())["stacks"]
    for line in tool.stop():
        found += json.loads(line)["stacks"]
    return found


def unexpected(err: str) -> list[str]:
    """What is said besides that two of many stacks wanted the same place."""
    return [line for line in err.splitlines() if "stacks could not be kept" not in line]


def share(found: list[dict[str, Any]], where: str, name: str) -> float:
    """The part of the samples that have a function."""
    having = sum(each["count"] for each in found if any(name in frame for frame in each[where]))
    return having / sum(each["count"] for each in found)


def test_time_in_a_library() -> None:
    with busy("user") as pid:
        found = samples_of("-p", str(pid))
    assert share(found, "user", "memfrob") > 0.7
    assert {each["pid"] for each in found} == {pid}


def test_time_in_the_kernel() -> None:
    with busy("kernel") as pid:
        found = samples_of("-K", "-p", str(pid))
    assert share(found, "kernel", "readv") > 0.7 and all("user" not in each for each in found)


@pytest.mark.native
def test_several_processes_by_threads() -> None:
    with busy("user") as one, busy("user") as other:
        found = samples_of("-L", f"{one},{other}", "-U")
        processes = samples_of("-p", f"{one},{other}", "-U")
    assert {each["pid"] for each in found} == {each["pid"] for each in processes} == {one, other}
    assert share(found, "user", "memfrob") > 0.7


@pytest.mark.native
def test_text_as_bcc_prints_it() -> None:
    with busy("kernel") as pid:
        comm = Path(f"/proc/{pid}/comm").read_text().strip()
        found = run("profile", "-a", "-d", "-c", "1000000", "-p", str(pid), "1.5")
    assert found.returncode == 0 and not unexpected(found.stderr)
    first, empty, *lines = found.stdout.splitlines()
    assert first == f"Sampling every 1000000 events of PID {pid} by user + kernel stack for 1.5 secs." and not empty
    counts: Counter[str] = Counter()
    block: list[str] = []
    for line in lines:
        if line:
            block.append(line)
            continue
        assert block[-2] == f"    {'-':<16} {comm} ({pid})" and block[-1].startswith("        ")
        assert all(each.startswith("    ") and not each.startswith("     ") for each in block[:-1])
        kernel = [each for each in block[:-2] if each.endswith("_[k]")]
        assert block[: len(kernel)] == kernel
        if kernel and len(block) > len(kernel) + 2:
            assert block[len(kernel)] == "    --"
        counts["kernel" if kernel else "user"] += int(block[-1])
        block = []
    assert counts["kernel"] > counts["user"] > -1 and sum(counts.values()) > 10


@pytest.mark.native
def test_pictures(tmp_path: Path) -> None:
    files = {form: str(tmp_path / form) for form in ("flamegraph", "speedscope", "pprof")}
    options = [word for form, path in files.items() for word in (f"--{form}", path)]
    with busy("user") as pid:
        found = run("profile", "-f", "-d", "-a", "-F", "999", *options, "-p", str(pid), "--duration", "1.5")
    assert found.returncode == 0 and not unexpected(found.stderr)
    lines = [line.rpartition(" ") for line in found.stdout.splitlines()]
    total = sum(int(count) for _, _, count in lines)
    assert total > 10 and sum(int(count) for stack, _, count in lines if "memfrob" in stack) > total * 0.7
    tree = ElementTree.parse(files["flamegraph"])
    assert any("memfrob" in text for text in tree.getroot().itertext())
    scope = json.loads(Path(files["speedscope"]).read_text())
    assert any("memfrob" in frame["name"] for frame in scope["shared"]["frames"])
    assert sum(scope["profiles"][0]["weights"]) == total
    assert Path(files["pprof"]).read_bytes()[:2] == b"\x1f\x8b"


@pytest.mark.native
def test_a_command_that_has_ended_has_names() -> None:
    code = WORK["user"].replace("while 1:", "import time; end = time.time() + 2\nwhile time.time() < end:")
    found = run("profile", "-U", "-f", "-F", "199", "--exec", sys.executable, "-S", "-c",
                f"import ctypes; libc = ctypes.CDLL(None)\n{code}")  # fmt: skip
    assert found.returncode == 0 and "memfrob" in found.stdout, found.stderr


@pytest.mark.native
@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["-K", "-U"], 2, "exclude each other"),
        (["5", "--duration", "6"], 2, "two durations"),
        (["-F", "0"], 2, "no whole number from 1"),
        (["-p", f"{os.getpid()},999999999"], 2, "there is no process or thread 999999999"),
        (["-C", "4095", "-p", str(os.getpid())], 2, "no CPU 4095"),
        (["-F", "99", "-c", "1000"], 2, "--frequency and --count exclude each other"),
        (["-F", "99999999", "-p", str(os.getpid())], 1, "perf_event_max_sample_rate"),
        (["--flamegraph", "/nonexistent/out.svg"], 2, "/nonexistent"),
    ],
)
def test_wrong_options_are_explained(arguments: list[str], code: int, says: str) -> None:
    found = run("profile", *arguments)
    assert found.returncode == code and says in found.stderr and "Traceback" not in found.stderr


@pytest.mark.skipif(not os.environ.get("PYBPF_VM_KERNEL"), reason="samples the whole host")
def test_the_whole_host_and_idle_cpus() -> None:
    found = run("profile", "-I", "-C", "0", "-F", "99", "-K", "3")
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("Sampling at 99 Hertz of all threads by kernel stack on CPU#0 for 3 secs.\n")
    assert "swapper/0 (0)" in found.stdout
    without = run("profile", "-F", "99", "2")
    assert without.returncode == 0 and "swapper" not in without.stdout
