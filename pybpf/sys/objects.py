"""The kernel's BPF objects by id: enumerating programs, maps, links and BTFs, opening one, decoding what it tells."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Iterator
from enum import Enum, IntEnum
from typing import Optional, TypeVar, Union

from pybpf.errors import NotFoundError
from pybpf.record import NamedTuple
from pybpf.sys.bpf import AttachType, Attr, Cmd, MapType, ProgType, bpf
from pybpf.sys.explain import explaining
from pybpf.sys.fd import Fd

__all__ = [
    "BtfInfo",
    "CodeLine",
    "IterLink",
    "Kind",
    "KprobeMultiLink",
    "LinkDetail",
    "LinkInfo",
    "LinkType",
    "MapInfo",
    "PerfLink",
    "PerfLinkKind",
    "ProgInfo",
    "RawTracepointLink",
    "TracingLink",
    "UprobeMultiLink",
    "btf_data",
    "btf_info",
    "code_lines",
    "ids",
    "link_info",
    "map_info",
    "open_id",
    "prog_info",
    "type_name",
    "xlated",
]

E = TypeVar("E", bound=IntEnum)


class Kind(Enum):
    """A kind of BPF object: its name in messages and the commands that find one."""

    PROG = ("program", Cmd.PROG_GET_NEXT_ID, Cmd.PROG_GET_FD_BY_ID)
    MAP = ("map", Cmd.MAP_GET_NEXT_ID, Cmd.MAP_GET_FD_BY_ID)
    LINK = ("link", Cmd.LINK_GET_NEXT_ID, Cmd.LINK_GET_FD_BY_ID)  # Linux 5.8
    BTF = ("BTF", Cmd.BTF_GET_NEXT_ID, Cmd.BTF_GET_FD_BY_ID)  # Linux 5.4

    def __init__(self, noun: str, next_id: Cmd, fd_by_id: Cmd) -> None:
        self.noun = noun
        self.next_id = next_id
        self.fd_by_id = fd_by_id


class LinkType(IntEnum):
    """``enum bpf_link_type``."""

    RAW_TRACEPOINT = 1
    TRACING = 2
    CGROUP = 3
    ITER = 4
    NETNS = 5
    XDP = 6
    PERF_EVENT = 7
    KPROBE_MULTI = 8
    STRUCT_OPS = 9
    NETFILTER = 10
    TCX = 11
    UPROBE_MULTI = 12
    NETKIT = 13
    SOCKMAP = 14


class PerfLinkKind(IntEnum):
    """``enum bpf_perf_event_type``: what the perf event under a link is."""

    UPROBE = 1
    URETPROBE = 2
    KPROBE = 3
    KRETPROBE = 4
    TRACEPOINT = 5
    EVENT = 6


class ProgInfo(NamedTuple):
    """``struct bpf_prog_info``. What the running kernel is too old to tell is 0, ``""`` or ``()``, and None where
    0 would be an answer."""

    type: int  #: a :class:`~pybpf.sys.bpf.ProgType` where it is a known one
    id: int
    tag: str  #: hash of the instructions, 16 hexadecimal digits
    name: str
    jited_len: int  #: bytes of machine code; 0 when it is interpreted
    xlated_len: int  #: bytes of instructions after the verifier; 0 when they may not be read
    load_time: int  #: nanoseconds since boot
    uid: int  #: of the user who loaded it
    gpl_compatible: bool
    btf_id: int
    attach_btf_obj_id: int
    attach_btf_id: int
    run_time_ns: int | None  #: time inside the program while statistics were on
    run_cnt: int | None  #: how often it ran while statistics were on
    recursion_misses: int | None  #: runs skipped because it already ran on that CPU
    verified_insns: int | None
    map_ids: tuple[int, ...]


class MapInfo(NamedTuple):
    """``struct bpf_map_info``; what the kernel is too old to tell is 0."""

    type: int  #: a :class:`~pybpf.sys.bpf.MapType` where it is a known one
    id: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int  #: bits of :class:`~pybpf.sys.bpf.MapFlags`
    name: str
    ifindex: int
    btf_id: int
    btf_key_type_id: int
    btf_value_type_id: int
    btf_vmlinux_value_type_id: int
    extra: int


class BtfInfo(NamedTuple):
    """``struct bpf_btf_info``."""

    id: int
    size: int  #: bytes of the blob
    name: str  #: ``"vmlinux"``, the module's name, or ``""`` for BTF loaded by a process
    kernel: bool  #: the kernel's or a module's own


class RawTracepointLink(NamedTuple):
    """A raw tracepoint, plain or typed by BTF."""

    name: str
    cookie: int


class TracingLink(NamedTuple):
    """fentry, fexit, fmod_ret, lsm: what is attached by a trampoline."""

    attach_type: int  #: an :class:`~pybpf.sys.bpf.AttachType` where it is a known one
    target_obj_id: int  #: id of the BTF or program that has the target
    target_btf_id: int  #: id of the target in that BTF
    cookie: int


class IterLink(NamedTuple):
    """An iterator."""

    target: str  #: such as ``"task"`` or ``"bpf_map"``
    map_id: int  #: of the map that is iterated, where it is one


class PerfLink(NamedTuple):
    """A perf event: kprobe, uprobe, tracepoint, or any other (Linux 6.6)."""

    kind: int  #: a :class:`PerfLinkKind` where it is a known one
    name: str  #: function, file or tracepoint
    offset: int  #: of a kprobe from the function's start, of a uprobe in the file
    address: int  #: of a kprobe, 0 where addresses are hidden
    missed: int | None  #: hits of a kprobe that ran no program, 0 of others; None: not counted (before Linux 6.7)
    event_type: int  #: ``type`` of an EVENT's perf_event_attr (the kernel has clocks under types of their own)
    config: int  #: ``config`` of an EVENT's perf_event_attr
    cookie: int


class KprobeMultiLink(NamedTuple):
    """kprobe_multi (told since Linux 6.6)."""

    sites: int  #: functions
    flags: int  #: bit 0: at return
    missed: int | None  #: hits that ran no program; None: not counted (before Linux 6.7)


class UprobeMultiLink(NamedTuple):
    """uprobe_multi (told since Linux 6.8)."""

    path: str
    sites: int  #: places
    flags: int  #: bit 0: at return
    pid: int  #: 0: every process


LinkDetail = Union[RawTracepointLink, TracingLink, IterLink, PerfLink, KprobeMultiLink, UprobeMultiLink]


class LinkInfo(NamedTuple):
    """``struct bpf_link_info``."""

    type: int  #: a :class:`LinkType` where it is a known one
    id: int
    prog_id: int
    detail: LinkDetail | None  #: None where the kernel does not tell, or for links that do not trace


# "name:offset:struct code" as in include/uapi/linux/bpf.h; the sizes are those of Linux 6.18.
_PROG = (
    232,
    "type:0:I id:4:I tag:8:8s jited_len:16:I xlated_len:20:I xlated_insns:32:Q load_time:40:Q uid:48:I nr_map_ids:52:I "
    "map_ids:56:Q name:64:16s gpl_compatible:84:I btf_id:128:I run_time_ns:192:Q run_cnt:200:Q recursion_misses:208:Q "
    "verified_insns:216:I attach_btf_obj_id:220:I attach_btf_id:224:I "
    "func_info_rec_size:132:I func_info:136:Q nr_func_info:144:I nr_line_info:148:I line_info:152:Q "
    "line_info_rec_size:172:I",
)
_MAP = (
    104,
    "type:0:I id:4:I key_size:8:I value_size:12:I max_entries:16:I flags:20:I name:24:16s ifindex:40:I "
    "btf_vmlinux_value_type_id:44:I btf_id:64:I btf_key_type_id:68:I btf_value_type_id:72:I extra:80:Q",
)
_BTF = (32, "data:0:Q size:8:I id:12:I name:16:Q name_len:24:I kernel:28:I")
_LINK = (64, "type:0:I id:4:I prog_id:8:I")
#: what the kernel fills of a link's structure, at least, since it counts missed hits (Linux 6.7). On 6.6 the field of
#: kprobe_multi lies within the structure, which other kinds made that long, but nothing is written there.
_LINK_COUNTING = 56
_NAME_SIZE = 4096  # a path's most; function and tracepoint names are shorter


class _Info:
    """An info structure: a buffer for the kernel to fill, and its fields."""

    def __init__(self, size: int, fields: str) -> None:
        self.buffer = ctypes.create_string_buffer(size)
        self.fields: dict[str, tuple[int, struct.Struct]] = {}
        self.filled = 0  #: bytes that the kernel filled; an older one knows fewer
        self.add(fields)

    def add(self, fields: str) -> None:
        for field in fields.split():
            name, offset, code = field.split(":")
            self.fields[name] = (int(offset), struct.Struct("=" + code))

    def set(self, name: str, value: int) -> None:
        offset, code = self.fields[name]
        code.pack_into(self.buffer, offset, value)

    def __getitem__(self, name: str) -> int:
        offset, code = self.fields[name]
        value: int = code.unpack_from(self.buffer, offset)[0]
        return value

    def told(self, name: str) -> int | None:
        """The field, None where the kernel is too old to know it."""
        offset, code = self.fields[name]
        return self[name] if offset + code.size <= self.filled else None

    def raw(self, name: str) -> bytes:
        offset, code = self.fields[name]
        value: bytes = code.unpack_from(self.buffer, offset)[0]
        return value

    def text(self, name: str) -> str:
        return _text(self.raw(name))

    def ask_name(self, buffer: ctypes.Array[ctypes.c_char]) -> None:
        """Have the kernel write the name; it refuses fields that it is too old to know, unless they are zero."""
        self.set("name", ctypes.addressof(buffer))
        self.set("name_len", len(buffer))

    def fill(self, fd: int) -> None:
        attr = Attr(Cmd.OBJ_GET_INFO_BY_FD, bpf_fd=fd, info_len=len(self.buffer), info=self.buffer)
        attr.call()
        self.filled = attr["info_len"]


def ids(kind: Kind) -> Iterator[int]:
    """The ids of all objects of a kind, rising; each may be gone by the time it is used.

    :raises PermissionDenied: needs CAP_SYS_ADMIN.
    :raises UnsupportedError: the kernel is too old to list this kind.
    """
    last = 0
    while True:
        attr = Attr(kind.next_id, id=last)
        with explaining(f"list {kind.noun}s", "obj_id"):
            try:
                attr.call()
            except FileNotFoundError:  # that was the last one
                return
        last = attr["next_id"]
        yield last


def open_id(kind: Kind, number: int, open_flags: int = 0) -> Fd:
    """A descriptor of the object with id ``number``. Programs of other users can be opened, but not run.

    :param open_flags: of maps: ``MapFlags.RDONLY`` or ``WRONLY``.

    :raises NotFoundError: there is none (any more).
    :raises PermissionDenied: needs CAP_SYS_ADMIN.
    """
    with explaining(f"open {kind.noun} {number}", "obj_id"):
        try:
            if not 0 < number < 1 << 32:  # no id is, and the kernel would take its lower half for one
                raise FileNotFoundError
            return Fd(bpf(kind.fd_by_id, id=number, open_flags=open_flags), f"{kind.noun} {number}")
        except FileNotFoundError:
            raise NotFoundError(f"there is no {kind.noun} with id {number}") from None


def prog_info(fd: Fd) -> ProgInfo:
    """What the kernel tells of a program. :raises KernelError: ``fd`` is not one."""
    with explaining(f"read the information of {fd.what}", "obj_info"):
        info = _Info(*_PROG)
        info.fill(fd.fileno())
        count = info["nr_map_ids"]
        map_ids = (ctypes.c_uint32 * count)()
        if count:
            again = _Info(*_PROG)
            again.set("nr_map_ids", count)
            again.set("map_ids", ctypes.addressof(map_ids))
            again.fill(fd.fileno())
    return ProgInfo(
        type=_named(ProgType, info["type"]),
        id=info["id"],
        tag=info.raw("tag").hex(),
        name=info.text("name"),
        jited_len=info["jited_len"],
        xlated_len=info["xlated_len"],
        load_time=info["load_time"],
        uid=info["uid"],
        gpl_compatible=bool(info["gpl_compatible"] & 1),
        btf_id=info["btf_id"],
        attach_btf_obj_id=info["attach_btf_obj_id"],
        attach_btf_id=info["attach_btf_id"],
        run_time_ns=info.told("run_time_ns"),
        run_cnt=info.told("run_cnt"),
        recursion_misses=info.told("recursion_misses"),
        verified_insns=info.told("verified_insns"),
        map_ids=tuple(map_ids),
    )


def xlated(fd: Fd) -> bytes:
    """A program's instructions as the verifier left them, with addresses of kernel objects hidden.

    Empty where the kernel does not show them (that needs CAP_PERFMON, or CAP_SYS_ADMIN before Linux 5.8).
    """
    with explaining(f"read the instructions of {fd.what}", "obj_info"):
        info = _Info(*_PROG)
        info.fill(fd.fileno())
        code = ctypes.create_string_buffer(info["xlated_len"])
        again = _Info(*_PROG)
        again.set("xlated_len", len(code))
        again.set("xlated_insns", ctypes.addressof(code))
        again.fill(fd.fileno())
    return code.raw if again["xlated_insns"] else b""


class CodeLine(NamedTuple):
    """Where source text, or a function, begins in a program's instructions."""

    slot: int
    btf_id: int  #: of the function's type; 0: it is a line
    text: int  #: where the line is in the strings of the program's BTF


