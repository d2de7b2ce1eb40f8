"""Containers are found through /proc, by name and id; control groups limit what is traced."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pybpf.errors import NotFoundError
from pybpf.tool.container import container_cgroup
from tests.programs.cases import run

pytestmark = pytest.mark.native

DOCKER = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
PODMAN = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"


@pytest.fixture
def proc(tmp_path: Path) -> str:
    """A /proc with some containers."""
    root = tmp_path / "proc"
    for pid, group, command in (
        (1, "/init.scope", "/sbin/init"),
        (10, f"/system.slice/docker-{DOCKER}.scope", "nginx"),
        (11, f"/system.slice/docker-{DOCKER}.scope/below", "nginx: worker"),
        (20, f"/machine.slice/libpod-{PODMAN}.scope/container", "postgres"),
        (21, f"/machine.slice/libpod-conmon-{PODMAN}.scope", f"/usr/bin/conmon\0-c\0{PODMAN}\0-n\0database"),
        (30, "/lxc.payload.web/system.slice", "apache"),
        (31, "/lxc.payload.web2", "apache"),
        (40, "/machine.slice/machine-build.scope/payload", "make"),
    ):
        (root / str(pid)).mkdir(parents=True)
        (root / str(pid) / "cgroup").write_text(f"3:cpu:/x\n0::{group}\n")
        (root / str(pid) / "cmdline").write_text(f"{command}\0")
    (root / "self").mkdir()
    (root / "self" / "mounts").write_text("proc /proc proc rw 0 0\ncgroup2 /cg cgroup2 rw 0 0\n")
    return str(root)


@pytest.mark.parametrize(
    ("name", "group"),
    [
        (DOCKER, f"/system.slice/docker-{DOCKER}.scope"),
        (DOCKER[:12], f"/system.slice/docker-{DOCKER}.scope"),
        ("database", f"/machine.slice/libpod-{PODMAN}.scope"),
        ("web", "/lxc.payload.web"),
        ("build", "/machine.slice/machine-build.scope"),
    ],
)
def test_names_and_ids(proc: str, name: str, group: str) -> None:
    assert container_cgroup(name, proc) == f"/cg{group}"


@pytest.mark.parametrize("name", ["nothing", "012", "we", "docker", ""])
def test_what_is_no_container(proc: str, name: str) -> None:
    with pytest.raises(NotFoundError, match="there is no container"):
        container_cgroup(name, proc)


def test_an_id_that_could_be_several(proc: str, tmp_path: Path) -> None:
    other = tmp_path / "proc" / "50"
    other.mkdir()
    (other / "cgroup").write_text(f"0::/other/{DOCKER[:40]}{'1' * 24}\n")
    (other / "cmdline").write_text("x\0")
    with pytest.raises(NotFoundError, match="not one container but 2"):
        container_cgroup(DOCKER[:12], proc)


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of version 2."""
    with open("/proc/self/mounts") as file:
        mounts = [line.split()[1] for line in file if line.split()[2] == "cgroup2"]
    if not mounts or os.geteuid():
        pytest.skip("no control groups of version 2 can be made here")
    made = Path(mounts[0]) / "pybpf-test-container"
    made.mkdir()
    yield made
    for _ in range(100):  # the kernel needs a moment to let go of those that have ended
        try:
            made.rmdir()
            return
        except OSError:
            time.sleep(0.02)
    raise AssertionError(f"{made} cannot be removed")


@pytest.mark.root
def test_only_the_container_is_traced(group: Path) -> None:
    waiting = subprocess.Popen(["sleep", "1000"])
    (group / "cgroup.procs").write_text(str(waiting.pid))
    script = "echo $$ > {}/cgroup.procs; exec cat /nonexistent/inside"
    for options, count in ((["--container", "pybpf-test-container"], 1), (["--cgroup", str(group)], 1)):
        inside = f"sh -c '{script.format(group)}'; cat /nonexistent/outside"
        found = run("opensnoop", "--json", "--path", "/nonexistent/*", "--follow", *options,
                    "--exec", "sh", "-c", inside)  # fmt: skip
        rows = [json.loads(line) for line in found.stdout.splitlines()]
        assert found.returncode == 0 and len(rows) == count
        assert {row["path"] for row in rows} == {"/nonexistent/inside"}
    waiting.kill()
    waiting.wait()


@pytest.mark.root
def test_a_container_that_is_not_there() -> None:
    found = run("opensnoop", "--container", "no-such-container", "-d", "1")
    assert found.returncode == 1 and "there is no container 'no-such-container'" in found.stderr
    assert len(found.stderr.splitlines()) == 1
