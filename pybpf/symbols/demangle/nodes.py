"""What a mangled C++ name says, as a tree; and its text in the form of GNU's c++filt.

The text of a type is in two parts, since C's declarators surround what they declare: ``void (*`` and ``)(int)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional, Union

from pybpf.symbols.demangle.limits import Budget, NotUnderstood

__all__ = [
    "NOTHING",
    "Array",
    "Conversion",
    "Encoding",
    "Expansion",
    "Function",
    "Joined",
    "Lambda",
    "Literal",
    "Member",
    "Name",
    "Node",
    "Operand",
    "Pack",
    "PackSize",
    "Parameter",
    "Pointer",
    "Printer",
    "Qualified",
    "Reference",
    "Scoped",
    "Seq",
    "Standard",
    "Structor",
    "Tagged",
    "Template",
    "has_result",
    "last_name",
]

_Pair = tuple[str, str]
_Part = Union[str, "Node"]
_Print = Callable[["Node"], "tuple[str, str]"]


class Node:
    """A part of a name."""

    __slots__ = ()

    def pair(self, out: Printer) -> _Pair:
        """The text before and after what a declarator declares."""
        raise NotImplementedError


#: the arguments of the templates around a node, innermost first
_Scope = Optional[tuple[Sequence[Node], Any]]


class Printer:
    """Turns nodes into text: bounded in depth, in steps, and in the characters that are copied around.

    What a template's parameter stands for is known only here: a substitution means the parameter, not its argument.
    """

    def __init__(self) -> None:
        self._budget = Budget()
        self.scope: _Scope = None
        #: the element of each pack that is printed now, or None outside of expansions
        self.element: int | None = None
        #: how many elements the packs of this expansion have, once one was seen
        self.elements: int | None = None
        #: inside a lambda's parameters: names of its own template parameters, which have no arguments
        self.lambda_names: Sequence[str] | None = None

    def pair(self, node: Node) -> _Pair:
        self._budget.enter()
        left, right = node.pair(self)
        self._budget.leave()
        self._budget.spend(len(left) + len(right))
        return left, right

    def text(self, part: _Part) -> str:
        return part if isinstance(part, str) else "".join(self.pair(part))

    def joined(self, nodes: Sequence[Node]) -> str:
        """The texts with commas between; an empty expansion leaves no comma."""
        return ", ".join(filter(None, map(self.text, nodes)))

    def resolve(self, node: Node) -> tuple[Node, _Scope, int | None]:
        """What stands for a template's parameter, of a pack its element; the scope and element to print it in."""
        scope, element = self.scope, self.element
        while isinstance(node, Parameter) and self.lambda_names is None:
            if scope is None or node.index >= len(scope[0]):
                raise NotUnderstood
            node, scope = scope[0][node.index], scope[1]
            if isinstance(node, Pack) and element is not None:
                if self.elements is None:
                    self.elements = len(node.nodes)
                node = node.nodes[element] if element < len(node.nodes) else NOTHING
            # what an argument is has no part in the expansion that it is printed for
            element = None
        return node, scope, element

    def resolved_pair(self, resolved: tuple[Node, _Scope, int | None], print_: _Print) -> _Pair:
        """What ``print_`` makes of what :meth:`resolve` gave."""
        saved = self.scope, self.element
        node, self.scope, self.element = resolved
        both = print_(node)
        self.scope, self.element = saved
        return both


class Name(Node):
    """Text as it stands."""

    __slots__ = ("value",)

    def __init__(self, value: str) -> None:
        self.value = value

    def pair(self, out: Printer) -> _Pair:
        return self.value, ""


NOTHING = Name("")


class Seq(Node):
    """Parts one after the other."""

    __slots__ = ("parts",)

    def __init__(self, *parts: _Part) -> None:
        self.parts = parts

    def pair(self, out: Printer) -> _Pair:
        return "".join(map(out.text, self.parts)), ""


class Joined(Node):
    """Parts with commas between them."""

    __slots__ = ("nodes",)

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = nodes

    def pair(self, out: Printer) -> _Pair:
        return out.joined(self.nodes), ""


class Scoped(Node):
    """``scope::name``."""

    __slots__ = ("name", "scope")

    def __init__(self, scope: Node, name: Node) -> None:
        self.scope = scope
        self.name = name

    def pair(self, out: Printer) -> _Pair:
        return f"{out.text(self.scope)}::{out.text(self.name)}", ""


class Template(Node):
    """``name<arguments>``."""

    __slots__ = ("arguments", "name")

    def __init__(self, name: Node, arguments: Sequence[Node]) -> None:
        self.name = name
        self.arguments = arguments

    def pair(self, out: Printer) -> _Pair:
        name = out.text(self.name)
        arguments = [out.text(argument) for argument in self.arguments]
        inside = ", ".join(filter(None, arguments))
        before = " <" if name.endswith("<") else "<"
        # c++filt puts a space between two >, but not where an empty pack comes between them
        after = " >" if arguments and arguments[-1].endswith(">") else ">"
        return f"{name}{before}{inside}{after}", ""


