"""``path``: by the kernel's helper and by the walk over dentries, compared with what /proc says of open files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pybpf import CompileError, Struct, Tracer, char, u32
from pybpf.compiler.target import Target
from pybpf.lang import cast, current_task, path
from tests.conftest import IN_VM

pytestmark = pytest.mark.root
LIBC = "libc.so.6"
BTF = "/sys/kernel/btf/vmlinux"
#: opens the files of its arguments, deletes the first, and calls a function with each number that it reads
CODE = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
files = [os.open(each, os.O_RDONLY) for each in sys.argv[1:]]
os.unlink(sys.argv[1])
print(*files, *os.pipe(), flush=True)
for line in sys.stdin:
    libc.posix_fadvise(int(line), 0, 0, 0)
    print("done", flush=True)
"""


class Opened(Struct):
    fd: u32
    path: char[512]
    short: char[6]


class Files:
    """A process with open files.

    :ivar numbers: their descriptors; the last two are those of a pipe.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        self.process = process
        self.pid = process.pid
        self.numbers = [int(each) for each in process.stdout.readline().split()]

    def touch(self, number: int) -> None:
        assert self.process.stdin and self.process.stdout
        print(number, file=self.process.stdin, flush=True)
        assert self.process.stdout.readline() == "done\n"

    def name(self, number: int) -> str:
        return os.readlink(f"/proc/{self.pid}/fd/{number}")


@contextmanager
def holding(*names: str) -> Iterator[Files]:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", CODE, *names], stdin=pipe, stdout=pipe, text=True) as process:
        yield Files(process)
        assert process.stdin
        process.stdin.close()


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    deep = tmp_path / ("d" * 200) / "x" / ("n" * 255)
    deep.parent.mkdir(parents=True)
    (tmp_path / "gone").touch()
    deep.touch()
    (tmp_path / "link").symlink_to(deep)
    names = [tmp_path / "gone", tmp_path, deep, tmp_path / "link"]
    with holding(*map(str, names), "/", "/proc", "/proc/self/status", "/dev/null", "/sys/kernel/notes") as found:
        yield found


def check(event: Opened, name: str) -> None:
    assert (event.path, event.short) == (name[:511], name[:5])


@pytest.mark.needs("uprobe")
# an emulated processor verifies the forms of old kernels for minutes; each kernel has its own form in any case
@pytest.mark.parametrize("release", [""] if IN_VM else ["", "4.18", "5.4"])
def test_walk(files: Files, release: str) -> None:
    """Also in the form for other kernels, which this one takes, too."""
    tracer = Tracer(pid=files.pid, target=Target.described(release, types=BTF) if release else None)
    opened = tracer.events(Opened)

    @tracer.uprobe(LIBC, "posix_fadvise")
    def on_call(fd: u32):  # type: ignore[no-untyped-def]
        file = current_task().files.fdt.fd[fd]
        opened.emit(fd, path(file), path(file.f_path))

    with tracer:
        for number in files.numbers[:-2]:
            files.touch(number)
            (event,) = opened.poll(10)
            check(event, files.name(number))
        files.touch(files.numbers[-1])
        assert [event.path for event in opened.poll(10)] == ["/"]  # a pipe


@pytest.mark.needs("uprobe")
def test_no_file(files: Files) -> None:
    tracer = Tracer(pid=files.pid)
    opened = tracer.events(Opened)

    @tracer.uprobe(LIBC, "posix_fadvise")
    def on_call(fd: u32):  # type: ignore[no-untyped-def]
        name = path(cast("struct file", fd), 64)
        opened.emit(fd + (name == ""), name)

    with tracer:
        files.touch(0)
        assert opened.poll(10) == [Opened(1)]


def test_helper_in_an_iterator(files: Files) -> None:
    tracer = Tracer()
    opened = tracer.events(Opened)
    process = files.pid

    @tracer.iterator("task_file")
    def each_file(task, fd, file):  # type: ignore[no-untyped-def]
        if task is not None and task.tgid == process and file is not None:
            opened.emit(fd, path(file), path(file.f_path))

    with tracer:
        (link,) = tracer.links(each_file)
        list(link.read())  # type: ignore[union-attr]
        events = opened.read()
    assert {event.fd for event in events} >= {*files.numbers}
    for event in events:
        check(event, files.name(event.fd))


def refused(probe: Any, types: str | None = BTF) -> str:
    tracer = Tracer()
    tracer.uprobe(LIBC, "getppid")(probe)
    with pytest.raises(CompileError) as caught:
        tracer.compile(Target.described("6.12", types=types))
    return caught.value.message


def test_refusals() -> None:
    assert refused(lambda: path(3)) == (
        "path() takes a pointer to a struct file or a struct path, not 3; write path(cast(\"struct file\", x)) if it "
        "is one"
    )
    assert "not a pointer to struct task_struct" in refused(lambda: path(current_task()))
    assert refused(lambda: path(current_task().mm.exe_file, 5000)) == (
        "the size of a path is a constant of 1 to 4096 bytes, not 5000"
    )
    assert "types" in refused(lambda: path(cast("struct file", 1)), None)
