"""The kernel's version from the vDSO's note, for real and from made images."""

from __future__ import annotations

import os
import re
import struct

import pytest

from pybpf.sys import vdso
from pybpf.sys.libc import getauxval
from pybpf.sys.vdso import kernel_version, note_version


def _reader(image: bytes) -> object:
    return lambda offset, size: image[offset : offset + size].ljust(size, b"\0")


def _image(*notes: tuple[bytes, int, bytes]) -> bytes:
    body = b""
    for name, kind, data in notes:
        padded = name + bytes(-len(name) % 4), data + bytes(-len(data) % 4)
        body += struct.pack("=III", len(name), len(data), kind) + b"".join(padded)
    header = bytearray(64)
    struct.pack_into("=Q", header, 32, 64)
    struct.pack_into("=HH", header, 54, 56, 2)
    load = struct.pack("=IIQQQQQQ", 1, 0, 0, 0, 0, 0, 0, 0)
    note = struct.pack("=IIQQQQQQ", 4, 0, 64 + 2 * 56, 0, 0, len(body), 0, 0)
    return bytes(header) + load + note + body


def test_the_running_kernel() -> None:
    code = kernel_version()
    major, minor = re.findall(r"\d+", os.uname().release)[:2]
    assert (code >> 16, code >> 8 & 255) == (int(major), int(minor))


def test_notes() -> None:
    version = struct.pack("=I", 0x050A07)
    assert note_version(_reader(_image((b"Linux\0", 0, version)))) == 0x050A07
    others = ((b"GNU\0", 3, b"build id!"), (b"Linux\0", 1, b"abcd"), (b"Linux\0", 0, version))
    assert note_version(_reader(_image(*others))) == 0x050A07
    assert note_version(_reader(_image((b"GNU\0", 0, version)))) is None
    assert note_version(_reader(_image())) is None


@pytest.mark.parametrize(
    ("release", "code"),
    [("5.10.0-28-amd64", 0x050A00), ("6.1.192", 0x0601C0), ("4.19.300", 0x0413FF), ("7.3-rc1", 0x070300), ("?", 0)],
)
def test_releases(release: str, code: int) -> None:
    assert vdso._release_code(release) == code


def test_without_a_vdso_the_release_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vdso, "getauxval", lambda kind: 0)
    assert kernel_version() == vdso._release_code(os.uname().release)


def test_auxiliary_vector() -> None:
    assert getauxval(6) == os.sysconf("SC_PAGESIZE")  # AT_PAGESZ
    assert getauxval(9999) == 0
