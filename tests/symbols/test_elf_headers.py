"""The headers of ELF files: the same as pyelftools reads."""

from __future__ import annotations

import glob
import sys

import pytest

from pybpf.symbols import ElfFile

pytestmark = pytest.mark.pure

FILES = [sys.executable, *glob.glob("/lib/*/libc.so.6"), *glob.glob("/usr/lib/*/crt1.o"), "/bin/ls"]


@pytest.mark.parametrize("path", FILES)
def test_headers_are_those_of_pyelftools(path: str) -> None:
    from elftools.elf.elffile import ELFFile

    with open(path, "rb") as file, ElfFile(path) as ours:
        theirs = ELFFile(file)
        assert (ours.bits, ours.machine, ours.type) == (theirs.elfclass, theirs["e_machine"], theirs["e_type"])
        assert [(each.name, each.address, each.offset, each.size, each.link, each.align) for each in ours.sections] == [
            (each.name, each["sh_addr"], each["sh_offset"], each["sh_size"], each["sh_link"], each["sh_addralign"])
            for each in theirs.iter_sections()
        ]
        for mine, other in zip(ours.sections, theirs.iter_sections()):
            assert mine.type == str(other["sh_type"]) or mine.type.isdigit()
        assert [(each.offset, each.address, each.file_size, each.memory_size) for each in ours.segments] == [
            (each["p_offset"], each["p_vaddr"], each["p_filesz"], each["p_memsz"])
            for each in theirs.iter_segments("PT_LOAD")
        ]
