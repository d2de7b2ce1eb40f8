"""What random functions do with names: bound to places, to text, to None or a value; kept while entries go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pybpf.types import char
from tests.lang.generate_memory import INTEGER_TABLES, STRUCT_TABLES, Memory, Writer, is_integer, is_text, name_of
from tests.lang.world import MAPS, STRUCTS

__all__ = ["Names"]


class Names(Memory):
    """Writes statements about memory, and about what names stand for."""

    def __init__(self, writer: Writer) -> None:
        super().__init__(writer)
        self._loose: dict[str, Any] = {}  # names of structs and text that may be bound to something else
        self._maybe: dict[str, Any] = {}  # names of what may be None
        self.statements += [self._bind, self._rebind, self._rebind, self._rebind_either]
        more: list[Callable[[int], list[str]]] = [
            self._keep, self._keep, self._keep_anew, self._resolve, self._resolve, self._take_away,
        ]  # fmt: skip
        self.of_maps += more

    def begin(self, places: dict[str, Any], maps: bool) -> None:
        super().begin(places, maps)
        self._loose, self._maybe = {}, {}

    @contextmanager
    def scope(self) -> Iterator[None]:
        before = dict(self._loose), dict(self._maybe)
        with super().scope():
            yield
        self._loose, self._maybe = before

    # names of places and text

    def _value(self, kind: Any) -> str:
        """Something that a name of a kind may be bound to."""
        if is_text(kind):
            return self.some_text()
        if self._rng.random() < 0.3:
            return f"({self._plain(kind)} if {self._write.condition(1)} else {self._plain(kind)})"
        if self._rng.random() < 0.6:
            return self._plain(kind)
        return self.made_struct(kind)

    def _plain(self, kind: Any) -> str:
        """A struct that no way leads through: the verifier follows them all, of each helper that is called in turn."""
        found = self._part(lambda each: each is kind) if self._rng.random() < 0.7 else None
        first = next(iter(kind.__layout__.fields))
        return found[0] if found else f"{kind.__name__}({first}={self._rng.randrange(100)})"

    def _bind(self, depth: int) -> list[str]:
        kind = self._rng.choice([*STRUCTS.values(), char[12]])
        name, value = self._write.new(), self._value(kind)
        self._places[name] = self._loose[name] = kind
        return [f"{name} = {value}"]

    def _rebind(self, depth: int) -> list[str]:
        if not self._loose:
            return self._bind(depth)
        name = self._rng.choice(list(self._loose))
        return [f"{name} = {self._value(self._loose[name])}"]

    def _rebind_either(self, depth: int) -> list[str]:
        if not self._loose or depth >= 3:
            return self._bind(depth)
        name = self._rng.choice(list(self._loose))
        kind = self._loose[name]
        lines = [f"if {self._write.condition(1)}:", f"    {name} = {self._value(kind)}"]
        if self._rng.random() < 0.5:
            lines += ["else:", f"    {name} = {self._value(kind)}"]
        return lines

    # names of what may be None

    def _lookup(self, kind: Any) -> str:
        """An expression that gives a value of a kind, or None."""
        tables = [name for name in (*INTEGER_TABLES, *STRUCT_TABLES) if MAPS[name].spec.value is kind]
        lines = [name for name in ("queue", "stack") if MAPS[name].spec.value is kind]
        name = self._rng.choice(tables + lines)
        if name in lines:
            return f"{name}.{self._rng.choice(['pop', 'peek'])}()"
        return f"{name}.{self._rng.choice(['get', 'get', 'pop'])}({self._key(name)})"

    def _keep(self, depth: int) -> list[str]:
        name = self._write.new()
        kind = MAPS[self._rng.choice([*INTEGER_TABLES, *STRUCT_TABLES, *STRUCT_TABLES, "queue", "stack"])].spec.value
        value = self._lookup(kind)
        if self._rng.random() < 0.2:
            value = f"({value} if {self._write.condition(1)} else None)"
        self._maybe[name] = kind
        return [f"{name} = {value}"]

    def _keep_anew(self, depth: int) -> list[str]:
        if not self._maybe:
            return self._keep(depth)
        name = self._rng.choice(list(self._maybe))
        kind = self._maybe[name]
        pick = self._rng.random()
        value = "None" if pick < 0.2 else self._there(kind) if pick < 0.4 else self._lookup(kind)
        if self._rng.random() < 0.4 or depth >= 3:
            return [f"{name} = {value}"]
        return [f"if {self._write.condition(1)}:", f"    {name} = {value}"]

    def _there(self, kind: Any) -> str:
        """A value of a kind that is not None."""
        if is_integer(kind):
            return f"{name_of(kind)}({self._write.running(1)})"
        return self._value(kind)

    def _resolve(self, depth: int) -> list[str]:
        """Ask whether a name is None, in one of the ways that there are."""
        if not self._maybe or depth >= 3:
            return self._keep(depth)
        name = self._rng.choice(list(self._maybe))
        kind = self._maybe[name]
        pick = self._rng.random()
        if pick < 0.4:
            return self._if_there(name, kind, depth)
        if pick < 0.55:
            line = f"    {name} = {self._there(kind)}"
            self._settle(name, kind)
            return [f"if {name} is None:", line]
        made, value = self._write.new(), self._there(kind)
        if not is_integer(kind):
            self._places[made] = kind
            return [f"{made} = " + self._rng.choice([
                f"{name} or {value}", f"{name} if {name} is not None else {value}",
                f"{value} if {name} is None else {name}",
            ])]  # fmt: skip
        limit = self._write.running(1)
        self._write.bind(made)
        return [f"{made}: s64 = s64(" + self._rng.choice([
            f"{name} or {value}", f"{name} if {name} is not None else {value}", f"bool({name} is None)",
            f"bool({name} is not None and {name} > {limit})", f"bool({name} is None or {name} != {limit})",
            f"min({name}, {value}) if {name} is not None else {value}",
        ]) + ")"]  # fmt: skip

    def _settle(self, name: str, kind: Any) -> None:
        """From here on the name is bound to a value."""
        del self._maybe[name]
        if is_integer(kind):
            self._write.bind(name)
        else:
            self._places[name] = kind

    def _if_there(self, name: str, kind: Any, depth: int) -> list[str]:
        asked = [f"if {name} is not None:", f"if not ({name} is None):", f"if None is not {name}:"]
        lines = [self._rng.choice(asked if is_integer(kind) else [*asked, f"if {name}:"])]
        with self._write.scope():
            self._settle(name, kind)
            lines += self._write.indented(depth)
            if not is_integer(kind):
                place = self._walk(name, kind, is_integer)
                if place:
                    lines.append(f"    {place[0]} += {self._write.running(1)}")
        return lines

    def _take_away(self, depth: int) -> list[str]:
        """Delete or replace what names may stand for."""
        name = self._rng.choice(STRUCT_TABLES)
        key = self._key(name)
        return self._rng.choice([
            [f"del {name}[{key}]"], [f"{name}[{key}] = {self._made(MAPS[name].spec.value)}"],
            [f"del {name}[{key}]", f"{name}[{self._key(name)}] = {self._made(MAPS[name].spec.value)}"],
        ])  # fmt: skip
