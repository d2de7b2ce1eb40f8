"""Numbers that user space has words for: times, errors, signals, system calls, control groups, processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pybpf.bt.functions.function import Arguments, Function
from pybpf.bt.functions.output import text_of
from pybpf.bt.functions.process import CLOCKS, default_clock
from pybpf.bt.lower.values import Made, Value, converted
from pybpf.bt.syntax import tree
from pybpf.bt.types import INT32, UINT64, Integer, Nothing, Special, Type
from pybpf.lang.values import raw
from pybpf.types import s32, u64

if TYPE_CHECKING:
    from pybpf.bt.check.checker import Checker
    from pybpf.bt.lower.gen import Gen

__all__ = ["ROWS", "worded"]


def worded(kind: Special, width: Integer, node: tree.Node, gen: Gen) -> Value:
    """A number that is kept as such, and printed as a word."""
    value = converted(gen, gen.read(node), width)
    return Made(kind, lambda to, offset: raw.store(gen, to, offset, width.width, value.operand(gen)))


def _of_int(signature: str, text: str) -> Function:
    """A row of a function that has a word for a 32-bit number."""
    name = signature.partition("(")[0]
    kind = Special(name, s32)

    def check_it(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
        check.integer(arguments[0], f"what {name}() is given")
        return kind

    def lower(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
        return worded(kind, INT32, arguments[0], gen)

    return Function(signature, text, check_it, lower)


# times


def _clock_of(check: Checker, node: tree.Node) -> str:
    """The clock that a time comes from: that of ``nsecs(clock)``."""
    given = node.arguments if isinstance(node, tree.Call) and node.name == "nsecs" else []
    first = given[0] if given else None
    name = first.name if isinstance(first, tree.Name) else ""
    return name if name in CLOCKS else default_clock(check.facts.target, check.place.type)


def _check_strftime(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    layout = text_of(check, arguments[0], "the format of strftime()")
    found = check.integer(arguments[1], "a time in nanoseconds")
    value = check.constant(arguments[1])
    if isinstance(value, int) and value < 0 and not isinstance(found, Nothing):
        check.fail(arguments[1], f"a time is not negative: {value}")
    return Special("timestamp", u64, (layout, _clock_of(check, arguments[1])))


def _strftime(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    kind = gen.type(node)
    assert isinstance(kind, Special)
    return worded(kind, UINT64, arguments[1], gen)


# control groups


def _check_cgroup_path(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    check.integer(arguments[0], "the id of a control group")
    pattern = text_of(check, arguments[1], "which hierarchies to look in") if len(arguments) > 1 else "*"
    return Special("cgroup_path", u64, (pattern,))


def _cgroup_path(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    kind = gen.type(node)
    assert isinstance(kind, Special)
    return worded(kind, UINT64, arguments[0], gen)


ROWS = (
    _of_int("strerror(error)", "what an error is called"),
    _of_int("signal_name(number)", "what a signal is called"),
    _of_int("syscall_name(number)", "the name of a system call"),
    Function("strftime(format, nanoseconds)", "a time since boot, as strftime formats it; %f: microseconds",
             _check_strftime, _strftime),
    Function("cgroup_path(id, [hierarchies])", "the path of a control group", _check_cgroup_path, _cgroup_path),
)  # fmt: skip
