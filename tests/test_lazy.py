"""Packages whose names come when they are used know them all before; garbage waits, and is looked for again."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from pybpf.lazy import Uncollected

pytestmark = pytest.mark.native


@pytest.mark.parametrize("package", ["pybpf", "pybpf.asm", "pybpf.attach", "pybpf.btf", "pybpf.maps", "pybpf.prog"])
def test_completion_knows_names_that_are_not_loaded(package: str) -> None:
    code = f"""
import sys, {package} as package
before = set(sys.modules)
names = dir(package)
assert set(sys.modules) == before, set(sys.modules) - before
missing = set(package.__all__) - set(names)
assert not missing and names == sorted(names), missing
print(len(names))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0 and int(run.stdout) > 5, run.stderr


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_is_looked_for_afterwards_as_before(enabled: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(ZeroDivisionError), Uncollected():
            assert not gc.isenabled()
            raise ZeroDivisionError
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()
