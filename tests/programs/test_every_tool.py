"""What is true of every bundled tracer: help, wrong options, privileges, probes that are missing, how it ends."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pybpf.cli.tools import tool_names
from pybpf.compiler.target import Target
from pybpf.errors import BpfError, UnsupportedError
from pybpf.lang import Tracer
from pybpf.tool import TOPICS, FirstOf, SyscallProbes, places
from pybpf.tool.command import examples_of, options_of, parse, parser_of
from pybpf.tool.declare import Tool
from pybpf.tool.man import page
from pybpf.tool.run import Run
from tests.programs.cases import ARGUMENTS, TOOLS, Running, command, complaints, has, measured, run

every_tool = pytest.mark.parametrize("tool", TOOLS.values(), ids=TOOLS)
#: tools that can be told to trace one process only
of_a_process = pytest.mark.parametrize(
    "tool", [t for t in TOOLS.values() if has(t, "pid") and t.needs], ids=lambda tool: tool.name
)
ABSENT = "999999999"


@pytest.fixture
def quiet() -> Iterator[int]:
    """A process that does nothing: its id."""
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    yield process.pid
    process.communicate()


def arguments(tool: Tool, pid: int) -> list[str]:
    return [*ARGUMENTS.get(tool.name, ()), "--pid", str(pid)]


# --- what it says of itself


@pytest.mark.native
@every_tool
def test_help_has_everything(tool: Tool) -> None:
    text = parser_of(tool).format_help()
    for option in options_of(tool):
        assert all(flag in text for flag in option.flags if flag.startswith("-")), option
    assert 2 <= len(tool.examples) <= 6 and "examples:" in text
    assert "attaches to:" in text and "needs: " in text
    assert all(need in text for need in tool.needs)
    assert max(map(len, text.splitlines())) < 400


@pytest.mark.pure
@every_tool
def test_its_words_are_in_order(tool: Tool) -> None:
    assert tool.topic in TOPICS
    assert tool.summary[0].islower() and not tool.summary.endswith(".") and len(tool.summary) < 70
    assert tool.probes
    flags = [flag for option in options_of(tool) for flag in option.flags]
    assert len(flags) == len(set(flags)), "a flag is there twice"
    assert all(option.settings.get("help") for option in options_of(tool))


@pytest.mark.pure
@every_tool
def test_examples_can_be_typed(tool: Tool) -> None:
    for example in examples_of(tool):
        words = shlex.split(example.arguments)
        here = [str(os.getpid()) if words[i - 1] in ("-p", "--pid") and i else word for i, word in enumerate(words)]
        parse(tool, here)


@pytest.mark.pure
def test_the_list_has_all_of_them() -> None:
    text = run_pybpf().stdout
    for tool in TOOLS.values():
        assert f"  {tool.name:<15}{tool.summary}\n" in text
    assert list(TOOLS) != [] and set(TOOLS) == set(tool_names())


def run_pybpf(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "pybpf", *arguments], capture_output=True, text=True, timeout=60)


@pytest.mark.pure
def test_the_documentation_has_them_right() -> None:
    text = (Path(__file__).parents[2] / "docs" / "tools.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", text, re.MULTILINE))
    assert len(rows) > 5 and {name: TOOLS[name].summary for name in rows} == rows


@pytest.mark.pure
def test_a_misspelt_tool_is_suggested() -> None:
    found = run_pybpf("opensnop")
    assert found.returncode == 2 and "did you mean 'opensnoop'?" in found.stderr


@pytest.mark.pure
@every_tool
def test_manual_page(tool: Tool) -> None:
    text = page(tool)
    assert text.startswith(".TH ") and all(f".SH {part}" in text for part in ("NAME", "OPTIONS", "EXAMPLES", "PROBES"))
    if shutil.which("groff"):
        groff = ["groff", "-man", "-Tutf8", "-ww"]
        made = subprocess.run(groff, input=text, capture_output=True, text=True, check=True)
        assert not made.stderr and tool.summary.split()[0] in made.stdout


@pytest.mark.pure
def test_bash_completes_commands_and_options(tmp_path: Any) -> None:
    if not shutil.which("bash"):
        pytest.skip("there is no bash")
    script = run_pybpf("completion", "bash").stdout
    ask = (
        'source "$1"; COMP_WORDS=(pybpf "${@:2}"); COMP_CWORD=$(($# - 1)); _pybpf; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    file = tmp_path / "pybpf.bash"
    file.write_text(script)

    def complete(*words: str) -> list[str]:
        bash = ["bash", "-c", ask, "bash", str(file), *words]
        done = subprocess.run(bash, capture_output=True, text=True, check=True)
        return done.stdout.split()

    assert complete("opens") == ["opensnoop"]
    assert complete("opensnoop", "--full") == ["--full-path"]
    assert set(tool_names()) <= set(complete(""))


@pytest.mark.pure
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_option(shell: str) -> None:
    script = run_pybpf("completion", shell).stdout
    for tool in TOOLS.values():
        for option in options_of(tool):
            for flag in option.flags:
                if flag.startswith("--"):
                    assert (f"-l {flag[2:]}" if shell == "fish" else flag) in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True, capture_output=True)


# --- wrong use


@pytest.mark.pure
@every_tool
def test_an_unknown_option_is_refused(tool: Tool) -> None:
    found = run(tool.name, *ARGUMENTS.get(tool.name, ()), "--no-such-option")
    assert found.returncode == 2 and "--no-such-option" in found.stderr and "Traceback" not in found.stderr


NUMBERS = ("0", "-1", str(2**31), str(2**64), "10" * 12, "\uff19", "1e9", "")


@pytest.mark.native
@pytest.mark.root
@every_tool
def test_numbers_that_are_too_large_or_too_small(tool: Tool, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is refused in a line, or taken: then the tool can be compiled with it."""
    for option in options_of(tool):
        if option.flags[0].startswith("-") and getattr(option.settings.get("type"), "__name__", "") in NUMERIC:
            for number in NUMBERS:
                words = [*ARGUMENTS.get(tool.name, ()), f"{option.flags[-1]}={number}"]
                try:
                    options = parse(tool, words)
                except SystemExit as refused:
                    assert refused.code == 2 and option.flags[-1] in capsys.readouterr().err
                    continue
                try:
                    tool.trace(Rehearsal(tool, options))
                except (Compiled, BpfError):
                    continue
                raise AssertionError(f"{words} ends early")


