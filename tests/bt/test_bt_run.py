"""Scripts that run: maps, variables, control flow, printing, on this process and on commands that the tests start."""

from __future__ import annotations

import json
import os
import pwd
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import pybpf.bt
from pybpf.bt.lower.turns import MOST_TURNS
from pybpf.bt.runtime.events import Exited, MapShown, Printed, PrintedRun, ValueShown, Warned
from pybpf.bt.show.json import event_json
from pybpf.bt.show.text import event_text
from pybpf.errors import CompileError
from pybpf.report import LinearHistogram, Log2Histogram, Stats
from tests.bt.harness import BPFTRACE, command, printed, theirs, traced

pytestmark = pytest.mark.root


def calls(count: int) -> None:
    """System calls that nothing else here makes."""
    for _ in range(count):
        os.getpgid(0)


SYS_GETPGID = 121 if os.uname().machine == "x86_64" else 155
ENTER = f"tracepoint:raw_syscalls:sys_enter /args.id == {SYS_GETPGID}/"


def test_aggregates_are_exact() -> None:
    done = traced(
        f"{ENTER} {{ @c = count(); @k[comm, args.id] = count(); @s = sum(3); @mi = min(-5); @ma = max(7); @a = avg(4);"
        " @st[1] = stats(6); @h = hist(1000); @l[2] = lhist(15, 0, 100, 10); }",
        lambda: calls(10),
    )
    comm = Path("/proc/self/comm").read_text().strip()
    assert done.maps["c"] == 10
    assert done.maps["k"] == {(comm, SYS_GETPGID): 10}
    assert done.maps["s"] == 30
    assert (done.maps["mi"], done.maps["ma"], done.maps["a"]) == (-5, 7, 4)
    assert done.maps["st"] == {1: Stats(10, 60)}
    assert done.maps["h"] == Log2Histogram({11: 10})
    assert done.maps["l"] == {2: LinearHistogram({2: 10}, 0, 100, 10)}


def test_latency_by_thread_with_start_map() -> None:
    done = traced(
        f"{ENTER} {{ @start[tid] = nsecs; }} tracepoint:raw_syscalls:sys_exit /@start[tid]/ {{ "
        "@latency[args.id] = hist(nsecs - @start[tid]); @n = count(); delete(@start[tid]); }",
        lambda: calls(5),
    )
    assert done.maps["n"] == 5
    assert list(done.maps["latency"]) == [SYS_GETPGID]
    assert done.maps["latency"][SYS_GETPGID].count == 5
    assert done.maps["start"] == {}


def test_threads_are_told_apart() -> None:
    def act() -> None:
        workers = [threading.Thread(target=calls, args=(count,)) for count in (1, 2, 3)]
        for each in workers:
            each.start()
        for each in workers:
            each.join()

    assert sorted(traced(f"{ENTER} {{ @[tid] = count(); }}", act).maps[""].values()) == [1, 2, 3]


