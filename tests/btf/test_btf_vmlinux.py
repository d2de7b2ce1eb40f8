"""The running kernel's BTF: against bpftool, against facts of the kernel's interface, and the cost of reading it."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import subprocess
import sys

import pytest

from pybpf.btf import Btf, Kind, btf_info, kinds, module_fd
from pybpf.btf import kernel as btf_kernel
from pybpf.btf.member import bit_load
from pybpf.errors import BtfError, KernelError, NotFoundError, UnsupportedError
from pybpf.sys import objects, pin
from pybpf.sys.bpf import Attr, Cmd, MapType
from pybpf.sys.fd import Fd
from pybpf.types import layout, sizeof

VMLINUX = "/sys/kernel/btf/vmlinux"
needs_btf = pytest.mark.skipif(not os.path.exists(VMLINUX), reason="kernel lacks BTF (CONFIG_DEBUG_INFO_BTF)")
STRUCTS = ["task_struct", "sock", "sk_buff", "file", "dentry", "inode", "mm_struct", "bio", "request", "cred",
           "tcp_sock", "net_device", "perf_event_attr", "pt_regs", "bpf_prog", "list_head"]  # fmt: skip


@pytest.fixture(scope="module")
def btf() -> Btf:
    return Btf.vmlinux()


def dump() -> str:
    if not shutil.which("bpftool"):
        pytest.skip("bpftool is not installed")
    command = ["bpftool", "btf", "dump", "file", VMLINUX]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@needs_btf
def test_structs_like_bpftool(btf: Btf) -> None:
    text = dump()
    ids = [int(number) for number in re.findall(r"^\[(\d+)\]", text, re.M)]
    assert ids == list(range(1, btf.count))
    seen = 0
    for name in STRUCTS:
        at = text.find(f"] STRUCT '{name}' size=")
        if at < 0:
            continue
        seen += 1
        row = re.compile(r"\[(\d+)\] STRUCT '\w+' size=(\d+) vlen=(\d+)\n((?:\t.*\n)*)")
        match = row.match(text, text.rindex("[", 0, at))
        assert match is not None
        struct = btf.type(int(match.group(1)))
        assert btf.find("struct", name) == int(match.group(1))
        assert isinstance(struct, kinds.Struct)
        assert (struct.size, len(struct.members)) == (int(match.group(2)), int(match.group(3)))
        rows = re.findall(r"\t'(.*)' type_id=(\d+) bits_offset=(\d+)(?: bitfield_size=(\d+))?", match.group(4))
        expected = [("" if n == "(anon)" else n, int(t), int(o), int(b or 0)) for n, t, o, b in rows]
        assert [tuple(member) for member in struct.members] == expected
        for member in struct.members:
            if member.name:
                found = btf.member(name, member.name)
                assert (found.offset_bits, found.bits) == (member.offset, member.bits)
    assert seen >= 12
    functions = re.findall(r"^\[(\d+)\] FUNC '([^']*)'", text, re.M)
    assert btf.functions() == [(name, int(number)) for number, name in functions]


@needs_btf
def test_c_like_bpftool(btf: Btf) -> None:
    """Word for word, except for padding, for which there is more than one way."""
    if not shutil.which("bpftool"):
        pytest.skip("bpftool is not installed")
    command = ["bpftool", "btf", "dump", "file", VMLINUX, "format", "c"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    same = 0
    for keyword, name in [*(("struct", name) for name in STRUCTS), ("union", "bpf_attr"), ("enum", "bpf_map_type"),
                          ("struct", "key"), ("struct", "proto"), ("struct", "file_operations")]:  # fmt: skip
        match = re.search(rf"^{keyword} {name} \{{\n.*?^\}}[^\n]*;$", text, re.M | re.S)
        if match is None:
            continue
        same += 1
        ours = btf.c(f"{keyword} {name}")
        padding = re.compile(r"\n\t+(long|int|short|char): \d+;")
        assert padding.sub("", ours) == padding.sub("", match.group())
    assert same >= 12
    for match in re.finditer(r"^typedef .*\(\*(btf_trace_[a-z]*)\)\(.*;$", text, re.M):
        assert btf.c(btf.find("typedef", match.group(1)) or 0) == match.group()


@needs_btf
def test_kernel_interface_facts(btf: Btf) -> None:
    """Layouts that no kernel may change."""
    assert btf.pointer_size == ctypes.sizeof(ctypes.c_void_p)
    assert (btf.size_of(btf.named("pid_t")), btf.size_of(btf.named("struct list_head"))) == (4, 16)
    for path, offset in {"sample_period": 16, "sample_type": 24, "wakeup_events": 48, "bp_type": 52}.items():
        assert btf.member("perf_event_attr", path).offset == offset
    bits = btf.member("perf_event_attr", "freq")
    assert (bits.offset_bits, bits.bits) == (40 * 8 + 10, 1)
    assert bit_load(bits, btf.endian).offset == 40
    assert btf.constant("BPF_MAP_TYPE_RINGBUF") in (MapType.RINGBUF, None)
    assert btf.constant("BPF_MAP_TYPE_HASH") == MapType.HASH
    comm = btf.member("task_struct", "comm")
    assert btf.c(comm.type) == "char [16]"
    assert len(btf.member("task_struct", "real_parent->mm->pgd").hops) == 2
    with pytest.raises(BtfError, match="no member 'nosuch'"):
        btf.member("task_struct", "nosuch")


@needs_btf
def test_bpf_attr_is_where_we_write_it(btf: Btf) -> None:
    """The kernel's own description of ``union bpf_attr`` agrees with the field table of sys.bpf."""
    for cmd, path in [
        (Cmd.MAP_CREATE, "map_type"), (Cmd.MAP_CREATE, "map_name"), (Cmd.MAP_CREATE, "btf_value_type_id"),
        (Cmd.PROG_LOAD, "insns"), (Cmd.PROG_LOAD, "log_buf"), (Cmd.PROG_LOAD, "line_info"),
        (Cmd.PROG_LOAD, "attach_btf_id"), (Cmd.BTF_LOAD, "btf_log_level"), (Cmd.MAP_UPDATE_ELEM, "value"),
    ]:  # fmt: skip
        attr = Attr(cmd)
        assert btf.member("union bpf_attr", path).offset == attr._fields[path][0], path


