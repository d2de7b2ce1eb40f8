"""undisturbed: the policy is as it was afterwards, and what cannot be had is done without."""

from __future__ import annotations

import errno
import os
from typing import Any, NoReturn

import pytest

from pybpf.tool import undisturbed

pytestmark = pytest.mark.pure


def test_the_policy_comes_back() -> None:
    before = os.sched_getscheduler(0)
    with pytest.raises(ZeroDivisionError), undisturbed():
        inside = os.sched_getscheduler(0)
        raise ZeroDivisionError
    assert inside in (os.SCHED_FIFO, before) and os.sched_getscheduler(0) == before


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSYS])
def test_without_it(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """musl's functions say ENOSYS, whatever the kernel has."""

    def refuse(*arguments: Any) -> NoReturn:
        raise OSError(code, os.strerror(code))

    for name in ("sched_getscheduler", "sched_getparam", "sched_setscheduler"):
        if code == errno.ENOSYS or name == "sched_setscheduler":
            monkeypatch.setattr(os, name, refuse)
    with undisturbed():
        passed = True
    assert passed
