"""Addresses of processes that the test starts, against what they say themselves."""

from __future__ import annotations

import ctypes
import lzma
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pybpf.asm import assemble
from pybpf.attach import uprobe
from pybpf.errors import NotFoundError, UnsupportedError
from pybpf.maps import StackTrace
from pybpf.prog import Program, ProgramSpec
from pybpf.symbols import UNKNOWN, ElfFile, ProcessSymbols, Symbol, Symbolizer, mappings
from pybpf.symbols.debugfile import in_memory
from pybpf.symbols.dwarf import DebugInfo
from pybpf.symbols.image import read_image
from pybpf.symbols.images import Images
from pybpf.symbols.library import every_mapping
from pybpf.sys.bpf import ProgType
from tests.attach.targets import native_program, waiting
from tests.symbols.compiled import (
    LIBRARY,
    PROGRAM,
    Running,
    build,
    functions_of,
    needs_cc,
    needs_objcopy,
    objcopy,
    running,
)
from tests.symbols.elfmaker import BASE, CODE, Elf, Sym

SELF = os.getpid()


def names(symbols: list[Symbol]) -> list[str]:
    return [symbol.name for symbol in symbols]


def check(program: Running, path: str, wanted: set[str], symbols: Symbolizer | None = None) -> None:
    """Its functions have the names and addresses that the program gives."""
    resolved = (symbols or Symbolizer()).user(program.pid, [at + 1 for at in program.functions.values()])
    for (name, address), symbol in zip(program.functions.items(), resolved):
        if name in wanted:
            assert symbol == Symbol(name, 1, symbol.module, symbol.path, address + 1, address)
            if name != "from_library":
                assert (symbol.module, symbol.path) == (os.path.basename(path), path)
        else:
            assert symbol.name == UNKNOWN or name == "from_library"


def test_own_functions_are_those_of_dlsym() -> None:
    libc = ctypes.CDLL(None)
    wanted = {name: ctypes.cast(libc[name], ctypes.c_void_p).value or 0 for name in ("getppid", "qsort", "fopen64")}
    found = Symbolizer().user(SELF, [address + 2 for address in wanted.values()])
    assert [(symbol.start, symbol.offset) for symbol in found] == [(address, 2) for address in wanted.values()]
    assert names(found)[:2] == ["getppid", "qsort"]
    assert all(symbol.module.startswith(("libc", "ld-musl")) and symbol.known for symbol in found)
    assert str(found[0]) == f"getppid+0x2 ({found[0].module})"


def test_native_program(tmp_path: Path) -> None:
    """Without a compiler: the program is machine code with a hand-made symbol table."""
    path = native_program(tmp_path / "program")
    with ElfFile(path) as elf:
        work = elf.function("work")
    with waiting([path]) as process:
        found = ProcessSymbols(process.pid).resolve(work.address + 3)
    assert found == Symbol("work", 3, "program", path, work.address + 3, work.address)


def test_names_of_other_languages(tmp_path: Path) -> None:
    code = Path(native_program(tmp_path / "native")).read_bytes()[CODE : CODE + 88]
    mangled = ["_ZN3foo3barEi", "_RNvC4rust4main", "plain", "od\x1bd\u202e"]
    symbols = [Sym(name, BASE + CODE + 16 * index, 16) for index, name in enumerate(mangled)]
    path = Elf(code=code, symbols=symbols).write(tmp_path / "program")
    with waiting([path]) as process:
        found = Symbolizer().user(process.pid, [BASE + CODE + 16 * index for index in range(4)])
    assert names(found) == mangled
    assert [symbol.demangled for symbol in found] == ["foo::bar(int)", "rust::main", "plain", "od\x1bd\u202e"]
    assert str(found[0]) == "foo::bar(int)+0x0 (program)"
    assert str(found[3]) == r"od\x1bd\u202e+0x0 (program)"


