"""The shape of the source tree: imports point down, files stay small and say what they are for."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
#: bottom to top; a layer may import itself and what is before it
LAYERS = ("errors", "arch", "asm", "types", "sys", "btf", "maps", "prog", "symbols", "attach", "cli")
#: layers that only compute: nothing in them can call the kernel
PURE = ("errors", "asm", "types")
MOST_LINES = 700
#: files that are one long table
TABLES: dict[str, str] = {}

SOURCES = sorted(path for top in ("pybpf", "programs") for path in (ROOT / top).rglob("*.py"))


def _parse(path: Path) -> ast.Module:
    # 3.9 is the oldest Python that pybpf runs on
    return ast.parse(path.read_text("utf-8"), str(path), feature_version=(3, 9))


def _imports(path: Path) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """Every import of a file, at any depth: (line, absolute module, names taken from it)."""
    package = path.relative_to(ROOT).parts[:-1]
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
                    yield node.lineno, f"pybpf.{name}", ()
            else:
                yield node.lineno, module, names


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _layer(path: Path) -> str:
    return path.relative_to(ROOT).parts[1].partition(".")[0]


def test_sources_are_found() -> None:
    assert len(SOURCES) > 5


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_file_is_small_and_documented(path: Path) -> None:
    text = path.read_text("utf-8")
    document = ast.get_docstring(_parse(path))
    assert document, f"{_name(path)}: the first line must say what the file is for"
    if _name(path) not in TABLES:
        lines = text.count("\n")
        assert lines <= MOST_LINES, f"{_name(path)} has {lines} lines; split it"


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if path.parts[len(ROOT.parts)] == "pybpf"], ids=_name
)
def test_imports_point_down(path: Path) -> None:
    layer = _layer(path)
    if layer in ("__init__", "__main__"):  # the front door: may import anything
        return
    assert layer in LAYERS, f"{_name(path)}: give its layer a place in LAYERS"
    allowed = LAYERS[: LAYERS.index(layer) + 1]
    for line, module, _ in _imports(path):
        where = f"{_name(path)}:{line}"
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
        f"{_name(path)}:{line}: {module}"
        for path in SOURCES
        for line, module, _ in _imports(path)
        if module.partition(".")[0] not in known
    }
    assert not foreign


@pytest.mark.parametrize("path", sorted((ROOT / "programs").rglob("*.py")), ids=_name)
def test_programs_use_the_public_interface(path: Path) -> None:
    """A bundled tracer imports what a user can: packages, not the files inside them, and no private names."""
    for line, module, names in _imports(path):
        parts = module.split(".")
        if parts[0] != "pybpf":
            continue
        where = f"{_name(path)}:{line}"
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
    assert own <= {"pybpf.errors"}, f"import pybpf loads {sorted(own)}"


def test_elf_reader_is_loaded_on_demand() -> None:
    packages = [name for name in LAYERS[1:] if (ROOT / "pybpf" / name / "__init__.py").exists()]
    loaded = _loaded_by("import " + ", ".join(f"pybpf.{name}" for name in packages))
    assert "elftools" not in loaded
