"""The command line of ``pybpf bt``: options, settings of the environment, listing, endings, exit codes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pybpf.bt.command.environment import settings_of
from pybpf.bt.command.main import main
from pybpf.bt.command.options import HELP, OPTIONS, Options, UsageError, read_options
from pybpf.errors import BpfError
from tests.attach.targets import Caller

ROOT = Path(__file__).parents[2]


def bt(*words: str, stdin: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pybpf", "bt", *words]
    return subprocess.run(
        command, cwd=ROOT, input=stdin, capture_output=True, text=True, timeout=120, env={**os.environ, **environment}
    )


def start(*words: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pybpf", "bt", *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, env={**os.environ, **environment})


# reading


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["a.bt", "1", "x"], {"file": "a.bt", "words": ["1", "x"]}),
        (["-e", "begin{}", "5"], {"program": "begin{}", "words": ["5"]}),
        (["a.bt", "-v", "5"], {"file": "a.bt", "verbose": True, "words": ["5"]}),
        (["a.bt", "--", "-v", "--all", "--pid=7", "x"],
         {"file": "a.bt", "verbose": False, "words": ["-v", "x"], "named": {"all": "1", "pid": "7"}}),
        (["-lv", "kprobe:x"], {"listing": True, "verbose": True, "words": ["kprobe:x"]}),
        (["-p", "12", "-qkfjson", "-Bfull", "-"],
         {"pid": 12, "quiet": True, "losses": True, "format": "json", "buffering": "full", "file": "-"}),
        (["-d", "a.bt"], {"file": "a.bt", "stages": {"ast", "types", "codegen", "codegen-opt", "dis", "verifier"}}),
        (["-dd", "a.bt"], {"file": "a.bt"}),
        (["-d", "ast,dis", "a.bt"], {"file": "a.bt", "stages": {"ast", "dis"}}),
        (["--unsafe", "--no-warnings", "--dry-run", "--kernel", "5.10", "a.bt"],
         {"unsafe": True, "warnings": False, "dry_run": True, "kernel": "5.10"}),
        (["-I", "a", "-Ib", "--include", "c.h", "a.bt"],
         {"file": "a.bt", "directories": ["a", "b"], "includes": ["c.h"]}),
        (["--cmd", "ls -l", "--output=f", "a.bt"], {"command": "ls -l", "output": "f"}),
        (["--usdt-file-activation", "--no-feature", "kprobe_multi", "-b", "a.bt"], {"file": "a.bt"}),
    ],
)  # fmt: skip
def test_words_are_read(words: list[str], wanted: dict[str, object]) -> None:
    found = read_options(words)
    assert {name: getattr(found, name) for name in wanted} == wanted


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "there is nothing to run: give a file, or a script by -e"),
        (["-x"], "option -x not recognized"),
        (["--unsave", "a"], "option --unsave not recognized; did you mean --unsafe?"),
        (["-f", "xml", "a"], "the format (-f) is text or json, not 'xml'"),
        (["-B", "some", "a"], "buffering (-B) is line, full or none, not 'some'"),
        (["-p", "0", "a"], "-p wants the number of a process, not '0'"),
        (["-p", "12x", "a"], "-p wants the number of a process, not '12x'"),
        (["-p", "1", "-c", "ls", "a"], "-p and -c exclude each other: what is traced is either there or to be started"),
        (["-p", "99999999", "a"], "there is no process 99999999"),
        (["-d", "bogus", "-e", "begin { }"],
         "-d knows no stage 'bogus'; there are ast, types, codegen, codegen-opt, dis, verifier, all, parse, libbpf"),
        (["--debug", "asm", "a"],
         "-d knows no stage 'asm'; there are ast, types, codegen, codegen-opt, dis, verifier, all, parse, libbpf"),
        (["-l", "a", "b"], "-l takes one search, or one script"),
        (["--kernel", "5.10", "a"], "--kernel describes another kernel: it needs --dry-run or -d"),
        (["--emit-llvm", "f", "a"],
         "there is no LLVM here: -d codegen shows the intermediate code of pybpf's compiler"),
        (["-e"], "option -e requires argument"),
    ],
)  # fmt: skip
def test_wrong_words_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_options(words)
    assert str(caught.value) == message


def test_every_option_is_told_or_means_nothing() -> None:
    """The help names each option that does something, and no name is there twice."""
    names = [name for option in OPTIONS for name in option.names]
    assert len(names) == len(set(names))
    for option in OPTIONS:
        before, after = Options(), Options()
        try:
            option.take(after, {"-p": "7", "-f": "json", "-B": "full", "-d": "ast"}.get(option.names[0], "some"))
        except UsageError:
            continue  # refused, with a reason
        told = any(re.search(rf"(^  |, ){name}\b", HELP, re.MULTILINE) for name in option.names)
        assert told == (before != after), option.names


def test_settings_of_the_environment() -> None:
    assert settings_of({
        "BPFTRACE_MAX_STRLEN": "200", "BPFTRACE_MAP_KEYS_MAX": "9", "BPFTRACE_STACK_MODE": "perf", "HOME": "/",
        "BPFTRACE_PRINT_MAPS_ON_EXIT": "false", "BPFTRACE_BTF": "/x", "BPFTRACE_NO_CPP_DEMANGLE": "1",
    }) == {
        "max_strlen": 200, "max_map_keys": 9, "stack_mode": "perf", "print_maps_on_exit": False, "cpp_demangle": False,
    }  # fmt: skip
    for name, text, kind in (("MAX_STRLEN", "-1", "a number"), ("PRINT_MAPS_ON_EXIT", "maybe", "true or false")):
        with pytest.raises(BpfError, match=f"BPFTRACE_{name} is {kind}, not '{text}'"):
            settings_of({f"BPFTRACE_{name}": text})


# without root


def test_usage_goes_to_stderr() -> None:
    done = bt()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("usage: pybpf bt [options] FILE")
    done = bt("--nothing")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "pybpf bt: option --nothing not recognized; --help lists the options\n"


def test_version_help_and_canonical_form() -> None:
    assert re.fullmatch(r"pybpf \S+, for scripts of bpftrace v0\.\d+\.\d+\n", bt("-V").stdout)
    assert bt("--help").returncode == 0
    done = bt("--fmt", "-e", "BEGIN{@x=1;exit()}")
    assert done.stdout == "begin\n{\n    @x = 1;\n    exit()\n}\n"


def test_errors_point_into_the_script() -> None:
    done = bt("--dry-run", "--kernel", "6.8/x86_64", "-e", "begin { $x = foo; }", BPFTRACE_COLOR="never")
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert lines[0].startswith("stdin:1:14-17: ERROR: there is no builtin or constant 'foo'")
    assert lines[1:] == ["begin { $x = foo; }", "             ~~~"]
    coloured = bt("--dry-run", "--kernel", "6.8/x86_64", "-e", "begin { $x = foo; }", BPFTRACE_COLOR="always")
    assert "\x1b[31mERROR: \x1b[0m" in coloured.stderr


def test_compiled_for_another_kernel() -> None:
    """Without privileges, and without that kernel."""
    script = "tracepoint:sched:sched_switch { @[comm] = count(); }"
    done = bt("-d", "codegen,dis", "--kernel", "5.10/aarch64", "-e", "kprobe:f { @[comm] = count(); }")
    assert done.returncode == 0, done.stderr
    assert "Intermediate code of kprobe:f: source\n" in done.stdout
    assert "Bytecode of kprobe:f: code\n" in done.stdout
    assert "call bpf_get_current_comm" in done.stdout or "get_current_comm" in done.stdout
    assert bt("--dry-run", "--kernel", "6.1/sparc", "-e", script).returncode == 1


TRIALS = """
begin { printf("begin\\n"); }
test:good { @a = 1; }
test:bad { printf("say %d\\n", 3); return 1; }
test:error { errorf("no %d\\n", 5); }
test:exits { exit(2); }
bench:count { @c = count(); }
bench:skipped { return 1; }
"""


def test_test_probes_are_run() -> None:
    done = bt("--test", "-e", TRIALS)
    lines = re.sub(r"\(\d+ [mu]?n?s\)", "(T)", done.stdout).splitlines()
    assert (done.returncode, lines) == (1, [
        "begin",
        "[==========] Running 4 tests.",
        "[ RUN      ] good", "[       OK ] good (T)",
        "[ RUN      ] bad", "say 3", "[  FAILED  ] bad (T)",
        "[ RUN      ] error", "stdin:5:14-34: ERROR: no 5", "[  FAILED  ] error (T)",
        "[ RUN      ] exits", "[  FAILED  ] exits (T)",
        "[==========] 4 tests ran.", "[  PASSED  ] 1 test.", "[  FAILED  ] 3 tests, listed below:",
        "[  FAILED  ] bad", "[  FAILED  ] error", "[  FAILED  ] exits",
    ])  # fmt: skip
    done = bt("--mode=test", "--probe-filter", "go+d", "-f", "json", "-e", TRIALS)
    _, result = map(json.loads, done.stdout.splitlines())
    assert result["type"] == "test_result" and done.returncode == 0
    assert {**result["data"]["good"], "duration": 0} == {"duration": 0, "passed": True, "output": ""}


def test_bench_probes_are_measured() -> None:
    done = bt("--bench", "-e", TRIALS)
    _, heading, line, *results = done.stdout.splitlines()
    assert (heading.split(), line, done.returncode) == (["Benchmark", "Time(ns)", "Iterations"], "-" * 66, 0)
    (name, time_of_one, runs) = results[0].split()
    assert name == "count" and int(time_of_one) > 0 and int(runs) > 1 and len(results) == 1


@pytest.mark.parametrize("words, says", [
    (["-e", "test:x { }"], "no probes attached; use --test to run test probes"),
    (["--test", "-e", "bench:x { }"], "the script has no test probes"),
    (["--test", "--probe-filter", "zz", "-e", "test:x { }"], "the script has no test probes of that name"),
    (["--test", "--probe-filter", "(", "-e", "test:x { }"], "--probe-filter is no regular expression"),
    (["--bench", "-e", "bench:x { errorf(\"no\"); }"], "failed: x"),
])  # fmt: skip
def test_trials_that_are_not_there(words: list[str], says: str) -> None:
    with pytest.raises(BpfError, match=re.escape(says)):
        main(words)


def test_files_of_c_are_included(tmp_path: Path) -> None:
    (tmp_path / "x.h").write_text("#define LIMIT 7\nenum color { RED = 1, GREEN };\nstruct pair { int a; int b; };\n")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "y.h").write_text("#define MORE (LIMIT + 1)\n")
    script = tmp_path / "s.bt"
    script.write_text(
        '#include <linux/sched.h>\n#include "x.h"\n'
        'BEGIN { printf("%d %d %d %d %d\\n", LIMIT, GREEN, sizeof(struct pair), MORE, AF_INET); exit(); }\n'
    )
    done = bt("-I", str(tmp_path / "more"), "--include", "y.h", str(script))
    assert (done.stdout.split("\n")[0], done.returncode) == ("7 2 8 8 2", 0)
    done = bt("--include", "y.h", "--dry-run", str(script))
    assert done.stderr == "pybpf bt: there is no file 'y.h' here; -I DIRECTORY says where else to look\n"


def test_files_that_are_not_there() -> None:
    done = bt("/nonexistent.bt")
    assert (done.returncode, done.stderr) == (1, "pybpf bt: No such file or directory: /nonexistent.bt\n")
    done = bt("-o", "/no/out", "--fmt", "-e", "begin{}")
    assert (done.returncode, done.stderr) == (1, "pybpf bt: cannot write to /no/out: No such file or directory\n")


# with root


@pytest.mark.root
def test_arguments_and_exit_code() -> None:
    script = 'begin { printf("%s %d %d\\n", str($1), $2, $#); exit(3); }'
    done = bt("-q", "-e", script, "foo", "7")
    assert (done.returncode, done.stdout, done.stderr) == (3, "foo 7 2\n\n\n", "")


@pytest.mark.root
def test_scripts_are_programs(tmp_path: Path) -> None:
    """``#!`` works, also under the name bpftrace."""
    link = tmp_path / "bpftrace"
    link.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from pybpf.cli import process_bt\nprocess_bt()\n"
    )
    script = tmp_path / "hello.bt"
    script.write_text('#!/usr/bin/env bpftrace\nBEGIN { printf("hello %s\\n", str($1)); exit(); }\n')
    for each in (link, script):
        each.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [script, "there"], capture_output=True, text=True, timeout=120, env={**os.environ, "PATH": path}
    )
    assert (done.returncode, done.stdout) == (0, "hello there\n\n\n"), done.stderr
    assert done.stderr == "Attached 1 probe\n"


