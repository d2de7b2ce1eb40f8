"""RLIMIT_MEMLOCK: raised when that helps, put back when it does not."""

from __future__ import annotations

import errno
import os
import resource

import pytest

from pybpf.sys import memlock
from pybpf.sys.bpf import Attr, Cmd, MapType
from pybpf.sys.fd import Fd
from pybpf.sys.features import has
from pybpf.sys.memlock import bpf_charged, call_charged
from tests.sys.child import NOBODY, run

_LARGE = {"map_type": MapType.ARRAY, "key_size": 4, "value_size": 4096, "max_entries": 256}
_LIMIT = resource.RLIMIT_MEMLOCK


class _Refusing(Attr):
    """A call that fails ``times`` times."""

    def __init__(self, times: int, number: int = errno.EPERM) -> None:
        super().__init__(Cmd.MAP_CREATE)
        self.times, self.number, self.limits = times, number, [resource.getrlimit(_LIMIT)]

    def call(self) -> int:
        self.limits.append(resource.getrlimit(_LIMIT))
        if len(self.limits) - 1 <= self.times:
            raise OSError(self.number, os.strerror(self.number))
        return 77


@pytest.fixture
def small_limit() -> object:
    before = resource.getrlimit(_LIMIT)
    hard = 1 << 30 if before[1] == resource.RLIM_INFINITY else before[1]
    resource.setrlimit(_LIMIT, (4096, before[1]))
    yield hard
    resource.setrlimit(_LIMIT, before)


@pytest.mark.root
def test_a_map_beyond_the_limit_is_made(small_limit: int) -> None:
    with Fd(bpf_charged(Cmd.MAP_CREATE, **_LARGE), "map"):
        if has("memcg_accounting"):  # nothing was charged, so nothing was changed
            assert resource.getrlimit(_LIMIT)[0] == 4096
        else:
            assert resource.getrlimit(_LIMIT)[0] != 4096


def test_it_is_raised_once_and_kept_when_that_helps(small_limit: int) -> None:
    attr = _Refusing(1)
    assert call_charged(attr) == 77
    assert len(attr.limits) == 3
    assert attr.limits[1][0] == 4096
    assert attr.limits[2][0] > 4096 or attr.limits[2][0] == resource.RLIM_INFINITY
    assert resource.getrlimit(_LIMIT) == attr.limits[2]


def test_it_is_put_back_when_that_does_not_help(small_limit: int) -> None:
    attr = _Refusing(2)
    with pytest.raises(PermissionError):
        call_charged(attr)
    assert len(attr.limits) == 3
    assert resource.getrlimit(_LIMIT)[0] == 4096


def test_other_errors_are_not_its_business(small_limit: int) -> None:
    attr = _Refusing(9, errno.EINVAL)
    with pytest.raises(OSError, match="Invalid"):
        call_charged(attr)
    assert len(attr.limits) == 2


def test_what_cannot_be_raised_is_not_tried_again() -> None:
    code = """
import resource
from pybpf.sys.memlock import call_charged
from tests.sys.test_memlock import _Refusing
resource.setrlimit(resource.RLIMIT_MEMLOCK, (4096, 4096))
attr = _Refusing(9)
try:
    call_charged(attr)
except PermissionError:
    print(len(attr.limits), resource.getrlimit(resource.RLIMIT_MEMLOCK))
"""
    uid = NOBODY if os.geteuid() == 0 else None
    assert run(code, uid=uid) == "2 (4096, 4096)"
    assert memlock.__all__ == ["bpf_charged", "call_charged"]