@needs_btf
def test_functions_and_tracepoints(btf: Btf) -> None:
    found = btf.function("vfs_read")
    assert [p.name for p in found.parameters] == ["file", "buf", "count", "pos"]
    name, kind = found.parameters[0]
    assert btf.declaration(kind, name) == "struct file *file"
    assert ("vfs_read", found.id) in btf.functions("vfs_r*")
    point = btf.tracepoint("sched_process_exec")
    types = [btf.declaration(parameter.type) for parameter in point.parameters]
    assert types == ["struct task_struct *", "pid_t", "struct linux_binprm *"]
    assert ("sched_process_exec", point.id) in btf.tracepoints("sched_process_*")
    assert btf.kind(point.id) is Kind.TYPEDEF


@needs_btf
def test_view(btf: Btf) -> None:
    task = btf.ctype("struct task_struct")
    data = bytearray(sizeof(task))
    at = btf.member("task_struct", "comm").offset
    data[at : at + 4] = b"cat\0"
    value = layout(task).unpack(data)
    assert (value.comm, value.pid) == ("cat", 0)
    attr = btf.ctype("perf_event_attr")
    made = attr(type=3, freq=1, precise_ip=2, sample_freq=77)
    assert (made.freq, made.precise_ip, made.inherit, made.sample_period) == (1, 2, 0, 77)
    assert bytes(made)[40:42] == (1 << 10 | 2 << 15).to_bytes(3, "little")[:2]
    number = btf.ctype("enum bpf_map_type")
    assert repr(layout(number).unpack((1).to_bytes(4, sys.byteorder))) == "BPF_MAP_TYPE_HASH"


