"""Text to instructions, in the syntax that the kernel's verifier and bpftool print.

One instruction a line. Before it may stand labels (``again:``) and what the kernel prints there (``12: (bf)``), which
is checked against what is assembled. A comment runs from ``;`` or ``//``, or from ``#`` at the start of a line or after
white space (so that ``call bpf_ktime_get_ns#5`` is whole), to the end of the line. Beyond what the kernel prints:

- jumps and calls take labels: ``goto out``, ``if r0 == 0 goto out``, ``call work``, ``r1 = subprog[work]``;
- maps go by name, ``r1 = map[counts]`` and ``r1 = map[counts][0]+8``, and so do kernel functions,
  ``call kfunc[bpf_rcu_read_lock]``; of ``call bpf_rcu_read_lock#123``, as the verifier prints it, too, the name counts:
  the number is of the kernel that printed it;
- a helper's number can be left out: ``call bpf_ktime_get_ns``;
- numbers are decimal or ``0x`` hexadecimal, with an optional sign. In conditional jumps a hexadecimal number stands for
  32 bits that are sign-extended, as the kernel prints it: ``if r0 == 0xffffffff`` compares with -1. Into a 64-bit
  register, ``r1 = 5`` moves a sign-extended 32-bit number, and ``r1 = 0x5`` and ``r1 = 5 ll`` are the two-slot
  ``ld_imm64``.

What the kernel and bpftool print of a loaded program is read too. Names that the kernel gave to functions are left out
(``call pc+3#bpf_prog_f00d_work``, ``call bpf_ktime_get_ns#269488``), and so are lines that are no instructions:
headings (``int f(void *ctx):``), states of registers (``3: R0=1``), the count of instructions. What the kernel put in
the place of a helper's call has no text that it takes back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NoReturn

from pybpf.asm.code import Code, Item, check_label
from pybpf.asm.helpers import HELPERS
from pybpf.asm.insn import Insn, KfuncRef, Label, MapRef, Ref, SourceLine, slots
from pybpf.asm.opcodes import FORMS, Form, places_of
from pybpf.asm.text import fault, printable, signed32
from pybpf.errors import AsmError
from pybpf.lazy import regex
from pybpf.record import NamedTuple

__all__ = ["assemble"]

_TOKEN = regex(
    r"""\s*(?:
      (?P<ref>(?:map|subprog|kfunc)\[\s*[\w.$]+\s*\])
    | (?P<num>(?:\+\s*(?=-))?[+-]?\s*(?:0[xX][0-9a-fA-F]+|[0-9]+)(?:\s*ll)?(?![\w.$]))
    | (?P<reg>[rw][0-9]+(?![\w.$]))
    | (?P<op>s?(?:>>=|/=|%=|>=|<=|>(?!>)|<(?!<))|<<=|[-+*|&^=!]=|[-+*=&(){}\[\]:,\#])
    | (?P<word>kernel-function|[A-Za-z_.$][\w.$]*)
    )""",
    re.VERBOSE | re.ASCII,
)
_UPPER_CASE = regex(r"\b[RW](?:10|[0-9])\b")
_COMMENT = regex(r";|//|(?:^|(?<=\s))\#")
_LABEL = regex(r"\s*([A-Za-z_.$][\w.$]*)\s*:", re.ASCII)
_NUMBERED = regex(r"\s*([0-9]{1,9}):\s*(?:\(([0-9a-fA-F]{2})\))?", re.ASCII)
#: After these a name is a label, whatever else it could mean.
_JUMPING = ("goto", "gotol", "may_goto", "call")
#: What dumps have between the instructions: a function's heading, the verifier's states, ways and counts.
_NO_CODE = regex(
    r"""
      [\w*][\w\s*]*\([^()]*\):\s*$
    | \d+:\ (?:R\d+(?:_\w+)?=|frame\d+:)
    | from\ \d+\ to\ \d+: | func\#\d+\ @\d+ | processed\ \d+\ insns
    """,
    re.VERBOSE | re.ASCII,
)
#: The name that bpftool gives the target of a local call.
_CALLED = regex(r"(\s*call pc[+-][0-9]+)\#[A-Za-z_][\w.$]*\s*$", re.ASCII)
_MAX_DIGITS = 40
_ALU32, _JMP32 = 4, 6
_MOST_SIGNED = 0x7FFFFFFF
#: What src holds in a call of a kernel function.
_KFUNC_CALL = 2
#: No kernel has so many helpers; ids of functions in BTF, and distances between functions, are larger.
_MOST_HELPERS = 1023

#: Placeholder that is not the whole of a signed immediate -> least and greatest value, and where its bits go.
_PARTS = {
    "hex": (-0x80000000, 0xFFFFFFFF, 0),
    "value": (-0x8000000000000000, 0xFFFFFFFFFFFFFFFF, 0),
    "lo": (0, 0xFFFFFFFF, 0),
    "hi": (0, 0xFFFFFFFF, 32),
    "rel": (-0x80000000, 0x7FFFFFFF, 0),
    "as_to": (0, 0xFFFF, 16),
    "as_from": (0, 0xFFFF, 0),
}

#: Placeholder -> a value that no row prints by itself, to find the placeholder again in the text made from it.
_SAMPLES = {
    "dst": 7, "src": 8, "off": 101, "imm": 102, "hex": 103, "as_to": 105, "as_from": 106, "value": 107, "lo": 108,
    "hi": 109, "rel": 110, "helper": "helper#104", "label": "label", "map": "map_", "kfunc": "kfunc_",
}  # fmt: skip
_PLACEHOLDERS = {str(value): name for name, value in _SAMPLES.items()}
_PLACEHOLDERS.update({"helper": "name", "104": "imm"})


class _Token(NamedTuple):
    shape: str
    """What the lines of one form share: ``r`` or ``w`` for a register, ``N`` for a number, ``@`` for a name."""
    value: int | str | None = None
    plain: bool = True
    """Of a number: whether it can be the sign-extended operand of ``=``: decimal, or with a sign, and no ``ll``."""
    wide: bool = False
    """Of a number: whether it is marked by ``ll`` as one of 64 bits."""


class _Pattern(NamedTuple):
    """How the lines of one form are read: what each register, number and name of the line means."""

    form: Form
    places: tuple[str | int, ...]
    """Placeholders; a number is a value that must stand there."""


class _Refused(Exception):
    """Why a line is no instruction."""


class _Other(_Refused):
    """The line has the shape of a form, but another form of that shape is meant."""


def _tokens(text: str, words: frozenset[str] | None = None) -> Iterator[_Token]:
    """:param words: those that mean themselves; ``None``: all of them."""
    at, end = 0, len(text.rstrip())
    before = ""
    while at < end:
        match = _TOKEN.match(text, at, end)
        if match is None:
            raise _Refused(f"unexpected {text[at:].strip()[:20]!r}")
        kind, found = match.lastgroup, match.group(match.lastgroup or 0)
        at = match.end()
        if kind == "reg":
            if len(found) > 3 or not 0 <= int(found[1:]) <= 10:
                raise _Refused(f"register {found[:20]} does not exist; use {found[0]}0 to {found[0]}10")
            yield _Token(found[0], int(found[1:]))
        elif kind == "num":
            yield _number(found)
        elif kind == "ref":
            name, _, inner = found[:-1].partition("[")
            yield _Token(f"{name}[@]", inner.strip())
        elif kind == "word" and _is_name(found, before, words):
            yield _Token("@", found)
        else:
            yield _Token(found)
        before = found


def _is_name(word: str, before: str, words: frozenset[str] | None) -> bool:
    """Whether a word is a name: after a jump it is, unless it can only be an instruction's own."""
    if before in _JUMPING:
        return word not in ("pc", "kernel-function")
    return words is not None and word not in words


def _number(text: str) -> _Token:
    digits = re.sub(r"\s|ll", "", text)
    if len(digits) > _MAX_DIGITS:
        raise _Refused(f"number {digits[:20]}... is too large for any operand")
    if digits.startswith("+-"):
        digits = digits[1:]
    hexadecimal = "x" in digits or "X" in digits
    plain = "l" not in text and (digits[0] in "+-" or not hexadecimal)
    return _Token("N", int(digits, 16 if hexadecimal else 10), plain, "l" in text)


class _Grammar(NamedTuple):
    patterns: dict[str, list[_Pattern]]
    """Shape of a line -> the forms that it may be."""
    words: frozenset[str]


def _templates(form: Form) -> Iterator[str]:
    """Every way to write a form."""
    yield form.text
    if form.symbolic:
        yield form.symbolic
    if "map[fd:" in form.text:
        yield form.text.replace("map[fd:", "map[id:")
    if "helper" in form.places:
        yield "call {label}"


@lru_cache(maxsize=1)
def _grammar() -> _Grammar:
    """The table turned around; made when the first line is assembled, since programs often need none."""
    patterns: dict[str, list[_Pattern]] = {}
    words: set[str] = set()
    for form in FORMS:
        for template in _templates(form):
            names = {name: _SAMPLES[name] for name in places_of(template)}
            tokens = list(_tokens(template.format_map(names)))
            values = [token.value for token in tokens if token.value is not None]
            places = tuple(_PLACEHOLDERS.get(str(value), value) for value in values)
            words.update(token.shape for token in tokens if token.value is None)
            patterns.setdefault(" ".join(token.shape for token in tokens), []).append(_Pattern(form, places))
    # A constant in hexadecimal is tried before a move of it, and a helper before a label.
    for found in patterns.values():
        found.sort(key=lambda pattern: "value" not in pattern.places and "helper" not in pattern.form.places)
    return _Grammar(patterns, frozenset(words))


def _instruction(text: str, code: int | None) -> Insn:
    """:param code: the opcode that the line says it has, or ``None``."""
    grammar = _grammar()
    tokens = list(_tokens(text, grammar.words))
    shape = " ".join(token.shape for token in tokens)
    patterns = [p for p in grammar.patterns.get(shape, ()) if code is None or p.form.code == code]
    if not patterns:
        raise _Refused(_unknown(shape, text, grammar, code))
    values = [token for token in tokens if token.value is not None]
    for pattern in patterns[:-1]:
        try:
            return _read(pattern, values)
        except _Other:
            pass
    return _read(patterns[-1], values)


def _unknown(shape: str, text: str, grammar: _Grammar, code: int | None) -> str:
    if shape in grammar.patterns:
        return f"its opcode is not 0x{code:02x}"
    upper = _UPPER_CASE.search(text)
    if upper:
        return f"not an instruction; registers are written in lower case, {upper.group().lower()}"
    from difflib import get_close_matches

    near = get_close_matches(shape[:80], grammar.patterns, 1)
    return (
        f"not an instruction; the nearest form is `{grammar.patterns[near[0]][0].form.shape}`"
        if near
        else "not an instruction"
    )


def _read(pattern: _Pattern, tokens: list[_Token]) -> Insn:
    """The instruction of one line, read as one form."""
    form = pattern.form
    numbers: dict[str, int] = {}
    names: dict[str, str] = {}
    for place, token in zip(pattern.places, tokens):
        if isinstance(token.value, str):
            names[str(place)] = token.value
        elif isinstance(place, int):
            if token.value != place:
                raise _Refused(f"{token.value} must be {place} in `{form.shape}`")
        elif token.value is not None and numbers.setdefault(place, token.value) != token.value:
            raise _Refused(f"both registers of `{form.shape}` must be the same")
        elif place == "value" and token.plain:
            raise _Other("a decimal number is a move; for a 64-bit constant write it in hexadecimal, or with ll")
        elif token.wide and place != "value":
            raise _Refused(f"`ll` marks a constant of 64 bits, which `{form.shape}` does not take")
        elif place == "hex" and token.plain and form.code & 7 != _JMP32 and numbers[place] > _MOST_SIGNED:
            raise _Refused(
                f"{token.value} does not fit 32 bits signed (at most {_MOST_SIGNED}); put it into a register first "
                f"(`r1 = {token.value} ll`), or write the bits that are sign-extended in hexadecimal"
            )
    if "helper" in form.places:
        return _helper_call(form, numbers, names)
    ref: Ref | None = names.get("label")
    if "map" in names:
        ref = MapRef(names["map"], numbers.pop("hi") if "hi" in numbers else None)
    elif "kfunc" in names:
        ref = KfuncRef(names["kfunc"])
    imm = _immediate(form, numbers)
    return Insn(
        form.code,
        numbers.get("dst", form.dst),
        numbers.get("src", form.src),
        numbers.get("off", form.off),
        imm,
        ref,
    )


def _immediate(form: Form, numbers: dict[str, int]) -> int:
    imm = form.imm
    for place, value in numbers.items():
        if place in _PARTS:
            low, high, shift = _PARTS[place]
            if not low <= value <= high:
                raise _Refused(f"{value} is out of range for <{place}> of `{form.shape}`: {low} to {high}")
            imm |= (value & 0xFFFFFFFF if place == "rel" else value) << shift
    if "imm" in numbers:
        imm = numbers["imm"]
        # The lower half of a register takes the same bits signed or unsigned.
        return signed32(imm) if form.code & 7 == _ALU32 and 0 <= imm <= 0xFFFFFFFF else imm
    return imm & 0xFFFFFFFFFFFFFFFF if form.wide else signed32(imm)


def _helper_call(form: Form, numbers: dict[str, int], names: dict[str, str]) -> Insn:
    """``call bpf_name#id``, ``call bpf_name``; ``call name#id`` of another name with ``bpf_`` is a kernel function, by
    its name.

    In a loaded program the number is how far the helper is from another function, which is more than any id.
    """
    name = names.get("name") or names["label"]
    known = HELPERS.get(name[4:]) if name.startswith("bpf_") else None
    if "imm" not in numbers:
        if known is None:
            raise _Other("no helper has this name")
        return Insn(form.code, imm=known.id)
    number = numbers["imm"]
    if known is not None:
        if known.id != number and 0 <= number <= _MOST_HELPERS:
            raise _Refused(f"{name} is helper {known.id}, not {number}; leave the number out, or correct it")
        return Insn(form.code, imm=known.id)
    if name == "unknown":
        return Insn(form.code, imm=number)
    if "bpf_" not in name:
        raise _Refused(
            f"{name!r:.60} is no helper: the kernel put it in the place of one when it loaded the program. Write the "
            f"helper; of a kernel function (kfunc), `call kfunc[{name[:60]}]`"
        )
    return Insn(form.code, src=_KFUNC_CALL, ref=KfuncRef(name))


def _nearest_helper(name: str) -> str:
    """``"did you mean bpf_ktime_get_ns?"``, or ``""`` where no helper is like ``name``."""
    from difflib import get_close_matches  # only here: most programs have no such error

    near = get_close_matches(name.lower().removeprefix("bpf_"), HELPERS, 1, 0.75)
    return f"did you mean bpf_{near[0]}?" if near else ""


def assemble(text: str, *, file: str | None = None) -> Code:
    """Text to a program; the module's documentation says what text may be.

    :param file: the name of the file that the text is from: the instructions then carry their source lines.
    :raises AsmError: a line is no instruction, an operand is out of range, a label is missing or double; the message
        names the line and the instruction.
    """
    if not isinstance(text, str):
        raise AsmError(f"assemble takes text, not {type(text).__name__}; decode takes bytes")
    reader = _Reader(file)
    for number, line in enumerate(text.split("\n"), 1):
        reader.read(number, line)
    return reader.code()


class _Reader:
    """Assembles line by line, and knows where each label is."""

    def __init__(self, file: str | None) -> None:
        self._file = file
        self._items: list[Item] = []
        self._slot = 0
        #: label -> the line that defines it
        self._defined: dict[str, int] = {}
        #: label -> the first line that uses it, by number, slot and text
        self._used: dict[str, tuple[int, int, str]] = {}

    def _refuse(self, number: int, slot: int, line: str, reason: object) -> NoReturn:
        where = f"{self._file}:{number}" if self._file else f"line {number}"
        raise AsmError(f"{where}, instruction {slot} `{printable(line.strip()[:120])}`: {reason}") from None

    def read(self, number: int, line: str) -> None:
        """Take one line."""
        try:
            insn = self._instruction(number, line)
        except _Refused as error:
            self._refuse(number, self._slot, line, error)
        if insn is None:
            return
        if isinstance(insn.ref, str):
            self._used.setdefault(insn.ref, (number, self._slot, line))
        if self._file is not None:
            column = len(line) - len(line.lstrip()) + 1
            insn = insn.at(SourceLine(self._file, number, column, line.strip()))
        self._items.append(insn)
        self._slot += slots(insn)

    def code(self) -> Code:
        """What was read, when every label that is used is there."""
        for name, (number, slot, line) in self._used.items():
            if name not in self._defined:
                kind = "a helper nor a label" if "call" in line else "a label"
                advice = _nearest_helper(name) if "call" in line else ""
                self._refuse(
                    number, slot, line, f"{name!r} is not {kind}; {advice or f'write `{name}:` before its target'}"
                )
        return Code(self._items)

    def _instruction(self, number: int, line: str) -> Insn | None:
        comment = _COMMENT.search(line)
        text = line[: comment.start()] if comment else line
        if _NO_CODE.match(text.lstrip()):
            return None
        text = _CALLED.sub(r"\1", text)
        code = None
        numbered = _NUMBERED.match(text)
        if numbered:
            if int(numbered.group(1)) != self._slot:
                raise _Refused(
                    f"it says that its number is {int(numbered.group(1))}; number instructions from 0, by slot"
                )
            code = int(numbered.group(2), 16) if numbered.group(2) else None
            text = text[numbered.end() :]
        label = _LABEL.match(text)
        while label:
            self._define(label.group(1), number)
            text = text[label.end() :]
            label = _LABEL.match(text)
        if not text.strip():
            return None
        insn = _instruction(text, code)
        reason = fault(insn)
        if reason:
            raise _Refused(reason)
        return insn

    def _define(self, name: str, number: int) -> None:
        reason = check_label(name)
        if not reason and name in self._defined:
            reason = f"label {name!r} is defined twice, first on line {self._defined[name]}; rename one"
        if reason:
            raise _Refused(reason)
        self._defined[name] = number
        self._items.append(Label(name))