@pytest.mark.root
def test_output_to_a_file_and_as_json(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = bt("-f", "json", "-o", str(out), "-e", "begin { @x = 5; print(7); exit(); }")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [json.loads(line) for line in out.read_text().splitlines()] == [
        {"type": "attached_probes", "count": 1, "data": {"probes": 1}},
        {"type": "value", "data": 7},
        {"type": "map", "data": {"@x": 5}},
    ]


@pytest.mark.root
def test_whoever_waits_for_the_probes_is_told() -> None:
    done = bt("-e", "begin { printf(\"ran\\n\"); exit(); }", __BPFTRACE_NOTIFY_PROBES_ATTACHED="1")
    assert done.stdout.splitlines()[:2] == ["__BPFTRACE_NOTIFY_PROBES_ATTACHED", "ran"]


@pytest.mark.root
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_with_the_maps(number: signal.Signals) -> None:
    script = 'begin { @x = 1; } interval:s:100 { } end { printf("over\\n"); }'
    process = start("-e", script, __BPFTRACE_NOTIFY_PROBES_ATTACHED="1")
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "__BPFTRACE_NOTIFY_PROBES_ATTACHED\n"
        process.send_signal(number)
        out, error = process.communicate(timeout=60)
        assert (process.returncode, out, error) == (0, "over\n\n\n@x: 1\n", "Attached 3 probes\n")
    finally:
        process.kill()
        process.communicate()


@pytest.mark.root
def test_an_interrupt_ends_what_a_script_of_a_shell_has_in_the_background() -> None:
    """A shell has the command behind ``&`` ignore SIGINT."""
    script = 'interval:s:100 { } end { printf("over\\n"); }'
    shell = 'trap "" INT; exec "$0" -m pybpf bt "$@"'
    process = subprocess.Popen(["sh", "-c", shell, sys.executable, "-q", "-e", script], cwd=ROOT,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env={**os.environ, "__BPFTRACE_NOTIFY_PROBES_ATTACHED": "1"})  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "__BPFTRACE_NOTIFY_PROBES_ATTACHED\n"
        process.send_signal(signal.SIGINT)
        assert (*process.communicate(timeout=60), process.returncode) == ("over\n\n\n", "", 0)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.root
@pytest.mark.parametrize(("closed", "code", "says"), [
    (">&-", 1, "pybpf bt: cannot write the output: stdout is closed; -o FILE writes it to a file\n"),
    (">&- -o /dev/null", 0, ""),
    ("2>&-", 0, ""),
])  # fmt: skip
def test_closed_output_is_no_traceback(closed: str, code: int, says: str) -> None:
    script = 'begin { printf("line\\n"); exit(); }'
    words = ["sh", "-c", f'"$0" -m pybpf bt -q -e "$1" {closed}', sys.executable, script]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (code, says)


@pytest.mark.root
def test_a_signal_runs_the_probes_of_it() -> None:
    """SIGUSR1, as often as it comes; without such a probe it is nothing."""
    script = 'self:signal:SIGUSR1 { @x++; printf("got %d\\n", @x); if (@x == 2) { exit(); } }'
    process = start("-q", "-e", script, __BPFTRACE_NOTIFY_PROBES_ATTACHED="1")
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "__BPFTRACE_NOTIFY_PROBES_ATTACHED\n"
        for number in (1, 2):
            process.send_signal(signal.SIGUSR1)
            assert process.stdout.readline() == f"got {number}\n"
        assert process.communicate(timeout=60) == ("\n\n@x: 2\n", "")
    finally:
        process.kill()
        process.communicate()


@pytest.mark.root
def test_the_end_of_what_is_traced_is_the_end() -> None:
    done = bt("-c", f"{sys.executable} -c pass", "-e", "end { printf(\"over\\n\"); }")
    assert (done.returncode, done.stdout) == (0, "over\n\n\n")
    with Caller() as caller:
        script = "begin { @x = 1; } interval:s:100 { }"
        process = start("-p", str(caller.pid), "-e", script, __BPFTRACE_NOTIFY_PROBES_ATTACHED="1")
        assert process.stdout is not None
        assert process.stdout.readline() == "__BPFTRACE_NOTIFY_PROBES_ATTACHED\n"
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "\n\n@x: 1\n")