def code_lines(fd: Fd) -> list[CodeLine]:
    """The functions and source lines of a program's :func:`xlated` instructions, by slot; empty without BTF."""
    with explaining(f"read the source lines of {fd.what}", "obj_info"):
        info = _Info(*_PROG)
        info.fill(fd.fileno())
        if info.told("line_info_rec_size") is None or not info["btf_id"]:
            return []
        found: list[CodeLine] = []
        again = _Info(*_PROG)
        rooms = {}
        for kind in ("func_info", "line_info"):
            count, size = info[f"nr_{kind}"], info[f"{kind}_rec_size"]
            rooms[kind] = ctypes.create_string_buffer(count * size)
            for field, value in ((f"nr_{kind}", count), (f"{kind}_rec_size", size)):
                again.set(field, value)
            again.set(kind, ctypes.addressof(rooms[kind]))
        again.fill(fd.fileno())
        funcs, lines = rooms["func_info"], rooms["line_info"]
        size = again["func_info_rec_size"]
        for at in range(0, again["nr_func_info"] * size, size):
            slot, type_id = struct.unpack_from("=II", funcs, at)  # struct bpf_func_info
            found.append(CodeLine(slot, type_id, 0))
        size = again["line_info_rec_size"]
        for at in range(0, again["nr_line_info"] * size, size):
            slot, text = struct.unpack_from("=I4xI", lines, at)  # struct bpf_line_info
            found.append(CodeLine(slot, 0, text))
    return sorted(found, key=lambda line: (line.slot, not line.btf_id))


