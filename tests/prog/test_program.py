"""Programs in the real kernel: loading, test runs, statistics, pins."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pybpf.asm import (
    DW,
    FP,
    R0,
    R1,
    R2,
    R3,
    R4,
    R6,
    B,
    Code,
    H,
    Insn,
    KfuncRef,
    Size,
    SourceLine,
    W,
    add,
    assemble,
    call,
    call_local,
    encode,
    exit_,
    jne,
    label,
    ld_abs,
    ld_btf_id,
    ld_ind,
    ld_map,
    ld_map_value,
    ld_subprog,
    ldx,
    mov,
    st,
    stx,
)  # fmt: skip
from pybpf.btf import Btf, BtfBuilder
from pybpf.btf import kernel as kernel_btf
from pybpf.errors import AsmError, ClosedError, KernelError, NotFoundError, UnsupportedError, VerifierError
from pybpf.maps import Array, HashMap
from pybpf.prog import Program, ProgramSpec, load, run_time_stats, target
from pybpf.prog.load import sanitized
from pybpf.sys.bpf import AttachType, Cmd, ProgType
from pybpf.sys.fd import Fd
from pybpf.sys.features import has
from pybpf.types import u32, u64

pytestmark = pytest.mark.root


def socket_filter(*items: object, **fields: object) -> ProgramSpec:
    fields.setdefault("name", "test")
    return ProgramSpec(ProgType.SOCKET_FILTER, Code(items), **fields)  # type: ignore[arg-type]


RETURN_7 = socket_filter(mov(R0, 7), exit_())
#: names a map
MAPPED = socket_filter(ld_map(R1, "m"), mov(R0, 0), exit_())


@pytest.fixture
def program() -> Iterator[Program]:
    with Program.load(RETURN_7) as program:
        yield program


def test_socket_filter_runs_on_a_packet() -> None:
    code = [ldx(W, R0, R1, 0), exit_()]  # __sk_buff.len
    with Program.load(socket_filter(*code)) as program:
        packet = bytes(14) + bytes(range(86))  # of the Ethernet header, these programs see nothing
        result = program.test_run(packet)
        assert (result.retval, result.data) == (100 - 14, packet)


def test_packet_is_optional(program: Program) -> None:
    result = program.test_run(repeat=100)
    assert result.retval == 7
    assert result.data == bytes(64)


def test_packet_too_short_for_the_kernel(program: Program) -> None:
    with pytest.raises(KernelError, match="cannot run program 'test'"):
        program.test_run(b"short")


def _syscall_program(*items: object) -> Program:
    return Program.load(ProgramSpec(ProgType.SYSCALL, Code(items), "test"))  # type: ignore[arg-type]


@pytest.mark.needs("test_run_syscall")
def test_syscall_program_writes_its_context() -> None:
    code = [ldx(DW, R2, R1, 0), add(R2, 1), stx(DW, R1, 8, R2), mov(R0, 3), exit_()]
    with _syscall_program(*code) as program:
        result = program.test_run(ctx=struct.pack("=QQ", 41, 0))
        assert result.retval == 3
        assert struct.unpack("=QQ", result.ctx) == (41, 42)


@pytest.mark.needs("test_run_syscall")
def test_syscall_program_takes_no_packet() -> None:
    with _syscall_program(mov(R0, 0), exit_()) as program, pytest.raises(KernelError, match="takes no packet"):
        program.test_run(b"x" * 64)


@pytest.mark.needs("test_run_raw_tp")
def test_raw_tracepoint_gets_its_arguments() -> None:
    spec = ProgramSpec(ProgType.RAW_TRACEPOINT, Code([ldx(DW, R0, R1, 8), exit_()]), "raw")
    with Program.load(spec) as program:
        result = program.test_run(ctx=struct.pack("=QQ", 1, 99))
        assert result.retval == 99


@pytest.mark.needs("test_run_raw_tp")
def test_raw_tracepoint_on_a_chosen_cpu() -> None:
    spec = ProgramSpec(ProgType.RAW_TRACEPOINT, Code([call("get_smp_processor_id"), exit_()]), "raw")
    with Program.load(spec) as program:
        for cpu in sorted(os.sched_getaffinity(0)):
            assert program.test_run(cpu=cpu).retval == cpu


def test_tracepoint_program_cannot_be_run_so() -> None:
    spec = ProgramSpec(ProgType.TRACEPOINT, Code([mov(R0, 0), exit_()]))
    with Program.load(spec) as program, pytest.raises(UnsupportedError):
        program.test_run()


def test_kprobe_program_loads() -> None:
    """Linux before 5.0 wants its own version in it."""
    with Program.load(ProgramSpec(ProgType.KPROBE, Code([mov(R0, 0), exit_()]), "probe")) as program:
        assert program.info().type == ProgType.KPROBE


def test_maps_are_found_by_name() -> None:
    code = [
        st(W, FP, -4, 5), mov(R2, FP), add(R2, -4), ld_map(R1, "counts"), call("map_lookup_elem"),
        jne(R0, 0, "found"), exit_(),
        label("found"), ldx(DW, R0, R0, 0), exit_(),
    ]  # fmt: skip
    counts = HashMap(u32, u64, max_entries=8, name="counts")
    with counts, Program.load(socket_filter(*code), {"counts": counts}) as program:
        assert program.test_run().retval == 0
        counts[5] = 1234
        assert program.test_run().retval == 1234
        assert program.info().map_ids == (counts.id,)


def test_map_that_is_not_given() -> None:
    with pytest.raises(AsmError, match="no map 'counts' was given"):
        Program.load(socket_filter(ld_map(R1, "counts"), mov(R0, 0), exit_()))


def test_map_value_by_address() -> None:
    code = [ld_map_value(R1, "data", 8), ldx(DW, R0, R1, 0), exit_()]
    with Array(u64[2], max_entries=1, name="data") as data:
        data[0] = (1, 77)
        with Program.load(socket_filter(*code), {"data": data}) as program:
            assert program.test_run().retval == 77


def test_local_calls() -> None:
    code = [mov(R1, 20), call_local("double"), exit_(), label("double"), mov(R0, R1), add(R0, R1), exit_()]
    with Program.load(socket_filter(*code)) as program:
        assert program.test_run().retval == 40


@pytest.mark.needs("helper_loop")
def test_callback_is_known_by_func_info() -> None:
    """bpf_loop calls a static function of the program, which the kernel knows from BTF."""
    code = [
        st(DW, FP, -8, 0), mov(R1, 10), ld_subprog(R2, "turn"), mov(R3, FP), add(R3, -8), mov(R4, 0), call("loop"),
        ldx(DW, R0, FP, -8), exit_(),
        label("turn"), ldx(DW, R0, R2, 0), add(R0, R1), stx(DW, R2, 0, R0), mov(R0, 0), exit_(),
    ]  # fmt: skip
    with Program.load(socket_filter(*code)) as program:
        assert program.test_run().retval == sum(range(10))


@pytest.mark.parametrize(
    ("given", "taken"),
    [("probe", "probe"), ("my-probe.x", "my_probe_x"), ("a" * 40, "a" * 15), ("sondé", "sond_"), ("", "")],
)
def test_names(given: str, taken: str) -> None:
    assert sanitized(given) == taken
    with Program.load(socket_filter(mov(R0, 0), exit_(), name=given)) as program:
        assert program.info().name == taken
        assert program.name == given


def test_no_instructions() -> None:
    with pytest.raises(KernelError, match="it has no instructions"):
        Program.load(socket_filter())


def test_too_many_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoding them takes seconds, and the kernel counts before it looks."""
    one = encode([mov(R0, 0)], endian=sys.byteorder)
    monkeypatch.setattr(load, "encode", lambda *_, **__: one * 1_000_001)
    with pytest.raises(KernelError, match=r"it has 1000001 instructions \(E2BIG\)"):
        Program.load(RETURN_7)


