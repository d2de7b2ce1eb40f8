"""The opcode table: one row for each form of instruction, from which encoder, decoder, text and tests derive.

A row is an opcode, the text of the form as the kernel's verifier and bpftool print it, and the values of the
fields that the text does not mention. A field that the text mentions is an operand; one that it does not
mention, and that the row does not give, is reserved and must be 0. So the text alone says what shape an
instruction has.

Placeholders, and the bits that they stand for:

====================  ==================================================================================
``dst`` ``src``       a register number
``off``               the 16-bit offset: of memory in bytes, of a jump in slots
``imm``               the 32-bit immediate, signed
``hex``               the same, printed as unsigned hexadecimal, as the kernel does in conditional jumps
``helper``            the same, printed as ``bpf_name#id``
``as_to`` ``as_from`` the upper and the lower half of the 32-bit immediate: address spaces
``value``             the 64-bit immediate of ``ld_imm64``
``lo`` ``hi``         its halves, unsigned
``rel``               its lower half, signed
``label``             symbolic: the name of a label; stands for ``off``, ``imm`` or ``rel``, as the row has it
``map`` ``kfunc``     symbolic: the name of a map or of a kernel function
====================  ==================================================================================

Sources: include/uapi/linux/bpf.h, Documentation/bpf/standardization/instruction-set.rst, kernel/bpf/disasm.c.
"""

from __future__ import annotations

from collections.abc import Iterator

from pybpf.asm.insn import LD_IMM64, Insn
from pybpf.lazy import regex
from pybpf.record import NamedTuple

__all__ = [
    "ALU", "ATOMIC_CMPXCHG", "ATOMIC_FETCH", "ATOMIC_LOAD_ACQUIRE", "ATOMIC_OPS", "ATOMIC_STORE_RELEASE",
    "ATOMIC_XCHG", "FEATURES", "FORMS", "FORMS_BY_CODE", "JUMPS", "Form", "find_form", "places_of",
]  # fmt: skip

#: What a row may need, and the upstream release that brought it. Which of them a kernel has is for a probe to say.
FEATURES = {
    "": "3.18",
    "subprog": "4.16",
    "jmp32": "5.1",
    "map_value": "5.2",
    "btf_var": "5.10",
    "atomics": "5.12",
    "subprog_address": "5.13",
    "kfunc": "5.13",
    "fd_array": "5.14",
    "cpu_v4": "6.6",
    "gotol": "6.6",
    "may_goto": "6.9",
    "arena": "6.9",
    "acquire_release": "6.15",
    "gotox": "6.19",
    "internal": "(made by the verifier; seen in dumps, refused in programs that are loaded)",
}

#: a placeholder, maybe with a format, in the text of a form
_PLACE = regex(r"\{(\w+)[^}]*\}")
_LD, _LDX, _ST, _STX, _ALU32, _JMP, _JMP32, _ALU64 = range(8)
_X = 0x08  # the second operand is a register
_MEM, _MEMSX, _ABS, _IND, _ATOMIC = 0x60, 0x80, 0x20, 0x40, 0xC0

#: Size bits of the opcode -> the type that text prints.
_SIZES = {0x00: "u32", 0x08: "u16", 0x10: "u8", 0x18: "u64"}
_SIGNED = {0x00: "s32", 0x08: "s16", 0x10: "s8"}

#: Arithmetic: name -> (operation bits, operator).
ALU = {
    "add": (0x00, "+="),
    "sub": (0x10, "-="),
    "mul": (0x20, "*="),
    "div": (0x30, "/="),
    "or": (0x40, "|="),
    "and": (0x50, "&="),
    "lsh": (0x60, "<<="),
    "rsh": (0x70, ">>="),
    "mod": (0x90, "%="),
    "xor": (0xA0, "^="),
    "mov": (0xB0, "="),
    "arsh": (0xC0, "s>>="),
}
_NEG, _END = 0x80, 0xD0

#: Conditional jumps: name -> (operation bits, comparison).
JUMPS = {
    "jeq": (0x10, "=="),
    "jgt": (0x20, ">"),
    "jge": (0x30, ">="),
    "jset": (0x40, "&"),
    "jne": (0x50, "!="),
    "jsgt": (0x60, "s>"),
    "jsge": (0x70, "s>="),
    "jlt": (0xA0, "<"),
    "jle": (0xB0, "<="),
    "jslt": (0xC0, "s<"),
    "jsle": (0xD0, "s<="),
}
_JA, _CALL, _EXIT, _JCOND = 0x00, 0x80, 0x90, 0xE0

#: Atomic read-modify-write: name -> (immediate, operator); ``| ATOMIC_FETCH`` also returns the old value.
ATOMIC_OPS = {"add": (0x00, "+="), "or": (0x40, "|="), "and": (0x50, "&="), "xor": (0xA0, "^=")}
ATOMIC_FETCH = 0x01
ATOMIC_XCHG, ATOMIC_CMPXCHG = 0xE1, 0xF1
ATOMIC_LOAD_ACQUIRE, ATOMIC_STORE_RELEASE = 0x100, 0x110

