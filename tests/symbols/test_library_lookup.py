"""From a name to a file: the loader's cache, PATH, processes, containers, deleted files, musl."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pybpf.arch import host_arch
from pybpf.attach.semaphore import semaphore_address
from pybpf.errors import BpfError, NotFoundError
from pybpf.symbols import Binary, ElfFile, find_binary, libraries, mapped_binary, mappings
from pybpf.symbols.files import inside
from pybpf.symbols.library import is_mapped, process_root

pytestmark = pytest.mark.native

MACHINE = os.uname().machine
GLIBC = "glibc" in "".join(os.confstr("CS_GNU_LIBC_VERSION") or "")
#: what this process runs on, found without pybpf.symbols.library's rules
LIBC = os.path.realpath(
    next(m.path for m in mappings(os.getpid()) if re.match(r"libc[-.]|ld-musl", os.path.basename(m.path)))
)


class Root:
    """A directory that stands for the root of another system."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def file(self, name: str, data: bytes = b"") -> str:
        path = self.path / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return str(path)

    def link(self, name: str, target: str) -> None:
        path = self.path / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)

    def find(self, name: str) -> str | None:
        from pybpf.symbols.library import _find_library

        found = _find_library(name, str(self.path))
        return found and found.name


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path)


def cache(*entries: tuple[str, int, int], old: bool = False) -> bytes:
    """A loader cache of (path, flags, hwcap)."""
    strings, rows = b"", b""
    strings_at = 48 + 24 * len(entries)
    for path, flags, hwcap in entries:
        rows += struct.pack("=iIIIQ", flags, 0, strings_at + len(strings), 0, hwcap)
        strings += path.encode() + b"\0"
    head = struct.pack("=20sII20x", b"glibc-ld.so.cache1.1", len(entries), len(strings))
    before = b"ld.so-1.7.0\0".ljust(16, b"\0") if old else b""
    return before + head + rows + strings


NATIVE = host_arch().ld_cache_flags


@pytest.mark.skipif(not GLIBC, reason="needs glibc")
@pytest.mark.parametrize("name", ["c", "libc", "libc.so", "libc.so.6"])
@pytest.mark.parametrize("pid", [None, os.getpid()], ids=["any", "own"])
def test_libc_by_its_names(name: str, pid: int | None) -> None:
    assert os.path.realpath(find_binary(name, pid).path) == LIBC


@pytest.mark.skipif(not GLIBC or shutil.which("ldconfig", path="/sbin:/usr/sbin") is None, reason="needs ldconfig")
def test_cache_is_what_ldconfig_prints() -> None:
    ldconfig = shutil.which("ldconfig", path="/sbin:/usr/sbin")
    text = subprocess.run([ldconfig or "", "-p"], capture_output=True, text=True, check=True).stdout
    lines = [line.rpartition(" => ") for line in text.splitlines() if " => " in line]
    printed = {path for left, _, path in lines if {"x86_64": "x86-64", "aarch64": "AArch64"}[MACHINE] in left}
    assert printed
    assert set(libraries()) == printed


def test_cache_of_another_root(root: Root) -> None:
    entries = [("/lib/libz.so.1", NATIVE, 0), ("/lib/i386/libz.so.1", 3, 0), ("/lib/libz.so.1.9", NATIVE, 0)]
    for old in (False, True):
        root.file("/etc/ld.so.cache", cache(*entries, old=old))
        assert libraries(str(root.path)) == ["/lib/libz.so.1", "/lib/libz.so.1.9"]
    assert root.find("libz.so.1") == "/lib/libz.so.1"
    assert root.find("z") == "/lib/libz.so.1.9"
    assert root.find("zz") is None


def test_library_beside_the_cache(root: Root) -> None:
    """As the musl of a glibc system, or a library that came after the last ldconfig."""
    root.file("/etc/ld.so.cache", cache(("/lib/libz.so.1", NATIVE, 0)))
    root.file("/usr/lib/libnew.so.3")
    root.file(f"/lib/ld-musl-{MACHINE}.so.1")
    root.file(f"/usr/lib/{MACHINE}-linux-gnu/libz.so.9")
    assert root.find("new") == "/usr/lib/libnew.so.3"
    assert root.find(f"ld-musl-{MACHINE}.so.1") == f"/lib/ld-musl-{MACHINE}.so.1"
    assert root.find("z") == "/lib/libz.so.1"


