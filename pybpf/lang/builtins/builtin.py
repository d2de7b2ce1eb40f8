"""What a builtin of the DSL is: a typed, documented Python function that means something only inside a probe."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from functools import update_wrapper
from typing import Any, NoReturn, TypeVar, cast

from pybpf.asm import HELPERS
from pybpf.asm.helpers import PROGRAM_TYPES
from pybpf.compiler.ir import Instr, Operand
from pybpf.compiler.ops import INT
from pybpf.compiler.target import Target
from pybpf.errors import BpfError
from pybpf.lang.front.gen import Gen
from pybpf.lang.values.ints import Int
from pybpf.lang.values.val import Val
from pybpf.sys.bpf import ProgType

__all__ = ["Builtin", "Lowering", "builtin", "call_helper", "helper_value", "meant_for_probes", "need_helper"]

#: CO_VARARGS and CO_VARKEYWORDS of a function's code
_ANY_NUMBER = 0x04 | 0x08
F = TypeVar("F", bound=Callable[..., Any])
#: Compiles a call: the compilation, the AST node, then the arguments by the names that the Python function gives them.
Lowering = Callable[..., Val]


def meant_for_probes(name: str = "this function") -> NoReturn:
    """Refuse to run here. :raises BpfError: always."""
    raise BpfError(
        f"{name} works only in a probe: call it in a function that a tracer's decorator compiles, "
        "such as @tracer.kprobe(...), or in a function that this one calls"
    )


class Builtin:
    """One row of the table of builtins.

    :ivar function: what editors and type checkers see: name, signature, documentation.
    :ivar lower: compiles a call of it.
    :ivar programs: the types of program that may call it; empty: all, as far as the helpers that it needs go.
    """

    def __init__(self, function: Callable[..., Any], lower: Lowering, programs: frozenset[ProgType]) -> None:
        self.function = function
        self.lower = lower
        self.programs = programs
        self.name: str = function.__name__
        update_wrapper(self, function)

    def __call__(self, *args: Any, **named: Any) -> NoReturn:
        meant_for_probes(f"{self.name}()")

    def __get__(self, instance: object, owner: type | None = None) -> Builtin:
        """Itself, also as an attribute of a class: ``help()`` shows parameters of what has such a method."""
        return self

    def __probe_value__(self, gen: Gen) -> Val:
        return BuiltinVal(self)

    def __repr__(self) -> str:
        return f"<builtin {self.name}>"


def builtin(lower: Lowering, *programs: ProgType) -> Callable[[F], F]:
    """Make a function a builtin; to a type checker it stays the function that it was.

    :param programs: the types of program that may call it; none: all.
    """

    def decorate(function: F) -> F:
        return cast("F", Builtin(function, lower, frozenset(programs)))

    return decorate


class BuiltinVal(Val):
    """A builtin, in a probe."""

    def __init__(self, row: Builtin) -> None:
        self.row = row

    @property
    def what(self) -> str:
        return f"the builtin {self.row.name}"

    @property
    def instead(self) -> str:
        return f"write {self.row.name}{_signature(self.row.function)} to call it"

    def call(self, gen: Gen, args: Sequence[Val], named: Mapping[str, Val], at: ast.AST) -> Val:
        row = self.row
        if row.programs and gen.unit.type not in row.programs:
            gen.fail(at, f"{row.name}() is not for {_programs([gen.unit.type])}; it works in {_programs(row.programs)}")
        try:
            bound = _bind(row.function, args, named)
        except TypeError as error:
            gen.fail(at, f"{row.name}(): {error}; its signature is {row.name}{_signature(row.function)}")
        given = {name: val if isinstance(val, Val) else gen.wrap(val) for name, val in bound.items()}
        return row.lower(gen, at, **given)


def _bind(function: Callable[..., Any], args: Sequence[Val], named: Mapping[str, Val]) -> Mapping[str, Any]:
    """The arguments of a call by their names, defaults among them. :raises TypeError: they do not fit."""
    code, defaults = function.__code__, function.__defaults__ or ()
    names = code.co_varnames[: code.co_argcount]
    found = {**dict(zip(names[len(names) - len(defaults) :], defaults)), **dict(zip(names, args)), **named}
    plain = not code.co_kwonlyargcount and not code.co_flags & _ANY_NUMBER
    if plain and len(args) <= len(names) and found.keys() == set(names) and named.keys().isdisjoint(names[: len(args)]):
        return {name: found[name] for name in names}
    return _bind_slowly(function, args, named)


def _bind_slowly(function: Callable[..., Any], args: Sequence[Val], named: Mapping[str, Val]) -> Mapping[str, Any]:
    """The same for any function, with Python's own messages."""
    from inspect import signature  # takes time to import, and most calls are simple

    bound = signature(function).bind(*args, **named)
    bound.apply_defaults()
    return bound.arguments


def _signature(function: Callable[..., Any]) -> str:
    from inspect import signature

    return str(signature(function)).partition(" -> ")[0].replace("'", "")


def _programs(types: Any) -> str:
    names = sorted(kind.name.lower() for kind in types)
    return f"{' and '.join(names)} programs"


def need_helper(gen: Gen, at: ast.AST, what: str, helper: str, advice: str = "") -> None:
    """Refuse where the target has no such helper for programs of this type.

    :param what: what needs it, for the message.
    :param advice: what to write instead.
    """
    if gen.target.has_helper(gen.unit.type, helper):
        return
    row, kind = HELPERS[helper], gen.unit.type.name.lower()
    if kind in PROGRAM_TYPES and kind not in row.programs:
        reason = f"{kind} programs cannot call bpf_{helper}"
    else:
        releases = (row.since, row.programs.get(kind, row.since))
        since = next((each for each in releases if _has(each, gen.unit.type, helper)), row.since)
        reason = f"it needs bpf_{helper}, which the target lacks (Linux {since} has it)"
    gen.fail(at, f"{what} cannot be had here: {reason}" + (f"; {advice}" if advice else ""))


def _has(release: str, kind: ProgType, helper: str) -> bool:
    return Target.described(release.partition("..")[0]).has_helper(kind, helper)


def call_helper(gen: Gen, at: ast.AST, what: str, helper: str, *args: Operand, type: str = INT) -> Instr:
    """Call a helper that the target is known to have, or refuse. The result is in a register, 64 bits wide."""
    need_helper(gen, at, what, helper)
    return gen.b.emit("call", *args, type=type, helper=helper)


def helper_value(helper: str, kind: Any, *, shift: int = 0, advice: str = "") -> Lowering:
    """The lowering of a builtin without arguments: what a helper returns, as an integer.

    :param kind: the type; of a 32-bit one the low half counts, of the result shifted right by ``shift``.
    """

    def lower(gen: Gen, at: ast.AST) -> Val:
        need_helper(gen, at, _called(at), helper, advice)
        value: Operand = gen.b.emit("call", helper=helper)
        if shift:
            value = gen.b.emit("lshr", value, shift)
        elif kind.__layout__.size == 4:
            value = gen.b.emit("zext", value, bits=32)
        return Int(value, kind)

    return lower


def _called(at: ast.AST) -> str:
    name = at.func if isinstance(at, ast.Call) else at
    return f"{ast.unparse(name)}()"
