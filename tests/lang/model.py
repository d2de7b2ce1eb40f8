"""The rules of docs/language.md for integers, a second time: Python runs the text of a probe on numbers with types.

Assignments, parameters and results of annotated names are converted; everything else is operators of :class:`Num`.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from tests.lang.generate import KINDS

__all__ = ["Num", "evaluate", "parts"]

_MASK = (1 << 64) - 1
#: from the narrowest on; ``u63`` is the type of what a u64 and a s64 both hold
_KINDS = ("u8", "s8", "u16", "s16", "u32", "s32", "u63", "s64", "u64")


def _wrap(value: int, kind: str) -> int:
    if kind == "bool":
        return int(bool(value))
    bits = int(kind[1:])
    value &= (1 << bits) - 1
    return value - (1 << bits) if kind[0] == "s" and value >> (bits - 1) else value


def _range_of(kind: str) -> tuple[int, int]:
    if kind == "bool":
        return 0, 1
    bits = int(kind[1:])
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if kind[0] == "s" else (0, (1 << bits) - 1)


class Num:
    """An integer of run time.

    :ivar ends: the least and the greatest value that the rules know it can have.
    """

    def __init__(self, value: int, kind: str, ends: tuple[int, int] | None = None) -> None:
        self.value = _wrap(value, kind)
        self.kind = kind
        self.ends = ends or _range_of(kind)
        assert self.ends[0] <= self.value <= self.ends[1], (value, kind, ends)

    def __repr__(self) -> str:
        return f"{self.kind}({self.value})"

    def __bool__(self) -> bool:
        return bool(self.value)

    def __index__(self) -> int:
        return self.value

    __hash__ = None  # type: ignore[assignment]


def parts(value: Any) -> tuple[int, bool, bool]:
    """Of a :class:`Num` or a constant: the number, whether it may be negative, or too large for an s64."""
    if isinstance(value, Num):
        return value.value, value.kind[0] == "s", value.ends[1] >= 1 << 63
    return int(value), value < 0, value >= 1 << 63


def _ends(value: Any) -> tuple[int, int]:
    return value.ends if isinstance(value, Num) else (int(value), int(value))


def _made(value: int, found: Iterable[int], *operands: Any) -> Num:
    """The result of an operation, given its greatest and its least values, among others: exact where 64 bits hold it
    in any case, otherwise modulo 2**64; what an s64 is computed with is none that may be 2**63 or more."""
    ends = min(found), max(found)
    wide = any(parts(each)[2] for each in operands)
    whole = wide or not any(isinstance(each, Num) and each.kind in ("s64", "u63") for each in operands)
    for limit, kind in (("u64" if whole else "u63", "u64"), ("s64", "s64")):
        if _range_of(limit)[0] <= ends[0] and ends[1] <= _range_of(limit)[1]:
            return Num(value, kind, ends)
    made = Num(value, "u64" if wide else "s64")
    # Python's own value, unless it needs more than an s64 or is computed with what an s64 does not hold
    assert made.value == value or wide or not -(1 << 63) <= value < 1 << 63
    return made


def _corners(exact: Callable[[int, int], int], left: Iterable[int], right: Iterable[int]) -> list[int]:
    return [exact(a, b) for a in left for b in right]


def _bitwise(op: str, left: Any, right: Any) -> list[int]:
    """The ends of ``& | ^``: not negative if the result cannot be, and as many bits as are needed."""
    (low, high), (other_low, other_high) = _ends(left), _ends(right)
    if op == "&" and (low >= 0 or other_low >= 0):
        return [0, min(end for end, least in ((high, low), (other_high, other_low)) if least >= 0)]
    bits = 0
    while not all(-(1 << bits) <= each < 1 << bits for each in (low, high, other_low, other_high)):
        bits += 1
    ends = [0 if low >= 0 and other_low >= 0 else -(1 << bits), (1 << bits) - 1]
    return [ends[0], max(high, other_high)] if op == "&" else ends


def _arithmetic(op: str, exact: Callable[[int, int], int]) -> Callable[[Any, Any], Num]:
    def compute(left: Any, right: Any) -> Num:
        a, b = parts(left)[0], parts(right)[0]
        if op in "&|^" and {getattr(each, "kind", "") for each in (left, right)} == {"bool"}:
            return Num(exact(a, b), "bool")
        found = _bitwise(op, left, right) if op in "&|^" else _corners(exact, _ends(left), _ends(right))
        return _made(exact(a, b), found, left, right)

    return compute


def _divided(left: Any, right: Any) -> None:
    (_, a_signed, a_wide), (_, b_signed, b_wide) = parts(left), parts(right)
    assert not ((a_signed or b_signed) and (a_wide or b_wide))


def _divisors(right: Any) -> list[int]:
    """The ends of a divisor, and those next to 0."""
    low, high = _ends(right)
    return [each for each in (low, high, -1, 1) if low <= each <= high and each]


def _floordiv(left: Any, right: Any) -> Num:
    _divided(left, right)
    a, b = parts(left)[0], parts(right)[0]
    found = _corners(int.__floordiv__, _ends(left), _divisors(right))
    zero = [0] if _ends(right)[0] <= 0 <= _ends(right)[1] else []
    return _made(a // b if b else 0, [*found, *zero], left, right)


def _mod(left: Any, right: Any) -> Num:
    _divided(left, right)
    (a, b), (low, high) = (parts(left)[0], parts(right)[0]), _ends(right)
    found = [0, *([high - 1] if high > 0 else []), *([low + 1] if low < 0 else [])]
    if low >= 0 and _ends(left)[0] >= 0:
        found = [0, min(max(found), _ends(left)[1])]
    if low <= 0 <= high:
        found += _ends(left)
    return _made(a % b if b else a, found, left, right)


def _shift(exact: Callable[[int, int], int]) -> Callable[[Any, Any], Num]:
    def compute(left: Any, right: Any) -> Num:
        low, high = _ends(right)
        counts = (low, high) if low >= 0 and high < 64 else (0, 63)
        return _made(exact(parts(left)[0], parts(right)[0] & 63), _corners(exact, _ends(left), counts), left)

    return compute


def _comparison(exact: Callable[[int, int], bool]) -> Callable[[Any, Any], Num]:
    return lambda left, right: Num(exact(parts(left)[0], parts(right)[0]), "bool")


_BINARY: dict[str, Callable[[Any, Any], Num]] = {
    "add": _arithmetic("+", lambda a, b: a + b),
    "sub": _arithmetic("-", lambda a, b: a - b),
    "mul": _arithmetic("*", lambda a, b: a * b),
    "and": _arithmetic("&", lambda a, b: a & b),
    "or": _arithmetic("|", lambda a, b: a | b),
    "xor": _arithmetic("^", lambda a, b: a ^ b),
    "floordiv": _floordiv,
    "mod": _mod,
    "lshift": _shift(lambda a, b: a << b),
    "rshift": _shift(lambda a, b: a >> b),
}
for _name, _compute in _BINARY.items():
    setattr(Num, f"__{_name}__", _compute)
    setattr(Num, f"__r{_name}__", lambda self, other, compute=_compute: compute(other, self))
for _name, _exact in {
    "lt": int.__lt__, "le": int.__le__, "gt": int.__gt__, "ge": int.__ge__, "eq": int.__eq__, "ne": int.__ne__,
}.items():  # fmt: skip
    setattr(Num, f"__{_name}__", _comparison(_exact))


def _unary(exact: Callable[[int], int]) -> Callable[[Any], Num]:
    return lambda value: _made(exact(value.value), [exact(each) for each in value.ends], value)


setattr(Num, "__neg__", _unary(lambda a: -a))  # noqa: B010
setattr(Num, "__invert__", _unary(lambda a: ~a))  # noqa: B010
setattr(Num, "__pos__", _unary(lambda a: a))  # noqa: B010


def _abs(value: Any) -> Any:
    if not isinstance(value, Num) or value.kind[0] != "s":
        return value
    return Num(abs(value.value), "s64")  # the negative of a variable as large as that is not exact


def _kind(value: Any) -> str:
    """The type that a value counts as: of the results of operations one of three, and of constants the narrowest."""
    if isinstance(value, Num):
        return "u63" if value.kind == "u64" and value.ends[1] < 1 << 63 else value.kind
    return next(kind for kind in _KINDS if _range_of(kind)[0] <= value <= _range_of(kind)[1])


def _unannotated(value: Any) -> Any:
    """What a variable without annotation keeps."""
    return Num(value.value, _kind(value)) if isinstance(value, Num) else value


def _int(value: Any) -> Any:
    return (Num(value.value, "u8") if value.kind == "bool" else value) if isinstance(value, Num) else int(value)


def _keep(kind: str) -> Callable[[Any], Num]:
    return lambda value: Num(parts(value)[0], kind)


def _range(*ends: Any) -> list[Num]:
    """The numbers of a range, in the narrowest type that holds both ends."""
    first, last = (0, ends[0]) if len(ends) == 1 else ends[:2]
    kind = _join(_kind(first), _kind(last))
    return [Num(each, kind) for each in range(*(parts(each)[0] for each in ends))]


def _join(one: str, other: str) -> str:
    """The narrowest type that holds the values of both."""
    ranges = [_range_of(each) for each in (one, other)]
    low, high = min(each[0] for each in ranges), max(each[1] for each in ranges)
    return next(kind for kind in _KINDS if _range_of(kind)[0] <= low and high <= _range_of(kind)[1])


class _Typed(ast.NodeTransformer):
    """Converts what is assigned to annotated names; ``not`` gives a number."""

    def __init__(self) -> None:
        self.kinds: dict[str, str] = {}
        self.said = ""

    @staticmethod
    def _params(node: ast.FunctionDef) -> list[ast.arg]:
        return [*node.args.args, *node.args.kwonlyargs]

    def _call(self, kind: str, value: ast.expr) -> ast.expr:
        return ast.Call(ast.Name(kind, ast.Load()), [value], [])

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.kinds = {each.arg: ast.unparse(each.annotation) for each in self._params(node) if each.annotation}
        for each in ast.walk(node):
            if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
                self.kinds[each.target.id] = ast.unparse(each.annotation)
        self.said = ast.unparse(node.returns) if node.returns else ""
        self.generic_visit(node)
        node.returns = None
        node.body[:0] = [
            ast.Assign([ast.Name(name, ast.Store())], self._call(self.kinds[name], ast.Name(name, ast.Load())))
            for name in (each.arg for each in self._params(node) if each.arg in self.kinds)
        ]
        for each in self._params(node):
            each.annotation = None
        return node

    def _kept(self, name: str, value: ast.expr) -> ast.expr:
        """What an assignment to an annotated name keeps: a number of its type, or the name's own memory, changed."""
        kind = self.kinds[name]
        if kind in KINDS:
            return self._call(kind, value)
        return ast.Call(ast.Name("changed", ast.Load()), [ast.Constant(kind), ast.Name(name, ast.Load()), value], [])

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        self.generic_visit(node)
        kind = ast.unparse(node.annotation)
        if kind in KINDS:
            assert node.value is not None
            return ast.Assign([node.target], self._call(kind, node.value))
        args = [ast.Constant(kind), *([node.value] if node.value else [])]
        return ast.Assign([node.target], ast.Call(ast.Name("declared", ast.Load()), args, []))

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        self.generic_visit(node)
        target = node.targets[0]
        if isinstance(target, ast.Name) and target.id in self.kinds:
            node.value = self._kept(target.id, node.value)
        elif isinstance(target, ast.Name):
            node.value = self._call("unannotated", node.value)
        elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            names = [each.id for each in target.elts if isinstance(each, ast.Name)]
            node.value.elts = [self._kept(name, each) for name, each in zip(names, node.value.elts)]
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.target, ast.Name):
            return node
        value = ast.BinOp(ast.Name(node.target.id, ast.Load()), node.op, node.value)
        return ast.Assign([node.target], self._call(self.kinds[node.target.id], value))

    def visit_Return(self, node: ast.Return) -> ast.AST:
        self.generic_visit(node)
        if self.said and node.value:
            node.value = self._call(self.said, node.value)
        return node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        return self._call("bool", ast.UnaryOp(ast.Not(), node.operand)) if isinstance(node.op, ast.Not) else node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        return self._call("bool", node)


def evaluate(text: str, memory: Mapping[str, Any] = MappingProxyType({})) -> Callable[..., int]:
    """The function ``probe`` of a module's text, as the model runs it: integers in, 64 bits out.

    :param memory: names of structs and maps, see :class:`tests.lang.model_memory.Memory`.
    """
    tree = ast.fix_missing_locations(_Typed().visit(ast.parse(text)))
    names: dict[str, Any] = {kind: _keep(kind) for kind in KINDS}
    names.update(int=_int, abs=_abs, range=_range, unannotated=_unannotated, **memory)
    exec(compile(tree, "<model>", "exec"), names)
    return lambda *args: parts(names["probe"](*args))[0] & _MASK
