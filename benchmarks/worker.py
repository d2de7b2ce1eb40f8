"""What benchmarks share: the process that is traced and what it does, what a tracer has loaded, where all of it ran."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

__all__ = ["PYBPF", "WORK", "Worker", "in_mount_namespace", "programs_of", "where"]

#: how an installed command starts pybpf
PYBPF = (sys.executable, "-c", "from pybpf.cli import process; process()")
_TRACEFS = Path("/sys/kernel/tracing")
#: what the process does under each probe, and how often
WORK = {
    "opens": "open 20000",
    "syscall_latency": "getppid 100000",
    "malloc_stacks": "malloc 5000",
    "comm_counts": "getppid 100000",
    "read_sizes": "read 50000",
    "runqlat": "sleep 5000",
    "execs": "exec 20",
    "tcp_states": "connect 500",
    "signals": "signal 20000",
    "write_stats": "write 50000",
    "path_filter": "open 20000",
    "samples": "spin 20",
    "dns_latency": "lookup 3000",
    "malloc_profile": "malloc 5000",
}


class Worker:
    """The process that is looked at."""

    def __init__(self) -> None:
        command = [sys.executable, "-S", str(Path(__file__).with_name("workload.py"))]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.pid = self.process.pid
        self._expect("ready")

    def run(self, command: str) -> float:
        """Have it do something, and wait until it is done; the seconds that it says that took, if it says so."""
        assert self.process.stdin
        self.process.stdin.write(command + "\n")
        return float(self._expect("done") or 0)

    def _expect(self, word: str) -> str:
        assert self.process.stdout
        said, _, rest = self.process.stdout.readline().strip().partition(" ")
        assert said == word, said
        return rest

    def close(self) -> None:
        """End it."""
        self.process.communicate()


def programs_of(pid: int) -> set[int]:
    """The ids of the programs that a process holds."""
    found = set()
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a descriptor of our own, closed by now
            found.update(map(int, re.findall(r"^prog_id:\s*(\d+)", path.read_text(), re.MULTILINE)))
    return found


def where(tools: Iterable[str]) -> str:
    """When and on what it is measured; of the tools those that are installed."""
    kernel = os.uname()
    cpus = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^(?:model name|CPU part)\s*: (.*)$", cpus, re.MULTILINE)
    versions = [
        match[0] if match else tool
        for tool in filter(shutil.which, tools)
        for match in [re.search(rf"{tool} (?:version )?v?[\d.]+", subprocess.getoutput(f"{tool} --version"))]
    ]  # fmt: skip
    where = [
        f"{time.strftime('%Y-%m-%d')}: Linux {kernel.release} {kernel.machine}",
        f"{os.cpu_count()} x {model[1] if model else 'unknown processor'}",
        f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB",
        *(["virtual machine"] if re.search(r"^flags.*\bhypervisor\b", cpus, re.MULTILINE) else []),
        f"load {os.getloadavg()[0]:.1f}",
        f"Python {platform.python_version()}",
        *versions,
    ]
    return ", ".join(where)


def in_mount_namespace(module: str) -> None:
    """Run a benchmark again where tracefs is mounted, if it is not here; the host's mounts stay as they are."""
    if (_TRACEFS / "events").exists():
        return
    script = f'mount -t tracefs none {_TRACEFS} && exec "$@"'
    again = [sys.executable, "-m", module, *sys.argv[1:]]
    os.chdir(Path(__file__).parents[1])
    os.execvp("unshare", ["unshare", "--mount", "sh", "-c", script, "sh", *again])