@pytest.mark.root
def test_what_a_command_starts_is_seen_too(tmp_path: Path) -> None:
    """As in bpftrace, a command limits only what is attached to a process."""
    true, work = tmp_path / "true", tmp_path / "work.sh"
    shutil.copy("/bin/true", true)
    work.write_text(f"{true}\n{true}\nexec {true}\n")
    script = f'tracepoint:syscalls:sys_enter_execve /str(args.filename) == "{true}"/ {{ @[pid == cpid] = count(); }}'
    done = bt("-q", "-c", f"sh {work}", "-e", script)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "\n\n@[true]: 1\n@[false]: 2\n")


@pytest.mark.root
def test_processes_and_commands_that_are_not_there() -> None:
    done = bt("-p", "4194303", "-e", "begin { }")
    assert (done.returncode, done.stderr) == (1, "pybpf bt: there is no process 4194303\n")
    done = bt("-c", "/nonexistent -l", "-e", "begin { }")
    assert (done.returncode, done.stderr) == (1, "pybpf bt: there is no command '/nonexistent'\n")


@pytest.mark.root
def test_a_reader_that_goes_away_ends_it() -> None:
    process = start("-q", "-e", "interval:ms:10 { printf(\"tick\\n\"); }")
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "tick\n"
    process.stdout.close()
    killer = threading.Timer(60, process.kill)
    killer.start()
    assert process.wait() == 0
    killer.cancel()
    assert process.stderr.read() == ""
    process.stderr.close()


