"""The verifier's log: which line says why a program was refused, at which instruction, and what that means.

The log is text for people and has changed from release to release; what is read here holds from Linux 4.18 to 7.x.
"""

from __future__ import annotations

import re

from pybpf.record import NamedTuple

__all__ = ["Rejection", "advice_for", "read_log"]

#: The reason is near the end; a log can have a hundred megabytes.
_TAIL = 1 << 18

# Patterns are compiled when a program is refused (re remembers them): most runs refuse none.
_INSN = r"(\d+): \(([0-9a-f]{2})\) ([^;]*)"
_SOURCE = r"; (.*?)(?: @ ([^@]*:\d+))?\s*$"
#: Structural checks come before any instruction is printed, and name theirs in words.
_NAMED_INSN = r"\b(?:insn|instruction) (\d+)\b"
#: In a report the failing instruction is marked: ">>> 2 | (bf) r0 = r3"; its source line too, but without an opcode.
_MARKED_INSN = r">>> (\d+) \| \([0-9a-f]{2}\) "
_REPORT = "Verification failed: "
#: Some reasons lack their line end: "expected prog array map for tail callprocessed 3 insns (limit 1000000) ...".
_FOOTER = r"processed \d+ insns \(limit \d+\).*|processed \d+ insns, stack depth .*"

#: Lines that describe the verifier's state or progress, never the reason.
_NOISE = r"""(?x)
      \d+:\s*(?:R\d|frame\d|fp-|safe\b|refs=|$)            # register state, before Linux 5.19 on a line of its own
    | from\ \d+\ to\ \d+                                   # another branch
    | \s*(?:R\d+(?:_[rwxs]+)?=|frame\d+:\s|fp-\d+)         # state without a number
    | (?:cur|old)\ state:
    | (?:caller|callee|returning\ from\ callee|to\ caller\ at\ \d+):
    | func\#\d+\ @\d+ | Func\#\d+\ .*(?:safe\ for|assumed\ valid) | Validating\ | Live\ regs\ before
    | \s+\d+:\ [.0-9]+\ \(                                  # rows of "Live regs before insn"
    | mark_precise: | last_idx\ | regs=\w*\ stack | parent\ (?:didn't|already|state) | falling\ back\ to
    | propagating\ | verification\ time | stack\ depth | insns\ processed | max_states
    | func\ '\w+'\ arg\d+\ (?:has\ btf_id|type) | arg\#\d+\ (?:reference\ type|type\ is\ not\ a\ struct)
    | Unrecognized\ arg\#\d+\ type
    | \s*$
    """


class Rejection(NamedTuple):
    """What a log says of a refused program; empty strings and ``None`` for what it does not say."""

    reason: str
    """The verifier's own words: the last line that is not about its state, and in parentheses what led to it."""
    slot: int | None
    """Of the failing instruction (``ld_imm64`` takes two slots)."""
    insn: str
    """That instruction as the verifier printed it."""
    source: str
    """The source line that the verifier quoted last: its text, and from Linux 6.9 also ``file:line``."""
    suggestion: str = ""
    """What the kernel itself says to do (Linux 7.3)."""


def read_log(log: str) -> Rejection:
    """The reason, instruction and source line of a refusal. Any text is taken; of no log all fields are empty."""
    slot: int | None = None
    insn = source = ""
    words: list[str] = []  # since the last instruction
    lines = log[-_TAIL:].splitlines()
    begin = next((number for number, line in enumerate(lines) if line.startswith(_REPORT)), len(lines))
    for line in lines[:begin]:
        shown = re.match(_INSN, line)
        if shown:
            slot, insn = int(shown[1]), shown[3].strip()
            words.clear()
        elif line.startswith(";"):
            quoted = re.match(_SOURCE, line)
            if quoted:  # without text: of a function that has no lines
                source = f"{quoted[2]}: {quoted[1]}" if quoted[1] and quoted[2] else quoted[1]
        else:
            line = re.sub(_FOOTER, "", line).rstrip()
            if line and not re.match(_NOISE, line):
                words.append(line.strip())
    reason = words[-1] if words else ""
    report = _sections(lines[begin:])
    reason = reason or report.get(_REPORT, "")
    named = re.search(_NAMED_INSN, reason) or re.search(_MARKED_INSN, report.get("At", ""))
    if named and int(named[1]) != slot:
        slot, insn, source = int(named[1]), "", ""
    if len(words) > 1 and words[-2] != reason:
        reason += f" ({words[-2]})"
    reason = reason.rstrip("'") if reason.count("'") == 1 else reason
    return Rejection(reason, slot, insn, source, report.get("Suggestion", ""))


def _sections(lines: list[str]) -> dict[str, str]:
    """The report that follows the reason since Linux 7.3: heading -> text on one line. Empty where there is none.

    "Verification failed: Register Type Safety: Unreadable register", then headings such as "Reason:", "At:" and
    "Suggestion:", each with indented text.
    """
    sections: dict[str, list[str]] = {}
    heading = ""
    for line in lines:
        if line.startswith(_REPORT):
            sections[_REPORT] = [line[len(_REPORT) :]]
        elif line.startswith(" "):
            sections.setdefault(heading, []).append(line)
        else:
            heading = line.partition(":")[0]
    return {name: " ".join(" ".join(text).split()) for name, text in sections.items()}


