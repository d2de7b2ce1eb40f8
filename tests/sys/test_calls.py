"""System calls by ctypes: errno, addresses, the fields of bpf(2)'s attr, perf events, CPUs."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import re
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybpf.arch import host_arch
from pybpf.errors import PackError
from pybpf.sys import bpf as bpf_module
from pybpf.sys import cpus
from pybpf.sys.bpf import ATTR_SIZE, AttachType, Attr, Cmd, MapType, ProgType, bpf, bpf_raw
from pybpf.sys.fd import Fd
from pybpf.sys.libc import address, syscall, syscall4
from pybpf.sys.perf import AttrFlag, Ioctl, PerfType, Software, perf_event_open, perf_ioctl

_HEADER = Path("/usr/include/linux/bpf.h")
_GETPID = {"x86_64": 39, "aarch64": 172}[host_arch().name]


def test_syscall_gives_results_and_errors() -> None:
    assert syscall(_GETPID) == os.getpid() == syscall4(_GETPID, 0, 0, 0)
    with pytest.raises(OSError) as caught:
        syscall(0xFFFF)
    assert caught.value.errno == errno.ENOSYS
    assert syscall4(0xFFFF, 0, 0, 0) == -errno.ENOSYS


def test_addresses() -> None:
    data = b"some bytes\0with a zero"
    assert ctypes.string_at(address(data), len(data)) == data
    buffer = ctypes.create_string_buffer(b"xyz")
    assert address(buffer) == ctypes.addressof(buffer)
    assert address(None) == 0
    assert address(b"") != 0


@pytest.mark.parametrize("cmd", Cmd)
def test_every_command_has_fields_that_fit(cmd: Cmd) -> None:
    attr = Attr(cmd)
    fields = bpf_module._FIELDS[cmd]
    assert fields
    for name, (offset, code) in fields.items():
        assert offset + code.size <= ATTR_SIZE
        assert offset % (code.size if code.size <= 8 else 4) == 0, name
        assert attr[name] in (0, bytes(16))


@given(st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 64) - 1))
def test_fields_are_stored_and_read(small: int, large: int) -> None:
    attr = Attr(Cmd.MAP_CREATE, max_entries=small, map_extra=large, map_name=b"name")
    assert (attr["max_entries"], attr["map_extra"], attr["map_name"]) == (small, large, b"name".ljust(16, b"\0"))
    assert attr["key_size"] == 0


def test_unknown_fields_and_values_are_refused() -> None:
    with pytest.raises(KeyError):
        Attr(Cmd.MAP_CREATE, nonsense=1)
    with pytest.raises(PackError):
        Attr(Cmd.MAP_CREATE, max_entries=1 << 32)
    with pytest.raises(PackError):
        Attr(Cmd.MAP_CREATE, max_entries=-1)


def test_pointers_stay_alive() -> None:
    attr = Attr(Cmd.PROG_LOAD, license=b"GPL" + os.urandom(4).hex().encode() + b"\0")
    kept = ctypes.string_at(attr["license"])
    assert kept.startswith(b"GPL") and len(kept) == 11


@pytest.mark.skipif(not _HEADER.exists(), reason="the kernel's headers are not installed")
@pytest.mark.parametrize(
    ("enum", "start"),
    [(Cmd, "BPF_"), (MapType, "BPF_MAP_TYPE_"), (ProgType, "BPF_PROG_TYPE_"), (AttachType, "BPF_")],
)
def test_enums_agree_with_the_header(enum: type[Cmd], start: str) -> None:
    kernel = {Cmd: "bpf_cmd", MapType: "bpf_map_type", ProgType: "bpf_prog_type", AttachType: "bpf_attach_type"}[enum]
    found = re.search(rf"enum {kernel} {{(.*?)\n}};", _HEADER.read_text(), re.DOTALL)
    assert found
    names: dict[str, int] = {}
    value = -1
    for name, number in re.findall(r"^\t(\w+)(?:\s*=\s*(\w+))?,", re.sub(r"/\*.*?\*/", "", found[1], flags=re.S), re.M):
        value = value + 1 if not number else names[number] if number in names else int(number, 0)
        names[name] = value
    checked = 0
    for member in enum:
        if start + member.name in names:  # older headers know fewer
            assert names[start + member.name] == member, member
            checked += 1
    assert checked >= 7


@pytest.mark.root
def test_bpf_round_trip_and_errors_carry_the_request() -> None:
    with Fd(bpf(Cmd.MAP_CREATE, map_type=MapType.HASH, key_size=4, value_size=8, max_entries=1), "map") as made:
        assert not os.get_inheritable(made.fileno())
        key, value, out = b"\1\0\0\0", b"12345678", ctypes.create_string_buffer(8)
        assert bpf(Cmd.MAP_UPDATE_ELEM, map_fd=made.fileno(), key=key, value=value) == 0
        assert bpf(Cmd.MAP_LOOKUP_ELEM, map_fd=made.fileno(), key=key, value=out) == 0
        assert out.raw == value
        with pytest.raises(FileNotFoundError) as caught:
            bpf(Cmd.MAP_LOOKUP_ELEM, map_fd=made.fileno(), key=bytes(4), value=out)
        assert caught.value.request["map_fd"] == made.fileno()  # type: ignore[attr-defined]
        raw = struct.pack("=IxxxxQQQ", made.fileno(), address(key), ctypes.addressof(out), 0)
        held = ctypes.create_string_buffer(raw, len(raw))
        assert bpf_raw(Cmd.MAP_LOOKUP_ELEM, ctypes.addressof(held), len(raw)) == 0
        assert bpf_raw(Cmd.MAP_DELETE_ELEM, ctypes.addressof(held), 16) == 0
        assert bpf_raw(Cmd.MAP_DELETE_ELEM, ctypes.addressof(held), 16) == -errno.ENOENT


def test_perf_events_count() -> None:
    flags = AttrFlag.DISABLED | AttrFlag.EXCLUDE_KERNEL | AttrFlag.EXCLUDE_HV
    with perf_event_open(
        pid=0, cpu=-1, what="faults", type=PerfType.SOFTWARE, config=Software.PAGE_FAULTS, flags=flags
    ) as event:
        assert not os.get_inheritable(event.fileno())
        assert event.what == "faults"
        _touch(4)
        assert struct.unpack("=Q", os.read(event.fileno(), 8)) == (0,)
        perf_ioctl(event, Ioctl.ENABLE)
        _touch(64)
        perf_ioctl(event, Ioctl.DISABLE)
        (count,) = struct.unpack("=Q", os.read(event.fileno(), 8))
        assert count >= 64
        _touch(64)
        assert struct.unpack("=Q", os.read(event.fileno(), 8)) == (count,)


def _touch(pages: int) -> None:
    with mmap.mmap(-1, pages * mmap.PAGESIZE) as memory:
        if hasattr(memory, "madvise"):  # no huge pages: one fault a page
            memory.madvise(mmap.MADV_NOHUGEPAGE)
        for page in range(pages):
            memory[page * mmap.PAGESIZE] = 1


def test_perf_errors() -> None:
    with pytest.raises(OSError) as caught:
        perf_event_open(pid=0, cpu=-1, type=0xFFFFFF, config=3)
    assert caught.value.request == {"pid": 0, "cpu": -1, "type": 0xFFFFFF, "config": 3}  # type: ignore[attr-defined]
    with pytest.raises(KeyError):
        perf_event_open(nonsense=1)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"pid": 1 << 31}, "the number of a process"),
        ({"cpu": 1 << 32}, "the number of a CPU"),
        ({"cpu": -(1 << 31) - 1}, "the number of a CPU"),
        ({"type": 1 << 32}, "does not fit type"),
        ({"sample_period": 1 << 64}, "does not fit sample_period"),
        ({"config2": -1}, "does not fit config2"),
    ],
)
def test_numbers_for_perf_are_never_cut(values: dict[str, int], says: str) -> None:
    with pytest.raises(PackError, match=says):
        perf_event_open(**values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", [0]), ("0-3\n", [0, 1, 2, 3]), ("0-1,4,6-7", [0, 1, 4, 6, 7]), ("2-2", [2])],
)
def test_cpu_lists(text: str, expected: list[int]) -> None:
    assert cpus.parse_cpu_list(text) == expected


@pytest.mark.parametrize("text", ["", "a", "1-", "1,,2", "0-1-2"])
def test_bad_cpu_lists(text: str) -> None:
    with pytest.raises(ValueError):
        cpus.parse_cpu_list(text)


def test_cpus_of_this_machine() -> None:
    online = cpus.online_cpus()
    assert online == sorted(set(online))
    assert len(online) == os.sysconf("SC_NPROCESSORS_ONLN")
    assert len(online) <= cpus.num_possible_cpus() <= cpus.nr_cpu_ids()
    assert online[-1] < cpus.nr_cpu_ids()
