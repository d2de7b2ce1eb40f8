"""``make zipapp``: one file, in which everything works that works in a clone, on a host that has nothing but Python."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from pybpf.cli.tools import tool_names

ROOT = Path(__file__).parent.parent
#: a Python that is linked to musl, to run the file on; there is none in Debian
MUSL_PYTHON = os.environ.get("PYBPF_MUSL_PYTHON", "")
MOST_BYTES = 1 << 20

#: the help of every tool, by one process
HELP = """
import sys
sys.path.insert(0, sys.argv[1])
from pybpf.cli.tools import all_tools
from pybpf.tool.command import parser_of
for tool in all_tools():
    assert "attaches to:" in parser_of(tool).format_help()
    print(tool.name)
"""
WRONG = """\
from pybpf import Tracer

tracer = Tracer(pid=1)

@tracer.tracepoint("syscalls:sys_enter_getpgid")
def entered(args):
    return args.no_such_field
"""


def packager() -> ModuleType:
    spec = spec_from_file_location("zipapp_of_pybpf", ROOT / "release" / "zipapp.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("zipapp") / "pybpf.pyz"
    made = subprocess.run(
        [shutil.which("make") or "make", "-s", "zipapp", f"PYTHON={sys.executable}", f"OUTPUT={path}"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return path


# --- the file


@pytest.mark.pure
@pytest.mark.skipif("PYBPF_VM" in os.environ, reason="there is no make in the guests")
def test_it_is_small_and_whole_and_always_the_same(pyz: Path) -> None:
    assert pyz.stat().st_size < MOST_BYTES
    with zipfile.ZipFile(pyz) as archive:
        entries = archive.infolist()
    names = {each.filename for each in entries}
    library = {path.relative_to(ROOT).as_posix() for path in (ROOT / "pybpf").rglob("*.py")}
    tools = {f"pybpf/programs/{path.name}" for path in (ROOT / "programs").glob("*.py")}
    assert {name for name in names if name.startswith("pybpf/")} == library | tools
    assert "elftools/elf/elffile.py" in names and "LICENSE" in names
    # nothing of when, where and in which order it was made
    assert [each.filename for each in entries] == sorted(names) and len({each.date_time for each in entries}) == 1


def statements(text: str) -> list[tuple[str, int]]:
    """What a text says, and in which line each part of it begins; but for documentation strings."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            first = node.body[0]
            assert isinstance(first, ast.Expr)
            first.value = ast.Constant("", lineno=first.lineno)
    return [(ast.dump(node), getattr(node, "lineno", 0)) for node in ast.walk(tree)]


@pytest.mark.pure
@pytest.mark.parametrize(
    "text",
    [
        pytest.param(path.read_text("utf-8"), id=path.name)
        for path in (ROOT / "programs" / "opensnoop.py", ROOT / "pybpf" / "report" / "histogram.py", Path(__file__))
    ]
    + [
        'def f(): """one\n\ntwo""" ; return "# é"  # é\n',
        'class A:\n    "é" "b"\n    b = """\n  # kept \n\n"""   # gone\n\tpass\n'.replace("\tpass", "    pass"),
        "x = '\u2028#'  # \u2028\ny = 1",
        'def f(): "one" ; x = """ a  \n b """  # c\n',
    ],
)
def test_only_words_are_left_out_and_no_statement_moves(text: str) -> None:
    short = packager().stripped(text)
    assert statements(short) == statements(text)
    assert len(short) < len(text) and short.count("\n") == text.count("\n")


# --- on a bare host


class Bare:
    """A root that has a Python with its libraries, and none of what was installed for it."""

    def __init__(self, root: Path, python: str, libc: str, places: list[str]) -> None:
        self.root, self.python, self.libc = root, python, libc
        for name in ("proc", "sys", "dev", "tmp", "etc"):
            (root / name).mkdir()
        binds = []
        for place in places:
            inside = root / place.lstrip("/")
            if os.path.islink(place):
                inside.symlink_to(os.readlink(place))
            elif os.path.isdir(place):
                inside.mkdir(parents=True, exist_ok=True)
                binds.append(f"mount --rbind -o ro {place} {inside}")
        binds += [f"mount --rbind /{name} {root}/{name}" for name in ("proc", "sys", "dev")]
        self._mounts = "; ".join(binds)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run Python there, as it is without ``site``."""
        script = f'set -e; {self._mounts}; exec chroot {self.root} "$@"'
        return subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh",
             self.python, "-I", "-S", "-B", *words],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, cwd="/", capture_output=True, text=True, timeout=120,
        )  # fmt: skip


@pytest.fixture(params=["glibc", "musl"])
def bare(request: pytest.FixtureRequest, tmp_path: Path, pyz: Path) -> Bare:
    python, prefix, libc = os.path.realpath(sys.executable), sys.base_prefix, "c"
    if request.param == "musl":
        if not MUSL_PYTHON:
            pytest.skip("Debian has no Python for musl; name one by PYBPF_MUSL_PYTHON")
        python = os.path.realpath(MUSL_PYTHON)
        prefix, libc = os.path.dirname(os.path.dirname(python)), f"/lib/ld-musl-{os.uname().machine}.so.1"
    system = ["/usr", "/bin", "/lib", "/lib64"]
    found = Bare(tmp_path, python, libc, [*system, *([] if prefix.startswith("/usr") else [prefix])])
    shutil.copy(pyz, tmp_path / "pybpf.pyz")
    return found


@pytest.mark.native
@pytest.mark.root
@pytest.mark.skipif("PYBPF_VM" in os.environ, reason="there is no make in the guests")
def test_it_runs_every_tool_on_a_bare_host(bare: Bare) -> None:
    there = bare.run("-c", "import elftools")
    assert there.returncode == 1 and "ModuleNotFoundError" in there.stderr, there
    helped = bare.run("-c", HELP, "/pybpf.pyz")
    assert helped.returncode == 0, helped.stderr
    assert sorted(helped.stdout.split()) == tool_names()

    (bare.root / "etc" / "looked-for").write_text("here\n")
    code = "import os; open('/etc/looked-for'); os.getpgid(0); os.getpgid(0)"
    command = [bare.python, "-I", "-S", "-c", code]
    opened = bare.run("/pybpf.pyz", "opensnoop", "--path", "*looked-for", "--exec", *command)
    assert opened.returncode == 0, opened.stderr
    assert [line.split()[-1] for line in opened.stdout.splitlines()] == ["PATH", "/etc/looked-for"]
    counted = bare.run("/pybpf.pyz", "syscount", "--syscall", "getpgid", "--json", "--exec", *command)
    assert '"count": 2' in counted.stdout, counted
    traced = bare.run("/pybpf.pyz", "funccount", f"{bare.libc}:getpgid", "--exec", *command)  # by pyelftools
    assert traced.returncode == 0 and ["getpgid", "2"] in [row.split() for row in traced.stdout.splitlines()], traced

    (bare.root / "wrong.py").write_text(WRONG)
    refused = bare.run("/pybpf.pyz", "dump", "/wrong.py")
    assert refused.returncode == 1 and "wrong.py:7:12: " in refused.stderr and "no_such_field" in refused.stderr
    assert "\n        return args.no_such_field\n               ^^^^" in refused.stderr