def map_info(fd: Fd) -> MapInfo:
    """What the kernel tells of a map. :raises KernelError: ``fd`` is not one."""
    with explaining(f"read the information of {fd.what}", "obj_info"):
        info = _Info(*_MAP)
        info.fill(fd.fileno())
    numbers = {name: info[name] for name in MapInfo._fields if name not in ("type", "name")}
    return MapInfo(type=_named(MapType, info["type"]), name=info.text("name"), **numbers)


def btf_info(fd: Fd) -> BtfInfo:
    """What the kernel tells of a BTF. :raises KernelError: ``fd`` is not one."""
    name = ctypes.create_string_buffer(_NAME_SIZE)
    with explaining(f"read the information of {fd.what}", "obj_info"):
        info = _Info(*_BTF)
        info.fill(fd.fileno())
        if info.told("name_len") is not None:  # Linux 5.11
            again = _Info(*_BTF)
            again.ask_name(name)
            again.fill(fd.fileno())
    return BtfInfo(info["id"], info["size"], _text(name.value), bool(info["kernel"]))


def btf_data(fd: Fd) -> bytes:
    """The blob of a BTF. :raises KernelError: ``fd`` is not one."""
    size = btf_info(fd).size
    data = ctypes.create_string_buffer(size)
    with explaining(f"read {fd.what}", "obj_info"):
        info = _Info(*_BTF)
        info.set("data", ctypes.addressof(data))
        info.set("size", size)
        info.fill(fd.fileno())
    return data.raw