class Tagged(Node):
    """``name[abi:tag]``."""

    __slots__ = ("name", "tag")

    def __init__(self, name: Node, tag: Node) -> None:
        self.name = name
        self.tag = tag

    def pair(self, out: Printer) -> _Pair:
        return f"{out.text(self.name)}[abi:{out.text(self.tag)}]", ""


class Pack(Node):
    """The arguments that a parameter pack stands for."""

    __slots__ = ("nodes",)

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = nodes

    def pair(self, out: Printer) -> _Pair:
        return out.joined(self.nodes), ""


class Expansion(Node):
    """``pattern...``: the pattern for each element of the packs in it."""

    __slots__ = ("pattern",)

    def __init__(self, pattern: Node) -> None:
        self.pattern = pattern

    def pair(self, out: Printer) -> _Pair:
        saved, out.element, out.elements = (out.element, out.elements), 0, None
        texts = [out.text(self.pattern)]
        count = out.elements
        for element in range(1, count or 0):
            out.element = element
            texts.append(out.text(self.pattern))
        out.element, out.elements = saved
        return f"{texts[0]}..." if count is None else ", ".join(texts[:count]), ""


class PackSize(Node):
    """``sizeof...``, which is a number once the pack is known."""

    __slots__ = ("pattern",)

    def __init__(self, pattern: Node) -> None:
        self.pattern = pattern

    def pair(self, out: Printer) -> _Pair:
        saved, out.element = out.element, None
        node = out.resolve(self.pattern)[0]
        out.element = saved
        return str(len(node.nodes)) if isinstance(node, Pack) else "1", ""


