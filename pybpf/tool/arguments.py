"""What the values of options may be: functions from text to a value, for argparse; each says what is wrong."""

from __future__ import annotations

import argparse
import errno
import os
import re
from collections.abc import Iterable
from contextlib import suppress

__all__ = [
    "bits",
    "command_line",
    "cpu",
    "error_number",
    "netns",
    "new_file",
    "not_negative",
    "pages",
    "pid",
    "pids",
    "ports",
    "positive",
    "regex",
    "seconds",
    "signal_number",
    "size",
    "syscall",
    "text_size",
    "tid",
    "tids",
    "user",
    "whole",
    "wrong",
]

#: the highest number of most things, as of a system call
_MOST_NUMBER = (1 << 31) - 1
_MOST_SIZE = (1 << 63) - 1
#: a gigabyte
_MOST_PAGES = 1 << 18
#: the longest path, and more than what is read of a command line
_MOST_TEXT = 4096


def whole(text: str, least: int = -_MOST_NUMBER, most: int = _MOST_NUMBER) -> int:
    """A whole number between two."""
    number = int(text) if text.isascii() else None
    if number is None or not least <= number <= most:
        raise argparse.ArgumentTypeError(f"{text} is no whole number from {least} to {most}")
    return number


def positive(text: str) -> int:
    """A whole number above zero."""
    return whole(text, 1)


def not_negative(text: str) -> int:
    """A whole number, zero or above."""
    return whole(text, 0)


def size(text: str) -> int:
    """A number of bytes."""
    return whole(text, 0, _MOST_SIZE)


def pages(text: str) -> int:
    """How large a buffer for events is, in pages of 4 KiB."""
    return whole(text, 1, _MOST_PAGES)


def text_size(text: str) -> int:
    """How long texts can be that are read of a process, in bytes with the NUL."""
    return whole(text, 1, _MOST_TEXT)


def cpu(text: str) -> int:
    """The number of a CPU that is online."""
    from pybpf.sys.cpus import online_cpus

    number = whole(text, 0)
    if number not in online_cpus():
        raise argparse.ArgumentTypeError(f"there is no CPU {number} online")
    return number


def bits(text: str) -> int:
    """A mask of at most 32 bits, decimal or hexadecimal (``0x...``)."""
    number = int(text, 0)
    if not 0 <= number < 1 << 32:
        raise argparse.ArgumentTypeError(f"{text} is no mask of 32 bits")
    return number


def seconds(text: str) -> float:
    """A time in seconds, a millisecond at least and finite; fractions are fine."""
    number = float(text)
    if not 0.001 <= number < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is not a time in seconds above zero (the least is 0.001)")
    return number


def tid(text: str) -> int:
    """The id of a thread that exists; a process is its first thread."""
    number = positive(text)
    if not os.path.exists(f"/proc/{number}"):
        raise argparse.ArgumentTypeError(f"there is no process or thread {number}")
    return number


def pid(text: str) -> int:
    """The id of a process that exists."""
    number = tid(text)
    with suppress(OSError), open(f"/proc/{number}/status", encoding="ascii", errors="replace") as file:
        process = next((int(line.split()[1]) for line in file if line.startswith("Tgid:")), number)
        if process != number:
            raise argparse.ArgumentTypeError(f"{number} is a thread of process {process}, not a process")
    return number


def pids(text: str) -> int | tuple[int, ...]:
    """Processes that exist, between commas; of one only, its id."""
    found = tuple(dict.fromkeys(map(pid, text.split(","))))
    return found if len(found) > 1 else found[0]


def tids(text: str) -> int | tuple[int, ...]:
    """Threads that exist, between commas; of one only, its id."""
    found = tuple(dict.fromkeys(map(tid, text.split(","))))
    return found if len(found) > 1 else found[0]


def user(text: str) -> int:
    """A user, by name or number."""
    if text.isdecimal() and int(text) < 1 << 32:
        return int(text)
    from pwd import getpwnam

    try:
        return getpwnam(text).pw_uid
    except KeyError:
        raise argparse.ArgumentTypeError(f"there is no user {text!r}; give a name or a number") from None


def syscall(text: str) -> int:
    """A system call of this machine, by name or number."""
    from pybpf.arch import host_arch, syscall_names
    from pybpf.sys.near import near

    numbers = {name: number for number, name in syscall_names(host_arch()).items()}
    number = numbers.get(text, int(text) if text.isdecimal() else None)
    if number is None or number > _MOST_NUMBER:
        alike = near(text, numbers, 1) if "," not in text else ()
        hint = f"did you mean {alike[0]}?" if alike else "one name, of those that --list shows"
        raise argparse.ArgumentTypeError(f"no system call {text!r} on {host_arch().name}; {hint}")
    return number


def error_number(text: str) -> int:
    """An error by name (``ENOENT``) or number."""
    number = getattr(errno, text.upper(), None) if not text.isdecimal() else int(text)
    if not isinstance(number, int) or not 0 < number < 4096:
        raise argparse.ArgumentTypeError(f"no error {text!r}; write a name such as ENOENT, or its number")
    return number


def ports(text: str) -> list[int]:
    """Port numbers between commas: ``"80,443"``."""
    found = [int(each) if each.isdecimal() else -1 for each in text.split(",")]
    if not all(0 < each < 1 << 16 for each in found):
        raise argparse.ArgumentTypeError(f"{text!r} is no port, or ports between commas: numbers from 1 to 65535")
    return found


def netns(text: str) -> int:
    """A network namespace: by a process in it, by its name (``ip netns``) or by a file. Its inode number."""
    path = f"/proc/{text}/ns/net" if text.isdecimal() else text if "/" in text else f"/run/netns/{text}"
    try:
        return os.stat(path).st_ino
    except OSError as error:
        why = f"no network namespace {text!r}: {path}: {error.strerror}"
        raise argparse.ArgumentTypeError(f"{why}; give a process, a name, or a file") from None


def new_file(text: str) -> str:
    """A file that can be written, or made: its path. It is left alone until there is something to write."""
    directory = os.path.dirname(text) or "."
    if os.path.isdir(text):
        raise argparse.ArgumentTypeError(f"{text} is a directory")
    if not os.path.isdir(directory):
        raise argparse.ArgumentTypeError(f"there is no directory {directory}")
    if not os.access(text if os.path.exists(text) else directory, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text} cannot be written")
    return text


def signal_number(text: str) -> int:
    """A signal by name (``SIGTERM``, ``TERM``) or number."""
    import signal

    if text.isdecimal() and 0 <= int(text) < signal.NSIG:
        return int(text)
    name = text.upper() if text.upper().startswith("SIG") else f"SIG{text.upper()}"
    if name in signal.Signals.__members__:
        return int(signal.Signals[name])
    raise wrong(text, "a signal", signal.Signals.__members__)


def command_line(text: str) -> list[str]:
    """A command in one word, as a shell reads it: ``"ls -l 'a b'"``."""
    from shlex import split

    try:
        words = split(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} cannot be read as a command: {error}") from None
    if not words:
        raise argparse.ArgumentTypeError("the command is empty")
    return words


def wrong(text: str, what: str, known: Iterable[str] = ()) -> argparse.ArgumentTypeError:
    """The error for a value that is not ``what``; says which of ``known`` comes close."""
    from pybpf.sys.near import did_you_mean

    return argparse.ArgumentTypeError(f"{text!r} is not {what}{did_you_mean(text, known)}")


def regex(text: str) -> re.Pattern[str]:
    """A regular expression of Python."""
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from None