def test_versions_are_compared_as_numbers(root: Root) -> None:
    paths = [f"/lib/libssl.so.{version}" for version in ("1.1", "10", "3")]
    root.file("/etc/ld.so.cache", cache(*((path, NATIVE, 0) for path in paths)))
    assert root.find("ssl") == "/lib/libssl.so.10"
    assert root.find("libssl.so.3") == "/lib/libssl.so.3"


def test_library_for_special_processors_comes_last(root: Root) -> None:
    entries = [("/lib/v3/libc.so.6", NATIVE, 1 << 62), ("/lib/libc.so.6", NATIVE, 0)]
    root.file("/etc/ld.so.cache", cache(*entries))
    assert root.find("libc") == "/lib/libc.so.6"


@pytest.mark.parametrize("size", [0, 10, 47, 48, 60, 71, 80])
def test_damaged_cache_is_passed_over(root: Root, size: int) -> None:
    whole = cache(("/lib/libz.so.1", NATIVE, 0))
    data = bytearray(whole[:size])
    if size >= 48:
        data[20:24] = b"\xff" * 4  # the number of entries
    root.file("/etc/ld.so.cache", bytes(data))
    root.file(f"/usr/lib/{MACHINE}-linux-gnu/libz.so.1")
    assert root.find("z") == f"/usr/lib/{MACHINE}-linux-gnu/libz.so.1"


def test_cache_that_is_a_fifo_does_not_block(root: Root) -> None:
    (root.path / "etc").mkdir()
    os.mkfifo(root.path / "etc/ld.so.cache")
    assert root.find("z") is None


def test_old_names_of_glibc(root: Root) -> None:
    """Until 2.34 libc.so.6 was a link to libc-2.31.so, which is what maps show."""
    from pybpf.symbols.library import _matches

    assert _matches("libc.so.6", "libc-2.31.so")
    assert _matches("c", "libc-2.31.so")
    assert _matches("libz.so.1", "libz.so.1.2.13")
    assert not _matches("libz.so.1", "libz.so.10")
    assert not _matches("c", "libcap.so.2")
    assert not _matches("libc", "libc++.so.1")


def test_musl(root: Root) -> None:
    loader = f"ld-musl-{MACHINE}.so.1"
    root.file(f"/lib/{loader}")
    root.file("/usr/lib/libz.so.1.2.13")
    root.link("/usr/lib/libz.so.1", "libz.so.1.2.13")
    for name in ("c", "libc", "libc.so", "pthread", "libm", loader):
        assert root.find(name) == f"/lib/{loader}", name
    assert root.find("z") == "/usr/lib/libz.so.1.2.13"
    assert root.find("ssl") is None


def test_musl_with_its_own_list_of_paths(root: Root) -> None:
    root.file(f"/etc/ld-musl-{MACHINE}.path", b"/opt/a:/opt/b\n/opt/c\n")
    root.file("/opt/c/libz.so.1")
    root.file("/usr/local/lib/libnot.so.1")
    assert root.find("z") == "/opt/c/libz.so.1"


@pytest.mark.skipif(not os.path.exists(f"/lib/ld-musl-{MACHINE}.so.1"), reason="needs the package musl")
def test_real_musl() -> None:
    with ElfFile(find_binary(f"ld-musl-{MACHINE}.so.1").path) as elf:
        assert elf.function("malloc").address


def test_links_stay_inside_another_root(root: Root) -> None:
    root.file("/usr/lib/x/libz.so.1.2", b"inside")
    root.link("/usr/lib/libz.so.1", "/usr/lib/x/libz.so.1.2")
    root.link("/lib", "usr/lib")
    root.link("/escape", "../../../../../../usr/lib/x/libz.so.1.2")
    root.link("/loop", "loop")
    top = str(root.path)
    for name in ("/lib/libz.so.1", "/escape", "/lib/../lib/./libz.so.1"):
        assert Path(inside(top, name)).read_bytes() == b"inside", name
    assert inside(top, "/no/such/file") == f"{top}/no/such/file"
    assert inside("/", "/lib/x") == "/lib/x"
    with pytest.raises(NotFoundError, match="cannot follow"):
        inside(top, "/loop")


