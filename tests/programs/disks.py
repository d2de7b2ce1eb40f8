"""Disks of the tests' own: loop devices over files."""

from __future__ import annotations

import fcntl
import mmap
import os
from pathlib import Path

#: include/uapi/linux/loop.h
LOOP_SET_FD, LOOP_CLR_FD, LOOP_CTL_GET_FREE = 0x4C00, 0x4C01, 0x4C82
SIZE = 1 << 20
BLOCK = 4096


class Disk:
    """A loop device over a file."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(SIZE))
        with open("/dev/loop-control", "rb") as control:
            self.name = f"loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}"
        self.path = f"/dev/{self.name}"
        if not os.path.exists(self.path):  # without devtmpfs
            os.mknod(self.path, 0o600 | 0o060000, os.makedev(7, int(self.name[4:])))
        self.device = os.open(self.path, os.O_RDWR)
        with open(path, "rb+") as file:
            fcntl.ioctl(self.device, LOOP_SET_FD, file.fileno())
        self.direct = os.open(self.path, os.O_RDWR | os.O_DIRECT)
        self.buffer = mmap.mmap(-1, BLOCK)

    def read(self, count: int) -> None:
        """So many requests."""
        for number in range(count):
            assert os.preadv(self.direct, [self.buffer], number % (SIZE // BLOCK) * BLOCK) == BLOCK

    def write(self, count: int) -> None:
        for number in range(count):
            assert os.pwritev(self.direct, [self.buffer], number % (SIZE // BLOCK) * BLOCK) == BLOCK

    def close(self) -> None:
        os.close(self.direct)
        fcntl.ioctl(self.device, LOOP_CLR_FD)
        os.close(self.device)
        self.buffer.close()
