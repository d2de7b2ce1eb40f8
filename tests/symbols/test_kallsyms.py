"""Kernel functions by name, from the real /proc/kallsyms and from a made one."""

from __future__ import annotations

from pathlib import Path

import pytest

from pybpf.errors import BpfError
from pybpf.symbols import KernelFunction, functions_named, kallsyms, kernel_functions

TEXT = """\
ffffffff81000000 T _stext
ffffffff81000010 t local.isra.0
ffffffff81000020 W weak_one
ffffffff81000030 D some_data
ffffffff81000040 T tcp_connect
ffffffff81000050 T tcp_close
ffffffffc0000000 t ext4_open\t[ext4]
ffffffffc0000010 t tcp_connect\t[my_tcp]
ffffffffc0000020 b ext4_data\t[ext4]
"""


@pytest.fixture
def table(tmp_path: Path) -> str:
    path = tmp_path / "kallsyms"
    path.write_text(TEXT)
    return str(path)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("tcp_close", ["tcp_close"]),
        ("tcp_connect", ["tcp_connect", "my_tcp:tcp_connect"]),
        ("vmlinux:tcp_connect", ["tcp_connect"]),
        ("my_tcp:tcp_connect", ["my_tcp:tcp_connect"]),
        ("*_tcp:tcp*", ["my_tcp:tcp_connect"]),
        ("tcp_c*", ["tcp_connect", "tcp_close", "my_tcp:tcp_connect"]),
        ("*_close", ["tcp_close"]),
        ("ext4:*", ["ext4:ext4_open"]),
        ("tcp_cl?s[e-f]", ["tcp_close"]),
        ("local.isra.0", ["local.isra.0"]),
        ("localxisra.0", []),
        ("tcp", []),
        ("some_data", []),
        ("", []),
        ("*e*", ["_stext", "weak_one", "tcp_connect", "tcp_close", "ext4:ext4_open", "my_tcp:tcp_connect"]),
    ],
)
def test_pattern(table: str, pattern: str, expected: list[str]) -> None:
    found = list(kernel_functions(pattern, table))
    assert [f"{one.module}:{one.name}".lstrip(":") for one in found] == expected


def test_address(table: str) -> None:
    assert list(kernel_functions("tcp_close", table)) == [KernelFunction("tcp_close", "", 0xFFFFFFFF81000050)]


@pytest.mark.parametrize("chunk", [1, 7, 64, 10000])
def test_pieces_of_any_size(table: str, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pybpf.symbols.kallsyms._CHUNK", chunk)
    assert len(list(kernel_functions("*", table))) == 7


def test_stopping_early_closes_the_file(table: str) -> None:
    found = kernel_functions("*", table)
    assert next(found).name == "_stext"
    found.close()  # type: ignore[attr-defined]


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(BpfError, match="cannot read"):
        list(kernel_functions("*", str(tmp_path / "missing")))


def test_running_kernel() -> None:
    with open("/proc/kallsyms", encoding="utf-8", errors="surrogateescape") as file:
        rows = [line.rstrip("\n").split(maxsplit=3) for line in file]
    # programs, and the pages of probes, come and go
    passing = ("bpf", "__builtin__kprobes", "__builtin__ftrace")
    expected = [row[2] for row in rows if row[1] in "tTwW" and "".join(row[3:]).strip("[]") not in passing]
    found = [one.name for one in kernel_functions() if one.module not in passing]
    assert found == expected
    assert found.count("do_exit") == 1


@pytest.mark.parametrize("searched", [0, 32], ids=["all lines", "searched for"])
def test_many_names_in_one_pass(table: str, searched: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kallsyms, "_MOST_SEARCHED", searched)
    everything = list(kernel_functions("*", table))
    names = {function.name for function in everything}
    assert functions_named(names, table) == everything
    for name in names:
        assert functions_named([name, "no_such_function"], table) == list(kernel_functions(name, table))
    assert functions_named([""], table) == functions_named([], table) == []
