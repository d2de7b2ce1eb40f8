"""A sequence of instructions with labels: layout in slots, labels to offsets, and jumps that are too far."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from types import MappingProxyType
from typing import Any, NoReturn, Union

from pybpf.asm.helpers import HELPERS
from pybpf.asm.insn import LD_IMM64, Insn, Label, slots
from pybpf.asm.opcodes import JUMPS, Form, find_form
from pybpf.asm.text import describe, fault, signed32
from pybpf.errors import AsmError
from pybpf.lazy import regex

__all__ = ["Code", "Item", "check_label"]

#: What a :class:`Code` is made from.
Item = Union[Insn, Label]

_NAME = regex(r"[A-Za-z_.$][A-Za-z0-9_.$]*")
#: What would be read as something else where the name of a label may stand; so would the name of a helper.
_RESERVED = regex(r"pc|[rw][0-9]+")

#: Classes of jumps and calls.
_JUMPING = (5, 6)
_GOTO, _GOTOL, _MAY_GOTO = 0x05, 0x06, 0xE5
_JSET = JUMPS["jset"][0]
_OPPOSITE = {
    JUMPS[one][0]: JUMPS[other][0]
    for pair in (("jeq", "jne"), ("jgt", "jle"), ("jge", "jlt"), ("jsgt", "jsle"), ("jsge", "jslt"))
    for one, other in (pair, pair[::-1])
}


def check_label(name: str) -> str:
    """What is wrong with the name of a label, or ``""``."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return f"{name!s:.60} cannot name a label; use letters, digits, `_`, `.`, `$`, but no digit first"
    if _RESERVED.fullmatch(name) or (name.startswith("bpf_") and name[4:] in HELPERS):
        return f"{name} cannot name a label: in text it is a register, a helper or `pc`; use another name"
    return ""


