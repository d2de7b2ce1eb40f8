"""The map types without a file of their own, maps that exist already, pins, and what bpftool sees."""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pybpf.btf import Btf
from pybpf.btf import kernel as kernel_btf
from pybpf.errors import KernelError, NotFoundError, PackError, UnsupportedError
from pybpf.maps import (
    CLASSES,
    Array,
    ArrayOfMaps,
    BloomFilter,
    CgroupArray,
    CgroupStorage,
    HashMap,
    HashOfMaps,
    InodeStorage,
    Ipv4Prefix,
    Ipv6Prefix,
    LpmTrie,
    LruHash,
    LruPerCpuHash,
    Map,
    MapSpec,
    PerCpuArray,
    PerCpuHash,
    PerfEventArray,
    ProgArray,
    Queue,
    RingBuffer,
    Stack,
    StackTrace,
    TaskStorage,
    UserRingBuffer,
)
from pybpf.sys.bpf import Cmd, MapFlags, MapType
from pybpf.sys.cpus import nr_cpu_ids, num_possible_cpus
from pybpf.sys.fd import Fd
from pybpf.sys.features import has
from pybpf.types import Struct, char, s64, u8, u16, u32, u64

pytestmark = [pytest.mark.root, pytest.mark.generic]

PAGE = os.sysconf("SC_PAGESIZE")
INNER = MapSpec(MapType.ARRAY, u32, u64, 4)

#: how to make a map of each class, and by which name the probes know its type
MAKERS: dict[type[Map], Any] = {
    Array: lambda: Array(u64, 4),
    ArrayOfMaps: lambda: ArrayOfMaps(INNER, 4),
    BloomFilter: lambda: BloomFilter(u64, 100),
    CgroupArray: lambda: CgroupArray(4),
    CgroupStorage: lambda: CgroupStorage(u64),
    HashMap: lambda: HashMap(u32, u64),
    HashOfMaps: lambda: HashOfMaps(u32, INNER),
    InodeStorage: lambda: InodeStorage(u64),
    LpmTrie: lambda: LpmTrie(Ipv4Prefix, u64),
    LruHash: lambda: LruHash(u32, u64),
    LruPerCpuHash: lambda: LruPerCpuHash(u32, u64),
    PerCpuArray: lambda: PerCpuArray(u64, 4),
    PerCpuHash: lambda: PerCpuHash(u32, u64),
    PerfEventArray: lambda: PerfEventArray(),
    ProgArray: lambda: ProgArray(4),
    Queue: lambda: Queue(u64, 4),
    RingBuffer: lambda: RingBuffer(PAGE),
    Stack: lambda: Stack(u64, 4),
    StackTrace: lambda: StackTrace(32, 64),
    TaskStorage: lambda: TaskStorage(u64),
    UserRingBuffer: lambda: UserRingBuffer(PAGE),
}


def test_every_class_is_in_the_table() -> None:
    assert set(CLASSES.values()) == set(MAKERS)
    assert all(cls.map_type is kind for kind, cls in CLASSES.items())


@pytest.mark.parametrize(
    "cls", [pytest.param(cls, marks=pytest.mark.needs(cls.map_type.name.lower())) for cls in MAKERS]
)
def test_every_type_is_made_and_opened_again(cls: type[Map]) -> None:
    with MAKERS[cls]() as made:
        assert made.info().type == cls.map_type
        with Map.from_id(made.id) as again:
            assert type(again) is cls
            assert again.id == made.id
            assert (again.max_entries, again.flags) == (made.max_entries, made.spec.flags)
            assert (again.spec.key_size, again.spec.value_size) == (made.spec.key_size, made.spec.value_size)
        with cls.from_spec(made.spec) as twin:
            assert twin.id != made.id
            assert twin.spec == made.spec