#: types of options that are numbers
NUMERIC = {
    "bits", "buffer_size", "cpu", "int", "float", "microseconds", "milliseconds", "not_negative", "pages", "positive",
    "seconds", "size", "text_size", "whole",
}  # fmt: skip


@pytest.mark.native
@of_a_process
def test_a_process_that_does_not_exist(tool: Tool) -> None:
    found = run(tool.name, *ARGUMENTS.get(tool.name, ()), "-p", ABSENT)
    assert found.returncode == 2 and f"there is no process or thread {ABSENT}" in found.stderr
    assert not found.stdout and "Traceback" not in found.stderr


@pytest.mark.native
@pytest.mark.root
@every_tool
def test_without_privileges(tool: Tool) -> None:
    if not tool.needs:
        pytest.skip("needs none")
    user = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all",
            "--bounding-set=-all"]  # fmt: skip
    words = command(tool.name, *ARGUMENTS.get(tool.name, ()))
    found = subprocess.run([*user, *words], capture_output=True, text=True, timeout=60)
    assert found.returncode == 1 and len(found.stderr.splitlines()) == 1, found.stderr
    assert all(need in found.stderr for need in tool.needs)


@pytest.mark.native
@pytest.mark.root
@pytest.mark.needs("uprobe_multi", "tp_btf")
@every_tool
def test_what_it_says_that_it_needs_is_enough(tool: Tool) -> None:
    """Where the kernel has links for many uprobes, and types; otherwise it needs more."""
    if not tool.needs:
        pytest.skip("needs none")
    caps = ",".join(["-all", *(f"+{need[len('CAP_') :].lower()}" for need in tool.needs)])
    user = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps", caps,
            "--ambient-caps", caps, "--bounding-set", caps]  # fmt: skip
    what = ["--exec", "sleep", "0.1"] if has(tool, "exec") else ["--comm", "nobody", "--duration", "0.1"]
    words = command(tool.name, *ARGUMENTS.get(tool.name, ()), *what)
    found = subprocess.run([*user, *words], capture_output=True, text=True, timeout=60)
    assert found.returncode == 0 and not complaints(found.stderr), found.stderr


# --- probes


class Compiled(Exception):
    """The run has come as far as attaching."""


class Rehearsal(Run):
    """A run that ends where it would attach: everything is compiled then."""

    def start(self, tracer: Tracer) -> None:
        assert tracer.declared, "the tool has no probe"
        tracer.compile(Target.host())
        raise Compiled

    def __enter__(self) -> Rehearsal:
        return self

    def __exit__(self, *error: Any) -> None:
        pass


def rehearse(tool: Tool, *options: str) -> None:
    run = Rehearsal(tool, parse(tool, [*ARGUMENTS.get(tool.name, ()), *options]))
    with pytest.raises(Compiled):
        tool.trace(run)


