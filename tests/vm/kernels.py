"""The kernels that the suite runs on: what they are called, where they come from, what they can do."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from .apt import Apt
from .cache import VmError

__all__ = ["DEBIAN_ARCH", "KERNELS", "Kernel", "fetch", "named"]

#: architecture as ``uname -m`` prints it -> as Debian calls it
DEBIAN_ARCH = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Kernel:
    """One kernel of the matrix: the newest cloud kernel of a series that Debian's archive has.

    Cloud kernels have NVMe and ext4 built in, so that they boot without an initramfs.
    """

    name: str
    arch: str  #: as ``uname -m`` prints it
    series: str  #: ``"6.1"``; empty: the newest of all
    ci: bool = False  #: runs by default and in CI
    optional: bool = False  #: Debian may drop it any day
    lacks: frozenset[str] = frozenset()  #: the features (of pybpf.sys.features) that tests may skip for


KERNELS = (
    Kernel("5.10-x86_64", "x86_64", "5.10", optional=True),
    Kernel("6.1-x86_64", "x86_64", "6.1", ci=True),
    Kernel("6.12-x86_64", "x86_64", "6.12", ci=True),
    Kernel("newest-x86_64", "x86_64", "", ci=True),
    Kernel("6.1-aarch64", "aarch64", "6.1"),
    Kernel("6.12-aarch64", "aarch64", "6.12"),
    Kernel("newest-aarch64", "aarch64", "", ci=True),
)


def named(name: str) -> Kernel:
    """:raises VmError: there is none of that name."""
    for kernel in KERNELS:
        if kernel.name == name:
            return kernel
    raise VmError(f"no kernel {name!r}; there are {', '.join(kernel.name for kernel in KERNELS)}")


def _versions(kernel: Kernel, apt: Apt) -> list[tuple[str, str]]:
    """(version, package) of a series, newest first."""
    arch = DEBIAN_ARCH[kernel.arch]
    series = re.escape(kernel.series + ".") if kernel.series else ""
    # Since 6.19 the image is in linux-binary-VERSION; linux-image-VERSION then only depends on it.
    pattern = re.compile(rf"linux-(image|binary)-({series}\d[^~]*-cloud-{arch})")
    found: dict[str, str] = {}
    for package in sorted(apt.names("linux-"), reverse=True):  # image sorts before binary, which wins
        match = pattern.fullmatch(package)
        if match:
            found[match[2]] = package
    return sorted(found.items(), key=lambda item: [int(part) for part in re.findall(r"\d+", item[0])], reverse=True)


def fetch(kernel: Kernel, apt: Apt, cache: Path) -> Path:
    """The kernel's image, downloaded unless the cache has it. :raises VmError: it cannot be had."""
    versions = _versions(kernel, apt)
    if not versions:
        raise VmError(f"Debian has no kernel {kernel.name} any more")
    failure = None
    # The lists may name a version whose package is gone already.
    for version, package in versions[:3]:
        path = cache / "kernels" / version
        if path.exists():
            return path
        try:
            return _download(version, package, apt, path)
        except VmError as error:
            failure = error
    raise VmError(f"cannot download kernel {kernel.name}: {failure}")


def _download(version: str, package: str, apt: Apt, path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    scratch = path.parent / f"{version}.new"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        apt.unpack([package], scratch / "tree", scratch / "debs")
        images = [*scratch.glob(f"tree/boot/vmlinuz-{version}"), *scratch.glob(f"tree/**/{version}/vmlinuz")]
        if not images:
            raise VmError(f"package {package} has no kernel image")
        images[0].replace(path)
        return path
    finally:
        shutil.rmtree(scratch)
