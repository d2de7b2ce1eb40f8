"""In the guests of tests/vm the command runs as a fork: it does the same as a new process."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import termios
import time
from array import array

import pytest

from tests import forks


def outcome(kind: type[subprocess.Popen[str]], words: list[str]) -> tuple[str, str, int]:
    pipe = subprocess.PIPE
    environment = {**os.environ, "COLUMNS": "60"}
    with kind(
        [sys.executable, "-m", "pybpf", *words], stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment
    ) as process:
        out, err = process.communicate("r0 = 7\nexit\n")
    return out, err, process.returncode


@pytest.mark.parametrize(
    "words", [[], ["--version"], ["asm", "-"], ["asm", "/nonexistent"], ["sysocunt"], ["asm", "--help"]], ids=" ".join
)
def test_says_and_returns_the_same(words: list[str]) -> None:
    assert outcome(forks.Popen, words) == outcome(subprocess.Popen, words)


def test_a_closed_pipe_is_no_signal() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "pybpf"]
    with forks.Popen(command, stdout=write, stderr=subprocess.PIPE) as process:
        os.close(write)
        assert process.wait() == 0
        assert process.stderr is not None and process.stderr.read() == b""


def test_is_interrupted_as_a_process_is() -> None:
    read, write = os.pipe()
    with forks.Popen([sys.executable, "-m", "pybpf", "asm", "-"], stdin=read, stderr=subprocess.PIPE) as process:
        os.close(read)
        os.write(write, b"r0 = 7")
        waiting = array("i", [1])
        while waiting[0]:  # until it reads
            time.sleep(0.01)
            fcntl.ioctl(write, termios.FIONREAD, waiting)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stderr is not None and process.stderr.read() == b""
    os.close(write)
