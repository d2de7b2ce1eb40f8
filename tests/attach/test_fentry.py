"""fentry, fexit, fmod_ret: exact counts, arguments, results."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from pybpf.asm import DW, R0, R1, R6, Code, call, exit_, jeq, jne, label, ldx, mov, rsh
from pybpf.attach import fentry, fexit, fmod_ret
from pybpf.errors import BpfError, KernelError, NotFoundError, UnsupportedError
from pybpf.prog import Program, ProgramSpec
from pybpf.sys.bpf import AttachType, ProgType
from pybpf.sys.libc import syscall
from tests.attach.counting import BY_COOKIE, LINUX, NUMBERS, counter, counting, function_of, make_calls, tgid

pytestmark = pytest.mark.root

GETPGID = function_of("getpgid")


def bound_to(kind: AttachType, function: str = GETPGID) -> dict[str, Any]:
    return {"expected_attach_type": kind, "attach_btf": function}


@pytest.mark.needs("fentry")
def test_fentry_counts_exactly() -> None:
    with counter(ProgType.TRACING, **bound_to(AttachType.TRACE_FENTRY)) as counted:
        make_calls("getpgid", 5)
        with fentry(counted.program) as link:
            make_calls("getpgid", 1000)
            assert link.target == f"fentry:{GETPGID}"
            assert link.missed == (0 if LINUX >= (5, 12) else None)
        make_calls("getpgid", 7)
        assert counted.count == 1000


@pytest.mark.needs("fexit")
def test_fexit_sees_the_result() -> None:
    """Behind the arguments: of a syscall function there is one, the registers."""
    result = syscall(NUMBERS["getpgid"])
    condition = (ldx(DW, R1, R6, 8), jne(R1, result, "out"))
    with counter(ProgType.TRACING, counting(*condition), **bound_to(AttachType.TRACE_FEXIT)) as counted:
        with fexit(counted.program):
            make_calls("getpgid", 1000)
        make_calls("getpgid", 7)
        assert counted.count == 1000


@pytest.mark.needs("fmod_ret")
def test_fmod_ret_gives_another_result() -> None:
    code = Code(
        [call("get_current_pid_tgid"), rsh(R0, 32), jeq(R0, tgid(), "ours"), mov(R0, 0), exit_(),
         label("ours"), mov(R0, -errno.EIO), exit_()]
    )  # fmt: skip
    # a security hook; without an argument, getpgid asks none
    fields = bound_to(AttachType.MODIFY_RETURN, "security_task_getpgid")
    with Program.load(ProgramSpec(ProgType.TRACING, code, "instead", **fields)) as program:
        before = os.getpgid(os.getpid())
        with fmod_ret(program), pytest.raises(OSError) as caught:
            os.getpgid(os.getpid())
        assert caught.value.errno == errno.EIO
        assert os.getpgid(os.getpid()) == before


@pytest.mark.needs("fmod_ret")
def test_fmod_ret_of_any_function() -> None:
    code = Code([mov(R0, 0), exit_()])
    spec = ProgramSpec(ProgType.TRACING, code, "instead", **bound_to(AttachType.MODIFY_RETURN, "vfs_read"))
    with pytest.raises(KernelError, match=r"vfs_read\(\) is not modifiable\n.*security hooks"):
        Program.load(spec)


@pytest.mark.needs("fentry")
def test_cookie() -> None:
    try:
        with counter(ProgType.TRACING, counting(key=BY_COOKIE), **bound_to(AttachType.TRACE_FENTRY)) as counted:
            with fentry(counted.program, cookie=3):
                make_calls("getpgid", 10)
            assert counted.counts == [0, 0, 0, 10, 0, 0, 0, 0]
    except BpfError as error:
        if "get_attach_cookie" in str(error) or isinstance(error, UnsupportedError):
            pytest.skip("kernel lacks cookies for tracing programs (Linux 5.19)")
        raise


@pytest.mark.needs("fentry")
def test_two_on_one_function() -> None:
    fields = bound_to(AttachType.TRACE_FENTRY)
    with counter(ProgType.TRACING, **fields) as one, counter(ProgType.TRACING, **fields) as two:
        with fentry(one.program), fentry(two.program):
            make_calls("getpgid", 10)
        assert (one.count, two.count) == (10, 10)


@pytest.mark.needs("fentry", "fexit")
def test_loaded_for_something_else() -> None:
    refused = pytest.raises(KernelError, match="loaded with expected_attach_type TRACE_FEXIT, not TRACE_FENTRY")
    with counter(ProgType.TRACING, **bound_to(AttachType.TRACE_FEXIT)) as counted, refused:
        fentry(counted.program)


@pytest.mark.needs("tp_btf")
def test_unknown_function() -> None:
    spec = ProgramSpec(ProgType.TRACING, Code([mov(R0, 0), exit_()]), "f", **bound_to(AttachType.TRACE_FENTRY, "no_su"))
    with pytest.raises(NotFoundError, match="no function 'no_su' in its type information"):
        Program.load(spec)
    spec = ProgramSpec(ProgType.TRACING, Code([mov(R0, 0), exit_()]), "f", **bound_to(AttachType.TRACE_FENTRY, "m:f"))
    with pytest.raises(NotFoundError, match="module 'm'"):
        Program.load(spec)


def test_wrong_program() -> None:
    with counter(ProgType.TRACEPOINT) as counted, pytest.raises(KernelError, match="tracing is needed"):
        fentry(counted.program)
