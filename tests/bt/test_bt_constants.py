"""Constants of headers that scripts need not include, beside what a C compiler makes of the headers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import pybpf.bt
from pybpf.bt.check.numbers import header_numbers, numbers
from pybpf.compiler.target import Target
from pybpf.errors import CompileError

pytestmark = pytest.mark.pure

COMPILER = shutil.which("gcc") or shutil.which("clang")
TARGET = Target.described("6.1", "x86_64")


@pytest.mark.skipif(COMPILER is None or not Path("/usr/include/linux/fcntl.h").exists(), reason="no headers of C here")
def test_numbers_are_those_of_the_headers(tmp_path: Path) -> None:
    """Macros that these headers have; not enumerators, of which a compiler cannot ask whether they are there."""
    functions, mine = [], {}
    for index, (header, names) in enumerate(header_numbers().items()):
        source = [f"#define _GNU_SOURCE 1\n#include <stdio.h>\n#include <{header}>\nvoid f{index}(void) {{"]
        for name, value in names.items():
            mine[f"{header}:{name}"] = value % (1 << 64)
            source.append(f'#ifdef {name}\nprintf("{header}:{name} %llu\\n", (unsigned long long)({name}));\n#endif')
        (tmp_path / f"f{index}.c").write_text("\n".join([*source, "}"]))
        functions.append(f"f{index}")
    declared = "".join(f"void {each}(void);" for each in functions)
    called = "".join(f"{each}();" for each in functions)
    (tmp_path / "main.c").write_text(f"{declared} int main(void) {{ {called} return 0; }}")
    assert COMPILER is not None
    subprocess.run([COMPILER, "-w", "-O0", "-o", "all", *(f"{each}.c" for each in functions), "main.c"], cwd=tmp_path,
                   check=True)  # fmt: skip
    out = subprocess.run([tmp_path / "all"], capture_output=True, text=True, check=True).stdout
    theirs = {name: int(value) for name, value in map(str.split, out.splitlines())}
    assert len(theirs) > len(mine) * 0.8
    assert theirs == {name: mine[name] for name in theirs}


@pytest.mark.parametrize(("name", "value"), [
    ("S_IFMT", 0o170000), ("S_IFREG", 0o100000), ("AT_FDCWD", -100), ("CLONE_NEWNS", 0x20000), ("MAP_ANONYMOUS", 32),
    ("MS_RDONLY", 1), ("EPOLLIN", 1), ("POLLIN", 1), ("F_SETFL", 4), ("LOCK_EX", 2), ("FUTEX_WAIT", 0),
    ("RLIMIT_NOFILE", 7), ("CAP_SYS_ADMIN", 21), ("PTRACE_ATTACH", 16), ("MADV_DONTNEED", 4), ("ETH_P_IP", 0x800),
    ("IFNAMSIZ", 16), ("UINT64_MAX", (1 << 64) - 1), ("TASK_RUNNING", 0), ("DT_REG", 8), ("IN_CREATE", 0x100),
])  # fmt: skip
def test_usual_constants_are_known(name: str, value: int) -> None:
    script = f'begin {{ static_assert({name} == {value}, "another number"); }}'
    pybpf.bt.compile_script(script, target=TARGET)
    with pytest.raises(CompileError, match="another number"):
        pybpf.bt.compile_script(script.replace("==", "!="), target=TARGET)


def test_names_are_no_numbers_twice() -> None:
    """Headers that have the same name mean the same by it."""
    for header, names in header_numbers().items():
        for name, value in names.items():
            assert numbers()[name] == value, (header, name)


def test_a_constant_that_is_not_known_says_what_to_write() -> None:
    with pytest.raises(CompileError, match="constant 'AT_FDCDW'; did you mean AT_FDCWD"):
        pybpf.bt.compile_script("begin { print(AT_FDCDW); }", target=TARGET)
    script = "#include <linux/foo.h>\nbegin { print(FOO_BAR); }"
    with pytest.raises(CompileError, match="headers of C and of the kernel are not read: write #define FOO_BAR and"):
        pybpf.bt.compile_script(script, target=TARGET)
