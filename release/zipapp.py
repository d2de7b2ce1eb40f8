"""Builds ``pybpf.pyz``: pybpf, its tracers and pyelftools in one file that any Python runs: ``zipapp.py [OUTPUT]``.

Comments and documentation strings are left out, which is a third of it; lines stay where they are, so that messages
name the right ones. The same sources give the same bytes.
"""

from __future__ import annotations

import ast
import importlib.metadata
import io
import sys
import tokenize
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

__all__ = ["build", "stripped"]

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "dist" / "pybpf.pyz"
#: what is packed: folder -> its place in the file. pybpf/programs, a link, is not followed.
FOLDERS = {ROOT / "pybpf": "pybpf", ROOT / "programs": "pybpf/programs"}
DEPENDENCY, DISTRIBUTION = "elftools", "pyelftools"
#: files of it that only a readelf wants: texts for people
LEFT_OUT = "descriptions.py"
#: the oldest time that the format knows
EPOCH = (1980, 1, 1, 0, 0, 0)
START = """\
import os
import sys

if sys.version_info < (3, 9):
    sys.exit("pybpf needs Python 3.9 or newer; this is " + sys.version.split()[0])

try:
    from pybpf.cli import process
except KeyboardInterrupt:
    os._exit(130)
process()
"""


def stripped(text: str) -> str:
    """The source without comments, and with empty documentation strings; every statement stays in its line."""
    lines = [list(line) for line in text.split("\n")]
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            _cut(lines, (row - 1, column), (row - 1, token.end[1]))
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        first = node.body[0] if node.body else None
        if ast.get_docstring(node, clean=False) is not None and isinstance(first, ast.Expr):
            string = first.value
            assert string.end_lineno is not None and string.end_col_offset is not None
            start = string.lineno - 1, _column(lines, string.lineno - 1, string.col_offset)
            end = string.end_lineno - 1, _column(lines, string.end_lineno - 1, string.end_col_offset)
            _cut(lines, start, end)
            lines[start[0]].insert(start[1], '""' if start[0] == end[0] else '"""')
            if start[0] != end[0]:
                lines[end[0]].insert(0, '"""')
    return "\n".join(map("".join, lines))


def _cut(lines: list[list[str]], start: tuple[int, int], end: tuple[int, int]) -> None:
    """Take out a stretch of text but for the ends of its lines."""
    for row in range(start[0], end[0] + 1):
        first = start[1] if row == start[0] else 0
        last = end[1] if row == end[0] else len(lines[row])
        del lines[row][first:last]


def _column(lines: list[list[str]], row: int, offset: int) -> int:
    """The column in characters of an offset in bytes."""
    return len("".join(lines[row]).encode()[:offset].decode())


def _members() -> Iterator[tuple[str, str]]:
    """(name, text) of everything in the file."""
    yield "__main__.py", START
    yield "LICENSE", (ROOT / "LICENSE").read_text("utf-8")
    folders = dict(FOLDERS)
    spec = find_spec(DEPENDENCY)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"zipapp: {DISTRIBUTION} is not installed for {sys.executable}: pip install {DISTRIBUTION}")
    folders[Path(spec.submodule_search_locations[0])] = DEPENDENCY
    for file in importlib.metadata.files(DISTRIBUTION) or ():
        if file.name.startswith("LICENSE"):
            yield f"{DEPENDENCY}/LICENSE", file.read_text("utf-8")
    for folder, place in folders.items():
        for path in folder.rglob("*.py"):
            if place == DEPENDENCY and path.name == LEFT_OUT:
                continue
            yield f"{place}/{path.relative_to(folder).as_posix()}", stripped(path.read_text("utf-8"))


def build(output: Path) -> int:
    """Write the file; returns its size in bytes."""
    members = sorted(dict(_members()).items())
    output.parent.mkdir(parents=True, exist_ok=True)
    with open(output, "wb") as file:
        file.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for name, text in members:
                archive.writestr(zipfile.ZipInfo(name, EPOCH), text, zipfile.ZIP_DEFLATED, 9)
    output.chmod(0o755)
    return output.stat().st_size


if __name__ == "__main__":
    made = Path(sys.argv[1]) if len(sys.argv) > 1 else OUTPUT
    print(f"{made}: {build(made)} bytes")
