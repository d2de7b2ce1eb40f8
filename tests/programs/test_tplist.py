"""tplist: USDT probes of a file that the test makes and of processes; tracepoints that every kernel has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs.cases import run
from tests.symbols.elfmaker import BASE, CODE, DATA, Elf, usdt_note

pytestmark = [pytest.mark.native]


@pytest.fixture
def library(tmp_path: Path) -> str:
    notes = usdt_note("p:one", BASE + CODE + 4, "8@%rax -4@-80(%rbx,%rcx,4)", BASE + DATA + 2)
    notes += usdt_note("p:two", BASE + CODE + 8) + usdt_note("p:one", BASE + CODE + 12, "4@$7 8f@%xmm0")
    notes += usdt_note("q:\x1b[31m", BASE + CODE + 12)
    return Elf(notes=notes, data=bytes(16), machine="x86_64").write(tmp_path / "lib.so")


def listed(*options: str) -> list[str]:
    found = run("tplist", *options)
    assert found.returncode == 0, found.stderr
    return found.stdout.splitlines()


def test_probes_of_a_file(library: str) -> None:
    assert listed("-l", library) == [f"{library} p:one", f"{library} p:two", f"{library} q:\\x1b[31m"]
    assert listed("-l", library, "-v", "one") == [
        f"p:one [sema {BASE + DATA + 2:#x}]", "  2 location(s)", "  2 argument(s)",
    ]  # fmt: skip
    lines = listed("-l", library, "-vv", "p:o*")
    unreadable = lines.pop()
    assert lines == [
        f"p:one [sema {BASE + DATA + 2:#x}]", "  2 location(s)",
        f"  location #1 {library} {BASE + CODE + 4:#x}",
        "    argument #1 8 unsigned bytes @ ax",
        "    argument #2 4 signed bytes @ *(bx + cx * 4 - 80)",
        f"  location #2 {library} {BASE + CODE + 12:#x}",
        "    argument #1 4 unsigned bytes @ 7",
    ]  # fmt: skip
    assert unreadable.startswith("    argument #2 8 ") and "nowhere that can be read" in unreadable
    (line,) = listed("-l", library, "--json", "p:two")
    assert json.loads(line) == {
        "path": library, "provider": "p", "name": "two", "semaphore": 0,
        "locations": [{"address": BASE + CODE + 8, "offset": CODE + 8, "arguments": []}],
    }  # fmt: skip


def test_probes_of_a_process(library: str) -> None:
    maps = f"import mmap; f = open({library!r}, 'rb'); m = mmap.mmap(f.fileno(), 0, prot=5)"
    waits = "print('up', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", f"{maps}; {waits}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout and process.stdout.readline() == b"up\n"
        assert f"{library} p:two" in listed("-p", str(process.pid))
        assert listed("-p", str(process.pid), "p:tw?") == [f"{library} p:two"]
        process.communicate(b"\n")


@pytest.mark.root
def test_tracepoints() -> None:
    names = listed("sched:sched_process_*")
    assert {"sched:sched_process_exec", "sched:sched_process_exit", "sched:sched_process_fork"} <= set(names)
    lines = listed("-v", "sched:sched_process_fork")
    assert lines[0] == "sched:sched_process_fork" and "    pid_t child_pid;" in lines
    (line,) = listed("--json", "sched:sched_process_fork")
    assert "pid_t child_pid" in json.loads(line)["fields"]


def test_what_is_not_there(library: str) -> None:
    for options, says in (
        (["-l", library, "nosuch"], "nothing matches 'nosuch'"),
        (["-l", "/no/such/file"], "/no/such/file"),
        (["-l", "/etc/passwd"], "/etc/passwd"),
        (["-p", str(os.getpid()), "-l", "nosuchlibrary"], "nosuchlibrary"),
    ):
        found = run("tplist", *options)
        assert found.returncode == 1 and says in found.stderr and len(found.stderr.splitlines()) == 1