def test_program_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("bin1", "bin2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "sometool").write_text("#!/bin/sh\n")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin1:{tmp_path}/bin2")
    (tmp_path / "bin2/sometool").chmod(0o755)
    path = f"{tmp_path}/bin2/sometool"
    assert find_binary("sometool") == Binary(path, path)
    with pytest.raises(NotFoundError, match="cannot find sometooll"):
        find_binary("sometooll")


def test_missing_library_says_what_comes_close() -> None:
    if not libraries():
        pytest.skip("no libraries in the usual places")
    with pytest.raises(NotFoundError, match=r"neither a program on PATH nor a library .*did you mean .*libc"):
        find_binary("libcc.so.6")


def test_missing_path_says_what_comes_close(tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(b"")
    with pytest.raises(NotFoundError, match="did you mean program"):
        find_binary(f"{tmp_path}/progrm")


def ascii_start(name: str) -> str:
    return ascii(name[:8])


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 5000, "/" + "x" * 5000, "\x1b[2J", "\udcff", "*"], ids=ascii_start)
def test_odd_names(name: str) -> None:
    with pytest.raises(BpfError) as caught:
        find_binary(name)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_no_such_process() -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for name in ("libc", "/bin/sh", None):
        for pid in (dead.pid, -1, 0, 1 << 40):
            with pytest.raises(NotFoundError, match=f"no process {pid}"):
                find_binary(name, pid)


def test_program_of_a_process() -> None:
    found = find_binary(None, os.getpid())
    assert found.name == os.path.realpath(sys.executable)
    assert os.path.samefile(found.path, sys.executable)
    with pytest.raises(NotFoundError, match="give a program"):
        find_binary(None)


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A process that runs a copy of ``sleep``, and the copy."""
    copy = tmp_path / "my sleep"
    shutil.copy(os.path.realpath(shutil.which("sleep") or "/bin/sleep"), copy)
    process = subprocess.Popen([str(copy), "1000"])
    while not any(mapping.path == str(copy) for mapping in mappings(process.pid)):  # it has begun to run
        time.sleep(0.002)
    yield process, copy
    process.kill()
    process.wait()


def test_deleted_program(sleeper: tuple[subprocess.Popen[bytes], Path]) -> None:
    process, copy = sleeper
    content = copy.read_bytes()
    copy.unlink()
    found = find_binary(None, process.pid)
    assert (found.name, found.deleted) == (str(copy), True)
    assert Path(found.path).read_bytes() == content
    mapping = next(m for m in mappings(process.pid) if m.path == str(copy))
    assert mapping.deleted
    by_path = find_binary(str(copy), process.pid)
    assert (by_path.name, by_path.deleted) == (str(copy), True)
    assert by_path == mapped_binary(process.pid, mapping)
    try:
        assert Path(by_path.path).read_bytes() == content
    except PermissionError:
        pytest.skip("map_files needs CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE")
    with ElfFile(by_path.path, by_path.name) as elf:
        assert elf.name == str(copy)


def test_mapped_names_with_odd_characters(tmp_path: Path) -> None:
    import mmap

    path = tmp_path / "a \n(deleted) b"
    path.write_bytes(bytes(4096))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 4096, prot=mmap.PROT_READ):
        mine = [m for m in mappings(os.getpid()) if m.path == str(path)]
        assert len(mine) == 1
        assert (mine[0].inode, mine[0].executable, mine[0].writable) == (path.stat().st_ino, False, False)
        assert not mine[0].deleted


_TWINS = """
import ctypes, mmap, os, sys
libc = ctypes.CDLL(None, use_errno=True)
where = sys.argv[1].encode()
if libc.unshare(0x00020000) or libc.mount(b"none", b"/", None, 0x44000, None):  # CLONE_NEWNS; MS_REC | MS_PRIVATE
    sys.exit(77)
kept = []
for content in (b"A", b"B"):
    if libc.mount(b"none", where, b"tmpfs", 0, None):
        sys.exit(77)
    with open(where + b"/file", "wb+") as file:
        file.write(content * 4096)
        file.flush()
        if not kept:
            kept.append(mmap.mmap(file.fileno(), 4096))
