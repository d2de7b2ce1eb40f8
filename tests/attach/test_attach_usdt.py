"""USDT probes in the real kernel: every site, arguments read by the decoder's words, counters of listeners."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from pybpf.asm import (
    DW,
    FP,
    R0,
    R1,
    R2,
    R3,
    R6,
    R7,
    Item,
    add,
    arsh,
    atomic_add,
    call,
    exit_,
    jne,
    label,
    ld_imm64,
    ld_map_value,
    ldx,
    lsh,
    mov,
    rsh,
    st,
)
from pybpf.attach import usdt
from pybpf.attach.kinds.uprobe import UserPlace, attach_place
from pybpf.attach.kinds.usdt import attach_usdt, find_usdt_places
from pybpf.attach.semaphore import Semaphore, semaphore_address
from pybpf.errors import BpfError, KernelError, NotFoundError, UnsupportedError
from pybpf.maps import Array
from pybpf.prog import Program
from pybpf.symbols import ElfFile, UsdtArg, UsdtArgKind, usdt_sites
from pybpf.types import u64
from tests.attach.targets import COUNT, COUNT_BY_COOKIE, ROUNDS, finish, kprobe_spec, native_program, waiting
from tests.symbols.elfmaker import BASE, CODE, DATA, OBJECT, Elf, Sym, usdt_note

pytestmark = [pytest.mark.root, pytest.mark.needs("uprobe")]

PYTHON = "/usr/bin/python3.11"


def _has_probe() -> bool:
    if not os.path.exists(PYTHON):
        return False
    with ElfFile(PYTHON) as elf:
        return any(site.probe == "python:gc__start" for site in usdt_sites(elf))


needs_python = pytest.mark.skipif(not _has_probe(), reason="needs a python3.11 with USDT probes, as Debian's")


@pytest.fixture
def hits() -> Iterator[Array]:
    with Array(u64[8], 1, name="hits") as hits:
        yield hits


@pytest.fixture
def native(tmp_path: Path) -> str:
    return native_program(tmp_path / "native")


def read(arg: UsdtArg) -> list[Item]:
    """Instructions that leave the argument in r0; r6 is the context."""
    if arg.kind is UsdtArgKind.CONST:
        return [ld_imm64(R0, arg.offset % 2**64)]
    assert arg.register is not None
    if arg.kind is UsdtArgKind.REG:
        items = [ldx(DW, R0, R6, arg.register)]
    else:
        assert arg.kind is UsdtArgKind.MEM
        items = [ldx(DW, R3, R6, arg.register), add(R3, arg.offset)]
        if arg.index is not None:
            items += [ldx(DW, R0, R6, arg.index), lsh(R0, arg.scale.bit_length() - 1), add(R3, R0)]
        items += [mov(R1, FP), add(R1, -8), mov(R2, arg.size), call("probe_read_user"), ldx(DW, R0, FP, -8)]
    shift = 64 - 8 * arg.size
    return [*items, lsh(R0, shift), (arsh if arg.signed else rsh)(R0, shift)] if shift else items


@pytest.mark.needs("cookies")
@pytest.mark.parametrize("loaded", [False, True])
def test_every_site_with_its_cookie(loaded: bool, hits: Array, native: str) -> None:
    spec, maps = COUNT_BY_COOKIE, {"hits": hits}
    if loaded:
        with Program.load(spec, maps) as program, usdt(program, native, "p:many"), waiting([native]) as process:
            finish(process)
    else:
        with usdt(spec, native, "p:many", maps=maps) as link, waiting([native]) as process:
            assert link.target.startswith(f"usdt:{native}:p:many")
            finish(process)
    assert list(hits[0]) == [ROUNDS, ROUNDS, 0, 0, 0, 0, 0, 0]


# probe_read_user came with probe_read_kernel
@pytest.mark.needs("cookies", "helper_probe_read_kernel")
def test_arguments_of_each_site(hits: Array, native: str) -> None:
    """Sums of (register, memory): each round's number; and of a constant: -5."""
    places = find_usdt_places(native, "p:many")
    items: list[Item] = [mov(R6, R1), call("get_attach_cookie"), mov(R7, R0)]
    for index, place in enumerate(places):
        items += [jne(R7, index, f"not{index}")]
        for position, arg in enumerate(place.site.args):
            items += [*read(arg), ld_map_value(R1, "hits", 8 * (2 * index + position)), atomic_add(DW, R1, 0, R0)]
        items += [label(f"not{index}")]
    spec = kprobe_spec(*_zero_stack(), *items, mov(R0, 0), exit_())
    with usdt(spec, native, "p:many", maps={"hits": hits}), waiting([native]) as process:
        finish(process)
    total = sum(range(1, ROUNDS + 1))
    minus_five = -5 * ROUNDS % 2**64
    assert list(hits[0])[:4] == [total, minus_five, total, minus_five]


