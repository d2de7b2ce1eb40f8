"""ELF files: the system's own against other readers, hand-made tables, and damaged files."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pybpf.errors import BpfError, NotFoundError
from pybpf.symbols import ElfFile, find_binary
from tests.symbols.elfmaker import BASE, CODE, DATA, IFUNC, NOTYPE, OBJECT, Elf, Sym

LIBC = find_binary("libc.so.6", os.getpid()).path
PYTHON = os.path.realpath(sys.executable)


def functions_of(path: str) -> dict[str, int]:
    with ElfFile(path) as elf:
        return {symbol.name: symbol.address for symbol in elf.functions()}


@pytest.mark.parametrize("path", [LIBC, PYTHON])
def test_functions_are_those_of_pyelftools(path: str) -> None:
    from elftools.elf.elffile import ELFFile

    expected = set()
    with open(path, "rb") as file:
        for section in ELFFile(file).iter_sections():
            if section["sh_type"] in ("SHT_SYMTAB", "SHT_DYNSYM"):
                for symbol in section.iter_symbols():
                    if symbol["st_info"]["type"] == "STT_FUNC" and symbol["st_shndx"] != "SHN_UNDEF":
                        expected.add(symbol["st_value"])
    assert set(functions_of(path).values()) == expected


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


def test_names_that_would_fill_memory_are_refused(tmp_path: Path) -> None:
    """A string table without ends, and many symbols that each take all of it."""
    count = 2000
    symbols = [Sym("", BASE + CODE + index) for index in range(count)]
    elf = Elf(code=bytes(count), symbols=symbols)
    data = bytearray(elf.bytes())
    strings = b"A" * 60000 + b"\0"
    at = len(data)
    data += strings
    names_at = data.rindex(b"\0.strtab\0") + 1 - (data.rindex(b"\0.text\0"))
    header = data.rindex(names_at.to_bytes(4, "little") + (3).to_bytes(4, "little"))
    data[header + 24 : header + 40] = at.to_bytes(8, "little") + len(strings).to_bytes(8, "little")
    path = tmp_path / "elf"
    path.write_bytes(data)
    with ElfFile(str(path)) as damaged, pytest.raises(BpfError, match="symbol names overlap"):
        damaged.functions()


def use(path: Path) -> None:
    """Everything that a file can be asked; only documented errors may come out."""
    from pybpf.symbols import usdt_sites

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
    from tests.symbols.elfmaker import usdt_note

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