@pytest.mark.root
def test_settings_change_what_is_read() -> None:
    done = bt("-q", "-e", 'begin { @a[1] = 1; @a[2] = 1; @a[3] = 1; exit(); }', BPFTRACE_MAX_MAP_KEYS="2")
    assert len(re.findall(r"@a\[\d\]: 1", done.stdout)) == 2
    done = bt("-qk", "-e", 'begin { @a[1] = 1; @a[2] = 1; @a[3] = 1; exit(); }', BPFTRACE_MAX_MAP_KEYS="2")
    assert done.stderr.startswith("stdin:1:9-11: WARNING: Map full; can't update element: @a has 2 entries")
    done = bt("-q", "-e", "begin { exit(); }", BPFTRACE_MAX_STRLEN="many")
    assert (done.returncode, done.stderr) == (1, "pybpf bt: BPFTRACE_MAX_STRLEN is a number, not 'many'\n")


@pytest.mark.root
def test_verbose_tells_of_programs() -> None:
    done = bt("-v", "-e", "begin { exit(); }")
    assert re.search(r"^begin: raw_tracepoint program, \d+ instructions\nAttached 1 probe\n", done.stderr)
    done = bt("-d", "verifier", "-e", "begin { exit(); }")
    assert done.stdout.startswith("Log of the verifier for begin\n-----------------------------\n")
    assert "processed" in done.stdout