#: Placeholder -> (field, bits of it that the placeholder stands for; -1 = all).
_PLACES = {
    "dst": ("dst", -1),
    "src": ("src", -1),
    "off": ("off", -1),
    "imm": ("imm", -1),
    "hex": ("imm", -1),
    "helper": ("imm", -1),
    "as_to": ("imm", 0xFFFF0000),
    "as_from": ("imm", 0x0000FFFF),
    "value": ("imm", -1),
    "lo": ("imm", 0x00000000FFFFFFFF),
    "hi": ("imm", 0xFFFFFFFF00000000),
    "rel": ("imm", 0x00000000FFFFFFFF),
}


class Form(NamedTuple):
    """One row. ``*_keep`` are the bits of a field that are fixed, to the value beside it."""

    code: int
    text: str
    symbolic: str
    """Text when the instruction has a symbolic operand; ``""`` when the form takes none."""
    feature: str
    """Key of :data:`FEATURES`."""
    dst_keep: int
    dst: int
    src_keep: int
    src: int
    off_keep: int
    off: int
    imm_keep: int
    imm: int
    places: frozenset[str]
    """The placeholders of ``text``."""
    ref: str
    """What the symbolic operand is: ``"label"``, ``"map"``, ``"kfunc"`` or ``""``."""

    @property
    def wide(self) -> bool:
        """Whether the instruction takes two slots and a 64-bit immediate."""
        return self.code == LD_IMM64

    @property
    def shape(self) -> str:
        """The text for people, operands in angle brackets: ``r<dst> += <imm>``."""
        return _PLACE.sub(r"<\1>", self.text)


def places_of(template: str) -> frozenset[str]:
    """The names of the placeholders of a text."""
    return frozenset(_PLACE.findall(template))


def _row(
    code: int, text: str, symbolic: str = "", feature: str = "", *, src: int = 0, off: int = 0, imm: int = 0
) -> Form:
    keep = {"dst": -1, "src": -1, "off": -1, "imm": (1 << 64) - 1 if code == LD_IMM64 else (1 << 32) - 1}
    places = places_of(text)
    for place in places:
        field, bits = _PLACES[place]
        keep[field] &= ~bits
    ref = next(iter(places_of(symbolic) & {"label", "map", "kfunc"}), "")
    return Form(
        code,
        text,
        symbolic,
        feature,
        keep["dst"],
        0,
        keep["src"],
        src,
        keep["off"],
        off,
        keep["imm"],
        imm,
        places,
        ref,
    )


def _arithmetic() -> Iterator[Form]:
    for cls, r in ((_ALU64, "r"), (_ALU32, "w")):
        for op, text in ALU.values():
            yield _row(cls | op, f"{r}{{dst}} {text} {{imm}}")
            yield _row(cls | op | _X, f"{r}{{dst}} {text} {r}{{src}}")
            if text in ("/=", "%="):
                yield _row(cls | op, f"{r}{{dst}} s{text} {{imm}}", feature="cpu_v4", off=1)
                yield _row(cls | op | _X, f"{r}{{dst}} s{text} {r}{{src}}", feature="cpu_v4", off=1)
        yield _row(cls | _NEG, f"{r}{{dst}} = -{r}{{dst}}")
        mov = cls | ALU["mov"][0] | _X
        for bits in (8, 16, 32) if cls == _ALU64 else (8, 16):
            yield _row(mov, f"{r}{{dst}} = (s{bits}){r}{{src}}", feature="cpu_v4", off=bits)
    for bits in (16, 32, 64):
        yield _row(_ALU32 | _END, f"r{{dst}} = le{bits} r{{dst}}", imm=bits)
        yield _row(_ALU32 | _END | _X, f"r{{dst}} = be{bits} r{{dst}}", imm=bits)
        yield _row(_ALU64 | _END, f"r{{dst}} = bswap{bits} r{{dst}}", feature="cpu_v4", imm=bits)
    mov64 = _ALU64 | ALU["mov"][0] | _X
    yield _row(mov64, "r{dst} = addr_space_cast(r{src}, {as_to}, {as_from})", feature="arena", off=1)
    yield _row(mov64, "r{dst} = &(void __percpu *)(r{src})", feature="internal", off=-1)


def _jumps() -> Iterator[Form]:
    for cls, r, feature in ((_JMP, "r", ""), (_JMP32, "w", "jmp32")):
        for op, compare in JUMPS.values():
            for source, operand in ((0, "{hex:#x}"), (_X, f"{r}{{src}}")):
                head = f"if {r}{{dst}} {compare} {operand} goto "
                yield _row(cls | op | source, head + "pc{off:+d}", head + "{label}", feature)
    yield _row(_JMP | _JA, "goto pc{off:+d}", "goto {label}")
    yield _row(_JMP32 | _JA, "gotol pc{imm:+d}", "gotol {label}", "gotol")
    yield _row(_JMP | _JA | _X, "gotox r{dst}", feature="gotox")
    yield _row(_JMP | _JCOND, "may_goto pc{off:+d}", "may_goto {label}", "may_goto")
    yield _row(_JMP | _CALL, "call {helper}")
    yield _row(_JMP | _CALL, "call pc{imm:+d}", "call {label}", "subprog", src=1)
    # Of a function that was compiled: where it was, and its number.
    yield _row(_JMP | _CALL, "call pc{off:+d}#{imm}", feature="internal", src=1)
    yield _row(_JMP | _CALL, "call kernel-function#{imm}", "call kfunc[{kfunc}]", "kfunc", src=2)
    yield _row(_JMP | _CALL, "call kernel-function#{imm}[idx:{off}]", feature="kfunc", src=2)
    yield _row(_JMP | _EXIT, "exit")