@pytest.mark.parametrize(
    ("body", "output"),
    [
        ('printf("%d %5d|%-5d|%05d|%x|%X|%c|%s|%%\\n", 1, 42, 42, 42, 255, 255, 65, "text");',
         "1    42|42   |00042|ff|FF|A|text|%\n"),
        ('printf("%d %u %lld %llx %hhx\\n", -1, -1, -1, -1, 0x1234);', "-1 4294967295 -1 ffffffffffffffff 34\n"),
        ('printf("%d %d %d %d\\n", 7 / 2, -7 / 2, -7 % 2, 7 % -2);', "3 -3 -1 1\n"),
        ('$a = -7; $b = 2; printf("%d %d %d\\n", $a / $b, $a % $b, $a >> 1);', "-3 -1 -4\n"),
        ('$x = (uint64)3 - (uint64)5; printf("%d %lu\\n", $x, $x);', "-2 18446744073709551614\n"),
        ('$x = 5; $x += 3; $x <<= 2; $x ^= 1; printf("%d\\n", $x);', "33\n"),
        ('$x = 5; printf("%d %d ", $x++, ++$x); printf("%d %d %d\\n", $x--, --$x, $x);', "5 7 7 5 5\n"),
        ('if (1 > 2) { printf("a"); } else if (2 > 1) { printf("b"); } else { printf("c"); }', "b"),
        ('$i = 0; while ($i < 9) { $i++; if ($i == 2) { continue; } if ($i > 4) { break; } printf("%d", $i); }', "134"),
        ('for ($i : 2..5) { printf("%d", $i); }', "234"),
        ('for ($i : 0..200) { @t++; } printf("%d", @t);', "200"),
        ('unroll (3) { @u += 2; } printf("%d", @u);', "6"),
        ('printf("%s", 1 ? "yes" : "no, long");', "yes"),
        ('printf("%d%d%d", 1 && 0, 1 || 0, !5);', "010"),
        ('$x = 0; printf("%d", $x ?: 7);', "7"),
        ('@s = "abc"; printf("%d%d%d", @s == "abc", @s != "abd", @s == "abcd");', "110"),
        ('@m[1, "a"] = 5; printf("%d %d", @m[1, "a"], @m[2, "a"]);', "5 0"),
        ('@m[1] = 5; printf("%d%d", has_key(@m, 1), has_key(@m, 2)); delete(@m, 1); printf("%d", has_key(@m, 1));',
         "100"),
        ('$t = (1, "two", (3, 4)); printf("%d %s %d", $t.0, $t.1, $t.2.1);', "1 two 4"),
        ('let $x: typeof(@y) = 3; @y = (int64)9; printf("%d", sizeof($x));', "8"),
        ('$r = (a = 1, b = "x"); printf("%d %s", $r.a, $r.b);', "1 x"),
        ('printf("%s", "=".repeat(5));', "====="),
        ('printf("%d %d", sizeof(uint32), sizeof((int16)1));', "4 2"),
        ('printf("%d", 1e3 + 0x10 + 010);', "1024"),
        ('if (0) { $late = 1; } printf("%d", $late);', "0"),
        ('let $x: uint8 = 300; printf("%d", $x);', "44"),
        ('$a = (uint8[4])0x01020304; printf("%d %d %x", $a[0], $a[3], (uint32)$a);', "4 1 1020304"),
        ('$x = { $y = 2; $y * 3 }; printf("%d", $x);', "6"),
        ('printf("%d %d", strlen("four"), strlen(str($1)));', "4 0"),
        ('$t = (1, "two", 3); printf("%d%d", $t[1 + 1], $t.0);', "31"),
        ('@a = { let $x = 100; avg($x) }; printf("%d", 1);', "1"),
        ('printf("%d%d%d%d", is_str("x"), is_integer(pid), is_unsigned_integer(pid), is_ptr(pid));', "1110"),
        ('printf("%d%d", is_literal(3), is_literal(pid)); static_assert(sizeof(int32) == 4, "no");', "10"),
        ('if comptime (is_str(1)) { fail("never"); } else { printf("%s", probetype); }', "begin"),
        ('@m[1] = 5; $v = 0; printf("%d%d%d", find(@m, 1, $v), $v, find(@m, 2, $v)); printf("%d", len(@m));', "1501"),
        ('printf("%x %x %d %d", bswap((uint16)0x1234), bswap((uint32)1), is_err(-5), is_err(5));', "3412 1000000 1 0"),
        ('printf("%d %d", len("abc"), len((uint8[4])1));', "3 4"),
        ('printf("%s %s", probe, comm == "nobody" ? "x" : "y");', "begin y"),
        ('$b = pid ? buf("hi", 2) : buf("bye", 3); $b = buf("longer", 6); printf("%r", $b);', "longer"),
        ('printf("%d %d %d", cpid, has_cpid, __NR_openat == SYS_openat);', "0 0 1"),
        ('$s = str("abcdef"); $n = 3; printf("%s %s %s %s", str("abcdef", 4), str($s, 4), str($s, $n), str("ab", $n));',
         "abc abc ab ab"),
        ('$s = str("ab"); $t = str("ab"); $u = comm; printf("%d%d%d%d", $s == $t, $s != $t, $s == $u, $u == comm);',
         "1001"),
        ('$s = str("0123456789abcde"); @a = (1, $s); $c = "0123456789abcdef"; printf("%d%d%d", @a == (1, $s),'
         ' $s == $c, $c != $s);', "101"),
    ],
)  # fmt: skip
def test_prints(body: str, output: str) -> None:
    assert printed(f"begin {{ {body} }}") == output


