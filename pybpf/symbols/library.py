"""From what a user calls a program or a library to the file to open: paths, the loader's cache, PATH, a process."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache

from pybpf.arch import host_arch
from pybpf.errors import BpfError, NotFoundError
from pybpf.lazy import regex
from pybpf.record import NamedTuple
from pybpf.symbols.files import inside, read_regular, show
from pybpf.sys.near import did_you_mean

__all__ = [
    "Binary",
    "Mapping",
    "every_mapping",
    "find_binary",
    "is_mapped",
    "libraries",
    "mapped_binary",
    "mappings",
    "matching_files",
    "process_error",
    "process_root",
]

_CACHE = "/etc/ld.so.cache"
_MOST_CACHE = 16 << 20
_MOST_MAPS = 64 << 20
# struct cache_file_new and file_entry_new of glibc's sysdeps/generic/dl-cache.h; offsets count from the magic.
_CACHE_MAGIC = b"glibc-ld.so.cache1.1"
_CACHE_HEAD = struct.Struct("=20sII20x")
_CACHE_ENTRY = struct.Struct("=iIIIQ")
_MUSL_PATHS = ("/lib", "/usr/local/lib", "/usr/lib")
#: parts of a C library that are files of their own in glibc before 2.34, and never in musl
_IN_MUSL_LIBC = ("c", "crypt", "dl", "m", "pthread", "resolv", "rt", "util", "xnet")
#: libNAME.so, libNAME.so.6, libNAME-2.31.so, NAME.so: what follows the name
_VERSION = regex(r"(?:-[0-9.]+)?\.so(?:\.[0-9.]+)?$")
_MAPS_LINE = regex(
    rb"^([0-9a-f]{1,16})-([0-9a-f]{1,16}) (\S+) ([0-9a-f]{1,16}) ([0-9a-f]+:[0-9a-f]+) ([0-9]{1,20}) *(.*)$",
    re.MULTILINE,
)
_DELETED = " (deleted)"


class Binary(NamedTuple):
    """A program or library that was found."""

    path: str  #: what to open: it leads to the right file even from another mount namespace
    name: str  #: what to call it: the path as its own processes see it
    deleted: bool = False  #: the file has no name any more; a process still has it mapped


class Mapping(NamedTuple):
    """A file or other memory mapped into a process, from one line of ``/proc/PID/maps``."""

    start: int
    end: int
    offset: int
    inode: int
    path: str  #: as the process sees it, without the mark of a deleted file; ``""`` or ``"[heap]"`` of other memory
    deleted: bool
    executable: bool
    writable: bool


def find_binary(name: str | None, pid: int | None = None) -> Binary:
    """The file that a user means.

    ``name`` is a path; or the name of a library, as ``"c"``, ``"libc"``, ``"libc.so"`` or ``"libc.so.6"``; or that of
    a program on ``PATH``. A name that is both is the program, unless it begins with ``lib`` or contains ``.so``.

    With ``pid`` everything is as that process sees it: paths are inside its root directory, and a library is the one
    that it has mapped, even if the file was deleted since. ``name`` may then be None for the program that it runs.

    :raises NotFoundError: there is no such file or process; the message says what comes close.
    :raises BpfError: the process may not be looked at.
    """
    root = "/" if pid is None else process_root(pid)
    if name is None:
        if pid is None:
            raise NotFoundError("give a program, a library or a process to probe")
        return _program_of(pid)
    if "\0" in name or not name:
        raise NotFoundError(f"there is no program or library {show(name)!r}")
    if "/" in name:
        return _by_path(name, root, pid)
    as_library = name.startswith(("lib", "ld-")) or ".so" in name
    ways = (_find_library, _find_program) if as_library else (_find_program, _find_library)
    found = (pid and _find_mapped(name, root, pid)) or ways[0](name, root) or ways[1](name, root)
    if found:
        return found
    known = {show(alias) for library in libraries(root) for alias in _aliases(library)}
    close = did_you_mean(name, known if as_library else known | _programs(root))
    where = f"a library that process {pid} sees" if pid is not None else "a library of this system"
    raise NotFoundError(f"cannot find {show(name)}: it is neither a program on PATH nor {where}{close}")


def process_root(pid: int) -> str:
    """The directory under which the files of a process are found: ``"/"`` when it sees what we see.

    :raises NotFoundError: there is no such process.
    :raises BpfError: it may not be looked at.
    """
    root = f"/proc/{pid}/root"
    try:
        theirs = os.readlink(root), os.readlink(f"/proc/{pid}/ns/mnt")
        ours = os.readlink("/proc/self/root"), os.readlink("/proc/self/ns/mnt")
    except OSError as error:
        raise process_error(pid, error) from None
    return "/" if theirs == ours else root


def process_error(pid: int, error: OSError) -> BpfError:
    """What to raise when ``/proc/PID`` could not be read."""
    if not os.path.exists(f"/proc/{pid}"):
        return NotFoundError(f"there is no process {pid}")
    if isinstance(error, FileNotFoundError):
        return NotFoundError(f"process {pid} has no program: it is a kernel thread, or it has ended")
    why = os.strerror(error.errno or 0)
    return BpfError(f"cannot look at process {pid}: {why}; run as its user with CAP_SYS_PTRACE, or as root")


def mappings(pid: int) -> list[Mapping]:
    """The files that a process has mapped, by rising address.

    :raises NotFoundError, BpfError: as :func:`process_root`.
    """
    return [mapping for mapping in every_mapping(pid) if mapping.path.startswith("/")]


def matching_files(pattern: str, pid: int | None = None) -> list[str]:
    """The paths that a pattern of a shell means: of what a process executes, or else in the file system.

    :raises NotFoundError, BpfError: as :func:`process_root`.
    """
    from fnmatch import fnmatchcase  # few ask for it
    from glob import glob

    if pid is not None:
        mapped = dict.fromkeys(each.path for each in mappings(pid) if each.executable and not each.deleted)
        return [path for path in mapped if fnmatchcase(path, pattern)]
    return sorted(filter(os.path.isfile, glob(pattern))) if "/" in pattern else []


def every_mapping(pid: int) -> Iterator[Mapping]:
    """All that a process has mapped, by rising address. :raises NotFoundError, BpfError: as :func:`process_root`."""
    try:
        with open(f"/proc/{pid}/maps", "rb") as file:
            text = file.read(_MOST_MAPS)
    except OSError as error:
        raise process_error(pid, error) from None
    return parse_maps(text)


def parse_maps(text: bytes) -> Iterator[Mapping]:
    """What ``/proc/PID/maps`` says, line by line; what is no such line is left out."""
    return map(_mapping, _MAPS_LINE.finditer(text))


def _mapping(match: re.Match[bytes]) -> Mapping:
    start, end, flags, offset, _, inode, raw = match.groups()
    # the kernel writes a newline in a name as \012, and nothing else so
    path = os.fsdecode(raw.replace(rb"\012", b"\n"))
    deleted = path.endswith(_DELETED)
    return Mapping(
        start=int(start, 16),
        end=int(end, 16),
        offset=int(offset, 16),
        inode=int(inode),
        path=path[: -len(_DELETED)] if deleted else path,
        deleted=deleted,
        executable=b"x" in flags,
        writable=b"w" in flags,
    )


def mapped_binary(pid: int, mapping: Mapping, root: str | None = None) -> Binary:
    """The file behind a mapping of a process.

    ``/proc/PID/maps`` has the path as seen from here if there is one (of a chroot), else as seen by the process (of a
    container). Where neither is the mapped file, as when it was deleted, it is opened through the mapping itself.

    :param root: the process's root directory if it is known, see :func:`process_root`.
    """
    if not mapping.deleted:
        for path in (inside(process_root(pid) if root is None else root, mapping.path), mapping.path):
            if is_mapped(pid, mapping, Binary(path, mapping.path)):
                return Binary(path, mapping.path)
    return Binary(_map_file(pid, mapping), mapping.path, mapping.deleted)


def is_mapped(pid: int, mapping: Mapping, binary: Binary) -> bool:
    """Whether a mapping of a process is of that file; False when one of them is gone."""
    try:
        file = os.stat(binary.path)
    except (OSError, ValueError):
        return False
    try:
        return os.path.samestat(os.stat(_map_file(pid, mapping)), file)
    except PermissionError:
        # Following it takes CAP_SYS_ADMIN, or CAP_CHECKPOINT_RESTORE (Linux 5.9). The device number in /proc/PID/maps
        # does not help: for some file systems, such as btrfs, it is not that of stat(2).
        return (mapping.path, mapping.inode) == (binary.name, file.st_ino)
    except OSError:
        return False


def _map_file(pid: int, mapping: Mapping) -> str:
    return f"/proc/{pid}/map_files/{mapping.start:x}-{mapping.end:x}"


def _program_of(pid: int) -> Binary:
    try:
        path = os.readlink(f"/proc/{pid}/exe")
    except OSError as error:
        raise process_error(pid, error) from None
    deleted = path.endswith(_DELETED)
    return Binary(f"/proc/{pid}/exe", path[: -len(_DELETED)] if deleted else path, deleted)


def _by_path(name: str, root: str, pid: int | None) -> Binary:
    path = inside(root, name) if name.startswith("/") else os.path.abspath(name)
    if os.path.exists(path):
        return Binary(path, name)
    if pid is not None:
        for mapping in mappings(pid):
            if mapping.path == name:
                return mapped_binary(pid, mapping, root)
    try:
        siblings = os.listdir(os.path.dirname(path))
    except OSError:
        siblings = []
    close = did_you_mean(os.path.basename(name), map(show, siblings))
    raise NotFoundError(f"there is no file {show(name)}{f' for process {pid}' if pid is not None else ''}{close}")


def _find_mapped(name: str, root: str, pid: int) -> Binary | None:
    """The program or library of that name that the process has mapped."""
    for mapping in mappings(pid):
        if _matches(name, os.path.basename(mapping.path)):
            return mapped_binary(pid, mapping, root)
    return None


def _find_program(name: str, root: str) -> Binary | None:
    for directory in os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = f"{directory or '.'}/{name}"
        seen = inside(root, path) if path.startswith("/") else path
        if os.path.isfile(seen) and os.access(seen, os.X_OK):
            return Binary(seen, path)
    return None


def _programs(root: str) -> set[str]:
    """The names of the files on PATH."""
    names: set[str] = set()
    for directory in os.environ.get("PATH", os.defpath).split(os.pathsep):
        with suppress(OSError):
            names.update(map(show, os.listdir(inside(root, directory) if directory.startswith("/") else directory)))
    return names


def _find_library(name: str, root: str) -> Binary | None:
    """What a loader in ``root`` would take: what its cache has, else what the usual directories have."""
    for paths in (_cached(root), _listed(root)):
        matching = [path for path in paths if _matches(name, os.path.basename(path))]
        if matching:
            exact = [path for path in matching if os.path.basename(path) == name]
            path = (exact or sorted(matching, key=_version, reverse=True))[0]
            return Binary(inside(root, path), path)
    return None


def _stem(name: str) -> str:
    """``c`` of ``c``, ``libc``, ``libc.so``, ``libc.so.6`` and ``libc-2.31.so``."""
    bare = _VERSION.sub("", name)
    return bare[3:] if bare.startswith("lib") else bare


def _matches(name: str, file: str) -> bool:
    """Whether the library file is one that ``name`` means."""
    if file == name:
        return True
    if _VERSION.search(file) is None:
        return False
    if file == _musl_loader():
        return _stem(name) in _IN_MUSL_LIBC
    if file.startswith((f"lib{name}.so", f"{name}.")):
        return True
    if re.search(r"\.so\.[0-9.]+$", name):
        # a soname can be a link: libz.so.1 to libz.so.1.2.13 (found above), libc.so.6 to libc-2.31.so
        return _stem(file) == _stem(name) and re.search(r"-[0-9.]+\.so$", file) is not None
    return file.startswith("lib") and _stem(file) == _stem(name)


def _version(path: str) -> list[int]:
    """The version at the end of a library's name, to compare."""
    match = _VERSION.search(path)
    return [int(number) for number in re.findall("[0-9]+", match.group())] if match else []