@needs_cc
@pytest.mark.parametrize("options", [["-pie", "-fPIE"], ["-no-pie"], ["-static"], ["-static-pie"]], ids=lambda o: o[0])
def test_kinds_of_executables(tmp_path: Path, options: list[str]) -> None:
    path = build(tmp_path / "program", *options)
    with running([path]) as program:
        check(program, path, {"hidden_one", "open_one", "main"})


@needs_cc
def test_shared_library(tmp_path: Path) -> None:
    library = build(tmp_path / "libwait.so", "-shared", "-fPIC", source=LIBRARY)
    path = build(tmp_path / "program", "-Wl,--no-as-needed", library)
    with running([path]) as program:
        check(program, path, set(program.functions))
        (symbol,) = Symbolizer().user(program.pid, [program.functions["from_library"]])
        assert (symbol.name, symbol.module, symbol.path) == ("from_library", "libwait.so", library)


@needs_cc
def test_stripped_program_has_dynamic_symbols_only(tmp_path: Path) -> None:
    path = build(tmp_path / "program", "-s", "-rdynamic")
    with running([path]) as program:
        check(program, path, {"open_one", "main"})
        hidden = program.functions["hidden_one"]
        (symbol,) = Symbolizer().user(program.pid, [hidden])
        assert str(symbol) == "[unknown] (program)"
        # what addr2line wants
        with ElfFile(path) as elf:
            open_one = elf.function("open_one").address
        assert symbol.offset - open_one == hidden - program.functions["open_one"]


@needs_objcopy
@pytest.mark.parametrize("place", ["", ".debug"])
@pytest.mark.parametrize("build_id", [[], ["-Wl,--build-id=none"]], ids=["build id", "checksum"])
def test_debug_link(tmp_path: Path, place: str, build_id: list[str]) -> None:
    path = build(tmp_path / "program", "-pie", *build_id)
    (tmp_path / place).mkdir(exist_ok=True)
    debug = tmp_path / place / "program.dbg"
    objcopy("--only-keep-debug", path, str(debug))
    objcopy("--strip-all", f"--add-gnu-debuglink={debug}", path)
    with running([path]) as program:
        check(program, path, {"hidden_one", "open_one", "main"})
        # a file that does not belong to it
        other = build(tmp_path / "other", "-pie", "-DOTHER=1", *build_id)
        objcopy("--only-keep-debug", "--strip-symbol=main", other, str(debug))
        if not build_id:
            objcopy("--remove-section=.note.gnu.build-id", str(debug))
        check(program, path, set())


@needs_objcopy
@pytest.mark.root
def test_build_id_in_another_root(tmp_path: Path) -> None:
    """The process sees its debug file under /usr/lib/debug of its own root directory."""
    path = build(tmp_path / "program", "-static", "-Wl,--build-id=sha1")
    with ElfFile(path) as elf:
        build_id = elf.build_id or ""
    debug = tmp_path / "usr/lib/debug/.build-id" / build_id[:2] / f"{build_id[2:]}.debug"
    debug.parent.mkdir(parents=True)
    objcopy("--only-keep-debug", path, str(debug))
    objcopy("--strip-all", path)
    with running(["/program"], lambda: os.chroot(tmp_path)) as program:
        symbols = Symbolizer()
        found = symbols.user(program.pid, list(program.functions.values()))
        assert names(found) == list(program.functions)
        program.end()
        assert symbols.user(program.pid, list(program.functions.values())) == found


@needs_objcopy
def test_mini_debug_info(tmp_path: Path) -> None:
    """As Fedora ships programs: the symbols that are not dynamic, compressed, in a section."""
    path = build(tmp_path / "program", "-pie", "-rdynamic")
    mini = tmp_path / "mini"
    objcopy("--strip-all", "--keep-symbol=hidden_one", path, str(mini))
    (tmp_path / "mini.xz").write_bytes(lzma.compress(mini.read_bytes()))
    objcopy("--strip-all", f"--add-section=.gnu_debugdata={tmp_path}/mini.xz", path)
    with running([path]) as program:
        check(program, path, {"hidden_one", "open_one", "main"})


