"""The facts of each architecture: complete, consistent, and right for the machine that runs the test."""

from __future__ import annotations

import ctypes
import errno
import os
import pickle

import pytest

from pybpf.arch import ARCHES, Arch, arch_named, host_arch
from pybpf.errors import UnsupportedError
from pybpf.sys.libc import syscall

each = pytest.mark.parametrize("arch", ARCHES.values(), ids=list(ARCHES))


@each
def test_registers_are_named_and_apart(arch: Arch) -> None:
    assert arch.endian in ("little", "big")
    offsets = list(arch.registers.values())
    assert len(set(offsets)) == len(offsets)
    assert all(offset % 8 == 0 and offset >= 0 for offset in offsets)
    roles = [*arch.arguments, *arch.syscall_arguments, arch.result, arch.ip, arch.sp, arch.fp]
    assert set(roles) | ({arch.link} - {None}) <= set(arch.registers)
    assert len(set(arch.arguments)) == len(arch.arguments)
    assert len(arch.syscall_arguments) == 6
    assert set(arch.operand_registers.values()) <= set(offsets)


@each
def test_perf_context_follows_the_registers(arch: Arch) -> None:
    # struct bpf_perf_event_data: the registers, then sample_period
    user = {name: offset for name, offset in arch.registers.items() if offset < arch.perf_sample_period}
    assert max(user.values()) + 8 <= arch.perf_sample_period


def test_names() -> None:
    assert arch_named("arm64") is arch_named("aarch64") is ARCHES["aarch64"]
    assert arch_named("amd64") is ARCHES["x86_64"]
    assert host_arch() is arch_named(os.uname().machine)
    with pytest.raises(UnsupportedError, match="no table for vax, only for x86_64, aarch64") as caught:
        arch_named("vax")
    assert pickle.loads(pickle.dumps(caught.value)).cause == caught.value.cause


def test_system_calls_of_this_machine() -> None:
    """Each number leads to the call that it is meant for: bad arguments give that call's own errors."""
    arch = host_arch()
    attr = ctypes.create_string_buffer(1 << 17)

    def failure(number: int, *arguments: int) -> int:
        with pytest.raises(OSError) as caught:
            syscall(number, *arguments)
        return caught.value.errno or 0

    # bpf: a size beyond a page; EPERM where unprivileged use is off and the kernel asks that first
    assert failure(arch.nr_bpf, 0, ctypes.addressof(attr), len(attr)) in (errno.E2BIG, errno.EPERM)
    assert failure(arch.nr_perf_event_open, 0, 0, -1, -1, -1) == errno.EINVAL  # unknown flags
    assert failure(arch.nr_membarrier, 1 << 30) in (errno.EINVAL, errno.ENOSYS)  # no such command
    assert syscall(arch.nr_membarrier, 0) & 1  # which commands there are: that which waits is one
    if os.geteuid() == 0:
        assert failure(arch.nr_fsopen, ctypes.addressof(ctypes.create_string_buffer(b"no_such_fs"))) in (
            errno.ENODEV, errno.ENOSYS,
        )  # fmt: skip
        assert failure(arch.nr_fsopen + 1, -1, 6) in (errno.EBADF, errno.EINVAL, errno.ENOSYS)
        assert failure(arch.nr_fsopen + 2, -1) in (errno.EBADF, errno.ENOSYS)
