"""What the feature probes say of a kernel of the matrix is what is known of it."""

from __future__ import annotations

import os

import pytest

from . import kernels
from .suite import GUEST

features = pytest.importorskip("pybpf.sys.features")


@pytest.mark.skipif(GUEST not in os.environ, reason="not in a kernel of tests/vm")
@pytest.mark.parametrize("name", features.FEATURES)
def test_probe_tells_what_is_known(name: str) -> None:
    kernel = kernels.named(os.environ[GUEST])
    expected = "no" if name in kernel.lacks else "yes"
    result = features.probe(name)
    assert result.support.value == expected, f"{kernel.name} and {name}: {result}"


def test_known_features_exist() -> None:
    for kernel in kernels.KERNELS:
        assert kernel.lacks <= set(features.FEATURES), kernel.name