@needs_cc
@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_deleted_program(tmp_path: Path, how: str) -> None:
    path = build(tmp_path / "program")
    with running([path]) as program:
        os.unlink(path)
        if how == "replaced":
            Path(path).write_text("something else")
        check(program, path, {"hidden_one", "open_one", "main"})


@needs_cc
@pytest.mark.root
@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
def test_file_of_another_mount_namespace(tmp_path: Path) -> None:
    """We see another program at the path of the one that runs."""
    (tmp_path / "dir").mkdir()
    ours = build(tmp_path / "dir/program", source="int main(void) { return 0; }")
    theirs = build(tmp_path / "theirs")
    script = f"mount -t tmpfs none {tmp_path}/dir && cp {theirs} {ours} && exec {ours}"
    with running(["unshare", "--mount", "sh", "-c", script]) as program:
        if not program.functions:
            pytest.skip("mount namespaces are refused")
        symbols = Symbolizer()
        check(program, ours, {"hidden_one", "open_one", "main"}, symbols)
        assert symbols.watch(program.pid, load=True)
        program.end()
        check(program, ours, {"hidden_one", "open_one", "main"}, symbols)


@needs_cc
def test_process_that_ended(tmp_path: Path) -> None:
    path = build(tmp_path / "program")
    symbols, late = Symbolizer(), Symbolizer()
    with running([path]) as program:
        functions = list(program.functions.values())
        assert symbols.watch(program.pid)
        program.end()
        # the file is still there, and read only now
        assert names(symbols.user(program.pid, functions)) == list(program.functions)
        assert not late.watch(program.pid)
        assert late.user_reason(program.pid) == f"there is no process {program.pid}"
        assert symbols.user_reason(program.pid) == ""
        assert names(late.user(program.pid, functions)) == [UNKNOWN] * len(functions)
        with pytest.raises(NotFoundError, match="no process"):
            ProcessSymbols(program.pid)


@needs_cc
def test_process_that_ended_and_whose_file_is_another_now(tmp_path: Path) -> None:
    path = build(tmp_path / "program")
    with running([path]) as program:
        symbols = Symbolizer()
        symbols.watch(program.pid)
        program.end()
    build(tmp_path / "new", source="int main(void) { return 0; }")
    os.replace(tmp_path / "new", path)
    (symbol,) = symbols.user(program.pid, [program.functions["main"]])
    assert str(symbol) == "[unknown] (program)"


