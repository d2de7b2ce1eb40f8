"""ELF files: the system's own against other readers, hand-made tables, and damaged files."""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from pybpf.attach.kinds.uprobe import place_in
from pybpf.errors import BpfError, NotFoundError
from pybpf.symbols import ElfFile, find_binary, usdt_sites
from tests.symbols.elfmaker import (
    BASE,
    CODE,
    DATA,
    DYNSYM,
    IFUNC,
    NOTE,
    NOTYPE,
    OBJECT,
    STRTAB,
    SYMTAB,
    VERDEF,
    VERSYM,
    Elf,
    Header,
    Sym,
    hostile,
    symbol_table,
    usdt_note,
)

pytestmark = pytest.mark.pure

LIBC = find_binary("libc.so.6", os.getpid()).path
PYTHON = os.path.realpath(sys.executable)


def functions_of(path: str) -> dict[str, int]:
    with ElfFile(path) as elf:
        return {symbol.name: symbol.address for symbol in elf.functions()}


@pytest.mark.parametrize("path", [LIBC, PYTHON])
def test_functions_are_those_of_pyelftools(path: str) -> None:
    """A sample of them: pyelftools takes a second for the whole of libc, and twenty where processors are emulated."""
    from elftools.elf.elffile import ELFFile

    ours = set(functions_of(path).values())
    functions, others = set(), set()
    with open(path, "rb") as file:
        for section in ELFFile(file).iter_sections():
            if section["sh_type"] in ("SHT_SYMTAB", "SHT_DYNSYM"):
                for index in range(1, section.num_symbols(), 1 + section.num_symbols() // 500):
                    symbol = section.get_symbol(index)
                    is_function = symbol["st_info"]["type"] == "STT_FUNC" and symbol["st_shndx"] != "SHN_UNDEF"
                    (functions if is_function else others).add(symbol["st_value"])
    assert functions
    assert functions <= ours
    assert not (others - functions) & ours


@pytest.mark.skipif(shutil.which("readelf") is None, reason="needs readelf")
@pytest.mark.parametrize("path", [LIBC, "/usr/bin/python3.11"])
def test_build_id_is_what_readelf_says(path: str) -> None:
    if not os.path.exists(path):
        pytest.skip(f"there is no {path}")
    text = subprocess.run(["readelf", "-n", path], capture_output=True, text=True, check=True).stdout
    expected = [line.split()[-1] for line in text.splitlines() if "Build ID" in line]
    with ElfFile(path) as elf:
        assert [elf.build_id] == (expected or [None])


def test_file_offset_leads_to_the_function(tmp_path: Path) -> None:
    code = bytes(range(64))
    path = Elf(code=code, symbols=[Sym("f", BASE + CODE + 16, 8)]).write(tmp_path / "elf")
    with ElfFile(path) as elf:
        at = elf.file_offset(elf.function("f").address, executable=True)
        assert at is not None
        assert elf.read(at, 8) == code[16:24]
        assert elf.file_offset(BASE + CODE + 64, executable=True) is None
        assert elf.file_offset(0) is None


def test_writable_segment_is_not_code(tmp_path: Path) -> None:
    path = Elf(data=b"data", symbols=[Sym("v", BASE + DATA, 4, OBJECT)]).write(tmp_path / "elf")
    with ElfFile(path) as elf:
        assert elf.file_offset(BASE + DATA) == DATA
        assert elf.file_offset(BASE + DATA, executable=True) is None
        assert elf.symbol("v") is None
        assert elf.symbol("v", (OBJECT,)).address == BASE + DATA  # type: ignore[union-attr]


def test_libc_function_by_name_and_pattern() -> None:
    with ElfFile(LIBC) as elf:
        one = elf.function("getppid")
        assert one.address == functions_of(LIBC)["getppid"]
        assert one in elf.functions("getpp*")
        assert [symbol.name for symbol in elf.functions("getpp?d")] == ["getppid"]
        assert [symbol.name for symbol in elf.functions("[g]etppid")] == ["getppid"]
        assert elf.functions("no_such_*") == []


def test_missing_function_says_what_comes_close() -> None:
    with ElfFile(LIBC) as elf, pytest.raises(NotFoundError, match=r"no function getppidd in .*did you mean getppid"):
        elf.function("getppidd")


def test_aliases_are_one_function_with_the_plainest_name(tmp_path: Path) -> None:
    names = ["__libc_thing", "_thing", "thing", "thing_with_a_longer_name"]
    path = Elf(symbols=[*map(Sym, names), Sym("other", BASE + CODE + 8)]).write(tmp_path / "elf")
    assert functions_of(path) == {"thing": BASE + CODE, "other": BASE + CODE + 8}
    with ElfFile(path) as elf:
        assert elf.function("__libc_thing").address == BASE + CODE


def test_undefined_and_unloaded_symbols_are_no_functions(tmp_path: Path) -> None:
    symbols = [Sym("here"), Sym("undefined", 0, section=0), Sym("elsewhere", 0x99999999), Sym("label", kind=NOTYPE)]
    path = Elf(symbols=symbols).write(tmp_path / "elf")
    assert list(functions_of(path)) == ["here"]
    with ElfFile(path) as elf, pytest.raises(NotFoundError):
        elf.function("undefined")


def test_indirect_function_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = Elf(symbols=[Sym("memcpy", kind=IFUNC), Sym("f", BASE + CODE + 4)]).write(tmp_path / "elf")
    assert list(functions_of(path)) == ["f"]
    with ElfFile(path) as elf, pytest.raises(BpfError, match="indirect function"):
        elf.function("memcpy")


def test_versions(tmp_path: Path) -> None:
    hidden = 0x8000
    dynamic = [
        Sym("f", BASE + CODE, version=hidden | 1),
        Sym("f", BASE + CODE + 8, version=2),
        Sym("old", BASE + CODE + 16, version=hidden | 1),
    ]
    path = Elf(dynamic=dynamic, versions=["V_1.0", "V_2.0"]).write(tmp_path / "elf")
    expected = {
        "f": 8, "f@V_2.0": 8, "f@@V_2.0": 8, "f@V_1.0": 0, "old": 16, "old@V_1.0": 16,
    }  # fmt: skip
    with ElfFile(path) as elf:
        for name, offset in expected.items():
            assert elf.function(name).address == BASE + CODE + offset, name
        for name in ("f@V_3.0", "g@V_1.0"):
            with pytest.raises(NotFoundError):
                elf.function(name)
    assert functions_of(path) == {"f@V_1.0": BASE + CODE, "f": BASE + CODE + 8, "old@V_1.0": BASE + CODE + 16}


def test_several_functions_of_one_name(tmp_path: Path) -> None:
    """Each object file of a program can have a static function of the name."""
    symbols = [Sym("f"), Sym("f", BASE + CODE + 4), Sym("f"), Sym("one"), Sym("one")]
    symbols += [Sym("many", BASE + CODE + at) for at in range(50)]
    with ElfFile(Elf(symbols=symbols).write(tmp_path / "elf"), "elf") as elf:
        assert [symbol.address for symbol in elf.symbols_named("f")] == [BASE + CODE, BASE + CODE + 4]
        with pytest.raises(BpfError) as error:
            elf.function("f")
        assert str(error.value) == (
            "cannot probe f in elf: 2 functions have that name (f at 0x401000, f at 0x401004); "
            "give the address of the one that is meant, or for all of them a pattern, [f]"
        )
        assert len(elf.functions("man[y]")) == 50
        with pytest.raises(BpfError, match=r"50 functions .* many at 0x401007, 42 more\)"):
            elf.function("many")
        assert elf.function("one").address == BASE + CODE


def test_several_versions_without_a_default(tmp_path: Path) -> None:
    hidden = 0x8000
    dynamic = [Sym("f", BASE + CODE, version=hidden | 1), Sym("f", BASE + CODE + 8, version=hidden | 2)]
    with ElfFile(Elf(dynamic=dynamic, versions=["V_1.0", "V_2.0"]).write(tmp_path / "elf")) as elf:
        with pytest.raises(BpfError, match=r"f@V_1\.0 at 0x401000, f@V_2\.0 at 0x401008"):
            elf.function("f")
        assert elf.function("f@V_2.0").address == BASE + CODE + 8


def test_version_in_the_name_of_a_static_symbol(tmp_path: Path) -> None:
    path = Elf(symbols=[Sym("f@@V_2"), Sym("g@V_1", BASE + CODE + 4)]).write(tmp_path / "elf")
    with ElfFile(path) as elf:
        assert elf.function("f@@V_2").address == BASE + CODE
        assert elf.function("g@V_1").address == BASE + CODE + 4


def test_name_inside_another_name(tmp_path: Path) -> None:
    """Names share bytes in string tables: ``alloc`` can be the end of ``malloc``."""
    data = bytearray(Elf(symbols=[Sym("malloc"), Sym("xxxxx", BASE + CODE + 8)]).bytes())
    at = data.index(b"\0malloc\0")
    name = data.index(b"xxxxx", at) - at
    entry = data.index(name.to_bytes(4, "little") + b"\x12")
    data[entry : entry + 4] = (2).to_bytes(4, "little")
    path = tmp_path / "elf"
    path.write_bytes(data)
    with ElfFile(str(path)) as elf:
        assert elf.function("alloc").address == BASE + CODE + 8
        assert elf.function("malloc").address == BASE + CODE


def test_no_symbols(tmp_path: Path) -> None:
    with ElfFile(Elf().write(tmp_path / "elf")) as elf:
        assert elf.functions() == []
        with pytest.raises(NotFoundError, match="the file has no symbols"):
            elf.function("f")


def test_what_is_no_elf_file(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no file"):
        ElfFile(str(tmp_path / "missing"))
    with pytest.raises(NotFoundError):
        ElfFile("/bin/sh\0x")
    with pytest.raises(BpfError, match="not a regular file"):
        ElfFile(str(tmp_path))
    with pytest.raises(BpfError, match="not a regular file"):
        ElfFile("/dev/zero")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(BpfError, match="not a regular file"):
        ElfFile(str(fifo))
    for content in (b"", b"\x7fELF", b"#!/bin/sh\n", b"\x7fELF" + bytes(60), b"\x7fELF\2\1\1" + b"\xff" * 100):
        text = tmp_path / "file"
        text.write_bytes(content)
        with pytest.raises(BpfError, match=r"cannot read .*file as an ELF file"):
            ElfFile(str(text))


COUNT = 2000
LONG = b"\0" + b"A" * 4000 + b"\0"


def hostile_file(path: Path, blob: bytes, headers: Sequence[Header]) -> str:
    path.write_bytes(hostile(blob, headers, code=bytes(COUNT)))
    return str(path)


@pytest.mark.parametrize("end", [b"\0", b""], ids=["ended", "unended"])
def test_symbol_names_that_would_fill_memory_are_refused(tmp_path: Path, end: bytes) -> None:
    """Many symbols that each take all of the string table, or search all of it for an end."""
    strings, table = b"\0" + b"A" * 60000 + end, symbol_table(1, COUNT)
    headers = [Header(STRTAB, 0, 1), Header(STRTAB, 0, len(strings)), Header(SYMTAB, len(strings), len(table), 2)]
    with ElfFile(hostile_file(tmp_path / "elf", strings + table, headers)) as elf:
        with pytest.raises(BpfError, match="names or notes overlap"):
            elf.functions()
        assert elf.symbol("no_such") is None


def test_section_names_that_would_fill_memory_are_refused(tmp_path: Path) -> None:
    path = hostile_file(tmp_path / "elf", LONG, [Header(STRTAB, 0, len(LONG), name=1)] * COUNT)
    with pytest.raises(BpfError, match="names or notes overlap"):
        ElfFile(path)


def test_name_of_a_section_is_not_long(tmp_path: Path) -> None:
    names = b"\0" + b"A" * 5000 + b"\0short\0"
    headers = [Header(STRTAB, 0, len(names), name=start) for start in (1, 5002)]
    with ElfFile(hostile_file(tmp_path / "elf", names, headers)) as elf:
        assert [section.name for section in elf.sections] == ["", "", "short"]


def versioned(path: Path, definitions: int) -> str:
    """Symbols of one hidden version, and so many definitions of it, all with the same long name."""
    entry = struct.pack("<HHHHIIIII", 1, 0, 1, 1, 0, 20, 28, 3, 0)  # its name is at 3
    strings = b"\0f" + LONG
    blob, headers = b"", [Header(STRTAB, 0, 1)]
    for kind, data, link in [
        (STRTAB, strings, 0),
        (DYNSYM, symbol_table(1, COUNT), 2),
        (VERSYM, b"\1\x80" * (COUNT + 1), 3),
        (VERDEF, b"".join(struct.pack("<4xH", i) + entry[6:] for i in range(1, definitions + 1)), 2),
    ]:
        headers.append(Header(kind, len(blob), len(data), link))
        blob += data
    return hostile_file(path, blob, headers)


def test_names_of_versions_that_would_fill_memory_are_refused(tmp_path: Path) -> None:
    with ElfFile(versioned(tmp_path / "symbols", 1)) as elf:
        first = next(elf.symbols())
        assert first.name == "f@" + "A" * 4000
        for ask in (elf.functions, lambda: elf.symbol("f")):
            with pytest.raises(BpfError, match="names or notes overlap"):
                ask()
    with ElfFile(versioned(tmp_path / "definitions", COUNT)) as elf, pytest.raises(BpfError, match="overlap"):
        next(elf.symbols())


def test_sections_over_the_same_bytes_are_read_once(tmp_path: Path) -> None:
    """Tables, notes and probes that many sections share."""
    names = b"\0.note.stapsdt\0"
    table = symbol_table(0, COUNT)
    notes = usdt_note("p:n", BASE + CODE) * COUNT
    blob = names + table + notes
    first = Header(STRTAB, 0, len(names))
    with ElfFile(hostile_file(tmp_path / "t", blob, [first, *[Header(SYMTAB, 15, len(table), 1)] * COUNT])) as elf:
        assert len(elf._tables) == 1
    shared = [first, *[Header(NOTE, 15 + len(table), len(notes), name=1)] * COUNT]
    with ElfFile(hostile_file(tmp_path / "n", blob, shared)) as elf:
        with pytest.raises(BpfError, match="names or notes overlap"):
            _ = elf.build_id
        assert len(usdt_sites(elf)) == COUNT


def test_place_beyond_the_end_of_the_file(tmp_path: Path) -> None:
    data = bytearray(Elf(symbols=[Sym("f")]).bytes())
    for offset in (2**64 - 1, len(data), len(data) - CODE):
        struct.pack_into("<Q", data, 64 + 8, offset)  # p_offset
        path = tmp_path / "elf"
        path.write_bytes(data)
        with ElfFile(str(path)) as elf:
            assert elf.file_offset(BASE + CODE, executable=True) is None
            assert elf.functions() == []
            with pytest.raises(BpfError, match="outside the code of the file"):
                place_in(elf, "f", BASE + CODE)


def use(path: Path) -> None:
    """Everything that a file can be asked; only documented errors may come out."""
    with ElfFile(str(path)) as elf:
        for ask in (
            lambda: elf.build_id,
            elf.functions,
            lambda: elf.functions("a*"),
            lambda: elf.symbol("f"),
            lambda: elf.symbol("f@V_1.0"),
            lambda: elf.function("g"),
            lambda: usdt_sites(elf),
            lambda: elf.file_offset(BASE),
        ):
            try:
                ask()
            except BpfError:
                continue


def test_damaged_files_raise_only_our_errors(tmp_path: Path) -> None:
    original = Elf(
        data=b"data",
        symbols=[Sym("f"), Sym("memcpy", kind=IFUNC)],
        dynamic=[Sym("f", version=2)],
        versions=["V_1.0", "V_2.0"],
        notes=usdt_note("p:n", BASE + CODE, "8@%rax 4@f(%rip)"),
        base=BASE,
    ).bytes()
    path = tmp_path / "elf"
    chance = random.Random(1)
    headers = [*range(16, 64), *range(64, 176), *range(len(original) - 64 * 14, len(original))]
    started = time.monotonic()
    refused = 0
    for turn in range(300):
        data = bytearray(original)
        for _ in range(chance.randrange(1, 4)):
            at = chance.choice(headers) if turn % 2 else chance.randrange(len(data))
            data[at] = chance.choice((0, 1, 0x7F, 0xFF, chance.randrange(256)))
        if turn % 10 == 0:
            del data[chance.randrange(len(data)) :]
        path.write_bytes(data)
        try:
            use(path)
        except BpfError:
            refused += 1
        if turn > 100 and time.monotonic() - started > 3:  # emulated processors are slow
            break
    assert refused


def test_closed_file_keeps_its_headers(tmp_path: Path) -> None:
    elf = ElfFile(Elf(symbols=[Sym("f")]).write(tmp_path / "elf"))
    elf.close()
    elf.close()
    assert elf.file_offset(BASE + CODE) == CODE
    assert elf.section(".text") is not None