class Code:
    """Instructions and labels, checked once: every label that is used exists, once. Immutable.

    :ivar insns: the instructions, ``ld_imm64`` being one.
    :ivar labels: label -> index in ``insns``; ``len(insns)`` for one after the last instruction.
    :raises AsmError: a label is undefined, defined twice or badly named, or an item is neither instruction
        nor label.
    """

    __slots__ = ("_starts", "insns", "labels")

    insns: tuple[Insn, ...]
    labels: Mapping[str, int]

    def __init__(self, items: Iterable[Item] = ()) -> None:
        insns: list[Insn] = []
        labels: dict[str, int] = {}
        for item in items.items() if isinstance(items, Code) else items:
            if isinstance(item, Insn):
                insns.append(item)
            elif isinstance(item, Label):
                self._define(item.name, len(insns), labels)
            else:
                raise AsmError(f"instruction {len(insns)}: {item!r:.80} is neither an Insn nor a Label")
        self.insns = tuple(insns)
        self.labels = MappingProxyType(labels)
        #: Slot at which each instruction starts, and the number of slots at the end.
        self._starts = [0, *accumulate(map(slots, insns))]
        for index, insn in enumerate(insns):
            if isinstance(insn.ref, str) and insn.ref not in labels:
                self.refuse(index, f"label {insn.ref!r} is not defined; write `{insn.ref}:` before its target")

    @staticmethod
    def _define(name: str, index: int, labels: dict[str, int]) -> None:
        reason = check_label(name)
        if reason:
            raise AsmError(f"instruction {index}: {reason}")
        if name in labels:
            raise AsmError(
                f"instruction {index}: label {name!r} is defined twice, first at instruction {labels[name]}; rename one"
            )
        labels[name] = index

    def __getstate__(self) -> tuple[Any, ...]:
        return self.insns, dict(self.labels), self._starts

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.insns, labels, self._starts = state
        self.labels = MappingProxyType(labels)

    def __len__(self) -> int:
        """The number of instructions; :attr:`slots` is what the kernel counts."""
        return len(self.insns)

    def __iter__(self) -> Iterator[Insn]:
        return iter(self.insns)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Code):
            return NotImplemented
        return self.insns == other.insns and self.labels == other.labels

    def __hash__(self) -> int:
        return hash(self.insns)

    def __repr__(self) -> str:
        return f"<Code: {len(self.insns)} instructions, {self.slots} slots, {len(self.labels)} labels>"

    def __str__(self) -> str:
        from pybpf.asm.disassembler import disassemble  # which takes a Code, and so is above this file

        return disassemble(self)

    @property
    def slots(self) -> int:
        """The length that the kernel sees: ``ld_imm64`` takes two slots."""
        return self._starts[-1]

    def slot(self, index: int) -> int:
        """The slot at which an instruction starts: its number in the verifier's log and in line info."""
        return self._starts[index]

    def items(self) -> Iterator[Item]:
        """Labels and instructions in order, so that ``Code(code.items()) == code``."""
        at: dict[int, list[Label]] = {}
        for name, index in self.labels.items():
            at.setdefault(index, []).append(Label(name))
        for index, insn in enumerate(self.insns):
            yield from at.get(index, ())
            yield insn
        yield from at.get(len(self.insns), ())

    def refuse(self, index: int, reason: str) -> NoReturn:
        """Raise an :class:`AsmError` that names an instruction, by slot as the kernel does, and its source line."""
        insn = self.insns[index]
        where = f" ({insn.line.file}:{insn.line.line})" if insn.line else ""
        raise AsmError(f"instruction {self._starts[index]} `{describe(insn)}`{where}: {reason}")

    def resolved(self) -> Iterator[Insn]:
        """The instructions with labels turned into offsets; maps and kernel functions stay symbolic.

        :raises AsmError: a jump is too far for its 16-bit offset, or aims behind the last instruction.
        """
        for index, insn in enumerate(self.insns):
            if not isinstance(insn.ref, str):
                yield insn
                continue
            reason = fault(insn)
            if reason:
                self.refuse(index, reason)
            distance = self._distance(index, self.labels[insn.ref])
            if "off" in self._form(index).places:
                if not -0x8000 <= distance <= 0x7FFF:
                    self.refuse(
                        index,
                        f"label {insn.ref!r} is {distance} slots away, and a jump reaches -32768 to 32767; "
                        "use Code.relax() where the kernel has gotol (Linux 6.6), or move the target nearer",
                    )
                yield insn._replace(off=distance, ref=None)
            else:
                yield insn._replace(imm=distance & 0xFFFFFFFF if insn.code == LD_IMM64 else distance, ref=None)

    def _distance(self, index: int, target: int) -> int:
        """Slots from behind an instruction's first slot to another instruction."""
        if target >= len(self.insns):
            self.refuse(index, "its target is behind the last instruction; end the program with exit")
        return self._starts[target] - self._starts[index] - 1

    def relax(self) -> Code:
        """The same program with jumps that are too far for 16 bits rewritten with ``gotol`` (Linux 6.6).

        A conditional jump becomes the opposite condition over a ``gotol``. When anything is rewritten, jumps
        by number become jumps to labels ``.L<index of the target>``.

        :raises AsmError: a jump aims at no instruction, or ``may_goto``, which has no long form, is too far.
        """
        if self.slots <= 0x8000:
            return self
        targets = self._targets()
        near = [index for index in targets if "off" in self._form(index).places]
        far: set[int] = set()
        while True:
            sizes = (slots(insn) + (_growth(insn) if i in far else 0) for i, insn in enumerate(self.insns))
            starts = [0, *accumulate(sizes)]
            more = {i for i in near if not -0x8000 <= starts[targets[i]] - starts[i] - 1 <= 0x7FFF} - far
            if not more:
                return Code(self._relaxed(targets, far)) if far else self
            far |= more

    def _form(self, index: int) -> Form:
        form = find_form(self.insns[index])
        if form is None:
            self.refuse(index, fault(self.insns[index]))
        return form

    def _targets(self) -> dict[int, int]:
        """Index of each jump, call or function address -> index of what it aims at."""
        at = {start: index for index, start in enumerate(self._starts[:-1])}
        found = {}
        for index, insn in enumerate(self.insns):
            if (insn.code & 7 not in _JUMPING and insn.code != LD_IMM64) or self._form(index).ref != "label":
                continue
            form = self._form(index)
            if isinstance(insn.ref, str):
                self._distance(index, self.labels[insn.ref])
                found[index] = self.labels[insn.ref]
                continue
            distance = insn.off if "off" in form.places else signed32(insn.imm)
            target = at.get(self._starts[index] + 1 + distance)
            if target is None:
                self.refuse(index, f"{distance:+d} slots from here no instruction starts; aim at one")
            found[index] = target
        return found

    def _relaxed(self, targets: dict[int, int], far: set[int]) -> Iterator[Item]:
        names = {index: name for name, index in self.labels.items()}
        for target in targets.values():
            if target not in names:
                name = f".L{target}"
                while name in self.labels:
                    name += "_"
                names[target] = name
        own = set(names.values()) - set(self.labels)
        index = 0
        for item in self.items():
            if not isinstance(item, Insn):
                yield item
                continue
            if names.get(index) in own:
                yield Label(names[index])
            if index in targets:
                item = item._replace(ref=names[targets[index]], off=0, imm=item.imm if _conditional(item) else 0)
            if index in far:
                if item.code == _MAY_GOTO:
                    self.refuse(index, "its target is too far for a 16-bit offset, and may_goto has no long form")
                yield from _long_jump(item)
            else:
                yield item
            index += 1


def _conditional(insn: Insn) -> bool:
    return insn.code & 7 in _JUMPING and insn.code & 0xF0 in (*_OPPOSITE, _JSET)


def _growth(jump: Insn) -> int:
    """How many slots a far jump grows by: a ``goto`` none, a condition one, ``&``, which has no opposite, two."""
    return 0 if jump.code == _GOTO else 1 if jump.code & 0xF0 in _OPPOSITE else 2


def _long_jump(jump: Insn) -> list[Insn]:
    gotol = Insn(_GOTOL, ref=jump.ref, line=jump.line)
    if jump.code == _GOTO:
        return [gotol]
    skip = jump._replace(off=1, ref=None)
    opposite = _OPPOSITE.get(jump.code & 0xF0)
    if opposite is not None:
        return [skip._replace(code=jump.code & 0x0F | opposite), gotol]
    return [skip, Insn(_GOTO, off=1, line=jump.line), gotol]
