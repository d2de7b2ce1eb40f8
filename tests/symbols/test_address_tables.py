"""Tables of symbols by address: made ones, large ones, and damaged files."""

from __future__ import annotations

import glob
import lzma
import os
import random
import struct
import subprocess
import tracemalloc
import zlib
from array import array
from pathlib import Path

import pytest

from pybpf.errors import BpfError
from pybpf.symbols import ElfFile
from pybpf.symbols.addresses import AddressTable, BytesNames, FileNames
from pybpf.symbols.cache import ByteCache
from pybpf.symbols.debugfile import debug_file, mini_debug_info
from pybpf.symbols.image import Image, read_image
from pybpf.symbols.perfmap import PerfMap
from tests.symbols.compiled import NM
from tests.symbols.elfmaker import BASE, CODE, NOTE, NOTYPE, OBJECT, PROGBITS, Elf, Sym

pytestmark = pytest.mark.pure

START = BASE + CODE


def image_of(path: str) -> Image:
    with ElfFile(path) as elf:
        return read_image(elf, path, ())


def at(image: Image, offset: int) -> str:
    found = image.find(START + offset)
    return f"{found.name}+{START + offset - found.start}" if found else "-"


def test_sizes_labels_and_names(tmp_path: Path) -> None:
    symbols = [
        Sym("_start", START, 0, NOTYPE),
        Sym("sized", START, 16),
        Sym("label", START + 4, 0, NOTYPE),
        Sym("gap_before", START + 20, 4),
        Sym("unsized", START + 24, 0, NOTYPE),
        Sym("next", START + 30, 10),
        Sym("inner", START + 32, 2),
        Sym("__alias", START + 40, 4),
        Sym("alias@@V_1", START + 40, 4),
        Sym("$x", START + 44, 0, NOTYPE),
        Sym("data", START + 50, 4, OBJECT),
        Sym("undefined", START + 50, 4, section=0),
        Sym("outside", START + 4096, 4),
        Sym("nowhere", 0, 1 << 40),
    ]
    image = image_of(Elf(symbols=symbols).write(tmp_path / "elf"))
    expected = {
        0: "sized+0", 4: "sized+4", 15: "sized+15", 16: "-", 20: "gap_before+0", 24: "unsized+0", 29: "unsized+5",
        30: "next+0", 32: "inner+0", 33: "inner+1", 34: "next+4", 39: "next+9", 40: "alias+0", 43: "alias+3", 44: "-",
        50: "-", 4096: "-", -1: "-",
    }  # fmt: skip
    assert {offset: at(image, offset) for offset in expected} == expected
    assert image.find(0) is image.find(1 << 65) is image.find(-1) is None


def test_static_symbols_are_preferred(tmp_path: Path) -> None:
    elf = Elf(symbols=[Sym("static", START, 8)], dynamic=[Sym("dynamic", START, 8), Sym("only", START + 8, 8)])
    image = image_of(elf.write(tmp_path / "both"))
    assert (at(image, 1), at(image, 9)) == ("static+1", "-")
    image = image_of(Elf(dynamic=elf.dynamic).write(tmp_path / "dynamic"))
    assert (at(image, 1), at(image, 9)) == ("dynamic+1", "only+1")


def test_addresses_of_offsets(tmp_path: Path) -> None:
    image = image_of(Elf(data=b"12345678").write(tmp_path / "elf"))
    assert image.address_of(CODE + 3) == START + 3
    assert image.address_of(0x2000) == BASE + 0x2000
    assert image.address_of(1 << 40) is image.address_of(-1) is None


def test_table_against_a_list() -> None:
    """Symbols that may lie inside each other, but not across: the innermost is found by looking at all."""
    generator = random.Random(1)
    for _ in range(50):
        rows: list[tuple[int, int]] = []

        def nest(low: int, high: int, depth: int, rows: list[tuple[int, int]] = rows) -> None:
            while low < high - 2:
                start = generator.randrange(low, high - 1)
                end = generator.randrange(start + 1, high)
                rows.append((start, end - start))
                if depth and end - start > 2:
                    nest(start + 1, end, depth - 1)
                low = end + 1

        nest(0, 200, 2)
        generator.shuffle(rows)
        text = b"".join(b"f%03d\0" % index for index in range(len(rows)))
        table = AddressTable(
            array("Q", [start for start, _ in rows]),
            array("I", [size for _, size in rows]),
            array("I", range(0, 5 * len(rows), 5)),
            BytesNames(text),
        )
        for address in range(200):
            covering = [
                (start, f"f{index:03}") for index, (start, size) in enumerate(rows) if 0 <= address - start < size
            ]
            found = table.find(address)
            assert (found and (found.start, found.name)) == (max(covering) if covering else None)