def test_division_by_zero_gives_one_and_warns() -> None:
    done = traced('begin { $z = 0; @a = 7 / $z; @b = 7 % $z; }')
    assert (done.maps["a"], done.maps["b"]) == (1, 1)
    warned = [event for event in done.events if isinstance(event, Warned)]
    assert len(warned) == 2 and warned[0].place == "<script>:1:22-28"


@pytest.mark.native
@pytest.mark.parametrize("loop", ["while (1) { @x++; }", "for ($i : 0..20000000) { @x++; }"])
def test_loops_that_are_cut_are_told(loop: str) -> None:
    done = traced(f"begin {{ {loop} @behind = 1; }}")
    assert done.maps == {"x": MOST_TURNS, "behind": 1}
    (warned,) = done.events
    assert isinstance(warned, Warned) and warned.place == f"<script>:1:9-{9 + len(loop)}"
    assert warned.message == "the loop has ended after 8388608 turns, the most there can be"


def test_print_shows_values_and_maps() -> None:
    done = traced(
        'begin { print(5); print("text"); print((1, "a", true)); @x = 3; print(@x); @y[1] = 2; @y[2] = 1; print(@y);'
        " print(@y, 1); print(@y[1]); @c = count(); print(@c); clear(@y); zero(@c); exit(); }"
    )
    assert done.text == "5\ntext\n(1, a, true)\n@x: 3\n@y[2]: 1\n@y[1]: 2\n@y[1]: 2\n2\n@c: 1\n"
    assert done.maps["y"] == {} and done.maps["c"] == 0
    assert done.shown == "@c: 0\n@x: 3\n"


def test_events_are_typed() -> None:
    done = traced('begin { printf("%d %s\\n", 3, "abc"); print((1, "x")); print(@); exit(4); } begin { @[1] = 1; }')
    first, second, third, last = done.events
    assert isinstance(first, Printed) and first.values == (3, "abc") and first.text == "3 abc\n"
    assert isinstance(second, ValueShown) and second.value == (1, "x")
    assert isinstance(third, MapShown) and third.map.name == ""
    assert isinstance(last, Exited) and last.code == 4


def test_what_one_printf_prints_again_and_again_comes_together() -> None:
    script = (
        f'{ENTER} {{ $n = @n; @n++; printf("%d%% %-4s|%5x|%d|%s\\n", $n, "a\\x1b", (uint8)$n, (uint32)4294967295, '
        'strftime("", 0)); if ($n % 100 == 99) { printf("hundred\\n"); } if ($n == 249) { exit(3); } }'
    )
    with pybpf.bt.run(script, pid=os.getpid()) as running:
        calls(260)
        shown = list(running.runs(0))
        assert running.exit_code == 3
    lines = [f"{n}% a\\x1b|{n:5x}|-1|\n" for n in range(250)]
    whole = [*lines[:100], "hundred\n", *lines[100:200], "hundred\n", *lines[200:]]
    assert [each.records for each in shown if isinstance(each, PrintedRun)] == [100, 1, 100, 1, 50]
    assert [text for each in shown if isinstance(each, PrintedRun) for text in each.texts] == whole
    assert [each.text for run in shown[:-1] for each in run.apart()] == whole
    assert "".join(map(event_text, shown)) == "".join(whole)
    told = [json.loads(line) for each in shown for line in event_json(each).splitlines()]
    assert told == [{"type": "printf", "data": line} for line in whole]


def test_enumerations_keep_their_names() -> None:
    done = traced(
        "enum { ONE = 1, TWO = 2 } enum color { RED, BLUE = 7 } begin { @[ONE] = 11; @t = (ONE, TWO); @v = BLUE;"
        ' $x = TWO; printf("%s %d %s %d %s ", ONE, ONE, $x, $x + 5, (enum color)7); print($x); @n = ONE + 1; }'
    )
    assert done.text == "ONE 1 TWO 7 BLUE TWO\n"
    assert done.shown == "@[ONE]: 11\n@n: 2\n@t: (ONE, TWO)\n@v: BLUE\n"


@pytest.mark.needs("btf")
def test_kernel_types_in_structs_of_the_script() -> None:
    script = "struct mine { struct list_head head; pid_t pid }; begin { @ = sizeof(struct mine); }"
    assert traced(script).maps == {"": 24}
    # what the script defines comes before what the kernel has
    script = "struct task_struct { char x[3]; } begin { @ = sizeof(*curtask); }"
    assert traced(script).maps == {"": 3}


