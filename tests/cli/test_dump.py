"""``pybpf dump``: every stage of the probes of a script, without loading them."""

from __future__ import annotations

import sys
from glob import glob
from pathlib import Path

import pytest

from pybpf import Tracer
from pybpf.cli import main

pytestmark = pytest.mark.pure

_SCRIPT = '''
import sys
from pybpf import Tracer, u64
from pybpf.lang import pid

tracer = Tracer(pid=7)
hits = tracer.array(u64, 4)

@tracer.uprobe("libc.so.6", "getppid")
def first():
    if pid() > 5:
        hits[1] += 1

@tracer.profile(hz=99)
def second():
    print(f"{pid()}")

if __name__ == "__main__":
    sys.exit("must not run")
'''


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "script.py"
    path.write_text(_SCRIPT)
    return str(path)


def test_all_stages_of_all_probes(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dump", script, "--kernel", "5.10"]) == 0
    text = capsys.readouterr().out
    assert text.count("# uprobe:libc.so.6:getppid: first()\n") == text.count("# profile:99Hz: second()\n") == 1
    stages = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    half = len(stages) // 2
    assert stages[:half] == stages[half:]
    assert stages[:2] == ["python", "source"] and stages[half - 3 : half] == ["select", "code", "lines"]
    assert "hits[1] += 1" in text and "atomic" in text and "lock *(u64 *)" in text


def test_one_stage_of_one_probe(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dump", script, "--kernel", "5.10", "--probe", "first", "--pass", "lines"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["# uprobe:libc.so.6:getppid: first()", "## lines"]
    row = next(line for line in lines if "hits[1] += 1" in line)
    assert row.startswith("   12 hits[1] += 1 ") and " | " in row


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--probe", "third"], "has no probes named 'third'"),
        (["--pass", "magic"], "there is no stage 'magic'; the stages are python, source, "),
    ],
)
def test_what_is_not_there(
    script: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dump", script, "--kernel", "5.10", *arguments]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("x = ", "SyntaxError"),
        ("", "makes no Tracer, neither imported nor run as a program"),
    ],
)
def test_scripts_that_cannot_be_run(
    tmp_path: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "script.py"
    path.write_text(text)
    assert main(["dump", str(path), "--kernel", "5.10"]) == 1
    assert message in capsys.readouterr().err


def test_no_such_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dump", "/nowhere.py"]) == 1
    assert "No such file" in capsys.readouterr().err


@pytest.mark.root
@pytest.mark.needs("uprobe")
@pytest.mark.parametrize(
    "text",
    [
        "with tracer:\n    raise SystemExit('it traced')",
        "try:\n    tracer.attach()\nexcept Exception:\n    pass\nraise SystemExit('it traced')",
        "def own():\n    pass\ndef main():\n    other = Tracer()\n    other.interval(1)(own)\n    with other:\n"
        "        pass\nmain()",
    ],
)
def test_a_script_that_traces_is_stopped_before(
    text: str, script: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is loaded, attached, or done behind that; the tracers that there are by then are shown."""

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a program was loaded")

    monkeypatch.setattr("pybpf.prog.program.Program.load", refuse)
    Path(script).write_text(_SCRIPT + text)
    assert main(["dump", script, "--kernel", "6.1"]) == 0
    shown = capsys.readouterr().out
    assert "getppid: first()" in shown and ("interval:1s: own()" in shown) == ("other" in text)
    with Tracer() as tracer:  # the command is over: tracers can be attached again
        assert not tracer.closed


def test_a_script_finds_what_is_beside_it_and_itself(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(script).with_name("beside_it.py").write_text("NUMBER = 3\n")
    more = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom typing import ClassVar\n"
        "import beside_it\n"
        "@dataclass\nclass Settings:\n    number: ClassVar[int] = beside_it.NUMBER\n"
    )
    Path(script).write_text(more + _SCRIPT.replace("hits[1] += 1", "hits[Settings.number] += 1"))
    before = sys.path[:]
    assert main(["dump", script, "--kernel", "6.1", "--probe", "first", "--pass", "code"]) == 0
    assert " = 3\n" in capsys.readouterr().out
    assert sys.path == before and "<pybpf dump>" not in sys.modules


@pytest.mark.root
@pytest.mark.parametrize(("example", "function"), [
    ("opens", "on_enter"), ("syscall_latency", "on_exit"), ("malloc_stacks", "on_malloc"),
    ("postgres_trace", "on_done"),
])  # fmt: skip
def test_examples(example: str, function: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Those that make their tracer in main(), too; what they print is not in the way."""
    path = Path(__file__).parents[2] / "examples" / f"{example}.py"
    if example == "postgres_trace" and not glob("/usr/lib/postgresql/*/bin/postgres"):
        pytest.skip("there is no PostgreSQL")
    assert main(["dump", str(path), "--kernel", "5.10", "--pass", "lines", "--probe", function]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("# ") and f": {function}()\n## lines\n" in captured.out
    assert "give --btf FILE for others" in captured.err


def test_a_program_gets_its_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "program.py"
    path.write_text(_SCRIPT.replace("Tracer(pid=7)", "Tracer(pid=int(sys.argv[2]))"))
    assert main(["dump", str(path), "--kernel", "5.10", "--probe", "first", "--", "-p", "4711"]) == 0
    assert "4711" in capsys.readouterr().out


def test_a_script_without_tracer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "none.py"
    path.write_text("print('nothing')\n")
    assert main(["dump", str(path)]) == 1
    assert "makes no Tracer, neither imported nor run as a program" in capsys.readouterr().err
