"""Filters by control groups and mount namespaces that a pinned map names, as BCC's special filtering has them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pybpf.maps import HashMap
from pybpf.types import u32, u64
from tests.programs.cases import Running, run
from tests.programs.workload import Caller

pytestmark = [pytest.mark.root, pytest.mark.native, pytest.mark.needs("btf_vmlinux")]


@pytest.fixture
def maps(bpffs: Path) -> Iterator[tuple[HashMap, HashMap]]:
    """Of groups, with the values that BCC's documentation gives them, and of mount namespaces; pinned."""
    with HashMap(u64, u64, 16, name="groups") as groups, HashMap(u64, u32, 16, name="namespaces") as namespaces:
        groups.pin(bpffs / "groups")
        namespaces.pin(bpffs / "namespaces")
        yield groups, namespaces
        (bpffs / "groups").unlink()
        (bpffs / "namespaces").unlink()


def group_of(pid: int) -> int:
    """The id of its control group of version 2."""
    path = next(line[3:] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines() if line.startswith("0::"))
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    root = next(words[1] for words in mounts if words[2] == "cgroup2")
    return os.stat(root + path).st_ino


def test_only_what_the_maps_name_is_traced(maps: tuple[HashMap, HashMap], bpffs: Path) -> None:
    groups, namespaces = maps
    paths = ["--cgroupmap", str(bpffs / "groups"), "--mntnsmap", str(bpffs / "namespaces")]
    with Caller() as caller:
        tools = {
            name: Running("opensnoop", "-p", str(caller.pid), "--json", *options)
            for name, options in (("group", paths[:2]), ("namespace", paths[2:]), ("both", paths))
        }
        for tool in tools.values():
            tool.attached()
        caller.call("open,'/nonexistent/none,0")
        groups[group_of(caller.pid)] = 0
        caller.call("open,'/nonexistent/group,0")
        namespaces[os.stat(f"/proc/{caller.pid}/ns/mnt").st_ino] = 0
        caller.call("open,'/nonexistent/both,0")
        del groups[group_of(caller.pid)]
        caller.call("open,'/nonexistent/namespace,0")
        found = {name: [json.loads(line)["path"][13:] for line in tool.stop()] for name, tool in tools.items()}
    assert found == {"group": ["group", "both"], "namespace": ["both", "namespace"], "both": ["both"]}


def test_a_map_that_cannot_be(bpffs: Path) -> None:
    found = run("opensnoop", "--cgroupmap", str(bpffs / "nothing"))
    assert found.returncode == 1 and "nothing" in found.stderr and len(found.stderr.splitlines()) == 1
    with HashMap(u32, u64, 16) as wrong:
        wrong.pin(bpffs / "wrong")
        found = run("execsnoop", "--mntnsmap", str(bpffs / "wrong"))
        (bpffs / "wrong").unlink()
    assert found.returncode == 1 and "has 4 bytes, but u64 has 8\n" in found.stderr and found.stderr.count("\n") == 1
