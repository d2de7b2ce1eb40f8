"""One run of a virtual machine: a job goes in, it boots, the results come out."""

from __future__ import annotations

import io
import os
import shlex
import shutil
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.guide import COPY, find_guide

from .cache import VmError
from .image import Python, Root
from .kernels import Files

__all__ = ["ENDINGS", "Run", "check_host", "run"]

#: exit statuses of a run whose command did not end by itself
TIMED_OUT, DIED, STOPPED = 124, 125, -1
#: what to say of them
ENDINGS = {TIMED_OUT: "took too long and was stopped", DIED: "died", STOPPED: "was stopped"}


@dataclass(frozen=True)
class Machine:
    """How QEMU emulates one architecture."""

    command: tuple[str, ...]
    append: str  #: its part of the kernel's command line
    package: str  #: Debian package of the command


MACHINES = {
    # On a busy host the timer is late, and the kernel panics where it checks that ("IO-APIC + timer doesn't work").
    "x86_64": Machine(
        # A second package of two processors could be plugged in: for kernels before 6.9 they are possible ones.
        ("qemu-system-x86_64", "-cpu", "max", "-smp", "2,maxcpus=4,sockets=2,cores=2"),
        "console=ttyS0 no_timer_check",
        "qemu-system-x86",
    ),
    # -cpu max is three times slower: it emulates pointer authentication
    "aarch64": Machine(
        ("qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a57", "-smp", "2"), "console=ttyAMA0", "qemu-system-arm"
    ),
}
OPTIONS = (
    # With one thread per processor x86 guests crash: QEMU runs stale code where the kernel patches itself,
    # and attaching probes makes the kernel do that.
    "-accel", "tcg,thread=single", "-m", "1024",
    "-nodefaults", "-display", "none", "-no-reboot",
)  # fmt: skip
APPEND = "quiet panic=-1 oops=panic root=/dev/nvme0n1 rootfstype=ext4 rw rootwait init=/init"
#: seconds between looks at a running guest
POLL = 0.25
#: where ``init`` unpacks the job
WHERE = "/tmp/job"
PRECOMPILE = Path(__file__).with_name("precompile.py")
#: directories that are no part of the project's source
NOT_SOURCE = ("build", "dist", "__pycache__")


@dataclass(frozen=True)
class Run:
    """What came of a run."""

    status: int  #: the command's exit status, or one of ENDINGS
    seconds: float  #: from the start of QEMU to its end
    cpu: float  #: seconds of the host's processors that it took
    console: str  #: all that the guest printed
    out: Path  #: what the job left in /tmp/out, and the files rc, boot, total and dmesg of ``init``


def check_host(arch: str) -> None:
    """:raises VmError: a tool that :func:`run` needs is not installed."""
    machine = MACHINES[arch]
    for tool, package in ((machine.command[0], machine.package), ("debugfs", "e2fsprogs")):
        if not shutil.which(tool):
            raise VmError(f"{tool} not found: apt-get install --no-install-recommends {package}")


def run(
    arch: str, kernel: Files, root: Root, source: Path, command: Sequence[str], out: Path, *,
    timeout: float, show: bool = False, stop: threading.Event | None = None,
) -> Run:  # fmt: skip
    """Run ``command`` in a copy of ``source`` inside a guest.

    :param timeout: seconds until the guest is killed.
    :param show: the console goes to standard output too.
    :param stop: kills the guest when it is set.
    :raises VmError: QEMU cannot be started.
    """
    check_host(arch)
    machine = MACHINES[arch]
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pybpf-vm-") as directory:
        work = Path(directory)
        disk, job, log = work / "disk", work / "job.tar", work / "console"
        subprocess.run(["cp", "--sparse=always", "--reflink=auto", str(root.image), str(disk)], check=True)
        _write_job(job, source, command, kernel.modules)
        if root.python:
            _add_bytecode(job, root.python, work / "stage")
        _debugfs(disk, f"write {job} job.tar", "-w")
        line = [
            *machine.command, *OPTIONS,
            "-chardev", f"stdio,id=console,signal=off,logfile={log}", "-serial", "chardev:console",
            "-kernel", str(kernel.image), "-append", f"{machine.append} {APPEND}",
            # One disk only: since 6.12 the kernel numbers several in random order.
            "-drive", f"file={disk},if=none,id=disk,format=raw,cache=unsafe", "-device", "nvme,drive=disk,serial=1",
        ]  # fmt: skip
        begin = time.monotonic()
        status, cpu = _wait(line, timeout, show, stop or threading.Event())
        seconds = time.monotonic() - begin
        console = log.read_text("utf-8", "replace").replace("\r", "") if log.exists() else ""
        if status == 0:
            status = _read_results(disk, work / "out.tar", out)
    return Run(status, seconds, cpu, console, out)