# What the commonest reasons mean and what to do, first match wins. Nothing is said of reasons that are not here.
_ADVICE = [
    (r"GPL", "this helper is for GPL-compatible programs only: load with license='GPL' or 'Dual MIT/GPL'"),
    (
        r"_or_null_?'|possibly null pointer|pointer arithmetic on \w+_or_null",
        "the pointer may be null: compare it with 0 and branch before it is used",
    ),
    (
        r"leads? to reference leak|[Uu]nreleased reference",
        "what was reserved or acquired must be submitted, discarded or released on every path to exit",
    ),
    (
        r"back-edge",
        "this kernel takes no loops (Linux 5.3 does, if they are bounded): unroll the loop",
    ),
    (
        r"infinite loop",
        "the loop comes back with nothing changed that its condition depends on: count in a register, or on the stack "
        "in 64 bits, and leave at a constant limit",
    ),
    (
        r"program is too large|jumps is too complex|too complex|too many states",
        "the verifier follows every path and every turn of a loop and gave up: fewer branches, fewer turns, or the "
        "loop in bpf_loop (Linux 5.17)",
    ),
    (
        r"combined stack size|stack depth|off=-(?:51[3-9]|5[2-9]\d|[6-9]\d\d|\d{4,})\b",
        "the stack has 512 bytes for a function and all that it calls: keep large data in a map value",
    ),
    (
        r"invalid (?:indirect )?read from stack|invalid access to stack.*uninit",
        "bytes of the stack are read that were not written on every path here: zero the whole buffer first",
    ),
    (
        r"invalid (?:write|read|access|stack).*stack|invalid indirect access to stack",
        "the access is not within the bytes of the stack that it may use: check offset and size",
    ),
    (
        r"min value is negative",
        "the number may be negative for all the verifier knows: `&=` a mask, or compare unsigned in 64 bits, the "
        "very register that is used, right before",
    ),
    (
        r"unbounded (?:memory access|size)|outside of the (?:allowed memory|array) range|invalid access to map value"
        r"|unbounded variable-offset|unbounded min value|math between \w+ pointer and register"
        r"|makes \w+ pointer be out of bounds",
        "the verifier cannot prove that the access stays within its memory: bound the very register that is used, "
        "right before, with `&=` or an unsigned 64-bit compare",
    ),
    (
        r"unreachable insn",
        "no path leads there: remove it; if it follows a loop, the loop has no way out",
    ),
    (
        r"R0 !read_ok",
        "r0 has no value on some path here: set it before exit; it is also the result of each call",
    ),
    (
        r"R[1-5] !read_ok",
        "the register has no value on some path here: it was never set, or a call since then took it (r1 to r5 do "
        "not survive a call; r6 to r9 do)",
    ),
    (r"!read_ok", "the register has no value on some path here: set it first"),
    (
        r"invalid mem access '(?:inv|scalar)'",
        "the register holds a number for all the verifier knows, not memory that may be accessed directly: read "
        "kernel memory with bpf_probe_read_kernel, user memory with bpf_probe_read_user",
    ),
    (
        r"invalid bpf_context access|variable ctx access|dereference of modified ctx|doesn't have \d+-th arg",
        "the context is read at constant offsets that this program type defines, by naturally aligned loads from the "
        "unchanged context pointer",
    ),
    (
        r"expected=(?:ringbuf_mem|alloc_mem)",
        "the helper takes what was reserved, once: afterwards no register holds it",
    ),
    (r"[Mm]isaligned", "the offset must be a multiple of the size of the access"),
    (r"last insn is not an exit or jmp", "every function must end with exit or goto"),
    (r"jump out of range|jump into the middle", "a jump must land on an instruction of the same function"),
    (r"frame pointer is read only", "r10 cannot be changed: copy it to another register first"),
    (
        r"pointer arithmetic|subtraction from stack pointer|32-bit pointer|pointer \+= pointer",
        "pointers take only 64-bit += and -= of bounded numbers (the stack pointer only +=)",
    ),
    (
        r"missing btf func_info|not static",
        "callbacks need BTF with func_info (Linux 5.13); load the program on a kernel that takes its BTF",
    ),
    (
        r"not a (?:known )?const|must be a known constant",
        "this argument must be a constant that is written into the program",
    ),
    (
        r"invalid zero-sized read",
        "the size may be 0 for all the verifier knows, and this helper takes at least 1",
    ),
    (r"cannot pass map_type|expected prog array map", "this helper does not take maps of this type"),
    (r"frames is too deep|recursive call", "calls nest at most 8 deep, and recursion is not possible"),
    (
        r"must provide btf_id",
        "programs of this type are bound to what they trace when they are loaded: name it, ProgramSpec(attach_btf=...)",
    ),
    (
        r"is not modifiable",
        "fmod_ret takes security hooks (security_...), and functions that the kernel marks for error injection",
    ),
    (
        r"At program exit the register R0|register R0 has .*value.* should",
        "programs of this type may return only these values",
    ),
]


def advice_for(reason: str) -> str:
    """What a verifier's reason means and what to do about it, or ``""`` where nothing certain can be said."""
    return next((advice for pattern, advice in _ADVICE if re.search(pattern, reason)), "")
