"""``match`` on constants: each case is a comparison, tried in order."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from pybpf.lang.values.constants import Const
from pybpf.lang.values.ints import any_of

if TYPE_CHECKING:
    from pybpf.compiler.ir import Block
    from pybpf.lang.front.gen import Gen
    from pybpf.lang.values.val import Val

__all__ = ["compile_match"]

_PATTERNS = "a case is a constant, constants with '|', a name or '_'"


def compile_match(gen: Gen, node: Any) -> None:
    """A ``match`` statement (Python 3.10); the syntax tree of 3.9 has no class for it."""
    subject = gen.value(node.subject)
    done = gen.b.new_block("endmatch")
    for case in node.cases:
        body, other = gen.b.new_block("case"), gen.b.new_block("nocase")
        _branch(gen, subject, case.pattern, body, other, node.subject)
        gen.land(body)
        if gen.b.reachable:
            found = gen.value(node.subject) if isinstance(node.subject, ast.Name) else subject
            _capture(gen, found, case.pattern)
            if case.guard is not None:
                guarded = gen.b.new_block("guarded")
                gen.branch(case.guard, guarded, other)
                gen.land(guarded)
            gen.statements(case.body)
            gen.go(done)
        gen.land(other)
        if not gen.b.reachable:
            break
    gen.go(done)
    gen.land(done)


def _branch(gen: Gen, subject: Val, pattern: Any, yes: Block, no: Block, asked: ast.expr) -> None:
    gen.b.line = gen.frame.where(pattern)
    gen.branch_on(_matches(gen, subject, pattern), yes, no, _question(asked, pattern))


def _question(asked: ast.expr, pattern: Any) -> ast.AST:
    """The comparison with a constant that a pattern stands for: what it says of None counts behind it."""
    kind = type(pattern).__name__
    if kind == "MatchSingleton":
        return ast.Compare(asked, [ast.Is()], [ast.Constant(pattern.value)])
    if kind == "MatchValue" and isinstance(pattern.value, ast.Constant):
        return ast.Compare(asked, [ast.Eq()], [pattern.value])
    found: ast.AST = pattern
    return found


def _matches(gen: Gen, subject: Val, pattern: Any) -> Val:
    """Whether a pattern matches."""
    kind = type(pattern).__name__
    if kind in ("MatchValue", "MatchSingleton"):
        wanted = gen.value(pattern.value) if kind == "MatchValue" else Const(pattern.value)
        if not isinstance(wanted, Const):
            gen.fail(pattern, f"{wanted.what} is not a constant: {_PATTERNS}")
        return subject.compare(gen, "is" if wanted.value is None else "==", wanted, pattern)
    if kind == "MatchOr":
        return any_of(gen, [_matches(gen, subject, each) for each in pattern.patterns], pattern)
    if kind == "MatchAs":
        return Const(True) if pattern.pattern is None else _matches(gen, subject, pattern.pattern)
    gen.fail(pattern, f"this pattern cannot be compiled: {_PATTERNS}")


def _capture(gen: Gen, subject: Val, pattern: ast.AST) -> None:
    if type(pattern).__name__ == "MatchAs" and getattr(pattern, "name", None):
        gen.assign(pattern.name, subject, pattern)  # type: ignore[attr-defined]
