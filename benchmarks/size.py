"""Installed size: ``python -m benchmarks.size``.

Bytes of what an installation consists of: pybpf with its tools, and pyelftools, without compiled bytecode; as files,
which pip installs, and as the one file of ``make zipapp``, which is compressed and has no comments; beside it what
Debian's packages of bpftrace and BCC bring, with the libraries of LLVM that they need.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import elftools

import pybpf
from release.zipapp import build

__all__ = ["installed", "main", "of_packages"]

#: peer -> its packages, and beginnings of names of those that it needs and that few others do
PEERS = {"bpftrace": ("bpftrace",), "BCC": ("bpfcc-tools", "python3-bpfcc")}
_BROUGHT = ("libbcc", "libbpfcc", "libllvm", "libclang", "libbpf", "libdebuginfod", "libpfm")


def installed() -> int:
    """Bytes of pybpf and pyelftools as files."""
    library = Path(pybpf.__file__).parent
    folders = {library, library.parent / "programs", Path(elftools.__file__).parent}
    files = {file.resolve() for folder in folders if folder.is_dir() for file in folder.rglob("*") if file.is_file()}
    return sum(file.stat().st_size for file in files if "__pycache__" not in file.parts)


def _needed(package: str) -> Iterator[str]:
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Depends}", package], capture_output=True, text=True)
    for word in done.stdout.split(","):
        name = word.split("|")[0].split("(")[0].strip().partition(":")[0]
        if name.startswith(_BROUGHT):
            yield name
            yield from _needed(name)


def of_packages(packages: tuple[str, ...]) -> int:
    """Bytes of installed packages with what they bring; 0 where the first of them is not installed."""
    names = {each for package in packages for each in (package, *_needed(package))}
    total = 0
    for name in names:
        done = subprocess.run(["dpkg-query", "-W", "-f", "${Installed-Size}", name], capture_output=True, text=True)
        if done.returncode == 0 and done.stdout.isdigit():
            total += int(done.stdout) * 1024
        elif name == packages[0]:
            return 0
    return total


def main() -> None:
    """Print the sizes, as JSON if that is asked."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "pybpf.pyz")
        build(file)
        sizes = {"pybpf": installed(), "one file": file.stat().st_size}
    if shutil.which("dpkg-query"):
        sizes.update({peer: size for peer, packages in PEERS.items() for size in [of_packages(packages)] if size})
    if "--json" in sys.argv:
        print(json.dumps(sizes))
        return
    for name, size in sizes.items():
        print(f"{name:<10}{size / 1e6:>8.2f} MB")


if __name__ == "__main__":
    main()
