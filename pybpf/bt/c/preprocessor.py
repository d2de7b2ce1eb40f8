"""C's preprocessor, as far as scripts use it: object-like macros, conditions, includes of own files."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from pybpf.bt.c.includes import Includes
from pybpf.bt.c.values import Evaluator
from pybpf.bt.c.words import CToken, blank_comments, words_of
from pybpf.bt.syntax.source import Source, Span
from pybpf.errors import CompileError, NotFoundError
from pybpf.lazy import regex
from pybpf.record import NamedTuple

__all__ = ["MOST_WORDS", "Note", "Preprocessor"]

#: To how many words definitions may grow when macros are replaced: a few that double each other would fill the memory.
MOST_WORDS = 20_000

_DIRECTIVE = regex(r"[ \t]*#[ \t]*([A-Za-z_]*)")
_LINE = regex(r"(?:[^\\\n]|\\(?s:.))*")
_INCLUDED = regex(r'"([^"]+)"|<([^>]+)>')
_MOST_INCLUDES = 50  # one in the other
_DEFINE = regex(r"[ \t]*([A-Za-z_][A-Za-z0-9_]*)(\()?")


class Note(NamedTuple):
    """Something that was left out, for the user to know."""

    message: str
    span: Span


class _Condition(NamedTuple):
    """An ``#if`` that is open."""

    active: bool  #: what stands here counts
    taken: bool  #: a branch was taken, or none may be
    span: Span