def test_names_in_a_file(tmp_path: Path) -> None:
    """Large string tables stay in their file, and are of no use once it is another one."""
    path = tmp_path / "names"
    text = b"??first\0second\0" + b"l" * 1000 + b"\0" + b"\0last"
    path.write_bytes(text)
    names = FileNames(str(path), os.stat(path), 2, len(text) - 2)
    assert [names.get(start) for start in (0, 6, 13, 1014, 1015, 10**6)] == [
        b"first", b"second", b"l" * 1000, b"", b"last", b"",
    ]  # fmt: skip
    path.write_bytes(b"x" * len(text) * 2)
    assert names.get(0) == b""
    path.unlink()
    assert names.get(0) == b""


def test_cache_is_bounded_by_bytes() -> None:
    cache: ByteCache[str, int] = ByteCache(100)
    for number, key in enumerate("abc"):
        cache.put(key, number, 40)
    assert (cache.get("a"), cache.get("b"), cache.get("c"), cache.nbytes) == (None, 1, 2, 80)
    cache.get("b")
    cache.put("d", 3, 40)
    assert (cache.get("c"), cache.get("b")) == (None, 1)
    cache.put("b", 5, 10)
    assert (cache.get("b"), cache.nbytes) == (5, 50)
    cache.put("huge", 6, 1000)
    assert (len(cache), cache.get("huge"), cache.nbytes) == (1, 6, 1000)


LARGE = sorted(glob.glob("/usr/lib/*/libLLVM*.so*") + glob.glob("/usr/lib/*/lib*python3*.so*"), key=os.path.getsize)


@pytest.mark.skipif(not LARGE, reason="needs a large library")
def test_large_library_takes_little_memory() -> None:
    path = LARGE[-1]
    with ElfFile(path) as elf:
        sections = elf.symbol_sections()
        tables = sum(section.size + strings.size for section, strings in sections)
    tracemalloc.start()
    try:
        image = image_of(path)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(image) > 1000
    assert image.nbytes < tables
    assert kept < image.nbytes + (1 << 20)
    assert peak < 3 * tables + (4 << 20)


@pytest.mark.skipif(not (LARGE and NM), reason="needs a large library and nm")
def test_functions_of_a_large_library_are_those_of_nm() -> None:
    path = LARGE[-1]
    done = subprocess.run([NM, "-D", "--defined-only", path], capture_output=True, text=True, check=True)
    by_address: dict[int, set[str]] = {}
    for line in done.stdout.splitlines():
        address, kind, name = line.split(maxsplit=2)
        if kind in "TtWi":
            by_address.setdefault(int(address, 16), set()).add(name.partition("@")[0])
    image = image_of(path)
    sample = random.Random(1).sample(sorted(by_address), min(2000, len(by_address)))
    for address in sample:
        found = image.find(address)
        assert found is not None
        assert (found.start, found.name in by_address[address]) == (address, True)


def split(tmp_path: Path, **more: bytes) -> str:
    """A file with a debug link, a build id and a symbol table of its own, compressed, and the file of the link."""
    inner = Elf(symbols=[Sym("compressed", START + 16, 8)]).bytes()
    note = struct.pack("<III", 4, 4, 3) + b"GNU\0" + b"\1\2\3\4"
    linked = Elf(symbols=[Sym("linked", START + 8, 8)], notes=more.get("note", b"")).bytes()
    (tmp_path / "x.debug").write_bytes(linked)
    elf = Elf(dynamic=[Sym("dynamic", START, 8)])
    add = elf._layout

    def with_more() -> bytes:
        elf.add(".gnu_debugdata", PROGBITS, lzma.compress(inner))
        elf.add(".gnu_debuglink", PROGBITS, b"x.debug\0" + struct.pack("<I", zlib.crc32(more.get("crc", linked))))
        elf.add(".note.gnu.build-id", NOTE, note, align=4)
        return add()

    elf._layout = with_more  # type: ignore[method-assign]
    return elf.write(tmp_path / "split")


def image_in(path: str) -> Image:
    with ElfFile(path) as elf:
        return read_image(elf, path, ("/",))


def test_split_files(tmp_path: Path) -> None:
    image = image_in(split(tmp_path))
    assert [at(image, offset) for offset in (1, 9, 17)] == ["-", "linked+1", "-"]
    image = image_in(split(tmp_path, crc=b"another file"))
    assert [at(image, offset) for offset in (1, 9, 17)] == ["dynamic+1", "-", "compressed+1"]