_Decode = Callable[["_Info", str], Optional[LinkDetail]]


def _tracing(info: _Info, _: str) -> TracingLink:
    kind = _named(AttachType, info["attach_type"])
    return TracingLink(kind, info["target_obj_id"], info["target_btf_id"], info["cookie"])


def _kprobe_multi(info: _Info, _: str) -> KprobeMultiLink | None:
    return KprobeMultiLink(info["count"], info["flags"], _missed(info)) if info["count"] else None


def _uprobe_multi(info: _Info, path: str) -> UprobeMultiLink | None:
    return UprobeMultiLink(path, info["count"], info["flags"], info["pid"]) if info["count"] else None


def _perf(info: _Info, name: str) -> PerfLink | None:
    kind = _named(PerfLinkKind, info["kind"])
    if kind not in _PERF:  # Linux before 6.6 leaves it 0
        return None
    info.add(_PERF[PerfLinkKind(kind)])
    offset, address, event_type, config, cookie = (
        info[field] if field in info.fields else 0 for field in ("offset", "address", "event_type", "config", "cookie")
    )
    return PerfLink(kind, name, offset, address, _missed(info), event_type, config, cookie)


def _missed(info: _Info) -> int | None:
    if info.filled < _LINK_COUNTING:
        return None
    return info["missed"] if "missed" in info.fields else 0


