"""Programs that users write pass ``mypy --strict``: the README's, those of the documentation, and the examples."""

from __future__ import annotations

import builtins
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import pytest

import pybpf.lang
from pybpf.compiler.pipeline import compile_unit
from pybpf.compiler.target import Target
from pybpf.lang.front.compile import compile_probe
from pybpf.types import Struct, bool_, char, u8, u16, u32

pytestmark = pytest.mark.native

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/library.md", "docs/language.md")

USER = '''
from __future__ import annotations

from typing import Annotated, Any

from pybpf import Struct, Tracer, char, u8, u32, u64
from pybpf.lang import *
from pybpf.lang import enum, random, signal, user_ptr


class Inner(Struct):
    count: u32
    index: u64


class Open(Struct):
    pid: u32
    failed: bool
    comm: str = char[16]
    path: Annotated[str, char[256]]
    numbers: tuple[int, ...] = u32[4]
    raw: bytes = u8[6]
    inner: Inner
    next: Annotated[Any, user_ptr(Open)]
    name: Any = user_ptr(char)
    more: tuple[Inner, ...] = Inner[2]


tracer = Tracer()
opens = tracer.events(Open)
counts = tracer.hash(char[16], u64)
points = tracer.hash(u32, Inner)
sizes = tracer.histogram(key=char[16])


@tracer.tracepoint("syscalls:sys_enter_openat")
def on_open(args: Any) -> None:
    name = comm()
    counts[name] += 1
    found = points.get(1)
    if found is not None:
        found.count += random() & 1
    opens.emit(pid=pid(), comm=name if args.flags else "none", path=read_user_str(args.filename))


@tracer.uprobe("libc.so.6", "getenv")
def on_getenv(name: Annotated[Any, user_ptr(char)], size: u64) -> None:
    total: Annotated[int, u64] = 0
    total += size
    opens.emit(pid=pid(), failed=total == 0, path=read_user_str(name))


def show(event: Open) -> str:
    assert event.failed is True
    total: int = event.pid + event.inner.count + event.numbers[0] + event.more[0].index + event.raw[0]
    return event.comm.upper() + event.path[:3] + str(total)
'''


def programs() -> dict[str, str]:
    found = {"user": USER}
    for page in PAGES:
        blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
        found.update({f"{Path(page).stem.lower()}_{number}": block for number, block in enumerate(blocks)})
    found.update({f"example_{path.stem}": path.read_text() for path in (ROOT / "examples").glob("*.py")})
    return found


def test_programs(tmp_path: Path) -> None:
    every = programs()
    assert len(every) > 10
    for name, text in every.items():
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "mypy.ini").write_text("[mypy]\nstrict = true\n")
    files = sorted(each.name for each in tmp_path.glob("*.py"))
    pytest.importorskip("mypy")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", *files],
        cwd=tmp_path, capture_output=True, text=True, env={"MYPYPATH": str(ROOT), "PATH": ""}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_program_that_passes_compiles() -> None:
    """So that what type checkers take is also what the compiler does."""
    space: dict[str, Any] = {"__name__": __name__}
    exec(USER, space)
    target = Target.described("6.1")
    for declared in space["tracer"].declared[1:]:
        unit = compile_probe(declared.function, declared.probe, target, source=_text_of(USER, "on_getenv"))
        assert compile_unit(unit, target).spec.code.slots > 10


def _text_of(text: str, name: str) -> str:
    start = text.index("def " + name)
    return text[start : text.index("\n\n\n", start)]


def test_stars_import_no_name_of_python() -> None:
    standard = getattr(sys, "stdlib_module_names", ())  # from Python 3.10 on
    assert not {*pybpf.lang.__all__} & {*standard, *dir(builtins)}
    assert not {*pybpf.__all__} & {*standard, *dir(builtins)}
    for name in ("enum", "random", "signal"):
        assert callable(getattr(pybpf.lang, name))


def test_ways_to_say_a_type() -> None:
    class Said(Struct):
        text: char[8]
        same: str = char[8]
        again: Annotated[str, char[8]]
        numbers: tuple[int, ...] = u16[3]
        raw: bytes = u8[2]

        good: bool

    fields = Said.__layout__.fields
    kinds = [char[8], char[8], char[8], u16[3], u8[2], bool_]
    assert [field.kind for field in fields.values()] == kinds
    made = Said("a", "b", "c", (1, 2, 3), b"de", True)
    assert tuple(made) == ("a", "b", "c", (1, 2, 3), b"de", True)
    assert Said.__layout__.size == 34


@pytest.mark.parametrize("value", [5, "char[16]", u32, None])
def test_fields_have_no_defaults(value: Any) -> None:
    space = {"Struct": Struct, "u32": u32, "value": value}
    with pytest.raises(TypeError, match=r"^Wrong\.x: .* cannot be its value: fields have no defaults"):
        exec("class Wrong(Struct):\n    x: u32 = value\n", space)