@pytest.mark.parametrize(
    "name", ["", "..", "../x.debug", "/etc/passwd", "split", "no\ufffdsuch", "." * 300], ids=lambda name: name[:12]
)
def test_bad_debug_links(tmp_path: Path, name: str) -> None:
    elf = Elf()
    data = name.encode() + b"\0"
    data += bytes(-len(data) % 4) + struct.pack("<I", 0)
    elf.bytes()
    elf.sections.pop()  # .shstrtab comes again
    elf.add(".gnu_debuglink", PROGBITS, data)
    path = tmp_path / "split"
    path.write_bytes(elf._layout())
    with ElfFile(str(path)) as file:
        assert file.section(".gnu_debuglink") is not None
        assert debug_file(file, str(path), ("/",)) is None


@pytest.mark.parametrize("data", [b"", b"not xz", lzma.compress(b"no ELF file"), lzma.compress(b"x" * 10**7)[:50]])
def test_bad_mini_debug_info(tmp_path: Path, data: bytes) -> None:
    elf = Elf()
    elf.bytes()
    elf.sections.pop()
    elf.add(".gnu_debugdata", PROGBITS, data)
    path = tmp_path / "mini"
    path.write_bytes(elf._layout())
    with ElfFile(str(path)) as file:
        assert file.section(".gnu_debugdata") is not None
        assert mini_debug_info(file) is None


@pytest.mark.parametrize("seed", range(8))
def test_damaged_files(tmp_path: Path, seed: int) -> None:
    """Bytes changed and ends cut off: names may be missing, and only documented exceptions come."""
    path = split(tmp_path)
    whole = Path(path).read_bytes()
    headers = len(whole) - 64 * 16
    generator = random.Random(seed)
    damaged = str(tmp_path / "damaged")
    read = 0
    for _ in range(40):
        data = bytearray(whole)
        for _ in range(generator.choice((1, 1, 2, 5, 20))):
            place = generator.choice((range(64), range(64, 240), range(CODE, len(data)), range(headers, len(data))))
            data[generator.choice(place)] = generator.choice((0, 1, 0x7F, 0x80, 0xFF, generator.randrange(256)))
        if generator.random() < 0.2:
            del data[generator.randrange(len(data)) :]
        Path(damaged).write_bytes(data)
        try:
            image = image_in(damaged)
        except BpfError:
            continue
        read += 1
        for offset in (0, 1, 9, 17, 1 << 20):
            image.find(START + offset)
            image.address_of(offset)
    assert read > 5


def test_symbols_that_overlap_everywhere(tmp_path: Path) -> None:
    """Many huge symbols with long names that share their bytes: looking one up stays cheap."""
    symbols = [Sym("n" * 100, START + index % 60, 1 << 40) for index in range(5000)]
    image = image_of(Elf(symbols=symbols).write(tmp_path / "elf"))
    found = image.find(START + 63)
    assert found is not None
    assert found.start == START + 59


@pytest.mark.parametrize("seed", range(4))
def test_damaged_perf_maps(tmp_path: Path, seed: int) -> None:
    generator = random.Random(seed)
    path = tmp_path / "perf.map"
    whole = b"".join(b"%x %x name %d\n" % (0x1000 + 16 * index, 16, index) for index in range(50))
    perf_map = PerfMap(str(path), "", frozenset({os.getuid()}))
    for _ in range(100):
        data = bytearray(whole)
        for _ in range(generator.randrange(20)):
            data[generator.randrange(len(data))] = generator.choice(b"0f \n\0\xff")
        path.write_bytes(data[generator.randrange(10) : generator.randrange(len(data))])
        perf_map.refresh()
        for address in (0, 0x1000, 0x1105, 1 << 63, 1 << 70):
            perf_map.find(address)


def test_perf_map_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pybpf.symbols import perfmap

    monkeypatch.setattr(perfmap, "_MOST_FUNCTIONS", 10)
    monkeypatch.setattr(perfmap, "_MOST_BYTES", 100)
    path = tmp_path / "perf.map"
    path.write_bytes(b"".join(b"%x 1 n\n" % index for index in range(1000)))
    perf_map = PerfMap(str(path), "", frozenset({os.getuid()}))
    perf_map.refresh()
    perf_map.refresh()
    assert perf_map.find(9) is not None
    assert perf_map.find(10) is None
    assert perf_map.nbytes <= 100 + 20 * 10