@pytest.mark.root
def test_listing() -> None:
    name = "tracepoint:syscalls:sys_enter_openat"
    assert bt("-l", name).stdout == f"{name}\n"
    verbose = bt("-lv", name).stdout
    assert verbose.startswith(f"{name}\n    int __syscall_nr\n    int dfd\n    const char * filename\n")
    both = bt("-l", f"{name}, tracepoint:sched:sched_switch").stdout
    assert both == f"{name}\ntracepoint:sched:sched_switch\n"
    found = bt("-l", "*sys_enter_openat").stdout.splitlines()
    assert name in found
    assert all("sys_enter_openat" in each for each in found)
    script = bt("-l", "-e", f"{name}, begin, interval:s:1 {{ }}").stdout
    assert script == f"{name}\nbegin\ninterval:s:1\n"
    done = bt("-l", "tracepoint:no:such")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("pybpf bt: no probe matches tracepoint:no:such")


@pytest.mark.root
@pytest.mark.needs("btf_vmlinux")
def test_types_are_listed() -> None:
    assert bt("-lv", "struct list_head").stdout == (
        "struct list_head {\n    struct list_head *next;\n    struct list_head *prev;\n};\n"
    )
    assert bt("-l", "struct list_hea*").stdout == "struct list_head\n"
    assert bt("-l", "struct no_such_thing").stderr == "pybpf bt: the kernel has no type struct no_such_thing\n"


