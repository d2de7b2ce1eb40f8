"""A process that calls functions of the C library on command, as often as it is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

_SOURCE = r"""
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.strtol.restype = ctypes.c_long
libc.strlen.argtypes = [ctypes.c_char_p]
print("ready", flush=True)
for line in sys.stdin:
    for item in line.split():
        call, _, count = item.partition("*")
        name, *words = call.split(",")
        function = getattr(libc, name)
        args = [word[1:].encode() if word.startswith("'") else int(word) for word in words]
        for _ in range(int(count or 1)):
            function(*args)
    os.write(1, b"done\n")
"""


class Caller:
    """The process. Arguments of calls are integers, or text with an apostrophe before it."""

    def __init__(self, **kwargs: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _SOURCE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **kwargs
        )
        self.pid = self.process.pid
        self._expect("ready\n")
        self.comm = Path(f"/proc/{self.pid}/comm").read_text().rstrip("\n")

    def _expect(self, line: str) -> None:
        assert self.process.stdout and self.process.stdout.readline() == line

    def call(self, calls: str) -> None:
        """``"getppid*3 getpgid,0 strlen,'abc"``: these calls, so often; returns when they are made."""
        assert self.process.stdin
        self.process.stdin.write(calls + "\n")
        self.process.stdin.flush()
        self._expect("done\n")

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.communicate()
