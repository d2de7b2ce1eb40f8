"""What user space does for a script: printing, clearing maps, ending; each sends a record that is acted on later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pybpf.bt.functions.function import DONE, Arguments, Function, Lowering
from pybpf.bt.lower.values import Value
from pybpf.bt.show.format import Format, FormatFault, Piece, read_format
from pybpf.bt.state.actions import Action
from pybpf.bt.syntax import tree
from pybpf.bt.types import (
    INT64,
    NONE,
    Aggregate,
    Bool,
    Buffer,
    Integer,
    Nothing,
    Pointer,
    Special,
    String,
    Type,
)

if TYPE_CHECKING:
    from pybpf.bt.check.checker import Checker
    from pybpf.bt.lower.gen import Gen

__all__ = ["ROWS", "format_of", "formatting", "text_of"]

_INTEGERS = frozenset((*"duxXoc", "gr"))


def text_of(check: Checker, node: tree.Node, what: str) -> str:
    """The value of text that must be known. :raises CompileError: it is not."""
    value = check.constant(node)
    check.type(node)
    if not isinstance(value, str):
        check.fail(node, f"{what} must be text that is known when the script is compiled, in quotes")
    return value


def format_of(check: Checker, node: tree.Node, arguments: Arguments) -> Format:
    """The format that a call begins with, its values checked."""
    name = getattr(node, "name", "printf")
    source = text_of(check, arguments[0], f"the format of {name}()")
    try:
        found = read_format(source)
    except FormatFault as fault:
        check.fail(arguments[0], str(fault))
    given = arguments[1:]
    if len(given) != len(found.pieces):
        many = "1 directive" if len(found.pieces) == 1 else f"{len(found.pieces)} directives"
        values = "1 value is" if len(given) == 1 else f"{len(given)} values are"
        check.fail(node, f"the format has {many}, and {values} given")
    for piece, each in zip(found.pieces, given):
        _check_value(check, piece, each)
    return found


def _check_value(check: Checker, piece: Piece, node: tree.Node) -> None:
    kind = check.read(check.value(node))
    if isinstance(kind, Nothing):
        return
    if piece.conversion in _INTEGERS:
        fits = isinstance(kind, (Integer, Bool, Pointer))
    elif piece.conversion == "p":
        fits = isinstance(kind, (Integer, Pointer))
    elif piece.conversion == "s":
        fits = isinstance(kind, (String, Special, Buffer)) or (isinstance(kind, Integer) and bool(kind.enum))
        fits = fits or isinstance(kind, Bool)
    else:
        fits = isinstance(kind, Buffer)
    if not fits:
        hint = ""
        if piece.conversion == "s" and isinstance(kind, (Pointer, Integer)):
            address = isinstance(kind, Pointer) or kind.width == 8
            hint = "; write str() around it for text at an address" if address else "; write %d"
        elif piece.conversion in _INTEGERS and isinstance(kind, String):
            hint = "; write %s"
        check.fail(node, f"%{piece.conversion} does not print {kind.name}{hint}")


def formatted_values(gen: Gen, format: Format, arguments: Arguments) -> list[Value]:
    """The values that a format prints."""
    return [gen.read(each) for each in arguments[1 : 1 + len(format.pieces)]]


def formatting(name: str) -> tuple[object, Lowering]:
    """Check and lowering of what takes a format as printf does, and sends an action of that name."""

    def check_it(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
        check.checked.notes[node] = format_of(check, node, arguments)
        return NONE

    def lower(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
        found = gen.checked.notes[node]
        values = formatted_values(gen, found, arguments)
        gen.send(Action(name, tuple(value.type for value in values), (found, node.span)), values)
        return DONE

    return check_it, lower


def _print_map(check: Checker, node: tree.Node, arguments: Arguments) -> None:
    """``print(@x, top, div)``"""
    target = arguments[0]
    assert isinstance(target, tree.Map)
    if check.loops:
        check.warn(node, "print() of a map shows what is in it later, when the loop may have gone on")
    facts = check.facts.map(target)
    kind = check.map_value(facts, target)
    for each in arguments[1:]:
        value = check.constant(each)
        check.type(each)
        if not isinstance(value, int) or value < 0:
            check.fail(each, "how many entries to print, and what to divide by, are constants")
    divisor = check.constant(arguments[2]) if len(arguments) > 2 else 1
    if divisor == 0:
        check.fail(arguments[2], "division by zero")
    check.checked.types[target] = kind


def _check_print(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    target = arguments[0]
    if isinstance(target, tree.Map) and check.facts.map(target).keyed is not False:
        facts = check.facts.map(target)
        if facts.keyed is None and check.facts.final:
            check.fail(target, f"@{facts.name} is never assigned to")
        _print_map(check, node, arguments)
        return NONE
    if isinstance(target, tree.Map):
        _print_map(check, node, arguments)
        return NONE
    if len(arguments) > 1:
        check.fail(arguments[1], "only whole maps are printed in part, as in print(@x, 10)")
    if isinstance(target, tree.MapAccess):
        found = check.map_key(target)
        check.checked.types[target] = kind = check.map_value(found, target)
    else:
        kind = check.type(target)
    if isinstance(kind, Nothing) and check.facts.final:
        check.fail(target, "this gives no value to print")
    return NONE


def _print(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    target = arguments[0]
    if isinstance(target, tree.Map):
        rest = tuple(gen.constant(each) for each in arguments[1:])
        gen.send(Action("print_map", (), (target.name, *rest)))
        return DONE
    kind = gen.type(target)
    if isinstance(target, tree.MapAccess) and isinstance(kind, Aggregate):
        from pybpf.bt.lower.maps import key_value

        found = gen.map(target.map.name)
        assert found.key is not None
        gen.send(Action("print_entry", (found.key,), (found.name,)), [key_value(gen, target.keys, found.key)])
        return DONE
    value = gen.read(target)
    gen.send(Action("print", (value.type,)), [value])
    return DONE


def _whole_map(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    target = arguments[0]
    name = getattr(node, "name", "this")
    if not isinstance(target, tree.Map):
        check.fail(target, f"{name}() takes a whole map, as in {name}(@x)")
    check.map_value(check.facts.map(target), target)
    return NONE


def _with_map(action: str) -> Lowering:
    def lower(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
        (target,) = arguments
        assert isinstance(target, tree.Map)
        gen.send(Action(action, (), (target.name,)))
        return DONE

    return lower


def _check_exit(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    if arguments:
        check.integer(arguments[0], "an exit code")
    return NONE


def _exit(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    code = gen.as_type(arguments[0], INT64) if arguments else gen.known(0)
    gen.send(Action("exit", (INT64,)), [code])
    gen.leave()
    return DONE


def _check_time(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    if arguments:
        text_of(check, arguments[0], "the format of time()")
    return NONE


def _time(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    layout = gen.constant(arguments[0]) if arguments else "%H:%M:%S\n"
    gen.send(Action("time", (), (layout,)))
    return DONE


_PRINTERS = {
    "printf": "print text made of values, as C's printf",
    "errorf": "print to the error output, with where in the script it is",
    "warnf": "print a warning to the error output",
    "debugf": "print to the kernel's trace buffer: here, as printf, to the error output",
}

ROWS = (
    *(
        Function(f"{name}(format, ...)", text, *formatting(name))  # type: ignore[arg-type]
        for name, text in _PRINTERS.items() if name != "debugf"
    ),
    Function("print(value, [top], [div])", "print a value, or a map: its last entries, divided", _check_print, _print),
    Function("clear(map)", "delete all entries of a map", _whole_map, _with_map("clear")),
    Function("zero(map)", "set all values of a map to zero", _whole_map, _with_map("zero")),
    Function("exit([code])", "end the script", _check_exit, _exit),
    Function("time([format])", "print the time of day, as strftime formats it", _check_time, _time),
)
