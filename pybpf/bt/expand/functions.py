"""Functions of a script: each call becomes the function's body, its parameters variables that are given the arguments.

What a function calls itself is put in place, too, so that a probe is one program whatever it calls: the kernel's
limits for calls (8 deep, 5 arguments in registers, no text among them) are none of the script's.
"""

from __future__ import annotations

from typing import Any, NoReturn

from pybpf.bt.expand.clone import clone
from pybpf.bt.expand.macros import MARK
from pybpf.bt.functions.table import FUNCTIONS, REFUSED
from pybpf.bt.syntax import tree

__all__ = ["expand_functions"]

#: How deep functions may call each other.
_MOST_DEPTH = 50
#: What all calls become may have: two that call the next one twice each would fill the memory.
_MOST_CALLS = 10_000


def expand_functions(script: tree.Script) -> None:
    """Replace all calls of functions in a script's probes, in place; macros have been replaced before.

    :raises CompileError: a call does not fit, functions call each other without an end, or a way through one ends
        without a value.
    """
    if script.functions:
        inliner = _Inliner(script)
        for probe in script.probes:
            probe.predicate = inliner.of(probe.predicate)
            probe.body = inliner.of(probe.body)


def _is_void(function: tree.Function) -> bool:
    return isinstance(function.returns, tree.NamedType) and function.returns.name == "void"


class _Inliner:
    """The functions of a script."""

    def __init__(self, script: tree.Script) -> None:
        self.source = script.source
        self.functions: dict[str, tree.Function] = {}
        self.calls = 0
        self.above: list[str] = []
        for each in script.functions:
            self._add(each, {macro.name for macro in script.macros})

    def _add(self, function: tree.Function, macros: set[str]) -> None:
        name = function.name
        kinds = (("function", self.functions), ("macro", macros), ("builtin function", FUNCTIONS),
                 ("builtin function", REFUSED))  # fmt: skip
        for kind, taken in kinds:
            if name in taken:
                self._fail(function, f"there is a {kind} {name}() already; call this one otherwise")
        names = [variable.name for variable, _ in function.parameters]
        for at, (variable, _) in enumerate(function.parameters):
            if variable.name in names[:at]:
                self._fail(variable, f"the function has a parameter ${variable.name} already")
        if not _is_void(function) and not _returns(function.body):
            self._fail(function, f"{name}() must return a value on every way through it; write return ... at its end")
        self.functions[name] = function

    def of(self, node: Any) -> Any:
        """A copy of a node with the calls in it replaced."""
        return clone(node, self._instead)

    def _instead(self, node: tree.Node) -> tree.Node | None:
        function = self.functions.get(node.name) if isinstance(node, tree.Call) else None
        if function is None:
            return None
        assert isinstance(node, tree.Call)
        return self._inlined(node, function)

    def _inlined(self, node: tree.Call, function: tree.Function) -> tree.Node:
        name, given = function.name, len(node.arguments)
        wanted = len(function.parameters)
        if given != wanted:
            self._fail(node, f"{_signature(function)} takes {wanted}; {given} {'is' if given == 1 else 'are'} given")
        self.calls += 1
        if name in self.above:
            calls = " calls ".join((*self.above[self.above.index(name) :], name))
            self._fail(node, f"the function {name}() calls itself: {calls}; write a loop")
        if len(self.above) > _MOST_DEPTH or self.calls > _MOST_CALLS:
            self._fail(node, "the functions grow too large here; let them call each other less")
        arguments = self.of(node.arguments)
        number = self.calls
        own = _Own(self, number)
        parameters = []
        for (variable, kind), argument in zip(function.parameters, arguments):
            if isinstance(argument, tree.TypeOf):
                self._fail(argument, f"{_signature(function)} takes values, and this is a type")
            parameters.append(tree.Declare(argument.span, own.of(variable), own.of(kind), argument))
        self.above.append(name)
        body = own.of(function.body)
        self.above.pop()
        returns = None if _is_void(function) else own.of(function.returns)
        return tree.Inlined(node.span, name, parameters, returns, body)

    def _fail(self, node: tree.Node, message: str) -> NoReturn:
        self.source.fail(node.span, message)


class _Own:
    """Copies what belongs to one call of a function: its variables get names that no other has."""

    def __init__(self, inliner: _Inliner, number: int) -> None:
        self.inliner = inliner
        self.mark = f"{MARK}f{number}"

    def of(self, node: Any) -> Any:
        """The copy of a node."""
        return clone(node, self._instead)

    def _instead(self, node: tree.Node) -> tree.Node | None:
        if isinstance(node, tree.Variable):
            return tree.Variable(node.span, node.name + self.mark)
        if isinstance(node, tree.Call) and node.name in self.inliner.functions:
            renamed = tree.Call(node.span, node.name, [self.of(each) for each in node.arguments])
            return self.inliner.of(renamed)  # type: ignore[no-any-return]
        return None


def _signature(function: tree.Function) -> str:
    from pybpf.bt.syntax.printer import type_text

    parameters = ", ".join(f"${variable.name}: {type_text(kind)}" for variable, kind in function.parameters)
    return f"{function.name}({parameters})"


def _returns(node: tree.Node | None) -> bool:
    """Whether every way through a statement or an expression ends in ``return``, or ends the probe."""
    if isinstance(node, tree.Block):
        return any(map(_returns, node.statements)) or _returns(node.value)
    if isinstance(node, tree.Evaluate):
        return _returns(node.value)
    if isinstance(node, tree.If):
        return node.otherwise is not None and all(map(_returns, [*(body for _, body in node.arms), node.otherwise]))
    if isinstance(node, tree.Call):
        return node.name == "exit"
    return isinstance(node, tree.Return)
