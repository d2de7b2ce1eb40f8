"""The kernels that the suite runs on: what they are called, where they come from, what they can do."""

from __future__ import annotations

import lzma
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from .apt import Apt
from .cache import VmError

__all__ = ["DEBIAN_ARCH", "KERNELS", "Files", "Kernel", "fetch", "named"]

#: architecture as ``uname -m`` prints it -> as Debian calls it
DEBIAN_ARCH = {"x86_64": "amd64", "aarch64": "arm64"}
#: modules that the guest loads, for the tests of modules: opening /dev/net/tun calls functions of tun
MODULES = ("drivers/net/tun",)
#: name of a kernel's image in the cache
IMAGE = "vmlinuz"


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
    #: the features (names of pybpf.sys.features) that it does not have; tests may skip for these alone
    lacks: frozenset[str] = frozenset()


# What upstream brought after a release, and what Debian's configuration or the emulated machine leaves out.
_AFTER_6_12 = frozenset({"acquire_release", "uprobe_session"})
_AFTER_6_1 = _AFTER_6_12 | {
    "arena", "cgrp_storage", "cpu_v4", "iter_num", "kfunc", "kprobe_session", "may_goto", "raw_tp_cookies",
    "token", "uprobe_multi",
}  # fmt: skip
# 5.10 has copy_from_user, but not the programs of type syscall that the probe asks about.
_AFTER_5_10 = _AFTER_6_1 | {
    "atomics", "batch_lpm_trie", "batch_percpu_array", "bloom_filter", "btf_decl_tag", "btf_enum64", "btf_float",
    "btf_type_tag", "cookies", "helper_copy_from_user", "helper_dynptr_from_mem", "helper_for_each_map_elem",
    "helper_get_attach_cookie", "helper_get_current_ancestor_cgroup_id", "helper_get_func_ip", "helper_get_func_ret",
    "helper_ktime_get_tai_ns", "helper_loop", "helper_snprintf", "kprobe_multi", "lookup_and_delete_hash",
    "memcg_accounting", "perf_link", "prog_syscall", "sleepable_uprobe", "task_storage", "test_run_syscall",
    "user_ringbuf", "fd_array",
}  # fmt: skip
#: bpf_get_current_comm left bytes behind the name from 5.18 to 6.1
_COMM_LEFT = frozenset({"comm_padded"})
#: QEMU emulates performance counters for aarch64 only
_NO_COUNTERS = frozenset({"perf_hardware"})
#: kprobe_multi is built on fprobes: x86_64 has them configured after 6.1, aarch64 after 6.12
_NO_FPROBE = frozenset({"kprobe_multi", "kprobe_session"})
#: trampolines came to aarch64 with 6.4
_NO_TRAMPOLINE = frozenset({"fentry", "fexit", "fmod_ret"})
#: from upstream 6.6, but Debian's 6.1 has it on x86_64
_NO_GOTOL = frozenset({"gotol"})

KERNELS = (
    Kernel("5.10-x86_64", "x86_64", "5.10", optional=True, lacks=_AFTER_5_10 | _NO_COUNTERS | _NO_GOTOL),
    Kernel("6.1-x86_64", "x86_64", "6.1", ci=True, lacks=_AFTER_6_1 | _NO_FPROBE | _NO_COUNTERS | _COMM_LEFT),
    Kernel("6.12-x86_64", "x86_64", "6.12", ci=True, lacks=_AFTER_6_12 | _NO_COUNTERS),
    Kernel("newest-x86_64", "x86_64", "", ci=True, lacks=_NO_COUNTERS),
    Kernel(
        "6.1-aarch64",
        "aarch64",
        "6.1",
        lacks=_AFTER_6_1 | _NO_FPROBE | _NO_TRAMPOLINE | _NO_GOTOL | _COMM_LEFT,
    ),
    Kernel("6.12-aarch64", "aarch64", "6.12", lacks=_AFTER_6_12 | _NO_FPROBE),
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


@dataclass(frozen=True)
class Files:
    """A kernel on disk."""

    version: str  #: as ``uname -r`` prints it
    image: Path
    modules: tuple[Path, ...]  #: to be loaded in the guest, uncompressed


def fetch(kernel: Kernel, apt: Apt, cache: Path) -> Files:
    """The kernel, downloaded unless the cache has it. :raises VmError: it cannot be had."""
    versions = _versions(kernel, apt)
    if not versions:
        raise VmError(f"Debian has no kernel {kernel.name} any more")
    failure = None
    # The lists may name a version whose package is gone already.
    for version, package in versions[:3]:
        path = cache / "boot" / version
        try:
            if not path.exists():
                _download(version, package, apt, path)
        except VmError as error:
            failure = error
            continue
        return Files(version, path / IMAGE, tuple(sorted(path.glob("*.ko"))))
    raise VmError(f"cannot download kernel {kernel.name}: {failure}")


def _download(version: str, package: str, apt: Apt, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    scratch = path.parent / f"{version}.new"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    tree, files = scratch / "tree", scratch / "files"
    files.mkdir()
    try:
        # linux-binary-VERSION has no modules
        packages = [package, *apt.names(f"linux-modules-{version}")]
        apt.unpack(packages, tree, scratch / "debs")
        images = [*tree.glob(f"boot/vmlinuz-{version}"), *tree.glob(f"**/{version}/vmlinuz")]
        if not images:
            raise VmError(f"package {package} has no kernel image")
        images[0].replace(files / IMAGE)
        for module in MODULES:
            for found in tree.glob(f"**/{module}.ko*"):
                data = found.read_bytes()
                packed = found.suffix == ".xz"
                (files / f"{found.name.partition('.')[0]}.ko").write_bytes(lzma.decompress(data) if packed else data)
        files.replace(path)
    finally:
        shutil.rmtree(scratch)