def _zero_stack() -> list[Item]:
    return [st(DW, FP, -8, 0)]


@pytest.mark.needs("uprobe_ref_ctr")
@pytest.mark.parametrize("loaded", [False, True])
def test_kernel_raises_the_counter(loaded: bool, hits: Array, native: str) -> None:
    """The site is reached only while its semaphore is not 0."""
    maps = {"hits": hits}
    with Program.load(COUNT, maps) as program:
        link = usdt(program, native, "guarded") if loaded else usdt(COUNT, native, "guarded", maps=maps)
        with link, waiting([native]) as process:
            finish(process)
        assert hits[0][0] == ROUNDS
        with waiting([native]) as process:
            finish(process)
        assert hits[0][0] == ROUNDS


def test_without_counting_in_the_kernel(hits: Array, native: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Linux 4.20 the counter is raised here, in one process."""
    monkeypatch.setattr(sys.modules[attach_usdt.__module__], "_lacks", lambda feature: feature == "uprobe_ref_ctr")
    maps = {"hits": hits}
    with pytest.raises(UnsupportedError, match="give the process to trace"):
        usdt(COUNT, native, "p:guarded", maps=maps)
    with waiting([native]) as process, usdt(COUNT, native, "p:guarded", maps=maps, pid=process.pid):
        finish(process)
    assert hits[0][0] == ROUNDS


@pytest.mark.needs("uprobe_ref_ctr")
def test_counter_too_far_into_the_file(hits: Array, native: str) -> None:
    """A perf event has 32 bits for its place; more would change what the event is."""
    [place] = find_usdt_places(native, "p:guarded")
    far = place._replace(site=place.site._replace(semaphore=1 << 32))
    with Program.load(COUNT, {"hits": hits}) as program, pytest.raises(BpfError, match="beyond the first 4 GiB"):
        attach_usdt(program, [far])


@pytest.mark.needs("uprobe_ref_ctr")
def test_two_who_count_at_different_places(hits: Array, native: str) -> None:
    """The kernel has one counter for a place in a file, and says in its log alone why it refuses."""
    [place] = find_usdt_places(native, "p:guarded")
    without = UserPlace(native, place.site.offset, "p:guarded")
    refused = pytest.raises(KernelError, match="another tracer may be there")
    with Program.load(COUNT, {"hits": hits}) as program, usdt(program, native, "p:guarded"), refused:
        attach_place(program, without).close()


def test_counter_is_lowered_again(native: str) -> None:
    with waiting([native]) as process:
        [place] = find_usdt_places(None, "p:guarded", pid=process.pid)
        address = semaphore_address(process.pid, place.binary, place.site.semaphore)

        def value() -> bytes:
            with open(f"/proc/{process.pid}/mem", "rb") as memory:
                memory.seek(address)
                return memory.read(2)

        one, two = Semaphore(process.pid, address), Semaphore(process.pid, address)
        assert value() == (2).to_bytes(2, "little")
        one.close()
        one.close()
        assert value() == (1).to_bytes(2, "little")
        process.kill()
        process.wait()
        two.close()
    with pytest.raises(NotFoundError, match="no process"):
        Semaphore(process.pid, address)


def test_sites_that_differ_need_cookies(hits: Array, native: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[attach_usdt.__module__], "_lacks", lambda feature: feature == "perf_link")
    with pytest.raises(UnsupportedError, match="attach cookies"):
        usdt(COUNT, native, "p:many", maps={"hits": hits})


def test_what_does_not_exist(hits: Array, native: str) -> None:
    maps = {"hits": hits}
    with pytest.raises(NotFoundError, match="did you mean p:guarded"):
        usdt(COUNT, native, "p:guardedd", maps=maps)
    with pytest.raises(NotFoundError, match=r"neither .* has a USDT probe p:nothing"):
        usdt(COUNT, None, "p:nothing", maps=maps, pid=os.getpid())
    with pytest.raises(NotFoundError, match="no process"):
        usdt(COUNT, None, "p:many", maps=maps, pid=0x7FFFFFFF)
    with pytest.raises(NotFoundError, match="give a program"):
        usdt(COUNT, None, "p:many", maps=maps)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="needs x86_64: only there is the pair of instructions")
@pytest.mark.needs("helper_probe_read_kernel")
def test_pair_of_instructions_for_quick_probes(hits: Array, tmp_path: Path) -> None:
    """nop, nop5: Linux 6.18 makes the trap a call; registers, stack and ip are as at the instruction."""
    # read(0, stack, 1); for r12 in 100 ... 1: push r12; nop; nop5; pop; v += 1 (at 0x402008)
    code = (
        "4883ec1031ff4889e6ba0100000031c00f0541bc640000004154900f1f4400005848ff042508204000"
        "49ffcc75eab8e700000031ff0f05"
    )
    note = usdt_note("p:pair", BASE + CODE + 0x1A, "8@(%rsp) 8@v(%rip) 8@%r12")
    variable = Sym("v", BASE + DATA + 8, 8, OBJECT)
    path = Elf(code=bytes.fromhex(code), data=bytes(16), notes=note, symbols=[variable]).write(tmp_path / "pair")
    [place] = find_usdt_places(path, "p:pair")
    assert place.site.offset == CODE + 0x1B
    items: list[Item] = [*_zero_stack(), mov(R6, R1)]
    for index, arg in enumerate(place.site.args):
        items += [*read(arg), ld_map_value(R1, "hits", 8 * index), atomic_add(DW, R1, 0, R0)]
    spec = kprobe_spec(*items, mov(R0, 0), exit_())
    with usdt(spec, path, "p:pair", maps={"hits": hits}), waiting([path]) as process:
        finish(process)
    total = sum(range(1, ROUNDS + 1))
    assert list(hits[0])[:3] == [total, total - ROUNDS, total]


@pytest.mark.needs("cookies")
def test_probe_in_two_files(hits: Array, tmp_path: Path) -> None:
    files = [native_program(tmp_path / name) for name in ("one", "two")]
    places = [place for path in files for place in find_usdt_places(path, "p:many")]
    with attach_usdt(COUNT_BY_COOKIE, places, maps={"hits": hits}):
        for path in (files[0], files[1], files[1]):
            with waiting([path]) as process:
                finish(process)
    assert list(hits[0])[:5] == [ROUNDS, ROUNDS, 2 * ROUNDS, 2 * ROUNDS, 0]


@pytest.mark.needs("cookies")
def test_prelinked_file(hits: Array, tmp_path: Path) -> None:
    """Its notes have the addresses of the link, which the base section moves."""
    path = native_program(tmp_path / "moved", shift=0x10000)
    with usdt(COUNT_BY_COOKIE, path, "p:many", maps={"hits": hits}), waiting([path]) as process:
        finish(process)
    assert list(hits[0])[:2] == [ROUNDS, ROUNDS]


@contextmanager
def runs(*paths: Path) -> Iterator[None]:
    """While this process has mapped the files as code."""
    with ExitStack() as stack:
        for path in paths:
            file = stack.enter_context(path.open("rb"))
            stack.enter_context(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ | mmap.PROT_EXEC))
        yield


def test_name_of_two_providers_in_two_files(tmp_path: Path) -> None:
    for provider in "pq":
        Elf(notes=usdt_note(f"{provider}:shared", BASE + CODE)).write(tmp_path / provider)
    with runs(tmp_path / "p", tmp_path / "q"):
        with pytest.raises(BpfError, match=f"several USDT probes of process {os.getpid()}: p:shared, q:shared"):
            find_usdt_places(None, "shared", pid=os.getpid())
        [place] = find_usdt_places(None, "q:shared", pid=os.getpid())
    assert place.binary.name == str(tmp_path / "q")


def test_name_of_two_providers_in_a_file_of_the_process(tmp_path: Path) -> None:
    Elf(notes=usdt_note("p:n", BASE + CODE) + usdt_note("q:n", BASE + CODE)).write(tmp_path / "elf")
    with runs(tmp_path / "elf"), pytest.raises(BpfError, match=r"several USDT probes .*: p:n, q:n"):
        find_usdt_places(None, "n", pid=os.getpid())


def test_file_of_the_process_that_cannot_be_read(tmp_path: Path) -> None:
    """It is the likely reason when nothing is found, and else no obstacle."""
    foreign, good, text = (tmp_path / name for name in ("foreign", "good", "text"))
    Elf(notes=usdt_note("p:n", BASE + CODE), machine="mips").write(foreign)
    Elf(notes=usdt_note("p:n", BASE + CODE)).write(good)
    text.write_bytes(b"no ELF file")
    pid = os.getpid()
    with runs(foreign, good):
        assert [place.binary.name for place in find_usdt_places(None, "p:n", pid=pid)] == [str(good)]
    with runs(text, foreign), pytest.raises(NotFoundError, match=r"cannot read the USDT probes of .*foreign") as caught:
        find_usdt_places(None, "p:n", pid=pid)
    assert "foreign" in str(caught.value.__cause__)
    with runs(text), pytest.raises(NotFoundError) as caught:
        find_usdt_places(None, "p:n", pid=pid)
    assert caught.value.__cause__ is None


_COLLECTOR = """
import gc, sys
gc.disable()
print(flush=True)
for line in sys.stdin:
    for _ in range(int(line)):
        gc.collect(1)
    print(flush=True)
"""


@pytest.fixture
def collector() -> Iterator[subprocess.Popen[str]]:
    """Debian's python3.11, which collects garbage on request."""
    process = subprocess.Popen(
        [PYTHON, "-S", "-c", _COLLECTOR], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.communicate()


def collect(process: subprocess.Popen[str], times: int) -> None:
    assert process.stdin and process.stdout
    process.stdin.write(f"{times}\n")
    process.stdout.readline()


@needs_python
@pytest.mark.needs("uprobe_ref_ctr")
@pytest.mark.parametrize("binary", [PYTHON, "python3.11", None])
def test_real_program_by_pid(binary: str | None, hits: Array, collector: subprocess.Popen[str]) -> None:
    with usdt(COUNT, binary, "python:gc__start", maps={"hits": hits}, pid=collector.pid):
        collect(collector, 17)
        assert hits[0][0] == 17
    collect(collector, 5)
    assert hits[0][0] == 17


@needs_python
@pytest.mark.needs("uprobe_ref_ctr", "helper_probe_read_kernel")
def test_argument_of_a_real_program(hits: Array, collector: subprocess.Popen[str]) -> None:
    """gc__start(generation)"""
    [place] = find_usdt_places(PYTHON, "gc__start")
    body = [*_zero_stack(), mov(R6, R1), *read(place.site.args[0])]
    spec = kprobe_spec(*body, ld_map_value(R1, "hits"), atomic_add(DW, R1, 0, R0), mov(R0, 0), exit_())
    with usdt(spec, PYTHON, "gc__start", maps={"hits": hits}, pid=collector.pid):
        collect(collector, 30)
    assert hits[0][0] == 30  # generation 1, thirty times
