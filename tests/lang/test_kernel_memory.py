"""Tracepoints, raw and typed ones, run for real: what a probe reads of the kernel is what this test knows."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pybpf.attach import btf_tracepoint, raw_tracepoint, tracepoint
from pybpf.btf import Btf
from pybpf.lang.builtins.kernel import cast, container_of, current_task, enum, has_field, offsetof, ppid, sizeof
from pybpf.lang.builtins.user import kernel_ptr, read_kernel, read_kernel_str, read_user, read_user_str
from pybpf.sys.libc import syscall
from pybpf.types import Struct, char, s32, u64
from tests.attach.counting import NUMBERS
from tests.lang.recorder import Record, Recorded, recording

pytestmark = [pytest.mark.root, pytest.mark.needs("tracepoint", "raw_tp", "btf_vmlinux")]

NOFILE, PID = resource.RLIMIT_NOFILE, os.getpid()
FD = os.open("/", os.O_RDONLY | os.O_CLOEXEC)


class Ids(Struct):
    """Two members of task_struct, by their names there."""

    tgid: s32
    pid: s32


def at_tracepoint(function: Callable[..., Any], name: str, act: Callable[[], Any]) -> Record:
    """What a probe recorded when this process did something."""
    with recording(function, Recorded("tracepoint", name), lambda program: tracepoint(program, name)) as record:
        act()
        return record()


def spawn() -> int:
    """Make a process, which ends at once."""
    child = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(child, 0)
    return child


def at_open(function: Callable[..., Any], path: str, flags: int = os.O_RDONLY) -> Record:
    """What a probe of openat recorded when this process opened a file."""
    return at_tracepoint(function, "syscalls:sys_enter_openat", lambda: os.close(os.open(path, flags)))


@contextmanager
def called(name: str) -> Iterator[None]:
    """This thread has another name meanwhile."""
    path = Path(f"/proc/self/task/{os.getpid()}/comm")
    before = path.read_text("utf-8").rstrip("\n")
    path.write_text(name, "utf-8")
    try:
        yield
    finally:
        path.write_text(before, "utf-8")


# records of tracepoints


def test_numbers_of_a_record() -> None:
    def flags(args):
        return args.flags

    def dfd(args):
        return args.dfd

    assert at_open(flags, "/", os.O_RDONLY | os.O_DIRECTORY).number & os.O_DIRECTORY
    assert not at_open(flags, "/").number & os.O_DIRECTORY
    assert at_open(dfd, "/").number == -100


def test_pointers_of_a_system_call_are_those_of_the_process(tmp_path: Path) -> None:
    def name(args):
        return read_user_str(args.filename)

    def is_the_root(args):
        return read_user_str(args.filename) == "/"

    def first(args):
        return args.filename[0]

    def cut(args):
        return read_user_str(args.filename, 4)

    path = tmp_path / "a file"
    path.touch()
    assert at_open(name, str(path)).text == str(path)
    assert at_open(cut, str(path)).text == str(path)[:3]
    assert at_open(is_the_root, "/").number == 1
    assert at_open(is_the_root, str(path)).number == 0
    assert at_open(first, "/").number == ord("/")


def test_fixed_text_of_a_record() -> None:
    def name(args):
        return args.comm

    def is_it(args):
        return args.comm == "tracee"

    def letter(args):
        return args.comm[2]

    with called("tracee"):
        assert at_tracepoint(name, "task:task_newtask", spawn).text == "tracee"
        assert at_tracepoint(is_it, "task:task_newtask", spawn).number == 1
        assert at_tracepoint(letter, "task:task_newtask", spawn).number == ord("a")


def test_dynamic_text_of_a_record() -> None:
    def path(args):
        return args.filename

    name = "sched:sched_process_exec"
    ready, go = os.pipe()
    child = os.fork()
    if not child:
        os.read(ready, 1)
        os.execv("/bin/true", ["true"])
    probe = Recorded("tracepoint", name, pid=child)
    with recording(path, probe, lambda program: tracepoint(program, name)) as record:
        os.write(go, b"x")
        os.waitpid(child, 0)
        assert record().text == "/bin/true"
        assert record().runs == 1
    os.close(ready)
    os.close(go)


def test_array_of_a_record() -> None:
    def arguments(args):
        if args.id != NUMBERS["getpgid"]:
            return args.args[0] - args.args[0] + 0x1234 + args.args[2] - args.args[2]
        return args.args[1]

    def computed(args):
        if args.id != NUMBERS["getpgid"]:
            return 0x1234
        return args.args[args.args[0] + 1]

    for function in (arguments, computed):
        record = at_tracepoint(function, "raw_syscalls:sys_enter", lambda: syscall(NUMBERS["getpgid"], 0, 0x1234))
        assert record.number == 0x1234


# structures of the kernel, from a task that this process makes


def parent_id(task):
    return task.real_parent.tgid


def parent_name(task):
    return task.real_parent.comm


def parent_is(task):
    return task.real_parent.comm == "a parent" and task.real_parent.comm != "a parenT"


def limit(task):
    return task.real_parent.signal.rlim[NOFILE].rlim_cur


def limit_computed(task):
    return task.real_parent.signal.rlim[task.real_parent.tgid - PID + NOFILE].rlim_cur


def beyond(task):
    task = task.real_parent
    return task.signal.rlim[task.tgid - PID + 16].rlim_cur + task.signal.rlim[PID - 1 - task.tgid].rlim_max + 3


def youngest_child(task):
    last = container_of(task.real_parent.children.prev, "struct task_struct", "sibling")
    return last.pid == task.pid


def inode(task):
    return task.real_parent.files.fdt.fd[FD].f_inode.i_ino


def directory(task):
    return task.real_parent.fs.pwd.dentry.d_name.name[0]


def directory_name(task):
    return read_kernel_str(task.real_parent.fs.pwd.dentry.d_name.name)


def namespaced_id(task):
    return task.real_parent.thread_pid.numbers[0].nr


def leaders(task):
    parent = task.real_parent
    leader = parent.group_leader
    return leader == parent and leader is not None and leader.mm is not None


def null_pointer(task):
    nothing = cast("struct task_struct", 0)
    return nothing.real_parent.tgid + 5 if nothing is None else 1


def reset_on_fork(task):
    return task.real_parent.sched_reset_on_fork * 2 + task.sched_reset_on_fork


def copied(task):
    ids: Ids = read_kernel(task.real_parent)
    return ids.tgid * 2 - ids.pid


def by_address(task):
    address = u64(task.real_parent) + offsetof("struct task_struct", "tgid")
    return read_kernel(address, s32)


def computed_with(task):
    address = u64(task.real_parent)
    return (address >> 3) * 8 + (address & 7) == address and address % 8 == 0 and address ^ 5 != 0


def other_type(task):
    parent = cast("struct task_struct", u64(task.real_parent))
    return read_kernel(parent).tgid


def by_two_names(clone_flags, task):
    return task.real_parent.tgid if clone_flags else 0


def walk(task):
    found = 0
    each = task.real_parent
    for _ in range(3):
        if each.pid == PID:
            found += 1
        each = each.real_parent
    return found * 100 + 7


CASES: dict[Callable[..., Any], Callable[[], Any]] = {
    parent_id: os.getpid,
    parent_name: lambda: "a parent",
    parent_is: lambda: 1,
    limit: lambda: resource.getrlimit(NOFILE)[0],
    limit_computed: lambda: resource.getrlimit(NOFILE)[0],
    beyond: lambda: 3,
    youngest_child: lambda: 1,
    inode: lambda: os.fstat(FD).st_ino,
    directory: lambda: ord((os.path.basename(os.getcwd()) or "/")[0]),
    directory_name: lambda: os.path.basename(os.getcwd()) or "/",
    leaders: lambda: 1,
    null_pointer: lambda: 5,
    copied: os.getpid,
    by_address: os.getpid,
    computed_with: lambda: 1,
    other_type: os.getpid,
    by_two_names: os.getpid,
    walk: lambda: 107,
}


def at_fork(function: Callable[..., Any], kind: str) -> Record:
    """What a probe of the tracepoint of new tasks recorded when this process made one."""
    probe = Recorded(kind, "task_newtask")

    def attach(program: Any) -> Any:
        return btf_tracepoint(program) if kind == "tp_btf" else raw_tracepoint(program, "task_newtask")

    with recording(function, probe, attach) as record:
        spawn()
        return record()


@pytest.mark.parametrize("kind", ["raw_tracepoint", pytest.param("tp_btf", marks=pytest.mark.needs("tp_btf"))])
@pytest.mark.parametrize("function", CASES, ids=lambda function: function.__name__)
def test_structures(function: Callable[..., Any], kind: str) -> None:
    with called("a parent"):
        record = at_fork(function, kind)
        wanted = CASES[function]()
    assert record.runs == 1
    assert (record.text if isinstance(wanted, str) else record.number) == wanted


@pytest.mark.parametrize("kind", ["raw_tracepoint", pytest.param("tp_btf", marks=pytest.mark.needs("tp_btf"))])
def test_bitfield(kind: str) -> None:
    policy, param = os.sched_getscheduler(0), os.sched_getparam(0)
    assert at_fork(reset_on_fork, kind).number == 0
    os.sched_setscheduler(0, policy | os.SCHED_RESET_ON_FORK, param)
    try:
        assert at_fork(reset_on_fork, kind).number == 2
    finally:
        os.sched_setscheduler(0, policy, param)


def test_facts_of_types() -> None:
    def facts(args):
        if has_field("struct task_struct", "no_such_member"):
            return args.no_such_field
        if not has_field("struct task_struct", "mm.pgd"):
            return 0
        return sizeof("struct task_struct") + offsetof("struct task_struct", "comm") + enum("PIDTYPE_SID")

    types = Btf.vmlinux()
    wanted = types.size_of(types.named("struct task_struct")) + types.member("task_struct", "comm").offset
    assert at_tracepoint(facts, "task:task_newtask", spawn).number == wanted + (types.constant("PIDTYPE_SID") or 0)


def test_positional_parameters() -> None:
    def annotated(new: kernel_ptr("struct task_struct"), how: u64):  # type: ignore[valid-type]
        return new.real_parent.tgid if how else 0

    assert at_fork(annotated, "raw_tracepoint").number == os.getpid()


def test_user_memory_by_type() -> None:
    class Pair(Struct):
        first: s32
        second: u64
        name: char[8]

    def whole(args):
        pair = read_user(args.filename, Pair)
        return pair.first + pair.second

    def name(args):
        return read_user(args.filename, Pair).name

    path = b"\x03\x02\x02\x02\x02\x02\x02\x02\x01\x01\x01\x01\x01\x01\x01\x01text"

    def act() -> None:
        with pytest.raises(OSError):
            os.open(path, os.O_RDONLY)

    assert at_tracepoint(whole, "syscalls:sys_enter_openat", act).number == 0x02020203 + 0x0101010101010101
    assert at_tracepoint(name, "syscalls:sys_enter_openat", act).text == "text"


def test_running_task() -> None:
    def parent(args):
        return ppid()

    def group(args):
        return current_task().group_leader.tgid if current_task() else 0

    assert at_open(parent, "/").number == os.getppid()
    assert at_open(group, "/").number == os.getpid()