print(os.stat(where + b"/file").st_ino, flush=True)
sys.stdin.read()
"""


def test_files_of_one_number_on_two_file_systems(tmp_path: Path) -> None:
    """A process has mapped one; the other took over its path."""
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", _TWINS, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdin and process.stdout
        number = process.stdout.readline()
        if not number:
            process.wait()
            pytest.skip("may not mount in a mount namespace of its own")
        pid, name = process.pid, f"{tmp_path}/file"
        [mapping] = [mapping for mapping in mappings(pid) if mapping.path == name]
        if mapping.inode != int(number):
            process.stdin.close()
            pytest.skip("needs tmpfs that numbers the files of each file system separately (Linux 5.9)")
        mapped = mapped_binary(pid, mapping)
        other = Binary(f"/proc/{pid}/root{name}", name)
        assert Path(mapped.path).read_bytes()[:1] == b"A"
        assert Path(other.path).read_bytes()[:1] == b"B"
        assert semaphore_address(pid, mapped, 10) == mapping.start + 10
        with pytest.raises(NotFoundError, match="has not mapped"):
            semaphore_address(pid, other, 10)
        process.stdin.close()


def test_mapped_file_without_privilege(tmp_path: Path) -> None:
    """Path and number decide where the mapping itself may not be followed."""
    import mmap

    if os.geteuid() != 0:
        pytest.skip("needs root: it gives its privileges up")
    here, there = (tmp_path / name for name in ("here", "there"))
    here.write_bytes(bytes(4096))
    os.link(here, there)
    with here.open("rb") as file, mmap.mmap(file.fileno(), 4096, prot=mmap.PROT_READ):
        [mapping] = [mapping for mapping in mappings(os.getpid()) if mapping.path == str(here)]
        read, write = os.pipe()
        child = os.fork()
        if not child:
            try:
                ctypes.CDLL(None).capset(struct.pack("=Ii", 0x20080522, 0), bytes(24))  # no capability is left
                found = [is_mapped(os.getppid(), mapping, Binary(str(path), str(path))) for path in (here, there)]
                os.write(write, repr(found).encode())
            finally:
                os._exit(0)
        os.close(write)
        with open(read, "rb") as pipe:
            answer = pipe.read()
        os.waitpid(child, 0)
    assert answer == b"[True, False]"


_CHROOT = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
os.chroot(sys.argv[1])
os.chdir("/")
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def contained(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A process whose root directory holds another libc than ours."""
    if os.geteuid() != 0:
        pytest.skip("needs root: chroot")
    where = tmp_path / "root"
    directory = where / "lib" / f"{MACHINE}-linux-gnu"
    directory.mkdir(parents=True)
    shutil.copy(LIBC, directory / "libinside.so.6")
    (where / "bin").mkdir()
    (where / "bin/tool").symlink_to("/lib/real-tool")
    (where / "lib/real-tool").write_bytes(b"inside")
    process = subprocess.Popen(
        [sys.executable, "-c", _CHROOT, str(where)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin and process.stdout
    assert process.stdout.readline() == b"ready\n"
    yield process.pid, where
    process.stdin.close()
    process.wait()
    process.stdout.close()


def test_paths_are_as_the_process_sees_them(contained: tuple[int, Path]) -> None:
    pid, where = contained
    assert process_root(pid) == f"/proc/{pid}/root"
    assert process_root(os.getpid()) == "/"
    found = find_binary("/bin/tool", pid)
    assert Path(found.path).read_bytes() == b"inside"
    assert found.name == "/bin/tool"
    library = find_binary("libinside.so.6", pid)
    assert os.path.samefile(library.path, where / "lib" / f"{MACHINE}-linux-gnu" / "libinside.so.6")
    with pytest.raises(NotFoundError, match=f"for process {pid}"):
        find_binary("/bin/cat", pid)


def test_own_mount_namespace() -> None:
    """unshare(CLONE_NEWNS): the same paths can be other files there."""
    libc = ctypes.CDLL(None, use_errno=True)

    def unshare() -> None:
        if libc.unshare(0x00020000):
            os._exit(77)

    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; print(1, flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=unshare,
    )  # fmt: skip
    with process:
        assert process.stdin and process.stdout
        ready = process.stdout.readline()
        if not ready:
            process.stdin.close()
            process.wait()
            pytest.skip("may not unshare a mount namespace")
        found = find_binary(None if not GLIBC else "libc", process.pid)
        assert found.path.startswith(f"/proc/{process.pid}/root/" if GLIBC else "/proc/")
        assert os.path.samefile(found.path, LIBC if GLIBC else sys.executable)
        process.stdin.close()
