"""Scripts that were compiled before, on disk: the next start needs no compiler.

A file has one script, and all that its result depended on, which must be the same: the text and the options, pybpf's
own files, this boot of the kernel and its modules, what the probes are in. It is trusted as ``.pyc`` files are: it, and
its folder, must belong to this user, and nobody else may write there; and of what it says, classes of :data:`_CLASSES`
alone are made. Whatever is wrong with a file, the script is compiled as if there were none.
"""

from __future__ import annotations

import os
import stat
import time
from _imp import source_hash
from _pickle import Pickler, PicklingError, Unpickler, UnpicklingError  # pickle itself takes a millisecond to import
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from enum import Enum
from io import BytesIO
from typing import Any

from pybpf.asm import Code, Insn
from pybpf.bt.state.script import Built, CompiledScript
from pybpf.bt.surroundings import changed_since, marks_of, sources_of_pybpf, stamp_of, surroundings
from pybpf.errors import BpfError
from pybpf.prog.debug import functions
from pybpf.record import replace
from pybpf.types.scalars import Array, ElementType, array_of

__all__ = ["Kept", "kept_at"]

_HEAD = b"pybpf script 1\n"
#: what a file that is damaged does not have: eight bytes by the hash that Python has for ``.pyc`` files
_HASH, _HASHED_BY = 8, 0x70796270
#: bytes of a file at most; files, of which the oldest go
_MOST_SIZE, _MOST_FILES = 1 << 18, 64
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
#: seconds: when this process began to be pybpf, nearly
_STARTED = time.time()
#: module -> what is made of a file's content
_CLASSES: Mapping[str, str] = {
    "builtins": "bytes",
    "pybpf.asm.code": "Code",
    "pybpf.asm.insn": "Insn KfuncRef MapRef SourceLine",
    "pybpf.bt.show.format": "Format Piece",
    "pybpf.bt.state.actions": "Action Actions",
    "pybpf.bt.state.maps": "ScriptMap",
    "pybpf.bt.state.script": "Built CompiledScript Site",
    "pybpf.bt.state.settings": "Settings",
    "pybpf.bt.state.shared": "Began Shared",
    "pybpf.bt.syntax.source": "Source _Text",
    "pybpf.bt.types.types": (
        "Aggregate Array Bool Buffer Integer Nothing Pointer Record Special String Tuple struct_of"
    ),
    "pybpf.compiler.compiled": "Compiled",
    "pybpf.errors": "CompileError",
    "pybpf.lang.state.counts": "Counter Counts",
    "pybpf.lang.state.output": "Events _Buffer",
    "pybpf.lang.state.stacks": "Stacks",
    "pybpf.lang.tracer.attaching": "AtPlace Call",
    "pybpf.maps.spec": "MapSpec",
    "pybpf.prog.spec": "ProgramSpec",
    "pybpf.sys.bpf": "AttachType MapFlags MapType ProgFlags ProgType",
    "pybpf.types.scalars": "array_of bool_ char s16 s32 s64 s8 u16 u32 u64 u8",
    "pybpf.types.struct": "Struct",
}


class Kept:
    """The place of one script.

    :param folder: where such files are.
    :param key: all that the result depends on.
    """

    def __init__(self, folder: str, key: Sequence[object]) -> None:
        self._folder = folder
        self._key = repr((*key, *surroundings())).encode("utf-8", "surrogateescape")
        self._name = source_hash(_HASHED_BY, self._key).hex()

    def load(self) -> CompiledScript | None:
        """The script; None: it is not there, or not to be trusted."""
        try:
            with _opened(self._folder) as folder:
                data = _read(self._name, folder)
        except OSError:
            return None
        start = len(_HEAD) + _HASH
        body = data[start:]
        if data[:start] != _HEAD + source_hash(_HASHED_BY, body):
            return None
        try:
            content = _Unpickler(BytesIO(body))
            key, depends, marks, sources, stamp = content.load()  # pybpf's classes are made when it is this pybpf
            if key != self._key or stamp != stamp_of(sources) or marks != marks_of(depends):
                return None
            script = content.load()
        except Exception:  # what a file says that was forged can be anything
            return None
        return script if isinstance(script, CompiledScript) else None

    def save(self, script: CompiledScript) -> None:
        """Keep a script that has not run, if it can be kept; another try is worth no message."""
        if script.depends is None:
            return
        script.shared.actions.events.buffer(script.target)  # made now, for whoever loads it does not ask the kernel
        changed: dict[str, Any] = {"target": None, "built": list(map(_bare, script.built))}
        content = BytesIO()
        try:
            pickler = _Pickler(content, 4)
            sources = sources_of_pybpf()
            if changed_since(_STARTED, sources):
                return  # what was imported may not be what is there
            pickler.dump((self._key, script.depends, marks_of(script.depends), sources, stamp_of(sources)))
            pickler.dump(replace(script, **changed))
        except (PicklingError, TypeError, AttributeError, RecursionError, OSError, BpfError):
            return  # it has types of the kernel in it, say
        body = content.getvalue()
        data = _HEAD + source_hash(_HASHED_BY, body) + body
        if len(data) > _MOST_SIZE:
            return
        with suppress(OSError):
            os.makedirs(self._folder, 0o700, exist_ok=True)
            with _opened(self._folder) as folder:
                _write(self._name, data, folder)
                _limit(folder)

    def forget(self) -> None:
        """Delete it: the kernel took it no more."""
        with suppress(OSError), _opened(self._folder) as folder:
            os.unlink(self._name, dir_fd=folder)


