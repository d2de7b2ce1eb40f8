"""Maps in a probe: what ``m[k]``, ``m[k] = v``, ``m[k] += n``, ``get``, ``pop``, ``in``, ``push`` compile to."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pybpf.lang.state.counts import element_address, global_address
from pybpf.lang.state.maps import is_parts
from pybpf.lang.values import raw
from pybpf.lang.values.constants import Const
from pybpf.lang.values.flow import Choice, when
from pybpf.lang.values.ints import Int, Test
from pybpf.lang.values.memory import (
    MAP,
    OWN,
    PER_CPU,
    Entry,
    Maybe,
    Ref,
    declared,
    fitting,
    is_integer,
    loaded_as,
    memory_of,
    owned,
    place,
    read,
)
from pybpf.lang.values.val import Val, index_node
from pybpf.maps import MapSpec
from pybpf.sys.bpf import MapType, UpdateFlags
from pybpf.sys.near import did_you_mean
from pybpf.types import Struct

if TYPE_CHECKING:
    from pybpf.compiler.ir import Operand
    from pybpf.lang.front.gen import Gen
    from pybpf.lang.state.maps import TracerMap

__all__ = ["ArrayVal", "HashVal", "KeyedVal", "MapVal", "Method", "QueueVal", "VariableVal"]

_PER_CPU = frozenset({MapType.PERCPU_HASH, MapType.LRU_PERCPU_HASH, MapType.PERCPU_ARRAY})
_MAKES_ROOM = frozenset({MapType.LRU_HASH, MapType.LRU_PERCPU_HASH})


class MapVal(Val):
    """A map in a probe.

    :ivar owner: the object of the user's.
    :ivar name: what instructions call it.
    """

    methods: Mapping[str, Callable[..., Val]] = MappingProxyType({})

    def __init__(self, gen: Gen, owner: TracerMap) -> None:
        self.owner = owner
        self.name = gen.use_map(owner)
        self.spec: MapSpec = gen.unit.maps[self.name]

    @property
    def what(self) -> str:
        return f"the {self.spec.type.name.lower()} map {self.name!r}"

    @property
    def space(self) -> str:
        """Whose memory its values are in."""
        return PER_CPU if self.spec.type in _PER_CPU else MAP

    @property
    def instead(self) -> str:
        return "write which value, as in m[key]"

    def length(self, gen: Gen, at: ast.AST) -> Val:
        self.refuse(gen, at, "has no length in a probe: count in a variable, or ask len() in Python")

    def elements(self, gen: Gen, at: ast.AST) -> Sequence[Val]:
        self.refuse(gen, at, "cannot be gone through in a probe: read it in Python, or look up keys that are known")

    def attr(self, gen: Gen, name: str, at: ast.AST) -> Val:
        if name in self.methods:
            return Method(self, name)
        near = did_you_mean(name, self.methods)
        self.refuse(gen, at, f"has no {name!r} in a probe{near}; it has {', '.join(self.methods) or 'no methods'}")

    def keep(self, gen: Gen, kind: Any, value: Val, at: ast.AST, name: str) -> Operand:
        """A key or value as the operations take it: an integer, or a pointer to memory that has it."""
        if is_integer(kind):
            return fitting(gen, value, kind, at)
        return place(gen, value, kind, at, name).pointer(gen)

    def helper(self, gen: Gen, name: str, *args: Operand) -> Operand:
        """Call a helper whose first argument is the map."""
        return gen.b.emit("call", gen.b.emit("map", map=self.name), *args, helper=name)

    # the operations themselves

    def find(self, gen: Gen, key: Operand) -> Operand:
        """The address of the value under a key, or null."""
        return gen.b.emit("lookup", key, map=self.name)

    def update(self, gen: Gen, key: Operand, value: Operand, flags: UpdateFlags) -> None:
        """Store, whatever comes of it."""
        gen.b.emit("update", key, value, int(flags), map=self.name)

    def try_update(self, gen: Gen, key: Operand, value: Operand) -> Operand:
        """Store; 0 or the negative errno."""
        return gen.b.emit("tryupdate", key, value, 0, map=self.name)

    def delete(self, gen: Gen, key: Operand) -> Operand:
        """Delete, if it is there; 0 or the negative errno."""
        return gen.b.emit("delete", key, map=self.name)

    def store_checked(self, gen: Gen, key: Operand, value: Operand) -> None:
        """Update; what finds no room is counted."""
        if self.spec.type in _MAKES_ROOM:
            self.update(gen, key, value, UpdateFlags.ANY)
            return
        failed = self.try_update(gen, key, value)
        with when(gen.b, "ne", failed, 0, "full"):
            self.owner.counter.bump(gen)


class Method(Val):
    """A method of a map, before it is called."""

    def __init__(self, owner: MapVal, name: str) -> None:
        self.owner = owner
        self.name = name

    @property
    def what(self) -> str:
        return f"the method {self.name}() of {self.owner.what}"

    instead = "call it"

    def call(self, gen: Gen, args: Sequence[Val], named: Mapping[str, Val], at: ast.AST) -> Val:
        method = self.owner.methods[self.name]
        names = method.__code__.co_varnames[3 : method.__code__.co_argcount]
        needed = len(names) - len(method.__defaults__ or ())
        given = dict(zip(names, args))
        wrong = [name for name in named if name not in names or name in given]
        given.update(named)
        if wrong or len(args) > len(names) or any(name not in given for name in names[:needed]):
            takes = ", ".join([*names[:needed], *(f"{name}=..." for name in names[needed:])])
            gen.fail(at, f"{self.what} is called as {self.name}({takes})")
        return method(self.owner, gen, at, **given)


def _check_parts(gen: Gen, table: KeyedVal, index: Val, at: ast.AST) -> None:
    """Refuse a key that has not as many parts as those of the map, which were declared as a tuple."""
    kind = table.spec.key
    if not is_parts(kind):
        return
    names = ", ".join("abcdefgh"[: len(kind.__layout__.fields)])
    known = gen.const(index)
    parts = known if isinstance(known, tuple) and not isinstance(known, Struct) else getattr(index, "values", None)
    one = isinstance(index, Int) or (isinstance(index, Const) and isinstance(known, (int, str, bytes, type(None))))
    if one or (parts is not None and len(parts) != len(kind.__layout__.fields)):
        there = "one" if parts is None else len(parts)
        gen.fail(at, f"the keys of {table.what} have {len(kind.__layout__.fields)} parts, and this has {there}: write "
                 f"{table.name}[{names}]")  # fmt: skip


class KeyedVal(MapVal):
    """What hash tables, tries and arrays share."""

    def key(self, gen: Gen, index: Val, at: ast.AST) -> Operand:
        """A key as the operations take it."""
        _check_parts(gen, self, index, index_node(at))
        return self.keep(gen, self.spec.key, index, index_node(at), "key")

    def found(self, gen: Gen, pointer: Operand) -> Ref:
        """The value that a lookup found."""
        return Ref.of(pointer, 0, self.spec.value, self.space)

    def loaded(self, gen: Gen, pointer: Operand, missing: Operand = 0) -> Val:
        """The integer or pointer that a lookup may have found."""
        value = Choice(gen.b, missing)
        with when(gen.b, "ne", pointer, 0, "found"):
            value.set(read(gen, self.found(gen, pointer)).scalar(gen, ast.Pass()))
        return loaded_as(gen, value.value, self.spec.value)

    def lookup(self, gen: Gen, index: Val, at: ast.AST) -> Operand:
        """The address of the value under a key, or null."""
        return self.find(gen, self.key(gen, index, at))

    def item(self, gen: Gen, index: Val, at: ast.AST) -> Val:
        pointer = self.lookup(gen, index, at)
        if is_integer(self.spec.value):
            return self.loaded(gen, pointer)
        return Maybe(pointer, self.found(gen, pointer), f"{self.name}[...]")

    def get(self, gen: Gen, at: ast.AST, key: Val, default: Val | None = None) -> Val:
        """``m.get(k)``, ``m.get(k, 0)``"""
        pointer = self.lookup(gen, key, at)
        if default is not None and gen.const(default) is None and isinstance(default, Const):
            default = None
        if is_integer(self.spec.value):
            if default is None:
                return Maybe(pointer, self.loaded(gen, pointer), f"{self.name}.get()")
            return self.loaded(gen, pointer, fitting(gen, default, self.spec.value, at))
        if default is not None:
            return self.found_or(gen, pointer, self.found(gen, pointer), default, at)
        return Maybe(pointer, self.found(gen, pointer), f"{self.name}.get()")

    def found_or(self, gen: Gen, there: Operand, found: Ref, default: Val, at: ast.AST) -> Val:
        """What is at a place, or where there is nothing a copy of a default."""
        yes, no, done = (gen.b.new_block(name) for name in ("found", "default", "either"))
        gen.branch_on(Test("ne", there, 0), yes, no, at)
        gen.land(yes)
        gen.go(done, found)
        gen.land(no)
        gen.go(done, declared(gen, self.spec.value, default, at))
        return gen.land_value(done, at)

    def contains(self, gen: Gen, item: Val, at: ast.AST) -> Val:
        return Test("ne", self.lookup(gen, item, at), 0)

    def set_item(self, gen: Gen, index: Val, value: Val, at: ast.AST) -> None:
        key = self.key(gen, index, at)
        self.store_checked(gen, key, self.keep(gen, self.spec.value, value, at, "value"))


class HashVal(KeyedVal):
    """A hash table or a trie."""

    def found(self, gen: Gen, pointer: Operand) -> Ref:
        """The value that a lookup found: part of an entry, which goes when it is deleted or replaced."""
        return Ref.of(pointer, 0, self.spec.value, self.space, entry=Entry(frozenset((self.name,)), whole=True))

    def let_go(self, gen: Gen, key: Operand, at: ast.AST, into: Ref | None = None) -> None:
        """Before an entry is deleted or replaced: names that stand for it get a copy, since in Python they keep it.

        :param into: where the copy is; otherwise in memory of the function.
        """
        names = gen.aliases.entries(self.name, at)
        if not names:
            return
        found, copy = self.find(gen, key), into or memory_of(gen, self.spec.value, at, "entry")
        if gen.rolled:
            gen.aliases.anew(copy.address, self.spec.value, at, [each for bound in names.values() for each in bound])
        for address, bound in names.items():
            kept = Choice(gen.b, address)
            with when(gen.b, "ne", found, 0, "there"), when(gen.b, "eq", found, address, "same"):
                raw.copy(gen, copy.address, 0, found, 0, copy.size)
                kept.set(copy.address)
            gen.aliases.move(bound, address, kept.value)

    def set_item(self, gen: Gen, index: Val, value: Val, at: ast.AST) -> None:
        key = self.key(gen, index, at)
        kept = self.keep(gen, self.spec.value, value, at, "value")
        self.let_go(gen, key, at)
        self.store_checked(gen, key, kept)

    def made(self, gen: Gen, key: Operand, first: Callable[[], Operand], change: Callable[[Ref], None]) -> Operand:
        """Change the value under a key, after storing ``first`` where there was none; its address, null: it is full."""
        b = gen.b
        pointer = Choice(b, self.find(gen, key))
        absent, there, full, done = (b.new_block(name) for name in ("absent", "there", "full", "made"))
        b.branch("ne", pointer.value, 0, there, absent)
        b.seal(absent)
        b.start(absent)
        # another CPU may be first: then this changes nothing
        self.update(gen, key, first(), UpdateFlags.NOEXIST)
        pointer.set(self.find(gen, key))
        b.branch("ne", pointer.value, 0, there, full)
        b.seal(there)
        b.start(there)
        change(self.found(gen, pointer.value))
        b.jump(done)
        b.seal(full)
        b.start(full)
        self.owner.counter.bump(gen)
        b.jump(done)
        b.seal(done)
        b.start(done)
        return pointer.value

    def add_to_item(self, gen: Gen, index: Val, op: str, value: Val, at: ast.AST) -> None:
        kind = self.spec.value
        if not is_integer(kind):
            super().add_to_item(gen, index, op, value, at)
            return
        self.made(gen, self.key(gen, index, at), lambda: 0, lambda found: found.add(gen, op, value, at))

    def setdefault(self, gen: Gen, at: ast.AST, key: Val, default: Val) -> Val:
        """``m.setdefault(k, v)``: the value under k, after storing v if there was none."""
        kind = self.spec.value
        if is_integer(kind):
            first = self.keep(gen, kind, default, at, "value")
            number = Choice(gen.b, first)
            self.made(gen, self.key(gen, key, at), lambda: first,
                      lambda found: number.set(read(gen, found).scalar(gen, at)))  # fmt: skip
            return loaded_as(gen, number.value, kind)
        pointer = self.made(gen, self.key(gen, key, at), lambda: self.keep(gen, kind, default, at, "value"),
                            lambda found: None)  # fmt: skip
        return Maybe(pointer, self.found(gen, pointer), f"{self.name}.setdefault()")

    def pop(self, gen: Gen, at: ast.AST, key: Val, default: Val | None = None) -> Val:
        """``m.pop(k)``: a copy of the value, which is deleted. Who deletes it has it: of two CPUs one."""
        b, kind = gen.b, self.spec.value
        plain = default is not None and not (isinstance(default, Const) and default.value is None)
        where = self.key(gen, key, at)
        if is_integer(kind):
            number = Choice(b, fitting(gen, default, kind, at) if default is not None and plain else 0)
            there = self._take(gen, where, lambda found: read(gen, found).scalar(gen, at), number.set)
            value = loaded_as(gen, number.value, kind)
            return value if plain else Maybe(there, value, f"{self.name}.pop()")
        taken = owned(gen, kind, at, "popped")
        self.let_go(gen, where, at, taken)
        there = self._take(gen, where, lambda found: raw.copy(gen, taken.address, 0, found.address, 0, taken.size))
        if default is not None and plain:
            return self.found_or(gen, there, taken, default, at)
        return Maybe(there, taken, f"{self.name}.pop()")

    def _take(
        self, gen: Gen, key: Operand, look: Callable[[Ref], Any], took: Callable[[Any], None] = lambda seen: None
    ) -> Operand:
        """Delete an entry; whether it was there and this deleted it.

        :param look: what to do with the value before.
        :param took: what to do with what that gave, only where this deleted it.
        """
        b = gen.b
        pointer, there = self.find(gen, key), Choice(b, 0)
        found, taken, done = (b.new_block(each) for each in ("found", "taken", "popped"))
        b.branch("ne", pointer, 0, found, done)
        b.seal(found)
        b.start(found)
        seen = look(self.found(gen, pointer))
        b.branch("eq", self.delete(gen, key), 0, taken, done)
        b.seal(taken)
        b.start(taken)
        took(seen)
        there.set(1)
        b.jump(done)
        b.seal(done)
        b.start(done)
        return there.value

    def del_item(self, gen: Gen, index: Val, at: ast.AST) -> None:
        key = self.key(gen, index, at)
        self.let_go(gen, key, at)
        self.delete(gen, key)

    def clear(self, gen: Gen, at: ast.AST) -> Val:
        """``m.clear()`` is refused."""
        self.refuse(gen, at, "cannot be cleared in a probe: that would visit all of it; call clear() in Python")

    methods = MappingProxyType({"get": KeyedVal.get, "pop": pop, "setdefault": setdefault, "clear": clear})


class ArrayVal(KeyedVal):
    """An array: every element is there from the beginning, and zero."""

    def _constant(self, gen: Gen, index: Val, at: ast.AST) -> int | None:
        number = gen.const(index)
        if not isinstance(number, int):
            return None
        if not 0 <= number < self.spec.max_entries:
            gen.fail(index_node(at), f"{self.what} has elements 0 to {self.spec.max_entries - 1}, not {number}")
        return number

    def element(self, gen: Gen, index: Val, at: ast.AST) -> tuple[Operand, bool]:
        """The address of an element, and whether it is sure to be one."""
        number = self._constant(gen, index, at)
        if number == 0 and self.spec.type is MapType.ARRAY and self.spec.max_entries == 1:
            return global_address(gen, self.name), True
        if number is not None:
            return element_address(gen, self.name, number), True
        return self.lookup(gen, index, at), False

    def item(self, gen: Gen, index: Val, at: ast.AST) -> Val:
        pointer, sure = self.element(gen, index, at)
        if sure:
            return read(gen, self.found(gen, pointer))
        if is_integer(self.spec.value):
            return self.loaded(gen, pointer)
        return Maybe(pointer, self.found(gen, pointer), f"{self.name}[...]")

    def set_item(self, gen: Gen, index: Val, value: Val, at: ast.AST) -> None:
        pointer, sure = self.element(gen, index, at)
        if sure:
            self.found(gen, pointer).put(gen, value, at)
            return
        with when(gen.b, "ne", pointer, 0, "inside"):
            self.found(gen, pointer).put(gen, value, at)

    def add_to_item(self, gen: Gen, index: Val, op: str, value: Val, at: ast.AST) -> None:
        pointer, sure = self.element(gen, index, at)
        if sure:
            self.found(gen, pointer).add(gen, op, value, at)
            return
        with when(gen.b, "ne", pointer, 0, "inside"):
            self.found(gen, pointer).add(gen, op, value, at)

    def del_item(self, gen: Gen, index: Val, at: ast.AST) -> None:
        self.refuse(gen, at, "is an array, whose elements are always there: store 0 instead")

    methods = MappingProxyType({"get": KeyedVal.get})


class VariableVal(MapVal):
    """A global variable: ``x.value``."""

    def place(self, gen: Gen) -> Ref:
        """Where it is."""
        return Ref.of(global_address(gen, self.name), 0, self.spec.value, MAP)

    def attr(self, gen: Gen, name: str, at: ast.AST) -> Val:
        self._check(gen, name, at)
        return read(gen, self.place(gen))

    def set_attr(self, gen: Gen, name: str, value: Val, at: ast.AST) -> None:
        self._check(gen, name, at)
        self.place(gen).put(gen, value, at)

    def add_to_attr(self, gen: Gen, name: str, op: str, value: Val, at: ast.AST) -> None:
        self._check(gen, name, at)
        self.place(gen).add(gen, op, value, at)

    def _check(self, gen: Gen, name: str, at: ast.AST) -> None:
        if name != "value":
            self.refuse(gen, at, f"has no {name!r}; its value is {self.name}.value")

    @property
    def what(self) -> str:
        return f"the variable {self.name!r}"

    @property
    def instead(self) -> str:
        return f"write {self.name}.value"


class QueueVal(MapVal):
    """A queue or a stack."""

    instead = "it has push(v), pop() and peek()"

    def push(self, gen: Gen, at: ast.AST, value: Val) -> Val:
        """``q.push(v)``; what finds no room is counted."""
        pointer = self._in_memory(gen, value, at)
        failed = self.helper(gen, "map_push_elem", pointer, 0)
        with when(gen.b, "ne", failed, 0, "full"):
            self.owner.counter.bump(gen)
        return Const(None)

    def pop(self, gen: Gen, at: ast.AST) -> Val:
        """``q.pop()``: the next value, which is taken out, or None."""
        return self._next(gen, "map_pop_elem", "pop", at)

    def peek(self, gen: Gen, at: ast.AST) -> Val:
        """``q.peek()``: the next value, or None."""
        return self._next(gen, "map_peek_elem", "peek", at)

    def _in_memory(self, gen: Gen, value: Val, at: ast.AST) -> Operand:
        if not is_integer(self.spec.value):
            return place(gen, value, self.spec.value, at, "value").pointer(gen)
        taken = Ref.of(gen.b.slot(self.spec.value_size, "value"), 0, self.spec.value, OWN)
        taken.put(gen, value, at)
        return taken.address

    def _next(self, gen: Gen, helper: str, name: str, at: ast.AST) -> Val:
        taken = owned(gen, self.spec.value, at, name)
        raw.clear(gen, taken.address, 0, taken.size)  # the helper leaves it alone when there is nothing
        failed = self.helper(gen, helper, taken.address)
        there = gen.b.emit("cmp", failed, 0, cond="eq")
        return Maybe(there, read(gen, taken), f"{self.name}.{name}()")

    methods = MappingProxyType({"push": push, "pop": pop, "peek": peek})
