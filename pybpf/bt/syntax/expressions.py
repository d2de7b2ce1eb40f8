"""Expressions: C's operators by a table of precedence, and what bpftrace adds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Union

from pybpf.bt.syntax import tree
from pybpf.bt.syntax.literals import LiteralFault, integer
from pybpf.bt.syntax.source import Span
from pybpf.bt.syntax.tokens import BINARY
from pybpf.bt.syntax.typenames import COMPOUND_WORDS, TypeParser, is_type_name

__all__ = ["ExpressionParser"]

_PREFIX = ("-", "!", "~", "*")
_TARGETS = (tree.Variable, tree.Map, tree.MapAccess)
#: Words that stand for a value and so are no type: ``(pid) - 1`` subtracts. Functions and macros are not among them.
_VALUES = frozenset((
    "args", "cgroup", "comm", "cpid", "cpu", "ctx", "curtask", "elapsed", "false", "func", "gid", "jiffies", "kstack",
    "ncpus", "nsecs", "numaid", "pcomm", "pid", "ppid", "probe", "rand", "retval", "tid", "true", "uid", "usermode",
    "username", "ustack",
))  # fmt: skip
#: What follows ``)`` where the parentheses held a type of a name not known, and what may follow a value there, too.
_OPERANDS = ("name", "integer", "string", "map", "variable", "parameter", "(", "!", "~", "$#")
_SIGNED_OPERANDS = (*_OPERANDS, "-", "*", "&", "++", "--")
_Found = Union[tree.Expression, tree.TypeOf]


#: operators by which it makes no difference what of a chain comes together first
_ASSOCIATIVE = frozenset({"||", "&&", "|", "^", "&", "+", "*"})
#: levels from which on chains of those are trees that are as flat as can be
_DEEP = 50


class _Part:
    """An operand, or operands with an operator between each of them, which will be one.

    :ivar height: how many levels it has.
    """

    def __init__(self, node: tree.Expression | None, height: int, span: Span) -> None:
        self._node = node
        self.height = height
        self.span = span
        self._operator = ""
        self._items: list[_Part] = []
        self._levels = self._highest = height  # one after the other; of the items

    def joined(self, operator: str, right: _Part) -> _Part:
        """This, the operator, and what follows it."""
        if self._operator == operator and operator in _ASSOCIATIVE:
            chain = self
        else:
            chain = _Part(None, self.height, self.span)
            chain._operator, chain._items = operator, [self]
        chain._items.append(right)
        chain.span = self.span[0], right.span[1]
        chain._levels = max(chain._levels, right.height) + 1
        chain._highest = max(chain._highest, right.height)
        chain.height = chain._highest + (len(chain._items) - 1).bit_length() if chain._flat else chain._levels
        return chain

    @property
    def _flat(self) -> bool:
        return self._levels > _DEEP and self._operator in _ASSOCIATIVE

    def node(self) -> tree.Expression:
        """The expression."""
        if self._node is None:
            nodes = [each.node() for each in self._items]
            while self._flat and len(nodes) > 1:
                pairs = [self._binary(*nodes[at : at + 2]) for at in range(0, len(nodes) - 1, 2)]
                nodes = [*pairs, *nodes[2 * len(pairs) :]]
            self._node = nodes[0]
            for each in nodes[1:]:
                self._node = self._binary(self._node, each)
        return self._node

    def _binary(self, left: tree.Expression, right: tree.Expression) -> tree.Binary:
        return tree.Binary((left.span[0], right.span[1]), self._operator, left, right)


class ExpressionParser(TypeParser):
    """Reads expressions."""

    def block(self, what: str) -> tree.Block:
        """``{ ... }`` (read by the parser of statements); ``what`` names what it belongs to."""
        raise NotImplementedError

    def expression(self, first: tree.Target | None = None) -> tree.Expression:
        """Any expression: ``a ? b : c`` and all that binds more strongly; ``first``: its start, read already."""
        start = self.start if first is None else first.span[0]
        self.enter()
        found = self._binary(first)
        if self.kind == "?":
            height = self.height
            self.advance()
            then = None
            if self.kind != ":":
                then = self.expression()
                height = max(height, self.height)
            self.expect(":", "after the second part of 'condition ? value : value'")
            otherwise = self.expression()
            found = tree.Conditional(self.since(start), found, then, otherwise)
            self.grow(found.span, max(height, self.height) + 1)
        self.depth -= 1
        return found

    def _binary(self, first: tree.Target | None) -> tree.Expression:
        """Operands and operators on two stacks: a long chain needs no recursion."""
        parts = [self._part(self._unary() if first is None else self._postfix(first))]
        operators: list[str] = []
        while True:
            strength = BINARY.get(self.kind, 0)
            if strength and self.kind == "/" and self.peek() == "{":
                strength = 0  # the '/' that ends a predicate
            while operators and BINARY[operators[-1]] >= strength:
                right = parts.pop()
                parts.append(parts.pop().joined(operators.pop(), right))
                self.grow(parts[-1].span, parts[-1].height)
            if not strength:
                self.height = parts[0].height
                return parts[0].node()
            operators.append(self.advance())
            parts.append(self._part(self._unary()))

    def _part(self, node: tree.Expression) -> _Part:
        return _Part(node, self.height, node.span)

    def _unary(self) -> tree.Expression:
        """Prefix operators, then what they are before."""
        kind = self.kind
        if kind in _PREFIX:
            signs = []
            while self.kind in _PREFIX:
                signs.append((self.start, self.advance()))
            found = self._unary()
            for start, sign in reversed(signs):
                found = tree.Unary(self.since(start), sign, found)
                self.grow(found.span, self.height + 1)
            return found
        if kind in ("++", "--"):
            return self._prefix_step()
        if kind == "&":
            return self._address()
        return self._postfix(self._primary())

    def _prefix_step(self) -> tree.Expression:
        start = self.start
        sign = self.advance()
        target = self._postfix(self._primary())
        if not isinstance(target, _TARGETS):
            self.fail(target.span, f"{sign} changes a variable or a map; write {sign}$x or {sign}@x")
        self.grow(target.span, self.height + 1)
        return tree.Step(self.since(start), sign, target, True)

    def _address(self) -> tree.Expression:
        start = self.start
        self.advance()
        if self.kind not in ("variable", "map"):
            self.fail_here("& gives the address of a variable or a map: $x or @x must stand here")
        operand = self._primary()
        if isinstance(operand, tree.MapAccess):
            self.fail(operand.span, "& gives the address of a whole map; write it without a key")
        self.grow(operand.span, self.height + 1)
        return tree.Unary(self.since(start), "&", operand)

    # After a value

    def _postfix(self, found: tree.Expression) -> tree.Expression:
        """What may follow a value: fields, indices, ``++`` and ``--``."""
        while True:
            kind = self.kind
            height = self.height
            if kind == "." or kind == "->":
                found = self._member(found)
            elif kind == "[":
                self.advance()
                index = self.expression()
                self.expect("]", "after the index")
                found = tree.Index(self.since(found.span[0]), found, index)
            elif kind == "++" or kind == "--":
                if not isinstance(found, _TARGETS):
                    self.fail(found.span, f"{kind} changes a variable or a map; write $x{kind} or @x{kind}")
                self.advance()
                found = tree.Step(self.since(found.span[0]), kind, found, False)
            else:
                return found
            self.grow(found.span, max(height, self.height) + 1)

    def _member(self, found: tree.Expression) -> tree.Expression:
        start = found.span[0]
        arrow = self.advance() == "->"
        if self.kind == "integer" and not arrow:
            if isinstance(found, tree.Integer):
                self.fail(self.since(start), "there are no fractions; write an integer")
            if not self.text.isdigit():
                self.fail_here("the number of a tuple's item must stand here, as in $x.0")
            index = self.integer("")
            return tree.Element(self.since(start), found, index)
        name = self.expect("name", f"after '{'->' if arrow else '.'}'; a field has a name")
        if self.kind == "(" and not arrow:
            arguments = self._arguments(name)
            return tree.MethodCall(self.since(start), found, name, arguments)
        return tree.Field(self.since(start), found, name, arrow)

    # Values

    def _primary(self) -> tree.Expression:
        reader = _PRIMARIES.get(self.kind)
        if reader is None:
            if self.kind == "=":
                self.fail(self.span, "'=' does not stand here; write == to compare")
            self.fail_here("a value must stand here")
        self.height = 1
        return reader(self)

    def _integer(self) -> tree.Expression:
        start, end = self.span
        text = self.advance()
        try:
            return tree.Integer((start, end), integer(text), text)
        except LiteralFault as fault:
            self.fail((start + fault.start, start + fault.end), str(fault))

    def _string(self) -> tree.Expression:
        span = self.span
        return tree.String(span, self.string(""))

    def variable(self) -> tree.Variable:
        """The ``$x`` that stands here."""
        span = self.span
        return tree.Variable(span, self.advance()[1:])

    def map(self) -> tree.Map:
        """The ``@x`` that stands here, without keys."""
        span = self.span
        return tree.Map(span, self.advance()[1:])

    def target(self) -> tree.Target:
        """The ``$x``, ``@x`` or ``@x[key]`` that stands here."""
        if self.kind == "variable":
            self.height = 1
            return self.variable()
        return self._map_entry()

    def _map_entry(self) -> tree.Map | tree.MapAccess:
        found = self.map()
        self.height = 1
        if self.kind != "[":
            return found
        self.advance()
        height = 0
        keys = []
        while True:
            if self.kind == "]":
                self.fail_here(f"the key must stand here, as in @{found.name}[pid]")
            keys.append(self.expression())
            height = max(height, self.height)
            if not self.accept(","):
                break
        self.expect("]", "after the keys of the map")
        self.grow(found.span, height + 1)
        return tree.MapAccess(self.since(found.span[0]), found, keys)

    def _parameter(self) -> tree.Expression:
        span = self.span
        digits = self.advance()[1:]
        if len(digits) > 9 or not digits.lstrip("0"):
            self.fail(span, "the script's arguments are $1, $2 and so on")
        return tree.Parameter(span, int(digits))

    def _parameter_count(self) -> tree.Expression:
        span = self.span
        self.advance()
        return tree.ParameterCount(span)

    def _braces(self) -> tree.Expression:
        return self.block("a block")

    def _word(self) -> tree.Expression:
        """A name, a call, or one of the words that start an expression."""
        reader = _WORDS.get(self.text)
        if reader is not None:
            return reader(self)
        start = self.start
        name = self.advance()
        if self.kind == "(":
            arguments = self._arguments(name)
            return tree.Call(self.since(start), name, arguments)
        return tree.Name(self.since(start), name)

    def _arguments(self, name: str) -> list[_Found]:
        """``(argument, ...)``"""
        self.advance()
        found: list[_Found] = []
        height = 0
        while self.kind != ")":
            found.append(self.type_of() if self.kind == "name" and self.text == "typeof" else self.expression())
            height = max(height, self.height)
            if not self.accept(","):
                break
        if self.kind != ")":
            self.fail_here(f"',' or ')' must stand here after an argument of {name}")
        self.advance()
        self.height = height + 1
        return found

    def _boolean(self) -> tree.Expression:
        span = self.span
        return tree.Boolean(span, self.advance() == "true")

    def _sizeof(self) -> tree.Expression:
        start = self.start
        word = self.advance()
        self.expect("(", f"after {word!r}")
        operand = self.type_or_expression()
        self.expect(")", f"after what {word!r} is of")
        node = tree.SizeOf if word == "sizeof" else tree.TypeInfo
        return node(self.since(start), operand)

    def _offsetof(self) -> tree.Expression:
        start = self.start
        self.advance()
        self.expect("(", "after 'offsetof'")
        operand = self.type_or_expression()
        self.expect(",", "between the type and the field of 'offsetof'")
        path = [self.expect("name", "as the field of 'offsetof'")]
        while self.accept("."):
            path.append(self.expect("name", "as the field of 'offsetof'"))
        self.expect(")", "after the field of 'offsetof'")
        return tree.OffsetOf(self.since(start), operand, path)

    def _comptime(self) -> tree.Expression:
        start = self.start
        self.advance()
        self.enter()
        value = self._unary()
        self.depth -= 1
        self.grow(value.span, self.height + 1)
        return tree.Comptime(self.since(start), value)

    def _if(self) -> tree.Expression:
        start = self.start
        arms = []
        otherwise = None
        height = 0
        while True:
            self.advance()
            condition = self.condition("if")
            arms.append((condition, self.block("'if'")))
            height = max(height, self.height)
            if not self.accept_word("else"):
                break
            if self.kind != "name" or self.text != "if":
                otherwise = self.block("'else'")
                height = max(height, self.height)
                break
        self.grow((start, start + 2), height + 1)
        return tree.If(self.since(start), arms, otherwise)

    def condition(self, word: str) -> tree.Expression:
        """What stands between a keyword and its block. ``if (a) == 1 {`` is not C and not read as more than ``(a)``."""
        if self.kind == "(":
            self.advance()
            found = self.expression()
            self.expect(")", f"after the condition of {word!r}")
            return found
        if self.kind == "{":
            self.fail_here(f"the condition of {word!r} must stand here")
        self.enter()
        found = self._unary()
        self.depth -= 1
        return found

    # Parentheses

    def _parentheses(self) -> tree.Expression:
        """``(a)``, ``(type)a``, ``(a, b)`` or ``(x = a)``"""
        start = self.start
        self.advance()
        if self.accept(")"):
            return tree.Tuple(self.since(start), [])
        if self.kind == "name":
            if self.peek() == "=":
                return self._record(start)
            cast = self._cast(start)
            if cast is not None:
                return cast
        first = self.expression()
        if self.accept(")"):
            return first
        if self.kind != ",":
            self.fail_here("')' must stand here after the expression that '(' started")
        height = self.height
        items = [first]
        while self.accept(",") and self.kind != ")":
            items.append(self.expression())
            height = max(height, self.height)
        self.expect(")", "after the items of the tuple")
        self.grow(first.span, height + 1)
        return tree.Tuple(self.since(start), items)

    def _record(self, start: int) -> tree.Expression:
        fields: dict[str, tree.Expression] = {}
        height = 0
        while True:
            span = self.span
            name = self.expect("name", "as the name of a field of the record")
            if name in fields:
                self.fail(span, f"the record has a field {name!r} already; give this one another name")
            self.expect("=", f"after {name!r}: each item of the record has a name")
            fields[name] = self.expression()
            height = max(height, self.height)
            if not self.accept(",") or self.kind == ")":
                break
        self.expect(")", "after the fields of the record")
        self.grow(span, height + 1)
        return tree.Record(self.since(start), list(fields.items()))

    def _cast(self, start: int) -> tree.Expression | None:
        """The cast that may stand here, after its ``(``; None (and back to where it was) where it is another thing."""
        mark = self.mark()
        known = self.text in COMPOUND_WORDS or self.text == "typeof" or is_type_name(self.text)
        if not known and (self.text in _VALUES or not self._is_cast()):
            self.go_back(mark)
            return None
        self.go_back(mark)
        kind = self.type_at("as a type")
        if self.kind != ")":
            self.fail_here("')' must stand here after the type")
        self.advance()
        if self.kind not in _SIGNED_OPERANDS:
            self.fail_here("the value to convert must stand here after the type")
        self.enter()
        value = self._unary()
        self.depth -= 1
        self.grow(value.span, self.height + 1)
        return tree.Cast(self.since(start), kind, value)

    def _is_cast(self) -> bool:
        """Whether a name not known is a type here: by what follows it, and by what follows the ``)``; goes forward."""
        if self.peek() in ("*", "["):
            if not self._suffixes_end() or self.kind != ")":
                return False
            return self.peek() in _SIGNED_OPERANDS
        return self.peek() == ")" and self.peek(2) in _OPERANDS


_PRIMARIES: dict[str, Callable[[ExpressionParser], tree.Expression]] = {
    "name": ExpressionParser._word,
    "integer": ExpressionParser._integer,
    "string": ExpressionParser._string,
    "variable": ExpressionParser.variable,
    "map": ExpressionParser._map_entry,
    "parameter": ExpressionParser._parameter,
    "$#": ExpressionParser._parameter_count,
    "(": ExpressionParser._parentheses,
    "{": ExpressionParser._braces,
}

_WORDS: dict[str, Callable[[ExpressionParser], tree.Expression]] = {
    "true": ExpressionParser._boolean,
    "false": ExpressionParser._boolean,
    "sizeof": ExpressionParser._sizeof,
    "typeinfo": ExpressionParser._sizeof,
    "offsetof": ExpressionParser._offsetof,
    "comptime": ExpressionParser._comptime,
    "if": ExpressionParser._if,
}