def test_zombie_keeps_its_symbols(tmp_path: Path) -> None:
    path = native_program(tmp_path / "program")
    symbols = Symbolizer()
    with waiting([path]) as process:
        symbols.watch(process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        found = symbols.user(process.pid, [BASE + CODE, 1])
        assert names(found) == ["_start", UNKNOWN]


@needs_cc
def test_process_that_executes_another_program(tmp_path: Path) -> None:
    """Both have their functions at the same addresses."""
    first = build(tmp_path / "first", "-no-pie")
    second = build(tmp_path / "second", "-no-pie", source=PROGRAM.replace("hidden_one", "hidden_two"))
    symbols = Symbolizer()
    with running([first, second]) as program:
        check(program, first, {"hidden_one", "open_one", "main"}, symbols)
        program.go_on()
        functions = functions_of(program.process)
        time.sleep(0.01)  # within a millisecond it is not noticed
        assert functions["hidden_two"] == program.functions["hidden_one"]
        check(Running(program.process, functions), second, {"hidden_two", "open_one", "main"}, symbols)


REUSED = """
import subprocess, time
from pybpf.symbols import Symbolizer

symbols = Symbolizer()
for program in {programs!r}:
    with open("/proc/sys/kernel/ns_last_pid", "w") as file:
        file.write("4321")
    with subprocess.Popen([program], stdin=subprocess.PIPE) as process:
        while program not in open(f"/proc/{{process.pid}}/maps").read():
            time.sleep(0.002)
        print(process.pid, *symbols.user(process.pid, [{address}]))
        process.kill()
    time.sleep(0.01)  # within a millisecond it is not noticed
"""


@pytest.mark.root
@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
@pytest.mark.skipif(not os.path.exists("/proc/sys/kernel/ns_last_pid"), reason="process numbers cannot be chosen")
def test_number_used_again(tmp_path: Path) -> None:
    """In a namespace of its own, where numbers can be chosen."""
    code = Path(native_program(tmp_path / "native")).read_bytes()[CODE : CODE + 88]
    programs = [
        Elf(code=code, symbols=[Sym(name, BASE + CODE, 64)]).write(tmp_path / name) for name in ("first", "second")
    ]
    script = REUSED.format(programs=programs, address=BASE + CODE + 1)
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    if "unshare" in done.stderr:
        pytest.skip("process namespaces are refused")
    assert done.stdout.splitlines() == ["4322 first+0x1 (first)", "4322 second+0x1 (second)"], done.stderr


@needs_cc
@pytest.mark.root
@pytest.mark.needs("uprobe")
def test_stack_that_a_program_collected(tmp_path: Path) -> None:
    """Of a process that has ended when its stack is looked at."""
    path = build(tmp_path / "program", "-fno-omit-frame-pointer")
    text = """
        r2 = map[stacks]
        r3 = 0x100
        call bpf_get_stackid
        r0 = 0
        exit
    """
    symbols = Symbolizer()
    with StackTrace(16, 8, name="stacks") as stacks, running([path]) as program:
        spec = ProgramSpec(ProgType.KPROBE, assemble(text))
        with Program.load(spec, {"stacks": stacks}) as loaded, uprobe(loaded, path, "hidden_one", pid=program.pid):
            assert symbols.watch(program.pid)
            program.go_on()
            program.process.wait()
        (addresses,) = stacks.values()
    found = symbols.user(program.pid, addresses, stack=True)
    assert (found[0].name, found[0].offset) == ("hidden_one", 0)
    # before Linux 6.11 the caller of the probed function is missing
    assert next(name for name in names(found[1:]) if name != "open_one") == "main"
    assert [symbol.module for symbol in found[:2]] == ["program", "program"]


@needs_cc
def test_library_that_is_loaded_later(tmp_path: Path) -> None:
    """An address that is in no mapping makes the map be read again."""
    path = build(tmp_path / "libwait.so", "-shared", "-fPIC", source=LIBRARY)
    symbols = ProcessSymbols(SELF)
    assert symbols.resolve(1).name == UNKNOWN
    library = ctypes.CDLL(path)
    address = ctypes.cast(library.from_library, ctypes.c_void_p).value or 0
    deadline = time.monotonic() + 60
    while not symbols.resolve(address).known and time.monotonic() < deadline:
        time.sleep(0.01)  # it is read a few times a second only, on slow machines
    assert symbols.resolve(address) == Symbol("from_library", 0, "libwait.so", path, address, address)


@needs_cc
def test_watching_again_reads_the_map_again(tmp_path: Path) -> None:
    path = build(tmp_path / "libagain.so", "-shared", "-fPIC", source=LIBRARY)
    script = f"import ctypes; input(); ctypes.CDLL({path!r}); print('there', flush=True); input()"
    symbols = Symbolizer()
    with running_python(script) as process:
        assert process.stdin is not None and process.stdout is not None
        assert symbols.watch(process.pid)
        process.stdin.write("\n")
        process.stdin.flush()
        process.stdout.readline()
        address = next(m.start for m in mappings(process.pid) if m.path == path and m.executable)
        assert symbols.watch(process.pid)
    (symbol,) = symbols.user(process.pid, [address])
    assert (symbol.module, symbol.path) == ("libagain.so", path)


@contextmanager
def running_python(script: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_memory_is_bounded() -> None:
    """The files that this process has mapped: what does not fit is forgotten, and read again."""
    files = {mapping.path: mapping for mapping in mappings(SELF) if mapping.executable}
    limit = 300_000
    images, largest, total = Images(limit), 0, 0
    for path in files:
        found = images.of_file(path, path, ("/",))
        assert found is not None
        largest, total = max(largest, found[1].nbytes), total + found[1].nbytes
        assert images.nbytes <= max(limit, largest)
    assert total > limit
    little, enough = Symbolizer(1), Symbolizer()
    for mapping in files.values():
        addresses = range(mapping.start, mapping.end, max((mapping.end - mapping.start) // 50, 1))
        assert little.user(SELF, addresses) == enough.user(SELF, addresses)


def test_without_pyelftools_there_are_symbols_and_no_debug_information(monkeypatch: pytest.MonkeyPatch) -> None:
    libc = ctypes.CDLL(None)
    address = ctypes.cast(libc.getppid, ctypes.c_void_p).value or 0
    for name in ("elftools", "elftools.elf.elffile"):
        monkeypatch.setitem(sys.modules, name, None)
    (found,) = Symbolizer().user(SELF, [address])
    assert "getppid" in found.name
    with pytest.raises(UnsupportedError, match="pyelftools, which is not installed"):
        DebugInfo(sys.executable)


def test_vdso() -> None:
    """Its functions are those in its dynamic symbol table, which the process has in memory."""
    vdso = next((mapping for mapping in every_mapping(SELF) if mapping.path == "[vdso]"), None)
    if vdso is None:
        pytest.skip("there is no vdso")
    with in_memory(ctypes.string_at(vdso.start, vdso.end - vdso.start), "vdso") as elf:
        functions = {symbol.address: symbol.size for symbol in elf.functions()}
        by_address: dict[int, set[str]] = {}
        for symbol in elf.symbols():
            by_address.setdefault(symbol.address, set()).add(symbol.name.partition("@")[0])
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        try:
            theirs = _mapped(process.pid, "[vdso]")
            found = Symbolizer().user(process.pid, [theirs + address + 1 for address in functions])
        finally:
            process.kill()
    assert any("clock_gettime" in symbol.name for symbol in found)
    for address, symbol in zip(functions, found):
        assert symbol.name in by_address[address]
        assert (symbol.start, symbol.module) == (theirs + address, "[vdso]")


def _mapped(pid: int, name: str) -> int:
    """Where a process has something, once it has."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for mapping in every_mapping(pid):
            if mapping.path == name:
                return mapping.start
        time.sleep(0.002)
    raise AssertionError(f"process {pid} has no {name}")


@pytest.fixture
def jit(request: pytest.FixtureRequest) -> Path:
    """The map file of this process; it is removed afterwards."""
    path = Path(f"/tmp/perf-{SELF}.map")
    path.unlink(missing_ok=True)
    request.addfinalizer(lambda: path.unlink(missing_ok=True))
    return path


def test_jit_map(jit: Path) -> None:
    code = ctypes.create_string_buffer(1 << 16)  # in memory without a file
    at = ctypes.addressof(code)
    symbols = Symbolizer()

    def name(offset: int) -> str:
        return str(symbols.user(SELF, [at + offset])[0])

    assert name(0).startswith(UNKNOWN)
    jit.write_text(f"{at:x} 10 first function\n{at + 0x20:x} 8 $second\n{at + 0x28:x}")
    module = f" (perf-{SELF}.map)"
    assert name(0xF) == "first function+0xf" + module
    assert name(0x10).startswith(UNKNOWN)
    assert name(0x20) == "$second+0x0" + module
    with jit.open("a") as file:  # the rest of the line, code over old code, and a function anew
        file.write(f" 8 third@file\nnot a line\n{at + 8:x} 10 over\n{at + 0x20:x} 4 again\n")
    assert name(0x2F) == "third@file+0x7" + module
    assert name(0x9) == "over+0x1" + module
    assert name(0x23) == "again+0x3" + module
    assert name(0x24).startswith(UNKNOWN)
    jit.write_text(f"{at:x} 10 new\n")
    assert name(0) == "new+0x0" + module
    assert name(0x20).startswith(UNKNOWN)
    symbol = symbols.user(SELF, [at + 1])[0]
    assert symbol == Symbol("new", 1, f"perf-{SELF}.map", str(jit), at + 1, at)


@pytest.mark.root
def test_jit_map_of_another_user_is_not_believed(jit: Path) -> None:
    code = ctypes.create_string_buffer(64)
    jit.write_text(f"{ctypes.addressof(code):x} 40 lie\n")
    os.chown(jit, 12345, 12345)
    assert not Symbolizer().user(SELF, [ctypes.addressof(code)])[0].known


def test_jit_map_that_is_a_fifo(jit: Path) -> None:
    os.mkfifo(jit)
    assert not Symbolizer().user(SELF, [id(jit)])[0].known


def test_return_address_behind_the_last_call_of_a_function(tmp_path: Path) -> None:
    """The next function begins there, but it did not call."""
    symbols = [Sym("caller", BASE + CODE, 16), Sym("next", BASE + CODE + 16, 16)]
    path = native_program(tmp_path / "native")
    code = Path(path).read_bytes()[CODE : CODE + 88]
    path = Elf(code=code, symbols=symbols).write(tmp_path / "program")
    with waiting([path]) as process:
        resolver = Symbolizer()
        address = BASE + CODE + 16
        assert [str(s) for s in resolver.user(process.pid, [address, address], stack=True)] == [
            "next+0x0 (program)",
            "caller+0x10 (program)",
        ]
        assert names(resolver.user(process.pid, [address, address])) == ["next", "next"]


def test_every_function_of_libc() -> None:
    path = next(m.path for m in mappings(SELF) if os.path.basename(m.path).startswith(("libc.so", "libc-", "ld-musl")))
    with ElfFile(path) as elf:
        image = read_image(elf, path, ())
        functions = [symbol for symbol in elf.symbols() if elf.file_offset(symbol.address, executable=True)]
    by_address: dict[int, set[str]] = {}
    for symbol in functions:
        by_address.setdefault(symbol.address, set()).add(symbol.name.partition("@")[0])
    assert len(by_address) > 500
    for address, wanted in by_address.items():
        found = image.find(address)
        assert found is not None
        assert (found.start, found.name in wanted) == (address, True)


@needs_cc
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="needs a processor with a 32-bit mode")
def test_file_of_32_bits(tmp_path: Path) -> None:
    source = "static int one(int a) { return a; } int two(int a) { return one(a) + 1; } void _start(void) { two(1); }"
    path = build(tmp_path / "program", "-m32", "-O0", "-nostdlib", "-fno-pic", "-static", source=source)
    with ElfFile(path) as elf:
        image = read_image(elf, path, ())
        functions = {symbol.name: symbol for symbol in elf.symbols() if symbol.name in ("one", "two", "_start")}
        assert (elf.bits, len(functions)) == (32, 3)
    for name, symbol in functions.items():
        assert image.find(symbol.address + symbol.size - 1) == (symbol.address, name)


def test_threads_share_one() -> None:
    libc = ctypes.CDLL(None)
    address = ctypes.cast(libc.getppid, ctypes.c_void_p).value or 0
    symbols = Symbolizer(max_bytes=1)  # everything is forgotten at once
    wrong: list[str] = []

    def work() -> None:
        for _ in range(200):
            wrong.extend(name for name in names(symbols.user(SELF, [address])) if name != "getppid")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_numbers_that_no_process_has() -> None:
    assert names(Symbolizer().user(-1, [1, 2])) == [UNKNOWN, UNKNOWN]
    assert Symbolizer().user(1 << 40, []) == []
