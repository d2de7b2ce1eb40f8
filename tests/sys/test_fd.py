"""Owned descriptors: closed once, refused after that, never left silently."""

from __future__ import annotations

import gc
import os
import warnings

import pytest

from pybpf.errors import ClosedError
from pybpf.sys.fd import Fd

pytestmark = pytest.mark.pure


def _opened() -> Fd:
    return Fd(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), "null device")


def test_closed_once() -> None:
    fd = _opened()
    number = fd.fileno()
    assert repr(fd) == f"<null device, fd {number}>"
    assert not fd.closed
    fd.close()
    reused = os.open("/dev/null", os.O_RDONLY)
    try:
        assert reused == number  # the number is somebody else's now
        fd.close()
        os.fstat(reused)
    finally:
        os.close(reused)
    assert fd.closed
    assert repr(fd) == "<null device, closed>"
    with pytest.raises(ClosedError, match="null device is closed"):
        fd.fileno()


def test_the_end_of_a_block_closes() -> None:
    with pytest.raises(ZeroDivisionError), _opened() as fd:
        raise ZeroDivisionError
    assert fd.closed


def test_release_gives_the_number_away() -> None:
    fd = _opened()
    number = fd.release()
    assert fd.closed
    fd.close()
    os.fstat(number)
    os.close(number)
    with pytest.raises(ClosedError):
        fd.release()


def test_duplicates_are_independent_and_not_inherited() -> None:
    with _opened() as fd:
        other = fd.dup()
        assert not os.get_inheritable(other.fileno())
        assert other.what == fd.what
    with other:
        os.fstat(other.fileno())
    with pytest.raises(ClosedError):
        other.dup()


def test_what_nobody_closed_is_closed_with_a_warning() -> None:
    fd = _opened()
    number = fd.fileno()
    with pytest.warns(ResourceWarning, match=f"unclosed <null device, fd {number}>"):
        del fd
        gc.collect()
    with pytest.raises(OSError):
        os.fstat(number)


def test_a_warning_as_an_error_still_closes() -> None:
    fd = _opened()
    number = fd.fileno()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ResourceWarning):
            fd.__del__()
    with pytest.raises(OSError):
        os.fstat(number)


def test_one_that_never_came_to_be_is_no_trouble() -> None:
    Fd.__new__(Fd).__del__()
