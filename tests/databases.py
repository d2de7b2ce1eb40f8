"""Database servers of the tests' own: each in a directory, reached by a socket in it."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

POSTGRES = max(glob.glob("/usr/lib/postgresql/*/bin"), default=None)
MARIADB = shutil.which("mariadbd", path="/usr/sbin:/usr/libexec")


@contextmanager
def postgres() -> Iterator[Path]:
    """A PostgreSQL server; its directory."""
    if POSTGRES is None or not shutil.which("psql"):
        pytest.skip("PostgreSQL is not installed")
    user = pwd.getpwnam("postgres")
    with tempfile.TemporaryDirectory() as directory:
        os.chown(directory, user.pw_uid, user.pw_gid)
        quiet = {"user": user.pw_uid, "group": user.pw_gid, "cwd": directory, "stdout": subprocess.DEVNULL}
        data = f"{directory}/data"
        subprocess.run([f"{POSTGRES}/initdb", "-A", "trust", "-N", "-D", data], check=True, **quiet)  # type: ignore
        options = f"-k {directory} -h '' -F"
        control = [f"{POSTGRES}/pg_ctl", "-D", data, "-w", "-l", f"{directory}/log"]
        subprocess.run([*control, "-o", options, "start"], check=True, **quiet)  # type: ignore
        try:
            yield Path(directory)
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], check=True, **quiet)  # type: ignore


class Client:
    """A connection to a server: an interactive client, which is told a query a line."""

    def __init__(self, *command: str) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self._process.pid

    def ask(self, query: str) -> str:
        """The first line that the server answers, which must have one."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(query + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().rstrip("\n")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate()


def postgres_client(directory: Path) -> Client:
    return Client("psql", "-h", str(directory), "-U", "postgres", "-X", "-q", "-A", "-t")


@contextmanager
def mariadb() -> Iterator[tuple[int, Client]]:
    """A MariaDB server, without tables of its own and without rights; its process id, and a connection."""
    if MARIADB is None or not shutil.which("mariadb"):
        pytest.skip("MariaDB is not installed")
    with tempfile.TemporaryDirectory() as directory:
        socket = Path(directory) / "socket"
        (Path(directory) / "data").mkdir()
        files = [f"--datadir={directory}/data", f"--socket={socket}", f"--pid-file={directory}/pid"]
        less = ["--skip-networking", "--skip-grant-tables", "--skip-innodb", "--default-storage-engine=MyISAM"]
        options = ["--user=root", *files, *less]
        quiet = subprocess.DEVNULL
        with subprocess.Popen([MARIADB, "--no-defaults", *options], stdout=quiet, stderr=quiet) as server:
            try:
                deadline = time.monotonic() + 60
                while not socket.exists() and server.poll() is None and time.monotonic() < deadline:
                    time.sleep(0.05)
                assert socket.exists(), "the server does not start"
                with Client("mariadb", "--no-defaults", "-S", str(socket), "-N", "-B", "-n", "-f") as client:
                    yield server.pid, client
            finally:
                server.terminate()
