"""Imports: other scripts, C headers and directories of them become part of a script."""

from __future__ import annotations

import os
import stat

from pybpf.bt.expand.clone import shift
from pybpf.bt.syntax import tree
from pybpf.bt.syntax.parse import parse
from pybpf.errors import CompileError

__all__ = ["import_all"]

_SCRIPT, _HEADER, _PROGRAM = ".bt", ".h", ".bpf.c"


def import_all(script: tree.Script, directory: str) -> None:
    """Put what a script imports into it, and what that imports.

    :param directory: where relative paths start.
    :raises CompileError: there is no such file, or it is no script; points at the import, or into the file.
    """
    _Imports(script).of(script.imports, directory)


class _Imports:
    """The imports of one script.

    :ivar seen: the real paths of what has been imported: each is once.
    """

    def __init__(self, script: tree.Script) -> None:
        self.script = script
        self.seen: set[str] = set()

    def of(self, imports: list[tree.Import], directory: str) -> None:
        """Import what stands in a file of a directory."""
        for each in imports:
            path = os.path.realpath(os.path.join(directory, each.path))
            try:
                self._import(each, path)
            except OSError as error:
                self.script.source.fail(each.span, f"cannot import {each.path!r}: {error.strerror}")

    def _import(self, node: tree.Import, path: str) -> None:
        if os.path.isdir(path):
            names = sorted(os.listdir(path))
            for name in names:
                if name.endswith((_SCRIPT, _HEADER)):
                    self._file(node, os.path.join(path, name))
            if not any(name.endswith((_SCRIPT, _HEADER)) for name in names):
                self.script.source.fail(node.span, f"the directory {node.path!r} has no .bt and no .h files")
            return
        self._file(node, path)

    def _file(self, node: tree.Import, path: str) -> None:
        if path in self.seen:
            return
        self.seen.add(path)
        source = self.script.source
        if path.endswith(_PROGRAM):
            source.fail(node.span, f"{node.path!r} is C for clang, which is not needed here; write a macro")
        if not path.endswith((_SCRIPT, _HEADER)):
            source.fail(node.span, f"{node.path!r} is neither a .bt nor a .h file")
        if os.stat(os.path.dirname(path)).st_mode & stat.S_IWOTH:
            source.fail(node.span, f"anybody can write to the directory of {node.path!r}: it is not safe to import")
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
        base = source.include(text, path)
        if path.endswith(_HEADER):
            self.script.c_text.append(tree.CText((base, base + len(text)), text))
            return
        found = parse(text, path)
        if found.settings:
            raise CompileError("a script that is imported has no config block; set it in the script that imports", path)
        shift([found.c_text, found.imports, found.probes, found.macros, found.functions, found.maps], base)
        self.of(found.imports, os.path.dirname(path))
        for name in ("c_text", "probes", "macros", "functions", "maps"):
            getattr(self.script, name)[:0] = getattr(found, name)
