"""The same instructions as other people's tools see them: bpftool's dump of a loaded program, and llvm-mc."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import sys
from functools import cache

import pytest

from pybpf.asm import (
    DW,
    FORMS,
    R0,
    R1,
    R2,
    R3,
    R6,
    R7,
    R10,
    Code,
    Form,
    Insn,
    Item,
    assemble,
    call_local,
    disassemble,
    encode,
    exit_,
    label,
    ld_map,
    ld_map_value,
    ldx,
    mov,
    st,
)  # fmt: skip
from pybpf.errors import AsmError
from pybpf.maps import HashMap
from pybpf.prog import Program, ProgramSpec
from pybpf.sys.bpf import Attr, Cmd, ProgType
from pybpf.sys.fd import Fd
from pybpf.types import u32, u64
from tests.asm.machine import array, load, needs
from tests.asm.rows import make, samples

_BPFTOOL = shutil.which("bpftool") or shutil.which("bpftool", path="/usr/sbin:/sbin")
_LLVM_MC = next(filter(None, map(shutil.which, ("llvm-mc-19", "llvm-mc", "llvm-mc-16", "llvm-mc-14"))), None)


def _runnable(form: Form) -> list[Insn]:
    """An instruction of a row that the verifier takes whatever R1 and R2 hold, with what it needs around it."""
    shape = form.shape
    if form.wide or shape.startswith(("call", "exit", "r0 = *(")) or form.feature not in ("", "jmp32", "atomics"):
        return []
    if "goto" in shape:
        return [make(form, 1, 2, 1, 5), mov(R3, 0)] if shape.startswith("if") else [make(form, 0, 0, 0, 0)]
    if "(r<src>" in shape:
        return [make(form, 1, 10, -8, 0)]
    if "(r<dst>" in shape:
        restore = [mov(R0, 0)] if "cmpxchg" in shape else []
        return [*restore, make(form, 10, 2, -8, 5), st(DW, R10, -8, 0)]
    return [make(form, 1, 2, 0, 5)]


def _every_form() -> list[Item]:
    """A program with an instruction of every row that bpftool 7.1 (Linux 6.1) and the socket filter type know."""
    items: list[Item] = [ld_map(R7, "counts"), ld_map_value(R6, "counts", 8), mov(R0, 0), st(DW, R10, -8, 0)]
    for form in FORMS:
        insns = _runnable(form)
        if insns:
            items += [ldx(DW, R1, R6), ldx(DW, R2, R6, 8), mov(R3, R1), *insns]
    tail = assemble("r1 = 0x1122334455667788").insns
    return [*items, *tail, call_local("work"), mov(R0, 0), exit_(), label("work"), mov(R0, R1), exit_()]


def _xlated(program: Fd) -> tuple[int, bytes]:
    """Id and instructions of a loaded program (struct bpf_prog_info)."""
    info = ctypes.create_string_buffer(232)
    attr = Attr(Cmd.OBJ_GET_INFO_BY_FD, bpf_fd=program.fileno(), info_len=len(info), info=info)
    attr.call()
    size = int.from_bytes(info.raw[20:24], sys.byteorder)
    number = int.from_bytes(info.raw[4:8], sys.byteorder)
    code = ctypes.create_string_buffer(size)
    info = ctypes.create_string_buffer(232)
    ctypes.c_uint32.from_buffer(info, 20).value = size
    ctypes.c_uint64.from_buffer(info, 32).value = ctypes.addressof(code)
    Attr(Cmd.OBJ_GET_INFO_BY_FD, bpf_fd=program.fileno(), info_len=len(info), info=info).call()
    return number, code.raw


def _dump(number: int) -> str:
    assert _BPFTOOL is not None
    run = subprocess.run(
        [_BPFTOOL, "prog", "dump", "xlated", "id", str(number)], capture_output=True, text=True, check=True
    )
    return run.stdout


def _instructions(text: str) -> list[str]:
    """The instructions of a dump; of local calls without the symbol that bpftool found for the target."""
    lines = [re.sub(r"(call pc[+-]\d+)#\S+", r"\1", line.rstrip()) for line in text.split("\n")]
    return [line for line in lines if re.match(r" *\d+: \(", line)]


@pytest.mark.root
@pytest.mark.skipif(_BPFTOOL is None, reason="bpftool is not installed")
def test_text_is_that_of_bpftool() -> None:
    needs("atomics")
    code = Code(_every_form())
    with array(24) as counts, load(code, {"counts": counts.fileno()}) as program:
        number, xlated = _xlated(program)
        ours = disassemble(xlated, style="bpftool", endian=sys.byteorder)
        theirs = _dump(number)
    assert _instructions(ours) == _instructions(theirs)
    assert len(_instructions(ours)) > 500
    # what bpftool prints is taken back, with the names that it gives to what is called
    again = assemble(theirs)
    assert [str(insn) for insn in again] == [
        re.sub(r"(call pc[+-]\d+)#\S+", r"\1", str(insn)) for insn in assemble(ours)
    ]


#: calls of helpers, of which the kernel leaves some and puts functions of its own in the place of others
_CALLS = """
    r6 = r1
    call work
    call bpf_get_smp_processor_id
    call bpf_ktime_get_ns
    *(u32 *)(r10 -4) = 1
    r2 = r10
    r2 += -4
    r1 = map[counts]
    call bpf_map_delete_elem
    r0 = 0
    exit
