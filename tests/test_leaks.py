"""The leak checks themselves: a check that cannot fail is worth nothing."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys

import pytest

from pybpf.arch import host_arch
from pybpf.sys.libc import syscall
from tests import leaks

_BPF_MAP_CREATE = 0


def _map(name: bytes) -> int:
    """The descriptor of a new array map of one u32."""
    # map_type=ARRAY, key_size, value_size, max_entries, map_flags, inner_map_fd, numa_node, map_name
    attr = struct.pack("=7I16s", 2, 4, 4, 1, 0, 0, 0, name)
    buffer = ctypes.create_string_buffer(attr, len(attr))
    return syscall(host_arch().nr_bpf, _BPF_MAP_CREATE, ctypes.addressof(buffer), len(attr))


def test_descriptors_names_what_is_open() -> None:
    before = leaks.descriptors()
    with open("/dev/null", "rb") as file:
        assert leaks.descriptors().items() - before.items() == {(file.fileno(), "/dev/null")}
    assert leaks.descriptors() == before


@pytest.mark.root
def test_a_map_that_stays_is_found_by_name() -> None:
    before = leaks.bpf_objects()
    assert before is not None
    fd = _map(b"left_behind")
    try:
        left = [str(found) for found in leaks.leaked(before, 0.3)]
        assert [text.split()[0] for text in left if text.endswith("'left_behind'")] == ["map"], left
    finally:
        os.close(fd)
    assert not any(str(found).endswith("'left_behind'") for found in leaks.leaked(before, 20))


@pytest.mark.root
def test_a_map_of_another_process_is_not_ours() -> None:
    before = leaks.bpf_objects()
    assert before is not None
    read, write = os.pipe()
    # A grandchild whose parent has gone is no descendant of ours: the shape of an unrelated process.
    code = (
        "import os, sys; from tests.test_leaks import _map\n"
        f"if os.fork() == 0: fd = _map(b'theirs'); print(os.getpid(), flush=True); os.read({read}, 1)"
    )
    try:
        with subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, pass_fds=[read], text=True
        ) as child:
            assert child.stdout is not None
            assert int(child.stdout.readline()) > 0
            child.wait()
            new = (leaks.bpf_objects() or set()) - before
            assert any(str(found).endswith("'theirs'") for found in new), new
            assert not any(str(found).endswith("'theirs'") for found in leaks.leaked(before, 0.3))
            os.close(write)
            write = -1
            assert child.stdout.read() == ""
    finally:
        os.close(read)
        if write >= 0:
            os.close(write)