@pytest.mark.root
def test_what_the_kernel_can_do() -> None:
    done = bt("--info")
    assert done.returncode == 0
    assert "  LLVM: none\n" in done.stdout
    assert re.search(r"^Probe types\n  kprobe: (yes|no|not allowed)\n  tracepoint: yes\n", done.stdout, re.MULTILINE)


@pytest.mark.native
@pytest.mark.root
def test_warnings_of_the_script_are_lines_that_can_be_left_out() -> None:
    script = 'begin { warnf("one"); } end { warnf("two\\n"); errorf("three"); }'
    error = "stdin:1:47-62: ERROR: three\n"
    assert bt("-q", "-e", script).stderr == f"stdin:1:9-21: WARNING: one\nstdin:1:31-45: WARNING: two\n{error}"
    assert bt("-q", "--no-warnings", "-e", script).stderr == error


@pytest.mark.native
@pytest.mark.root
def test_arguments_that_are_no_numbers_are_text() -> None:
    done = bt("-q", "-e", 'begin { print(($1, $2, $1 == "four", str($1, 3))); }', "four", "5")
    assert done.stdout.strip() == "(four, 5, true, fo)", done.stderr


@pytest.mark.native
@pytest.mark.root
def test_json_is_spaced_as_bpftrace_has_it() -> None:
    script = (
        'begin { print((1, (2, "a\\"b"), true)); @a["x"] = avg(10); @a["y"] = avg(31); print(@a, 1, 10); clear(@a);'
        ' errorf("no %d", 1); @t = ((uint64)9007199254740993, (uint64)9007199254740994); @h = hist(5); }'
    )
    done = bt("-q", "-f", "json", "-e", script)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        '{"type": "value", "data": [1,[2,"a\\"b"],true]}',
        '{"type": "stats", "data": {"@a": {"y": 3}}}',
        '{"type": "errorf", "msg": "no 1", "filename": "stdin", "line": 1, "col": 107}',
        '{"type": "hist", "data": {"@h": [{"min": 4, "max": 7, "count": 1}]}}',
        '{"type": "map", "data": {"@t": ["9007199254740993",9007199254740994]}}',
    ]


@pytest.mark.native
@pytest.mark.root
def test_probes_are_chosen_by_name() -> None:
    script = "begin { @b = 1; } interval:ms:10 { @no = 1; } interval:ms:20 { @yes = 1; exit(); } end { @e = 1; }"
    assert bt("-q", "--probe-filter", ":20$", "-e", script).stdout.split() == ["@b:", "1", "@e:", "1", "@yes:", "1"]
