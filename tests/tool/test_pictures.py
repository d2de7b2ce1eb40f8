"""Stacks from a tracer's maps to the files that the options of a tool ask for."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pybpf.errors import BpfError
from pybpf.symbols import Symbol
from pybpf.tool import Pictures, arguments, frame_text
from pybpf.tool.output import Output

pytestmark = pytest.mark.pure


def run_of(**options: Any) -> Any:
    return SimpleNamespace(options=argparse.Namespace(**options), output=Output(), tool=SimpleNamespace(name="t"))


def stack(*names: str, number: int = 1) -> Any:
    """Innermost first."""
    frames = [Symbol(name, 3, "libx.so", "/lib/libx.so", 0x1003, 0x1000) for name in names]
    return SimpleNamespace(id=number, frames=frames)


def test_without_options_nothing_is_looked_up() -> None:
    pictures = Pictures(run_of(), "samples")
    pictures.add(1, user=None)
    pictures.add(1, user=object(), kernel=object())  # type: ignore[arg-type]
    assert not pictures.wanted and not pictures.print()
    pictures.save()


def test_folded_lines_are_those_since_the_last_call(capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of(folded=True)
    pictures = Pictures(run, "samples", delimiter="-", annotate=True)
    pictures.add(2, stack("b", "a"), stack("k2", "k1"), of=["comm"])
    pictures.add(1, stack("b", "a"), stack("k2", "k1"), of=["comm"])
    pictures.add(1, stack(number=-17), stack(number=-17), of=["comm"])  # EEXIST
    pictures.add(1, stack(number=-14), None, of=["comm"])  # EFAULT
    assert pictures.print()
    pictures.add(5, stack("a"))
    pictures.print()
    run.output.flush()
    assert capsys.readouterr().out.splitlines() == [
        "comm 1",
        "comm;[Missed User Stack];-;[Missed Kernel Stack]_[k] 1",
        "comm;a;b;-;k1_[k];k2_[k] 3",
        "a 5",
    ]


def test_files_have_all(tmp_path: Path) -> None:
    paths = {form: str(tmp_path / form) for form in ("flamegraph", "speedscope", "pprof")}
    pictures = Pictures(run_of(**paths), "allocated", "bytes")
    pictures.add(9, stack("gone"))
    pictures.clear()
    pictures.add(2, stack("b", "a"))
    assert not pictures.print()
    pictures.add(3, stack("b", "a"))
    pictures.save()
    profile = json.loads((tmp_path / "speedscope").read_text())
    assert profile["profiles"][0]["weights"] == [5] and profile["profiles"][0]["unit"] == "bytes"
    assert [f["name"] for f in profile["shared"]["frames"]] == ["a", "b"] and profile["name"] == "t: allocated"
    assert "t: allocated" in (tmp_path / "flamegraph").read_text()
    assert (tmp_path / "pprof").read_bytes().startswith(b"\x1f\x8b")


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    for text in (str(tmp_path), str(tmp_path / "no" / "such"), "/proc/self/nothing/x"):
        with pytest.raises(argparse.ArgumentTypeError):
            arguments.new_file(text)
    assert arguments.new_file(str(tmp_path / "new")) == str(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    pictures = Pictures(run_of(flamegraph=str(tmp_path / "gone" / "x")), "samples")
    with pytest.raises(BpfError, match=r"cannot write .*: No such file or directory"):
        pictures.save()


def test_frames_as_bcc_prints_them() -> None:
    assert frame_text(Symbol("f", 0x1F, "libc.so.6", "/lib/libc.so.6", 0x2F, 0x10)) == "f+0x1f [libc.so.6]"
    assert frame_text(Symbol("_ZN1a1bEv", 1, "", "", 2, 1)) == "a::b()+0x1 [kernel]"
    assert frame_text(Symbol("[unknown]", 5, "x\x1b", "/x", 5, 0)) == "[unknown] [x\\x1b]"
    assert frame_text(Symbol("[unknown]", 5, "", "", 5, 0)) == "[unknown]"
    assert frame_text(Symbol("f", 2, "m", "/m", 3, 1), offset=False, module=False) == "f"
