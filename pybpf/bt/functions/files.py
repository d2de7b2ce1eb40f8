"""Files and sockets of the kernel: the path of a file, the cookie of a socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pybpf.bt.functions.function import Arguments, Function
from pybpf.bt.functions.process import need_helper
from pybpf.bt.lower.expressions import pointed
from pybpf.bt.lower.values import Foreign, Scalar, Value, member_of
from pybpf.bt.syntax import tree
from pybpf.bt.types import UINT64, Compound, Nothing, Pointer, String, Type
from pybpf.compiler.ir import Instr
from pybpf.lang.builtins.paths import LONGEST, MAY_ASK, Walk
from pybpf.lang.values import raw
from pybpf.lang.values.reading import Where

if TYPE_CHECKING:
    from pybpf.bt.check.checker import Checker
    from pybpf.bt.lower.gen import Gen
    from pybpf.compiler.ir import Operand

__all__ = ["ROWS"]

_PATH, _FILE, _SOCKET = "struct path", "struct file", "struct sock"


def _target(check: Checker, node: tree.Node) -> Type:
    """What a pointer leads to, or a struct itself."""
    found = check.read(check.value(node))
    return found.target if isinstance(found, Pointer) else found


# path


def _check_path(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    found = _target(check, arguments[0])
    if not isinstance(found, Nothing) and found.name not in (_PATH, _FILE):
        check.fail(arguments[0], f"path() takes a {_PATH} * or a {_FILE} *, and this is {found.name}; cast it if it "
                   "is one")  # fmt: skip
    most = check.facts.settings.max_strlen
    if len(arguments) > 1:
        check.type(arguments[1])
        size = check.constant(arguments[1])
        if not isinstance(size, int) or not 0 < size <= LONGEST:
            check.fail(arguments[1], f"the size of a path is a number of 1 to {LONGEST} that is known")
        most = size
    return String(min(most, LONGEST))


def _path(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    value = gen.read(arguments[0])
    if isinstance(value.type, Pointer):
        value = pointed(gen, value, value.type.target)
    where = value.where(gen)
    if isinstance(value.type, Compound) and value.type.name == _FILE:
        member = value.type.member("f_path")
        assert member is not None
        where = member_of(gen, where, member).where(gen)
    made: Any = gen  # the walk needs what both languages have of a compilation
    text = _asked(gen, where) if _may_ask(gen, where) else Walk(made, where, node).text()  # type: ignore[arg-type]
    return Foreign(gen.type(node), Where(text))


def _may_ask(gen: Gen, where: Where) -> bool:
    """Whether the kernel's own helper may be called here, and takes the pointer: one that the probe was given."""
    direct = where.direct
    if not (where.typed and isinstance(direct, Instr) and direct.op == "load" and direct.args[0] is gen.ctx):
        return False
    place = gen.checked.place
    if place.kind == "iter":  # from Linux 5.12 on; this helper is of 5.13
        return gen.target.has_helper(place.type, "for_each_map_elem")
    allowed = place.kind in ("fentry", "fexit") and place.attach_btf in MAY_ASK
    return allowed and gen.target.has_helper(place.type, "d_path")


def _asked(gen: Gen, where: Where) -> Operand:
    assert where.direct is not None
    slot = gen.b.slot(LONGEST, "path")
    raw.clear(gen, slot, 0, 1)  # where the helper fails
    gen.b.emit("call", raw.pointer(gen, where.direct, where.offset), slot, LONGEST, helper="d_path")
    return slot


# sockets


def _check_cookie(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    found = _target(check, arguments[0])
    if not isinstance(found, Nothing) and found.name != _SOCKET:
        check.fail(arguments[0], f"socket_cookie() takes a {_SOCKET} *, and this is {found.name}")
    return UINT64


def _cookie(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    value = gen.read(arguments[0])
    direct = value.direct if isinstance(value, Scalar) else None
    if direct is None:
        gen.fail(node, "the kernel gives cookies of sockets that it has handed to the probe: args.sk of fentry, fexit "
                 "and rawtracepoint probes")  # fmt: skip
    need_helper(gen, node, "get_socket_cookie")
    return Scalar(UINT64, gen.b.emit("call", direct, helper="get_socket_cookie"))


ROWS = (
    Function("path(file, [size])", "the path of a struct path or struct file of the kernel", _check_path, _path),
    Function("socket_cookie(socket)", "the kernel's number of a socket", _check_cookie, _cookie),
)
