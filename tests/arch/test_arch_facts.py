"""The facts of each architecture: complete, consistent, and right for the machine that runs the test."""

from __future__ import annotations

import ctypes
import errno
import os
import pickle
import subprocess
import sys

import pytest

from pybpf.arch import ARCHES, Arch, arch_named, host_arch, syscall_names
from pybpf.errors import UnsupportedError
from pybpf.symbols import UsdtArgKind, parse_args
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


@each
def test_system_calls_are_in_order_and_include_those_that_are_made(arch: Arch) -> None:
    names = syscall_names(arch)
    assert list(names) == sorted(names) and len(set(names.values())) == len(names)
    made = {"bpf": arch.nr_bpf, "perf_event_open": arch.nr_perf_event_open, "fsopen": arch.nr_fsopen,
            "membarrier": arch.nr_membarrier}  # fmt: skip
    assert {name: names[number] for name, number in made.items()} == {name: name for name in made}


def test_riscv64() -> None:
    """Registers of struct user_regs_struct by their numbers, system calls, and operands of USDT probes."""
    arch = ARCHES["riscv64"]
    wanted = {"pc": 0, "ra": 1, "sp": 2, "s0": 8, "s1": 9, "a0": 10, "a7": 17, "s2": 18, "s11": 27, "t3": 28, "t6": 31}
    assert {name: arch.registers[name] // 8 for name in wanted} == wanted
    names = syscall_names(arch)
    assert [names[number] for number in (172, 258, 259, 260)] == [
        "getpid", "riscv_hwprobe", "riscv_flush_icache", "wait4",
    ]  # fmt: skip
    register, memory, constant, wrong = parse_args("8@a1 -4@-88(s0) 4@5 8@zz", arch)
    assert (register.kind, register.register) == (UsdtArgKind.REG, 88)
    assert (memory.kind, memory.register, memory.offset, memory.signed) == (UsdtArgKind.MEM, 64, -88, True)
    assert (constant.kind, constant.offset) == (UsdtArgKind.CONST, 5)
    assert wrong.kind is UsdtArgKind.UNREADABLE


@pytest.mark.parametrize("machine", ["s390x", "sparc64"])
def test_what_is_pure_works_on_machines_without_a_table(machine: str) -> None:
    code = f"""
import os
real = os.uname()
os.uname = lambda: os.uname_result((*real[:4], {machine!r}))
from pybpf.asm import assemble
from pybpf.compiler.target import Target
from pybpf.maps import Array, MapSpec
from pybpf.prog import ProgramSpec
from pybpf.sys import perf
from pybpf.sys.bpf import MapType, ProgType
from pybpf.types import u32, u64
ProgramSpec(ProgType.KPROBE, assemble("exit"))
print(MapSpec(MapType.HASH, u32, u64, 4))
try:
    Array(u64)
except Exception as error:
    print(type(error).__name__, error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == [
        "hash map",
        f"UnsupportedError cannot create array map: pybpf has no table for {machine}, only for {', '.join(ARCHES)} "
        "(ENOSYS); docs/architecture.md says how to add one",
    ]
