"""The same work done with other tools: scripts for BCC, and how they are run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

__all__ = ["bcc", "has_bcc"]

#: BCC comes as a package of the distribution, for its Python
_PYTHON = "/usr/bin/python3"
#: the version that the headers in BCC_KERNEL_SOURCE are of is told to BCC, so that it does not look at the kernel's
_ENVIRONMENT = {"BCC_LINUX_VERSION_CODE": "393472", **os.environ}


def has_bcc() -> bool:
    """Whether BCC is installed, and told by ``BCC_KERNEL_SOURCE`` where a tree of kernel headers is."""
    if "BCC_KERNEL_SOURCE" not in os.environ or not os.path.exists(_PYTHON):
        return False
    return subprocess.run([_PYTHON, "-c", "import bcc"], capture_output=True).returncode == 0


def bcc(script: str, *arguments: object) -> list[float]:
    """The numbers that a script of this folder prints in its last line."""
    command = [_PYTHON, str(Path(__file__).parent / script), *map(str, arguments)]
    done = subprocess.run(command, env=_ENVIRONMENT, check=True, stdout=subprocess.PIPE, text=True)
    return list(map(float, done.stdout.splitlines()[-1].split()))
