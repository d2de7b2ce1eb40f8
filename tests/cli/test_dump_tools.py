"""``pybpf dump`` of the bundled tools."""

from __future__ import annotations

from pathlib import Path

import pytest

from pybpf.cli import main


@pytest.mark.root
@pytest.mark.needs("tracepoint")
@pytest.mark.parametrize("tool", ["opensnoop", "programs/opensnoop.py"])
def test_a_tool_by_name_and_by_file(tool: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It runs up to where it attaches its probes, with the options that it is given."""
    name = str(Path(__file__).parents[2] / tool) if "/" in tool else tool
    arguments = ["--pass", "lines", name, "--", "--uid", "4242"]
    assert main(["dump", *arguments]) == 0
    shown = capsys.readouterr().out
    assert "syscalls:sys_enter_openat: entered()" in shown and hex(4242) in shown
    assert main(["dump", name, "--", "--no-such-option"]) == 1
    assert "unrecognized arguments: --no-such-option" in capsys.readouterr().err