def kept_at(environment: Mapping[str, str], key: Sequence[object]) -> Kept | None:
    """The place of a script; None: ``PYBPF_CACHE=off``, or there is no folder."""
    if environment.get("PYBPF_CACHE", "").lower() in ("0", "off", "no", "false"):
        return None
    base = environment.get("XDG_CACHE_HOME", "")
    home = environment.get("HOME", "")
    if not base.startswith("/"):  # by the rules of XDG any other is to be ignored
        if not home.startswith("/"):
            return None
        base = f"{home}/.cache"
    try:
        return Kept(f"{base}/pybpf", (*key, environment.get("PATH")))
    except OSError:  # without /proc, say
        return None


def _bare(built: Built) -> Built:
    """A probe without what running it does not take: what was found out of it, specs of maps that have owners.

    Source lines are left out, too, for the verifier has taken such a program; where it does not, it is compiled anew.
    """
    compiled = built.compiled
    maps: dict[str, Any] = {name: None if name in built.owners else spec for name, spec in compiled.maps.items()}
    code = Code(each.at(None) if isinstance(each, Insn) else each for each in compiled.spec.code.items())
    spec = replace(compiled.spec, code=code, debug=len(functions(code, "")) > 1)
    return built._replace(checked=None, compiled=replace(compiled, maps=maps, spec=spec))


# files


@contextmanager
def _opened(path: str) -> Iterator[int]:
    """A folder that is ours alone. :raises OSError: it is not."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _check(os.fstat(fd))
        yield fd
    finally:
        os.close(fd)


def _check(found: os.stat_result) -> None:
    """:raises OSError: others may have written it."""
    if found.st_uid != os.geteuid() or found.st_mode & _OTHERS_WRITE:
        raise PermissionError("others may write there")


def _read(name: str, folder: int) -> bytes:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        found = os.fstat(fd)
        _check(found)
        if not stat.S_ISREG(found.st_mode) or found.st_size > _MOST_SIZE:
            raise PermissionError("it is none of these files")
        return os.read(fd, _MOST_SIZE)
    finally:
        os.close(fd)


def _write(name: str, data: bytes, folder: int) -> None:
    """All of it or nothing, whoever reads or writes meanwhile."""
    new = f"{name}.{os.getpid()}"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        with open(fd, "wb") as file:
            file.write(data)
        os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        os.unlink(new, dir_fd=folder)
        raise


def _limit(folder: int) -> None:
    """Delete the oldest files where there are too many."""
    names = os.listdir(folder)
    if len(names) > _MOST_FILES:
        ages = sorted((os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime_ns, name) for name in names)
        for _, name in ages[: len(names) - _MOST_FILES * 3 // 4]:
            os.unlink(name, dir_fd=folder)


# content


class _Pickler(Pickler):
    def reducer_override(self, made: Any) -> Any:
        """Types that are made of others say how; numbers with names are by number, as not in every Python."""
        if isinstance(made, Enum):
            return type(made), (made.value,)
        if not isinstance(made, ElementType):
            return NotImplemented
        if issubclass(made, Array) and made is not Array:
            return array_of, (made.element, made.length)
        from pybpf.bt.types.types import struct_of

        found = getattr(getattr(made, "__layout__", None), "fields", None)
        fields = tuple((each.name, each.kind) for each in found.values()) if found else ()
        return (struct_of, (fields,)) if fields and struct_of(fields) is made else NotImplemented


class _Unpickler(Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name not in _CLASSES.get(module, "").split():
            raise UnpicklingError(f"no script has a {module}.{name}")
        return super().find_class(module, name)
