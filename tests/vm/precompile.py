"""The bytecode of a job, as the guest would write it; run by the guest's Python on the host, which is 13 times faster.

    python3 precompile.py DIRECTORY WHERE-THE-GUEST-HAS-IT

Files that pytest would rewrite get what it makes of them. What cannot be compiled here the guest compiles itself.
"""

from __future__ import annotations

import ast
import importlib.util
import marshal
import os
import py_compile
import re
import sys
from pathlib import Path


def main(root: Path, target: str) -> None:
    for path in sorted(root.rglob("*.py")):
        name = os.path.join(target, path.relative_to(root))
        if path.name == "conftest.py" or path.name.startswith("test_"):
            _rewritten(path, name)
        else:
            py_compile.compile(str(path), dfile=name, quiet=2)


def _rewritten(path: Path, name: str) -> None:
    from _pytest.assertion.rewrite import PYC_TAIL, rewrite_asserts

    source, status = path.read_bytes(), path.stat()
    if re.search(rb"^pytestmark = .*\bpytest\.mark\.(pure|native)\b", source, re.MULTILINE):  # guests do not read it
        return
    tree = ast.parse(source, filename=name)
    rewrite_asserts(tree, source, name, None)
    header = importlib.util.MAGIC_NUMBER + b"".join(
        number.to_bytes(4, "little") for number in (0, int(status.st_mtime) & 0xFFFFFFFF, status.st_size & 0xFFFFFFFF)
    )
    code = compile(tree, name, "exec", dont_inherit=True)
    made = path.parent / "__pycache__" / (path.stem + PYC_TAIL)
    made.parent.mkdir(exist_ok=True)
    made.write_bytes(header + marshal.dumps(code))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
