"""What bpftool shows of a tracer: typed keys and values of its maps, lines of Python in its programs."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pybpf import Struct, Tracer, char, u8, u16, u32, u64
from pybpf.lang import comm, pid
from tests.attach.targets import Caller

pytestmark = [
    pytest.mark.root,
    pytest.mark.needs("uprobe"),
    pytest.mark.skipif(not shutil.which("bpftool"), reason="bpftool is not installed"),
]


class Name(Struct):
    length: u16
    text: char[6]


class Key(Struct):
    pid: u32
    comm: char[16]


class Value(Struct):
    count: u64
    name: Name
    bytes: u8[4]


class Traced:
    """A tracer with a map of each shape, which has seen one call of its process."""

    def __init__(self, process: Caller) -> None:
        tracer = self.tracer = Tracer(pid=process.pid)
        numbers = self.numbers = tracer.hash(u32, u64)
        texts = self.texts = tracer.hash(char[16], u64)
        structs = self.structs = tracer.hash(Key, Value)
        pairs = self.pairs = tracer.hash((u32, char[16]), u64)
        stats = self.stats = tracer.stats(key=u32)

        @tracer.uprobe("libc.so.6", "getppid")
        def on_call() -> None:
            numbers[7] = 5
            texts[comm()] = 1
            structs[Key(pid(), comm())] = Value(7, Name(3, "abc"))
            pairs[pid(), comm()] = 2
            stats[7].add(40)


@pytest.fixture(scope="module")
def process() -> Iterator[Caller]:
    with Caller() as made:
        yield made


@pytest.fixture(scope="module")
def traced(process: Caller) -> Iterator[Traced]:
    made = Traced(process)
    with made.tracer:
        process.call(1)
        yield made


def bpftool(*arguments: object) -> Any:
    """What a command of bpftool prints, from JSON."""
    done = subprocess.run(["bpftool", "-j", *map(str, arguments)], check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def dump(owner: Any) -> Any:
    """The only entry of a map, typed."""
    (entry,) = bpftool("map", "dump", "id", owner.map.id)
    return entry["formatted"]


def test_keys_and_values_are_typed(traced: Traced, process: Caller) -> None:
    name = Path(f"/proc/{process.pid}/comm").read_text().strip()
    assert dump(traced.numbers) == {"key": 7, "value": 5}
    assert dump(traced.texts) == {"key": name, "value": 1}
    value = {"count": 7, "name": {"length": 3, "text": "abc"}, "bytes": [0, 0, 0, 0]}
    assert dump(traced.structs) == {"key": {"pid": process.pid, "comm": name}, "value": value}
    assert dump(traced.pairs) == {"key": {"part0": process.pid, "part1": name}, "value": 2}
    per_cpu = [each["value"] for each in dump(traced.stats)["values"]]
    assert {"count": 1, "total": 40, "min": 40, "max": 40} in per_cpu
    assert sum(each["count"] for each in per_cpu) == 1


def test_programs_show_lines_of_python(traced: Traced) -> None:
    number = traced.numbers.map.id
    (found,) = [each["id"] for each in bpftool("prog", "show") if number in each.get("map_ids", ())]
    insns = bpftool("prog", "dump", "xlated", "id", found, "linum")
    here = Path(__file__)
    lines = here.read_text().splitlines()
    shown = {(each["file"], each["line_num"]): each["src"] for each in insns if "src" in each}
    assert {Path(file).name for file, _ in shown} == {here.name}
    assert all(lines[at - 1].strip() == text for (_, at), text in shown.items())
    assert "structs[Key(pid(), comm())] = Value(7, Name(3, \"abc\"))" in shown.values()