def test_log_on_request() -> None:
    with Program.load(RETURN_7) as silent, Program.load(RETURN_7, log=2) as whole:
        assert silent.log == ""
        assert "(b7) r0 = 7" in whole.log
        assert "processed 2 insns" in whole.log


def test_statistics_count_every_run(program: Program) -> None:
    with run_time_stats():
        before = program.stats.run_cnt
        for _ in range(3):
            program.test_run(repeat=1000)
        counted = program.stats
    assert counted.run_cnt - before == 3000
    assert counted.run_time_ns > 0


def test_statistics_by_sysctl(program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What Linux before 5.8 does, where ENABLE_STATS is EINVAL."""
    from pybpf.prog import stats

    def refuse(*_: object, **__: object) -> int:
        raise OSError(22, "")

    sysctl = Path("/proc/sys/kernel/bpf_stats_enabled")
    before = sysctl.read_text()
    monkeypatch.setattr(stats, "bpf", refuse)
    counted = program.stats.run_cnt
    with run_time_stats():
        assert sysctl.read_text() == "1\n"
        program.test_run(repeat=10)
    assert program.stats.run_cnt - counted == 10
    assert sysctl.read_text() == before
    monkeypatch.setattr(stats, "_SYSCTL", str(tmp_path / "nothing"))
    with pytest.raises(UnsupportedError, match="run-time statistics"), run_time_stats():
        pass


def test_info_and_opening_by_id(program: Program) -> None:
    info = program.info()
    assert (info.type, info.name, info.uid) == (ProgType.SOCKET_FILTER, "test", os.getuid())
    assert len(program.xlated()) == info.xlated_len == 16
    with Program.from_id(program.id) as same:
        assert same.id == program.id
        assert same.name == "test"
        assert same.test_run().retval == 7


def test_id_of_nothing() -> None:
    with pytest.raises(NotFoundError):
        Program.from_id(0x7FFFFFFF)


def test_closed_program() -> None:
    program = Program.load(RETURN_7)
    program.close()
    program.close()
    with pytest.raises(ClosedError):
        program.test_run()
    with pytest.raises(ClosedError):
        program.info()
    assert "closed" in repr(program)


def test_pin_and_open(program: Program, bpffs: Path) -> None:
    path = bpffs / "program"
    program.pin(path)
    number = program.id
    with pytest.raises(KernelError, match="that name is taken"):
        program.pin(path)
    program.close()
    with Program.open(path) as again:
        assert again.id == number
        assert again.test_run().retval == 7
    path.unlink()
    with pytest.raises(NotFoundError):
        Program.open(path)


def test_pinned_map_is_no_program(bpffs: Path) -> None:
    with Array(u32, max_entries=1, name="a_map") as values:
        values.pin(str(bpffs / "map"))
    with pytest.raises(KernelError, match="it is a map"):
        Program.open(bpffs / "map")
    (bpffs / "map").unlink()


def test_pin_elsewhere(program: Program, tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="mount -t bpf"):
        program.pin(tmp_path / "program")
    with pytest.raises(NotFoundError, match="there is no"):
        program.pin(tmp_path / "nowhere" / "program")


def test_source_lines_in_a_dump() -> None:
    """bpftool finds the lines of every function in the BTF that was loaded with it."""
    code = [
        mov(R1, 1).at(SourceLine("dir/probe.py", 12, 5, "    x = helper(1)")), call_local("helper"), exit_(),
        label("helper"), mov(R0, R1).at(SourceLine("dir/probe.py", 30, 9, "return x")), exit_(),
    ]  # fmt: skip
    with Program.load(socket_filter(*code)) as traced:
        command = ["bpftool", "prog", "dump", "xlated", "id", str(traced.id), "linum"]
        try:
            dump = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        except FileNotFoundError:
            pytest.skip("bpftool is not installed")
    assert "; x = helper(1) [file:dir/probe.py line_num:12 line_col:5]" in dump
    assert "; return x [file:dir/probe.py line_num:30 line_col:9]" in dump
    assert "int test(void * ctx):" in dump
    assert "int helper(void * ctx):" in dump


def test_types_are_left_out_only_where_the_kernel_does_not_take_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails for want of descriptors, or because what was written is wrong, must not go on without lines."""
    real = kernel_btf.bpf
    answers: list[int] = []

    def refuse(cmd: Cmd, **fields: Any) -> int:
        if cmd is Cmd.BTF_LOAD and answers:
            raise OSError(answers[0], "")
        return real(cmd, **fields)

    monkeypatch.setattr(kernel_btf, "bpf", refuse)
    spec = ProgramSpec(ProgType.SOCKET_FILTER, Code([mov(R0, 0), exit_()]), "plain")
    for number in (errno.EPERM, errno.E2BIG):
        answers[:] = [number]
        with Program.load(spec) as made:
            assert made.info().btf_id == 0
    for number in (errno.EMFILE, errno.ENOMEM, errno.EINVAL):
        answers[:] = [number]
        if number == errno.EINVAL and not has("btf_func"):
            continue
        with pytest.raises(KernelError) as caught:
            Program.load(spec)
        assert caught.value.errno == number


@pytest.mark.needs("fd_array")
def test_maps_by_index() -> None:
    text = """
        r1 = map[idx:1]+8
        r6 = *(u64 *)(r1 +0)
        r1 = map[idx:0]
        r2 = r10
        r2 += -4
        *(u32 *)(r10 -4) = 2
        call bpf_map_lookup_elem
        if r0 == 0 goto out
        r0 = *(u64 *)(r0 +0)
        r0 += r6
    out:
        exit
    """
    spec = ProgramSpec(ProgType.SOCKET_FILTER, assemble(text), "indexed")
    with Array(u64, 4) as one, Array(u64[2], 1) as two:
        one[2], two[0] = 40, (0, 2)
        for entries in ((one, two), (one.fileno(), two.fileno())):
            with Program.load(spec, fd_array=entries) as program:
                assert program.test_run(bytes(64)).retval == 42


@pytest.mark.needs("test_run_raw_tp", "iter_num")
def test_kernel_function_by_name() -> None:
    text = """
        r6 = 0
        r1 = r10
        r1 += -8
        r2 = 0
        r3 = 5
        call kfunc[bpf_iter_num_new]
    again:
        r1 = r10
        r1 += -8
        call kfunc[bpf_iter_num_next]
        if r0 == 0 goto end
        r6 += 1
        goto again
    end:
        r1 = r10
        r1 += -8
        call kfunc[bpf_iter_num_destroy]
        r0 = r6
        exit
    """
    with Program.load(ProgramSpec(ProgType.RAW_TRACEPOINT, assemble(text), "counted")) as program:
        assert program.test_run().retval == 5


def test_kernel_functions_of_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each module's BTF has a place in fd_array, behind what the caller gave; place 0 is the kernel's."""
    kernel = BtfBuilder()
    proto = kernel.func_proto(kernel.int("int", 4), [])
    here = kernel.func("here", proto)
    types = {"": Btf.from_bytes(kernel.bytes())}
    for module, name in (("one", "first"), ("two", "second")):
        builder = BtfBuilder()
        number = builder.func(name, builder.func_proto(builder.int("int", 4), []))
        types[module] = Btf.from_bytes(builder.bytes())
    monkeypatch.setattr(Btf, "vmlinux", staticmethod(lambda: types[""]))
    monkeypatch.setattr(Btf, "modules", staticmethod(lambda: ["one", "two"]))
    monkeypatch.setattr(Btf, "module", staticmethod(types.__getitem__))
    monkeypatch.setattr(target, "module_fd", lambda module: Fd(os.open("/dev/null", os.O_RDONLY), module))
    with ExitStack() as owned:
        ids, modules = target.kfunc_ids(["here"], 1, owned)
        assert (ids, modules) == ({"here": here}, [])
        ids, modules = target.kfunc_ids(["second", "here", "first"], 4, owned)
        assert ids == {"here": here, "first": (number, 4), "second": (number, 5)} and len(modules) == 2
        with pytest.raises(NotFoundError, match="no kernel function 'third'"):
            target.kfunc_ids(["third"], 1, owned)
    spec = ProgramSpec(ProgType.KPROBE, Code([Insn(0x85, src=2, ref=KfuncRef("second")), exit_()]))
    with ExitStack() as owned:
        fields = load._fields(spec, {}, (), owned)
        placed = list(fields["fd_array"])
        assert len(placed) == 2 and placed[0] == 0 and fields["insns"][2:4] == (1).to_bytes(2, sys.byteorder)


@pytest.mark.needs("test_run_raw_tp", "btf_vmlinux")
def test_variable_of_the_kernel() -> None:
    """r1 = btf[id] is the address of a variable of each CPU."""
    number = Btf.vmlinux().find("var", "runqueues")
    if number is None:
        pytest.skip("the kernel's BTF has no variables")
    offset = Btf.vmlinux().member("rq", "cpu").offset_bits // 8
    code = Code([ld_btf_id(R1, number), call("this_cpu_ptr"), ldx(W, R0, R0, offset), exit_()])
    try:
        program = Program.load(ProgramSpec(ProgType.RAW_TRACEPOINT, code, "variable"))
    except VerifierError as error:
        if "failed to find the address" in error.cause:
            pytest.skip("kernel knows no addresses of variables (CONFIG_KALLSYMS_ALL)")
        raise
    with program:
        for cpu in os.sched_getaffinity(0):
            assert program.test_run(cpu=cpu).retval == cpu


@pytest.mark.parametrize(
    ("size", "value"), [(B, 0x1E), (H, 0x1E1F), (W, 0x1E1F2021)], ids=["byte", "half word", "word"]
)
def test_loads_from_packets(size: Size, value: int) -> None:
    """Of the old instructions that socket filters have; big-endian, as the network's bytes are."""
    data = bytes(range(64))  # the first 14 bytes are taken as the Ethernet header, which the program does not see
    for load_it in ([ld_abs(size, 16)], [mov(R2, 10), ld_ind(size, R2, 6)]):
        code = Code([mov(R6, R1), *load_it, exit_()])
        with Program.load(ProgramSpec(ProgType.SOCKET_FILTER, code, "packet")) as program:
            assert program.test_run(data).retval == value


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ProgramSpec(ProgType.KPROBE, "r0 = 0\nexit"), r"code is text here: .*pybpf\.asm\.assemble\(\)"),
        (lambda: ProgramSpec(ProgType.KPROBE, b"\x95"), r"code is a pybpf\.asm\.Code, not bytes"),
        (lambda: Program.load("r0 = 0"), r"what is loaded is a ProgramSpec.*, not str"),
        (lambda: Program.load(MAPPED, {"m": 1.5}), r"map 'm' is 1\.5: give an object of pybpf\.maps, or a descriptor"),
        (lambda: Program.load(MAPPED, {"m": 1.5}, fd_array=["x"]), r"entry 0 of fd_array is 'x'"),
        (lambda: Program.load(MAPPED, {"m": 1.5}, fd_array=[3]), "map 'm' is"),
    ],
)
def test_wrong_arguments_are_named(make: Any, says: str) -> None:
    with pytest.raises(AsmError, match=says):
        make()


def test_a_descriptor_is_a_map_too() -> None:
    with Array(u64) as made, Program.load(MAPPED, {"m": made.fileno()}) as program:
        assert program.info().map_ids == (made.id,)


def test_tracing_programs_name_what_they_trace() -> None:
    spec = socket_filter(mov(R0, 0), exit_())
    spec = replace(spec, type=ProgType.TRACING, expected_attach_type=AttachType.TRACE_RAW_TP)
    with pytest.raises(VerifierError, match=r"name it, ProgramSpec\(attach_btf=\.\.\.\)"):
        Program.load(spec)
