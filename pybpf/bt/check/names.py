"""What a bare word of an expression means: a builtin, a ``#define``, an enumerator, a well-known constant."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from pybpf.bt.syntax import tree
from pybpf.bt.syntax.parse import parse_expression
from pybpf.bt.types import Integer, Type
from pybpf.bt.types.foreign import of_btf, of_c
from pybpf.errors import CompileError
from pybpf.record import replace
from pybpf.sys.near import did_you_mean

if TYPE_CHECKING:
    from pybpf.arch import Arch
    from pybpf.bt.check.checker import Checker
    from pybpf.bt.functions.function import Function

__all__ = ["meaning", "undefined"]

#: what names of the numbers of system calls begin with: asm/unistd.h, sys/syscall.h
_CALLS = ("__NR_", "SYS_")


def meaning(check: Checker, node: tree.Name) -> Function | tree.Expression | None:
    """What a word means: a row of the table of functions, or an expression that stands for it; None: nothing.

    What the script defines comes first, then builtins, then enumerators of the kernel and constants of C's headers.
    """
    name = node.name
    if name in check.facts.definitions.macros:
        return _defined(check, node)
    value = check.facts.definitions.enumerators.get(name)
    if value is None:
        found = _builtin(name)
        if found is not None:
            return found
        value = _known(check, name)
    return None if value is None else number(node, value)


def enumeration(check: Checker, name: str) -> Integer | None:
    """The type of an enumerator, which knows the names of all values of its enumeration; None of other names."""
    definitions = check.facts.definitions
    if name in definitions.macros:
        return None
    if name in definitions.enumerators:
        kind = next(each for each in definitions.enums if name in each.values)
        return _wide(of_c(kind))
    types = check.facts.target.types()
    if _builtin(name) is not None or types is None or name.islower():
        return None
    type_id = types.enum_of(name)
    return None if type_id is None else _wide(of_btf(types, type_id))


def _wide(kind: Type) -> Integer:
    """An enumeration's values as expressions have them: 64 bits."""
    assert isinstance(kind, Integer)
    return replace(kind, width=8)


def number(node: tree.Node, value: int) -> tree.Expression:
    """A literal of a value, which may be negative."""
    literal = tree.Integer(node.span, abs(value), str(abs(value)))
    return literal if value >= 0 else tree.Unary(node.span, "-", literal)


def _builtin(name: str) -> Function | None:
    from pybpf.bt.functions.table import FUNCTIONS

    return FUNCTIONS.get(name)


def _defined(check: Checker, node: tree.Name) -> tree.Expression:
    """The expression that a ``#define`` stands for. Errors in it point at where it is used."""
    facts, name = check.facts, node.name
    if name not in facts.defines:
        facts.defines[name] = None  # one that stands for itself means nothing
        value = facts.definitions.value(name)
        if value is not None:
            facts.defines[name] = number(node, value)
        else:
            try:
                facts.defines[name] = parse_expression(facts.definitions.macros[name], name)
            except CompileError as error:
                check.fail(node, f"what {name} is defined as is no expression: {error.message}")
    found = facts.defines[name]
    if found is None:
        check.fail(node, f"{name} is defined as itself")
    return found


def _known(check: Checker, name: str) -> int | None:
    from pybpf.bt.check.headers import CONSTANTS

    types = check.facts.target.types()
    if types is not None and not name.islower():
        value = types.constant(name)
        if value is not None:
            return value
    for prefix in _CALLS:
        if name.startswith(prefix):
            return _call_numbers(check.facts.target.arch).get(name[len(prefix) :])
    if name in CONSTANTS:
        return CONSTANTS[name]
    if name.islower():
        return None
    from pybpf.bt.check.numbers import numbers

    return numbers().get(name)


@cache
def _call_numbers(arch: Arch) -> dict[str, int]:
    """Name of a system call -> its number."""
    from pybpf.arch import syscall_names

    return {name: number for number, name in syscall_names(arch).items()}


def undefined(check: Checker, node: tree.Name | tree.Call) -> str:
    """What to say of a word that means nothing."""
    from pybpf.bt.functions.table import FUNCTIONS

    what = "function" if isinstance(node, tree.Call) else "builtin or constant"
    names = [*FUNCTIONS, *check.facts.definitions.macros, *check.facts.definitions.enumerators]
    if what != "function" and not node.name.islower():
        from pybpf.bt.check.headers import CONSTANTS
        from pybpf.bt.check.numbers import numbers

        names += [*CONSTANTS, *numbers()]
    hint = did_you_mean(node.name, names)
    if not node.name.islower() and any("include" in each.text for each in check.facts.script.c_text):
        hint += f"; headers of C and of the kernel are not read: write #define {node.name} and its number"
    if not hint and isinstance(node, tree.Name):
        hint = "; variables are written $x and maps @x"
    return f"there is no {what} {node.name!r}{hint}"