def test_longest_prefix() -> None:
    with LpmTrie(Ipv4Prefix, u32, 100) as routes:
        routes[ipaddress.ip_network("10.0.0.0/8")] = 8
        routes[24, bytes([10, 1, 2, 0])] = 24
        routes[Ipv4Prefix(0, bytes(4))] = 0
        for address, expected in (("10.1.2.3", 24), ("10.1.3.3", 8), ("10.255.0.1", 8), ("11.0.0.1", 0)):
            assert routes[ipaddress.ip_address(address)] == expected
        assert routes[16, bytes([10, 1, 2, 3])] == 8
        assert {(key.bits, bytes(key.address)): value for key, value in routes.items()} == {
            (0, bytes(4)): 0,
            (8, bytes([10, 0, 0, 0])): 8,
            (24, bytes([10, 1, 2, 0])): 24,
        }
        with pytest.raises(KeyError):
            del routes[ipaddress.ip_address("10.1.2.3")]
        assert routes.pop(ipaddress.ip_network("10.1.2.0/24")) == 24
        assert routes[ipaddress.ip_interface("10.1.2.3/32")] == 8
        routes.update({ipaddress.ip_network(f"10.{i}.0.0/16"): i for i in range(50)})
        assert len(routes) == 52
        routes.clear()
        assert len(routes) == 0
        assert routes.get(ipaddress.ip_address("10.1.2.3")) is None
        with pytest.raises(PackError, match="4 bytes"):
            routes[ipaddress.ip_address("::1")]
        with pytest.raises(PackError):
            routes["10.0.0.0/8"]
        for use in (lambda: routes.__setitem__((33, bytes(4)), 1), lambda: routes.get((33, bytes(4)))):
            with pytest.raises(PackError, match="prefix of 33 bits: an address of struct Ipv4Prefix has 32"):
                use()
        with pytest.raises(PackError, match="prefix of 33 bits"):
            routes.update({(32, bytes(4)): 1, (33, bytes(4)): 2})


def test_addresses_as_keys_of_an_opened_trie() -> None:
    with LpmTrie(Ipv4Prefix, u32, 100) as routes:
        routes[ipaddress.ip_network("10.0.0.0/8")] = 8
        with LpmTrie.from_id(routes.id) as again:
            assert again[ipaddress.ip_address("10.1.2.3")] == 8
            ((key, _),) = again.items()
            assert key.bits == 8


def test_longest_prefix_of_ipv6() -> None:
    with LpmTrie(Ipv6Prefix, u32, 100) as routes:
        routes[ipaddress.ip_network("2001:db8::/32")] = 1
        assert routes[ipaddress.ip_address("2001:db8::5")] == 1
        assert ipaddress.ip_address("2001:db9::5") not in routes


def test_perf_event_array_has_a_slot_per_cpu() -> None:
    with PerfEventArray(name="events") as found:
        assert found.max_entries == nr_cpu_ids() == found.info().max_entries
        with pytest.raises(UnsupportedError):
            found[0]
        with pytest.raises(IndexError):
            found[nr_cpu_ids()] = 0
        with open("/dev/null") as other, pytest.raises(KernelError):
            found[0] = other
        with pytest.raises(KeyError):
            del found[0]


def test_cgroup_array(tmp_path: Path) -> None:
    with CgroupArray(2) as found:
        if not cgroup2():
            pytest.skip("no cgroup version 2 file system is mounted")
        fd = os.open(cgroup2(), os.O_RDONLY)
        try:
            found[1] = fd
            del found[1]
        finally:
            os.close(fd)


def cgroup2() -> str:
    with open("/proc/self/mounts") as file:
        return next((line.split()[1] for line in file if line.split()[2] == "cgroup2"), "")


