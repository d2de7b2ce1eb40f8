"""What only the guests are like: more processors are possible in them than there are."""

from __future__ import annotations

import os

import pytest

from pybpf.maps import PerCpuArray
from pybpf.sys.cpus import num_possible_cpus, online_cpus
from pybpf.types import u64
from tests.conftest import IN_VM
from tests.vm.suite import GUEST

#: Newer kernels do not take those for possible that QEMU could plug in, nor those of arm64.
WITH_MORE = ("5.10-x86_64", "6.1-x86_64")
pytestmark = [pytest.mark.root, pytest.mark.skipif(not IN_VM, reason="in guests only")]


@pytest.mark.skipif(os.environ.get(GUEST) not in WITH_MORE, reason="QEMU has no processors that this kernel waits for")
def test_more_processors_are_possible_than_there_are() -> None:
    assert num_possible_cpus() > len(online_cpus())
    with PerCpuArray(u64, 2) as made:
        made[1] = list(range(num_possible_cpus()))
        assert made[1] == list(range(num_possible_cpus()))