def test_empty_maps_without_keys_print_as_zero() -> None:
    script = "begin { print(@a); print(@s); print(@r); } end { @a = 1; @s = stats(1); @r = (a=1, b=(2, \"hi\")); }"
    assert traced(script).text == "@a: 0\n@s: { .count = 0, .average = 0, .total = 0 }\n@r: { .a = 0, .b = (0, ) }\n"


@pytest.mark.needs("btf")
def test_relatives_of_the_task() -> None:
    done = traced(f"{ENTER} {{ @ids = (ppid, ppid(curtask), leader_tid); @names = (leader_comm, pcomm, username); }}",
                  lambda: calls(1))  # fmt: skip
    assert done.maps["ids"] == (os.getppid(), os.getppid(), os.getpid())
    mine, parent = (Path(f"/proc/{each}/comm").read_text().strip() for each in (os.getpid(), os.getppid()))
    assert done.maps["names"] == (mine, parent, pwd.getpwuid(os.getuid()).pw_name)


@pytest.mark.needs("btf")
def test_container_of() -> None:
    script = (
        f"{ENTER} {{ $group = &$x; $task = curtask; $at = (uint64)$task + offsetof(struct task_struct, group_leader);"
        " @same = container_of($at, typeof(struct task_struct), group_leader) == $task; }"
    ).replace("$group = &$x; ", "")
    assert traced(script, lambda: calls(1)).maps["same"] is True


def test_failed_assertions_end_the_script() -> None:
    done = traced('begin { assert(1 == 1, "never"); assert(1 == 2, "one is two"); @x = 1; }')
    warned, last = done.events
    assert isinstance(warned, Warned) and (warned.message, warned.severity) == ("assert failed: one is two", "ERROR")
    assert isinstance(last, Exited) and last.code == 1 and done.maps == {"x": None}


def test_a_full_map_is_told() -> None:
    done = traced("let @a = hash(1); begin { @a[1] = 1; @a[2] = 2; @a[3] = 3; }")
    (warned,) = [event for event in done.events if isinstance(event, Warned)]
    assert warned.message.startswith("Map full; can't update element: @a has 1 entries and was full 2 times")
    assert warned.place == "<script>:1:5-7"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("let @a = percpuhash(1); begin { }", "Unused map: @a"),
        ("begin { exit(); @x = 1; }", "Unreachable statement"),
    ],
)
def test_warned_of(script: str, message: str) -> None:
    assert [each.message for each in pybpf.bt.compile_script(script).warnings] == [message]


def test_structs_of_the_script() -> None:
    script = (
        "struct inner { char c; short s; } ; struct outer { int a; struct inner in[2]; unsigned int low:3, high:5; };"
        f'uprobe:libc:getpgid {{ }} {ENTER} {{ $o = (struct outer *)0; @size = sizeof(struct outer);'
        " @offset = offsetof(struct outer, in); @null = $o->a; }"
    )
    done = traced(script, lambda: calls(1))
    assert (done.maps["size"], done.maps["offset"], done.maps["null"]) == (16, 4, 0)


@pytest.mark.needs("btf")
def test_kernel_structs() -> None:
    done = traced(f"{ENTER} {{ @pid = curtask.tgid; @comm = curtask->comm; @parent = curtask.real_parent.tgid; }}",
                  lambda: calls(1))  # fmt: skip
    assert (done.maps["pid"], done.maps["parent"]) == (os.getpid(), os.getppid())
    assert done.maps["comm"] == Path("/proc/self/comm").read_text().strip()


def test_text_of_the_process() -> None:
    name = "/tmp/no such file, " + "long " * 20
    script = (
        "tracepoint:syscalls:sys_enter_openat { @path[args.dfd] = str(args.filename);"
        " @short[1] = str(args.filename, 8); }"
    )

    def act() -> None:
        with pytest.raises(OSError):
            os.open(name, os.O_RDONLY)

    done = traced(script, act)
    assert name in done.maps["path"].values()
    assert list(done.maps["short"].values()) == [name[:7]]
    cut = traced(script, act, settings={"max_strlen": 16})
    assert name[:16] + ".." in cut.maps["path"].values()


