"""The kernel's objects by id, against objects that the test made and knows."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
from collections.abc import Iterator

import pytest

from pybpf.asm import assemble, encode
from pybpf.errors import KernelError, NotFoundError
from pybpf.sys import objects
from pybpf.sys.bpf import AttachType, Attr, Cmd, MapFlags, MapType, ProgType, bpf
from pybpf.sys.fd import Fd
from pybpf.sys.features import has
from pybpf.sys.memlock import bpf_charged
from pybpf.sys.objects import Kind, LinkType, PerfLinkKind
from pybpf.sys.perf import PerfType, Software, perf_event_open
from pybpf.sys.probes import NEWTASK, QUIET, kernel_type, program
from pybpf.sys.tracefs import tracefs
from pybpf.sys.vmlinux import FUNC, TYPEDEF

pytestmark = [pytest.mark.root, pytest.mark.generic]


def _map(**fields: object) -> Fd:
    values = {"map_type": MapType.ARRAY, "key_size": 4, "value_size": 8, "max_entries": 3, **fields}
    return Fd(bpf_charged(Cmd.MAP_CREATE, **values), "map under test")


@pytest.fixture
def loaded() -> Iterator[Fd]:
    with program(ProgType.TRACEPOINT, prog_name=b"told") as fd:
        yield fd


def test_map_info() -> None:
    flags = MapFlags.NO_PREALLOC
    with _map(map_type=MapType.HASH, map_flags=flags, map_name=b"counts_by_pid") as made:
        info = objects.map_info(made)
        assert (info.type, info.key_size, info.value_size, info.max_entries) == (MapType.HASH, 4, 8, 3)
        assert (info.name, info.flags, info.btf_id) == ("counts_by_pid", flags, 0)
        assert info.id in set(objects.ids(Kind.MAP))
        with objects.open_id(Kind.MAP, info.id) as again:
            assert objects.map_info(again) == info


def test_prog_info_names_type_tag_maps_and_instructions() -> None:
    with _map() as first, _map(map_type=MapType.HASH) as second:
        text = "r1 = map[first]\nr2 = map[second]\nr0 = 0\nexit"
        maps = {"first": first.fileno(), "second": second.fileno()}
        code = encode(assemble(text), maps=maps)
        attr = Attr(Cmd.PROG_LOAD, prog_type=ProgType.RAW_TRACEPOINT, insns=code, insn_cnt=len(code) // 8,
                    license=b"GPL\0", prog_name=b"two_maps")  # fmt: skip
        with Fd(attr.call(), "program under test") as prog:
            info = objects.prog_info(prog)
            assert (info.type, info.name, info.gpl_compatible) == (ProgType.RAW_TRACEPOINT, "two_maps", True)
            assert set(info.map_ids) == {objects.map_info(made).id for made in (first, second)}
            assert len(bytes.fromhex(info.tag)) == 8
            assert info.uid == os.getuid()
            assert info.xlated_len == len(code)
            insns = objects.xlated(prog)
            assert [insns[at] for at in range(0, len(insns), 8)] == [0x18, 0, 0x18, 0, 0xB7, 0x95]
            assert info.run_cnt in (0, None)
            assert info.verified_insns in (4, None)
            assert info.id in set(objects.ids(Kind.PROG))
            with objects.open_id(Kind.PROG, info.id) as again:
                assert objects.prog_info(again) == info
    with program(ProgType.TRACEPOINT) as plain:
        assert objects.prog_info(plain).map_ids == ()


def test_jited_programs_have_machine_code(loaded: Fd) -> None:
    assert (objects.prog_info(loaded).jited_len > 0) == has("jit")


def test_ids_rise_and_what_is_gone_is_not_found() -> None:
    made = [_map() for _ in range(5)]
    numbers = [objects.map_info(each).id for each in made]
    found = list(objects.ids(Kind.MAP))
    assert found == sorted(found)
    assert set(numbers) <= set(found)
    for each in made:
        each.close()
    with pytest.raises(NotFoundError, match="there is no map with id 4294967295"):
        objects.open_id(Kind.MAP, 0xFFFFFFFF)
    with pytest.raises(NotFoundError, match="there is no program with id 0"):
        objects.open_id(Kind.PROG, 0)


def test_a_wrong_descriptor_is_an_error_not_nonsense() -> None:
    reader, writer = os.pipe()
    with Fd(reader, "pipe"), Fd(writer, "pipe") as end, pytest.raises(KernelError, match="information of pipe"):
        objects.prog_info(end)


@pytest.mark.needs("btf", "btf_ids")
def test_btf_info_and_data() -> None:
    kernels_own = [number for number in objects.ids(Kind.BTF) if number == 1]  # it has an id since Linux 5.11
    for number in kernels_own:
        with objects.open_id(Kind.BTF, number) as kernel:
            info = objects.btf_info(kernel)
            assert (info.id, info.name, info.kernel) == (1, "vmlinux", True)
            with open("/sys/kernel/btf/vmlinux", "rb") as file:
                assert objects.btf_data(kernel) == file.read()
    types = struct.pack("=IIII", 1, 1 << 24, 4, 32)
    blob = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), 3) + types + b"\0i\0"
    with Fd(bpf(Cmd.BTF_LOAD, btf=blob, btf_size=len(blob)), "BTF") as ours:
        info = objects.btf_info(ours)
        assert (info.size, info.name, info.kernel) == (len(blob), "", False)
        assert objects.btf_data(ours) == blob
        assert info.id in set(objects.ids(Kind.BTF))


@pytest.mark.needs("raw_tp", "link_ids")
def test_links_of_raw_tracepoints() -> None:
    with program(ProgType.RAW_TRACEPOINT) as prog:
        cookie = {"cookie": 77} if has("raw_tp_cookies") else {}
        number = bpf(Cmd.RAW_TRACEPOINT_OPEN, prog_fd=prog.fileno(), name=b"task_newtask\0", **cookie)
        with Fd(number, "link under test") as link:
            info = objects.link_info(link)
            assert (info.type, info.prog_id) == (LinkType.RAW_TRACEPOINT, objects.prog_info(prog).id)
            # a kernel that takes a cookie need not tell it: 6.12 does not
            told = [objects.RawTracepointLink("task_newtask", each) for each in (0, *cookie.values())]
            assert info.detail in told
            assert info.id in set(objects.ids(Kind.LINK))
            with objects.open_id(Kind.LINK, info.id) as again:
                assert objects.link_info(again) == info


@pytest.mark.needs("tp_btf", "link_ids")
def test_links_of_raw_tracepoints_typed_by_btf() -> None:
    number = kernel_type(TYPEDEF, NEWTASK)
    fields = {"expected_attach_type": AttachType.TRACE_RAW_TP, "attach_btf_id": number}
    with program(ProgType.TRACING, **fields) as prog:
        assert objects.prog_info(prog).attach_btf_id in (number, 0)
        with Fd(bpf(Cmd.RAW_TRACEPOINT_OPEN, prog_fd=prog.fileno()), "link") as link:
            info = objects.link_info(link)
            assert info.type == LinkType.RAW_TRACEPOINT
            assert info.detail == objects.RawTracepointLink("task_newtask", 0)


@pytest.mark.needs("fentry", "link_ids")
def test_links_of_trampolines() -> None:
    number = kernel_type(FUNC, QUIET)
    fields = {"expected_attach_type": AttachType.TRACE_FEXIT, "attach_btf_id": number}
    with program(ProgType.TRACING, **fields) as prog:
        with Fd(bpf(Cmd.RAW_TRACEPOINT_OPEN, prog_fd=prog.fileno()), "link") as link:
            info = objects.link_info(link)
        assert info.type == LinkType.TRACING
        assert isinstance(info.detail, objects.TracingLink)
        assert info.detail.attach_type == AttachType.TRACE_FEXIT
        assert info.detail.target_btf_id in (number, 0)  # told since Linux 5.13


@pytest.mark.needs("iter", "link_ids")
def test_links_of_iterators() -> None:
    fields = {"expected_attach_type": AttachType.TRACE_ITER, "attach_btf_id": kernel_type(FUNC, "bpf_iter_task")}
    with program(ProgType.TRACING, **fields) as prog:
        number = bpf(Cmd.LINK_CREATE, prog_fd=prog.fileno(), attach_type=AttachType.TRACE_ITER)
        with Fd(number, "link") as link:
            info = objects.link_info(link)
            assert info.type == LinkType.ITER
            assert info.detail == objects.IterLink("task", 0)


@pytest.mark.needs("perf_link", "link_ids", "tracepoint")
def test_links_of_perf_events(loaded: Fd) -> None:
    with tracefs() as files:
        number = files.event_id("task", "task_newtask")
    with program(ProgType.PERF_EVENT) as sampler:
        event = {"type": PerfType.SOFTWARE, "config": Software.PAGE_FAULTS, "sample_period": 1 << 40}
        cases = (
            (loaded, {"type": PerfType.TRACEPOINT, "config": number}, PerfLinkKind.TRACEPOINT, "task_newtask"),
            (sampler, event, PerfLinkKind.EVENT, ""),
        )
        for prog, attr, kind, name in cases:
            with perf_event_open(pid=os.getpid(), cpu=-1, **attr) as opened:
                fields = {"target_fd": opened.fileno(), "attach_type": AttachType.PERF_EVENT}
                made = bpf(Cmd.LINK_CREATE, prog_fd=prog.fileno(), perf_event_bpf_cookie=9, **fields)
                with Fd(made, "link") as link:
                    info = objects.link_info(link)
            assert (info.type, info.prog_id) == (LinkType.PERF_EVENT, objects.prog_info(prog).id)
            if info.detail is None:  # told since Linux 6.6
                continue
            assert isinstance(info.detail, objects.PerfLink)
            assert (info.detail.kind, info.detail.name, info.detail.cookie) in {(kind, name, 9), (kind, name, 0)}
            if kind == PerfLinkKind.EVENT:
                assert (info.detail.event_type, info.detail.config) == (PerfType.SOFTWARE, Software.PAGE_FAULTS)


@pytest.mark.needs("uprobe_multi", "link_ids")
def test_links_of_many_uprobes() -> None:
    path = os.path.realpath("/bin/sh")
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
        entry = _file_offset_of_entry(data)
    fields = {"expected_attach_type": AttachType.TRACE_UPROBE_MULTI}
    with program(ProgType.KPROBE, **fields) as prog:
        number = bpf(
            Cmd.LINK_CREATE, prog_fd=prog.fileno(), attach_type=AttachType.TRACE_UPROBE_MULTI,
            uprobe_multi_path=path.encode() + b"\0", uprobe_multi_offsets=(ctypes.c_uint64 * 1)(entry),
            uprobe_multi_cnt=1, uprobe_multi_pid=os.getpid(),
        )  # fmt: skip
        with Fd(number, "link") as link:
            info = objects.link_info(link)
    assert info.type == LinkType.UPROBE_MULTI
    assert info.detail in (None, objects.UprobeMultiLink(path, 1, 0, os.getpid()))


def _file_offset_of_entry(data: mmap.mmap) -> int:
    """Where in a 64-bit ELF file the code of its entry point lies."""
    entry, table = struct.unpack_from("=QQ", data, 24)
    size, count = struct.unpack_from("=HH", data, 54)
    for index in range(count):
        kind, _, offset, address, _, length = struct.unpack_from("=IIQQQQ", data, table + index * size)
        if kind == 1 and address <= entry < address + length:
            return int(entry - address + offset)
    raise AssertionError("no segment has the entry point")


@pytest.mark.needs("kprobe_multi", "link_ids")
def test_links_of_many_kprobes() -> None:
    kind = AttachType.TRACE_KPROBE_MULTI
    symbols = (ctypes.c_char_p * 2)(b"bpf_fentry_test1", b"bpf_fentry_test2")
    with program(ProgType.KPROBE, expected_attach_type=kind) as prog:
        fields = {"kprobe_multi_syms": symbols, "kprobe_multi_cnt": 2, "kprobe_multi_flags": 1}
        with Fd(bpf(Cmd.LINK_CREATE, prog_fd=prog.fileno(), attach_type=kind, **fields), "link") as link:
            info = objects.link_info(link)
    assert info.type == LinkType.KPROBE_MULTI
    assert info.detail in (None, objects.KprobeMultiLink(2, 1, 0))


def test_type_names() -> None:
    assert objects.type_name(ProgType.RAW_TRACEPOINT) == "raw_tracepoint"
    assert objects.type_name(MapType.LRU_PERCPU_HASH) == "lru_percpu_hash"
    assert objects.type_name(99) == "type 99"


def _older(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """From here on the kernel knows only ``size`` bytes of each information and refuses more that is not zero."""

    def fill(self: objects._Info, fd: int) -> None:
        if any(self.buffer.raw[size:]):
            raise OSError(errno.E2BIG, "")
        original(self, fd)
        self.filled = min(size, self.filled)
        self.buffer[self.filled :] = bytes(len(self.buffer) - self.filled)

    original = objects._Info.fill
    monkeypatch.setattr(objects._Info, "fill", fill)


def test_programs_of_4_18(monkeypatch: pytest.MonkeyPatch, loaded: Fd) -> None:
    _older(monkeypatch, 128)
    info = objects.prog_info(loaded)
    assert (info.name, info.btf_id) == ("told", 0)
    assert info.run_time_ns is info.run_cnt is info.recursion_misses is info.verified_insns is None


@pytest.mark.needs("btf")
def test_btf_of_5_10(monkeypatch: pytest.MonkeyPatch) -> None:
    types = struct.pack("=IIII", 1, 1 << 24, 4, 32)
    blob = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), 3) + types + b"\0i\0"
    with Fd(bpf(Cmd.BTF_LOAD, btf=blob, btf_size=len(blob)), "BTF") as ours:
        _older(monkeypatch, 16)
        assert objects.btf_info(ours)[1:] == (len(blob), "", False)
        assert objects.btf_data(ours) == blob


@pytest.mark.needs("perf_link")
def test_perf_links_of_5_15(monkeypatch: pytest.MonkeyPatch) -> None:
    dummy = {"type": PerfType.SOFTWARE, "config": Software.DUMMY}
    with perf_event_open(pid=0, cpu=-1, **dummy) as event, program(ProgType.PERF_EVENT) as prog:
        fields = {"target_fd": event.fileno(), "attach_type": AttachType.PERF_EVENT}
        with Fd(bpf(Cmd.LINK_CREATE, prog_fd=prog.fileno(), **fields), "link") as link:
            _older(monkeypatch, 32)
            info = objects.link_info(link)
    assert info[0::3] == (LinkType.PERF_EVENT, None)


def test_errors_carry_their_errno() -> None:
    with Fd(os.open("/dev/null", os.O_RDONLY), "null device") as null:
        with pytest.raises(KernelError) as caught:
            objects.link_info(null)
        assert caught.value.errno in (errno.EINVAL, errno.EBADF)
