"""``Const``: any object of Python that is known while a probe is compiled; Python itself computes with it."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from types import BuiltinFunctionType, MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

from pybpf.errors import BpfError, PackError
from pybpf.lang.front.refused import instead_of
from pybpf.lang.values import raw
from pybpf.lang.values.val import Val
from pybpf.sys.near import did_you_mean
from pybpf.types import array_of, char, layout

if TYPE_CHECKING:
    from pybpf.compiler.ir import Block, Operand
    from pybpf.lang.front.gen import Gen
    from pybpf.lang.values.ints import Int

__all__ = ["BINARY", "COMPARE", "MAX_BITS", "Const", "hashable"]

#: Integers that constants may grow to: more is a mistake, and would take memory without bound.
MAX_BITS = 4096

BINARY: Mapping[str, Callable[[Any, Any], Any]] = MappingProxyType({
    "+": operator.add, "-": operator.sub, "*": operator.mul, "//": operator.floordiv, "%": operator.mod,
    "&": operator.and_, "|": operator.or_, "^": operator.xor, "<<": operator.lshift, ">>": operator.rshift,
    "**": operator.pow, "/": operator.truediv, "@": operator.matmul,
})  # fmt: skip
UNARY: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {"+": operator.pos, "-": operator.neg, "~": operator.invert}
)
COMPARE: Mapping[str, Callable[[Any, Any], Any]] = MappingProxyType({
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "is": operator.is_, "is not": operator.is_not,
})  # fmt: skip
_SWAPPED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<=", "is": "is", "is not": "is not"}
_CONSTANT = "is constant in a probe, as all Python objects are; keep what changes in a map, or in tracer.variable(...)"
#: Functions that give the same for the same constants.
_CALLABLE = frozenset({
    abs, all, any, bool, bytes, chr, divmod, hex, int, len, max, min, oct, ord, pow, round, str, sum, tuple,
    int.from_bytes, bytes.fromhex,
})  # fmt: skip
#: Types whose methods do so.
_PLAIN = (int, str, bytes, tuple, frozenset, type(None))
#: Methods of a dict that only read it.
_READING = frozenset({"get", "items", "keys", "values"})


#: class -> what to write where an object of it cannot be taken
_INSTEAD: tuple[tuple[type, str], ...] = (
    (type(None), "write 0, or ask 'is not None' before"),
    (str, "write a number, or declare char[N] for text"),
    (bytes, "write a number, or declare u8[N] for bytes"),
    (float, "write an integer; count in smaller units, such as nanoseconds"),
    (slice, "write one index"),
    (ModuleType, "write what is in the module, as in module.NAME"),
    (tuple, "write one of the elements, x[0]"),
    (list, "write one of the elements, x[0]"),
)  # fmt: skip


class Const(Val):
    """An object of Python.

    :ivar value: the object.
    """

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    @property
    def what(self) -> str:
        value = self.value
        if isinstance(value, type):
            return f"the type {value.__name__}"
        if isinstance(value, ModuleType):
            return f"the module {value.__name__}"
        if type(value) in (*_PLAIN, float, complex, list, dict, set, slice, type(...)):
            return _shown(value)
        if callable(value) and isinstance(getattr(value, "__qualname__", None), str):
            return f"the function {value.__qualname__}()"
        return f"an object of type {type(value).__name__}"

    @property
    def instead(self) -> str:
        value = self.value
        if isinstance(value, type) and issubclass(value, int):
            return f"call the type to convert, {value.__name__}(x), or write a number"
        if value is not None and callable(value) and not isinstance(value, type):
            return "call the function, or write a number"
        return next((advice for kind, advice in _INSTEAD if isinstance(value, kind)), "")

    def _computed(self, gen: Gen, at: ast.AST, compute: Callable[[], Any]) -> Val:
        try:
            result = compute()
        except RecursionError:
            raise
        except Exception as error:
            name = "" if isinstance(error, BpfError) else f"{type(error).__name__}: "
            gen.fail(at, f"Python cannot compute this: {name}{error}")
        if isinstance(result, int) and result.bit_length() > MAX_BITS:
            gen.fail(at, f"this integer has more than {MAX_BITS} bits: registers have 64")
        return gen.wrap(result)

    # reading

    def attr(self, gen: Gen, name: str, at: ast.AST) -> Val:
        try:
            found = getattr(self.value, name)
        except AttributeError:
            if isinstance(self.value, tuple) and hasattr(list, name):
                gen.fail(at, f"a list has no {name}() in a probe, where it is fixed: keep values in a map, or in a "
                         "variable such as values: u64[8]")  # fmt: skip
            near = did_you_mean(name, self._computed_names()) or ": set it before the tracer is attached"
            gen.fail(at, f"{self.what} has no attribute {name!r}{near}")
        except Exception as error:  # a property of the user's
            gen.fail(at, f"Python cannot compute this: {type(error).__name__}: {error}")
        return gen.wrap(found)

    def _computed_names(self) -> Sequence[str]:
        names: Sequence[str] = getattr(self.value, "__members__", None) or dir(self.value)  # those of an Enum
        return [each for each in names if isinstance(each, str)]

    def item(self, gen: Gen, index: Val, at: ast.AST) -> Val:
        known = gen.const(index)
        if known is None and not isinstance(index, Const):
            self.refuse(gen, at, "is a constant of Python: its index must be constant too; put what is looked up at "
                        "run time into a map or an array")  # fmt: skip
        return self._computed(gen, at, lambda: self.value[known])

    def contains(self, gen: Gen, item: Val, at: ast.AST) -> Val:
        from pybpf.lang.values.ints import any_of

        if isinstance(item, Const):
            return self._computed(gen, at, lambda: item.value in self.value)
        if isinstance(self.value, str):  # not one of its characters, but any part of it
            return self._contains_text(gen, item, at)
        return any_of(gen, [item.compare(gen, "==", each, at) for each in self.elements(gen, at)], at)

    def _contains_text(self, gen: Gen, item: Val, at: ast.AST) -> Val:
        from pybpf.lang.values.memory import place

        data = self.value.encode("utf-8", "surrogateescape")
        if not data:
            return item.compare(gen, "==", self, at)
        return place(gen, self, array_of(char, len(data)), at).contains(gen, item, at)

    def elements(self, gen: Gen, at: ast.AST) -> Sequence[Val]:
        kind = type(self.value)  # of a class, what its objects have says nothing
        if not hasattr(kind, "__len__") or not hasattr(kind, "__iter__"):
            self.refuse(gen, at, "cannot be gone through: range(...), arrays and tuples can")
        return [gen.wrap(each) for each in self.value]

    def call(self, gen: Gen, args: Sequence[Val], named: Mapping[str, Val], at: ast.AST) -> Val:
        function = self.value
        owner = function.__self__ if isinstance(function, BuiltinFunctionType) else None
        method = owner is not None and (
            isinstance(owner, _PLAIN) or (isinstance(owner, dict) and function.__name__ in _READING)
        )
        if not method and not (hashable(function) and function in _CALLABLE):
            self.refuse(gen, at, f"cannot be called in a probe{instead_of(function)}")
        given = [*args, *named.values()]
        if not all(isinstance(each, Const) for each in given):
            wrong = next(each for each in given if not isinstance(each, Const))
            self.refuse(gen, at, f"can be called with constants only here, and got {wrong.what}"
                        f"{instead_of(function)}")  # fmt: skip
        plain = [each.value for each in args if isinstance(each, Const)]
        plain_named = {name: each.value for name, each in named.items() if isinstance(each, Const)}
        return self._computed(gen, at, lambda: function(*plain, **plain_named))

    # computing

    def unary(self, gen: Gen, op: str, at: ast.AST) -> Val:
        return self._computed(gen, at, lambda: UNARY[op](self.value))

    def binary(self, gen: Gen, op: str, other: Val, at: ast.AST) -> Val:
        if isinstance(other, Const):
            right = other.value
            if op in ("<<", "**") and isinstance(right, int) and right > MAX_BITS:
                gen.fail(at, f"this integer has more than {MAX_BITS} bits: registers have 64")
            if op == "*" and not isinstance(self.value, (int, float)):
                return self._computed(gen, at, lambda: _repeated(self.value, right))
            return self._computed(gen, at, lambda: BINARY[op](self.value, right))
        if not isinstance(self.value, int):
            text = '; write print(f"...")' if isinstance(self.value, str) else ""
            self.refuse(gen, at, f"and {other.what} cannot be combined by {op!r}{text}")
        return self.number(gen, at).binary(gen, op, other, at)

    def compare(self, gen: Gen, op: str, other: Val, at: ast.AST) -> Val:
        if isinstance(other, Const):
            return self._computed(gen, at, lambda: COMPARE[op](self.value, other.value))
        return other.compare(gen, _SWAPPED[op], self, at)

    def branch(self, gen: Gen, yes: Block, no: Block, at: ast.AST) -> None:
        gen.b.jump(yes if gen.const(self._computed(gen, at, lambda: bool(self.value))) else no)

    # writing: what is Python's is constant

    def set_attr(self, gen: Gen, name: str, value: Val, at: ast.AST) -> None:
        self.refuse(gen, at, _CONSTANT)

    def set_item(self, gen: Gen, index: Val, value: Val, at: ast.AST) -> None:
        self.refuse(gen, at, _CONSTANT)

    # becoming something else

    def scalar(self, gen: Gen, at: ast.AST) -> Operand:
        if not isinstance(self.value, int):
            self.cannot(gen, gen.given(at), "is not an integer", "write a number")
        if not -(1 << 63) <= self.value < 1 << 64:
            self.refuse(gen, gen.given(at), "does not fit 64 bits: integers are 64 bits wide at most")
        return int(self.value)

    def number(self, gen: Gen, at: ast.AST) -> Int:
        from pybpf.lang.values.ints import Literal

        self.scalar(gen, at)  # whether it fits
        return Literal(self.value)

    def store(self, gen: Gen, address: Operand, offset: int, kind: Any, at: ast.AST) -> None:
        try:
            data = layout(kind).pack(self.value)
        except (PackError, TypeError) as error:
            gen.fail(gen.given(at), str(error))
        raw.write(gen, address, offset, data)


def _shown(value: Any) -> str:
    try:
        return f"{value!r:.60}"
    except Exception:  # an object of the user's in it
        return f"an object of type {type(value).__name__}"


def hashable(value: object) -> bool:
    """Whether it may be looked up in a table."""
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _repeated(value: Any, times: Any) -> Any:
    if isinstance(times, int) and len(value) * times > MAX_BITS:
        raise OverflowError(f"more than {MAX_BITS} elements")
    return value * times
