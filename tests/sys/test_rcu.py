"""Waiting for programs that run."""

from __future__ import annotations

import os

import pytest

from pybpf.sys import rcu


@pytest.mark.root
def test_both_ways_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(os.listdir("/proc/self/fd"))
    rcu.wait_for_programs()
    rcu._store_a_map()  # raises what the kernel refuses
    monkeypatch.setattr(rcu.os, "sysconf", lambda name: 1)
    rcu.wait_for_programs()
    assert set(os.listdir("/proc/self/fd")) == before