def test_user_functions() -> None:
    script = "uprobe:libc:strtol { @base[arg2] = count(); @text = str(arg0); } uretprobe:libc:strtol { @got = retval; }"
    body = 'import ctypes; ctypes.CDLL(None).strtol(b"123x", None, 10)'
    done = command("-q", "-f", "json", "-c", f"{sys.executable} -S -c '{body}'", "-e", script)
    assert done.returncode == 0, done.stderr
    maps = [json.loads(line)["data"] for line in done.stdout.splitlines()]
    assert {"@text": "123x"} in maps and {"@got": 123} in maps


def test_intervals_and_exit_code() -> None:
    script = 'interval:ms:50 { @i++; if (@i >= 3) { printf("%d\\n", @i); exit(3); } } END { printf("bye\\n"); }'
    done = command("-e", script)
    assert done.returncode == 3
    # the interval goes on until exit() is acted on; what it prints then does not count
    assert re.fullmatch(r"3\nbye\n\n\n@i: ([3-9]|\d\d+)\n", done.stdout)
    assert done.stderr == "Attached 2 probes\n"


def test_interrupt_ends_a_script() -> None:
    script = 'BEGIN { printf("ready\\n"); @x = 1; } interval:s:100 { } END { printf("end\\n"); }'
    words = [sys.executable, "-m", "pybpf", "bt", "-e", script]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=60)[0]
    assert process.returncode == 0
    assert rest == "end\n\n\n@x: 1\n"


def test_profile_samples_what_runs() -> None:
    def act() -> None:
        end = time.process_time() + 0.4
        while time.process_time() < end:
            pass

    # forty, but for processors that are emulated and late
    assert traced("profile:hz:99 { @[pid] = count(); }", act).maps[""][os.getpid()] > 0


def test_many_tracepoints_share_a_program() -> None:
    done = traced("tracepoint:syscalls:sys_enter_getpg* { @ = count(); }", lambda: calls(4))
    assert done.maps[""] == 4


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("begin { @x = $y; }", "$y has no value here"),
        ("begin { printf(\"%d\"); }", "the format has 1 directive, and 0 values are given"),
        ("begin { printf(\"%s\", 5); }", "%s does not print int8; write %d"),
        ("begin { @a = 1; @a = \"x\"; }", "@a is an int8; a string[2] cannot be assigned to it"),
        ("begin { @a = count(); @a = 1; }", "@a is a count(); a plain value cannot be assigned to it"),
        ("begin { @a[1] = 1; @a = 2; }", "@a has keys: write which, as in @x[1]"),
        ("begin { print(@nothing); }", "@nothing is never assigned to"),
        ("begin { delete(@nothing, 1); }", "@nothing is never assigned to"),
        ("begin { print(has_key(@nothing, 1)); }", "@nothing is never assigned to"),
        ("begin { $x = pidd; }", "there is no builtin or constant 'pidd'; did you mean pid?"),
        ("begin { strlenn(1); }", "there is no function 'strlenn'; did you mean strlen?"),
        ("begin { $x = retval; }", "begin has no retval"),
        ("tracepoint:raw_syscalls:sys_enter { $x = args.number; }", "has no field 'number'; it has id, args"),
        ("begin { break; }", "'break' is for loops"),
        ("begin { static_assert(sizeof(int32) == 5, \"five\"); }", "five"),
        ("begin { fail(\"%s is no %d\", \"x\", 5); }", "x is no 5"),
        ("tracepoint:raw_syscalls:sys_entr { }", "did you mean"),
        ("begin { $x = 1 / 0; }", "division by zero"),
    ],
)  # fmt: skip
def test_refused_with_a_place(script: str, message: str) -> None:
    with pytest.raises(CompileError) as caught:
        pybpf.bt.compile_script(script)
    assert message in caught.value.message
    assert caught.value.line == 1 and caught.value.text == script


def test_command_prints_errors_as_bpftrace() -> None:
    done = command("-e", "begin { $x = pidd; }")
    assert done.returncode == 1 and not done.stdout
    assert done.stderr == (
        "stdin:1:14-18: ERROR: there is no builtin or constant 'pidd'; did you mean pid?\n"
        "begin { $x = pidd; }\n             ~~~~\n"
    )


