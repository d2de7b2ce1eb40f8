"""A process that does on command what the reference probes look at.

A line ``NAME COUNT`` on stdin, ``done`` back, of ``paced`` with its seconds.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import time
from collections.abc import Callable


def _open() -> None:
    os.close(os.open("/etc/hostname", os.O_RDONLY))


def _connect(server: socket.socket) -> None:
    with socket.create_connection(server.getsockname()):
        server.accept()[0].close()


def _paced(count: int) -> float:
    """Two thousand bursts of so many calls, one a millisecond, or as fast as it can; the seconds that they took."""
    begin = time.monotonic()
    for burst in range(1, 2001):
        for _ in range(count):
            os.getppid()
        time.sleep(max(0, begin + burst / 1000 - time.monotonic()))
    return time.monotonic() - begin


def _work() -> dict[str, Callable[[], object]]:
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    server = socket.create_server(("127.0.0.1", 0))
    zero, null = os.open("/dev/zero", os.O_RDONLY), os.open("/dev/null", os.O_WRONLY)
    data = bytes(4096)
    signal.signal(signal.SIGURG, signal.SIG_IGN)

    def spin() -> None:
        end = time.monotonic() + 0.1
        while time.monotonic() < end:
            os.getppid()

    return {
        "open": _open,
        "connect": lambda: _connect(server),
        "malloc": lambda: libc.free(libc.malloc(100_000)),
        "read": lambda: os.read(zero, 4096),
        "write": lambda: os.write(null, data),
        "getppid": os.getppid,
        "sleep": lambda: time.sleep(0.0001),
        "signal": lambda: os.kill(os.getpid(), signal.SIGURG),
        "spin": spin,
        "lookup": lambda: socket.getaddrinfo("127.0.0.1", 80, flags=socket.AI_NUMERICHOST),
    }


def main() -> None:
    """Serve commands; ``exec`` starts this program anew in the same process."""
    left = int(sys.argv[1]) if len(sys.argv) > 1 else None
    if left:
        os.execv(sys.executable, [sys.executable, "-S", __file__, str(left - 1)])
    work = _work()
    if left is None:
        os.write(1, b"ready\n")
    else:
        os.write(1, b"done\n")
    for line in iter(lambda: _line(), ""):
        name, count = line.split()
        if name == "exec":
            os.execv(sys.executable, [sys.executable, "-S", __file__, count])
        if name == "paced":
            os.write(1, b"done %f\n" % _paced(int(count)))
            continue
        do = work[name]
        for _ in range(int(count)):
            do()
        os.write(1, b"done\n")


def _line() -> str:
    """One line of stdin, read without a buffer that an exec would lose."""
    found = b""
    while not found.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return ""
        found += byte
    return found.decode()


if __name__ == "__main__":
    main()
