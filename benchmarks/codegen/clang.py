"""Compile a C file by clang and make programs and maps of the object file: a loader for the benchmark, no more."""

from __future__ import annotations

import io
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection

from pybpf.asm import Code, Insn, MapRef, decode, slots
from pybpf.maps import MapSpec
from pybpf.prog import AttachType, ProgramSpec, ProgType
from pybpf.sys.bpf import MapType
from pybpf.types import u8, u32

__all__ = ["VARIABLES", "Object", "compile_c"]

#: first word of a section's name -> type of its programs
_TYPES = {
    "tracepoint": (ProgType.TRACEPOINT, AttachType.NONE),
    "kprobe": (ProgType.KPROBE, AttachType.NONE),
    "tp_btf": (ProgType.TRACING, AttachType.TRACE_RAW_TP),
    "perf_event": (ProgType.PERF_EVENT, AttachType.NONE),
}
_PSEUDO_MAP_FD, _PSEUDO_MAP_VALUE = 1, 2
#: the map that global variables become
VARIABLES = "variables"
_SHF_EXECINSTR = 4


class Object(NamedTuple):
    """What an object file holds."""

    programs: dict[str, ProgramSpec]
    maps: dict[str, MapSpec]


def compile_c(path: Path, defines: Mapping[str, int]) -> Object:
    """Compile with ``clang -O2``.

    :raises subprocess.CalledProcessError: clang is not content.
    """
    command = ["clang", "-target", "bpf", "-O2", "-c", str(path), "-o", "-"]
    command += [f"-D{name}={value}" for name, value in defines.items()]
    elf = ELFFile(io.BytesIO(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
    symbols = elf.get_section_by_name(".symtab")
    numbers = {section.name: number for number, section in enumerate(elf.iter_sections())}
    variables = numbers.get(".bss")
    maps, programs = {}, {}
    if variables is not None:
        size = elf.get_section(variables)["sh_size"]
        maps[VARIABLES] = MapSpec(MapType.ARRAY, u32, u8[size], 1, VARIABLES)
    for symbol in symbols.iter_symbols():
        if symbol["st_shndx"] == numbers.get("maps") and symbol["st_info"]["type"] == "STT_OBJECT":
            maps[symbol.name] = _map(symbol.name, elf.get_section_by_name("maps").data()[symbol["st_value"] :])
    for section in elf.iter_sections():
        if not section["sh_flags"] & _SHF_EXECINSTR or not section.data():
            continue
        (name,) = (
            symbol.name
            for symbol in symbols.iter_symbols()
            if symbol["st_shndx"] == numbers[section.name] and symbol["st_info"]["type"] == "STT_FUNC"
        )
        kind, expected = _TYPES[section.name.partition("/")[0]]
        attach = section.name.partition("/")[2] if expected else None
        relocations = elf.get_section_by_name(f".rel{section.name}")
        code = _code(section.data(), relocations, symbols, variables)
        programs[name] = ProgramSpec(kind, code, name, expected_attach_type=expected, attach_btf=attach)
    return Object(programs, maps)


def _map(name: str, definition: bytes) -> MapSpec:
    kind, key, value, entries = struct.unpack_from("=4I", definition)
    return MapSpec(MapType(kind), u8[key] if key else None, u8[value] if value else None, entries, name)


def _code(data: bytes, relocations: RelocationSection | None, symbols: Any, variables: int | None) -> Code:
    refs = {}
    if relocations is not None:
        for each in relocations.iter_relocations():
            refs[each["r_offset"] // 8] = symbols.get_symbol(each["r_info_sym"])
    insns: list[Insn] = []
    slot = 0
    for insn in decode(data):
        if slot in refs:
            symbol = refs[slot]
            if symbol["st_shndx"] == variables:
                ref, kind = MapRef(VARIABLES, symbol["st_value"] + insn.imm), _PSEUDO_MAP_VALUE
            else:
                ref, kind = MapRef(symbol.name), _PSEUDO_MAP_FD
            insn = insn._replace(src=kind, imm=0, ref=ref)
        insns.append(insn)
        slot += slots(insn)
    return Code(insns)
