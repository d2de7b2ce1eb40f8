"""One instruction to text, as the kernel's verifier and bpftool print it; and what is wrong with one."""

from __future__ import annotations

from typing import Any

from pybpf.asm.helpers import HELPERS_BY_ID
from pybpf.asm.insn import Insn, KfuncRef, MapRef
from pybpf.asm.opcodes import FORMS_BY_CODE, Form, find_form
from pybpf.lazy import regex

__all__ = ["describe", "fault", "form_text", "printable", "signed32"]

#: The name of a map or of a kernel function.
_NAME = regex(r"[A-Za-z0-9_.$]+")
_U32 = 0xFFFFFFFF
_U64 = 0xFFFFFFFFFFFFFFFF


def printable(text: str) -> str:
    """Control characters escaped: source text must not drive the terminal, nor break a line."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def signed32(value: int) -> int:
    """The lower 32 bits of a number, as a signed one."""
    return ((value & _U32) ^ 0x80000000) - 0x80000000


def _helper(number: int) -> str:
    helper = HELPERS_BY_ID.get(number)
    return f"bpf_{helper.name}#{number}" if helper else f"unknown#{number}"


def _values(insn: Insn, form: Form) -> dict[str, Any]:
    imm, ref = insn.imm, insn.ref
    values: dict[str, Any] = {"dst": insn.dst, "src": insn.src, "off": insn.off, "imm": imm}
    if "hex" in form.places:
        values["hex"] = imm & _U32
    elif "helper" in form.places:
        values["helper"] = _helper(imm)
    elif form.wide:
        values.update(value=imm, lo=imm & _U32, hi=imm >> 32, rel=signed32(imm))
    elif "as_to" in form.places:
        values.update(as_to=imm >> 16 & 0xFFFF, as_from=imm & 0xFFFF)
    if isinstance(ref, MapRef):
        values.update(map=ref.name, hi=ref.offset)
    elif isinstance(ref, KfuncRef):
        values["kfunc"] = ref.name
    elif ref is not None:
        values["label"] = ref
    return values


def form_text(insn: Insn, form: Form) -> str:
    """The text of an instruction that :func:`fault` finds nothing wrong with."""
    return (form.text if insn.ref is None else form.symbolic).format_map(_values(insn, form))


def describe(insn: Insn) -> str:
    """The text of any instruction; of one that is not whole, its fields. Never raises."""
    try:
        form = find_form(insn)
        if form is not None and (insn.ref is None or form.symbolic):
            return form_text(insn, form)
    except (TypeError, ValueError, KeyError, AttributeError):
        pass  # fields of other types than Insn declares
    ref = "" if insn.ref is None else f" ref={insn.ref!r}"
    code = f"0x{insn.code:02x}" if isinstance(insn.code, int) else repr(insn.code)
    return f"code={code} dst={insn.dst!r} src={insn.src!r} off={insn.off!r} imm={insn.imm!r}{ref}"


def _misfit(insn: Insn) -> str:
    """Why no row of the table fits."""
    forms = FORMS_BY_CODE.get(insn.code, ())
    if not forms:
        return f"0x{insn.code:02x} is not an opcode" if 0 <= insn.code <= 0xFF else "the opcode must be 0 to 255"
    wrong = {
        form: [
            f"{name} must be {want}, not {value & keep}"
            for name, value, keep, want in (
                ("dst", insn.dst, form.dst_keep, form.dst),
                ("src", insn.src, form.src_keep, form.src),
                ("off", insn.off, form.off_keep, form.off),
                ("imm", insn.imm, form.imm_keep, form.imm),
            )
            if value & keep != want
        ]
        for form in forms
    }
    nearest = min(forms, key=lambda form: len(wrong[form]))
    others = f" ({len(forms) - 1} other forms have this opcode)" if len(forms) > 1 else ""
    return f"reserved field: in `{nearest.shape}` {' and '.join(wrong[nearest])}{others}"


def _range_fault(insn: Insn, form: Form) -> str:
    for name, register in (("dst", insn.dst), ("src", insn.src)):
        if name in form.places and not 0 <= register <= 10:
            return f"{name} register {register} does not exist; use 0 to 10"
    if not -0x8000 <= insn.off <= 0x7FFF:
        fix = "aim nearer, or use gotol" if insn.code & 7 in (5, 6) else "add to the base register first"
        return f"offset {insn.off} does not fit 16 bits signed (-32768 to 32767); {fix}"
    if form.wide:
        return "" if 0 <= insn.imm <= _U64 else f"{insn.imm} does not fit 64 bits unsigned; mask it with (1 << 64) - 1"
    if not -0x80000000 <= insn.imm <= 0x7FFFFFFF:
        return (
            f"immediate {insn.imm} does not fit 32 bits signed (-2147483648 to 2147483647); "
            "put it into a register with ld_imm64 first (in text: `r1 = <number> ll`)"
        )
    return ""


def _ref_fault(insn: Insn, form: Form) -> str:
    ref = insn.ref
    kind = {str: "label", MapRef: "map", KfuncRef: "kfunc"}.get(type(ref))
    if kind is None:
        return f"{ref!r} is not a symbolic operand; give a label's name, a MapRef or a KfuncRef"
    if not form.ref:
        return f"`{form.shape}` takes no {kind}"
    if form.ref != kind:
        return f"`{form.shape}` takes a {form.ref}, not a {kind}"
    if insn.off or (insn.imm and not (kind == "label" and "off" in form.places)):
        return f"it has both a {kind} and a number; leave the field that the {kind} stands for 0"
    if isinstance(ref, (MapRef, KfuncRef)) and not _NAME.fullmatch(ref.name):
        return f"{ref.name!r:.60} cannot name a {kind}; use letters, digits, `_`, `.` and `$`"
    if isinstance(ref, MapRef):
        if (ref.offset is not None) != (insn.src == 2):
            return "a MapRef with an offset goes with src 2 (address of a value), one without with src 1 (the map)"
        if ref.offset is not None and not 0 <= ref.offset <= _U32:
            return f"map value offset {ref.offset} does not fit 32 bits unsigned"
    return ""


def fault(insn: Insn) -> str:
    """What is wrong with an instruction and what to write instead, or ``""``."""
    code, dst, src, off, imm, ref, _ = insn
    if not (
        isinstance(code, int)
        and isinstance(dst, int)
        and isinstance(src, int)
        and isinstance(off, int)
        and isinstance(imm, int)
    ):
        return "code, dst, src, off and imm must be integers"
    form = find_form(insn)
    if form is None:
        return _misfit(insn)
    return _range_fault(insn, form) or (_ref_fault(insn, form) if ref is not None else "")