@pytest.mark.needs("inode_storage")
def test_inode_storage(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with InodeStorage(u64) as found, path.open("w") as one:
        try:
            found[one] = 5
        except KernelError as error:
            # Linux 5.10 takes such maps, but its inodes have room only while the BPF LSM runs.
            assert error.errno == errno.EBADF
            assert "BPF LSM" in str(error)
            return
        with path.open() as same:
            assert found[same] == 5
        del found[one]
        assert found.get(one) is None
        with pytest.raises(KeyError):
            found[one]


@pytest.mark.needs("cgrp_storage")
def test_cgroup_storage() -> None:
    if not cgroup2():
        pytest.skip("no cgroup version 2 file system is mounted")
    fd = os.open(cgroup2(), os.O_RDONLY)
    try:
        with CgroupStorage(u64) as found:
            assert found.add(fd, 7)
            assert not found.add(fd, 8)
            assert found.pop(fd) == 7
            assert fd not in found
    finally:
        os.close(fd)


@pytest.mark.needs("ringbuf")
@pytest.mark.parametrize("size", [0, 1, PAGE - 1, PAGE + 1, 3 * PAGE])
@pytest.mark.parametrize("cls", [RingBuffer, UserRingBuffer])
def test_ring_sizes(cls: type[RingBuffer], size: int) -> None:
    with pytest.raises(KernelError, match=r"'ring'.*power of two"):
        cls(size, name="ring")


class Stat(Struct):
    count: u64
    comm: char[16]
    delta: s64
    levels: u16[2]
    raw: u8[4]


STAT = Stat(3, "cat", -5, (1, 2), b"abcd")


@pytest.mark.skipif(not shutil.which("bpftool"), reason="needs bpftool")
def test_bpftool_prints_typed_values() -> None:
    with HashMap(u32, Stat, name="stats") as found:
        found[7] = STAT
        done = subprocess.run(
            ["bpftool", "-j", "map", "dump", "id", str(found.id)], capture_output=True, text=True, check=True
        )
    element = json.loads(done.stdout)[0]["formatted"]
    assert element["key"] == 7
    assert element["value"]["count"] == 3
    assert element["value"]["comm"] == "cat"
    assert element["value"]["delta"] == -5
    assert element["value"]["levels"] == [1, 2]


@pytest.mark.parametrize("cls", [HashMap, LruHash, PerCpuHash])
def test_types_come_from_the_map_itself(cls: type[HashMap], bpffs: Path) -> None:
    with cls(u32, Stat, 16, name="stats") as found:
        values = [STAT] * num_possible_cpus() if cls is PerCpuHash else STAT
        found[7] = values
        found.pin(bpffs / "stats")
    with Map.open(bpffs / "stats") as again:
        assert type(again) is cls
        assert again.name == "stats"
        ((key, value),) = again.items()
        if cls is PerCpuHash:
            value = value[-1]
        assert (key, value.count, value.comm, value.delta, value.levels) == (7, 3, "cat", -5, (1, 2))
        again[8] = again[7]
    with cls.open(str(bpffs / "stats"), u32, Stat) as again:
        assert dict(again.items()) == {7: values, 8: values}
        with pytest.raises(PackError, match="has 4 bytes, but u64 has 8"):
            cls.open(bpffs / "stats", u64, Stat)
        with pytest.raises(NotFoundError, match="hash"):
            Array.open(bpffs / "stats")
    (bpffs / "stats").unlink()


@pytest.mark.needs("btf_vmlinux")
def test_views_of_kernel_types() -> None:
    timespec = Btf.vmlinux().ctype("struct timespec64")
    with HashMap(timespec, timespec) as found:
        key, value = timespec(tv_sec=5), timespec(tv_sec=-6, tv_nsec=7)
        found[key] = value
        found.update({timespec(tv_sec=9): key})
        assert found[key].tv_nsec == 7
        assert {key.tv_sec: value.tv_sec for key, value in found.items()} == {5: -6, 9: 5}
    with PerCpuHash(u32, timespec) as found:
        found[1] = [timespec(tv_sec=cpu) for cpu in range(num_possible_cpus())]
        assert [value.tv_sec for value in found[1]] == list(range(num_possible_cpus()))


def test_bytes_where_nothing_is_known() -> None:
    fd = Fd(bpf_create(MapType.HASH, 3, 5, 4))
    with Map.from_fd(fd) as found:
        assert isinstance(found, HashMap)
        found[b"abc"] = b"12345"
        assert dict(found.items()) == {b"abc": b"12345"}
        assert fd is found.fd
    with Array.from_fd(Fd(bpf_create(MapType.ARRAY, 4, 5, 4))) as slots:
        slots[3] = b"12345"
        assert slots[3] == b"12345"


def bpf_create(kind: MapType, key: int, value: int, count: int) -> int:
    from pybpf.sys.bpf import bpf

    return bpf(Cmd.MAP_CREATE, map_type=kind, key_size=key, value_size=value, max_entries=count)


def test_a_wrong_descriptor_is_closed() -> None:
    fd = Fd(os.open("/dev/null", os.O_RDONLY))
    with pytest.raises(KernelError):
        Map.from_fd(fd)
    assert fd.closed


def test_pins(bpffs: Path, tmp_path: Path) -> None:
    with HashMap(u32, u32, name="kept") as found:
        with pytest.raises(NotFoundError):
            Map.open(bpffs / "kept")
        found.pin(bpffs / "kept")
        with pytest.raises(KernelError) as taken:
            found.pin(bpffs / "kept")
        assert taken.value.errno == errno.EEXIST
    (bpffs / "kept").unlink()


def test_ids_that_are_gone() -> None:
    with HashMap(u32, u32) as found:
        number = found.id
    with pytest.raises(NotFoundError):
        for _ in range(1000):  # the kernel frees it some time later
            Map.from_id(number).close()


def test_refusals_say_which_map() -> None:
    with pytest.raises(KernelError, match="create hash map 'huge'"):
        HashMap(u32, u64, (1 << 32) - 1, name="huge")
    with pytest.raises(KernelError, match="create stack_trace map 'deep'"):
        StackTrace(5000, name="deep")
    with pytest.raises(KernelError, match="create array map"):
        Array(u64, 0)


def test_numa_node() -> None:
    with HashMap(u32, u64, numa_node=0) as found:
        assert found.info().flags & MapFlags.NUMA_NODE


def test_maps_without_iteration_refuse_it() -> None:
    """Python would look up 0, 1, 2, ...: of a storage, whatever these descriptors are."""
    for made in (PerfEventArray(4), TaskStorage(u64) if has("task_storage") else CgroupArray(1)):
        with made, pytest.raises(TypeError, match="not iterable"):
            list(made)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (MapSpec(MapType.LPM_TRIE, u32, u64, 4), "a trie's key has 5 to 260 bytes, not 4: a u32, .*Ipv4Prefix"),
        (MapSpec(MapType.BLOOM_FILTER, None, u64, 4, extra=16), "a bloom filter has 1 to 15 hash functions, not 16"),
        (MapSpec(MapType.HASH, u32, u64, 4, numa_node=99), "NUMA node 99 is not online; those that are: 0"),
        (MapSpec(MapType.HASH, u32, u64, 4, flags=MapFlags(1 << 30)), "no hash map with the flag 0x40000000"),
        (MapSpec(MapType.ARRAY, u32, u64, 4, flags=MapFlags.NO_PREALLOC), "no array map with the flag NO_PREALLOC"),
        (
            MapSpec(MapType.ARRAY, u32, u64, 4, flags=MapFlags.NO_PREALLOC | MapFlags.STACK_BUILD_ID),
            "no array map with the flag NO_PREALLOC and STACK_BUILD_ID",
        ),
    ],
)
def test_what_the_kernel_makes_no_map_of_is_named(spec: MapSpec, says: str) -> None:
    if not has(spec.type.name.lower()):
        pytest.skip(f"kernel lacks {spec.type.name.lower()}")
    if spec.numa_node is not None and not Path("/sys/devices/system/node/online").exists():
        pytest.skip("the kernel has no NUMA nodes")
    with pytest.raises(KernelError, match=says):
        spec.create()


