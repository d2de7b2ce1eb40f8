"""What an installed bpftrace accepts, and what it refuses, is accepted and refused here, too."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from pybpf.bt.syntax.parse import parse
from pybpf.errors import CompileError

pytestmark = pytest.mark.pure

BPFTRACE = shutil.which("bpftrace")

#: In the language of 0.17, which newer versions accept; none has an error that is not one of syntax.
SCRIPTS = [
    'BEGIN { $x = 1; $x += 2; $x++; --$x; @a[1, "x"] = count(); $t = (1, "a"); print($t.0); }',
    "BEGIN { if (1) { @x = 1 } ++@y; if (1) { } else if (2) { } else { exit(); } }",
    "BEGIN { $i = 0; while ($i < 5) { $i++; if ($i == 2) { continue; } } unroll (3) { @x++; } }",
    'BEGIN { printf("%d %d\\n", 1 ? 2 : 3, !1 || ~2 && 3); return; }',
    "#define N 3\nstruct a { int x; } BEGIN { $a = (struct a *)0; print($a->x + N + 0x1f + 1e3 + 1_000); }",
    "i:ms:100,p:hz:99 /pid == 1/ { @ = (uint8)300; } END { print($#); }",
    "BEGIN { print(1 2); }",
    "BEGIN { @x[] = 1; }",
    "BEGIN { $x = 1 $y = 2 }",
    "BEGIN {",
    'BEGIN { "abc }',
    "BEGIN { pid++; }",
    "BEGIN { else { } }",
    "interval:x:1 { }",
]


@pytest.mark.root
@pytest.mark.skipif(BPFTRACE is None, reason="bpftrace is not installed")
@pytest.mark.parametrize("text", SCRIPTS)
def test_accepted_alike(text: str) -> None:
    assert BPFTRACE is not None
    # -d prints the stages of the compiler and runs nothing
    theirs = subprocess.run([BPFTRACE, "-d", "-e", text], capture_output=True, timeout=120).returncode == 0
    try:
        parse(text)
    except CompileError:
        assert not theirs
    else:
        assert theirs
