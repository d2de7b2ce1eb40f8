"""The checker of one probe at one place: scopes of variables, types of expressions, refusals."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from pybpf.bt.check.facts import Checked, Facts, MapFacts, Unknown, VariableFacts
from pybpf.bt.expand.macros import MARK
from pybpf.bt.syntax import tree
from pybpf.bt.types import NONE, Aggregate, Integer, Nothing, Type, differ_in_sign, fits, join
from pybpf.sys.near import did_you_mean

__all__ = ["Checker"]


class _Scope:
    """The variables of a block."""

    def __init__(self) -> None:
        self.variables: dict[str, VariableFacts] = {}
        self.closed: dict[str, VariableFacts] = {}
        """Those of blocks inside that have ended: bpftrace 0.17 let a probe use them behind these, too."""


class Checker:
    """Checks one probe.

    :ivar facts: what the whole script shares.
    :ivar checked: what is found out about this probe.
    :ivar loops: how many loops are around this place, in the function that it is in.
    :ivar calls: the calls of the script's functions that this place is in the bodies of, the innermost last.
    :ivar turns: how often this place is compiled: what the unrolled loops around it make together.
    :ivar unassigned: variables that were declared, and that nothing so far assigns to.
    :ivar finished: types are asked for, and no longer found out.
    """

    def __init__(self, facts: Facts, checked: Checked) -> None:
        self.facts = facts
        self.checked = checked
        self.place = checked.place
        self.loops = 0
        self.calls: list[tree.Inlined] = []
        self.turns = 1
        self.unassigned: set[VariableFacts] = set()
        self.finished = False
        self._asking = 0
        self._scopes: list[_Scope] = []

    def run(self) -> None:
        """Check the probe: its predicate, then its body."""
        with self.scope():
            if self.checked.probe.predicate is not None:
                self.condition(self.checked.probe.predicate)
            self.block(self.checked.probe.body)

    # refusing

    def fail(self, node: tree.Node, message: str) -> NoReturn:
        """:raises CompileError: always; it points at the node."""
        self.facts.script.source.fail(node.span, message)

    def warn(self, node: tree.Node, message: str) -> None:
        """Note a warning."""
        self.facts.warn(node, message)

    # expressions

    def type(self, node: tree.Node) -> Type:
        """The type of an expression. :raises CompileError: it makes no sense."""
        if self.finished:
            return self.checked.types[node]
        from pybpf.bt.check.expressions import EXPRESSIONS

        found = EXPRESSIONS[type(node)](self, node)
        self.checked.types[node] = found
        return found

    def value(self, node: tree.Node) -> Type:
        """The type of an expression that must give a value; ``Unknown`` while that is not known."""
        found = self.type(node)
        if isinstance(found, Nothing) and self.facts.final:
            what = f"{node.name}()" if isinstance(node, (tree.Call, tree.Inlined)) else "this"
            self.fail(node, f"{what} gives no value")
        return found

    def integer(self, node: tree.Node, what: str) -> Integer | Nothing:
        """The type of an integer; ``what`` begins the message where it is none."""
        found = self.read(self.value(node))
        if not isinstance(found, (Integer, Nothing)):
            self.fail(node, f"{what} must be an integer, not {article(found)}")
        return found

    def read(self, found: Type) -> Type:
        """The type that an expression has when it is computed with: aggregates are read as integers."""
        if isinstance(found, Aggregate) and found.way in ("count", "sum", "min", "max", "avg"):
            return Integer(8, found.signed and found.way != "count")
        return found

    def readable(self, found: Type, node: tree.Node) -> Type:
        """The same where a value is needed. :raises CompileError: only user space can put it together."""
        found = self.read(found)
        if isinstance(found, Aggregate):
            self.fail(node, f"what a {found.way}() has counted is for print() alone")
        return found

    def condition(self, node: tree.Node) -> None:
        """An expression that is asked whether it is true."""
        found = self.read(self.value(node))
        if not found.scalar and not isinstance(found, Nothing):
            self.fail(node, f"a condition is an integer, a boolean or a pointer, not {article(found)}; compare it")

    def constant(self, node: tree.Node) -> int | str | bool | None:
        """The value of an expression that is known now; None where it is not."""
        from pybpf.bt.check.constants import constant

        return constant(self, node)

    # statements

    def statement(self, node: tree.Statement) -> None:
        """Check a statement."""
        from pybpf.bt.check.statements import STATEMENTS

        STATEMENTS[type(node)](self, node)

    def block(self, node: tree.Block) -> Type:
        """Check a block; the type of its value."""
        with self.scope():
            ended = False
            for each in node.statements:
                if ended:
                    self.warn(each, "Unreachable statement")
                self.statement(each)
                ended = ended or _ends(each)
            if ended and node.value is not None:
                self.warn(node.value, "Unreachable statement")
            return NONE if node.value is None else self.type(node.value)

    @contextmanager
    def scope(self) -> Iterator[None]:
        """The variables of a block live in it."""
        self._scopes.append(_Scope())
        yield
        ended = self._scopes.pop()
        if self._scopes:
            self._scopes[-1].closed.update(ended.closed)
            self._scopes[-1].closed.update(ended.variables)

    # variables

    def declare(self, node: tree.Node, name: str) -> VariableFacts:
        """A new variable of the block; the same in each pass."""
        found = self.checked.variables.setdefault(node, VariableFacts(name))
        self._scopes[-1].variables[name] = found
        return found

    def find(self, name: str) -> VariableFacts | None:
        """The variable that a name means here; None where there is none."""
        for scope in reversed(self._scopes):
            if name in scope.variables:
                return scope.variables[name]
        for scope in reversed(self._scopes):
            if name in scope.closed:
                found = scope.variables[name] = scope.closed[name]
                found.early = True
                return found
        return None

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Inside, expressions have types, and are not read."""
        self._asking += 1
        yield
        self._asking -= 1

    def reads(self, variable: VariableFacts, node: tree.Node) -> None:
        """A variable is read."""
        if variable in self.unassigned and not self._asking:
            self.warn(node, f"${written_name(variable.name)} is read before anything is assigned to it")

    def in_this_block(self, name: str) -> bool:
        """Whether the innermost block has declared a variable of the name."""
        return name in self._scopes[-1].variables

    def variable(self, node: tree.Variable) -> VariableFacts:
        """The variable that is read. :raises CompileError: nothing has assigned to it."""
        found = self.find(node.name)
        if found is None:
            names = [written_name(name) for scope in self._scopes for name in scope.variables]
            near = did_you_mean(node.name, names).replace("did you mean ", "did you mean $")
            self.fail(node, f"${written_name(node.name)} has no value here{near or '; assign it before this'}")
        self.checked.variables[node] = found
        return found

    def give(self, variable: VariableFacts, found: Type, node: tree.Node) -> None:
        """A value of a type is assigned to a variable."""
        self.unassigned.discard(variable)
        if isinstance(found, Nothing):
            return
        found = self.read(found)
        if variable.type is None:
            variable.type, self.facts.changed = found, True
            return
        self._signs(f"${written_name(variable.name)}", variable.type, found, node)
        both = variable.type if variable.fixed and fits(found, variable.type) else join(variable.type, found)
        if both is None or (variable.fixed and both != variable.type):
            name, what = written_name(variable.name), article(variable.type)
            self.fail(node, f"${name} is {what}; {article(found)} cannot be assigned to it")
        if both != variable.type:
            variable.type, self.facts.changed = both, True

    def _signs(self, name: str, kept: Type, found: Type, node: tree.Node) -> None:
        """Warn where a number may become another one, because it is kept with the other sign."""
        if differ_in_sign(kept, found):
            self.warn(node, f"{name} is {article(kept)}: {article(found)} may become another number in it; cast it")

    # maps

    def map_key(self, node: tree.Map | tree.MapAccess) -> MapFacts:
        """The map of an access, its key checked."""
        access = node if isinstance(node, tree.MapAccess) else None
        facts = self.facts.map(access.map if access is not None else node)  # type: ignore[arg-type]
        keyed = access is not None
        if facts.keyed is None:
            facts.keyed, self.facts.changed = keyed, True
        elif facts.keyed != keyed:
            how = "has keys: write which, as in @x[1]" if facts.keyed else "has no keys: write it without []"
            self.fail(node, f"@{facts.name} {how}")
        if access is not None:
            self.give_key(facts, self.key_type(access.keys), node)
        return facts

    def key_type(self, keys: list[tree.Expression]) -> Type:
        """The type of a key: of several, a tuple."""
        from pybpf.bt.check.expressions import tuple_of

        if len(keys) == 1:
            return self.read(self.value(keys[0]))
        return tuple_of(self, keys)

    def give_key(self, facts: MapFacts, found: Type, node: tree.Node) -> None:
        """A key of a type is used."""
        if isinstance(found, Nothing):
            return
        if isinstance(found, Aggregate):
            self.fail(node, f"a {found.way}() cannot be a key")
        both = found if facts.key is None else join(facts.key, found)
        if both is None:
            self.fail(node, f"the keys of @{facts.name} are {facts.key}; {article(found)} is none")
        if both != facts.key:
            facts.key, self.facts.changed = both, True

    def give_value(self, facts: MapFacts, found: Type, node: tree.Node) -> None:
        """A value of a type is stored."""
        if isinstance(found, Nothing):
            return
        if facts.value is None:
            facts.value, self.facts.changed = found, True
            return
        if isinstance(found, Aggregate) and not isinstance(facts.value, Aggregate):
            self.fail(node, f"@{facts.name} is {article(facts.value)}; {found.way}() cannot be assigned to it")
        if isinstance(facts.value, Aggregate) and not isinstance(found, Aggregate):
            self.fail(node, f"@{facts.name} is a {facts.value.way}(); a plain value cannot be assigned to it")
        self._signs(f"@{facts.name}", facts.value, found, node)
        both = join(facts.value, found)
        if both is None:
            self.fail(node, f"@{facts.name} is {article(facts.value)}; {article(found)} cannot be assigned to it")
        if both != facts.value:
            facts.value, self.facts.changed = both, True

    def map_value(self, facts: MapFacts, node: tree.Node) -> Type:
        """The type of a map's values, where it is read. :raises CompileError: nothing is ever stored in it."""
        if facts.value is None:
            if self.facts.final:
                near = did_you_mean(facts.name, [name for name, each in self.facts.maps.items() if each.value])
                near = near.replace("did you mean ", "did you mean @")
                self.fail(node, f"@{facts.name} is never assigned to{near}")
            return Unknown
        return facts.value


def _ends(node: tree.Statement) -> bool:
    """Whether nothing behind a statement runs."""
    if isinstance(node, tree.Evaluate):
        return isinstance(node.value, tree.Call) and node.value.name == "exit"
    return isinstance(node, (tree.Return, tree.Break, tree.Continue))


def written_name(name: str) -> str:
    """The name of a variable as the script has it: those of macros were renamed."""
    return name.partition(MARK)[0]


def article(found: Type) -> str:
    """A type as messages call it: ``"an int64"``."""
    name = found.name
    return f"{'an' if name[0] in 'aeio' else 'a'} {name}"
