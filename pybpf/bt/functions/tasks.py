"""The running task and its relatives: parents, leaders, the user's name; whether the process or the kernel runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pybpf.bt.functions.function import Arguments, Function, Lowering
from pybpf.bt.functions.process import current_task
from pybpf.bt.lower.expressions import pointed
from pybpf.bt.lower.values import Made, Scalar, Value, converted, member_of
from pybpf.bt.syntax import tree
from pybpf.bt.types import BOOL, UINT8, UINT32, Compound, Integer, Nothing, Pointer, Special, String, Type
from pybpf.lang.values import raw
from pybpf.types import u32

if TYPE_CHECKING:
    from pybpf.bt.check.checker import Checker
    from pybpf.bt.lower.gen import Gen
    from pybpf.compiler.ir import Operand

__all__ = ["ROWS"]

_COMM = String(16)
_TASK = "struct task_struct"
USERNAME = Special("username", u32)


def _task_type(check: Checker, node: tree.Node) -> Compound:
    from pybpf.bt.check.sizes import of_kernel

    found = of_kernel(check, _TASK)
    if not isinstance(found, Compound):
        check.fail(node, f"{getattr(node, 'name', 'this')} needs the types of the kernel (BTF)")
    return found


def _relative(signature: str, text: str, path: tuple[str, ...], kind: Type) -> Function:
    """A row of what a task, by default the running one, leads to."""

    def check_it(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
        _task_type(check, node)
        for each in arguments:
            found = check.read(check.value(each))
            if not isinstance(found, (Pointer, Integer, Nothing)):
                check.fail(each, f"this is no task: {found.name}; give it a struct task_struct *")
        return kind

    def lower(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
        task = _task_type(gen.check, node)
        if arguments:
            given = gen.read(arguments[0])
            start = Scalar(Pointer(task, "kernel"), given.operand(gen), getattr(given, "direct", None))
        else:
            start = _running(gen, task)
        found: Value = start
        for name in path:
            target = found.type.target if isinstance(found.type, Pointer) else found.type
            assert isinstance(target, Compound)
            member = target.member(name)
            assert member is not None
            place = pointed(gen, found, target).where(gen) if isinstance(found.type, Pointer) else found.where(gen)
            found = member_of(gen, place, member)
        return converted(gen, found, kind)

    return Function(signature, text, check_it, lower)


def _running(gen: Gen, task: Compound) -> Scalar:
    kind = Pointer(task, "kernel")
    found = current_task(gen, kind)
    assert isinstance(found, Scalar)
    return found


def _check_username(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    return USERNAME


def _username(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    uid = gen.b.emit("zext", gen.b.emit("call", helper="get_current_uid_gid"), bits=32)
    return Made(USERNAME, lambda to, offset: raw.store(gen, to, offset, 4, uid))


#: kinds of probes that come at any moment
_SAMPLED = frozenset({"interval", "profile", "software", "hardware", "watchpoint"})
#: and those that come where a process runs code of its own
_USERS = frozenset({"begin", "end", "self", "test", "bench", "uprobe", "uretprobe", "usdt"})


def _check_usermode(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    if check.place.kind in _SAMPLED and check.facts.target.arch.name != "x86_64":
        check.fail(node, "usermode is for x86_64, whose registers tell it")
    return UINT8


def _usermode(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    """What a probe interrupts: code of the kernel where it is there, the process's own at a uprobe.

    Elsewhere the lowest bits of the code segment are the level of privilege: 3 in user mode. So is the script itself.
    """
    kind = gen.checked.place.kind
    if kind not in _SAMPLED:
        return Scalar(UINT8, int(kind in _USERS))
    cs = gen.b.emit("load", gen.ctx, offset=gen.target.arch.registers["cs"], size=8, signed=False)
    return Scalar(UINT8, gen.b.emit("cmp", gen.b.emit("and", cs, 3), 3, cond="eq"))


def _cpid(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    process: Operand = gen.check.facts.command or 0
    return Scalar(UINT32, process)


def _has_cpid(check: Checker, node: tree.Node, arguments: Arguments) -> bool:
    return check.facts.command is not None


def _known(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    value = gen.constant(node)
    assert value is not None
    return gen.known(value)


def _probetype(check: Checker, node: tree.Node, arguments: Arguments) -> str:
    return check.place.kind


def _row(signature: str, text: str, check: object, lower: Lowering, **more: object) -> Function:
    return Function(signature, text, check, lower, **more)  # type: ignore[arg-type]


ROWS = (
    _relative("ppid([task])", "the id of the parent of a process", ("real_parent", "tgid"), UINT32),
    _relative("pcomm([task])", "the name of the parent", ("real_parent", "comm"), _COMM),
    _relative("leader_tid([task])", "the id of the leader of a process's threads", ("group_leader", "pid"), UINT32),
    _relative("leader_comm([task])", "the name of the leader", ("group_leader", "comm"), _COMM),
    _row("username()", "the name of the user of the running process", _check_username, _username),
    _row("usermode()", "whether the process's own code runs, not the kernel's", _check_usermode, _usermode),
    _row("cpid()", "the process of the command that is traced, or 0", lambda *_: UINT32, _cpid),
    _row("has_cpid()", "whether there is such a command", lambda *_: BOOL, _known, constant=_has_cpid),
    _row("probetype()", "the kind of the probe", lambda check, *_: String(len(check.place.kind) + 1), _known,
         constant=_probetype),
)  # fmt: skip
