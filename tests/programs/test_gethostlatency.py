"""gethostlatency: lookups that a process makes, by glibc and by musl, with times that are known."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.programs.cases import Running, run
from tests.programs.network import Host, wait_until_attached

pytestmark = [pytest.mark.root, pytest.mark.generic, pytest.mark.needs("uprobe")]

LOOK_UP = """
import ctypes
c = ctypes.CDLL(None)
def look(name):
    try: socket.getaddrinfo(name, 1)
    except socket.gaierror: pass
"""


def test_rows_and_columns_are_those_of_bcc(server: Host) -> None:
    server.serve_names()
    server.do(LOOK_UP)
    tool = Running("gethostlatency", "-p", str(server.pid))
    assert tool.ready("TIME") == "TIME      PID     COMM                  LATms HOST\n"
    server.do("look('one.example'); look('none.example'); c.gethostbyname(b'two.example')\n"
              "c.gethostbyname2(b'alias.example', 2)")  # fmt: skip
    lines = tool.stop()
    assert [line.split()[-1] for line in lines] == ["one.example", "none.example", "two.example", "alias.example"]
    for line in lines:
        assert line[10:].startswith(f"{server.pid:<7d} {server.comm:<16s} ")
        assert 0 < float(line.split()[-2]) < 60000


def test_times_are_those_that_the_name_server_takes(server: Host) -> None:
    server.serve_names()
    server.do(LOOK_UP)
    server.do("quick = serve\nclass Slow(dict):\n    def get(self, name):\n        time.sleep(0.2)\n"
              "        return dict.get(self, name)\naddresses = Slow(addresses)")  # fmt: skip
    tool = Running("gethostlatency", "--json", "-p", str(server.pid))
    wait_until_attached(tool)
    spent = server.do("t = time.monotonic()\nc.gethostbyname(b'one.example')\nresult = (time.monotonic() - t) * 1000")
    tool.process.send_signal(signal.SIGINT)
    (row,) = map(json.loads, tool.wait())
    assert 200 <= row["latency_ms"] <= spent and row["host"] == "one.example"
    assert (row["pid"], row["tid"]) == (server.pid, server.pid)


def test_threads_and_unsafe_names(server: Host) -> None:
    server.do(LOOK_UP)
    server.do("import threading")
    tool = Running("gethostlatency", "--csv", "-p", str(server.pid))
    titles = tool.ready("time").strip().split(",")
    server.do("ts = [threading.Thread(target=look, args=(f'127.0.0.{i}',)) for i in range(50)]\n"
              "[t.start() for t in ts]; [t.join() for t in ts]; c.gethostbyname(b'\\x1b[31m')")  # fmt: skip
    *rows, last = csv.DictReader(tool.stop(), titles)
    assert sorted(row["host"] for row in rows) == sorted(f"127.0.0.{i}" for i in range(50))
    assert len({row["tid"] for row in rows}) > 1
    assert last["host"] == "\\x1b[31m"


#: a program without glibc's startup code
LOOKS_UP = r"""
#ifdef __x86_64__
__asm__(".globl _start\n_start: and $-16, %rsp\n call begin\n");
#else
__asm__(".globl _start\n_start: bl begin\n");
#endif
extern void *gethostbyname(const char *);
extern void _exit(int);
void begin(void)
{
    for (int i = 0; i < 3; i++)
        gethostbyname("127.0.0.1");
    _exit(0);
}
"""


@pytest.mark.skipif(not list(Path("/lib").glob("ld-musl-*")), reason="no musl")
@pytest.mark.skipif(shutil.which("cc") is None, reason="no compiler")
def test_a_function_that_calls_another_is_one_lookup(tmp_path: Path) -> None:
    """In musl gethostbyname calls gethostbyname2."""
    (library,) = Path("/lib").glob("ld-musl-*")
    source = tmp_path / "lookup.c"
    source.write_text(LOOKS_UP)
    program = tmp_path / "lookup"
    build = ["cc", "-nostdlib", "-o", str(program), str(source), str(library), f"-Wl,--dynamic-linker={library}"]
    subprocess.run(build, check=True)
    found = run("gethostlatency", "--json", "--libc", str(library), "--exec", str(program))
    rows = [json.loads(line)["host"] for line in found.stdout.splitlines()]
    assert rows == ["127.0.0.1"] * 3, found.stderr


def test_a_library_that_is_none() -> None:
    found = run("gethostlatency", "--libc", "/nonexistent/libc.so")
    assert found.returncode == 1 and "/nonexistent/libc.so" in found.stderr and "Traceback" not in found.stderr
