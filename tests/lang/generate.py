"""Random functions of the DSL, as source text: integers of every type, expressions, statements, loops, calls.

What a function gives must be what :mod:`tests.lang.model` computes. Where the type of a value depends on the way that
is taken (conditional expressions, variables without annotation), both ways are converted to one type, because the
model runs the function and so sees one way only.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from tests.lang.generate_names import Names
from tests.lang.world import Inner

__all__ = ["KINDS", "Generator", "arguments", "function_text"]

KINDS = ("u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64", "bool")
_WIDTH = {kind: 1 if kind == "bool" else int(kind[1:]) for kind in KINDS}
_INTERESTING = (
    0, 1, 2, 3, 5, 7, 8, 10, 31, 63, 64, 100, 127, 128, 255, 256, 1000, 32767, 32768, 65535, 65536, (1 << 31) - 1,
    1 << 31, (1 << 32) - 1, 1 << 32, (1 << 40) + 7, (1 << 63) - 1,
)  # fmt: skip

#: turns of loops in each other that the model has the time for
_TURNS = 4_000


def arguments(rng: random.Random, kinds: list[str]) -> list[int]:
    """Values for parameters of these types."""
    values = []
    for kind in kinds:
        bits, signed = _WIDTH[kind], kind.startswith("s")
        value = rng.choice(_INTERESTING) if rng.random() < 0.7 else rng.getrandbits(64)
        value = (-value if rng.random() < 0.4 else value) % (1 << bits)
        values.append(value - (1 << bits) if signed and value >> (bits - 1) else value)
    return values


class Helper:
    """A function that expressions call.

    :ivar kinds: types of its parameters, ``p0``, ``p1``, ...
    :ivar defaults: how many of them, the last ones, have a default.
    :ivar named: how many, the last ones, are given by their names only.
    :ivar nothing: whether it gives None.
    :ivar maybe: whether it gives None on some ways.
    """

    def __init__(self, name: str, kinds: list[str]) -> None:
        self.name = name
        self.kinds = kinds
        self.defaults = self.named = 0
        self.nothing = self.maybe = False


class Generator:
    """Writes one random module: the function ``probe`` and what it calls.

    :param memory: whether it has structs, arrays, text and maps, those of :mod:`tests.lang.world`.
    :param long: whether loops are long and in each other, as far as the model has the time.
    :ivar params: types of the parameters of ``probe``.
    :ivar constants: variables that are not to be assigned.
    :ivar outside: parameters of ``probe``, whose values are never known while compiling.
    """

    def __init__(self, seed: int, size: int = 12, loops: bool = True, memory: bool = False, long: bool = False) -> None:
        self._long = long
        self._turns = 1
        self.rng = random.Random(seed)
        self._memory = Names(self) if memory else None
        self._budget = size
        self._loops = loops
        self._number = 0
        self.params: list[str] = []
        self._changing: list[str] = []
        self._helpers: list[Helper] = []
        self._variables: dict[str, str] = {}
        self.constants: list[str] = []
        self.outside: list[str] = []
        self._in_loop = 0
        #: of the function that is written: it says the type of its result, gives nothing, or nothing on some ways
        self._said = self._nothing = self._maybe = False
        self._statements: list[Callable[[int], list[str]]] = [
            self._assign, self._assign, self._declare, self._declare, self._augment, self._if, self._if,
            self._mixed, self._unpack, self._called_alone,
        ]  # fmt: skip
        if self._memory:
            self._statements += [*self._memory.statements, *self._memory.statements]
        functions = [self._function(f"helper{number}") for number in range(self.rng.randrange(3))]
        if loops:  # not in helpers, which loops may call: the verifier walks through every iteration
            self._statements += [self._for, self._while]
        if self._memory:  # maps are not for helpers either: an expression may call one twice
            functions += [self._function("change")] if self.rng.random() < 0.5 else []
            self._statements += [*self._memory.of_maps, self._change]
        self._budget = size
        functions.append(self._function("probe"))
        self.text = "\n\n".join(functions) + "\n"

    # text

    def _function(self, name: str) -> str:
        self._variables, self.constants = {}, []
        kinds = [self.rng.choice(KINDS) for _ in range(self.rng.randrange(1, 4))]
        params = [f"p{number}" for number in range(len(kinds))]
        self._variables.update(zip(params, kinds))
        result = self.rng.choice(KINDS[:-1])
        self._result = result
        texts = [f"{param}: {kind}" for param, kind in zip(params, kinds)]
        if self._memory:
            self._memory.begin({"place": Inner} if name == "change" else {}, maps=name == "probe")
        helper = Helper(name, kinds)
        if name == "probe":
            self.params, self.outside = kinds, params
            self.constants = list(params) if self._memory else []
        elif name == "change":
            texts.insert(0, "place")
        else:
            self._signature(helper, texts)
        body = self._body(0) if name != "probe" else [*self._body(0), *self._called_twice()]
        said = f" -> {result}" if self._said else ""
        lines = [f"def {name}({', '.join(texts)}){said}:", *(f"    {line}" for line in body)]
        last = self._returned(2)
        lines += [f"    {last}"] if last != "return" or len(lines) == 1 else []
        self._said = self._nothing = self._maybe = False
        if name == "change":
            self._changing = kinds
        elif name != "probe":
            self._helpers.append(helper)
            self._budget = 5
        return "\n".join(lines)

    def _signature(self, helper: Helper, texts: list[str]) -> None:
        """Defaults, parameters that only have names, or no types, and what the function says of its result."""
        pick, last = self.rng.random(), len(texts) - 1
        if pick < 0.4:
            texts[last] += f" = {self._fitting(helper.kinds[last])}"
            helper.defaults = 1
        elif pick < 0.6:  # what is passed has that type
            texts[0] = texts[0].partition(":")[0]
            self.constants = [texts[0]]
        if self.rng.random() < 0.3:
            helper.named = self.rng.randrange(len(texts))
            texts.insert(len(texts) - helper.named, "*") if helper.named else None
        pick = self.rng.random()
        self._said, self._nothing, self._maybe = pick < 0.25, 0.25 < pick < 0.35, 0.35 < pick < 0.5
        helper.nothing, helper.maybe = self._nothing, self._maybe

    def _returned(self, depth: int) -> str:
        """What ends the function."""
        if self._nothing or (self._maybe and depth < 2):
            return self.rng.choice(["return", "return None"])
        if self._said:
            return f"return {self.running(depth)}"
        return f"return {self._converted(self._result, depth)}"

    def _body(self, depth: int) -> list[str]:
        """Statements; the variables that they make are gone afterwards, since a way may have left them out."""
        with self.scope() if depth else nullcontext():
            return self._statements_of(depth)

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Names that are made inside are gone afterwards."""
        before = dict(self._variables)
        with self._memory.scope() if self._memory else nullcontext():
            yield
        self._variables = before

    def _statements_of(self, depth: int) -> list[str]:
        lines: list[str] = []
        short = self._in_loop and self._memory  # the verifier walks through every turn, and every way in it
        for _ in range(1 if short else self.rng.randrange(1, 5)):
            if self._budget <= 0:
                break
            self._budget -= 1
            lines += self.rng.choice(self._statements)(depth)
        if depth and self.rng.random() < 0.15:
            lines.append(self._returned(1))
        elif self._in_loop and self.rng.random() < 0.2:
            lines.append(self.rng.choice(["break", "continue"]))
        return lines or ["pass"]

    def new(self) -> str:
        """The name of another variable."""
        self._number += 1
        return f"v{self._number}"

    def bind(self, name: str) -> None:
        """There is a variable that is not to be assigned."""
        self._variables[name] = ""
        self.constants.append(name)

    # statements

    def _declare(self, depth: int) -> list[str]:
        name, kind = self.new(), self.rng.choice(KINDS)
        line = f"{name}: {kind} = {self.value(kind)}"
        self._variables[name] = kind
        return [line]

    def value(self, kind: str) -> str:
        """What may be assigned to an annotated variable: a constant must fit."""
        return self._fitting(kind) if self.rng.random() < 0.2 else self.running(3)

    def _assignable(self) -> list[str]:
        return [name for name in self._variables if name not in self.constants]

    def _assign(self, depth: int) -> list[str]:
        names = self._assignable()
        if not names:
            return self._declare(depth)
        name = self.rng.choice(names)
        return [f"{name} = {self.value(self._variables[name])}"]

    def _augment(self, depth: int) -> list[str]:
        names = self._assignable()
        if not names:
            return self._declare(depth)
        name, op = self.rng.choice(names), self.rng.choice(["+", "-", "*", "&", "|", "^"])
        return [f"{name} {op}= {self.expression(2)}"]

    def _mixed(self, depth: int) -> list[str]:
        """A variable without annotation that is assigned once."""
        name = self.new()
        line = f"{name} = {self.running(3)}"
        self.bind(name)
        return [line]

    def _unpack(self, depth: int) -> list[str]:
        names = self._assignable()
        if len(names) < 2:
            return self._declare(depth)
        one, two = self.rng.sample(names, 2)
        return [f"{one}, {two} = {self.running(1)}, {self.running(1)}"]

    def _if(self, depth: int) -> list[str]:
        if depth >= 3:
            return self._assign(depth)
        lines = [f"if {self.condition(2)}:", *self.indented(depth)]
        if self.rng.random() < 0.3:
            lines += [f"elif {self.condition(1)}:", *self.indented(depth)]
        if self.rng.random() < 0.6:
            lines += ["else:", *self.indented(depth)]
        return lines

    def indented(self, depth: int) -> list[str]:
        return [f"    {line}" for line in self._body(depth + 1)]

    @property
    def looping(self) -> bool:
        """Whether the verifier would have to walk too far through one more loop."""
        if self._long:
            return self._turns > _TURNS // 3
        return self._in_loop >= (1 if self._memory else 2)  # counting those whose end is not constant twice

    @contextmanager
    def loop(self, weight: int = 1, turns: int = 3) -> Iterator[None]:
        """The body of a loop is written."""
        before = self._turns
        self._turns *= turns
        self._in_loop += weight
        with self.scope():
            yield
        self._in_loop -= weight
        self._turns = before

    def _number_of_turns(self) -> int:
        """Of a long loop."""
        return self.rng.choice([each for each in (3, 7, 12, 31, 63, 100, 255, 600) if each * self._turns <= _TURNS])

    def _long_for(self, depth: int) -> list[str]:
        name, turns = self.new(), self._number_of_turns()
        constant = self.rng.random() < 0.6
        ends = self.rng.choice([f"{turns}", f"5, {5 + 3 * turns}, 3", f"{turns}, 0, -1"])
        if not constant:
            ends = f"u64({self.running(1)}) & {(1 << turns.bit_length()) // 2 - 1}"
        with self.loop(turns=turns):
            self.bind(name)
            lines = [f"for {name} in range({ends}):", *self.indented(depth)]
        if self.rng.random() < 0.3:
            lines += ["else:", *self.indented(depth)]
        return lines

    def _for(self, depth: int) -> list[str]:
        if depth >= (4 if self._long else 2) or self.looping:
            return self._assign(depth)
        if self._long:
            return self._long_for(depth)
        name = self.new()
        constant = self.rng.random() < 0.5 or self._in_loop > 0
        if constant:
            long = [] if depth or self._memory else ["20", "0, 50, 7"]
            ends = self.rng.choice(["3", "2, 6", "5, 0, -2", "-3, 3", *long])
        else:
            most = [1] if self._memory else [3] if depth else [3, 7, 15]
            ends = f"u64({self.running(1)}) & {self.rng.choice(most)}"
        with self.loop(1 if constant else 2):
            self.bind(name)
            lines = [f"for {name} in range({ends}):", *self.indented(depth)]
        if self.rng.random() < 0.3:
            lines += ["else:", *self.indented(depth)]
        return lines

    def _while(self, depth: int) -> list[str]:
        if depth >= 2 or self.looping:
            return self._assign(depth)
        name = self.new()
        self._variables[name] = "u32"
        self.constants.append(name)
        end = 2 if self._memory else 3 if depth else self.rng.choice([3, 9, 17])
        if self._long:
            end = self._number_of_turns()
        lines = [f"{name}: u32 = 0", f"while {name} < {end}:", f"    {name} += 1"]
        with self.loop(2, end):
            lines += self.indented(depth)
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
        found = self._memory.integer() if self._memory and self.rng.random() < 0.5 else None
        if found:
            return found
        if self._variables and self.rng.random() < 0.9:
            return self.rng.choice(list(self._variables))
        kind = self.rng.choice(KINDS[:-1])
        return f"{kind}({self._literal()})"

    def _converted(self, kind: str, depth: int) -> str:
        return f"{kind}({self.running(depth) if kind == 'bool' else self.expression(depth)})"

    def expression(self, depth: int) -> str:
        return self._literal() if self.rng.random() < 0.2 else self.running(depth)

    def running(self, depth: int) -> str:
        """An expression of which some part is known at run time only."""
        if depth <= 0:
            return self._atom()
        pick = self.rng.random()
        for limit, make in (
            (0.40, self._binary), (0.50, self._divided), (0.58, self._shifted), (0.66, self._unary),
            (0.74, self._chosen), (0.82, self.condition), (0.88, self._called), (0.94, self._conversion),
        ):  # fmt: skip
            if pick < limit:
                return make(depth - 1)
        return self._atom()

    def _binary(self, depth: int) -> str:
        op = self.rng.choice(["+", "-", "*", "&", "|", "^"])
        sides = [self.running(depth), self.expression(depth)]
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
        return f"({self.running(depth)} {self.rng.choice(['<<', '>>'])} {count})"

    def _unary(self, depth: int) -> str:
        return f"{self.rng.choice(['-', '~', '+', 'abs'])}({self.running(depth)})"

    def _conversion(self, depth: int) -> str:
        kind = self.rng.choice((*KINDS, "int"))
        return f"int({self.running(depth)})" if kind == "int" else self._converted(kind, depth)

    def _chosen(self, depth: int) -> str:
        kind = self.rng.choice(KINDS)
        one, two = self._converted(kind, depth), self._converted(kind, depth)
        return self.rng.choice([
            f"({one} if {self.condition(depth)} else {two})", f"({one} and {two})", f"({one} or {two})",
            f"min({one}, {two})", f"max({one}, {two})",
        ])  # fmt: skip

    def condition(self, depth: int) -> str:
        def comparison() -> str:
            op = self.rng.choice(["<", "<=", ">", ">=", "==", "!="])
            left, right = self.running(max(0, depth)), self.expression(max(0, depth))
            if self.rng.random() < 0.15:
                return f"({left} {op} {right} {self.rng.choice(['<', '>='])} {self.running(0)})"
            if self.rng.random() < 0.1:
                return f"({left} {self.rng.choice(['in', 'not in'])} (1, {self._literal()}, {self.running(0)}))"
            return f"({left} {op} {right})"

        pick = self.rng.random()
        if pick < 0.6 or depth <= 0:
            return comparison()
        if pick < 0.75:
            return f"(not {self.condition(depth - 1)})"
        return f"({self.condition(depth - 1)} {self.rng.choice(['and', 'or'])} {self.condition(depth - 1)})"

    def _change(self, depth: int) -> list[str]:
        """Call the function that changes the place it is given."""
        place = self._memory.struct("Inner") if self._memory and self._changing else None
        if place is None:
            return self._declare(depth)
        name, kind = self.new(), self.rng.choice(KINDS)
        args = ", ".join([place, *(self._converted(each, 1) for each in self._changing)])
        self._variables[name] = kind
        return [f"{name}: {kind} = change({args})"]

    def _called(self, depth: int) -> str:
        helpers = [each for each in self._helpers if not each.nothing and not each.maybe]
        if not helpers or (self._in_loop and self._memory):  # each way through one is followed in each turn
            return self._atom()
        return self._call(self.rng.choice(helpers), min(depth, 1))

    def _call(self, helper: Helper, depth: int) -> str:
        """A call, with some of the arguments by their names."""
        args = [self._converted(kind, depth) for kind in helper.kinds]
        by_name = max(helper.named, self.rng.choice([0, 0, 1, len(args)]))
        texts = [f"p{number}={arg}" for number, arg in enumerate(args)][len(args) - by_name :]
        if helper.defaults and self.rng.random() < 0.5:
            (texts if by_name else args).pop()
        plain = args[: len(helper.kinds) - by_name]
        self.rng.shuffle(texts)
        return f"{helper.name}({', '.join([*plain, *texts])})"

    def _called_twice(self) -> list[str]:
        """Calls as many as make a function one of eBPF, if it can be."""
        lines = []
        for helper in self._helpers if self.rng.random() < 0.5 else ():
            calls = [self._call(helper, 0), self._call(helper, 0)]
            if helper.nothing:
                lines += calls
            elif not helper.maybe:
                name = self.new()
                lines.append(f"{name}: u64 = {' ^ '.join(calls)}")
                self._variables[name] = "u64"
        return lines

    def _called_alone(self, depth: int) -> list[str]:
        """A call of a function that gives nothing, or nothing on some ways."""
        helpers = [each for each in self._helpers if each.nothing or each.maybe]
        if not helpers or (self._in_loop and self._memory):
            return self._declare(depth)
        helper, name, kind = self.rng.choice(helpers), self.new(), self.rng.choice(KINDS)
        call = self._call(helper, 1)
        if helper.nothing:
            return [call]
        found = self.new()
        self.bind(found)
        del self._variables[found]
        lines = [f"{found} = {call}"]
        other = self._converted(kind, 1)
        self._variables[name] = kind
        return [*lines, f"{name}: {kind} = {other} if {found} is None else {kind}({found})"]


def function_text(
    seed: int, size: int = 12, loops: bool = True, memory: bool = False, long: bool = False
) -> tuple[str, list[str]]:
    """The text of a module that defines ``probe``, and the types of the parameters of that."""
    made = Generator(seed, size, loops, memory, long)
    return made.text, made.params
