"""``python -m tests.vm.beside``: BCC's tools and pybpf's at once, on the same processes; what they print is compared.

BCC is Debian's ``bpfcc-tools``; it compiles each tool in the guest, so that all of it takes a quarter of an hour.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from .. import image, kernels, qemu, suite
from ..apt import Apt
from ..cache import VmError, locked
from . import guest

KERNEL = "6.1-x86_64"
TIMEOUT = 3600.0


def _headers(version: str) -> tuple[str, ...]:
    """The packages with the headers of a kernel of Debian, as 6.1.0-57-cloud-amd64."""
    common = "-".join(version.split("-")[:2])
    return f"linux-headers-{version}", f"linux-headers-{common}-common"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.vm.beside", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--table", metavar="FILE", type=Path, help="write the results as a Markdown table")
    parser.add_argument("--here", action="store_true", help="on this machine, which has BCC and sets "
                        "BCC_KERNEL_SOURCE: what needs no kprobes")  # fmt: skip
    parser.add_argument("-k", metavar="TEXT", default="", help="only command lines with this in them")
    options = parser.parse_args()
    if options.here:
        return guest.main(options.k, options.table or Path(os.devnull), anywhere=True)
    kernel = kernels.named(KERNEL)
    try:
        qemu.check_host(kernel.arch)
        with locked() as cache:
            files = kernels.fetch(kernel, Apt(cache, kernels.DEBIAN_ARCH[kernel.arch]), cache)
            root = image.build(kernel.arch, cache, ("bpfcc-tools",), _headers(files.version), "1536M")
        with tempfile.TemporaryDirectory(prefix="pybpf-vm-") as directory:
            out = Path(directory)
            command = ["python3", "-m", "tests.vm.beside.guest", options.k]
            done = qemu.run(kernel.arch, files, root, suite.SOURCE, command, out, timeout=TIMEOUT, show=True)
            if done.status in qemu.ENDINGS:
                raise VmError(f"the guest {qemu.ENDINGS[done.status]}")
            if options.table:
                options.table.write_text((out / "table.md").read_text("utf-8"), encoding="utf-8")
    except VmError as error:
        print(f"tests.vm.beside: {error}", file=sys.stderr)
        return 1
    return done.status


if __name__ == "__main__":
    sys.exit(main())
