"""What random functions do with memory: local structs and arrays, places inside of them, text, every kind of map."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from pybpf.types import StructLayout, bool_, layout
from pybpf.types.layout import BoolLayout, BytesLayout, CharsLayout, IntLayout, TupleLayout
from tests.lang.world import ARRAYS, MAPS, STRUCTS

__all__ = ["INTEGER_TABLES", "STRUCT_TABLES", "Memory", "Writer", "is_integer", "is_text", "name_of"]

_TEXTS = ("", "a", "b", "ab", "ba", "/", "/ab", "abab", "ab/ab/ab", "abababababab")
#: how to write the keys of the hash tables: few different ones
_KEYS = {"hits": "u32({}) & 7", "signed": "s16({}) % 5 - 2", "outers": "u8({}) & 3"}
INTEGER_TABLES: tuple[str, ...] = ("hits", "signed", "words")
STRUCT_TABLES: tuple[str, ...] = ("outers", "pairs")


class Writer(Protocol):
    """What of a :class:`tests.lang.generate.Generator` is needed here."""

    rng: random.Random
    constants: list[str]
    outside: list[str]
    looping: bool

    def running(self, depth: int) -> str: ...
    def condition(self, depth: int) -> str: ...
    def expression(self, depth: int) -> str: ...
    def value(self, kind: str) -> str: ...
    def new(self) -> str: ...
    def bind(self, name: str) -> None: ...
    def indented(self, depth: int) -> list[str]: ...
    def scope(self) -> AbstractContextManager[None]: ...
    def loop(self, weight: int = 1) -> AbstractContextManager[None]: ...


def is_integer(kind: Any) -> bool:
    return isinstance(layout(kind), (IntLayout, BoolLayout))


def is_text(kind: Any) -> bool:
    return isinstance(layout(kind), CharsLayout)


def name_of(kind: Any) -> str:
    return "bool" if kind is bool_ else kind.__name__


class Memory:
    """Writes statements and expressions about memory.

    :ivar maps: whether the function that is written may use maps.
    """

    def __init__(self, writer: Writer) -> None:
        self._write = writer
        self._rng = writer.rng
        self.maps = False
        self._places: dict[str, Any] = {}
        self._owned: list[str] = []  # names of the function's own memory, that may be assigned as a whole
        self.statements: list[Callable[[int], list[str]]] = [
            self._declare, self._declare, self._set, self._set, self._set, self._augment, self._copy, self._text,
            self._name_place, self._iterate,
        ]  # fmt: skip
        self.of_maps: list[Callable[[int], list[str]]] = [
            self._set, self._augment, self._copy, self._text, self._store, self._delete, self._take, self._find,
            self._find, self._line, self._element,
        ]  # fmt: skip

    def begin(self, places: dict[str, Any], maps: bool) -> None:
        """Another function begins."""
        self._places, self._owned, self.maps = dict(places), [], maps
        if maps:
            self._places.update({"state.value": STRUCTS["Outer"], "boxes[0]": STRUCTS["Outer"],
                                 "boxes[2]": STRUCTS["Outer"]})  # fmt: skip

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Names that are made inside are gone afterwards."""
        before = dict(self._places), list(self._owned)
        yield
        self._places, self._owned = before

    # places

    def _index(self, length: int) -> str:
        pick, rng = self._rng.random(), self._rng
        if pick < 0.4:
            return str(rng.randrange(-length, length))
        if pick < 0.6 and self._write.outside:
            return rng.choice(self._write.outside)  # any number: outside there is nothing
        mask = (1 << length.bit_length() - 1) - 1
        number = self._write.running(1)
        return f"{number} & {mask}" if mask and pick < 0.8 else f"u32({number}) % {length}"

    def _walk(self, text: str, kind: Any, wanted: Callable[[Any], bool]) -> tuple[str, Any] | None:
        """A random part of a place, of a wanted kind."""
        while True:
            if wanted(kind) and (is_integer(kind) or self._rng.random() < 0.7):
                return text, kind
            found = layout(kind)
            if isinstance(found, StructLayout):
                field = self._rng.choice(list(found.fields.values()))
                text, kind = f"{text}.{field.name}", field.kind
            elif isinstance(found, (TupleLayout, BytesLayout)):
                text, kind = f"{text}[{self._index(kind.length)}]", kind.element
            else:
                return (text, kind) if wanted(kind) else None

    def _part(self, wanted: Callable[[Any], bool]) -> tuple[str, Any] | None:
        for _ in range(6 if self._places else 0):
            root = self._rng.choice(list(self._places))
            found = self._walk(root, self._places[root], wanted)
            if found:
                return found
        return None

    def _cell(self) -> tuple[str, Any]:
        """An integer of a map, to be read or written."""
        pick = self._rng.randrange(4)
        if pick == 0:
            return "total.value", MAPS["total"].spec.value
        if pick == 1:
            name = self._rng.choice(["cells", "flags"])
            spec = MAPS[name].spec
            inside = self._rng.randrange(spec.max_entries)
            index = self._rng.choice([str(inside), f"u32({self._write.running(1)}) & 7"])
            return f"{name}[{index}]", spec.value
        name = self._rng.choice(INTEGER_TABLES)
        return f"{name}[{self._key(name)}]", MAPS[name].spec.value

    def _key(self, name: str) -> str:
        if name == "words":
            return self.some_text()
        if name == "pairs":
            if self._rng.random() < 0.3:
                return "Inner(c=1)"
            return f"Inner(a={self._write.running(1)} & 1, b={self._write.running(0)} & 1)"
        return _KEYS[name].format(self._write.running(1))

    # expressions

    def integer(self) -> str | None:
        """An integer that is read from memory."""
        pick = self._rng.random()
        if pick < 0.12:
            return self._test()
        if self.maps and pick < 0.4:
            if pick < 0.2:
                name = self._rng.choice(INTEGER_TABLES)
                if pick < 0.16:
                    return f"({self._key(name)} in {name})"
                return f"{name}.get({self._key(name)}, {self._rng.randrange(100)})"
            return self._cell()[0]
        found = self._part(is_integer)
        return found and found[0]

    def struct(self, name: str) -> str | None:
        """A place that holds a struct."""
        found = self._part(lambda kind: kind is STRUCTS[name])
        return found and found[0]

    def _test(self) -> str | None:
        """A comparison of text or structs, or a length."""
        place = self._part(lambda kind: not is_integer(kind))
        if place is None:
            return None
        text, kind = place
        if not is_text(kind):
            other = self._part(lambda each: each is kind)
            if other is None or not isinstance(layout(kind), StructLayout):
                return None
            return f"({text} {self._rng.choice(['==', '!='])} {other[0]})"
        other_text, literal = self.some_text(), repr(self._rng.choice(_TEXTS))
        first = self._rng.randrange(8)
        return self._rng.choice([
            f"len({text})", f"bool({text})", f"({text} == {other_text})", f"({text} != {literal})",
            f"({literal} in {text})", f"bool({text}.startswith({literal}))", f"bool({text}.endswith({literal}))",
            f"({text}[{first}:{first + self._rng.randrange(1, 5)}] == {literal})",
        ])  # fmt: skip

    def some_text(self) -> str:
        """Text: constant, of a place, or one or the other."""
        if self._rng.random() < 0.15:
            either = self._some_text(), self._write.condition(1), self._some_text()
            return self._rng.choice(["({0} if {1} else {2})", "({0} or {2})"]).format(*either)
        return self._some_text()

    def _some_text(self) -> str:
        place = self._part(is_text) if self._rng.random() < 0.5 else None
        if place is None:
            return repr(self._rng.choice(_TEXTS))
        if self._rng.random() < 0.3:
            first = self._rng.randrange(6)
            return f"{place[0]}[{first}:{first + self._rng.randrange(1, 6)}]"
        return place[0]

    def _made(self, kind: Any) -> str:
        """A value of a type, made or copied."""
        if is_integer(kind):
            return self._write.value(name_of(kind))
        if is_text(kind):
            return self.some_text()
        if self._rng.random() < 0.4:
            place = self._part(lambda each: each is kind)
            if place:
                return place[0]
        found = layout(kind)
        if isinstance(found, StructLayout):
            return self.made_struct(kind)
        if isinstance(found, BytesLayout):
            return repr(bytes(self._rng.randrange(256) for _ in range(kind.length)))
        assert isinstance(found, TupleLayout)
        return f"[{', '.join(self._made(kind.element) for _ in range(kind.length))}]"

    def made_struct(self, kind: Any) -> str:
        """A struct, made anew."""
        found = layout(kind)
        assert isinstance(found, StructLayout)
        fields = [each for each in found.fields.values() if self._rng.random() < 0.4]
        return f"{kind.__name__}({', '.join(f'{each.name}={self._made(each.kind)}' for each in fields)})"

    # statements about places

    def _declare(self, depth: int) -> list[str]:
        name = self._write.new()
        if self._rng.random() < 0.3:
            text = self._rng.choice(list(ARRAYS))
            kind, value = ARRAYS[text], ""
        else:
            text = self._rng.choice(list(STRUCTS))
            kind = STRUCTS[text]
            value = f" = {self._made(kind)}"
        self._places[name] = kind
        self._owned.append(name)
        return [f"{name}: {text}{value}"]

    def _target(self) -> tuple[str, Any] | None:
        return self._cell() if self.maps and self._rng.random() < 0.3 else self._part(is_integer)

    def _set(self, depth: int) -> list[str]:
        place = self._target()
        return [f"{place[0]} = {self._write.value(name_of(place[1]))}"] if place else self._declare(depth)

    def _augment(self, depth: int) -> list[str]:
        place = self._target()
        op = self._rng.choice(["+", "+", "-", "*", "&", "|", "^"])
        return [f"{place[0]} {op}= {self._write.running(2)}"] if place else self._declare(depth)

    def _copy(self, depth: int) -> list[str]:
        if self._owned and self._rng.random() < 0.2:
            name = self._rng.choice(self._owned)
            if isinstance(layout(self._places[name]), StructLayout):
                return [f"{name} = {self._made(self._places[name])}"]
        place = self._part(lambda kind: not is_integer(kind) and not is_text(kind))
        if place is None or place[0] in self._places:
            return self._declare(depth)
        return [f"{place[0]} = {self._made(place[1])}"]

    def _text(self, depth: int) -> list[str]:
        place = self._part(is_text)
        return [f"{place[0]} = {self.some_text()}"] if place else self._declare(depth)

    def _name_place(self, depth: int) -> list[str]:
        """A name for a place inside of another one."""
        place = self._part(lambda kind: not is_integer(kind) and not is_text(kind))
        if place is None:
            return self._declare(depth)
        name = self._write.new()
        self._places[name] = place[1]
        return [f"{name} = {place[0]}"]

    def _iterate(self, depth: int) -> list[str]:
        place = self._part(lambda kind: isinstance(layout(kind), (TupleLayout, BytesLayout)))
        if place is None or depth >= 2 or self._write.looping:
            return self._declare(depth)
        name = self._write.new()
        with self._write.loop():
            if is_integer(place[1].element):
                self._write.bind(name)
            else:
                self._places[name] = place[1].element
            return [f"for {name} in {place[0]}:", *self._write.indented(depth)]

    # statements about maps

    def _store(self, depth: int) -> list[str]:
        name = self._rng.choice(INTEGER_TABLES + STRUCT_TABLES)
        return [f"{name}[{self._key(name)}] = {self._made(MAPS[name].spec.value)}"]

    def _delete(self, depth: int) -> list[str]:
        name = self._rng.choice(INTEGER_TABLES + STRUCT_TABLES)
        return [f"del {name}[{self._key(name)}]"]

    def _take(self, depth: int) -> list[str]:
        """What changes an integer table and gives a number."""
        name, made = self._rng.choice(INTEGER_TABLES), self._write.new()
        kind = MAPS[name].spec.value
        method, default = self._rng.choice(["pop", "setdefault"]), self._rng.randrange(100)
        line = f"{made}: {name_of(kind)} = {name}.{method}({self._key(name)}, {default})"
        self._write.bind(made)
        return [line]

    def _asked(self, made: str, kind: Any, spelled: str, depth: int) -> list[str]:
        """Statements where a value that may be missing is there."""
        if depth >= 3:
            return self._set(depth)
        lines = [f"{made} = {spelled}", f"if {made} is not None:"]
        with self._write.scope():
            if is_integer(kind):
                self._write.bind(made)
            else:
                self._places[made] = kind
            lines += self._write.indented(depth)
            if self._rng.random() < 0.5 and not is_integer(kind):
                place = self._walk(made, kind, is_integer)
                if place:
                    lines.insert(2, f"    {place[0]} += {self._write.running(1)}")
        if self._rng.random() < 0.3:
            lines += ["else:", *self._write.indented(depth)]
        return lines

    def _find(self, depth: int) -> list[str]:
        name = self._rng.choice(INTEGER_TABLES + STRUCT_TABLES)
        kind, made = MAPS[name].spec.value, self._write.new()
        method = self._rng.choice(["get", "pop"] if is_integer(kind) else ["get", "get", "pop", "setdefault"])
        default = f", {self._made(kind)}" if method == "setdefault" else ""
        return self._asked(made, kind, f"{name}.{method}({self._key(name)}{default})", depth)

    def _element(self, depth: int) -> list[str]:
        """An element of an array of structs that may be outside."""
        index = f"u32({self._write.running(1)}) & 3"
        spelled = self._rng.choice([f"boxes[{index}]", f"boxes.get({index})"])
        return self._asked(self._write.new(), STRUCTS["Outer"], spelled, depth)

    def _line(self, depth: int) -> list[str]:
        name = self._rng.choice(["queue", "stack"])
        kind = MAPS[name].spec.value
        if self._rng.random() < 0.5:
            return [f"{name}.push({self._made(kind)})"]
        return self._asked(self._write.new(), kind, f"{name}.{self._rng.choice(['pop', 'peek'])}()", depth)