class Parameter(Node):
    """A template's parameter, by its number; in a generic lambda it has no argument, and often no name: ``auto:1``."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index

    def pair(self, out: Printer) -> _Pair:
        names = out.lambda_names
        if names is None:
            return out.resolved_pair(out.resolve(self), out.pair)
        return names[self.index] if self.index < len(names) else f"auto:{self.index + 1}", ""


class Lambda(Node):
    """``{lambda(int)#1}``, or ``{lambda<typename $T0>($T0)#1}``.

    :ivar head: what kind each of its declared template parameters is, and a name for it.
    """

    __slots__ = ("head", "number", "parameters", "suffix")

    def __init__(self, head: Sequence[tuple[Node, str]], parameters: Sequence[Node], suffix: Node, number: int) -> None:
        self.head = head
        self.parameters = parameters
        self.suffix = suffix
        self.number = number

    def pair(self, out: Printer) -> _Pair:
        saved, out.lambda_names = out.lambda_names, [name for _, name in self.head]
        head = ", ".join(f"{out.text(kind)} {name}" for kind, name in self.head)
        text = f"{f'<{head}>' if head else ''}({out.joined(self.parameters)}){out.text(self.suffix)}"
        out.lambda_names = saved
        return f"{{lambda{text}#{self.number}}}", ""


class Qualified(Node):
    """A type with something after it: ``char const``."""

    __slots__ = ("suffix", "type")

    def __init__(self, type_: Node, suffix: _Part) -> None:
        self.type = type_
        self.suffix = suffix

    def pair(self, out: Printer) -> _Pair:
        left, right = out.pair(self.type)
        suffix = f" {out.text(self.suffix)}"
        # const of what is const already
        if isinstance(out.resolve(self.type)[0], Qualified) and left.endswith(suffix):
            return left, right
        return left + suffix, right


def _declarator(target: Node, sign: str, out: Printer) -> _Pair:
    """``sign`` applied to a type; what is pointed to binds tighter on its right, so it takes parentheses."""
    left, right = out.pair(target)
    kind = out.resolve(target)[0]
    while isinstance(kind, Qualified):
        kind = out.resolve(kind.type)[0]
    if isinstance(kind, Function):
        return f"{left}({sign}", f"){right}"
    if isinstance(kind, Array):
        return f"{left} ({sign}", f"){right}"
    return left + sign, right


class Pointer(Node):
    """``type*``."""

    __slots__ = ("type",)

    def __init__(self, type_: Node) -> None:
        self.type = type_

    def pair(self, out: Printer) -> _Pair:
        return _declarator(self.type, "*", out)


class Reference(Node):
    """``type&`` or ``type&&``; references to references collapse."""

    __slots__ = ("sign", "type")

    def __init__(self, type_: Node, sign: str) -> None:
        self.type = type_
        self.sign = sign

    def pair(self, out: Printer) -> _Pair:
        return self._collapsed(self.sign, out)

    def _collapsed(self, sign: str, out: Printer) -> _Pair:
        resolved = out.resolve(self.type)
        target = resolved[0]
        if isinstance(target, Reference):
            shorter = min(sign, target.sign)  # & wins over &&
            return out.resolved_pair(resolved, lambda _: target._collapsed(shorter, out))
        return _declarator(self.type, sign, out)


class Member(Node):
    """A pointer to a member: ``type scope::*``."""

    __slots__ = ("scope", "type")

    def __init__(self, scope: Node, type_: Node) -> None:
        self.scope = scope
        self.type = type_

    def pair(self, out: Printer) -> _Pair:
        sign = f"{out.text(self.scope)}::*"
        if isinstance(out.resolve(self.type)[0], (Function, Array)):
            return _declarator(self.type, sign, out)
        return _declarator(self.type, f" {sign}", out)


class Array(Node):
    """``type [size]``."""

    __slots__ = ("size", "type")

    def __init__(self, type_: Node, size: _Part) -> None:
        self.type = type_
        self.size = size

    def pair(self, out: Printer) -> _Pair:
        left, right = out.pair(self.type)
        return left, f" [{out.text(self.size)}]{right[1:] if right.startswith(' [') else right}"


class Function(Node):
    """A function's type: ``int (char) const &``."""

    __slots__ = ("parameters", "result", "suffix")

    def __init__(self, result: Node | None, parameters: Sequence[Node], suffix: Node) -> None:
        self.result = result
        self.parameters = parameters
        self.suffix = suffix

    def pair(self, out: Printer) -> _Pair:
        left, right = out.pair(self.result) if self.result else ("", "")
        if left and not right:
            left += " "
        return left, f"({out.joined(self.parameters)}){out.text(self.suffix)}{right}"


class Encoding(Node):
    """A function: its name, and its type if that was mangled."""

    __slots__ = ("name", "type")

    def __init__(self, name: Node, type_: Function) -> None:
        self.name = name
        self.type = type_

    def without_result(self) -> Encoding:
        return Encoding(self.name, Function(None, self.type.parameters, self.type.suffix))

    def pair(self, out: Printer) -> _Pair:
        template = _own_template(self.name)
        if template is None:
            return self._pair(out)
        saved, out.scope = out.scope, (template.arguments, out.scope)
        both = self._pair(out)
        out.scope = saved
        return both

    def _pair(self, out: Printer) -> _Pair:
        left, right = self.type.pair(out)
        return f"{left}{out.text(self.name)}{right}", ""


#: what a constant of a type ends with; a bool has words
_SUFFIXES: Mapping[str, str] = {
    "int": "",
    "unsigned int": "u",
    "long": "l",
    "unsigned long": "ul",
    "long long": "ll",
    "unsigned long long": "ull",
}


class Literal(Node):
    """A constant: with a suffix where its type has one, after a cast where not."""

    __slots__ = ("type", "value")

    def __init__(self, type_: Node, value: str) -> None:
        self.type = type_
        self.value = value

    def pair(self, out: Printer) -> _Pair:
        name = out.text(self.type)
        if name in _SUFFIXES:
            return self.value + _SUFFIXES[name], ""
        if name == "bool" and self.value in ("0", "1"):
            return ("false", "true")[int(self.value)], ""
        return f"({name}){self.value}", ""


class Operand(Node):
    """An expression inside another: in parentheses, unless it is a name."""

    __slots__ = ("node",)

    def __init__(self, node: Node) -> None:
        self.node = node

    def pair(self, out: Printer) -> _Pair:
        text = out.text(self.node)
        return text if isinstance(out.resolve(self.node)[0], (Name, Scoped)) else f"({text})", ""


class Standard(Name):
    """An abbreviated name of the standard library."""

    __slots__ = ("own",)

    def __init__(self, value: str, own: str) -> None:
        super().__init__(value)
        self.own = own


class Structor(Node):
    """A constructor or destructor."""

    __slots__ = ("name", "sign")

    def __init__(self, name: Node, sign: str) -> None:
        self.name = name
        self.sign = sign

    def pair(self, out: Printer) -> _Pair:
        return self.sign + out.text(self.name), ""


class Conversion(Node):
    """``operator int``."""

    __slots__ = ("type",)

    def __init__(self, type_: Node) -> None:
        self.type = type_

    def pair(self, out: Printer) -> _Pair:
        return f"operator {out.text(self.type)}", ""


def last_name(node: Node) -> Node:
    """The class's own name, of which constructors and destructors are made: ``b`` of ``a::b<int>``."""
    while isinstance(node, (Scoped, Template, Tagged)):
        node = node.name
    return node


def _own_template(name: Node) -> Template | None:
    """The template that a function itself is an instance of, not a class around it."""
    while isinstance(name, Scoped):
        name = name.name
    return name if isinstance(name, Template) else None


def has_result(name: Node) -> bool:
    """Whether a function's type starts with what it returns: only templates' do, as others cannot differ in it."""
    template = _own_template(name)
    return template is not None and not isinstance(last_name(template), (Structor, Conversion))
