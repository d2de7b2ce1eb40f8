"""trace: rows of functions that a process calls on command, by predicates, formats and options."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator

import pytest

from tests.programs.cases import Running, run
from tests.programs.workload import Caller

pytestmark = [pytest.mark.root]


@pytest.fixture
def caller() -> Iterator[Caller]:
    with Caller() as made:
        yield made


def message(line: str) -> str:
    """What is behind the columns of a row."""
    return re.sub(r"^\S+ *", "", line[33:])


def messages(caller: Caller, calls: str, *arguments: str) -> list[str]:
    """What is behind the columns of the rows for some calls."""
    tool = Running("trace", "-p", str(caller.pid), *arguments)
    tool.ready("PID")
    caller.call(calls)
    return [message(line) for line in tool.stop()]


def test_columns_are_those_of_bcc(caller: Caller) -> None:
    tool = Running("trace", "-p", str(caller.pid), 'c:getpgid "pid=%d", arg1')
    assert tool.ready("PID") == "PID     TID     COMM            FUNC             -\n"
    caller.call("getpgid,7")
    (row,) = tool.stop()
    assert row == f"{caller.pid:<7} {caller.pid:<7} {caller.comm:<15} {'getpgid':<16} pid=7"
    tool = Running("trace", "-p", str(caller.pid), "-t", "-u", "-C", "c:getpgid")
    assert tool.ready("TIME") == "TIME              CPU PID     TID     COMM            FUNC\n"
    caller.call("getpgid,7")
    (row,) = tool.stop()
    assert re.fullmatch(rf"\d{{10}}\.\d{{6}} \d+ +{caller.pid} +{caller.pid} +{caller.comm} +getpgid", row)


@pytest.mark.parametrize(
    ("probe", "expected"),
    [
        ('p:c:getpgid (arg1 > 3) "%d", arg1', ["4", "5", "6"]),
        ('c:getpgid ((int)arg1 < 0) "%d %u", arg1, arg1', ["-1 4294967295"]),
        ('r:c:getpgid (retval == -1) "%d", retval', ["-1"] * 6),
        ('c:getpgid(int x) (x == 5 || x % 3 == 0 && x > 3) "%d %02x%%", x, x << 4', ["5 50%", "6 60%"]),
        ('c:atoi "<%s>", arg1', ["<42>", "<abc>"]),
        ('c:atoi(const char *s) (STRCMP("ab", s)) "%s %c", s, s[1]', ["abc b"]),
        (r'c:atoi(const char *s) (s[0] == 52) "%c%c\t\\n\x41\101", s[0], s[2]', [r"4\x00" + "\t\\nAA"]),
        ('c:atoi (STRCMP({0x34, 0x32}, arg1)) "%s", arg1', ["42"]),
        ('t:syscalls:sys_enter_getpgid (args->pid == 6) "%d %d", args->pid, $tgid == $pid', ["6 1"]),
    ],
)
def test_predicates_and_formats(caller: Caller, probe: str, expected: list[str]) -> None:
    calls = "getpgid,-1 getpgid,1000000 getpgid,1000001 getpgid,1000002"
    if "retval" in probe:
        assert messages(caller, f"{calls} getpgid,-2 getpgid,-3", probe) == expected
    else:
        many = " ".join(f"getpgid,{n}" for n in range(4, 7))
        assert messages(caller, f"getpgid,-1 {many} getpgid,1 atoi,'42 atoi,'abc", probe) == [
            *([] if "arg1 > 3" not in probe else ["-1"]), *expected
        ]


def test_fields_of_tracepoints_and_the_task(caller: Caller) -> None:
    probe = 't:syscalls:sys_enter_getpgid "%s %d", $task->comm, args->pid'
    assert messages(caller, "getpgid,3", probe) == [f"{caller.comm} 3"]


@pytest.mark.needs("kprobe")
def test_functions_of_the_kernel(caller: Caller) -> None:
    prefix = "__x64_sys_" if os.uname().machine == "x86_64" else "__arm64_sys_"
    assert messages(caller, "getpgid,3", f'{prefix}getpgid "%d", arg1') == ["3"]
    assert messages(caller, "getpgid,-1", f'r::{prefix}getpgid "%d", retval') == ["-3"]
    # whose the text is says its address, whatever the kernel's types say
    found = messages(caller, "open,'/nonexistent/x,0", 'do_sys_openat2 "%d %s", dfd, filename')
    assert found == ["-100 /nonexistent/x"]


def test_two_probes_keep_their_order(caller: Caller) -> None:
    found = messages(caller, "getpgid,1 getsid,2 getpgid,3", 'c:getpgid "a%d", arg1', 'c:getsid "b%d", arg1')
    assert found == ["a1", "b2", "a3"]


def test_limits_names_and_messages(caller: Caller) -> None:
    tool = Running("trace", "-M", "3", "-p", str(caller.pid), 'c:getpgid "%d", arg1')
    tool.ready("PID")
    caller.call("getpgid,1 getpgid,2 getpgid,3 getpgid,4")
    assert [message(line) for line in tool.wait()] == ["1", "2", "3"]
    assert messages(caller, "getpgid,12 getpgid,3", "-f", "1", 'c:getpgid "%d", arg1') == ["12"]
    assert messages(caller, "getpgid,1", "-n", caller.comm[1:3], 'c:getpgid "%d", arg1') == ["1"]
    assert messages(caller, "getpgid,1", "-n", "zz", 'c:getpgid "%d", arg1') == []
    assert messages(caller, "atoi,'abcdef", "-Z", "4", 'c:atoi "%s", arg1') == ["abc"]


def test_rows_are_put_together(caller: Caller) -> None:
    tool = Running("trace", "-A", "-M", "5", "-p", str(caller.pid), 'c:getpgid "%d", arg1')
    tool.ready("PID")
    caller.call("getpgid,1*2 getpgid,2*3")
    lines = tool.wait()
    assert [message(line) if line.startswith(str(caller.pid)) else line for line in lines] == [
        "1", "-->COUNT 2", "", "2", "-->COUNT 3", "",
    ]  # fmt: skip


def test_stacks(caller: Caller) -> None:
    tool = Running("trace", "-U", "-a", "-p", str(caller.pid), 'c:getpgid "%U", arg1')
    tool.ready("PID")
    caller.call("getpgid,1")
    lines = tool.stop()
    assert re.fullmatch(r" {8}[0-9a-f]+ +getpgid\+0x[0-9a-f]+ \[libc.*\]", lines[1]) and lines[-1] == ""
    # A tracepoint of one system call shows no kernel stack before Linux 6.12: it has the registers of the process.
    tool = Running("trace", "-K", "-p", str(caller.pid), "t:raw_syscalls:sys_enter")
    tool.ready("PID")
    caller.call("getpgid,1")
    lines = tool.stop()
    assert any(re.fullmatch(r" {8}\w[\w.]*\+0x[0-9a-f]+ \[kernel\]", line) for line in lines[1:])


def test_text_cannot_drive_the_terminal(caller: Caller) -> None:
    assert messages(caller, "atoi,'a\x1b[31mb", 'c:atoi "%s", arg1') == ["a\\x1b[31mb"]


def test_json(caller: Caller) -> None:
    tool = Running("trace", "--json", "-M", "1", "-p", str(caller.pid), 'c:atoi "%s %d", arg1, 5')
    tool.attached()
    for _ in range(50):
        caller.call("atoi,'42")
        if tool.process.poll() is not None:
            break
    (row,) = map(json.loads, tool.wait())
    assert (row["pid"], row["function"], row["message"], row["values"]) == (caller.pid, "atoi", "42 5", ["42", 5])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (['c:getpgid "%d"'], "the format takes 1 values, and 0 are given"),
        (['c:getpgid "%d", nothing'], "'nothing' means nothing here"),
        (['c:getpgid "%y", arg1'], "the format"),
        (['c:getpgid (arg1 >) "x"'], "a value is missing"),
        (["c:no_such_function"], "no_such_function"),
        (["t:syscalls:no_such_event"], "no_such_event"),
        (['t:syscalls:sys_enter_getpgid "%d", args->nothing'], "no field 'nothing'"),
        (["no_such_library:f"], "no_such_library"),
    ],
)
def test_wrong_probes_are_explained(arguments: list[str], says: str) -> None:
    found = run("trace", *arguments)
    assert found.returncode == 1 and says in found.stderr and "Traceback" not in found.stderr
