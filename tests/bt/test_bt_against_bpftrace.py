"""What an installed bpftrace accepts, refuses and prints is accepted, refused and printed here, too."""

from __future__ import annotations

import subprocess

import pytest

from pybpf.bt.syntax.parse import parse
from pybpf.errors import CompileError
from tests.bt.harness import BPFTRACE, command, theirs

pytestmark = pytest.mark.native

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
    accepted = subprocess.run([BPFTRACE, "-d", "-e", text], capture_output=True, timeout=120).returncode == 0
    try:
        parse(text)
    except CompileError:
        assert not accepted
    else:
        assert accepted


#: Bodies of BEGIN that print the same in 0.17; those of a row run as one script.
PRINTS = [
    [
        r'$s = "hello"; printf("%d %d\n", strncmp($s, "help", 3), strncmp($s, "help", 4));',
        r'printf("%d %d\n", strncmp("abc", "abc", 3), strncmp(comm, "nobody", 6));',
        r'printf("%r|%r\n", buf("abc\x01\x7f", 5), buf("abc", 2)); @b = buf("xyz", 3); print(@b);',
        r'@k[buf("xy", 2)] = 1;',
        r'printf("%s %s %s\n", ntop(0x0100007f), ntop(2, 0x0100007f), ntop(pton("::1"))); @ntop[ntop(5), 1] = 2;',
        r'printf("%s %x\n", strftime("%Y", nsecs), bswap((uint32)0x12345678)); print(strftime("%Y", nsecs));',
        r'printf("%s\n", cgroup_path(1, "unified"));',
    ],
    [
        r'cat("/proc/%d/comm", 1); system("echo %s %d", "hi", 5); time("%Y\n");',
        r'printf("%s|%10s|%-6s|%.2s\n", "a", "b", "c", "defg"); printf("%s\n", ksym(kaddr("schedule")));',
        r'printf("%llx %hhd %c\n", (uint64)0x1234567890, 300, 66);',
        r'@a[1] = 1; @a[2] = 5; @a[3] = 3; print(@a, 2); print(@a, 1, 2); clear(@a);',
        r'@c = count(); zero(@c); print(@c);',
        r'@m[1] = max(3); @s[2] = sum(4); @v[1] = avg(6); print(@v); delete(@s[2]);',
        r'@h[1] = hist(5); @h[2] = hist(100); @h[2] = hist(7); @l = lhist(5, 0, 10, 2); print(@h, 1);',
        r'$t = (1, "two", 3); print($t); print($t.1); @t[$t.0, "x"] = (4, 5); @x = 10; @x -= 3; @x <<= 2; @x |= 1;',
        r'$y = 7; $y %= 4; print(@x); print($y); unroll(3) { @u++; } printf("%d\n", sizeof(struct task_struct));',
    ],
]


@pytest.mark.root
@pytest.mark.skipif(BPFTRACE is None, reason="bpftrace is not installed")
@pytest.mark.parametrize("bodies", PRINTS, ids=["text", "output"])
def test_functions_print_alike(bodies: list[str]) -> None:
    script = f"BEGIN {{ {' '.join(bodies)} exit(); }}"
    mine = command("-q", "--unsafe", "-e", script)
    assert mine.returncode == 0, mine.stderr
    # 0.17 has a space behind the colon before a histogram, and an empty line between maps; the newest has not
    expected = [line.rstrip() for line in theirs(script, "--unsafe").splitlines() if line.rstrip()]
    assert len(expected) > 8
    assert [line for line in mine.stdout.splitlines() if line] == expected
