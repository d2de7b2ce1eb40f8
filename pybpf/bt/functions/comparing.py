"""Text and bytes compared, searched and put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pybpf.bt.functions.function import Arguments, Function, Lowering
from pybpf.bt.functions.text import text_at
from pybpf.bt.lower.memory import differs
from pybpf.bt.lower.texts import concatenated, difference, position
from pybpf.bt.lower.values import Known, Own, Scalar, Value
from pybpf.bt.syntax import tree
from pybpf.bt.types import BOOL, INT64, NONE, Array, Integer, Nothing, Pointer, String, Type
from pybpf.lang.values.reading import KERNEL, USER, Where

if TYPE_CHECKING:
    from pybpf.bt.check.checker import Checker
    from pybpf.bt.lower.gen import Gen
    from pybpf.compiler.ir import Operand

__all__ = ["ROWS"]


def _is_text(found: Type) -> bool:
    if isinstance(found, Array):
        return found.item.size == 1
    if isinstance(found, Pointer):
        return isinstance(found.target, Integer) and found.target.width == 1
    return isinstance(found, String)


def _text_type(check: Checker, node: tree.Node, what: str) -> String:
    """The type that text is read as: also of arrays of characters, and behind pointers to them."""
    found = check.read(check.value(node))
    if not _is_text(found) and not isinstance(found, Nothing):
        check.fail(node, f"{what} is for text, and this is {found.name}")
    if isinstance(found, (String, Array)):
        return String(max(found.size, 1))
    return String(check.facts.settings.max_strlen)


def _text(gen: Gen, node: tree.Node) -> Value:
    value = gen.read(node)
    if isinstance(value.type, Pointer):
        space = value.type.space or gen.check.place.arguments.space
        kind = String(gen.shared.settings.max_strlen)
        where = Where(value.operand(gen), 0, USER if space == USER else KERNEL)
        return text_at(gen, where, kind, None)
    if isinstance(value.type, Array):
        found = value.own(gen)
        return Own(String(max(found.type.size, 1)), found.address, found.offset)
    return value


def _check_texts(kind: Type, count: int = 2) -> object:
    def check_it(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
        name = f"{getattr(node, 'name', 'this')}()"
        for each in arguments[:count]:
            _text_type(check, each, name)
        for each in arguments[count:]:
            check.integer(each, f"how many bytes {name} compares")
        return kind

    return check_it


# searching


def _strstr(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    text, wanted = (_text(gen, each).own(gen) for each in arguments)
    return Scalar(INT64, position(gen, text, wanted))


def _strcontains(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    found = _strstr(gen, node, arguments).operand(gen)
    return Scalar(BOOL, gen.b.emit("cmp", found, 0, cond="sge"))


# comparing


def _strncmp(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    left, right = (_text(gen, each) for each in arguments[:2])
    most = gen.constant(arguments[2])
    if isinstance(left, Known):
        left, right = right, left
    if isinstance(most, int) and isinstance(right, Known) and 0 <= most <= left.type.size:
        return Scalar(INT64, _begins(gen, left, right.data, most))
    found = difference(gen, left.own(gen), right.own(gen), gen.scalar(arguments[2]), text=True)
    return Scalar(INT64, gen.b.emit("cmp", found, 0, cond="ne"))


def _begins(gen: Gen, left: Value, text: bytes, most: int) -> Operand:
    """Zero where the first bytes are those of text that is known: by words."""
    text = text.split(b"\0", 1)[0]
    if not most:
        return 0
    found = left.own(gen)
    room = min(most, found.type.size)
    same = Known(String(room), text[:room])
    return gen.b.emit("cmp", differs(gen, Own(String(room), found.address, found.offset), same), 0, cond="ne")


def _check_memcmp(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    for each in arguments[:2]:
        check.value(each)
    check.integer(arguments[2], "how many bytes memcmp() compares")
    most = check.constant(arguments[2])
    for each in arguments[:2]:
        kind = check.read(check.type(each))
        if isinstance(most, int) and not isinstance(kind, Nothing) and not 0 <= most <= kind.size:
            check.fail(arguments[2], f"this is more than the {kind.size} bytes that {kind.name} has")
    return INT64


def _memcmp(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    left, right = (gen.read(each).own(gen) for each in arguments[:2])
    return Scalar(INT64, difference(gen, left, right, gen.scalar(arguments[2]), text=False))


# capacity, and text behind text


def _check_capacity(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    _text_type(check, arguments[0], "strcap()")
    return INT64


def _capacity(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    return Scalar(INT64, _text_type(gen.check, arguments[0], "strcap()").room)


def _check_concat(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    one, other = (_text_type(check, each, "str_concat()") for each in arguments)
    return String(one.room + other.room - 1)


def _concat(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    return concatenated(gen, _text(gen, arguments[0]), _text(gen, arguments[1]), gen.type(node))


def _check_is_text(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    _text_type(check, arguments[0], "assert_str()")
    return NONE


def _nothing(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    return Scalar(INT64, 0)


def _most(check: Checker, node: tree.Node, arguments: Arguments) -> int:
    return check.facts.settings.max_strlen


def _row(signature: str, text: str, check: object, lower: Lowering, **more: object) -> Function:
    return Function(signature, text, check, lower, **more)  # type: ignore[arg-type]


ROWS = (
    _row("strcontains(text, part)", "whether text has another in it", _check_texts(BOOL), _strcontains),
    _row("strstr(text, part)", "where in text another begins; -1: nowhere", _check_texts(INT64), _strstr),
    _row("strncmp(text, other, length)", "0 where so many first bytes of two texts are the same, else 1",
         _check_texts(INT64), _strncmp),
    _row("memcmp(value, other, length)", "how the first bytes of two values that are not the same compare: 0, or the "
         "sign tells which is less", _check_memcmp, _memcmp),
    _row("strcap(text)", "how many bytes there is room for in text", _check_capacity, _capacity),
    _row("str_concat(text, other)", "text behind text", _check_concat, _concat),
    _row("assert_str(value)", "refuse the script unless a value is text", _check_is_text, _nothing),
    _row("default_str_length()", "how long text is at most that says nothing itself: max_strlen",
         lambda *_: INT64, lambda gen, *_: Scalar(INT64, gen.shared.settings.max_strlen), constant=_most),
)  # fmt: skip
