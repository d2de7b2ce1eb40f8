"""The shape of the source tree: imports point down, files stay small and say what they are for."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.pure

ROOT = Path(__file__).parent.parent
#: bottom to top; a layer may import itself and what is before it
LAYERS = (
    "lazy", "record", "errors", "arch", "asm", "types", "sys", "btf", "maps", "prog", "symbols", "attach", "compiler",
    "report", "lang", "bt", "tool", "cli",
)  # fmt: skip
#: layers that only compute: nothing in them can call the kernel
PURE = ("errors", "asm", "types")
MOST_LINES = 700
#: files that are one long table
TABLES: tuple[str, ...] = ()

#: paths of the files, from the root of the tree
SOURCES = sorted(
    path.relative_to(ROOT).as_posix() for top in ("pybpf", "programs") for path in (ROOT / top).rglob("*.py")
)
LIBRARY = [path for path in SOURCES if path.startswith("pybpf/")]
PROGRAMS = [path for path in SOURCES if path.startswith("programs/")]


def _parse(path: str) -> ast.Module:
    # 3.9 is the oldest Python that pybpf runs on
    return ast.parse((ROOT / path).read_text("utf-8"), path, feature_version=(3, 9))


def _imports(path: str) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """Every import of a file, at any depth: (line, absolute module, names taken from it)."""
    package = path.split("/")[:-1]
    for node in ast.walk(_parse(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, ()
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            names = tuple(alias.name for alias in node.names)
            module = ".".join([*base, *filter(None, [node.module])])
            if module == "pybpf":  # from pybpf import maps
                for name in names:
                    if name != "__version__":
                        yield node.lineno, f"pybpf.{name}", ()
            else:
                yield node.lineno, module, names


def test_sources_are_found() -> None:
    assert len(SOURCES) > 5


@pytest.mark.parametrize("path", SOURCES)
def test_file_is_small_and_documented(path: str) -> None:
    assert ast.get_docstring(_parse(path)), f"{path}: the first line must say what the file is for"
    if path not in TABLES:
        lines = (ROOT / path).read_text("utf-8").count("\n")
        assert lines <= MOST_LINES, f"{path} has {lines} lines; split it"


@pytest.mark.parametrize("path", LIBRARY)
def test_imports_point_down(path: str) -> None:
    layer = path.split("/")[1].partition(".")[0]
    if layer in ("__init__", "__main__"):  # the front door: may import anything
        return
    assert layer in LAYERS, f"{path}: give its layer a place in LAYERS"
    allowed = LAYERS[: LAYERS.index(layer) + 1]
    for line, module, names in _imports(path):
        where = f"{path}:{line}"
        if layer != "record":  # time until a tracer runs is what these cost
            assert module != "dataclasses", f"{where}: use pybpf.record"
            assert module != "typing" or "NamedTuple" not in names, f"{where}: use pybpf.record"
        top, _, rest = module.partition(".")
        if top == "pybpf":
            target = rest.partition(".")[0]
            assert target in allowed, f"{where}: {layer} must not import pybpf.{target}: it lies above"
        elif top == "elftools":
            assert layer == "symbols", f"{where}: only pybpf.symbols reads ELF files"
        elif layer in PURE:
            assert top not in ("ctypes", "mmap", "fcntl", "select"), f"{where}: {layer} is pure"


@pytest.mark.skipif(sys.version_info < (3, 10), reason="needs sys.stdlib_module_names (Python 3.10)")
def test_only_the_standard_library_and_pyelftools() -> None:
    known = {*sys.stdlib_module_names, "pybpf", "elftools"}
    foreign = {
        f"{path}:{line}: {module}"
        for path in SOURCES
        for line, module, _ in _imports(path)
        if module.partition(".")[0] not in known
    }
    assert not foreign


@pytest.mark.parametrize("path", PROGRAMS)
def test_programs_use_the_public_interface(path: str) -> None:
    """A bundled tracer imports what a user can: packages, not the files inside them, and no private names."""
    for line, module, names in _imports(path):
        parts = module.split(".")
        if parts[0] != "pybpf":
            continue
        where = f"{path}:{line}"
        assert len(parts) <= 2, f"{where}: {module} is inside a package; import from {'.'.join(parts[:2])}"
        private = [name for name in (*parts, *names) if name.startswith("_")]
        assert not private, f"{where}: {private} are private"


def _loaded_by(statement: str) -> set[str]:
    code = f"import sys; before = set(sys.modules); {statement}; print(*set(sys.modules) - before)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=300
    )
    return set(done.stdout.split())


def test_import_is_light() -> None:
    """``import pybpf`` loads neither ctypes nor what only some users need."""
    heavy = {"argparse", "asyncio", "ctypes", "elftools", "json", "subprocess", "unittest"}
    loaded = _loaded_by("import pybpf")
    assert not loaded & heavy
    own = {name for name in loaded if name.startswith("pybpf.")}
    assert own <= {"pybpf.errors", "pybpf.lazy"}, f"import pybpf loads {sorted(own)}"


def test_a_tracer_loads_what_it_uses() -> None:
    """Making one loads no kind of probe, reader of ELF or BTF views, no parser of options or text."""
    heavy = {"argparse", "asyncio", "difflib", "elftools", "json", "string", "subprocess", "textwrap"}
    loaded = _loaded_by("from pybpf import Tracer; from pybpf.lang import comm, pid; Tracer()")
    assert not loaded & heavy
    unused = ("attach.kinds.", "symbols", "btf.view", "btf.render", "asm.parse", "cli")
    assert not [name for name in sorted(loaded) if name.startswith(tuple(f"pybpf.{each}" for each in unused))]


def test_elf_reader_is_loaded_on_demand() -> None:
    packages = [name for name in LAYERS[1:] if (ROOT / "pybpf" / name / "__init__.py").exists()]
    loaded = _loaded_by("import " + ", ".join(f"pybpf.{name}" for name in packages))
    assert "elftools" not in loaded
