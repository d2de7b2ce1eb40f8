"""The rules of docs/language.md for integers, a second time: Python runs the text of a probe on numbers with types.

Assignments, parameters and results of annotated names are converted; everything else is operators of :class:`Num`.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from tests.lang.generate import KINDS

__all__ = ["Num", "evaluate", "parts"]

_MASK = (1 << 64) - 1


def _wrap(value: int, kind: str) -> int:
    if kind == "bool":
        return int(bool(value))
    bits = int(kind[1:])
    value &= (1 << bits) - 1
    return value - (1 << bits) if kind[0] == "s" and value >> (bits - 1) else value


class Num:
    """An integer of run time."""

    def __init__(self, value: int, kind: str) -> None:
        self.value = _wrap(value, kind)
        self.kind = kind

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
        return value.value, value.kind[0] == "s", value.kind == "u64"
    return int(value), value < 0, value >= 1 << 63


def _arithmetic(op: str, exact: Callable[[int, int], int]) -> Callable[[Any, Any], Num]:
    def compute(left: Any, right: Any) -> Num:
        (a, a_signed, a_wide), (b, b_signed, b_wide) = parts(left), parts(right)
        kinds = {getattr(each, "kind", "") for each in (left, right)}
        if op in "&|^" and kinds == {"bool"}:
            return Num(exact(a, b), "bool")
        signed = not (a_wide or b_wide) and (a_signed or b_signed or op == "-")
        return Num(exact(a, b), "s64" if signed else "u64")

    return compute


def _division(exact: Callable[[int, int], int], of_zero: Callable[[int], int]) -> Callable[[Any, Any], Num]:
    def compute(left: Any, right: Any) -> Num:
        (a, a_signed, a_wide), (b, b_signed, b_wide) = parts(left), parts(right)
        signed = a_signed or b_signed
        assert not (signed and (a_wide or b_wide))
        return Num(exact(a, b) if b else of_zero(a), "s64" if signed else "u64")

    return compute


def _shift(exact: Callable[[int, int], int]) -> Callable[[Any, Any], Num]:
    def compute(left: Any, right: Any) -> Num:
        value, signed, _ = parts(left)
        return Num(exact(value, parts(right)[0] & 63), "s64" if signed else "u64")

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
    "floordiv": _division(lambda a, b: a // b, lambda a: 0),
    "mod": _division(lambda a, b: a % b, lambda a: a),
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
    return lambda value: Num(exact(value.value), "u64" if value.kind == "u64" else "s64")


setattr(Num, "__neg__", _unary(lambda a: -a))  # noqa: B010
setattr(Num, "__invert__", _unary(lambda a: ~a))  # noqa: B010
setattr(Num, "__pos__", lambda self: Num(self.value, "s64" if self.kind[0] == "s" else "u64"))  # noqa: B010


def _abs(value: Any) -> Any:
    if not isinstance(value, Num) or value.kind[0] != "s":
        return value
    return value if value.value >= 0 else -value


def _int(value: Any) -> Any:
    return Num(value.value, "u8" if value.kind == "bool" else value.kind) if isinstance(value, Num) else int(value)


def _keep(kind: str) -> Callable[[Any], Num]:
    return lambda value: Num(parts(value)[0], kind)


def _range(*ends: Any) -> list[Num]:
    """The numbers of a range, in the narrowest type that holds both ends."""
    first, last = (0, ends[0]) if len(ends) == 1 else ends[:2]
    kinds = [each.kind if isinstance(each, Num) else _narrowest(each) for each in (first, last)]
    kind = _join(*kinds)
    return [Num(each, kind) for each in range(*(parts(each)[0] for each in ends))]


def _narrowest(value: int) -> str:
    low = next(bits for bits in (8, 16, 32, 64) if -(1 << (bits - 1)) <= value < 1 << (bits - (value < 0)))
    return f"{'s' if value < 0 else 'u'}{low}"


def _join(one: str, other: str) -> str:
    """The narrowest type that holds the values of both."""
    for kind in ("u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64"):
        if all(_fits(each, kind) for each in (one, other)):
            return kind
    raise AssertionError(f"no type holds {one} and {other}")


def _fits(one: str, other: str) -> bool:
    return all(_wrap(value, other) == value for bits in [int(one[1:])] for value in (
        (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if one[0] == "s" else (0, (1 << bits) - 1)))  # fmt: skip


class _Typed(ast.NodeTransformer):
    """Converts what is assigned to annotated names; ``not`` gives a number."""

    def __init__(self) -> None:
        self.kinds: dict[str, str] = {}

    def _call(self, kind: str, value: ast.expr) -> ast.expr:
        return ast.Call(ast.Name(kind, ast.Load()), [value], [])

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.kinds = {each.arg: ast.unparse(each.annotation) for each in node.args.args if each.annotation}
        for each in ast.walk(node):
            if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
                self.kinds[each.target.id] = ast.unparse(each.annotation)
        self.generic_visit(node)
        node.body[:0] = [
            ast.Assign([ast.Name(name, ast.Store())], self._call(self.kinds[name], ast.Name(name, ast.Load())))
            for name in (each.arg for each in node.args.args if each.arg in self.kinds)
        ]
        for each in node.args.args:
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
    names.update(int=_int, abs=_abs, range=_range, **memory)
    exec(compile(tree, "<model>", "exec"), names)
    return lambda *args: parts(names["probe"](*args))[0] & _MASK