#: In the language of 0.17, and printing the same in both versions.
_ALIKE = [
    'BEGIN { @x = 1; @y["a", 2] = 3; @t[1] = (1, "x"); @s = "text"; exit(); }',
    'BEGIN { @a = avg(3); @a = avg(8); @mi = min(2); @ma = max(7); @c = count(); @su = sum(5); exit(); }',
    'BEGIN { printf("%d %5d|%-5d|%x %s %c\\n", 1, 2, 3, 255, "abc", 65); print(5); print((1, "a", 3)); exit(); }',
    'BEGIN { $i = 0; while ($i < 5) { @w[$i] = $i * $i; $i++; } print(@w); clear(@w); exit(); } END { printf("end"); }',
    'BEGIN { @k[3] = 1; @k[1] = 2; @k[2] = 0; @n["b"] = "1"; @n["a"] = "2"; exit(); }',
    'BEGIN { @h = hist(3); @h = hist(100); @h = hist(0); @h = hist(-1); exit(); }',
    'BEGIN { @l = lhist(3, 0, 10, 1); @l = lhist(30, 0, 10, 1); @l = lhist(-3, 0, 10, 1); exit(); }',
]  # fmt: skip


@pytest.mark.skipif(BPFTRACE is None, reason="bpftrace is not installed")
@pytest.mark.parametrize("script", _ALIKE)
def test_prints_as_bpftrace(script: str) -> None:
    mine = command("-q", "-e", script)
    assert mine.returncode == 0, mine.stderr
    # 0.17 has a space behind the colon before a histogram, and an empty line between maps; the newest has not
    assert [line for line in mine.stdout.splitlines() if line] == [
        line.rstrip() for line in theirs(script).splitlines() if line.rstrip()
    ]


def test_loops_over_maps() -> None:
    assert printed(
        'begin { @a[1, "x"] = 5; for ($kv : @a) { printf("%d %s %d ", $kv.0.0, $kv.0.1, $kv.1); }'
        " @c[7] = count(); @c[7] = count(); for ($kv : @c) { printf(\"%d:%d \", $kv.0, $kv.1); }"
        " for ($i : 0..20) { @n[$i] = $i; } $sum = 0; for ($kv : @n) { $sum += $kv.1; } printf(\"%d \", $sum);"
        " $count = 0; for ($kv : @n) { if ($kv.0 % 2) { continue; } $count++; if ($count == 4) { break; } }"
        " printf(\"%d \", $count); for ($one : @n) { $count += 100; break; } printf(\"%d \", $count);"
        " for ($x : @a) { for ($y : @c) { printf(\"%d,%d\", $x.1, $y.0); } } }"
    ) == "1 x 5 7:2 190 4 104 5,7"  # fmt: skip


def test_macros() -> None:
    script = """
        macro one() { 1 }
        macro add_one(x) { x + 1 }
        macro both($a, @b) { $a += 1; @b += 1; }
        macro thrice(x) { x; x; x; }
        macro of_type(t, x) { sizeof(t) + sizeof(t[2]) + (t)x }
        macro local(x) { $y = x + 1; $y }
        macro first(@x) { let $k; for ($kv : @x) { $k = $kv.0; break; } $k }
        macro kind($x) { "variable" }
        macro kind(@x) { "map" }
        macro kind(x) { "value" }
        begin {
          $a = 10; @b = 5; $y = 2; @m[3] = 1;
          both($a, @b); thrice({ $a++; });
          printf("%d %d %d %d ", one, one(), add_one(add_one(1)), $a);
          printf("%d %d %d %d ", of_type(typeof(uint16), 70000), local(5), $y, first(@m));
          printf("%s %s %s %d", kind($a), kind(@b), kind(1), @b);
        }
    """
    assert printed(script) == "1 1 3 14 4470 6 2 3 variable map value 6"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("macro m() { @x++ } begin { m(); }", "the map @x is no parameter of m()"),
        ("macro m($x) { $x++ } begin { @x = 1; m(@x); }", "the macro is m($x); this call does not fit"),
        ("macro a(x) { b(x) } macro b(x) { a(x) } begin { a(1); }", "calls itself"),
        ("macro a(x) { 1 } macro a(y) { 2 } begin { }", "there is a macro a() with such parameters already"),
        ("macro a(x, x) { 1 } begin { }", "has a parameter 'x' already"),
    ],
)
def test_macros_refused(script: str, message: str) -> None:
    with pytest.raises(CompileError, match=None) as caught:
        pybpf.bt.compile_script(script)
    assert message in caught.value.message