work:
    call bpf_ktime_get_ns
    exit
"""


def _shown(number: int) -> str:
    run = subprocess.run([sys.executable, "-m", "pybpf", "disasm", "--id", str(number)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.root
def test_a_dump_of_calls_is_taken_back_or_refused() -> None:
    needs("btf_func")
    with HashMap(u32, u64, name="counts") as counts:
        spec = ProgramSpec(ProgType.SOCKET_FILTER, assemble(_CALLS, file="calls.s"), "shown")
        with Program.load(spec, {"counts": counts}) as program:
            ours = _shown(program.id)
            texts = [ours] if _BPFTOOL is None else [ours, _dump(program.id)]
    lines = ours.splitlines()
    headings = [line for line in lines if line.endswith("):")]
    assert headings == ["int shown(void *ctx):", "int work(void *ctx):"]
    assert "; call bpf_ktime_get_ns" in lines and any(re.search(r"call pc\+\d+#work$", line) for line in lines)
    for text in texts:
        kept = [line for line in text.splitlines() if "delete_elem" not in line and "smp_processor" not in line]
        for name in re.findall(r"call (\w+)#\d+", text):
            if not name.startswith("bpf_"):
                with pytest.raises(AsmError, match=f"{name!r} is no helper: the kernel put it in the place of one"):
                    assemble(text)
        # Without those, every call is a helper's, a local one, or by a name that loading will not find: never a number
        # that means another function.
        code = assemble("\n".join(re.sub(r"^ *\d+: \(..\)|call pc.*", "", line) for line in kept))
        calls = [str(insn) for insn in code if insn.code == 0x85]
        assert calls.count("call bpf_ktime_get_ns#5") == 2 and not any("kernel-function#" in each for each in calls)


#: rows that newer kernels know, each as text that the verifier takes
_NEWER = {
    "cpu_v4": """
        r1 = 7
        r1 s/= 2
        w1 s%= 3
        r2 = (s8)r1
        r3 = (s32)r1
        w4 = (s16)w1
        r1 = bswap64 r1
        r2 = bswap16 r2
        *(u64 *)(r10 -8) = r1
        r3 = *(s8 *)(r10 -8)
        r3 = *(s32 *)(r10 -8)
        gotol pc+0
    """,
    "acquire_release": """
        r1 = 7
        *(u64 *)(r10 -8) = r1
        r1 = load_acquire((u64 *)(r10 -8))
        store_release((u32 *)(r10 -8), r1)
    """,
    "may_goto": """
        may_goto pc+1
        goto pc-2
    """,
}


@pytest.mark.root
@pytest.mark.parametrize("feature", _NEWER)
def test_text_of_newer_rows_is_that_of_the_verifier(feature: str) -> None:
    needs(feature)
    code = assemble(_NEWER[feature] + "\nr0 = 0\nexit")
    with Program.load(ProgramSpec(ProgType.SOCKET_FILTER, code, "newer"), log=2) as program:
        found = dict(re.findall(r"^(\d+): \([0-9a-f]{2}\) (.*?) *(?:;.*)?$", program.log, re.MULTILINE))
    ours = disassemble(code, style="verifier").split("\n")
    assert [f"{code.slot(index)}: " + found[str(code.slot(index))] for index in range(len(code))] == [
        re.sub(r" \([0-9a-f]{2}\) ", " ", line) for line in ours
    ]


# llvm-mc: its syntax differs from the kernel's in spaces, signs and names. Before version 18 it knows neither cpu v4,
# nor `%`, nor jumps by `&`, nor constants stored; and fetching atomics it prints, but cannot read.

_LLVM = [
    (r"\((r\d+) ([+-])(\d+)\)", r"(\1 \2 \3)"),
    (r"(gotol?) pc([+-]\d+)", r"\1 \2"),
    (r"call (?:bpf_\w+|unknown)#(-?\d+)", r"call \1"),
    (r"^(r\d+) = (0x[0-9a-f]+)$", r"\1 = \2 ll"),
    (r"(r\d+) = atomic64_xchg\(\(u64 \*\)\((.*?)\), (r\d+)\)", r"\1 = xchg_64(\2, \3)"),
    (r"r(\d+) = atomic_xchg\(\(u32 \*\)\((.*?)\), r(\d+)\)", r"w\1 = xchg32_32(\2, w\3)"),
    (r"r0 = atomic64_cmpxchg\(\(u64 \*\)\((.*?)\), r0, (r\d+)\)", r"r0 = cmpxchg_64(\1, r0, \2)"),
    (r"r0 = atomic_cmpxchg\(\(u32 \*\)\((.*?)\), r0, r(\d+)\)", r"w0 = cmpxchg32_32(\1, w0, w\2)"),
    (r"r(\d+) = atomic64_(fetch_\w+)\((.*), r(\d+)\)", r"r\1 = atomic_\2(\3, r\4)"),
    (r"r(\d+) = atomic_(fetch_\w+)\(\(u32 \*\)(.*), r(\d+)\)", r"w\1 = atomic_\2((u32 *)\3, w\4)"),
    (r"lock \*\(u32 \*\)(.*) r(\d+)$", r"lock *(u32 *)\1 w\2"),
]


def _to_llvm(insn: Insn) -> str:
    text = str(insn)
    if text.startswith("if") and "0x" in text:  # a signed number there
        text = re.sub(r"0x[0-9a-f]+", str(insn.imm), text)
    for pattern, replacement in _LLVM:
        text = re.sub(pattern, replacement, text)
    return text


@cache
def _llvm_version() -> int:
    assert _LLVM_MC is not None
    text = subprocess.run([_LLVM_MC, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"LLVM version (\d+)", text)
    assert found is not None, text
    return int(found[1])


def _llvm_knows(form: Form) -> bool:
    new = _llvm_version() >= 18
    unknown = r"skb\[r" if new else r"skb\[r| & | %= |\*\(u\d+ \*\)\(r<dst> <off>\) = <imm>"
    features = ("", "jmp32", *(("cpu_v4",) if new else ()))
    return form.feature in features and not re.search(unknown, form.shape) and not (form.wide and form.src)


def _llvm_mc(triple: str, *options: str, text: str) -> str:
    assert _LLVM_MC is not None
    cpu = "v4" if _llvm_version() >= 18 else "v3"
    command = [_LLVM_MC, "-triple", triple, f"-mcpu={cpu}", "-mattr=+alu32", *options]
    run = subprocess.run(command, input=text, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[:3000]
    return run.stdout


@pytest.mark.skipif(_LLVM_MC is None, reason="llvm-mc is not installed")
@pytest.mark.parametrize(("triple", "endian"), [("bpfel", "little"), ("bpfeb", "big")])
def test_encodings_are_those_of_llvm(triple: str, endian: str) -> None:
    insns = [insn for form in FORMS if _llvm_knows(form) for insn in samples(form)[:6]]
    assert len({insn.code for insn in insns}) > 90
    assert any(form.feature == "cpu_v4" for form in FORMS if _llvm_knows(form)) == (_llvm_version() >= 18)
    out = _llvm_mc(triple, "-show-encoding", text="\n".join(map(_to_llvm, insns)))
    encodings = re.findall(r"encoding: \[(.*?)\]", out)
    assert len(encodings) == len(insns)
    for insn, found in zip(insns, encodings):
        data = bytes(int(byte, 16) for byte in found.split(","))
        assert encode([insn], endian=endian) == data, (str(insn), _to_llvm(insn))


@pytest.mark.skipif(_LLVM_MC is None, reason="llvm-mc is not installed")
@pytest.mark.parametrize(("triple", "endian"), [("bpfel", "little"), ("bpfeb", "big")])
def test_llvm_reads_atomics_as_they_are_meant(triple: str, endian: str) -> None:
    insns = [insn for form in FORMS if form.feature == "atomics" for insn in samples(form)[:3]]
    data = encode(insns, endian=endian)
    out = _llvm_mc(triple, "-disassemble", text=" ".join(f"0x{byte:02x}" for byte in data))
    assert [line.strip() for line in out.split("\n") if "(" in line] == list(map(_to_llvm, insns))
