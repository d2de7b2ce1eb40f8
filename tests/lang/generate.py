"""Random functions of the DSL, as source text: integers of every type, expressions, statements, loops, calls.

What a function gives must be what :mod:`tests.lang.model` computes. Where the type of a value depends on the way that
is taken (conditional expressions, variables without annotation), both ways are converted to one type, because the
model runs the function and so sees one way only.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

__all__ = ["KINDS", "Generator", "arguments", "function_text"]

KINDS = ("u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64", "bool")
_WIDTH = {kind: 1 if kind == "bool" else int(kind[1:]) for kind in KINDS}
_INTERESTING = (
    0, 1, 2, 3, 5, 7, 8, 10, 31, 63, 64, 100, 127, 128, 255, 256, 1000, 32767, 32768, 65535, 65536, (1 << 31) - 1,
    1 << 31, (1 << 32) - 1, 1 << 32, (1 << 40) + 7, (1 << 63) - 1,
)  # fmt: skip


def arguments(rng: random.Random, kinds: list[str]) -> list[int]:
    """Values for parameters of these types."""
    values = []
    for kind in kinds:
        bits, signed = _WIDTH[kind], kind.startswith("s")
        value = rng.choice(_INTERESTING) if rng.random() < 0.7 else rng.getrandbits(64)
        value = (-value if rng.random() < 0.4 else value) % (1 << bits)
        values.append(value - (1 << bits) if signed and value >> (bits - 1) else value)
    return values


class Generator:
    """Writes one random module: the function ``probe`` and what it calls.

    :ivar params: types of the parameters of ``probe``.
    """

    def __init__(self, seed: int, size: int = 12, loops: bool = True) -> None:
        self.rng = random.Random(seed)
        self._budget = size
        self._loops = loops
        self._number = 0
        self.params: list[str] = []
        self._helpers: list[tuple[str, list[str], str]] = []
        self._variables: dict[str, str] = {}
        self._counters: list[str] = []
        self._in_loop = 0
        self._statements: list[Callable[[int], list[str]]] = [
            self._assign, self._assign, self._declare, self._declare, self._augment, self._if, self._if,
            self._mixed, self._unpack,
        ]  # fmt: skip
        functions = [self._function(f"helper{number}") for number in range(self.rng.randrange(3))]
        if loops:  # not in helpers, which loops may call: the verifier walks through every iteration
            self._statements += [self._for, self._while]
        self._budget = size
        functions.append(self._function("probe"))
        self.text = "\n\n".join(functions) + "\n"

    # text

    def _function(self, name: str) -> str:
        self._variables, self._counters = {}, []
        kinds = [self.rng.choice(KINDS) for _ in range(self.rng.randrange(1, 4))]
        params = [f"p{number}" for number in range(len(kinds))]
        self._variables.update(zip(params, kinds))
        result = self.rng.choice(KINDS[:-1])
        self._result = result
        texts = [f"{param}: {kind}" for param, kind in zip(params, kinds)]
        if name == "probe":
            self.params = kinds
        elif self.rng.random() < 0.4:
            texts[-1] += f" = {self._fitting(kinds[-1])}"
        body = self._body(0)
        lines = [f"def {name}({', '.join(texts)}):", *(f"    {line}" for line in body)]
        lines.append(f"    return {self._converted(result, 2)}")
        if name != "probe":
            self._helpers.append((name, kinds, result))
            self._budget = 5
        return "\n".join(lines)

    def _body(self, depth: int) -> list[str]:
        """Statements; the variables that they make are gone afterwards, since a way may have left them out."""
        before = dict(self._variables)
        lines: list[str] = []
        for _ in range(self.rng.randrange(1, 5)):
            if self._budget <= 0:
                break
            self._budget -= 1
            lines += self.rng.choice(self._statements)(depth)
        if depth and self.rng.random() < 0.15:
            lines.append(f"return {self._converted(self._result, 1)}")
        elif self._in_loop and self.rng.random() < 0.2:
            lines.append(self.rng.choice(["break", "continue"]))
        if depth:
            self._variables = before
        return lines or ["pass"]

    def _new(self) -> str:
        self._number += 1
        return f"v{self._number}"

    # statements

    def _declare(self, depth: int) -> list[str]:
        name, kind = self._new(), self.rng.choice(KINDS)
        line = f"{name}: {kind} = {self._value(kind)}"
        self._variables[name] = kind
        return [line]

    def _value(self, kind: str) -> str:
        """What may be assigned to an annotated variable: a constant must fit."""
        return self._fitting(kind) if self.rng.random() < 0.2 else self._running(3)

    def _assignable(self) -> list[str]:
        return [name for name in self._variables if name not in self._counters]

    def _assign(self, depth: int) -> list[str]:
        names = self._assignable()
        if not names:
            return self._declare(depth)
        name = self.rng.choice(names)
        return [f"{name} = {self._value(self._variables[name])}"]

    def _augment(self, depth: int) -> list[str]:
        names = self._assignable()
        if not names:
            return self._declare(depth)
        name, op = self.rng.choice(names), self.rng.choice(["+", "-", "*", "&", "|", "^"])
        return [f"{name} {op}= {self._expression(2)}"]

    def _mixed(self, depth: int) -> list[str]:
        """A variable without annotation that is assigned once."""
        name = self._new()
        line = f"{name} = {self._running(3)}"
        self._variables[name] = ""
        self._counters.append(name)
        return [line]

    def _unpack(self, depth: int) -> list[str]:
        names = self._assignable()
        if len(names) < 2:
            return self._declare(depth)
        one, two = self.rng.sample(names, 2)
        return [f"{one}, {two} = {self._running(1)}, {self._running(1)}"]

    def _if(self, depth: int) -> list[str]:
        if depth >= 3:
            return self._assign(depth)
        lines = [f"if {self._condition(2)}:", *self._indented(depth)]
        if self.rng.random() < 0.3:
            lines += [f"elif {self._condition(1)}:", *self._indented(depth)]
        if self.rng.random() < 0.6:
            lines += ["else:", *self._indented(depth)]
        return lines

    def _indented(self, depth: int) -> list[str]:
        return [f"    {line}" for line in self._body(depth + 1)]

    def _for(self, depth: int) -> list[str]:
        if depth >= 2:
            return self._assign(depth)
        name = self._new()
        if self.rng.random() < 0.5:
            ends = self.rng.choice(["3", "2, 6", "5, 0, -2", "-3, 3", *([] if depth else ["20", "0, 50, 7"])])
        else:
            ends = f"u64({self._running(1)}) & {3 if depth else self.rng.choice([3, 7, 15])}"
        before = dict(self._variables)
        self._variables[name] = ""
        self._counters.append(name)
        self._in_loop += 1
        lines = [f"for {name} in range({ends}):", *self._indented(depth)]
        self._in_loop -= 1
        self._variables = before
        if self.rng.random() < 0.3:
            lines += ["else:", *self._indented(depth)]
        return lines

    def _while(self, depth: int) -> list[str]:
        if depth >= 2:
            return self._assign(depth)
        name = self._new()
        self._variables[name] = "u32"
        self._counters.append(name)
        self._in_loop += 1
        end = 3 if depth else self.rng.choice([3, 9, 17])
        lines = [f"{name}: u32 = 0", f"while {name} < {end}:", f"    {name} += 1"]
        lines += self._indented(depth)
        self._in_loop -= 1
        return lines

    # expressions

    def _fitting(self, kind: str) -> str:
        bits = _WIDTH[kind]
        if kind == "bool":
            return self.rng.choice(["True", "False"])
        low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if kind[0] == "s" else (0, (1 << bits) - 1)
        return str(self.rng.choice([each for each in (*_INTERESTING, -1, -7, low, high) if low <= each <= high]))

    def _literal(self) -> str:
        value = self.rng.choice(_INTERESTING)
        return str(-value if self.rng.random() < 0.2 else value)

    def _atom(self) -> str:
        """A value of run time."""
        if self._variables and self.rng.random() < 0.9:
            return self.rng.choice(list(self._variables))
        kind = self.rng.choice(KINDS[:-1])
        return f"{kind}({self._literal()})"

    def _converted(self, kind: str, depth: int) -> str:
        return f"{kind}({self._running(depth) if kind == 'bool' else self._expression(depth)})"

    def _expression(self, depth: int) -> str:
        return self._literal() if self.rng.random() < 0.2 else self._running(depth)

    def _running(self, depth: int) -> str:
        """An expression of which some part is known at run time only."""
        if depth <= 0:
            return self._atom()
        pick = self.rng.random()
        for limit, make in (
            (0.40, self._binary), (0.50, self._divided), (0.58, self._shifted), (0.66, self._unary),
            (0.74, self._chosen), (0.82, self._condition), (0.88, self._called), (0.94, self._conversion),
        ):  # fmt: skip
            if pick < limit:
                return make(depth - 1)
        return self._atom()

    def _binary(self, depth: int) -> str:
        op = self.rng.choice(["+", "-", "*", "&", "|", "^"])
        sides = [self._running(depth), self._expression(depth)]
        self.rng.shuffle(sides)
        return f"({sides[0]} {op} {sides[1]})"

    def _divided(self, depth: int) -> str:
        signed = self.rng.random() < 0.6
        kinds = ["s8", "s32", "s64", "u16", "u32"] if signed else ["u8", "u32", "u64"]
        divisor = self._converted(self.rng.choice(kinds), depth)
        if self.rng.random() < 0.5:
            divisor = str(self.rng.choice([1, 2, 3, 7, 8, 10, 1000, *([-1, -2, -3, -8, -1000] if signed else [])]))
        return f"({self._converted(self.rng.choice(kinds), depth)} {self.rng.choice(['//', '%'])} {divisor})"

    def _shifted(self, depth: int) -> str:
        count = str(self.rng.randrange(64)) if self.rng.random() < 0.7 else self._converted("u8", depth)
        return f"({self._running(depth)} {self.rng.choice(['<<', '>>'])} {count})"

    def _unary(self, depth: int) -> str:
        return f"{self.rng.choice(['-', '~', '+', 'abs'])}({self._running(depth)})"

    def _conversion(self, depth: int) -> str:
        kind = self.rng.choice((*KINDS, "int"))
        return f"int({self._running(depth)})" if kind == "int" else self._converted(kind, depth)

    def _chosen(self, depth: int) -> str:
        kind = self.rng.choice(KINDS)
        one, two = self._converted(kind, depth), self._converted(kind, depth)
        return self.rng.choice([
            f"({one} if {self._condition(depth)} else {two})", f"({one} and {two})", f"({one} or {two})",
            f"min({one}, {two})", f"max({one}, {two})",
        ])  # fmt: skip

    def _condition(self, depth: int) -> str:
        def comparison() -> str:
            op = self.rng.choice(["<", "<=", ">", ">=", "==", "!="])
            left, right = self._running(max(0, depth)), self._expression(max(0, depth))
            if self.rng.random() < 0.15:
                return f"({left} {op} {right} {self.rng.choice(['<', '>='])} {self._running(0)})"
            if self.rng.random() < 0.1:
                return f"({left} {self.rng.choice(['in', 'not in'])} (1, {self._literal()}, {self._running(0)}))"
            return f"({left} {op} {right})"

        pick = self.rng.random()
        if pick < 0.6 or depth <= 0:
            return comparison()
        if pick < 0.75:
            return f"(not {self._condition(depth - 1)})"
        return f"({self._condition(depth - 1)} {self.rng.choice(['and', 'or'])} {self._condition(depth - 1)})"

    def _called(self, depth: int) -> str:
        if not self._helpers:
            return self._atom()
        name, kinds, _ = self.rng.choice(self._helpers)
        return f"{name}({', '.join(self._converted(kind, min(depth, 1)) for kind in kinds)})"


def function_text(seed: int, size: int = 12, loops: bool = True) -> tuple[str, list[str]]:
    """The text of a module that defines ``probe``, and the types of the parameters of that."""
    made = Generator(seed, size, loops)
    return made.text, made.params


def cases(first: int, count: int) -> Iterator[tuple[int, str, list[str]]]:
    """Seeds and what they give."""
    for seed in range(first, first + count):
        yield (seed, *function_text(seed))
