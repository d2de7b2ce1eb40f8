"""Text: ``str()`` reads it from an address; what is asked of text, and made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pybpf.bt.check.constants import parameter
from pybpf.bt.functions.function import Arguments, Function
from pybpf.bt.lower.values import Made, Value, converted, read_text
from pybpf.bt.syntax import tree
from pybpf.bt.types import UINT64, Array, Integer, Nothing, Pointer, String, Type
from pybpf.lang.values.flow import Choice, when
from pybpf.lang.values.reading import KERNEL, USER, Where

if TYPE_CHECKING:
    from pybpf.bt.check.checker import Checker
    from pybpf.bt.lower.gen import Gen
    from pybpf.compiler.ir import Operand

__all__ = ["METHODS", "ROWS"]

_MOST_REPEATED = 1024


def _check_str(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    most = check.facts.settings.max_strlen
    known = _known_text(check, arguments)
    if isinstance(arguments[0], tree.Parameter):
        check.constant(arguments[0])  # says if it was not given
    if known is not None:
        return String(len(known.encode("utf-8", "surrogateescape")) + 1)
    kind = check.read(check.value(arguments[0]))
    if isinstance(kind, Nothing):
        return kind
    if not isinstance(kind, (Integer, Pointer, String, Array)):
        check.fail(arguments[0], f"str() reads text at an address, and this is {kind.name}")
    if isinstance(kind, Array) and kind.item.size != 1:
        check.fail(arguments[0], f"str() reads arrays of characters, and this is {kind.name}")
    if len(arguments) > 1:
        check.integer(arguments[1], "the length of str()")
        size = check.constant(arguments[1])
        if isinstance(size, int):
            if size > most:
                check.warn(node, f"The length {size} is more than max_strlen: {most} bytes are read")
            return String(min(max(size, 1), most))
    return kind if isinstance(kind, String) else String(most)


def _known_text(check: Checker, arguments: Arguments) -> str | None:
    """Text that is known: a parameter of the script, or a constant string."""
    text, size = _constant_text(check, arguments[0]), check.constant(arguments[1]) if len(arguments) > 1 else None
    if len(arguments) == 1 or text is None:
        return text
    if not isinstance(size, int):
        return None
    # as what is read from memory: room for a NUL is part of the length
    data = text.encode("utf-8", "surrogateescape")[: max(size - 1, 0)]
    return data.decode("utf-8", "surrogateescape")


def _constant_text(check: Checker, first: tree.Expression | tree.TypeOf) -> str | None:
    if isinstance(first, tree.Parameter):
        return parameter(check, first.index)
    value = check.constant(first)
    return value if isinstance(value, str) else None


def _constant_str(check: Checker, node: tree.Node, arguments: Arguments) -> str | None:
    return _known_text(check, arguments)


def _str(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    known = _known_text(gen.check, arguments)
    if known is not None:
        return gen.known(known)
    kind = gen.type(node)
    assert isinstance(kind, String)
    source = gen.read(arguments[0])
    if isinstance(source.type, String) and len(arguments) == 1:
        return converted(gen, source, kind)
    most: Operand | None = None
    if len(arguments) > 1:
        known_size = gen.constant(arguments[1]) is not None
        most = kind.room if known_size else _at_most(gen, gen.scalar(arguments[1]), kind.room)
    return text_at(gen, _address(gen, source), kind, most)


def _at_most(gen: Gen, size: Operand, most: int) -> Operand:
    """A size that the verifier sees the bounds of."""
    found = Choice(gen.b, most)
    with when(gen.b, "ult", size, most, "shorter"):
        found.set(size)
    return found.value


def _address(gen: Gen, source: Value) -> Where:
    if isinstance(source.type, (Array, String)):
        return source.where(gen)
    space = source.type.space if isinstance(source.type, Pointer) else ""
    space = space or gen.check.place.arguments.space
    return Where(source.operand(gen), 0, USER if space == USER else KERNEL)


def text_at(gen: Gen, where: Where, kind: String, most: Operand | None) -> Value:
    """The text at an address, up to its NUL.

    :param most: bytes to read at most, the NUL included; None: should it not fit, there is no NUL, so that user space
        can see that it was cut off.
    """
    return Made(kind, lambda to, offset: read_text(gen, where, to, offset, kind.room, most), clean=False)


# methods


def _check_repeat(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    found = _repeated(check, node, arguments)
    return String(len(found.encode("utf-8", "surrogateescape")) + 1)


def _repeated(check: Checker, node: tree.Node, arguments: Arguments) -> str:
    text, count = (check.constant(each) for each in arguments)
    for each in arguments:
        check.type(each)
    if not isinstance(text, str) or not isinstance(count, int):
        check.fail(node, 'repeat() is for constants, as in "=".repeat(80)')
    if not 0 <= count * len(text) <= _MOST_REPEATED:
        check.fail(node, f"the text would be longer than {_MOST_REPEATED} characters")
    return text * count


def _repeat(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    return gen.known(_repeated(gen.check, node, arguments))


# lengths


def _check_strlen(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    kind = check.value(arguments[0])
    if not isinstance(kind, (String, Nothing)):
        check.fail(arguments[0], f"strlen() is for text, and this is {kind.name}")
    return UINT64


def _strlen(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    from pybpf.bt.lower.texts import length

    return length(gen, gen.read(arguments[0]))


ROWS = (
    Function("str(address, [length])", "the text at an address, up to its NUL", _check_str, _str, _constant_str),
    Function("strlen(text)", "how many bytes text has", _check_strlen, _strlen),
)

#: What is called as ``value.name(arguments)``.
METHODS = (Function("repeat(text, count)", "text, so many times", _check_repeat, _repeat, _repeated),)