#: link type -> the fields of its part of the union, and what makes them a detail; "name" takes a buffer for text
_DETAILS: dict[int, tuple[str, _Decode]] = {
    LinkType.RAW_TRACEPOINT: (
        "name:16:Q name_len:24:I cookie:32:Q",
        lambda info, name: RawTracepointLink(name, info["cookie"]),
    ),
    LinkType.TRACING: ("attach_type:16:I target_obj_id:20:I target_btf_id:24:I cookie:32:Q", _tracing),
    LinkType.ITER: ("name:16:Q name_len:24:I map_id:28:I", lambda info, name: IterLink(name, info["map_id"])),
    LinkType.KPROBE_MULTI: ("count:24:I flags:28:I missed:32:Q", _kprobe_multi),
    LinkType.UPROBE_MULTI: ("name:16:Q name_len:48:I count:52:I flags:56:I pid:60:I", _uprobe_multi),
    LinkType.PERF_EVENT: ("kind:16:I name:24:Q name_len:32:I", _perf),
}
_UPROBE = "offset:36:I cookie:40:Q"
_KPROBE = "offset:36:I address:40:Q missed:48:Q cookie:56:Q"
#: what follows in a perf event's part
_PERF = {
    PerfLinkKind.UPROBE: _UPROBE,
    PerfLinkKind.URETPROBE: _UPROBE,
    PerfLinkKind.KPROBE: _KPROBE,
    PerfLinkKind.KRETPROBE: _KPROBE,
    PerfLinkKind.TRACEPOINT: "cookie:40:Q",
    PerfLinkKind.EVENT: "config:24:Q event_type:32:I cookie:40:Q",
}


def link_info(fd: Fd) -> LinkInfo:
    """What the kernel tells of a link. :raises KernelError: ``fd`` is not one."""
    detail: LinkDetail | None = None
    with explaining(f"read the information of {fd.what}", "obj_info"):
        info = _Info(*_LINK)
        info.fill(fd.fileno())
        kind = _named(LinkType, info["type"])
        if kind in _DETAILS:
            fields, decode = _DETAILS[kind]
            part = _Info(_LINK[0], fields)
            name = ctypes.create_string_buffer(_NAME_SIZE)
            part.filled = info.filled
            if "name" not in part.fields or part.told("name_len") is not None:
                if "name" in part.fields:
                    part.ask_name(name)
                part.fill(fd.fileno())
                detail = decode(part, _text(name.value))
    return LinkInfo(kind, info["id"], info["prog_id"], detail)


def type_name(value: int) -> str:
    """A type for people: ``ProgType.RAW_TRACEPOINT`` -> ``"raw_tracepoint"``; one that is unknown as ``"type 77"``."""
    return value.name.lower() if isinstance(value, IntEnum) else f"type {value}"


def _named(enum: type[E], value: int) -> int:
    """The member of ``enum`` for ``value``, or the plain number where a newer kernel has more."""
    try:
        return enum(value)
    except ValueError:
        return value


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