class Preprocessor:
    """Reads C text into words.

    :param text: of which offsets are ``source``'s, too; without it, ``source``'s own.
    :param includes: where the files are that it includes.
    :ivar macros: name -> text, of what ``#define`` defined.
    :ivar notes: what was left out.
    """

    def __init__(
        self, source: Source, macros: Mapping[str, str] | None = None, text: str | None = None,
        includes: Includes | None = None,
    ) -> None:  # fmt: skip
        self.source = source
        self._includes = includes or Includes()
        self._open_files: list[str] = []
        self._once: set[str] = set()  # real paths of files that are read once only
        self._found: list[CToken] = []
        self._text = blank_comments(source.text if text is None else text)
        self.macros = dict(macros or {})
        self.notes: list[Note] = []
        self._calls: set[str] = set()  # macros with parameters
        self._words: dict[str, list[CToken]] = {}
        self._conditions: list[_Condition] = []
        self._room = MOST_WORDS

    def run(self) -> list[CToken]:
        """The words of the text that conditions leave, macros replaced, and an end."""
        end = len(self._text)
        for name in self._includes.first:
            path = self._includes.find(name, True, "")
            if path is not None:
                self._include_file(path, (0, 0))
        self._read(0, end)
        return [*self._found, CToken("end", "", (end, end))]

    def _read(self, position: int, end: int) -> None:
        """Read a file: a part of the text."""
        text = self._text
        outside = len(self._conditions)
        start = position
        while position < end:
            directive = _DIRECTIVE.match(text, position)
            if directive is None:
                position = text.find("\n", position, end) + 1 or end
                continue
            self._add(start, position)
            line = _LINE.match(text, directive.end(), end)
            assert line is not None  # it may be empty
            self._directive(directive[1], line[0], (directive.start(), line.end()))
            position = start = min(line.end() + 1, end)
        self._add(start, end)
        if len(self._conditions) > outside:
            self.source.fail(self._conditions[-1].span, "this condition has no end; write #endif where it ends")

    @property
    def _active(self) -> bool:
        return not self._conditions or self._conditions[-1].active

    def _add(self, start: int, end: int) -> None:
        if self._active and start < end:
            self._found += self.expand(words_of(self.source, self._text, start, end))

    # Macros

    def expand(self, words: list[CToken]) -> list[CToken]:
        """The words with macros replaced, each keeping the place where the macro stands."""
        found: list[CToken] = []
        # (word, macros that it came out of): those are not replaced again
        pending: list[tuple[CToken, frozenset[str]]] = [(word, frozenset()) for word in reversed(words)]
        while pending:
            word, hidden = pending.pop()
            self._room -= bool(hidden)
            if self._room < 0:
                self.source.fail(word.span, f"the macros grow to more than {MOST_WORDS} words; define smaller ones")
            if word.kind != "name" or word.text in hidden or word.text not in self.macros:
                if word.text in self._calls and word.kind == "name":
                    message = f"{word.text!r} is a macro with parameters, which cannot be used; write its text instead"
                    self.source.fail(word.span, message)
                found.append(word)
                continue
            hidden |= {word.text}
            pending += [(each._replace(span=word.span), hidden) for each in reversed(self._body(word.text))]
        return found

    def _body(self, name: str) -> list[CToken]:
        if name not in self._words:
            text = self.macros[name]
            try:
                self._words[name] = words_of(Source(text), text, 0, len(text))
            except CompileError:  # not C: bpftrace's own language, for its parser
                self._words[name] = []
        return self._words[name]

    # Directives

    def _directive(self, name: str, rest: str, span: Span) -> None:
        reader = _DIRECTIVES.get(name)
        if reader is None:
            if name and self._active:
                self.source.fail(span, f"there is no directive #{name}; write #define, #if, #ifdef or #include")
            return
        conditional = name in _CONDITIONAL
        if conditional or self._active:
            reader(self, rest.replace("\\\n", " ").strip(), span)

    def _define(self, rest: str, span: Span) -> None:
        match = _DEFINE.match(rest)
        if match is None:
            self.source.fail(span, "#define needs a name, as in #define LIMIT 10")
        name = match[1]
        self._words.pop(name, None)
        if match[2]:
            self._calls.add(name)
            self.macros.pop(name, None)
            self.notes.append(Note(f"#define {name}(...) has parameters: it cannot be used", span))
        else:
            self._calls.discard(name)
            self.macros[name] = rest[match.end() :].strip()

    def _undefine(self, rest: str, span: Span) -> None:
        self.macros.pop(rest, None)
        self._words.pop(rest, None)
        self._calls.discard(rest)

    def _include(self, rest: str, span: Span) -> None:
        match = _INCLUDED.match(rest)
        if match is None:
            self.source.fail(span, '#include needs a file, as in #include "mine.h"')
        includer = self._open_files[-1] if self._open_files else self.source.file_of(span[0])
        try:
            path = self._includes.find(match[1] or match[2], bool(match[1]), includer)
        except NotFoundError as error:
            self.source.fail(span, str(error))
        if path is None:
            self.notes.append(Note(f"#include {rest} is left out: types come from the kernel's own information", span))
        elif os.path.realpath(path) not in self._once:
            self._include_file(path, span)

    def _include_file(self, path: str, span: Span) -> None:
        if len(self._open_files) >= _MOST_INCLUDES:
            self.source.fail(span, f"{path} includes itself, or one of the files that include it")
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                text = file.read()
        except OSError as error:
            self.source.fail(span, f"cannot read {path}: {error.strerror}")
        base = self.source.include(text, path)
        self._text = self._text.ljust(base) + blank_comments(text)
        self._open_files.append(path)
        self._read(base, base + len(text))
        self._open_files.pop()

    def _pragma(self, rest: str, span: Span) -> None:
        if rest == "once" and self._open_files:
            self._once.add(os.path.realpath(self._open_files[-1]))
        else:
            self._ignore(rest, span)

    def _ignore(self, rest: str, span: Span) -> None:
        self.notes.append(Note("this directive is left out", span))

    def _error(self, rest: str, span: Span) -> None:
        self.source.fail(span, f"#error: {rest}")

    def _if_defined(self, rest: str, span: Span) -> None:
        self._open(rest in self.macros or rest in self._calls, span)

    def _if_not_defined(self, rest: str, span: Span) -> None:
        self._open(rest not in self.macros and rest not in self._calls, span)

    def _if(self, rest: str, span: Span) -> None:
        self._open(self._active and self._holds(rest, span), span)

    def _holds(self, rest: str, span: Span) -> bool:
        """The value of an ``#if``'s expression; names that are not defined are 0, as in C."""
        words = words_of(Source(rest, self.source.file), rest, 0, len(rest))
        ready: list[CToken] = []
        at = 0
        while at < len(words):
            word = words[at]
            if word.text == "defined":
                parenthesis = at + 1 < len(words) and words[at + 1].kind == "("
                at += 2 if parenthesis else 1
                name = words[at].text if at < len(words) else ""
                at += 1 if parenthesis else 0
                ready.append(CToken("number", str(int(name in self.macros or name in self._calls)), span))
            else:
                ready.append(word._replace(span=span))
            at += 1
        expanded = [CToken("number", "0", span) if each.kind == "name" else each for each in self.expand(ready)]
        reader = Evaluator(self.source, [*expanded, CToken("end", "", span)])
        value = reader.expression().value
        reader.expect("end", "where the condition ends")
        return value != 0

    def _open(self, holds: bool, span: Span) -> None:
        active = self._active
        self._conditions.append(_Condition(active and holds, holds or not active, span))

    def _else(self, rest: str, span: Span) -> None:
        self._branch(lambda: True, span)

    def _else_if(self, rest: str, span: Span) -> None:
        self._branch(lambda: self._holds(rest, span), span)

    def _branch(self, holds: Callable[[], bool], span: Span) -> None:
        if not self._conditions:
            self.source.fail(span, "there is no #if before this")
        old = self._conditions.pop()
        active = not old.taken and self._active and holds()
        self._conditions.append(_Condition(active, old.taken or active, old.span))

    def _end_if(self, rest: str, span: Span) -> None:
        if not self._conditions:
            self.source.fail(span, "there is no #if before this")
        self._conditions.pop()


_CONDITIONAL = frozenset(("if", "ifdef", "ifndef", "else", "elif", "endif"))
_DIRECTIVES: dict[str, Callable[[Preprocessor, str, Span], None]] = {
    "define": Preprocessor._define,
    "undef": Preprocessor._undefine,
    "include": Preprocessor._include,
    "pragma": Preprocessor._pragma,
    "warning": Preprocessor._ignore,
    "line": Preprocessor._ignore,
    "error": Preprocessor._error,
    "ifdef": Preprocessor._if_defined,
    "ifndef": Preprocessor._if_not_defined,
    "if": Preprocessor._if,
    "elif": Preprocessor._else_if,
    "else": Preprocessor._else,
    "endif": Preprocessor._end_if,
}
