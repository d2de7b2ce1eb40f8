"""Scripts: C text, settings, imports, then probes, macros, functions and maps."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NoReturn

from pybpf.bt.syntax import attachpoints, tree
from pybpf.bt.syntax.attachpoints import AttachFault, AttachPoint
from pybpf.bt.syntax.source import Source
from pybpf.bt.syntax.statements import StatementParser
from pybpf.bt.syntax.tokens import END, LAYOUT
from pybpf.bt.syntax.typenames import COMPOUND_WORDS
from pybpf.lazy import regex
from pybpf.sys.near import did_you_mean

__all__ = ["parse", "parse_expression"]

_LAYOUT = regex(LAYOUT)
#: A preprocessor line, continued by a backslash at its end.
_DIRECTIVE = regex(r"#(?:[^\\\n]|\\(?s:.))*")
#: One piece of C text between braces.
_C_PIECE = regex(LAYOUT + r"(?:\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|[^\s{};\"'/]+|(?P<end>\Z)|(?s:.))")
#: One piece of an attach point.
_POINT_PIECE = regex(r'"(?:[^"\\]|\\.)*"|[^"\s{,/]+|/', re.DOTALL)
#: A lone surrogate that does not stand for a byte: no text that was read from anywhere has one.
_NO_TEXT = regex("[\ud800-\udc7f\udd00-\udfff]")
_TOP_WORDS = ("config", "import", "macro", "fn", "let", *COMPOUND_WORDS, "typedef")


def parse(text: str, file: str = "<script>", arguments: Sequence[str] | None = None) -> tree.Script:
    """The syntax tree of a script.

    :param file: what errors call it.
    :param arguments: what ``$1`` and so on in attach points stand for; None leaves these unread (``points`` is None).
    :raises CompileError: it is not a script; the error points at the first place that shows it.
    """
    source = _source(text, file)
    return _ScriptParser(source, arguments).script()


def parse_expression(text: str, file: str = "<expression>") -> tree.Expression:
    """The tree of one expression, such as the value of a ``#define``.

    :raises CompileError: it is not an expression.
    """
    parser = StatementParser(_source(text, file))
    found = parser.expression()
    if parser.kind != END:
        parser.fail_here("the expression is complete before this")
    return found


def _source(text: str, file: str) -> Source:
    source = Source(text, file)
    match = _NO_TEXT.search(text)
    if match:
        source.fail(match.span(), f"the character U+{ord(match[0]):04X} has no meaning here; remove it")
    return source


def _after_layout(text: str, position: int) -> int:
    match = _LAYOUT.match(text, position)
    assert match is not None  # it may be empty
    return match.end()


class _ScriptParser(StatementParser):
    """Reads what stands outside of blocks."""

    def __init__(self, source: Source, arguments: Sequence[str] | None) -> None:
        start = end = _after_layout(source.text, 0)
        if source.text.startswith("#!", start):
            end = source.text.find("\n", start)
            end = len(source.text) if end < 0 else end
        super().__init__(source, end)
        self._arguments_given = arguments
        self._tree = tree.Script((0, len(source.text)), source, source.text[start:end])
        self._configured = False

    def script(self) -> tree.Script:
        """The whole script."""
        while self.kind != END:
            reader = self._item()
            if reader is None:
                self._tree.probes.append(self._probe())
            else:
                reader(self)
        return self._tree

    def _item(self) -> Callable[[_ScriptParser], None] | None:
        """What reads what stands here; None where it is a probe."""
        if self.kind == "#":
            return _ScriptParser._directive
        if self.kind != "name":
            return None
        reader = _ITEMS.get(self.text)
        # a kind of probe may be called so, too: what follows tells
        return reader if reader is not None and self.peek() != ":" else None

    def _early(self, what: str) -> None:
        """:raises CompileError: a probe or the like stood before this already."""
        found = self._tree
        if found.probes or found.macros or found.functions or found.maps:
            self.fail(self.span, f"{what} must stand before probes, macros, functions and maps; move it to the top")

    # C text

    def _directive(self) -> None:
        self._early("a preprocessor line")
        match = _DIRECTIVE.match(self.source.text, self.start)
        assert match is not None  # '#' stands here
        self._c_text(self.start, match.end())

    def _c_definition(self) -> None:
        """A struct, union, enum or typedef: up to the ``;`` outside of braces, or the ``}`` where that is missing."""
        start = self.start
        self._early(f"the definition of a {self.text}")
        text = self.source.text
        typedef = self.text == "typedef"
        depth = 0
        position = start
        while True:
            match = _C_PIECE.match(text, position)
            assert match is not None  # the last pattern takes what the others do not
            if match["end"] is not None:
                self.fail((start, self.end), "the definition has no end; write '};' there")
            position = match.end()
            last = text[position - 1]
            if last == "{":
                depth += 1
            elif last == "}":
                depth -= 1
                if depth <= 0 and not typedef:
                    break
            elif last == ";" and not depth:
                break
        self._c_text(start, self._c_end(position))

    def _c_end(self, position: int) -> int:
        """Where a definition ends, its last piece being before a position: attributes and ``;`` may follow a ``}``."""
        if self.source.text[position - 1] == ";":
            return position
        self.seek(position)
        while self.accept_word("__attribute__"):
            depth = 0
            while self.kind != END:
                depth += {"(": 1, ")": -1}.get(self.advance(), 0)
                if depth <= 0:
                    break
        self.accept(";")
        return self.last

    def _c_text(self, start: int, end: int) -> None:
        self._tree.c_text.append(tree.CText((start, end), self.source.text[start:end].rstrip()))
        self.seek(end)

    # Settings and imports

    def _config(self) -> None:
        self._early("the config block")
        if self._configured:
            self.fail(self.span, "there is a config block already; put the settings into that one")
        self._configured = True
        self.advance()
        self.expect("=", "after 'config', as in config = { max_strlen = 128 }")
        start = self.start
        self.expect("{", "after 'config =', as in config = { max_strlen = 128 }")
        while not self.accept("}"):
            if self.kind == END:
                self.fail((start, start + 1), "this '{' has no '}'; write one where the settings end")
            self._tree.settings.append(self._setting())
            if self.kind != "}":
                self.expect(";", "after a setting")

    def _setting(self) -> tree.Setting:
        start = self.start
        name = self.expect("name", "as the name of a setting")
        self.expect("=", "after the name of the setting")
        value: int | bool | str
        if self.kind == "integer":
            value = self.integer("")
        elif self.kind == "string":
            value = self.string("")
        else:
            word = self.expect("name", "or a number or text, as the value of the setting")
            value = {"true": True, "false": False}.get(word, word)
        return tree.Setting(self.since(start), name, value)

    def _import(self) -> None:
        self._early("an import")
        self._tree.imports.append(self.import_())

    # Macros, functions, maps

    def _macro(self) -> None:
        start = self.start
        self.advance()
        name = self.expect("name", "as the name of the macro")
        self.expect("(", "after the name of the macro")
        parameters: list[tree.Variable | tree.Map | tree.Name] = []
        while self.kind != ")":
            parameters.append(self._macro_parameter())
            if not self.accept(","):
                break
        self.expect(")", "after the parameters of the macro")
        body = self.block(f"macro {name}")
        self._tree.macros.append(tree.Macro(self.since(start), name, parameters, body))

    def _macro_parameter(self) -> tree.Variable | tree.Map | tree.Name:
        if self.kind == "variable":
            return self.variable()
        if self.kind == "map":
            return self.map()
        span = self.span
        if self.kind != "name":
            self.fail_here("a parameter of a macro must stand here: $x, @x or a name")
        return tree.Name(span, self.advance())

    def _function(self) -> None:
        start = self.start
        self.advance()
        name = self.expect("name", "as the name of the function")
        self.expect("(", "after the name of the function")
        parameters: list[tuple[tree.Variable, tree.Type]] = []
        while self.kind != ")":
            if self.kind != "variable":
                self.fail_here("a parameter of the function must stand here, as in $x: int64")
            variable = self.variable()
            self.expect(":", "after a parameter of a function: it has a type, as in $x: int64")
            parameters.append((variable, self.type_at("as the type of the parameter")))
            if not self.accept(","):
                break
        self.expect(")", "after the parameters of the function")
        self.expect(":", "before the type that the function returns, as in fn f($x: int64): int64")
        returns = self.type_at("as the type that the function returns")
        body = self.block(f"function {name}")
        self._tree.functions.append(tree.Function(self.since(start), name, parameters, returns, body))

    def _map_declaration(self) -> None:
        start = self.start
        self.advance()
        if self.kind != "map":
            self.fail_here("outside of probes, 'let' declares a map, as in let @x = hash(100);")
        found = self.map()
        self.expect("=", "after the map, as in let @x = hash(100);")
        kind = self.expect("name", "as the kind of the map: hash, lruhash, percpuhash or percpulruhash")
        self.expect("(", "after the kind of the map, as in let @x = hash(100);")
        entries = self.integer("as the number of entries that the map has room for")
        self.expect(")", "after the number of entries")
        self.accept(";")
        self._tree.maps.append(tree.MapDeclaration(self.since(start), found, kind, entries))

    # Probes

    def _probe(self) -> tree.Probe:
        start = self.start
        points = [self._point()]
        while self.accept(","):
            if self.kind in ("{", "/"):
                break
            points.append(self._point())
        predicate = None
        if self.accept("/"):
            predicate = self.expression()
            if self.kind != "/":
                self.fail_here("'/' must stand here, where the predicate ends")
            self.advance()
        elif self.kind != "{":
            self.fail_here("'{' or a predicate such as /pid == 1/ must stand here after the probe")
        body = self.block("the probe")
        return tree.Probe(self.since(start), points, predicate, body)

    def _point(self) -> tree.ProbePoint:
        """One attach point: text up to a space, ``{`` or ``,``, or a ``/`` that cannot be part of a path."""
        text = self.source.text
        start = end = self.start
        while True:
            match = _POINT_PIECE.match(text, end)
            if match is None:
                break
            if match[0] == "/" and self._ends_point(text[start:end]):
                break
            end = match.end()
        if end == start:
            self.fail_here("a probe must stand here, as in kprobe:vfs_read { }")
        name, raw = attachpoints.split_name(text[start:end])
        shift = end - len(raw)
        try:
            found = self._read_point(raw)
        except AttachFault as fault:
            self._no_point(raw, (shift + fault.start, shift + fault.end), str(fault))
        self.seek(end)
        self.last = end
        return tree.ProbePoint((start, end), name, raw, found)

    @staticmethod
    def _ends_point(before: str) -> bool:
        head, colon, _ = attachpoints.split_name(before)[1].partition(":")
        kind = attachpoints.kind_of(head)
        return not colon or (kind is not None and not kind.path)

    def _read_point(self, raw: str) -> tuple[AttachPoint, ...] | None:
        if self._arguments_given is None and attachpoints.parameters(raw):
            return None
        return attachpoints.read(raw, self._arguments_given or ())

    def _no_point(self, raw: str, span: tuple[int, int], message: str) -> NoReturn:
        hint = did_you_mean(raw, _TOP_WORDS) if ":" not in raw and raw.isalpha() else ""
        if hint and "did you mean" not in message:
            message = f"{raw!r} starts nothing that a script can hold{hint}"
        self.fail(span, message)


_ITEMS: dict[str, Callable[[_ScriptParser], None]] = {
    **dict.fromkeys((*COMPOUND_WORDS, "typedef"), _ScriptParser._c_definition),
    "config": _ScriptParser._config,
    "fn": _ScriptParser._function,
    "import": _ScriptParser._import,
    "let": _ScriptParser._map_declaration,
    "macro": _ScriptParser._macro,
}
