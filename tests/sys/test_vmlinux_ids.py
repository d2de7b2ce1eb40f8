"""Ids of named types in BTF by the small reader of the feature probes: the same as by the full one."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from pybpf.btf import Btf, BtfBuilder
from pybpf.sys.vmlinux import FUNC, TYPEDEF, find_ids


def blob() -> bytes:
    builder = BtfBuilder()
    number = builder.int("int", 4, signed=True)
    proto = builder.func_proto(number, [("a", number), ("b", builder.ptr())])
    for name in ("first", "second"):
        builder.func(name, proto)
    builder.typedef("second", number)
    return builder.bytes()


def test_ids_are_those_of_the_full_reader(tmp_path: Path) -> None:
    path = tmp_path / "btf"
    path.write_bytes(blob())
    full = Btf.from_bytes(blob())
    wanted = [(FUNC, "first"), (FUNC, "second"), (TYPEDEF, "second"), (TYPEDEF, "first"), (FUNC, "none")]
    found = find_ids(wanted, str(path))
    assert found == {
        (FUNC, "first"): full.find("func", "first"),
        (FUNC, "second"): full.find("func", "second"),
        (TYPEDEF, "second"): full.find("typedef", "second"),
    }


@pytest.mark.parametrize("cut", [0, 3, 20])
def test_what_is_no_btf_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "btf"
    path.write_bytes(blob()[:cut])
    with pytest.raises(ValueError, match="btf"):
        find_ids([(FUNC, "first")], str(path))


def test_types_that_are_cut_off_or_unknown(tmp_path: Path) -> None:
    data = bytearray(blob())
    header, types, types_size = struct.unpack_from("=4xIII", data)
    path = tmp_path / "btf"
    for size in range(0, types_size, 4):
        struct.pack_into("=I", data, 12, size)
        path.write_bytes(data)
        assert find_ids([(FUNC, "no"), (TYPEDEF, "second")], str(path)) == {}
    struct.pack_into("=I", data, 12, types_size)
    struct.pack_into("=I", data, header + types + 4, 31 << 24)
    path.write_bytes(data)
    with pytest.raises(ValueError, match="type 1 is of kind 31, which is unknown"):
        find_ids([(TYPEDEF, "second")], str(path))