def _memory() -> Iterator[Form]:
    for size, u in _SIZES.items():
        yield _row(_LDX | _MEM | size, f"r{{dst}} = *({u} *)(r{{src}} {{off:+d}})")
        yield _row(_ST | _MEM | size, f"*({u} *)(r{{dst}} {{off:+d}}) = {{imm}}")
        yield _row(_STX | _MEM | size, f"*({u} *)(r{{dst}} {{off:+d}}) = r{{src}}")
    for size, s in _SIGNED.items():
        yield _row(_LDX | _MEMSX | size, f"r{{dst}} = *({s} *)(r{{src}} {{off:+d}})", feature="cpu_v4")
        yield _row(_LD | _ABS | size, f"r0 = *({_SIZES[size]} *)skb[{{imm}}]")
        yield _row(_LD | _IND | size, f"r0 = *({_SIZES[size]} *)skb[r{{src}} + {{imm}}]")
    yield _row(_ST | _ATOMIC, "nospec", feature="internal")


def _atomics() -> Iterator[Form]:
    for size, u in _SIZES.items():
        code, at = _STX | _ATOMIC | size, f"({u} *)(r{{dst}} {{off:+d}})"
        if size in (0x00, 0x18):
            wide = "64" if size == 0x18 else ""
            for name, (imm, op) in ATOMIC_OPS.items():
                yield _row(code, f"lock *{at} {op} r{{src}}", feature="" if name == "add" else "atomics", imm=imm)
                yield _row(
                    code,
                    f"r{{src}} = atomic{wide}_fetch_{name}({at}, r{{src}})",
                    "",
                    "atomics",
                    imm=imm | ATOMIC_FETCH,
                )
            yield _row(code, f"r{{src}} = atomic{wide}_xchg({at}, r{{src}})", "", "atomics", imm=ATOMIC_XCHG)
            yield _row(code, f"r0 = atomic{wide}_cmpxchg({at}, r0, r{{src}})", "", "atomics", imm=ATOMIC_CMPXCHG)
        load, store = (
            f"r{{dst}} = load_acquire(({u} *)(r{{src}} {{off:+d}}))",
            f"store_release({at}, r{{src}})",
        )
        yield _row(code, load, feature="acquire_release", imm=ATOMIC_LOAD_ACQUIRE)
        yield _row(code, store, feature="acquire_release", imm=ATOMIC_STORE_RELEASE)


def _wide() -> Iterator[Form]:
    code = LD_IMM64
    yield _row(code, "r{dst} = {value:#x}")
    yield _row(code, "r{dst} = map[fd:{lo}]", "r{dst} = map[{map}]", src=1)
    yield _row(code, "r{dst} = map[fd:{lo}][0]+{hi}", "r{dst} = map[{map}][0]+{hi}", "map_value", src=2)
    yield _row(code, "r{dst} = btf[id:{lo}]", "", "btf_var", src=3)
    yield _row(code, "r{dst} = btf[id:{lo}, fd:{hi}]", "", "btf_var", src=3)
    yield _row(code, "r{dst} = subprog[{rel:+d}]", "r{dst} = subprog[{label}]", "subprog_address", src=4)
    yield _row(code, "r{dst} = map[idx:{lo}]", "", "fd_array", src=5)
    yield _row(code, "r{dst} = map[idx:{lo}]+{hi}", "", "fd_array", src=6)


#: Every form. Of two rows that fit an instruction the first is meant.
FORMS: tuple[Form, ...] = (*_arithmetic(), *_jumps(), *_memory(), *_atomics(), *_wide())


def _by_code() -> dict[int, tuple[Form, ...]]:
    found: dict[int, list[Form]] = {}
    for form in FORMS:
        found.setdefault(form.code, []).append(form)
    return {code: tuple(forms) for code, forms in found.items()}


#: Opcode -> its forms, which differ in the fields that are not operands.
FORMS_BY_CODE = _by_code()


def find_form(insn: Insn) -> Form | None:
    """The row of an instruction, or ``None`` when the opcode is unknown or a reserved field is not as it must be."""
    _, dst, src, off, imm, _, _ = insn
    for form in FORMS_BY_CODE.get(insn.code, ()):
        if (
            src & form.src_keep == form.src
            and off & form.off_keep == form.off
            and imm & form.imm_keep == form.imm
            and dst & form.dst_keep == form.dst
        ):
            return form
    return None
