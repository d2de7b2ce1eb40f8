"""``join_user_str``: command lines of processes that the test starts, and arrays that cannot be read."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from pybpf import CompileError, Struct, Tracer, char, u64
from pybpf.compiler import compile_unit
from pybpf.compiler.target import Target
from pybpf.lang import join_user_str
from pybpf.lang.front.compile import compile_probe
from pybpf.lang.probes.probe import Probe

LIBC = "libc.so.6"
CODE = """
import ctypes, json, sys
libc = ctypes.CDLL(None)
for line in sys.stdin:
    given = json.loads(line)
    array = (ctypes.c_char_p * (len(given) + 1))(*[each.encode() for each in given], None)
    if "BAD" in given:
        ctypes.cast(array, ctypes.POINTER(ctypes.c_uint64))[given.index("BAD")] = 8
    libc.execvp(b"/nonexistent", array)
    print("done", flush=True)
"""
STRINGS = [
    [], [""], ["", ""], ["ls"], ["ls", "-l", "", "a b"], ["x" * 62], ["x" * 63], ["x" * 64], ["x" * 70, "y"],
    ["x" * 60, "y", "z"], ["x" * 61, "y", "z"], ["x" * 62, "y"], ["x" * 30, "y" * 80, "z"],
    [str(number) for number in range(30)], ["ab"] * 40, ["a", "BAD", "b"],
]  # fmt: skip


class Line(Struct):
    short: char[8]
    text: char[64]
    last: u64


class Spaced(Struct):
    before: u64
    text: char[1000]


@pytest.mark.root
@pytest.mark.needs("uprobe")
def test_all_strings_of_the_array() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout
        tracer = Tracer(pid=process.pid)
        lines, others = tracer.events(Line), tracer.events(Spaced)

        @tracer.uprobe(LIBC, "execvp")
        def on_exec(file: u64, argv: u64) -> None:
            lines.emit(join_user_str(argv), join_user_str(argv), 7)
            text = join_user_str(argv, 3, sep=", ", most=1000)
            if text.startswith("ls, "):
                others.emit(1, text)

        with tracer:
            for strings in (*STRINGS, ["ls", "-l", "x" * 500, "more"]):
                print(json.dumps(strings), file=process.stdin, flush=True)
                assert process.stdout.readline() == "done\n"
                (event,) = lines.read()
                whole = " ".join("" if each == "BAD" else each for each in strings[:20])
                assert (event.short, event.text, event.last) == (whole[:7], whole[:63], 7)
            assert [event.text for event in others.read()] == ["ls, -l, ", f"ls, -l, {'x' * 500}"]
        process.stdin.close()


@pytest.mark.parametrize("release", ["4.18", "5.4", "5.10", "6.12"])
def test_size_on_other_kernels(release: str) -> None:
    lines = Tracer().events(Line)

    def on_exec(file: u64, argv: u64) -> None:
        lines.emit(text=join_user_str(argv))

    target = Target.described(release)
    compiled = compile_unit(compile_probe(on_exec, Probe("uprobe", "execvp", LIBC), target), target)
    assert len(compiled.spec.code) < 700




@pytest.mark.parametrize(
    ("probe", "message"),
    [
        (lambda: join_user_str(0, 65), "the number of strings that are joined is a constant of 1 to 64, not 65"),
        (lambda: join_user_str(0, sep=""), "what strings are joined by is constant text of 1 to 8 bytes, not ''"),
        (lambda: join_user_str(0, most=0), "the size of the text is a constant of 1 to 16384, not 0"),
    ],
)
def test_refusals(probe: Any, message: str) -> None:
    tracer = Tracer()
    tracer.uprobe(LIBC, "getppid")(probe)
    with pytest.raises(CompileError) as caught:
        tracer.compile(Target.described("6.12"))
    assert caught.value.message == message
