"""Probes at functions of the kernel, and what only those can do: exact counts of what this process does."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from pybpf.arch import host_arch
from pybpf.attach.listing import list_probes
from pybpf.errors import BpfError
from tests.bt.harness import Done, traced

pytestmark = [pytest.mark.root, pytest.mark.needs("kprobe")]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    os.close(read)
    os.close(write)


def wrote(script: str, pipe: tuple[int, int]) -> Done:
    """Run a script while this process writes five bytes four times, two times three by another call, and reads once."""

    def act() -> None:
        for _ in range(4):
            os.write(pipe[1], b"12345")
        for _ in range(2):
            os.writev(pipe[1], [b"a", b"bc"])
        os.read(pipe[0], 77)

    return traced(script, act)


def test_entry_and_return(pipe: tuple[int, int]) -> None:
    register = host_arch().arguments[2]
    done = wrote(
        "kprobe:vfs_write, kprobe:vfs_read /arg2 == 5 || arg2 == 77/ { @n[probe] = count(); @size = sum(arg2);"
        " @from[func] = count(); }"
        f' kprobe:vfs_write /arg2 == 5/ {{ @mine = count(); @same = reg("{register}") == arg2; @start[tid] = nsecs; }}'
        " kretprobe:vfs_write /@start[tid]/ { @took = nsecs > @start[tid]; @ret = sum(retval); delete(@start, tid); }"
        " kretprobe:vfs_read /retval == 26/ { @read = count(); }",
        pipe,
    )
    assert done.maps["n"] == {"kprobe:vfs_write": 4, "kprobe:vfs_read": 1}
    assert done.maps["from"] == {"vfs_write": 4, "vfs_read": 1}
    assert done.maps["size"] == 4 * 5 + 77
    assert (done.maps["mine"], done.maps["same"], done.maps["took"]) == (4, True, True)
    assert (done.maps["ret"], done.maps["read"], done.maps["start"]) == (20, 1, {})


def test_wildcards(pipe: tuple[int, int]) -> None:
    done = wrote(
        "kprobe:vfs_writ* { @[func] = count(); @where[probe] = count(); } kretprobe:vfs_writ* { @ret = sum(retval); }"
        " kprobe:vmlinux:vfs_write { @module = count(); }",
        pipe,
    )
    assert done.maps[""]["vfs_write"] == 4
    assert done.maps["where"]["kprobe:vfs_write"] == 4
    # where vfs_writev is a function of its own
    assert done.maps["ret"] in (20, 26) and done.maps["module"] == 4


def test_inside_of_a_function(pipe: tuple[int, int]) -> None:
    """At the next instruction, whose offset depends on the kernel."""
    for offset in (5, 9, 4, 8, 12):
        try:
            done = wrote(f"kprobe:vfs_write+{offset} {{ @ = count(); @at = func; }}", pipe)
        except BpfError:
            continue
        if done.maps[""] is not None:
            break
    assert done.maps == {"": 4, "at": "vfs_write"}


def test_function_of_a_module() -> None:
    listed = (probe.name for probe in list_probes("kprobe:*:*"))
    name = next((name for name in listed if not name.startswith(("kprobe:vmlinux:", "kprobe:_"))
                 and name.count(":") == 2), None)  # fmt: skip
    if name is None:
        pytest.skip("no function of a module can be traced")
    assert traced(f"{name} {{ @ = count(); }}").maps == {"": None}


@pytest.mark.needs("fentry")
def test_trampolines(pipe: tuple[int, int]) -> None:
    done = wrote(
        "fentry:vfs_write { @n = count(); @size = sum(args.count); @mode = args.file.f_inode.i_mode; @first = arg2; }"
        " fexit:vfs_write /args.count == 5/ { @ret = sum(retval); @both = count(); }"
        " fexit:vfs_read /retval == 26/ { @read = count(); }"
        " fentry:vfs_writ* { @many[func] = count(); } fentry:vmlinux:vfs_write { @module = count(); }",
        pipe,
    )
    assert (done.maps["n"], done.maps["size"], done.maps["first"], done.maps["mode"] >> 12) == (4, 20, 5, 1)
    assert (done.maps["ret"], done.maps["both"], done.maps["read"], done.maps["module"]) == (20, 4, 1, 4)
    assert done.maps["many"]["vfs_write"] == 4


# functions that this machine may not call, or whose symbols it hides


def test_data_of_the_kernel() -> None:
    done = traced(
        'begin { $p = (struct rq *)percpu_kaddr("runqueues", 0); @cpu = $p->cpu; @j = *kaddr("jiffies") <= jiffies;'
        ' @none = percpu_kaddr("runqueues", 9999); @mine = ((struct rq *)percpu_kaddr("runqueues"))->cpu == cpu; }'
    )
    assert done.maps == {"cpu": 0, "none": 0, "mine": True, "j": True}


def test_memory_of_the_process_is_written() -> None:
    script = (
        'tracepoint:syscalls:sys_enter_openat { if (str(args.filename, 6) == "/nope") {'
        ' @ok = write_user(args.filename, "/dev/null", 10); } }'
    )
    found: list[str] = []

    def act() -> None:
        file = os.open("/nope" + 20 * "x", os.O_RDONLY)
        found.append(os.readlink(f"/proc/self/fd/{file}"))
        os.close(file)

    assert traced(script, act, unsafe=True).maps == {"ok": True}
    assert found == ["/dev/null"]


@pytest.mark.needs("fentry")
def test_cookies_of_sockets() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        cookie = int.from_bytes(client.getsockopt(socket.SOL_SOCKET, 57, 8), "little")  # SO_COOKIE
        script, address = "fentry:tcp_connect { @ = socket_cookie(args.sk); }", server.getsockname()
        done = traced(script, lambda: client.connect(address))
    assert done.maps[""] == cookie