def test_what_maps_do_not_take_is_named() -> None:
    inner = MapSpec(MapType.HASH, u32, u64, 4)
    with HashOfMaps(u32, inner) as outer, HashMap(u32, u32) as other, ProgArray(2) as programs, StackTrace() as stacks:
        with pytest.raises(KernelError, match=r"is no map, or its type.*create it from the map's spec\.inner"):
            outer[1] = other
        with pytest.raises(KernelError, match="what is stored is no program"):
            programs[0] = other
        with pytest.raises(KernelError, match="only programs put stacks into it"):
            stacks[0] = (1,) * 127


def test_a_pin_with_a_dot(bpffs: Path) -> None:
    with Array(u64) as values:
        for path in ("a.b", "a.b/c", "a/c.d"):
            (bpffs / "a").mkdir(exist_ok=True)
            with pytest.raises(KernelError, match=r"names in a bpf file system have no dots .*leave the dot out"):
                values.pin(bpffs / path)


def test_types_are_left_out_only_where_the_kernel_does_not_take_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails for want of descriptors, or because what was written is wrong, must not go on without types."""
    real = kernel_btf.bpf
    answers: list[int] = []

    def refuse(cmd: Cmd, **fields: Any) -> int:
        if cmd is Cmd.BTF_LOAD and answers:
            raise OSError(answers[0], "")
        return real(cmd, **fields)

    monkeypatch.setattr(kernel_btf, "bpf", refuse)
    spec = MapSpec(MapType.HASH, u32, u64, 4)
    for number in (errno.EPERM, errno.E2BIG):
        answers[:] = [number]
        with spec.create() as made:
            assert made.info().btf_id == 0
    for number in (errno.EMFILE, errno.ENOMEM, errno.EINVAL):
        answers[:] = [number]
        with pytest.raises(KernelError) as caught:
            spec.create()
        assert caught.value.errno == number


def test_maps_are_opened_for_one_direction(bpffs: Path) -> None:
    with HashMap(u32, u64, 4, name="shared") as found:
        found[1] = 10
        found.pin(bpffs / "shared")
        for read, write in (
            (HashMap.open(bpffs / "shared", mode="r"), HashMap.open(bpffs / "shared", mode="w")),
            (HashMap.from_id(found.id, mode="r"), HashMap.from_id(found.id, mode="w")),
        ):
            with read, write:
                assert read[1] == 10
                with pytest.raises(KernelError, match="opened for the other direction only"):
                    read[1] = 11
                write[2] = 20
                with pytest.raises(KernelError, match="opened for the other direction only"):
                    write[2]
                assert found.pop(2) == 20
        with pytest.raises(PackError, match="'rw', 'r' or 'w', not 'rb'"):
            HashMap.open(bpffs / "shared", mode="rb")
    (bpffs / "shared").unlink()


def test_a_prefix_as_text_is_told_what_to_write() -> None:
    with LpmTrie(Ipv4Prefix, u64) as found, pytest.raises(PackError, match=r"ipaddress\.ip_network"):
        found["10.0.0.0/8"] = 1
