"""Every program of ``docs/kernel-layer.md`` runs, and prints what it should."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from pybpf.sys.features import has

pytestmark = [pytest.mark.root, pytest.mark.needs("raw_tp")]
PAGE = Path(__file__).parents[2] / "docs" / "kernel-layer.md"
PROGRAMS = re.findall(r"^## (.*?)$(?:(?!^## ).)*?^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
#: heading -> what its program prints
PRINTED = {
    "A program, a map and a link": r"rawtracepoint:task_newtask (0|None)\n3\n",
    "Events": r"5 7 0\n",
    "Maps": r"first 101 None 150\n100 True False\n1 new\nTrue True\n",
    "Pins": r"10 rawtracepoint:task_newtask True\n",
    "What the kernel can do, and errors": r"True yes\nR3 !read_ok \| r0 = r3 \| wrong\.s:1: r0 = r3\n"
    r"there is no raw tracepoint 'task_newtaks' in this kernel.*\n",
}
#: heading -> what its program needs of the kernel
NEEDED = {"A program, a map and a link": ["map_value"], "Events": ["ringbuf", "test_run_raw_tp"], "Pins": ["link_ids"]}


def test_all_programs_are_known() -> None:
    assert [title for title, _ in PROGRAMS] == list(PRINTED)
    assert len(PROGRAMS) == PAGE.read_text().count("```python\n")


@pytest.mark.parametrize(("title", "program"), PROGRAMS, ids=[title for title, _ in PROGRAMS])
def test_program(title: str, program: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lacking = [feature for feature in NEEDED.get(title, ()) if not has(feature)]
    if lacking:
        pytest.skip(f"kernel lacks {lacking[0]}")
    path = tmp_path / "program.py"
    path.write_text(program)
    runpy.run_path(str(path), run_name="__main__")
    out, err = capsys.readouterr()
    assert re.fullmatch(PRINTED[title], out) and not err, out
