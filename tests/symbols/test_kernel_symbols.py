"""Kernel addresses to functions, against /proc/kallsyms and made tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from pybpf.symbols import UNKNOWN, KernelSymbols, Symbol, kernel_functions

START = 0xFFFFFFFF81000000
TEXT = f"""\
{START:x} T _stext
{START:x} t plain
{START + 0x40:x} t local.isra.0
{START + 0x50:x} D data
{START + 0x60:x} W __weak
{START + 0x60:x} T weak_one
{START + 0x100:x} T _etext
{START + 0x200:x} T after
ffffffffc0001000 t ext4_open\t[ext4]
ffffffffc0000000 t tcp_connect\t[my_tcp]
ffffffffc0000800 b ext4_data\t[ext4]
"""


@pytest.fixture
def kernel(tmp_path: Path) -> KernelSymbols:
    path = tmp_path / "kallsyms"
    path.write_text(TEXT)
    return KernelSymbols(str(path))


@pytest.mark.parametrize(
    ("offset", "text"),
    [
        (0, "plain+0x0"),
        (0x3F, "plain+0x3f"),
        (0x40, "local.isra.0+0x0"),
        (0x5F, "local.isra.0+0x1f"),
        (0x61, "weak_one+0x1"),
        (0x100, UNKNOWN),
        (0x1FF, UNKNOWN),
        (0x200, "after+0x0"),
        (0x200 + (1 << 18), UNKNOWN),
        (-1, UNKNOWN),
        (0xFFFFFFFFC0000FFF - START, "tcp_connect+0xfff (my_tcp)"),
        (0xFFFFFFFFC0001001 - START, "ext4_open+0x1 (ext4)"),
        (0xFFFFFFFFFFFFFFFF - START, UNKNOWN),
        (1 << 70, UNKNOWN),
    ],
)
def test_address(kernel: KernelSymbols, offset: int, text: str) -> None:
    symbol = kernel.resolve(START + offset)
    assert str(symbol) == text
    assert symbol.address == START + offset == symbol.start + symbol.offset
    assert kernel.reason == ""


def test_fields(kernel: KernelSymbols) -> None:
    address = 0xFFFFFFFFC0001008
    assert kernel.resolve(address) == Symbol("ext4_open", 8, "ext4", "", address, address - 8)
    assert kernel.resolve(5) == Symbol(UNKNOWN, 5, "", "", 5, 0)


def test_stack(kernel: KernelSymbols) -> None:
    """A call can be the last instruction of its function; only the innermost frame was not called from."""
    address = START + 0x40
    found = kernel.resolve_all([address, address, address + 1], stack=True)
    assert list(map(str, found)) == ["local.isra.0+0x0", "plain+0x40", "local.isra.0+0x1"]
    assert str(kernel.resolve(address, returns=True)) == "plain+0x40"
    assert kernel.resolve_all([]) == kernel.resolve_all([], stack=True) == []


def test_hidden_addresses(tmp_path: Path) -> None:
    path = tmp_path / "kallsyms"
    path.write_text("".join(f"{0:016x} T function_{i}\n" for i in range(5)))
    kernel = KernelSymbols(str(path))
    assert not kernel.resolve(0).known
    assert not kernel.resolve(START).known
    assert "kptr_restrict" in kernel.reason


@pytest.mark.parametrize("text", [None, "", "no table\n\0\xff", "ffff T short\n"])
def test_no_table(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "kallsyms"
    if text is not None:
        path.write_text(text)
    kernel = KernelSymbols(str(path))
    assert not kernel.resolve(START).known
    assert str(path) in kernel.reason


def test_running_kernel() -> None:
    kernel = KernelSymbols()
    if kernel.reason:
        pytest.skip(kernel.reason)
    at: dict[int, set[tuple[str, str]]] = {}
    # programs, and the pages of probes, come and go
    for function in kernel_functions():
        if function.module not in ("bpf", "__builtin__kprobes", "__builtin__ftrace"):
            at.setdefault(function.address, set()).add((function.name, function.module))
    wanted = dict(list(at.items())[:: len(at) // 5000 + 1])
    for address, symbol in zip(wanted, kernel.resolve_all(wanted)):
        assert (symbol.name, symbol.module) in wanted[address] or not symbol.known
        assert symbol.start == address or not symbol.known
    assert sum(symbol.known for symbol in kernel.resolve_all(wanted)) > len(wanted) * 0.99
    do_exit = next(kernel_functions("do_exit"))
    assert str(kernel.resolve(do_exit.address + 1)) == "do_exit+0x1"
    # one number for each in arrays, and the names as text
    assert kernel.nbytes < 100 * sum(map(len, at.values()))