@needs_btf
def test_read_once_and_not_on_import() -> None:
    assert Btf.vmlinux() is Btf.vmlinux()
    script = (
        "import sys\n"
        "def hook(event, args):\n"
        "    if event == 'open' and '/sys/kernel/btf' in str(args[0]): print('opened')\n"
        "sys.addaudithook(hook)\n"
        "import pybpf, pybpf.btf; print('imported')\n"
        "pybpf.btf.Btf.vmlinux(); pybpf.btf.Btf.vmlinux()\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["imported", "opened"]


@needs_btf
def test_no_descriptor_stays_open() -> None:
    before = os.listdir("/proc/self/fd")
    with btf_kernel.vmlinux_data() as data:
        Btf.from_bytes(data)
    assert os.listdir("/proc/self/fd") == before


def test_missing_btf_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(btf_kernel, "_VMLINUX", "/sys/kernel/btf/none-of-this-name")
    with pytest.raises(UnsupportedError, match="CONFIG_DEBUG_INFO_BTF"), btf_kernel.vmlinux_data():
        pass


def test_modules() -> None:
    names = Btf.modules()
    assert "vmlinux" not in names and names == sorted(names)
    for wrong in ("none_of_this_name", "", "..", "../btf", "a/b", "a\0b"):
        with pytest.raises(NotFoundError):
            Btf.module(wrong)
    if not names:
        pytest.skip("no module with BTF is loaded (CONFIG_DEBUG_INFO_BTF_MODULES)")
    base = Btf.vmlinux()
    for name in names[:5]:
        module = Btf.module(name)
        assert module.first == base.count and module.base is base
        for type_id in range(module.first, module.count, 7):
            module.type(type_id)
            module.c(type_id)
        assert module.find("struct", "task_struct") == base.find("struct", "task_struct")


@pytest.mark.root
def test_by_id() -> None:
    names = Btf.modules()
    with pytest.raises(NotFoundError):
        module_fd("none_of_this_name")
    if not names:
        pytest.skip("no module with BTF is loaded (CONFIG_DEBUG_INFO_BTF_MODULES)")
    with module_fd(names[0]) as fd:
        info = btf_info(fd)
    assert (info.name, info.kernel) == (names[0], True)
    assert Btf.from_id(info.id).count == Btf.module(names[0]).count


@pytest.mark.root
@needs_btf
def test_vmlinux_by_id(btf: Btf) -> None:
    """The kernel gives its own BTF the first id (since Linux 5.11)."""
    try:
        fd = btf_kernel.open_btf(1)
    except NotFoundError:
        pytest.skip("its own BTF has an id since Linux 5.11 only")
    with fd:
        assert btf_info(fd).name == "vmlinux"
    assert Btf.from_id(1).count == btf.count


@pytest.mark.root
def test_a_module_search_that_fails_leaves_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Fd] = []

    def failing(fd: Fd) -> None:
        made.append(fd)
        raise KernelError("read", errno.EPERM)

    monkeypatch.setattr(btf_kernel, "btf_info", failing)
    with pytest.raises(KernelError):
        module_fd("no_such_module")
    assert [fd.closed for fd in made] == [True]
    assert btf_kernel.BtfInfo is objects.BtfInfo


def test_a_pin_whose_kind_cannot_be_read_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Fd] = []

    def failing(fd: Fd) -> str:
        made.append(fd)
        raise FileNotFoundError(errno.ENOENT, "no /proc")

    monkeypatch.setattr(pin, "bpf", lambda cmd, **fields: os.open("/dev/null", os.O_RDONLY))
    monkeypatch.setattr(pin, "_kind", failing)
    with pytest.raises(KernelError):
        pin.open_pinned("/sys/fs/bpf/x", "map")
    assert [fd.closed for fd in made] == [True]
