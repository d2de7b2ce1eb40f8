"""Scripts that are kept when they have been compiled: used where nothing has changed, and only then; never trusted."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pybpf.bt
from pybpf.asm import assemble
from pybpf.bt.kept import Kept, _Pickler, kept_at
from pybpf.bt.show.text import event_text
from pybpf.record import replace

pytestmark = [pytest.mark.root, pytest.mark.native]

ENTER = "tracepoint:syscalls:sys_enter_getpgid"
SCRIPT = f'{ENTER} {{ @ = count(); @k[comm, args.pid] = hist(7); printf("%d %s\\n", 5, "x"); }}'


def calls(count: int) -> None:
    """System calls that nothing else here makes."""
    for _ in range(count):
        os.getpgid(0)


def kept(folder: Path, *key: object) -> Kept:
    return Kept(str(folder / "pybpf"), key)


def saved(folder: Path, script: str = SCRIPT, **options: Any) -> Path:
    """The file of a script that was compiled and kept."""
    kept(folder, script).save(pybpf.bt.compile_script(script, **options))
    (file,) = (folder / "pybpf").iterdir()
    return file


def run(folder: Path, *words: str, cache: str = "") -> tuple[list[str], str]:
    """Run ``pybpf bt`` in a process of its own: the lines that it printed, and whether it had to compile."""
    body = "import sys, pybpf.cli; pybpf.cli.main(['bt', *sys.argv[1:]]); print('pybpf.bt.compile' in sys.modules)"
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder), "PYBPF_CACHE": cache}
    done = subprocess.run(
        [sys.executable, "-c", body, *words], capture_output=True, text=True, env=environment, check=True, timeout=120
    )
    *lines, compiled = done.stdout.splitlines()
    return lines, compiled


@pytest.mark.parametrize(
    "script",
    [
        'begin { printf("%5d|%-6s|%x|%llu|%c%%\\n", -3, "a\\tb", 255, (uint64)7, 65); }',
        "begin { @h = hist(5); @l = lhist(5, 0, 10, 2); @s = stats(4); @c = count(); @m = min(3); @a = avg(2); }",
        'begin { @t["a", 1] = (1, "x", (2, 3)); @r[2] = (a = 5, b = "y"); @e[1] = true; @big[(uint8)3] = -1; }',
        'begin { @x[1] = 2; for ($kv : @x) { printf("%d %d\\n", $kv.0, $kv.1); } print(@x); clear(@x); }',
        'begin { @n = 0; while (@n < 5) { @n++; } print((1, "z")); print(@n); errorf("bad %d\\n", 1); exit(0); }',
        'let @big = lruhash(100); begin { @big[1] = 2; @d = kstack(3) == kstack(3); print(strftime("%Y", 0)); }',
        'struct two { int a; short b[2]; } begin { printf("%d %r\\n", sizeof(struct two), buf("ab", 2)); }',
        'begin { @ = tseries(5, 1s, 3); time(""); print(ntop(0x0100007f)); clear(@); }',
        "begin { @k = kstack(2); @u[pid] = ustack(1); delete(@k); clear(@u); }",
        "interval:ms:1 { @i++; if (@i == 3) { exit(); } } profile:hz:50 { } end { clear(@i); }",
    ],
)
def test_what_is_kept_prints_the_same(tmp_path: Path, script: str) -> None:
    first, compiled = run(tmp_path, "-e", script)
    assert compiled == "True"
    assert run(tmp_path, "-e", script) == (first, "False")


def test_warnings_are_told_each_time(tmp_path: Path) -> None:
    script = "begin { @n = 0; while (@n < 5) { @n++; } }"
    place = kept(tmp_path)
    compiled = pybpf.bt.compile_script(script)
    place.save(compiled)
    known = place.load()
    assert known is not None
    assert [str(each) for each in known.warnings] == [str(each) for each in compiled.warnings] != []


def test_what_is_kept_counts_the_same(tmp_path: Path) -> None:
    saved(tmp_path, pid=os.getpid())
    script = kept(tmp_path, SCRIPT).load()
    assert script is not None
    with pybpf.bt.Running(script).start() as running:
        calls(10)
        events = [*running.events(0), *running.stop()]
        found = {name: dict(each.items()) for name, each in running.maps.items()}
    comm = Path("/proc/self/comm").read_text().strip()
    assert found[""] == {None: 10}
    assert {key: value.count for key, value in found["k"].items()} == {(comm, 0): 10}
    assert "".join(map(event_text, events)) == "5 x\n" * 10


def test_a_program_that_changes_is_looked_at_again(tmp_path: Path) -> None:
    binary = shutil.copy("/bin/true", tmp_path / "program")
    with open(binary, "rb") as file:
        header = file.read(64)
    entry = int.from_bytes(header[24:32], "little")
    script = f"uprobe:{binary}:{entry:#x} {{ @ = count(); }}"
    saved(tmp_path, script)
    assert kept(tmp_path, script).load() is not None
    with open(binary, "ab") as file:
        file.write(b"\0")
    assert kept(tmp_path, script).load() is None


def test_what_differs_is_compiled(tmp_path: Path) -> None:
    script = 'begin { printf("%d\\n", $1); }'
    for words in (["1"], ["2"]):
        assert run(tmp_path, "-e", script, *words) == ([words[0], "", ""], "True")
        assert run(tmp_path, "-e", script, *words) == ([words[0], "", ""], "False")
    assert run(tmp_path, "-q", "-e", script, "1")[1] == "False"
    assert run(tmp_path, "-e", f" {script}", "1")[1] == "True"
    assert run(tmp_path, "-e", script, "1", cache="off")[1] == "True"
    assert len(list((tmp_path / "pybpf").iterdir())) == 3


def test_nothing_is_kept_where_it_is_off(tmp_path: Path) -> None:
    run(tmp_path, "-e", "begin { }", cache="off")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "script",
    [
        "tracepoint:syscalls:sys_enter_getpg* { @ = count(); }",  # what a pattern matches may change
        'begin { @ = cgroupid("/proc"); }',  # what is there may be another
        "test:one { }",
    ],
)
def test_what_may_change_is_not_kept(tmp_path: Path, script: str) -> None:
    kept(tmp_path).save(pybpf.bt.compile_script(script))
    assert not list(tmp_path.iterdir())


def test_the_key_has_the_folder_of_the_user() -> None:
    assert kept_at({"XDG_CACHE_HOME": "relative", "HOME": ""}, ()) is None
    assert kept_at({"HOME": "/nowhere", "PYBPF_CACHE": "off"}, ()) is None
    assert kept_at({"HOME": "/nowhere"}, ()) is not None


def _flip(at: int) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        data = bytearray(file.read_bytes())
        data[at] ^= 1
        file.write_bytes(data)

    return change


def _forge(content: bytes) -> Callable[[Path], None]:
    """A file whose hash is right."""

    def change(file: Path) -> None:
        from pybpf.bt.kept import _HASH, _HASHED_BY, _HEAD, source_hash

        assert len(source_hash(_HASHED_BY, content)) == _HASH
        file.write_bytes(_HEAD + source_hash(_HASHED_BY, content) + content)

    return change


def _link(file: Path) -> None:
    file.rename(file.parent.parent / "elsewhere")
    file.symlink_to(file.parent.parent / "elsewhere")


def _fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("/tmp/pybpf-was-here",)


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.chmod(0o620),
        lambda file: file.chmod(0o602),
        lambda file: file.parent.chmod(0o770),
        lambda file: os.chown(file, 65534, -1),
        lambda file: os.chown(file.parent, 65534, -1),
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(file.read_bytes()[:-1]),
        lambda file: file.write_bytes(bytes(1 << 20)),
        _flip(0),
        _flip(20),
        _flip(200),
        _flip(-2),
        _forge(b""),
        _forge(pickle.dumps(Evil(), 4)),
        _forge(pickle.dumps(("key", [], ([], b"")))),
        _forge(b"cos\nsystem\n(S'true'\ntR."),
        _forge(b"\x80\x04" + b"(" * 100_000 + b"."),
        _link,
        _fifo,
    ],
)
def test_what_cannot_be_trusted_is_compiled(tmp_path: Path, change: Callable[[Path], None]) -> None:
    if os.geteuid() != 0:
        pytest.skip("gives files away")
    file = saved(tmp_path)
    assert kept(tmp_path, SCRIPT).load() is not None
    change(file)
    assert kept(tmp_path, SCRIPT).load() is None
    assert not os.path.exists("/tmp/pybpf-was-here")


def test_what_the_kernel_refuses_is_compiled_again(tmp_path: Path) -> None:
    script = 'begin { printf("fine\\n"); }'
    assert run(tmp_path, "-e", script) == (["fine", "", ""], "True")
    (file,) = (tmp_path / "pybpf").iterdir()
    place = Kept(str(tmp_path / "pybpf"), ())
    from io import BytesIO

    from pybpf.bt.kept import _HASH, _HEAD, _Unpickler

    content = _Unpickler(BytesIO(file.read_bytes()[len(_HEAD) + _HASH :]))
    head, known = content.load(), content.load()
    bad = replace(known.built[0].compiled.spec, code=assemble("r0 = *(u64 *)(r1 +4096)\nexit"))
    known.built[0] = known.built[0]._replace(compiled=replace(known.built[0].compiled, spec=bad))
    body = BytesIO()
    pickler = _Pickler(body, 4)
    pickler.dump(head)
    pickler.dump(known)
    _forge(body.getvalue())(file)
    assert place.load() is None
    assert run(tmp_path, "-e", script) == (["fine", "", ""], "True")
    assert run(tmp_path, "-e", script) == (["fine", "", ""], "False")


def test_files_are_few(tmp_path: Path) -> None:
    script = pybpf.bt.compile_script("begin { }")
    for number in range(100):
        kept(tmp_path, number).save(script)
    assert 48 <= len(list((tmp_path / "pybpf").iterdir())) <= 64
    assert kept(tmp_path, 99).load() is not None
    kept(tmp_path, 99).forget()
    assert kept(tmp_path, 99).load() is None