def alternatives(tool: Tool) -> int:
    """The longest list of places that the tool has."""
    lengths = [len(each.places) for each in tool.probes if isinstance(each, FirstOf)]
    return max([*lengths, *(3 for each in tool.probes if isinstance(each, SyscallProbes))], default=0)


@pytest.mark.native
@pytest.mark.root
@every_tool
def test_every_alternative_compiles(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a kernel that has none of the places before it."""
    lists = [each for each in tool.probes if isinstance(each, FirstOf)]
    really = places.lack
    for number in range(alternatives(tool)):
        chosen = {each.places[min(number, len(each.places) - 1)] for each in lists if not each.optional or each.find()}
        if any("(" in place and really(place) for place in chosen):
            continue  # this kernel's has no such parameter

        def lack(place: str, number: int = number, chosen: set[str] = chosen) -> str:
            way = next((i for i, way in enumerate(WAYS) if place.startswith(way)), -1)
            return "" if place in chosen or way == min(number, len(WAYS) - 1) else "not here"

        monkeypatch.setattr(places, "lack", lack)
        rehearse(tool)


#: how the places of SyscallProbes begin, in their order
WAYS = ("tracepoint:syscalls:sys_enter_", "kprobe:__", "raw_tracepoint:sys_enter")


@pytest.mark.native
@pytest.mark.root
@every_tool
def test_without_its_probes_it_says_so(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not alternatives(tool) or all(getattr(each, "optional", False) for each in tool.probes):
        pytest.skip("it chooses its probes by its options")
    monkeypatch.setattr(places, "lack", lambda place: "not here")
    with pytest.raises(UnsupportedError) as caught:
        tool.trace(Rehearsal(tool, parse(tool, list(ARGUMENTS.get(tool.name, ())))))
    text = str(caught.value)
    assert "this kernel" in text and "not here" in text and "\n" not in text
    assert isinstance(caught.value, BpfError)


@pytest.mark.root
@of_a_process
def test_it_attaches_and_says_to_what(tool: Tool, quiet: int) -> None:
    """And what it prints as JSON is JSON. It takes less than 40 MB of memory."""
    as_json = ["--json"] if has(tool, "json") else []
    found, memory = measured(tool.name, *arguments(tool, quiet), "--duration", "0.1", "--verbose", *as_json)
    assert memory < 40 or os.environ.get("PYBPF_VM")
    assert found.returncode == 0 and f"{tool.name}: attached to " in found.stderr, found.stderr
    assert not complaints(found.stderr)
    if as_json:
        for line in found.stdout.splitlines():
            assert isinstance(json.loads(line), dict)


# --- ends


@pytest.mark.native
@pytest.mark.root
@of_a_process
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_well(tool: Tool, number: signal.Signals, quiet: int) -> None:
    process = subprocess.Popen(command(tool.name, *arguments(tool, quiet)), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)  # fmt: skip
    _wait_for_handlers(process.pid)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert not complaints(err)


def _wait_for_handlers(pid: int) -> None:
    """Until a process handles SIGTERM: before, it dies of it, as any does."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with open(f"/proc/{pid}/status") as file:
            caught = next(line.split()[1] for line in file if line.startswith("SigCgt:"))
        if int(caught, 16) & 1 << (signal.SIGTERM - 1):
            return
        time.sleep(0.02)
    raise AssertionError("it handles no signal")


@pytest.mark.native
@pytest.mark.root
@of_a_process
def test_the_end_of_the_process_ends_it(tool: Tool) -> None:
    process = subprocess.Popen(["sleep", "60"])
    running = Running(tool.name, *arguments(tool, process.pid))
    running.attached()
    process.kill()
    running.wait()
    process.wait()


@pytest.mark.native
@pytest.mark.root
@of_a_process
def test_the_end_of_the_command_ends_it(tool: Tool) -> None:
    if not has(tool, "exec"):
        pytest.skip("runs no command")
    found = run(tool.name, *ARGUMENTS.get(tool.name, ()), "--exec", "sleep", "0.1")
    assert found.returncode == 0, found.stderr


@pytest.mark.native
@pytest.mark.root
@of_a_process
def test_a_closed_pipe_ends_it_quietly(tool: Tool, quiet: int) -> None:
    """Also if it has nothing to print."""
    process = subprocess.Popen(command(tool.name, *arguments(tool, quiet)), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)  # fmt: skip
    assert process.stdout and process.stderr
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert not complaints(process.stderr.read())
    process.stderr.close()
