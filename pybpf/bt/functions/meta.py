"""What is asked while a script is compiled: of types, of the kernel; ``fail`` and ``static_assert``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pybpf.bt.functions.function import DONE, Arguments, Function, Lowering
from pybpf.bt.lower.values import Value
from pybpf.bt.show.format import FormatFault, read_format
from pybpf.bt.syntax import tree
from pybpf.bt.types import BOOL, NONE, Array, Integer, Nothing, Pointer, String, Type

if TYPE_CHECKING:
    from pybpf.bt.check.checker import Checker
    from pybpf.bt.lower.gen import Gen

__all__ = ["ROWS"]

_LITERALS = (tree.Integer, tree.String, tree.Boolean)


def _asks(signature: str, text: str, holds: Callable[[Type], bool]) -> Function:
    """A row of a question about the type of an expression."""

    def check_it(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
        check.value(arguments[0])
        return BOOL

    def constant(check: Checker, node: tree.Node, arguments: Arguments) -> bool | None:
        found = check.read(check.type(arguments[0]))
        return None if isinstance(found, Nothing) else holds(found)

    return Function(signature, text, check_it, _known, constant)


def _known(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    value = gen.constant(node)
    assert value is not None
    return gen.known(value)


def _check_literal(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    check.type(arguments[0])
    return BOOL


def _literal(check: Checker, node: tree.Node, arguments: Arguments) -> bool:
    found = arguments[0]
    while isinstance(found, tree.Block) and not found.statements and found.value is not None:
        found = found.value
    if isinstance(found, tree.Unary) and found.operator == "-":
        found = found.operand
    return isinstance(found, _LITERALS)


# refusing


def _message(check: Checker, arguments: Arguments) -> str:
    """The text of ``fail(format, ...)``, whose values are all known."""
    from pybpf.bt.functions.output import text_of

    source = text_of(check, arguments[0], "the message")
    try:
        found = read_format(source)
    except FormatFault as fault:
        check.fail(arguments[0], str(fault))
    values = [check.constant(each) for each in arguments[1:]]
    parts = []
    for piece, value in zip(found.pieces, values):
        parts += [piece.text, str(value)]
    return "".join([*parts, found.end])


def _check_fail(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    check.fail(node, _message(check, arguments))


def _check_assert(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    check.type(arguments[0])
    holds = check.constant(arguments[0])
    message = _message(check, arguments[1:])
    if check.facts.final and holds is None:
        check.fail(arguments[0], "this is not known when the script is compiled")
    if check.facts.final and not holds:  # sizes may grow until then
        check.fail(node, message)
    return NONE


def _nothing(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    return DONE


# the kernel


def _kfunc(allowed: bool) -> Callable[[Checker, tree.Node, Arguments], bool]:
    def find(check: Checker, node: tree.Node, arguments: Arguments) -> bool:
        from pybpf.bt.functions.output import text_of

        name = text_of(check, arguments[0], "the name of a kernel function")
        types = check.facts.target.types()
        if types is None or types.find("func", name) is None:
            return False
        # what programs may call is marked in the types of the kernel (Linux 6.9)
        return not allowed or any(types.type(each).type == types.find("func", name)  # type: ignore[union-attr]
                                  for _, each in types.names("decl_tag", "bpf_kfunc"))  # fmt: skip

    return find


def _check_kfunc(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    check.type(arguments[0])
    return BOOL


def _row(signature: str, text: str, constant: Callable[..., bool], lower: Lowering = _known) -> Function:
    return Function(signature, text, _check_kfunc, lower, constant)


ROWS = (
    _asks("is_str(value)", "whether it is text", lambda kind: isinstance(kind, String)),
    _asks("is_ptr(value)", "whether it is a pointer", lambda kind: isinstance(kind, Pointer)),
    _asks("is_array(value)", "whether it is an array", lambda kind: isinstance(kind, Array)),
    _asks("is_integer(value)", "whether it is an integer",
          lambda kind: isinstance(kind, Integer) and not kind.enum),
    _asks("is_unsigned_integer(value)", "whether it is an unsigned integer",
          lambda kind: isinstance(kind, Integer) and not kind.enum and not kind.signed),
    Function("is_literal(value)", "whether it is written as a literal", _check_literal, _known, _literal),
    Function("fail(message, ...)", "refuse the script", _check_fail, _nothing),
    Function("static_assert(condition, message, ...)", "refuse the script unless something holds that is known",
             _check_assert, _nothing),
    _row("kfunc_exist(name)", "whether the kernel has a function", _kfunc(False)),
    _row("kfunc_allowed(name)", "whether programs may call it", _kfunc(True)),
)  # fmt: skip
