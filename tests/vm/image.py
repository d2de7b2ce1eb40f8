"""The guest's root file system: one ext4 image per architecture, of unpacked Debian packages; made without root."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from .apt import Apt
from .cache import VmError
from .kernels import DEBIAN_ARCH

__all__ = ["Python", "Root", "build"]

PACKAGES = (
    "python3", "python3-pytest", "python3-hypothesis", "python3-pyelftools",
    "bash", "busybox-static", "coreutils", "dash", "libc-bin", "musl", "procps", "util-linux",
)  # fmt: skip
#: the packages that compiling Python code needs, and their version of Python
INTERPRETER = ("python3-minimal", "libpython3-stdlib", "python3-pytest")
PYTHON = "python3.11"
#: the dynamic loader of the host, to run the guest's Python there
LOADERS = {"x86_64": "lib64/ld-linux-x86-64.so.2", "aarch64": "lib/ld-linux-aarch64.so.1"}
DIRECTORIES = ("proc", "sys", "dev", "tmp", "run", "root", "mnt", "etc", "var/tmp")
#: trees that no test reads
USELESS = ("doc", "man", "locale", "info", "lintian", "zoneinfo", "bash-completion")
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/sh\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
}
SIZE = "384M"
#: seconds after which an image that no run used is removed; other checkouts may have other recipes
UNUSED = 7 * 24 * 3600
INIT = Path(__file__).with_name("init")


class Python:
    """The guest's Python, for the processor of this host.

    :raises VmError: it cannot be had.
    """

    def __init__(self, cache: Path) -> None:
        self.arch = os.uname().machine
        apt = Apt(cache, DEBIAN_ARCH[self.arch])
        apt.update()
        packages = apt.closure(INTERPRETER)
        key = hashlib.sha256(repr(sorted(packages.items())).encode()).hexdigest()[:16]
        self.tree = cache / "images" / f"python-{self.arch}-{key}"
        if not self.tree.exists():
            scratch = cache / "images" / "python.new"
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(parents=True)
            try:
                apt.unpack(sorted(packages), scratch / "tree", scratch / "debs")
                (scratch / "tree").replace(self.tree)
            finally:
                shutil.rmtree(scratch)

    def run(self, *arguments: str) -> None:
        """Run it; the guest does what fails here.

        It compiles what the guest would compile itself, 13 times slower; bytecode is the same on every architecture.
        """
        libraries = ":".join(str(self.tree / path / f"{self.arch}-linux-gnu") for path in ("lib", "usr/lib"))
        subprocess.run(
            [
                str(self.tree / LOADERS[self.arch]), "--library-path", libraries, str(self.tree / "usr/bin" / PYTHON),
                *arguments,
            ],
            env={"PYTHONHOME": str(self.tree / "usr"), "LC_ALL": "C.UTF-8"},
            stdout=subprocess.DEVNULL,  # a package may carry a file that is no Python 3, as test data
            stderr=subprocess.DEVNULL,
        )  # fmt: skip


@dataclass(frozen=True)
class Root:
    """What a guest's root file system is made from."""

    image: Path
    python: Python | None  #: compiles for it, on a host whose processor Debian knows


def build(arch: str, cache: Path, more: tuple[str, ...] = (), alone: tuple[str, ...] = (), size: str = SIZE) -> Root:
    """The root for ``arch`` (as ``uname -m`` prints it), made anew when a package or this recipe changed.

    :param more: packages that it has beside :data:`PACKAGES`.
    :param alone: others, without what they depend on.
    """
    apt = Apt(cache, DEBIAN_ARCH[arch])
    apt.update()
    packages = {**apt.closure((*PACKAGES, *more)), **dict.fromkeys(alone, "")}
    recipe = [Path(__file__).read_bytes(), INIT.read_bytes(), repr(sorted(packages.items())).encode()]
    key = hashlib.sha256(b"\0".join(recipe)).hexdigest()[:16]
    images = cache / "images"
    images.mkdir(exist_ok=True)
    python = Python(cache) if os.uname().machine in DEBIAN_ARCH else None
    image = images / f"{arch}-{key}.ext4"
    if not image.exists():
        print(f"making the {arch} root image", file=sys.stderr)
        scratch = images / f"{arch}.new"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        try:
            _make(apt, sorted(packages), python, scratch, size)
            (scratch / "image").replace(image)
        finally:
            shutil.rmtree(scratch)
    os.utime(image)
    for other in images.glob("*.ext4"):
        if time.time() - other.stat().st_mtime > UNUSED:
            other.unlink()
    return Root(image, python)


def _make(apt: Apt, packages: list[str], python: Python | None, scratch: Path, size: str) -> None:
    root = scratch / "root"
    apt.unpack(packages, root, scratch / "debs")
    for name in DIRECTORIES:
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in USELESS:
        shutil.rmtree(root / "usr/share" / name, ignore_errors=True)
    for name, text in FILES.items():
        (root / name).write_text(text)
    shutil.copy(INIT, root / "init")
    if python:
        trees = [str(root / "usr/lib" / PYTHON), str(root / "usr/lib/python3")]
        python.run("-m", "compileall", "-q", "-s", str(root), "-p", "/", *trees)
    _command(
        "mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-E", "root_owner=0:0",
        "-d", str(root), str(scratch / "image"), size,
    )  # fmt: skip


def _command(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise VmError(f"{command[0]} not found: apt-get install e2fsprogs") from None
    except subprocess.CalledProcessError as error:
        raise VmError(f"{command[0]}: {error.stderr.strip()}") from None
