"""Hosts for the tests of the network tools."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.programs.network import Host


@pytest.fixture
def server() -> Iterator[Host]:
    with Host() as host:
        yield host


@pytest.fixture
def client(server: Host) -> Iterator[Host]:
    with Host(server) as host:
        yield host