def test_imports(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "lib").mkdir(mode=0o755)
    (tmp_path / "lib/a.bt").write_text('import "../types.h";\nmacro twice(x) { x * 2 }\nbegin { printf("lib "); }\n')
    (tmp_path / "types.h").write_text("struct pair { int a; int b; };\n#define SEVEN 7\n")
    (tmp_path / "bad.bt").write_text("begin {\n  $x = nothing;\n}\n")
    main = tmp_path / "main.bt"
    main.write_text('import "lib";\nimport "types.h";\nbegin { printf("%d %d", twice(SEVEN), sizeof(struct pair)); }\n')
    assert printed(main.read_text(), file=str(main)) == "lib 14 8"
    with pytest.raises(CompileError) as caught:
        pybpf.bt.compile_script('import "bad.bt"; begin { }', str(main))
    assert (caught.value.file, caught.value.line, caught.value.text) == (str(tmp_path / "bad.bt"), 2, "  $x = nothing;")
    (tmp_path / "lib").chmod(0o777)
    with pytest.raises(CompileError, match="anybody can write"):
        pybpf.bt.compile_script(main.read_text(), str(main))


@pytest.mark.native
def test_a_script_without_events_ends_by_itself() -> None:
    done = command("-q", "-e", 'begin { printf("%s", probe); @x = 3; } end { printf("-%s\\n", probe); }')
    assert (done.returncode, done.stdout) == (0, "begin-end\n\n\n@x: 3\n"), done.stderr
    assert command("-q", "-e", "begin { exit(4); }").returncode == 4
    with pybpf.bt.run("begin { print(1); }") as running:
        assert [type(event) for event in running.events()] == [ValueShown]


@pytest.mark.native
def test_settings_of_other_versions_are_taken() -> None:
    done = traced(
        "config = { print_maps_on_exit = 0; unstable_map_decl = enable; BPFTRACE_STRLEN = 64; use_blazesym = 1;"
        ' license = "Dual BSD/GPL" } begin { @x = 1; printf("%d", config.max_strlen); }'
    )
    assert (done.text, done.shown) == ("64", "")
    # what is given comes before what the script says
    done = traced("config = { max_strlen = 64 } begin { print(config.max_strlen); }", settings={"max_strlen": 32})
    assert done.text == "32\n"


def test_arrays_of_characters_need_no_end() -> None:
    """Text that fills its array; what is behind it is no part of it, nor is it text that was cut off."""
    import ctypes

    class Row(ctypes.Structure):
        _fields_ = (("full", ctypes.c_char * 5), ("brief", ctypes.c_char * 3), ("end", ctypes.c_char * 8))

    row = Row(b"hello", b"ab", b"7")
    done = traced(
        "struct row { char full[5]; char brief[3]; char end[8]; } uprobe:libc:strtol { $r = (struct row *)arg0;"
        ' printf("%s|%s|%s", $r->full, $r->brief, $r->end); @[$r->full] = 1; @same = $r->full == "hello";'
        " @row = *$r; }",
        lambda: ctypes.CDLL(None).strtol(ctypes.byref(row), None, 10),
    )
    assert done.text == "hello|ab|7"
    assert (done.maps[""], done.maps["same"]) == ({"hello": 1}, True)
    assert "{ .full = hello, .brief = ab, .end = 7 }" in done.shown


def test_addresses_of_cards() -> None:
    import ctypes

    card = (ctypes.c_uint8 * 8)(0xAA, 0xB, 0xC, 0, 0xFF, 0x10, 7, 0)
    done = traced(
        "struct card { uint8_t address[6]; char rest[2]; } uprobe:libc:strtol { $c = (struct card *)arg0;"
        ' printf("%s", macaddr($c->address)); @[macaddr($c->address)] = 1; $m = macaddr($c->address); print($m); }',
        lambda: ctypes.CDLL(None).strtol(card, None, 10),
    )
    assert done.text == "AA:0B:0C:00:FF:10AA:0B:0C:00:FF:10\n"
    assert done.maps[""] == {"AA:0B:0C:00:FF:10": 1}