def _aliases(path: str) -> Iterator[str]:
    file = os.path.basename(path)
    yield file
    yield _VERSION.sub("", file)
    yield _stem(file)


def libraries(root: str = "/") -> list[str]:
    """The libraries of this architecture that a loader in ``root`` finds, in its order, as paths inside ``root``."""
    return list(_cached(root) or _listed(root))


def _listed(root: str) -> Iterator[str]:
    """The libraries in the directories that loaders search."""
    for directory in _directories(root):
        for file in _listdir(inside(root, directory)):
            if _VERSION.search(file):
                yield f"{directory}/{file}"


def _cached(root: str) -> list[str]:
    """The paths in glibc's loader cache; nothing when there is none, or none that can be read."""
    try:
        data = read_regular(inside(root, _CACHE), _MOST_CACHE)
    except BpfError:
        return []
    return _parse_cache(data, host_arch().ld_cache_flags)


@lru_cache(maxsize=4)
def _parse_cache(data: bytes, flags: int) -> list[str]:
    start = data.find(_CACHE_MAGIC)  # a cache in the old format may come first
    if start < 0 or start + _CACHE_HEAD.size > len(data):
        return []
    _, count, _ = _CACHE_HEAD.unpack_from(data, start)
    first = start + _CACHE_HEAD.size
    count = min(count, (len(data) - first) // _CACHE_ENTRY.size)
    plain: list[str] = []
    special: list[str] = []
    for entry in _CACHE_ENTRY.iter_unpack(data[first : first + count * _CACHE_ENTRY.size]):
        kind, _, value, _, hwcap = entry
        path = _string(data, start + value)
        if kind == flags and path.startswith("/"):
            # libraries for certain processors only come last: whether the loader takes them is its own decision
            (special if hwcap else plain).append(path)
    return plain + special


def _string(data: bytes, offset: int) -> str:
    end = data.find(b"\0", offset, offset + 4096)
    return os.fsdecode(data[offset:end]) if end > offset else ""


def _directories(root: str) -> list[str]:
    """Where loaders look when there is no cache: musl's configured paths, then everybody's defaults."""
    machine = host_arch().name
    paths: list[str] = []
    try:
        text = os.fsdecode(read_regular(inside(root, f"/etc/ld-musl-{machine}.path"), 1 << 16))
        paths += [path for path in re.split(r"[:\n]", text) if path.startswith("/")]
    except BpfError:
        paths += _MUSL_PATHS
    triplet = f"{machine}-linux-gnu"
    paths += [f"/lib/{triplet}", f"/usr/lib/{triplet}", "/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"]
    return list(dict.fromkeys(paths))


def _musl_loader() -> str:
    """musl's loader, which is its C library too."""
    return f"ld-musl-{host_arch().name}.so.1"


def _listdir(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []
