"""C declarations: structs, unions, enums, typedefs and ``#define``, as types with layouts and constants."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pybpf.bt.c.includes import Includes
from pybpf.bt.c.layout import Declared, lay_out
from pybpf.bt.c.preprocessor import Note, Preprocessor
from pybpf.bt.c.types import BASIC, CArray, CBasic, CCompound, CEnum, CFunction, CPointer, CType, align_of, size_of
from pybpf.bt.c.values import CNumber, Evaluator
from pybpf.bt.c.words import CToken, words_of
from pybpf.bt.syntax import tree
from pybpf.bt.syntax.cursor import MOST_DEPTH
from pybpf.bt.syntax.source import Source
from pybpf.errors import CompileError
from pybpf.lazy import regex
from pybpf.record import dataclass, field
from pybpf.sys.near import did_you_mean

__all__ = ["Definitions", "Lookup", "read_c", "read_script_c"]

#: Asked for types that the text does not define, as ``"struct sock"``, ``"enum pid_type"`` or the name of a typedef.
Lookup = Callable[[str], "CType | None"]

#: Bytes: no type of a program is larger, and arithmetic on sizes stays small.
_MOST_SIZE = 1 << 31
#: Parentheses of a declarator: what is in them is gone over once for each level.
_MOST_PARENTHESES = 16
_COMPOUND = ("struct", "union", "enum")
_QUALIFIERS = frozenset((
    "const", "volatile", "restrict", "__restrict", "extern", "static", "inline", "register", "__extension__", "__user",
    "__kernel", "__rcu", "__percpu", "__iomem", "auto",
))  # fmt: skip
_BASIC_WORDS = frozenset((
    "void", "char", "short", "int", "long", "float", "double", "signed", "unsigned", "__signed__", "__signed", "_Bool",
    "__int128",
))  # fmt: skip
_STARTS = (*_COMPOUND, "typedef")
_NOT_LINE_END = regex(r"[^\n]")
_ATTRIBUTES = ("__attribute__", "__attribute")


def _typedefs() -> dict[str, CType]:
    """Names that the kernel's and C's own headers give to integers."""
    found: dict[str, CType] = {"bool": BASIC["_Bool"]}
    integers = {1: "char", 2: "short", 4: "int", 8: "long long"}
    for size, name in integers.items():
        bits = 8 * size
        signed, unsigned = BASIC["signed char" if size == 1 else name], BASIC[f"unsigned {name}"]
        found.update(dict.fromkeys((f"s{bits}", f"__s{bits}", f"int{bits}_t", f"int{bits}"), signed))
        found.update(dict.fromkeys((f"u{bits}", f"__u{bits}", f"uint{bits}_t", f"uint{bits}"), unsigned))
        found.update(dict.fromkeys((f"__le{bits}", f"__be{bits}"), unsigned))
    for names, name in (
        ("size_t uintptr_t sector_t blkcnt_t ino_t __kernel_size_t", "unsigned long"),
        ("ssize_t off_t loff_t time_t intptr_t ptrdiff_t clock_t ktime_t", "long"),
        ("pid_t", "int"),
        ("uid_t gid_t dev_t gfp_t uint", "unsigned int"),
        ("umode_t ushort sa_family_t", "unsigned short"),
        ("u_char uchar", "unsigned char"),
    ):
        found.update(dict.fromkeys(names.split(), BASIC[name]))
    return found


_TYPEDEFS = _typedefs()


@dataclass
class Definitions:
    """What C text defines.

    :ivar types: ``"struct x"``, ``"union x"``, ``"enum x"`` or the name of a typedef -> type.
    :ivar enumerators: name -> value.
    :ivar enums: the enumerations.
    :ivar macros: name -> text of ``#define``: also what is no C, for the parser of scripts.
    :ivar notes: what was left out.
    """

    source: Source
    preprocessor: Preprocessor
    types: dict[str, CType] = field(default_factory=dict)
    enumerators: dict[str, int] = field(default_factory=dict)
    enums: list[CEnum] = field(default_factory=list)

    @property
    def macros(self) -> dict[str, str]:
        return self.preprocessor.macros

    @property
    def notes(self) -> list[Note]:
        return self.preprocessor.notes

    def value(self, name: str) -> int | None:
        """The value of an enumerator or of a macro that is an integer; None of other names."""
        if name in self.enumerators:
            return self.enumerators[name]
        if name not in self.macros:
            return None
        text = self.macros[name]
        try:
            words = self.preprocessor.expand(words_of(Source(text), text, 0, len(text)))
            reader = _Reader(self, [*words, CToken("end", "", (0, 0))], None)
            value = reader.expression().value
            reader.expect("end", "")
        except CompileError:
            return None
        return value


def read_c(
    text: str, file: str = "<C>", macros: Mapping[str, str] | None = None, lookup: Lookup | None = None,
    includes: Includes | None = None,
) -> Definitions:  # fmt: skip
    """The definitions of C text.

    :param macros: defined beforehand.
    :param lookup: asked for types that the text does not define.
    :param includes: where the files are that it includes.
    :raises CompileError: what is not C, or more of C than this reads.
    """
    return _read(Source(text, file), text, macros, lookup, includes)


def read_script_c(
    script: tree.Script, macros: Mapping[str, str] | None = None, lookup: Lookup | None = None,
    includes: Includes | None = None,
) -> Definitions:  # fmt: skip
    """The definitions of a script's C text; errors point into the script. Parameters as of :func:`read_c`."""
    parts = []
    position = 0
    text = script.source.whole()
    for each in sorted(script.c_text, key=lambda each: each.span):
        start, end = each.span
        # what is between is blank, so that everything stays where it is
        parts += [_NOT_LINE_END.sub(" ", text[position:start]), text[start:end]]
        position = end
    return _read(script.source, "".join(parts), macros, lookup, includes)


def _read(
    source: Source, text: str, macros: Mapping[str, str] | None, lookup: Lookup | None, includes: Includes | None
) -> Definitions:
    preprocessor = Preprocessor(source, macros, text, includes)
    words = preprocessor.run()
    found = Definitions(source, preprocessor)
    _Reader(found, words, lookup).declarations()
    return found


class _Reader(Evaluator):
    """Reads declarations from words."""

    def __init__(self, found: Definitions, words: list[CToken], lookup: Lookup | None) -> None:
        super().__init__(found.source, words)
        self._found = found
        self._lookup = lookup
        self._nesting = 0

    @property
    def word(self) -> CToken:
        """The next word."""
        return self.words[self.at]

    # Constants

    def name(self, word: CToken) -> CNumber:
        if word.text == "sizeof" or word.text == "_Alignof":
            self.expect("(", f"after {word.text!r}")
            kind = self._type_name()
            self.expect(")", "after the type")
            return CNumber(size_of(kind) if word.text == "sizeof" else align_of(kind), 64, False)
        if word.text in self._found.enumerators:
            value = self._found.enumerators[word.text]
            return CNumber(value, 64 if value >> 31 not in (0, -1) else 32)
        return super().name(word)

    def cast_size(self) -> tuple[int, bool] | None:
        if not self._starts_type(self.word):
            return None
        where = self.word
        kind = self._type_name()
        if isinstance(kind, CPointer):
            return 8, False
        if not isinstance(kind, (CBasic, CEnum)) or not kind.size or (isinstance(kind, CBasic) and kind.real):
            self.fail(where, "a constant can be converted to integer types only")
        return kind.size, kind.signed

    def _constant(self) -> int:
        return self.expression().value

    # Declarations

    def declarations(self) -> None:
        """Everything up to the end."""
        while self.word.kind != "end":
            if not self.accept(";"):
                self._declaration()

    def _declaration(self) -> None:
        start = self.word
        typedef = False
        while self.word.text == "typedef" or self.word.text in _QUALIFIERS:
            typedef = self.next().text == "typedef" or typedef
        base = self._base()
        if self.accept(";"):
            return
        if self.words[self.at - 1].kind in ("}", ")") and (self.word.kind == "end" or self.word.text in _STARTS):
            return  # scripts may leave out the ';' after a definition
        while True:
            where = self.word
            name, kind = self._declarator(base)
            align = self._attributes()[1]
            if not name:
                self.fail(where, "a name must stand here, or ';' where the definition ends")
            if typedef:
                self._found.types[name] = kind
            elif not isinstance(kind, CFunction):
                self.fail(
                    start, "variables cannot be defined in C text; write a struct, union, enum, typedef or #define"
                )
            if align and typedef and isinstance(kind, CCompound):
                kind.align = max(kind.align, align)
            if not self.accept(","):
                break
        if self.word.kind == "{":
            self.fail(self.word, "functions cannot be defined in C text; write a macro: macro name(x) { }")
        self.expect(";", "where the definition ends")

    def _starts_type(self, word: CToken) -> bool:
        if word.kind != "name":
            return False
        text = word.text
        known = text in _BASIC_WORDS or text in _COMPOUND or text in _QUALIFIERS or text in self._found.types
        return known or text in _TYPEDEFS

    def _base(self) -> CType:
        """Specifiers: what stands before the first declarator."""
        basic: list[str] = []
        found: CType | None = None
        first = self.word
        while self.word.kind == "name":
            text = self.word.text
            if text in _QUALIFIERS:
                self.at += 1
            elif text in _ATTRIBUTES:
                self._attributes()
            elif text in _BASIC_WORDS:
                basic.append(self.next().text)
            elif found is not None or basic:
                break
            elif text in _COMPOUND:
                found = self._compound()
            else:
                found = self._typedef(self.next())
        if basic:
            return self._basic(basic, first)
        if found is None:
            self.fail(first, f"a type must stand here; found {first.text[:40] or 'the end'!r}")
        return found

    def _basic(self, words: list[str], where: CToken) -> CType:
        signs = [word.strip("_") for word in words if word.strip("_") in ("signed", "unsigned")]
        rest = sorted((word for word in words if word.strip("_") not in ("signed", "unsigned")), reverse=True)
        if len(rest) > 1 and "int" in rest:
            rest.remove("int")
        rest.sort(key=lambda word: word not in ("long", "short"))
        name = " ".join(rest) or "int"
        if signs == ["unsigned"]:
            name = f"unsigned {name}"
        elif signs == ["signed"] and name == "char":
            name = "signed char"
        kind = BASIC.get(name)
        if kind is None or len(signs) > 1:
            self.fail(where, f"{' '.join(words)[:60]!r} is not a type of C")
        return kind

    def _typedef(self, word: CToken) -> CType:
        found = self._found.types.get(word.text) or _TYPEDEFS.get(word.text) or self._looked_up(word.text)
        if found is None:
            typedefs = [name for name in self._found.types if " " not in name]
            near = did_you_mean(word.text, [*_COMPOUND, *_BASIC_WORDS, *_TYPEDEFS, *typedefs])
            hint = near or "; define it with typedef, or write a type of C"
            self.fail(word, f"there is no type {word.text[:60]!r}{hint}")
        return found

    def _looked_up(self, name: str) -> CType | None:
        return self._lookup(name) if self._lookup is not None else None

    # Structs, unions, enums

    def _compound(self) -> CType:
        keyword = self.next()
        packed, align = self._attributes()
        name = self.next() if self.word.kind == "name" else None
        if self.word.kind != "{":
            if name is None:
                self.fail(self.word, f"a name or '{{' must stand here after {keyword.text!r}")
            return self._named(keyword.text, name)
        self._nesting += 1
        if self._nesting > MOST_DEPTH:
            self.fail(self.word, f"this nests more than {MOST_DEPTH} levels deep; define the inner ones by name")
        label = name.text if name is not None else ""
        if keyword.text == "enum":
            found: CType = self._enum(label)
        else:
            found = self._struct(keyword, label, packed, align)
        self._nesting -= 1
        return found

    def _named(self, keyword: str, name: CToken) -> CType:
        """A type that is only named here: defined before, known elsewhere, or to be defined."""
        key = f"{keyword} {name.text}"
        found = self._found.types.get(key) or self._looked_up(key)
        if found is None:
            if keyword == "enum":
                self.fail(name, f"there is no {key}; define it before this")
            found = self._found.types[key] = CCompound(keyword, name.text)
        return found

    def _struct(self, keyword: CToken, name: str, packed: bool, align: int) -> CCompound:
        key = f"{keyword.text} {name}"
        known = self._found.types.get(key) if name else None
        if known is None:
            found = CCompound(keyword.text, name)
        else:
            assert isinstance(known, CCompound)
            if known.complete:
                self.fail(keyword, f"{key} is defined already; give this one another name")
            found = known
        if name:
            self._found.types[key] = found
        start = self.expect("{", f"after {keyword.text!r}")
        members: list[Declared] = []
        while not self.accept("}"):
            if self.word.kind == "end":
                self.fail(start, "this '{' has no '}'; write one where the members end")
            if not self.accept(";"):
                self._members(members)
        more = self._attributes()
        self._check_names(keyword, members)
        packed = packed or more[0]
        layout = lay_out(keyword.text, members, packed, max(align, more[1], 1))
        found.members, found.size, found.align = layout
        found.complete = True
        if found.size > _MOST_SIZE:
            self.fail(keyword, f"the {keyword.text} is larger than 2 GiB")
        return found

    def _check_names(self, keyword: CToken, members: list[Declared]) -> None:
        seen = set()
        for member in members:
            if member.name and member.name in seen:
                self.fail(keyword, f"the {keyword.text} has two members {member.name!r}; give one another name")
            seen.add(member.name)

    def _members(self, members: list[Declared]) -> None:
        """``type declarator, declarator;``"""
        base = self._base()
        if self.word.kind == ";" and isinstance(base, CCompound) and not base.name:
            self.next()
            members.append(Declared("", base))
            return
        if self.accept(";"):  # declares a type, no member
            return
        while True:
            where = self.word
            name, kind = ("", base) if where.kind == ":" else self._declarator(base)
            bits = self._bits(kind, name, where) if self.accept(":") else None
            packed, align = self._attributes()
            if not name and bits is None:
                self.fail(where, "the name of a member must stand here")
            self._check_complete(kind, where)
            members.append(Declared(name, kind, bits, align, packed))
            if not self.accept(","):
                break
        if self.word.kind != "}":  # scripts may leave out the last ';'
            self.expect(";", "after a member")

    def _bits(self, kind: CType, name: str, where: CToken) -> int:
        size = kind.size if isinstance(kind, (CBasic, CEnum)) else 0
        if not size or (isinstance(kind, CBasic) and kind.real):
            self.fail(where, "a bit-field is of an integer type")
        bits = self._constant()
        if not (0 if not name else 1) <= bits <= (1 if kind is BASIC["_Bool"] else 8 * size):
            self.fail(where, f"a bit-field of this type cannot have {bits} bits")
        return bits

    def _check_complete(self, kind: CType, where: CToken) -> None:
        while isinstance(kind, CArray):
            kind = kind.item
        if isinstance(kind, CCompound) and not kind.complete:
            self.fail(where, f"the members of {kind.keyword} {kind.name} are not known here; define it before this")
        if isinstance(kind, CFunction) or kind is BASIC["void"]:
            self.fail(where, "a member cannot be of this type; write a pointer to it")

    def _enum(self, name: str) -> CEnum:
        start = self.expect("{", "after 'enum'")
        values: dict[str, int] = {}
        value = 0
        while not self.accept("}"):
            if self.word.kind == "end":
                self.fail(start, "this '{' has no '}'; write one where the values end")
            label = self.expect("name", "as the name of a value")
            if label.text in self._found.enumerators:
                self.fail(label, f"{label.text!r} has a value already; give this one another name")
            if self.accept("="):
                value = self._constant()
            values[label.text] = self._found.enumerators[label.text] = value
            value += 1
            if self.word.kind != "}":
                self.expect(",", "after a value")
        packed, _ = self._attributes()
        signed = any(each < 0 for each in values.values())
        sizes = (1, 2, 4, 8) if packed else (4, 8)
        bits = max((each.bit_length() if each >= 0 else (~each).bit_length() for each in values.values()), default=0)
        size = next((each for each in sizes if bits + signed <= 8 * each), 8)
        found = CEnum(name, values, size, signed)
        self._found.enums.append(found)
        if name:
            self._found.types[f"enum {name}"] = found
        return found

    # Declarators

    def _type_name(self) -> CType:
        """A type without a name, as in casts and ``sizeof``."""
        where = self.word
        name, kind = self._declarator(self._base())
        if name:
            self.fail(where, "a type without a name must stand here")
        return kind

    def _declarator(self, base: CType, depth: int = 0) -> tuple[str, CType]:
        """``*name[4]``, ``(*name)(...)`` and the like: the name, or "", and its type."""
        if depth > _MOST_PARENTHESES:
            self.fail(self.word, f"this nests more than {_MOST_PARENTHESES} levels deep; use typedefs for its parts")
        levels = 0
        while self.word.kind == "*" or self.word.text in _QUALIFIERS:
            if self.next().kind == "*":
                levels += 1
                base = CPointer(base)
                if levels > MOST_DEPTH:
                    self.fail(self.word, f"pointers go at most {MOST_DEPTH} levels deep")
        inner = -1
        name = ""
        if self.word.kind == "(" and self.words[self.at + 1].kind in ("*", "(", "["):
            inner = self.at + 1
            self._skip_parentheses()
        elif self.word.kind == "name" and self.word.text not in _ATTRIBUTES:
            name = self.next().text
        base = self._suffixes(base)
        if inner >= 0:
            end, self.at = self.at, inner
            name, base = self._declarator(base, depth + 1)
            self.expect(")", "after what '(' started")
            self.at = end
        return name, base

    def _suffixes(self, base: CType) -> CType:
        lengths: list[tuple[CToken, int]] = []
        while True:
            where = self.word
            if where.kind == "(":
                self._skip_parentheses()
                base = CFunction()
            elif self.accept("["):
                length = 0 if self.word.kind == "]" else self._constant()
                self.expect("]", "after the length of the array")
                if length < 0:
                    self.fail(where, "an array cannot have less than 0 items")
                lengths.append((where, length))
                if len(lengths) > MOST_DEPTH:
                    self.fail(where, f"arrays nest at most {MOST_DEPTH} levels deep")
            else:
                break
        for where, length in reversed(lengths):
            base = CArray(base, length)
            if size_of(base) > _MOST_SIZE or length > _MOST_SIZE:
                self.fail(where, "the array is larger than 2 GiB")
        return base

    def _skip_parentheses(self) -> None:
        start = self.word
        depth = 0
        while True:
            word = self.next()
            if word.kind == "end":
                self.fail(start, "this '(' has no ')'")
            depth += {"(": 1, ")": -1}.get(word.kind, 0)
            if not depth:
                return

    def _attributes(self) -> tuple[bool, int]:
        """``__attribute__((packed, aligned(8)))``: whether packed, and the alignment or 0. Others mean nothing here."""
        packed = False
        align = 0
        while self.word.text in _ATTRIBUTES:
            self.next()
            end_of = self.at
            self._skip_parentheses()
            end, self.at = self.at, end_of
            while self.at < end:
                word = self.next()
                if word.text.strip("_") == "packed":
                    packed = True
                elif word.text.strip("_") == "aligned":
                    align = max(align, self._aligned(word))
            self.at = end
        return packed, align

    def _aligned(self, where: CToken) -> int:
        if not self.accept("("):
            return 16
        align = self._constant()
        self.expect(")", "after the alignment")
        if not 0 < align <= 1 << 28 or align & (align - 1):
            self.fail(where, "an alignment is a power of 2")
        return align
