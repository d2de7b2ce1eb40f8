"""Functions of the language, each with values whose result is known; what they refuse."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

import pybpf.bt
from pybpf.bt.runtime.events import Warned
from pybpf.compiler.target import Target
from pybpf.errors import CompileError
from tests.bt.harness import command, printed, traced

pytestmark = [pytest.mark.root, pytest.mark.native]

#: body of a probe -> what it prints
PRINTS = {
    'printf("%s %s", ntop(0x0100007f), ntop(AF_INET, 0x0100007f));': "127.0.0.1 127.0.0.1",
    'printf("%s %s", ntop(pton("1.2.3.4")), ntop(AF_INET6, pton("fe80::1")));': "1.2.3.4 fe80::1",
    'printf("[%s]", ntop(77, 1));': "[]",
    'printf("%d %d %x", pton("::1") == pton("::1"), pton("1.2.3.4") == pton("1.2.3.5"), (uint32)pton("127.0.0.1"));':
        "1 0 100007f",
    "$x = ntop(5); $y = ntop(5); $z = ntop(6); printf(\"%d %d %s\", $x == $y, $x == $z, $z);": "1 0 6.0.0.0",
    'printf("%d %d %d %d", strstr("hello world", "wor"), strstr("aaab", "ab"), strstr("abc", "x"), strstr("abc", ""));':
        "6 2 -1 0",
    '$t = "hello"; printf("%d %d %d", strcontains($t, "ell"), strcontains($t, "elk"), strcontains($t, "hello!"));':
        "1 0 0",
    # known text is compared by words, other text in a loop; what is behind the end does not count
    '$s = "hello"; printf("%d %d %d %d", strncmp($s, "help", 3), strncmp($s, "help", 4), strncmp("hello", $s, 10),'
    ' strncmp($s, "hell", 5));': "0 1 0 1",
    '$s = "hello"; $t = "help"; $n = 3; printf("%d %d %d", strncmp($s, $t, $n), strncmp($s, $t, $n + 1),'
    " strncmp($s, $t, 0));": "0 1 0",
    'printf("%d %d %d", memcmp((uint32)1, (uint32)1, 4), memcmp("abc", "abd", 3) < 0, memcmp("abd", "abc", 3) > 0);':
        "0 1 1",
    '$s = "hello"; printf("%d %s %d", strcap($s), str_concat($s, " x"), default_str_length); assert_str($s);':
        "6 hello x 1024",
    'printf("%r %rx %rh", buf("ab\\x01", 3), buf("ab", 2), buf("abc", 3));': "ab\\x01 \\x61\\x62 61 62 63",
    '$b = buf((uint8[4])0x41424344); $n = 2; printf("%r %d %r", $b, len($b), buf("abc", $n));': "DCBA 4 ab",
    "$e = 13; printf(\"%s|%s|%s|%s|%s\", strerror(ENOENT), strerror($e), signal_name(9), signal_name(99),"
    " syscall_name(9999));": "No such file or directory|Permission denied|Killed|Unknown signal 99|9999",
    'printf("%d %s %d %d %d", getopt("n", 5, "how often"), getopt("s", "x"), getopt("b"), getopt("c"),'
    ' getopt("d", true));':
        "-7 x 1 0 0",
    'printf("%d", usermode);': "1",
    'printf("%d %s %d", config.max_strlen, config.stack_mode, config().max_map_keys);': "1024 bpftrace 4096",
    "$n = 1; printf(\"%d %d %d\", pid(init) > 0, tid(init) > 0, pid(curr_ns) == pid);": "1 1 1",
}  # fmt: skip
#: what the scripts of the table are given as named arguments
NAMED = {"n": "-7", "b": "1", "d": "false"}


@pytest.mark.parametrize("body", PRINTS)
def test_prints(body: str) -> None:
    assert printed(f"begin {{ {body} }}", named=NAMED if "getopt" in body else {}) == PRINTS[body]


def test_arguments_that_a_script_does_not_ask_for_are_refused() -> None:
    script = 'begin { print(getopt("n", 5, "how many")); print(getopt("all")); print(getopt("n", 5)); }'
    with pytest.raises(CompileError, match=r"no argument --help; it has --all, --n \(how many\)$"):
        pybpf.bt.compile_script(script, named={"n": "3", "help": "1"})
    with pytest.raises(CompileError, match=r'the script has no argument --zz; getopt\("name"\) would make one'):
        pybpf.bt.compile_script("begin { }", named={"zz": "7"})


def test_addresses_are_keys() -> None:
    done = traced('begin { @[ntop(0x0100007f), 1] = 1; @x = ntop(pton("::1")); @[ntop(0x0100007f), 1]++; }')
    assert done.maps == {"": {("127.0.0.1", 1): 2}, "x": "::1"}
    assert done.shown == "@[127.0.0.1, 1]: 2\n@x: ::1\n"


def test_times() -> None:
    before = time.time()
    text = printed('begin { printf("%s|%s|%s", strftime("%s.%f", nsecs), strftime("%f%%f", 1),'
                   ' strftime("%s", nsecs(tai))); }')  # fmt: skip
    first, second, third = text.split("|")
    assert before - 1 < float(first) < time.time() + 1
    assert re.fullmatch(r"\d{6}%f", second)
    assert abs(int(third) - before) < 60


def test_words_are_keys_and_values() -> None:
    done = traced("begin { @[signal_name(15)] = strerror(1); @c = comm(1); @p[syscall_name(9999)] = count(); }")
    comm = Path("/proc/1/comm").read_text().strip()
    assert done.maps == {"": {"Terminated": "Operation not permitted"}, "c": comm, "p": {"9999": 1}}


@pytest.mark.needs("btf")
def test_flags_of_allocations() -> None:
    types = Target.host().types()
    assert types is not None
    zero, bit = types.constant("___GFP_ZERO_BIT"), types.constant("___GFP_DMA_BIT")
    if zero is None or bit is None:
        assert printed('begin { printf("%gr %gr", 0, 0x30); }') == "0 0x30"
        return
    kernel = sum(1 << (types.constant(f"___GFP_{name}_BIT") or 0) for name in ("DIRECT_RECLAIM", "KSWAPD_RECLAIM", "IO",
                                                                             "FS"))  # fmt: skip
    script = f'begin {{ printf("%gr|%gr|%-9gr|%gr", 0, {kernel | 1 << zero}, {1 << bit}, {kernel | 1 << 40}); }}'
    assert printed(script) == "0|GFP_KERNEL|__GFP_ZERO|GFP_DMA  |GFP_KERNEL|0x10000000000"


def test_control_groups() -> None:
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    root = next(place for _, place, kind, *_ in mounts if kind == "cgroup2")
    done = traced(f'begin {{ @id = cgroupid("{root}"); @path = cgroup_path(cgroupid("{root}"), "unified");'
                  ' @none = cgroup_path(123456789); }')  # fmt: skip
    assert done.maps == {"id": os.stat(root).st_ino, "path": "unified:/", "none": ""}


def test_files_are_shown_and_commands_run(tmp_path: Path) -> None:
    (tmp_path / "7").write_text("seven\n")
    done = traced(f'begin {{ cat("{tmp_path}/%d", 7); system("echo %s; cat", "ran"); cat("{tmp_path}/%s", "none"); }}',
                  unsafe=True)  # fmt: skip
    assert done.text == "seven\nran\n"
    (warned,) = [event for event in done.events if isinstance(event, Warned)]
    assert warned.severity == "ERROR" and warned.message == f"cannot read {tmp_path}/none: No such file or directory"
    assert traced(f'begin {{ cat("{tmp_path}/7"); }}', settings={"max_cat_bytes": 3}).text == "sev"


def test_what_files_and_commands_give_cannot_drive_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "evil").write_bytes(b"\x1b[31mred\a\xff\n")
    done = traced(f'begin {{ cat("{tmp_path}/evil"); system("cat {tmp_path}/evil"); }}', unsafe=True)
    assert done.text == "\\x1b[31mred\\x07\\xff\n" * 2


def test_strings_of_an_array_are_joined() -> None:
    script = 'tracepoint:syscalls:sys_enter_execve /pid == cpid/ { join(args.argv); join(args.argv, "::"); }'
    done = command("-q", "-c", f"{sys.executable} -S -c 'pass' b '{'x' * 2000}' {' '.join('abcdefghijklmnopq')}", "-e",
                   script)  # fmt: skip
    assert done.returncode == 0, done.stderr
    whole = f"{sys.executable} -S -c pass b {'x' * 2000}"
    first, second = done.stdout.strip().splitlines()[:2]
    assert first == whole[:1024] and second == whole.replace(" ", "::", 5)[:1024]
    short = "/bin/true " + " ".join("abcdefghijklmnopqrst")
    done = command("-q", "-c", short, "-e", script)
    assert done.stdout.startswith(f"{short[:len('/bin/true ') + 29]}\n")  # sixteen strings


def test_signals_are_sent() -> None:
    got: list[int] = []
    script = (
        "tracepoint:syscalls:sys_enter_getpgid { if (args.pid == 3) { signal(\"SIGUSR1\"); } else if (args.pid == 4)"
        " { signal_thread(12); } else { $s = 10; signal($s); } }"
    )

    def act() -> None:
        for number in (3, 4, 0):
            with suppress(OSError):
                os.getpgid(number)

    before = {number: signal.signal(number, lambda number, _: got.append(number)) for number in (10, 12)}
    try:
        traced(script, act, unsafe=True)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert got == [10, 12, 10]


@pytest.mark.needs("btf")
def test_paths_of_files() -> None:
    with open("/dev/null") as file:
        script = (
            f"iter:task_file {{ if (ctx.task.tgid == {os.getpid()} && ctx.fd == {file.fileno()})"
            ' { printf("%s", path(ctx.file)); } }'
        )
        assert printed(script) == "/dev/null"
    script = "tracepoint:syscalls:sys_enter_getpgid { $t = curtask; @ = path($t.fs.pwd); }"
    assert traced(script, lambda: os.getpgid(0)).maps[""] == os.getcwd()


def test_symbols_of_the_kernel_and_the_program() -> None:
    done = traced('begin { @a = ksym(kaddr("schedule")); @b = ksym(kaddr("schedule") + 1); }')
    assert done.maps == {"a": "schedule", "b": "schedule"}
    script = (
        'uprobe:libc:strtol { @at = uaddr("strtol"); @name = usym(uaddr("strtoul")); @same = func; }'
        ' uretprobe:libc:strtol { @back = uaddr("strtol"); }'
    )
    libc = ctypes.CDLL(None)
    found = traced(script, lambda: libc.strtol(b"1", None, 10)).maps
    assert found["at"] == ctypes.cast(libc.strtol, ctypes.c_void_p).value
    assert found["name"] == "strtoul"


def test_series_by_time() -> None:
    script = (
        "tracepoint:syscalls:sys_enter_getpgid { @n++; @last = tseries(-@n, 1h, 2); @s[1] = tseries(2, 1ms, 10000,"
        ' "sum"); @mi = tseries(@n, 1s, 60, "min"); @ma = tseries(@n, 1s, 60, "max");'
        ' @av = tseries(@n, 1h, 2, "avg"); }'
    )
    with pybpf.bt.run(script, pid=os.getpid()) as running:
        for _ in range(9):
            os.getpgid(0)
        found = {name: running.maps[name] for name in ("last", "mi", "ma", "av")}
        known = {name: [each for each in found[name].value.values if each is not None] for name in found}
        (sums,) = dict(running.maps["s"].items()).values()
        assert sum(each or 0 for each in sums.values) == 18 and sums.interval == 10**6
        assert abs(sums.points[-1][0] - time.time_ns()) < 60 * 10**9
        running.maps["s"].clear()
        assert not dict(running.maps["s"].items())
    assert (known["last"][-1], min(known["mi"]), max(known["ma"])) == (-9, 1, 9)
    assert known["av"] == [5] or len(known["av"]) == 2  # the hour has changed meanwhile


def test_histograms_and_series_are_deleted_by_user_space() -> None:
    done = traced(
        "begin { @h[1, 2] = hist(3); @h[1, 2] = hist(300); @h[2, 2] = hist(1); @s[7] = tseries(1, 1s, 9); @t = hist(1);"
        " delete(@h, (1, 2)); delete(@s[7]); delete(@t); }"
    )
    assert list(done.maps["h"]) == [(2, 2)] and done.maps["s"] == {} and done.maps["t"] is None


#: script -> what is said of it, and which part of it is meant
REFUSED = {
    "begin { ntop(); }": ("ntop takes arguments as in ntop([family], address); 0 are given", "ntop()"),
    'begin { ntop("abcd"); }': ("ntop() is for an integer, or an array of 4 or 16 bytes", '"abcd"'),
    'begin { ntop("x", 1); }': ("an address family must be an integer, not a string[2]", '"x"'),
    'begin { pton("1.2.3"); }': ("'1.2.3' is no address of the internet", '"1.2.3"'),
    "begin { pton(1); }": ("an address must be text that is known when the script is compiled, in quotes", "1"),
    "begin { @ = tseries(1, 0, 5); }": ("an interval of tseries() lasts at least 1 nanosecond, not 0", "0"),
    "begin { @ = tseries(1, 1s, pid); }": ("interval and number of tseries() must be known", "pid"),
    'begin { @ = tseries(1, 1s, 5, "all"); }': ("puts values together by avg, max, min, sum, not 'all'", '"all"'),
    "begin { @ = hist(1); $x = @; }": ("what a hist() has counted is for print() alone", "@"),
    "begin { @ = stats(1); @y = (1, @); }": ("what a stats() has counted is for print() alone", "@"),
    "begin { @k[1] = lhist(1, 0, 9, 1); for ($kv : @k) { } }":
        ("what a lhist() has counted is for print() alone", "@k"),
    "begin { @k[1] = tseries(1, 1s, 5); has_key(@k, 1); }": ("which keys a tseries() has is for print() alone", "@k"),
    "begin { @k[1] = hist(1); find(@k, 1, $x); }": ("what a hist() has counted is for print() alone", "@k"),
    "begin { strstr(1, \"a\"); }": ("strstr() is for text, and this is int8", "1"),
    "begin { strcontains(\"a\"); }": ("strcontains takes arguments as in strcontains(text, part); 1 is given",
                                     'strcontains("a")'),
    "begin { strncmp(\"a\", \"b\", \"c\"); }": ("how many bytes strncmp() compares must be an integer", '"c"'),
    "begin { memcmp(1, 2, 9); }": ("this is more than the 1 bytes that int8 has", "9"),
    "begin { buf(pid); }": ("how many bytes are at a uint32 is not known; write buf(address, length)", "buf(pid)"),
    "begin { buf(pid, 5000); }": ("buf() reads 1 to 1024 bytes (max_strlen), not 5000", "5000"),
    "begin { strftime(5, 1); }": ("the format of strftime() must be text", "5"),
    'begin { strftime("", -1); }': ("a time is not negative: -1", "-1"),
    'begin { strerror("x"); }': ("what strerror() is given must be an integer", '"x"'),
    'begin { kaddr("no such"); }': ("the kernel has no symbol 'no such'", '"no such"'),
    'begin { uaddr("x"); }': ("uaddr cannot be used in begin probes; it is for uprobe, uretprobe probes", 'uaddr("x")'),
    'uprobe:libc:strtol { uaddr("nothing here"); }': ("has no symbol 'nothing here'", '"nothing here"'),
    'begin { cgroupid("/nothing"); }': ("there is no control group '/nothing': No such file", '"/nothing"'),
    'begin { getopt("n", pid); }': ("the default is a number, true, false or text that is known", "pid"),
    'begin { system("ls"); }': ("system() changes what is traced; --unsafe allows it", 'system("ls")'),
    'begin { cat("%d"); }': ("the format has 1 directive, and 0 values are given", 'cat("%d")'),
    "begin { join(comm); }": ("join() takes the address of an array of strings, such as args.argv", "comm"),
    "begin { path(pid); }": ("path() takes a struct path * or a struct file *, and this is uint32", "pid"),
    "begin { socket_cookie(pid); }": ("socket_cookie() takes a struct sock *, and this is uint32", "pid"),
    'begin { comm("x"); }': ("the id of a process must be an integer", '"x"'),
    "begin { pid(x); }": ("a pid namespace is curr_ns or init", "x"),
    'begin { debugf("x"); }': ("debugf() is not to be had here: it writes to the kernel's trace pipe", 'debugf("x")'),
    "begin { macaddr(5); }": ("macaddr() is for an array of 6 bytes, and this is int8", "5"),
}  # fmt: skip


#: the same of what --unsafe allows
UNSAFE = {
    'uprobe:libc:strtol { signal("SIGNONE"); }': ("there is no signal 'SIGNONE'", '"SIGNONE"'),
    "uprobe:libc:strtol { signal(99); }": ("there is no signal 99", "99"),
    'begin { signal("KILL"); }': ("signal cannot be used in begin probes", 'signal("KILL")'),
    "uprobe:libc:strtol { override(1); }": ("override cannot be used in uprobe probes; it is for kprobe probes",
                                            "override(1)"),
    'uprobe:libc:strtol { write_user(arg0, "abc", 9); }': ("there are 4 bytes to write, not 9", "9"),
}  # fmt: skip


@pytest.mark.parametrize("script", [*REFUSED, *UNSAFE])
def test_refused_with_a_place(script: str) -> None:
    with pytest.raises(CompileError) as caught:
        pybpf.bt.compile_script(script, unsafe=script in UNSAFE)
    error, (message, part) = caught.value, {**REFUSED, **UNSAFE}[script]
    assert message in error.message
    assert script[error.column - 1 : error.end_column - 1] == part
