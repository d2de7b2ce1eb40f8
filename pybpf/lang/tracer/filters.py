"""What a tracer leaves out: tests at the start of each of its programs, for the process that runs there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from pybpf.compiler.ir import Operand
from pybpf.errors import CompileError, NotFoundError, PackError
from pybpf.lang.front.gen import Gen
from pybpf.lang.values.running import NS_HELPER, is_initial, namespace_ids, write_comm
from pybpf.record import dataclass

if TYPE_CHECKING:
    from pybpf.lang.tracer.family import Family

__all__ = ["Filters"]

_COMM_SIZE = 16  # TASK_COMM_LEN
#: filters that may be several
_SEVERAL = ("pid", "tid")
_CGROUP_ROOT = "/sys/fs/cgroup"


@dataclass(frozen=True)
class Filters:
    """Only what all of these allow is traced; ``None`` allows everything.

    :param pid: the process, by the id that this process knows it by (in its pid namespace); or several.
    :param tid: the thread, likewise; or several.
    :param comm: the name of the thread, whole: at most 15 bytes.
    :param uid: the user.
    :param cgroup: a control group (version 2): the path of its directory, which takes in the groups below it, or its
        id, which does not.
    :param ppid: the process whose children are wanted; only from the initial pid namespace.
    :param family: with ``pid``: its descendants too.
    :param functions: of the language; each has to be true.
    :raises PackError: (from the constructor) one of them cannot be.
    """

    pid: int | tuple[int, ...] | None = None
    tid: int | tuple[int, ...] | None = None
    comm: str | None = None
    uid: int | None = None
    cgroup: str | int | None = None
    ppid: int | None = None
    family: Family | None = None
    functions: Sequence[Callable[[], object]] = ()

    def __post_init__(self) -> None:
        for name, limit in (("pid", 1 << 31), ("tid", 1 << 31), ("uid", 1 << 32), ("ppid", 1 << 31)):
            value = getattr(self, name)
            numbers = value if name in _SEVERAL and isinstance(value, tuple) and value else (value,)
            if value is not None and not all(isinstance(each, int) and 0 <= each < limit for each in numbers):
                raise PackError(f"cannot trace {name}={value!r} only: it is a number from 0 to {limit - 1}")
        if self.comm is not None and not (isinstance(self.comm, str) and 0 < len(os.fsencode(self.comm)) < _COMM_SIZE):
            raise PackError(f"cannot trace comm={self.comm!r} only: a thread's name has 1 to {_COMM_SIZE - 1} bytes")

    @property
    def one_pid(self) -> int | None:
        """The only process that can pass: what the kernel is told where it can leave out all others itself."""
        return self.pid if self.family is None and isinstance(self.pid, int) else None

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that are named."""
        return self.pid if isinstance(self.pid, tuple) else () if self.pid is None else (self.pid,)

    def compile(self, gen: Gen) -> None:
        """Let the program return at once where the running task is not wanted; nothing where everything is."""
        b = gen.b
        unwanted = b.new_block("unwanted")
        for value, constants in self._tests(gen):
            wanted = b.new_block("wanted")
            for constant in constants[:-1]:
                another = b.new_block("another")
                b.branch("eq", value, constant, wanted, another)
                b.seal(another)
                b.start(another)
            b.branch("eq", value, constants[-1], wanted, unwanted)
            b.seal(wanted)
            b.start(wanted)
        b.seal(unwanted)
        if unwanted.predecessors:
            body = b.block
            b.start(unwanted)
            b.ret(0)
            b.block = body

    def _tests(self, gen: Gen) -> Iterator[tuple[Operand, tuple[int, ...]]]:
        """(value, what it can be); each is computed when the ones before have passed."""
        b = gen.b
        process = self.pid if self.family is None else None
        if self.tid is not None or process is not None:
            for value, wanted in zip(_ids(gen), (self.tid, process)):
                if wanted is not None:
                    yield value, wanted if isinstance(wanted, tuple) else (wanted,)
        if self.family is not None:
            yield _truth(gen, self.family.has), (1,)
        if self.uid is not None:
            yield b.emit("zext", b.emit("call", helper="get_current_uid_gid"), bits=32), (self.uid,)
        if self.cgroup is not None:
            group, number = self._cgroup(gen)
            yield group, (number,)
        if self.ppid is not None:
            yield self._parent(gen), (self.ppid,)
        if self.comm is not None:
            name = b.slot(_COMM_SIZE, "comm")
            write_comm(gen, name, _COMM_SIZE)
            data = os.fsencode(self.comm).ljust(_COMM_SIZE, b"\0")
            for offset in (0, 8):
                word = int.from_bytes(data[offset : offset + 8], gen.target.arch.endian)  # type: ignore[arg-type]
                yield b.emit("load", name, offset=offset, size=8, signed=False), (word,)
        for function in self.functions:
            yield _truth(gen, function), (1,)

    def _parent(self, gen: Gen) -> Operand:
        from pybpf.lang.builtins.kernel import parent_id

        if not is_initial():
            raise CompileError(
                f"cannot trace ppid={self.ppid} only: this process is in a pid namespace (a container), and the kernel "
                "numbers parents as outside of it; trace from the host's pid namespace"
            )
        at = gen.frame.source.node
        return parent_id(gen, at).scalar(gen, at)

    def _cgroup(self, gen: Gen) -> tuple[Operand, int]:
        if isinstance(self.cgroup, int):
            helper, level, wanted = "get_current_cgroup_id", [], self.cgroup
        else:
            helper, level, wanted = "get_current_ancestor_cgroup_id", *_group(str(self.cgroup))
        if not gen.target.has_helper(gen.unit.type, helper):
            raise CompileError(
                f"cannot trace cgroup={self.cgroup!r} only: {gen.unit.type.name.lower()} programs have no bpf_{helper} "
                "on the target; give the group's id, which is the inode number of its directory, or leave it out"
            )
        return gen.b.emit("call", *level, helper=helper), wanted


def _truth(gen: Gen, function: Callable[[], object]) -> Operand:
    """Whether a function of the language says yes."""
    at = gen.frame.source.node
    return gen.truth(gen.wrap(function).call(gen, [], {}, at), at).operand


def _ids(gen: Gen) -> tuple[Operand, Operand]:
    """The ids of the running thread and process, as this process knows them: in its own pid namespace."""
    if not is_initial() and not gen.target.has_helper(gen.unit.type, NS_HELPER):
        raise CompileError(
            f"cannot trace one process only: this process is in a pid namespace (a container), and on the target "
            f"{gen.unit.type.name.lower()} programs have no bpf_{NS_HELPER} (Linux 5.7); trace from the host"
        )
    return namespace_ids(gen)


def _group(path: str) -> tuple[list[int], int]:
    """[level below the root of the hierarchy], id."""
    full = os.path.realpath(path)
    try:
        number = os.stat(full).st_ino
        root = next(each for each in _mounts() if full == each or full.startswith(each.rstrip("/") + "/"))
    except (OSError, StopIteration):
        raise NotFoundError(
            f"there is no control group {path!r}: give the directory of one of version 2, below {_CGROUP_ROOT} mostly"
        ) from None
    return [len([part for part in full[len(root) :].split("/") if part])], number


def _mounts() -> Iterator[str]:
    with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            _, where, kind, *_ = line.split(" ")
            if kind == "cgroup2":
                yield where
