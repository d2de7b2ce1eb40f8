"""Hosts for the tests of the network tools, a disk for those of disks."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs.allocations import compiled
from tests.programs.disks import Disk
from tests.programs.network import Host


@pytest.fixture
def server() -> Iterator[Host]:
    with Host() as host:
        yield host


@pytest.fixture
def client(server: Host) -> Iterator[Host]:
    with Host(server) as host:
        yield host


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if not os.path.exists("/dev/loop-control"):
        subprocess.run(["modprobe", "loop"], capture_output=True)
    if not os.path.exists("/dev/loop-control"):
        pytest.skip("there are no loop devices")
    made = Disk(tmp_path / "image")
    yield made
    made.close()


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In C, with frame pointers; what it allocates is in :mod:`tests.programs.allocations`."""
    return compiled(tmp_path_factory.mktemp("program"))
