"""Each function of the table once, with a result that is known: those of one script, in probes of their own.

A row of :data:`CALLS` belongs to each row of the table of functions, or one of :data:`ELSEWHERE`.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Union

import pytest

import pybpf.bt
from pybpf.arch import host_arch
from pybpf.bt.functions.table import FUNCTIONS, METHODS
from pybpf.bt.runtime.events import Printed
from pybpf.bt.show.text import event_text
from pybpf.errors import CompileError

pytestmark = [pytest.mark.root, pytest.mark.native]

COMM = Path("/proc/self/comm").read_text().strip()
FIRST = host_arch().arguments[0]
TEXT = ctypes.create_string_buffer(b"in the process")
#: what the function that is traced is called with, many more than it takes
ARGUMENTS = (0, ctypes.addressof(TEXT), *range(102, 112))
Expected = Union[str, "re.Pattern[str]", Callable[[str], object]]


class Call(NamedTuple):
    """What calls a function.

    :ivar body: of a probe.
    :ivar gives: what it prints: a text, a pattern, or what says whether it is right.
    :ivar probe: which probe; that of ``BEGIN`` runs once, the others when ``getpgid`` is called.
    """

    body: str
    gives: Expected
    probe: str = "begin"


def value(expression: str, gives: Expected, probe: str = "begin") -> Call:
    return Call(f'printf("%lld", {expression});', gives, probe)


def text(expression: str, gives: Expected, probe: str = "begin") -> Call:
    return Call(f'printf("%s", {expression});', gives, probe)


def near(clock: int) -> Callable[[str], bool]:
    """Whether a number is about the time of a clock."""
    return lambda found: abs(int(found) - time.clock_gettime_ns(clock)) < 3600 * 10**9


FUNCTION, RETURN, CALL = "uprobe:libc:getpgid", "uretprobe:libc:getpgid", "tracepoint:syscalls:sys_enter_getpgid"
YEAR = time.strftime("%Y")

CALLS: dict[str, Call] = {
    # who, when and where
    "pid": value("pid", str(os.getpid())),
    "tid": value("tid", str(threading.get_native_id())),
    "uid": value("uid", str(os.getuid())),
    "gid": value("gid", str(os.getgid())),
    "comm": text("comm", COMM),
    "ppid": value("ppid", str(os.getppid())),
    "pcomm": text("pcomm", lambda found: found == Path(f"/proc/{os.getppid()}/comm").read_text().strip()),
    "leader_tid": value("leader_tid", str(os.getpid())),
    "leader_comm": text("leader_comm", COMM),
    "username": text("username", pwd.getpwuid(os.getuid()).pw_name),
    "usermode": value("usermode", "1"),
    "cpid": value("cpid", "0"),
    "has_cpid": value("has_cpid", "0"),
    "cgroup": value("cgroup > 0", "1"),
    "curtask": text("((struct task_struct *)curtask).comm", COMM),
    "nsecs": value("nsecs", near(time.CLOCK_MONOTONIC)),
    "elapsed": value("elapsed", lambda found: 0 < int(found) < 3600 * 10**9),
    "jiffies": value("jiffies > 0", "1"),
    "rand": value("rand == rand", "0"),
    "cpu": value("cpu", lambda found: int(found) < os.sysconf("SC_NPROCESSORS_CONF")),
    "ncpus": value("ncpus", str(os.sysconf("SC_NPROCESSORS_ONLN"))),
    "numaid": value("numaid", lambda found: Path(f"/sys/devices/system/node/node{found}").exists() or found == "0"),
    # what the probe can tell
    "args": value("args.pid", "0", CALL),
    "retval": value("retval", str(os.getpgid(0)), RETURN),
    "ctx": value("ctx != 0", "1", CALL),
    "reg": value(f'reg("{FIRST}") == arg0', "1", FUNCTION),
    "probe": text("probe", re.compile("uprobe:/.*libc.so.6:getpgid"), FUNCTION),
    "probetype": text("probetype", "uprobe", FUNCTION),
    "func": text("func", "getpgid", FUNCTION),
    **{f"arg{index}": value(f"arg{index}", str(number), FUNCTION) for index, number in enumerate(ARGUMENTS[:10])},
    # stacks and symbols
    "kstack": value("len(kstack) > 0", "1", CALL),
    "ustack": text("ustack(perf, 1)", re.compile(r"\n\t[0-9a-f]+ (__)?getpgid\+0 \(.*libc\.so\.6\)\n"), FUNCTION),
    # text and bytes
    "str": text('str("whole", 4)', "who"),
    "strlen": value('strlen("four")', "4"),
    "strcap": value('strcap("four")', "5"),
    "default_str_length": value("default_str_length", "1024"),
    "str_concat": text('str_concat("one", " two")', "one two"),
    "assert_str": Call('assert_str("text");', ""),
    "strcontains": value('strcontains("hello", "ell")', "1"),
    "strstr": value('strstr("hello", "l")', "2"),
    "strncmp": value('strncmp("hello", "help", 3)', "0"),
    "memcmp": value('memcmp("abd", "abc", 3) > 0', "1"),
    "buf": Call('printf("%rh", buf("abc", 2));', "61 62"),
    "repeat": text('"ab".repeat(2)', "abab"),
    # addresses
    "ntop": text("ntop(0x0100007f)", "127.0.0.1"),
    "pton": text('ntop(pton("::1"))', "::1"),
    "macaddr": Call('printf("%s", macaddr(((struct mine *)arg1)->mac));', "69:6E:20:74:68:65", FUNCTION),
    "kptr": value("kptr(curtask) == curtask", "1"),
    "uptr": text("str(uptr((int8 *)arg1))", "in the process", FUNCTION),
    "bswap": value("bswap((uint16)0x1234) == 0x3412", "1"),
    "is_err": value("is_err(-5)", "1"),
    # words for numbers
    "strftime": text('strftime("%Y", nsecs)', YEAR),
    "strerror": text("strerror(2)", "No such file or directory"),
    "signal_name": text("signal_name(9)", "Killed"),
    "syscall_name": text("syscall_name(__NR_getpgid)", "getpgid"),
    # known when the script is compiled
    "getopt": value('getopt("n", 5, "a number")', "7"),
    "config": value("config.max_map_keys", "4096"),
    "is_str": value('is_str("x")', "1"),
    "is_ptr": value("is_ptr(curtask)", "1"),
    "is_array": value("is_array((uint8[4])1)", "1"),
    "is_integer": value("is_integer(pid)", "1"),
    "is_unsigned_integer": value("is_unsigned_integer(pid)", "1"),
    "is_literal": value("is_literal(3)", "1"),
    "kfunc_exist": value('kfunc_exist("no_such")', "0"),
    "kfunc_allowed": value('kfunc_allowed("no_such")', "0"),
    "fail": Call('if comptime (is_str(1)) { fail("never"); }', ""),
    "static_assert": Call('static_assert(sizeof(int32) == 4, "no");', ""),
    # aggregates, and maps that user space changes
    "count": Call("@count = count(); @count = count(); printf(\"%d\", (int64)@count);", "2"),
    "sum": Call('@sum = sum(2); @sum = sum(5); printf("%d", (int64)@sum);', "7"),
    "min": Call('@min = min(5); @min = min(2); printf("%d", (int64)@min);', "2"),
    "max": Call('@max = max(2); @max = max(5); printf("%d", (int64)@max);', "5"),
    "avg": Call('@avg = avg(2); @avg = avg(6); printf("%d", (int64)@avg);', "4"),
    "stats": Call("@stats = stats(3); print(@stats);", "@stats: { .count = 1, .average = 3, .total = 3 }\n"),
    "hist": Call("@hist = hist(5); print(@hist);", re.compile(r"@hist: ?\n\[4, 8\) +1 \|@+\|\n+")),
    "lhist": Call("@lhist = lhist(5, 0, 10, 2); print(@lhist);", re.compile(r"@lhist: ?\n\[4, 6\) +1 \|@+\|\n+")),
    "tseries": Call("@tseries = tseries(5, 1s, 5); print(@tseries);", re.compile(r"@tseries:(.*\n)+.*")),
    "delete": Call('@d[1] = 1; delete(@d, 1); printf("%d", len(@d));', "0"),
    "has_key": Call('@h[1] = 1; printf("%d%d", has_key(@h, 1), has_key(@h, 2));', "10"),
    "find": Call('@f[1] = 5; $v = 0; printf("%d%d", find(@f, 1, $v), $v);', "15"),
    "len": value('len("abc")', "3"),
    "clear": Call("@clear[1] = 1; clear(@clear); print(@clear);", ""),
    "zero": Call("@zero[1] = 1; zero(@zero); print(@zero);", "@zero[1]: 0\n"),
    # output
    "printf": Call('printf("%d%s%c", 1, "two", 51);', "1two3"),
    "errorf": Call('errorf("%d wrong", 1);', "1 wrong"),
    "warnf": Call('warnf("%d warning", 1);', "1 warning"),
    "print": Call('print((1, "two"));', "(1, two)\n"),
    "time": Call('time("%Y");', YEAR),
    "cat": Call('cat("/proc/sys/kernel/%s", "ostype");', "Linux\n"),
    "system": Call('system("echo %d", 7);', "7\n"),
    "assert": Call('assert(pid > 0, "never");', ""),
}  # fmt: skip
#: function -> the test that calls it, where that takes more than a line
ELSEWHERE = {
    "ksym": "test_bt_calls.py::test_symbols_of_the_kernel_and_the_program",
    "usym": "test_bt_calls.py::test_symbols_of_the_kernel_and_the_program",
    "kaddr": "test_bt_calls.py::test_symbols_of_the_kernel_and_the_program",
    "uaddr": "test_bt_calls.py::test_symbols_of_the_kernel_and_the_program",
    "percpu_kaddr": "test_bt_kernel.py::test_data_of_the_kernel",
    "container_of": "test_bt_run.py::test_container_of",
    "cgroupid": "test_bt_calls.py::test_control_groups",
    "cgroup_path": "test_bt_calls.py::test_control_groups",
    "path": "test_bt_calls.py::test_paths_of_files",
    "socket_cookie": "test_bt_kernel.py::test_cookies_of_sockets",
    "join": "test_bt_calls.py::test_strings_of_an_array_are_joined",
    "exit": "test_bt_run.py::test_intervals_and_exit_code",
    "signal": "test_bt_calls.py::test_signals_are_sent",
    "signal_thread": "test_bt_calls.py::test_signals_are_sent",
    "override": "test_bt_wrong.py::test_override_is_compiled",
    "arg10": "test_bt_each_function.py::test_probes_have_no_more_arguments_than_they_have",
    "arg11": "test_bt_each_function.py::test_probes_have_no_more_arguments_than_they_have",
    "write_user": "test_bt_kernel.py::test_memory_of_the_process_is_written",
}


@pytest.fixture(scope="module")
def given() -> dict[str, str]:
    """Name of a function -> what its row printed."""
    rows = (f'{each.probe} {{ printf("=={name}=="); {each.body} }}' for name, each in CALLS.items())
    script = "\n".join(["struct mine { uint8_t mac[6]; };", *rows])

    def act() -> None:
        ctypes.CDLL(None).getpgid(*(ctypes.c_uint64(each) for each in ARGUMENTS))

    with pybpf.bt.run(script, named={"n": "7"}, unsafe=True, pid=os.getpid()) as running:
        act()
        events = [*running.events(0), *running.stop()]
        told = "".join(each.text if isinstance(each, Printed) else event_text(each) for each in events)
    parts = re.split(r"==(\w+)==", told)
    return dict(zip(parts[1::2], parts[2::2]))


@pytest.mark.parametrize("name", CALLS)
def test_gives_what_it_says(name: str, given: dict[str, str]) -> None:
    found, wanted = given[name], CALLS[name].gives
    if isinstance(wanted, str):
        assert found == wanted
    elif isinstance(wanted, re.Pattern):
        assert wanted.fullmatch(found), found
    else:
        assert wanted(found), found


def test_probes_have_no_more_arguments_than_they_have() -> None:
    """arg10 and arg11 are those of USDT probes and of functions by trampoline, which may have twelve."""
    for name in ("arg10", "arg11"):
        with pytest.raises(CompileError, match=f"{FUNCTION.partition(':')[0]}:.* has no {name}; it has arg0 to arg9"):
            pybpf.bt.compile_script(f"{FUNCTION} {{ @ = {name}; }}")


@pytest.mark.pure
def test_no_function_is_left_out() -> None:
    assert not CALLS.keys() & ELSEWHERE.keys()
    assert {*CALLS, *ELSEWHERE} == {*FUNCTIONS, *METHODS}


@pytest.mark.pure
@pytest.mark.parametrize("name", ELSEWHERE)
def test_functions_have_tests_elsewhere(name: str) -> None:
    file, _, test = ELSEWHERE[name].partition("::")
    code = (Path(__file__).parent / file).read_text().partition(f"\ndef {test}(")[2].partition("\ndef ")[0]
    assert re.search(rf"\b{name}\b", code)
