"""What a script does to the host and to what it traces: commands, files that are shown, signals, results, memory."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from pybpf.bt.functions.function import DONE, Arguments, Function, Lowering
from pybpf.bt.functions.output import formatting, text_of
from pybpf.bt.functions.process import need_helper
from pybpf.bt.lower.values import Scalar, Value
from pybpf.bt.state.actions import Action
from pybpf.bt.syntax import tree
from pybpf.bt.types import BOOL, NONE, Buffer, Integer, Nothing, Pointer, Type
from pybpf.lang.values import raw
from pybpf.lang.values.flow import Choice, when
from pybpf.lang.values.reading import KERNEL, USER, Where, probe_read

if TYPE_CHECKING:
    from pybpf.bt.check.checker import Checker
    from pybpf.bt.lower.gen import Gen
    from pybpf.compiler.ir import Operand

__all__ = ["ROWS"]

#: Kinds of probes in which the running process is that of the script itself, or none.
_OWN = frozenset({"begin", "end", "self", "test", "bench"})
#: strings that are joined at most
_MOST_JOINED = 16
_POINTER = 8


# text that user space makes


def _check_join(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    kind = check.read(check.value(arguments[0]))
    if not isinstance(kind, (Pointer, Integer, Nothing)):
        check.fail(arguments[0], f"join() takes the address of an array of strings, such as args.argv, not {kind.name}")
    if len(arguments) > 1:
        text_of(check, arguments[1], "what strings are joined by")
    return NONE


def _join(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    kind = Buffer(gen.shared.settings.max_strlen)
    source = gen.read(arguments[0])
    space = source.type.space if isinstance(source.type, Pointer) else ""
    space = USER if (space or gen.check.place.arguments.space) == USER else KERNEL
    between = gen.constant(arguments[1]) if len(arguments) > 1 else " "
    joined = _joined(gen, Where(source.operand(gen), 0, space), str(between).encode("utf-8", "surrogateescape"), kind)
    gen.send(Action("join", (kind,)), [joined])
    return DONE


def _joined(gen: Gen, array: Where, between: bytes, kind: Buffer) -> Value:
    """The strings that an array of pointers leads to, up to a null pointer; each is read behind the one before."""
    b = gen.b
    room = 1 << (kind.room - 1).bit_length()
    # behind the room there is space for one more piece: so a mask is bound enough for every verifier
    slot = b.slot(2 * room + len(between), "joined")
    raw.clear(gen, slot, 0, kind.room)
    length, done = Choice(b, 0), b.new_block("joined")
    for index in range(_MOST_JOINED):
        string = array.moved(index * _POINTER).load(gen, _POINTER)
        there, fits = b.new_block("string"), b.new_block("fits")
        b.branch("eq", string, 0, done, there)
        gen.land(there)
        b.branch("ult", length.value, room, fits, done)
        gen.land(fits)
        start = b.emit("and", length.value, room - 1)
        if index:
            raw.write(gen, b.emit("add", slot, start), 0, between, align=1)
            start = b.emit("add", start, len(between))
        got = b.emit("call", b.emit("add", slot, start), room, string, helper=probe_read(gen, array.space, "_str"))
        length.set(start)
        with when(b, "sgt", got, 0, "read"):
            length.set(b.emit("add", start, b.emit("sub", got, 1)))
    b.jump(done)
    gen.land(done)
    whole = Choice(b, kind.room)
    with when(b, "ult", length.value, kind.room, "whole"):
        whole.set(length.value)
    return _Bytes(kind, slot, whole.value)


class _Bytes(Value):
    """Bytes in memory of the program, and how many of them count."""

    def __init__(self, kind: Buffer, address: Operand, length: Operand) -> None:
        self.type = kind
        self._address = address
        self._length = length

    def store(self, gen: Gen, address: Operand, offset: int) -> None:  # type: ignore[override]
        assert isinstance(self.type, Buffer)
        raw.store(gen, address, offset, 4, self._length)
        raw.copy(gen, address, offset + 4, self._address, 0, self.type.room, align=4)


# signals


def _number_of(check: Checker, node: tree.Node) -> int | None:
    """The number of a signal that is known: by name or number."""
    value = check.constant(node)
    if isinstance(value, str):
        name = value if value.startswith("SIG") else f"SIG{value}"
        if name not in signal.Signals.__members__:
            check.fail(node, f"there is no signal {value!r}")
        return int(signal.Signals[name])
    if isinstance(value, int) and not 0 < value < signal.NSIG:
        check.fail(node, f"there is no signal {value}")
    return value


def _signal(helper: str) -> tuple[object, Lowering]:
    def check_it(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
        check.type(arguments[0])
        if _number_of(check, arguments[0]) is None:
            check.integer(arguments[0], "a signal")
        return NONE

    def lower(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
        need_helper(gen, node, helper)
        known = _number_of(gen.check, arguments[0])
        gen.b.emit("call", gen.scalar(arguments[0]) if known is None else known, helper=helper)
        return DONE

    return check_it, lower


# results and memory


def _check_override(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    check.integer(arguments[0], "what a function returns")
    if check.place.point.offset:
        check.fail(node, "override() is for the entry of a function")
    return NONE


def _override(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    need_helper(gen, node, "override_return")
    gen.b.emit("call", gen.ctx, gen.scalar(arguments[0]), helper="override_return")
    return DONE


def _check_write(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    target, source, length = arguments
    kind = check.read(check.value(target))
    if not isinstance(kind, (Pointer, Integer, Nothing)):
        check.fail(target, f"write_user() writes to an address of the process, and this is {kind.name}")
    found = check.read(check.value(source))
    size = check.constant(length)
    check.type(length)
    if not isinstance(size, int) or size < 1:
        check.fail(length, "how many bytes write_user() writes is a number that is known, at least 1")
    room = found.target.size if isinstance(found, Pointer) else found.size
    if not isinstance(found, Nothing) and size > room:
        check.fail(length, f"there are {room} bytes to write, not {size}")
    return BOOL


def _write(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    need_helper(gen, node, "probe_write_user")
    target = gen.scalar(arguments[0])
    value = gen.read(arguments[1])
    size = gen.constant(arguments[2])
    assert isinstance(size, int)
    # a pointer is the address of a variable, in memory of the program
    source = value.operand(gen) if isinstance(value.type, Pointer) else value.own(gen).pointer(gen)
    failed = gen.b.emit("call", target, source, size, helper="probe_write_user")
    return Scalar(BOOL, gen.b.emit("cmp", failed, 0, cond="eq"))


def _row(signature: str, text: str, pair: tuple[object, Lowering], **more: object) -> Function:
    return Function(signature, text, *pair, **more)  # type: ignore[arg-type]


ROWS = (
    _row("cat(path, ...)", "print a file, whose path is formatted as printf does", formatting("cat")),
    _row("system(command, ...)", "run a command, and print its output", formatting("system"), unsafe=True),
    _row("join(array, [separator])", "print the strings of an array such as args.argv, one behind the other",
         (_check_join, _join)),
    _row("signal(signal)", "send a signal to the running process, by number or name", _signal("send_signal"),
         unsafe=True, not_kinds=_OWN),
    _row("signal_thread(signal)", "send it to the running thread", _signal("send_signal_thread"), unsafe=True,
         not_kinds=_OWN),
    _row("override(result)", "let a function of the kernel return at once", (_check_override, _override), unsafe=True,
         kinds=frozenset({"kprobe"})),
    _row("write_user(address, value, length)", "write bytes to memory of the running process; whether it could",
         (_check_write, _write), unsafe=True, not_kinds=_OWN),
)  # fmt: skip