def _wait(line: list[str], timeout: float, show: bool, stop: threading.Event) -> tuple[int, float]:
    """(0 when QEMU ended by itself, or one of ENDINGS; seconds of processors)."""
    end, cpu = time.monotonic() + timeout, 0.0
    output = None if show else subprocess.DEVNULL
    with subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE) as process:
        try:
            while True:
                try:
                    _, errors = process.communicate(timeout=POLL)
                    break
                except subprocess.TimeoutExpired:
                    cpu = _cpu(process.pid)
                    if stop.is_set():
                        return STOPPED, cpu
                    if time.monotonic() > end:
                        return TIMED_OUT, cpu
        finally:
            if process.poll() is None:
                process.kill()
    if process.returncode:
        raise VmError(f"{line[0]}: {errors.decode('utf-8', 'replace').strip() or process.returncode}")
    return 0, cpu


def _cpu(pid: int) -> float:
    """Seconds of processors that a process of ours has taken, in user and kernel mode: proc(5)."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        user, kernel = file.read().rpartition(")")[2].split()[11:13]
    return (int(user) + int(kernel)) / os.sysconf("SC_CLK_TCK")


def _write_job(path: Path, source: Path, command: Sequence[str], modules: Sequence[Path]) -> None:
    """An archive of the source, job.sh, .modules, and the guide that may lie beside the tree."""

    def only_source(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
        name = os.path.basename(info.name)
        if (name.startswith(".") and info.name != ".") or name in NOT_SOURCE or name.endswith(".egg-info"):
            return None
        return readable(info)

    def readable(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.mode |= 0o755 if info.isdir() else 0o444  # tests also run as an ordinary user
        info.uid = info.gid = 0
        info.mtime = int(info.mtime)  # bytecode has it
        return info

    with tarfile.open(path, "w") as tar:
        tar.add(source, ".", filter=only_source)
        guide = find_guide(source)
        if guide is not None:
            tar.add(guide.resolve(), COPY, filter=readable)
        for module in modules:
            tar.add(module, f".modules/{module.name}")
        script = f"exec {shlex.join(command)}\n".encode()
        info = tarfile.TarInfo("job.sh")
        info.size = len(script)
        tar.addfile(info, io.BytesIO(script))


def _add_bytecode(job: Path, python: Python, stage: Path) -> None:
    """Add what the guest would make of the files of the archive when it reads them first."""
    with tarfile.open(job) as tar:
        _extract(tar, stage)
    python.run(str(PRECOMPILE), str(stage), WHERE)

    def of_root(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.uid = info.gid = 0
        return info

    with tarfile.open(job, "a") as tar:
        for made in stage.rglob("__pycache__"):
            tar.add(made, str(made.relative_to(stage)), filter=of_root)


def _extract(tar: tarfile.TarFile, where: Path) -> None:
    if hasattr(tarfile, "data_filter"):  # Python 3.12, and older ones with its security fix
        tar.extractall(where, filter="data")
    else:
        tar.extractall(where)


def _read_results(disk: Path, archive: Path, out: Path) -> int:
    _debugfs(disk, f"dump out.tar {archive}")
    if not archive.exists() or not archive.stat().st_size:
        return DIED
    with tarfile.open(archive) as tar:
        _extract(tar, out)
    return int((out / "rc").read_text())


def _debugfs(disk: Path, request: str, *options: str) -> None:
    subprocess.run(["debugfs", *options, "-R", request, str(disk)], check=True, capture_output=True)
