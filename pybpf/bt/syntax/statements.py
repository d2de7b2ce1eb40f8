"""Statements and blocks."""

from __future__ import annotations

from collections.abc import Callable

from pybpf.bt.syntax import tree
from pybpf.bt.syntax.expressions import ExpressionParser
from pybpf.bt.syntax.tokens import COMPOUND, END, KEYWORDS

__all__ = ["StatementParser"]

#: After these expressions a statement needs no ';'.
_CLOSED = (tree.If, tree.Block)


class StatementParser(ExpressionParser):
    """Reads statements and blocks."""

    def block(self, what: str) -> tree.Block:
        """``{ statements; value }``"""
        start = self.start
        if self.kind != "{":
            self.fail_here(f"'{{' must stand here: the body of {what} is in braces")
        self.enter()
        self.advance()
        statements: list[tree.Statement] = []
        value = None
        height = 0
        while self.kind != "}":
            if self.kind == END:
                self.fail((start, start + 1), "this '{' has no '}'; write one where the block ends")
            if self.accept(";"):
                continue
            self.forget()
            self.height = 0
            found = self._statement()
            height = max(height, self.height)
            if isinstance(found, tree.Evaluate) and self._ends(found):
                value = found.value
            else:
                statements.append(found)
        self.advance()
        self.depth -= 1
        node = tree.Block(self.since(start), statements, value)
        self.grow((start, start + 1), height + 1)
        return node

    def _ends(self, statement: tree.Evaluate) -> bool:
        """Step over the ``;`` of an expression; whether it is the block's value instead."""
        if self.accept(";"):
            return False
        if self.kind == "}":
            return True
        if not isinstance(statement.value, _CLOSED):
            self._no_end(statement.value)
        return False

    def _no_end(self, value: tree.Expression) -> None:
        """Something stands where a statement should end: a word misspelt, or a ``;`` forgotten."""
        word = value.name if isinstance(value, (tree.Name, tree.Call)) else ""
        if self.kind == "=":
            if isinstance(value, (tree.Field, tree.Element, tree.Index)):
                self.fail(value.span, "what is in a struct, tuple, record or array cannot be changed; make a new value")
            self.fail(value.span, "this cannot be assigned to; write $x or @x before the '='")
        if self.kind in COMPOUND:
            self.fail(value.span, f"this cannot be assigned to; write $x or @x before the {self.kind!r}")
        from difflib import get_close_matches  # only here: most scripts misspell nothing

        near = get_close_matches(word, KEYWORDS, 1) if word else []
        if near:
            self.fail(value.span, f"{word!r} does not start a statement; did you mean {near[0]}?")
        self.fail((self.last - 1, self.last), "';' must stand after this, where the statement ends")

    def end_statement(self) -> None:
        """``;``, which a statement before ``}`` may lack."""
        if self.kind != "}" and not self.accept(";"):
            self.fail((self.last - 1, self.last), "';' must stand after this, where the statement ends")

    def _statement(self) -> tree.Statement:
        if self.kind == "name":
            reader = _STATEMENTS.get(self.text)
            if reader is not None:
                return reader(self)
            if self.text == "_" and self.peek() == "=":
                return self._discard()
        elif self.kind in ("variable", "map"):
            return self._assignment()
        elif self.kind == "#":
            self.fail_here("preprocessor lines stand at the top of the script, before the first probe")
        start = self.start
        # a statement that starts with a block ends with it, so that one that starts with '-', '*' or '++' can follow
        closed = self.kind == "{" or (self.kind == "name" and self.text == "if")
        value = self._primary() if closed else self.expression()
        return tree.Evaluate(self.since(start), value)

    def _assignment(self) -> tree.Statement:
        """``target = value;``, ``target += value;``, or an expression that starts with a variable or a map."""
        start = self.start
        target = self.target()
        operator = COMPOUND.get(self.kind)
        if operator is None and self.kind != "=":
            value = self.expression(target)
            return tree.Evaluate(self.since(start), value)
        height = self.height
        self.advance()
        value = self.expression()
        if self.kind == "=":
            self.fail_here("an assignment has no value: one '=' may stand in a statement")
        node = tree.Assign(self.since(start), target, operator or "", value)
        self.height = max(height, self.height) + 1
        self.end_statement()
        return node

    def _discard(self) -> tree.Statement:
        start = self.start
        self.advance()
        self.advance()
        value = self.expression()
        node = tree.Discard(self.since(start), value)
        self.end_statement()
        return node

    def _let(self) -> tree.Statement:
        start = self.start
        self.advance()
        if self.kind != "variable":
            what = "maps are declared outside of probes" if self.kind == "map" else "'let' declares a variable"
            self.fail_here(f"{what}: $x must stand here")
        variable = self.variable()
        kind = self.type_at("as the type of the variable") if self.accept(":") else None
        value = self.expression() if self.accept("=") else None
        node = tree.Declare(self.since(start), variable, kind, value)
        self.end_statement()
        return node

    def _while(self) -> tree.Statement:
        start = self.start
        word = self.advance()
        condition = self.condition(word)
        height = self.height
        body = self.block(repr(word))
        self.height = max(height, self.height) + 1
        self.accept(";")
        if word == "while":
            return tree.While(self.since(start), condition, body)
        return tree.Unroll(self.since(start), condition, body)

    def _for(self) -> tree.Statement:
        start = self.start
        self.advance()
        parenthesis = self.accept("(")
        if self.kind != "variable":
            self.fail_here("the variable of the loop must stand here, as in for ($x : 0..10)")
        variable = self.variable()
        self.expect(":", "after the variable of the loop, as in for ($x : 0..10)")
        first_start = self.start
        first = self._bound()
        iterable: tree.Map | tree.Range
        if self.accept(".."):
            end = self._bound()
            iterable = tree.Range(self.since(first_start), first, end)
        elif isinstance(first, tree.Map):
            iterable = first
        else:
            self.fail(first.span, "a loop is over a map or a range; write for ($x : @map) or for ($x : 0..10)")
        height = self.height
        if parenthesis:
            self.expect(")", "after what the loop is over")
        body = self.block("'for'")
        self.height = max(height, self.height) + 1
        self.accept(";")
        return tree.For(self.since(start), variable, iterable, body)

    def _bound(self) -> tree.Expression:
        """One end of a range: an expression without a block, so that the loop's own is not taken for it."""
        if self.kind == "{":
            self.fail_here("a map or a range must stand here, as in for ($x : 0..10)")
        return self.expression()

    def _jump(self) -> tree.Statement:
        start = self.start
        node = tree.Break if self.advance() == "break" else tree.Continue
        found = node(self.since(start))
        self.end_statement()
        return found

    def _return(self) -> tree.Statement:
        start = self.start
        self.advance()
        value = None if self.kind in (";", "}") else self.expression()
        node = tree.Return(self.since(start), value)
        self.end_statement()
        return node

    def import_(self) -> tree.Import:
        """``import "path";``"""
        start = self.start
        self.advance()
        path = self.string('after import, as in import "lib.bt";')
        node = tree.Import(self.since(start), path)
        self.expect(";", "after the import")
        return node

    def _stray(self) -> tree.Statement:
        self.fail_here("'else' follows the '}' of an 'if'")


_STATEMENTS: dict[str, Callable[[StatementParser], tree.Statement]] = {
    "break": StatementParser._jump,
    "continue": StatementParser._jump,
    "else": StatementParser._stray,
    "for": StatementParser._for,
    "import": StatementParser.import_,
    "let": StatementParser._let,
    "return": StatementParser._return,
    "unroll": StatementParser._while,
    "while": StatementParser._while,
}
