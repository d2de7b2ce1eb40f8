"""Tracepoints, raw tracepoints and those with types: exact counts of calls that this process makes."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from pathlib import Path
from signal import SIGURG

import pytest

from pybpf.asm import DW, R0, R1, R6, Code, call, exit_, jne, ldx, mov
from pybpf.attach import btf_tracepoint, perf_link, raw_tracepoint, tracepoint
from pybpf.errors import BpfError, ClosedError, KernelError, NotFoundError, UnsupportedError
from pybpf.prog import Program, ProgramSpec
from pybpf.sys import cpus, objects
from pybpf.sys.bpf import AttachType, ProgType
from pybpf.sys.features import has
from pybpf.sys.objects import Kind, ids
from tests.attach.counting import BY_COOKIE, LINUX, NUMBERS, argument, counter, counting, make_calls

pytestmark = pytest.mark.root

EVENT = "syscalls:sys_enter_getpgid"
#: of raw tracepoint sys_enter: (registers, number)
ONLY_GETPGID = (argument(1), jne(R1, NUMBERS["getpgid"], "out"))


@pytest.mark.needs("tracepoint")
class TestTracepoint:
    def test_counts_exactly(self) -> None:
        with counter(ProgType.TRACEPOINT) as counted:
            make_calls("getpgid", 5)
            with tracepoint(counted.program, EVENT) as link:
                make_calls("getpgid", 1000)
                assert link.target == f"tracepoint:{EVENT}"
                assert not link.closed
            assert link.closed
            make_calls("getpgid", 7)
            assert counted.count == 1000

    def test_by_ioctl(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What Linux before 5.15 does."""
        monkeypatch.setattr(perf_link, "_create", lambda *_: None)
        with counter(ProgType.TRACEPOINT) as counted:
            with tracepoint(counted.program, EVENT) as link:
                assert not link.is_bpf_link
                make_calls("getpgid", 100)
                with pytest.raises(UnsupportedError):
                    link.info()
            make_calls("getpgid", 7)
            assert counted.count == 100

    @pytest.mark.needs("cookies")
    def test_cookies(self) -> None:
        with counter(ProgType.TRACEPOINT, counting(key=BY_COOKIE)) as counted:
            one = tracepoint(counted.program, EVENT, cookie=3)
            two = tracepoint(counted.program, "syscalls:sys_enter_getsid", cookie=5)
            with one, two:
                make_calls("getpgid", 10)
                make_calls("getsid", 20)
            assert counted.counts == [0, 0, 0, 10, 0, 20, 0, 0]

    def test_twice(self) -> None:
        with counter(ProgType.TRACEPOINT) as one, counter(ProgType.TRACEPOINT) as two:
            with tracepoint(one.program, EVENT), tracepoint(two.program, EVENT):
                make_calls("getpgid", 10)
            assert (one.count, two.count) == (10, 10)

    def test_reads_its_record(self) -> None:
        """The record of a syscall has its number at 8."""
        condition = (ldx(DW, R1, R6, 8), jne(R1, NUMBERS["getpgid"], "out"))
        with counter(ProgType.TRACEPOINT, counting(*condition)) as counted:
            with tracepoint(counted.program, "raw_syscalls:sys_enter"):
                make_calls("getpgid", 50)
            assert counted.count == 50

    def test_record_too_short(self) -> None:
        code = Code([ldx(DW, R0, R1, 1024), exit_()])
        refused = pytest.raises(KernelError, match=r"'far' reads beyond the record .*syscalls/sys_enter_getpgid")
        with Program.load(ProgramSpec(ProgType.TRACEPOINT, code, "far")) as program, refused:
            tracepoint(program, EVENT)

    @pytest.mark.parametrize(
        ("name", "says"),
        [
            ("syscalls:sys_enter_getpgid_", "did you mean .*syscalls:sys_enter_getpgid"),
            ("sched:sched_swich", "sched:sched_switch"),
            ("no_colon", "written as system:event"),
            ("", "system:event"),
            ("../..:x", "there is no tracepoint"),
            ("syscalls:", "there is no tracepoint"),
        ],
    )
    def test_unknown(self, name: str, says: str) -> None:
        with counter(ProgType.TRACEPOINT) as counted, pytest.raises(NotFoundError, match=says):
            tracepoint(counted.program, name)

    @pytest.mark.needs("perf_link")
    def test_missed_hits_are_counted(self) -> None:
        """A program that causes the other's hits while it runs itself: they are missed (until about Linux 7.0)."""
        signal = (mov(R1, SIGURG), call("send_signal"), mov(R0, 1))
        with counter(ProgType.TRACEPOINT, counting(key=signal)) as sender, counter(ProgType.TRACEPOINT) as counted:
            with tracepoint(counted.program, "signal:signal_generate") as link:
                os.kill(os.getpid(), SIGURG)
                assert counted.count == 1
                assert link.missed == (0 if LINUX >= (6, 7) else None)
                with tracepoint(sender.program, EVENT):
                    make_calls("getpgid", 100)
                assert sender.counts[1] == 100
                assert counted.count < 101 or LINUX >= (7, 0)
                assert link.missed == (101 - counted.count if LINUX >= (6, 7) else None)
            with pytest.raises(ClosedError):
                link.missed  # noqa: B018

    @pytest.mark.needs("perf_link")
    def test_missed_hits_before_they_were_counted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Linux 6.6 tells of a link what it is, but not what it missed: its structure is shorter."""
        monkeypatch.setattr(objects, "_LINK", (48, objects._LINK[1]))
        with counter(ProgType.TRACEPOINT) as counted, tracepoint(counted.program, EVENT) as link:
            assert link.missed is None
            assert link.info().detail is not None or LINUX < (6, 6)

    def test_missed_hits_without_a_link_are_not_known(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(perf_link, "_create", lambda *_: None)
        with counter(ProgType.TRACEPOINT) as counted, tracepoint(counted.program, EVENT) as link:
            assert link.missed is None

    def test_no_cpu_is_taken_for_granted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """CPU 0 can be offline."""
        monkeypatch.setattr(cpus, "online_cpus", lambda: [77777])
        with counter(ProgType.TRACEPOINT) as counted, pytest.raises(KernelError, match="there is no CPU 77777"):
            tracepoint(counted.program, EVENT)

    def test_wrong_program(self) -> None:
        refused = pytest.raises(KernelError, match="is of type raw_tracepoint, and tracepoint is needed")
        with counter(ProgType.RAW_TRACEPOINT) as counted, refused:
            tracepoint(counted.program, EVENT)

    def test_detached_when_the_process_is_killed(self) -> None:
        """Nothing stays in the kernel."""
        script = (
            "import os, signal\n"
            "from pybpf.attach import tracepoint\n"
            "from tests.attach.counting import *\n"
            "with counter(ProgType.TRACEPOINT) as counted, tracepoint(counted.program, 'sched:sched_process_exit'):\n"
            "    print(counted.program.id, flush=True)\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        root = Path(__file__).parent.parent.parent
        done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=root, check=False)
        assert done.returncode == -9
        number = int(done.stdout)
        for _ in range(100):
            if number not in ids(Kind.PROG):
                break
            time.sleep(0.1)
        else:
            pytest.fail(f"program {number} is still there")


@pytest.mark.needs("raw_tp")
class TestRawTracepoint:
    def test_counts_exactly(self) -> None:
        with counter(ProgType.RAW_TRACEPOINT, counting(*ONLY_GETPGID)) as counted:
            with raw_tracepoint(counted.program, "sys_enter") as link:
                assert link.missed == (0 if LINUX >= (5, 12) else None)
                make_calls("getpgid", 1000)
                make_calls("getsid", 10)
            make_calls("getpgid", 7)
            assert counted.count == 1000

    @pytest.mark.needs("raw_tp_cookies")
    def test_cookie(self) -> None:
        code = counting(*ONLY_GETPGID, key=BY_COOKIE)
        with counter(ProgType.RAW_TRACEPOINT, code) as counted:
            with raw_tracepoint(counted.program, "sys_enter", cookie=6):
                make_calls("getpgid", 10)
            assert counted.counts == [0, 0, 0, 0, 0, 0, 10, 0]

    def test_unknown(self) -> None:
        with counter(ProgType.RAW_TRACEPOINT) as counted:
            with pytest.raises(NotFoundError, match=r"no raw tracepoint 'sched_swich'.*sched_switch"):
                raw_tracepoint(counted.program, "sched_swich")
            with pytest.raises(NotFoundError, match="named without their system"):
                raw_tracepoint(counted.program, "sched:sched_switch")
            with pytest.raises(BpfError):
                raw_tracepoint(counted.program, "x" * 5000)

    def test_too_many_arguments(self) -> None:
        code = Code([ldx(DW, R0, R1, 8 * 11), exit_()])
        refused = pytest.raises(KernelError, match="more arguments than this tracepoint has")
        with Program.load(ProgramSpec(ProgType.RAW_TRACEPOINT, code, "far")) as program, refused:
            raw_tracepoint(program, "sys_enter")

    def test_closed_by_the_collector_with_a_warning(self) -> None:
        with counter(ProgType.RAW_TRACEPOINT) as counted:
            link = raw_tracepoint(counted.program, "sys_enter")
            with pytest.warns(ResourceWarning, match="rawtracepoint:sys_enter"):
                del link
                gc.collect()


@pytest.mark.needs("tp_btf")
class TestTypedTracepoint:
    FIELDS = {"expected_attach_type": AttachType.TRACE_RAW_TP, "attach_btf": "sys_enter"}  # noqa: RUF012

    def test_counts_exactly(self) -> None:
        with counter(ProgType.TRACING, counting(*ONLY_GETPGID), **self.FIELDS) as counted:
            with btf_tracepoint(counted.program) as link:
                make_calls("getpgid", 1000)
                assert link.target == "rawtracepoint:sys_enter"
            make_calls("getpgid", 7)
            assert counted.count == 1000

    @pytest.mark.needs("raw_tp_cookies")
    def test_cookie(self) -> None:
        with counter(ProgType.TRACING, counting(*ONLY_GETPGID, key=BY_COOKIE), **self.FIELDS) as counted:
            with btf_tracepoint(counted.program, cookie=4):
                make_calls("getpgid", 10)
            assert counted.counts == [0, 0, 0, 0, 10, 0, 0, 0]

    @pytest.mark.skipif(has("raw_tp_cookies"), reason="kernel has cookies for raw tracepoints")
    def test_no_cookie(self) -> None:
        """The kernel would take it and drop it."""
        refused = pytest.raises(UnsupportedError, match="no cookies for raw tracepoints")
        with counter(ProgType.TRACING, counting(*ONLY_GETPGID), **self.FIELDS) as counted, refused:
            btf_tracepoint(counted.program, cookie=4)

    def test_unknown(self) -> None:
        spec = ProgramSpec(
            ProgType.TRACING,
            Code([mov(R0, 0), exit_()]),
            "typed",
            expected_attach_type=AttachType.TRACE_RAW_TP,
            attach_btf="sched_swich",
        )
        with pytest.raises(NotFoundError, match=r"no tracepoint 'sched_swich' .*did you mean .*sched_switch"):
            Program.load(spec)

    def test_wrong_kind(self) -> None:
        with counter(ProgType.RAW_TRACEPOINT) as counted, pytest.raises(KernelError, match="tracing is needed"):
            btf_tracepoint(counted.program)

    def test_link_can_be_inspected(self) -> None:
        typed = counter(ProgType.TRACING, counting(*ONLY_GETPGID), **self.FIELDS)
        with typed as counted, btf_tracepoint(counted.program) as link:
            assert link.info().prog_id == counted.program.id

