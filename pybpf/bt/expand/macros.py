"""Macros: calls become the macro's body, its parameters replaced, its own variables renamed.

A parameter ``$x`` stands for a variable, ``@x`` for a map, a bare name for any expression or, given by ``typeof(...)``,
for a type. Nothing else of the caller's can be reached from the body, and nothing of the body's from the caller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from pybpf.bt.expand.clone import clone
from pybpf.bt.functions.table import FUNCTIONS
from pybpf.bt.syntax import tree
from pybpf.bt.syntax.source import Source

__all__ = ["expand_macros"]

#: How deep macros may call each other.
_MOST_DEPTH = 50
#: What all that macros are replaced by may have: two that call the next one twice each would fill the memory.
_MOST_CALLS = 10_000
#: What stands behind the name of a variable of a macro's body: no variable of a script has it.
MARK = "'"


def expand_macros(script: tree.Script) -> None:
    """Replace all calls of macros in a script's probes and functions, in place.

    :raises CompileError: a call fits no macro, or macros call each other without an end.
    """
    if script.macros:
        expander = _Expander(script.source, script.macros)
        for function in script.functions:
            expander.expand(function, "body")
        for probe in script.probes:
            expander.expand(probe, "predicate")
            expander.expand(probe, "body")


class _Expander:
    """The macros of a script."""

    def __init__(self, source: Source, macros: Sequence[tree.Macro]) -> None:
        self.source = source
        self.macros: dict[str, list[tree.Macro]] = {}
        for each in macros:
            self._add(each)
        self.calls = 0

    def _add(self, macro: tree.Macro) -> None:
        names = [(type(each), each.name) for each in macro.parameters]
        for at, each in enumerate(names):
            if each in names[:at]:
                self.source.fail(macro.parameters[at].span, f"the macro has a parameter {each[1]!r} already")
        known = self.macros.setdefault(macro.name, [])
        shape = [type(each) for each in macro.parameters]
        if any([type(each) for each in other.parameters] == shape for other in known):
            self.source.fail(macro.span, f"there is a macro {macro.name}() with such parameters already")
        known.append(macro)

    def expand(self, owner: Any, field: str) -> None:
        """Replace the calls in a field of a node."""
        node = getattr(owner, field)
        if node is not None:
            setattr(owner, field, _Copy(self, {}, None, 0).of(node))

    def fitting(self, node: tree.Node, name: str, arguments: Sequence[Any]) -> tree.Macro | None:
        """The macro that a call means; None: it means the function that is called so, too.

        :raises CompileError: there is nothing with such parameters.
        """
        candidates = [each for each in self.macros[name] if _fits(each, arguments)]
        if candidates:  # one that says more of its parameters comes first
            return max(candidates, key=lambda each: sum(not isinstance(p, tree.Name) for p in each.parameters))
        if name in FUNCTIONS:
            return None
        shapes = " or ".join(f"{name}({', '.join(map(_written, each.parameters))})" for each in self.macros[name])
        self.source.fail(node.span, f"the macro is {shapes}; this call does not fit")


def _fits(macro: tree.Macro, arguments: Sequence[Any]) -> bool:
    if len(macro.parameters) != len(arguments):
        return False
    return all(
        isinstance(parameter, tree.Name) or type(parameter) is type(argument)
        for parameter, argument in zip(macro.parameters, arguments)
    )


def _written(parameter: tree.Variable | tree.Map | tree.Name) -> str:
    sign = {tree.Variable: "$", tree.Map: "@", tree.Name: ""}[type(parameter)]
    return f"{sign}{parameter.name}"


class _Copy:
    """Copies a tree, of a probe or of a macro's body.

    :param given: (class, name) of a parameter -> what it stands for.
    :param macro: whose body it is; None: a probe.
    :param number: of the call, which tells its variables from those of others.
    :param above: the macros that are being expanded around it.
    """

    def __init__(
        self,
        expander: _Expander,
        given: Mapping[tuple[type, str], Any],
        macro: tree.Macro | None,
        number: int,
        above: tuple[str, ...] = (),
    ) -> None:
        self.expander = expander
        self.given = given
        self.macro = macro
        self.number = number
        self.above = above

    def of(self, node: Any) -> Any:
        """The copy of a node."""
        return clone(node, self._instead)

    def _instead(self, node: tree.Node) -> tree.Node | None:
        how = _INSTEAD.get(type(node))
        return None if how is None else how(self, node)

    def _name(self, node: tree.Name) -> tree.Node | None:
        argument = self.given.get((tree.Name, node.name))
        if argument is not None:
            return clone(argument)  # type: ignore[no-any-return]
        if node.name in self.expander.macros:
            return self._call(node, node.name, [])
        return None

    def _calls(self, node: tree.Call) -> tree.Node | None:
        if node.name not in self.expander.macros:
            return None
        return self._call(node, node.name, [self.of(each) for each in node.arguments])

    def _named_type(self, node: tree.NamedType) -> tree.Node | None:
        argument = self.given.get((tree.Name, node.name))
        if argument is None:
            return None
        return clone(argument) if isinstance(argument, tree.TypeOf) else tree.TypeOf(node.span, clone(argument))

    def _variable(self, node: tree.Variable) -> tree.Node | None:
        if self.macro is None:
            return None
        argument = self.given.get((tree.Variable, node.name))
        name = argument.name if argument is not None else f"{node.name}{MARK}{self.number}"
        return tree.Variable(node.span, name)

    def _map(self, node: tree.Map) -> tree.Node | None:
        if self.macro is None:
            return None
        argument = self.given.get((tree.Map, node.name))
        if argument is None:
            self._fail(node, f"the map @{node.name} is no parameter of {self.macro.name}(); give it to the macro")
        return tree.Map(node.span, argument.name)

    def _call(self, node: tree.Node, name: str, arguments: Sequence[Any]) -> tree.Node | None:
        """The block that a call becomes; None: it stays a call."""
        expander = self.expander
        expander.calls += 1
        if name in self.above:
            self._fail(node, f"the macro {name}() calls itself: {' calls '.join((*self.above, name))}")
        if len(self.above) > _MOST_DEPTH or expander.calls > _MOST_CALLS:
            self._fail(node, "the macros grow too large here; let them call each other less")
        macro = expander.fitting(node, name, arguments)
        if macro is None:
            return None
        given = {(type(each), each.name): argument for each, argument in zip(macro.parameters, arguments)}
        inner = _Copy(expander, given, macro, expander.calls, (*self.above, name))
        return inner.of(macro.body)  # type: ignore[no-any-return]

    def _fail(self, node: tree.Node, message: str) -> NoReturn:
        self.expander.source.fail(node.span, message)


_INSTEAD: Mapping[type[tree.Node], Any] = {
    tree.Call: _Copy._calls,
    tree.Map: _Copy._map,
    tree.Name: _Copy._name,
    tree.NamedType: _Copy._named_type,
    tree.Variable: _Copy._variable,
}
