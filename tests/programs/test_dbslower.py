"""dbslower: queries of servers of the test's own, of a known number and known times."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.databases import MARIADB, POSTGRES, Client, mariadb, postgres, postgres_client
from tests.programs.cases import Running, run

pytestmark = [pytest.mark.root, pytest.mark.native, pytest.mark.needs("uprobe")]

HEADER = "TIME(s)        PID           MS QUERY\n"


def test_postgresql(tmp_path: Path) -> None:
    with postgres() as directory, postgres_client(directory) as client:
        pid = client.ask("select pg_backend_pid();")
        slow = Running("dbslower", "postgres", "-p", pid, "-m", "400", "--perfetto", str(tmp_path / "line.json"))
        text = Running("dbslower", "postgres", "-p", pid, "-m", "0")
        every = Running("dbslower", "postgres", "-x", f"{POSTGRES}/postgres", "-p", pid, "-m", "0", "--json")
        other = Running("dbslower", "postgres", "-p", str(os.getpid()), "-x", f"{POSTGRES}/postgres", "-m", "0")
        assert slow.ready("TIME(s)") == text.ready("TIME(s)") == HEADER and other.ready("TIME(s)") == HEADER
        every.attached()
        long = "select 1, '" + "x" * 300 + "';"
        assert client.ask("select pg_sleep(0.5), 'first';") == "|first"
        assert client.ask("select 'quick\t\x1b[31m';") and client.ask(long)
        rows = [line.split(maxsplit=3) for line in slow.stop()]
        assert [(row[1], row[3]) for row in rows] == [(pid, "select pg_sleep(0.5), 'first';")]
        assert 500 <= float(rows[0][2]) < 60_000
        found = [json.loads(line) for line in every.stop()]
        assert [row["query"] for row in found] == [
            "select pg_sleep(0.5), 'first';", "select 'quick\t\x1b[31m';", long[:255],
        ]  # fmt: skip
        assert [row["query_cut"] for row in found] == [False, False, True]
        assert {(row["pid"], row["comm"]) for row in found} == {(int(pid), "postgres")}
        assert [line.split(maxsplit=3)[3] for line in text.stop()] == [
            "select pg_sleep(0.5), 'first';", r"select 'quick\t\x1b[31m';", f"{long[:255]}...",
        ]  # fmt: skip
        assert other.stop() == []
    begin, end = (
        each for each in json.loads((tmp_path / "line.json").read_text())["traceEvents"] if each["ph"] in "be"
    )
    assert begin["name"] == rows[0][3] and end["ts"] - begin["ts"] == pytest.approx(float(rows[0][2]) * 1000, abs=1)


def test_mariadb() -> None:
    """Which has no USDT probes: by its function."""
    with mariadb() as (pid, client):
        assert client.ask("select 'up';") == "up"
        slow = Running("dbslower", "mysql", "-p", str(pid), "-m", "400")
        every = Running("dbslower", "mysql", "-x", str(MARIADB), "-p", str(pid), "-m", "0", "--json")
        assert slow.ready("TIME(s)") == HEADER
        every.attached()
        assert client.ask("select sleep(0.5), 'first';") == "0\tfirst"
        assert client.ask("select 'second';") == "second"
        rows = [line.split(maxsplit=3) for line in slow.stop()]
        assert [(row[1], row[3]) for row in rows] == [(str(pid), "select sleep(0.5), 'first'")]
        assert 500 <= float(rows[0][2]) < 60_000
        found = [json.loads(line) for line in every.stop()]
        assert [row["query"] for row in found] == ["select sleep(0.5), 'first'", "select 'second'"]
        assert all(0 < row["duration_ms"] < 60_000 for row in found)


#: A program with the function of a MySQL server (5.7 and newer) that carries out commands, and its parameters. 3 is
#: COM_QUERY, 22 COM_STMT_PREPARE.
STAND_IN = r"""
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct query { const char *text; unsigned int length; };

__attribute__((noinline))
int _Z16dispatch_commandP3THDPK8COM_DATA19enum_server_command(void *thd, const struct query *data, int command)
{
    if (strstr(data->text, "sleep"))
        usleep(50000);
    return command != 3;
}

int main(void)
{
    char line[100];
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        struct query query = { line + 3, strlen(line + 3) };
        int command = (line[0] - '0') * 10 + line[1] - '0';
        printf("%d\n", _Z16dispatch_commandP3THDPK8COM_DATA19enum_server_command(0, &query, command));
        fflush(stdout);
    }
    return 0;
}
"""


def test_mysql_by_a_program_with_its_function(tmp_path: Path) -> None:
    """MySQL itself has to be installed by hand on most systems."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    (tmp_path / "server.c").write_text(STAND_IN)
    subprocess.run(["cc", "-O1", "-o", tmp_path / "mysqld", tmp_path / "server.c"], check=True, timeout=60)
    with Client(str(tmp_path / "mysqld")) as server:
        assert server.ask("03 select 'up'") == "0"
        options = ["mysql", "-p", str(server.pid)]
        slow, every = Running("dbslower", *options, "-m", "40"), Running("dbslower", *options, "-m", "0", "--json")
        assert slow.ready("TIME(s)") == HEADER
        every.attached()
        for line, failed in (("03 select sleep(0.05)", "0"), ("22 select sleep(1)", "1"), ("03 select 2", "0")):
            assert server.ask(line) == failed
        rows = [line.split(maxsplit=3) for line in slow.stop()]
        assert [(row[1], row[3]) for row in rows] == [(str(server.pid), "select sleep(0.05)")]
        assert [json.loads(line)["query"] for line in every.stop()] == ["select sleep(0.05)", "select 2"]


def test_what_is_no_server() -> None:
    found = run("dbslower", "postgres", "-x", "/bin/true")
    assert found.returncode == 1 and "has no USDT probe postgresql:query__start" in found.stderr
    found = run("dbslower", "mysql", "-p", str(os.getpid()))
    assert found.returncode == 1 and "no function that is known to carry out queries" in found.stderr
    for wrong in (["oracle"], ["mysql", "-m", "-1"], ["mysql", "-m", "nan"]):
        found = run("dbslower", *wrong)
        assert found.returncode == 2 and "Traceback" not in found.stderr
