"""trace and argdist: structures of a program, by its debug information."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs.cases import Running, run

pytestmark = [pytest.mark.root, pytest.mark.native]

PROGRAM = r"""
#include <stdio.h>
#include <string.h>

typedef enum { RED = 1, BLUE = -2 } colour;
struct point { short x, y; };
typedef struct item {
    char name[12];
    struct point at, corners[3];
    struct item *next;
    const char *text;
    unsigned flag : 1, kind : 5;
    int small : 4;
    colour shade;
    union { long whole; struct { int low, high; }; };
} item_t;

__attribute__((noinline)) int see(item_t *item, int number) { return item->at.x + number; }

int main(void)
{
    item_t last = { "last", { 7, 8 }, {{0, 0}}, 0, strdup("the end"), 0, 9, -3, BLUE, { 5 } };
    item_t first = { "first", { 1, -2 }, {{10, 11}, {12, 13}, {14, 15}}, &last, strdup("begin"), 1, 21, 7, RED,
                     { 0x200000001 } };
    char line[10];
    while (fgets(line, sizeof line, stdin)) {
        printf("%d\n", see(&first, line[0]));
        fflush(stdout);
    }
    return 0;
}
"""


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Path]:
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    (tmp_path / "items.c").write_text(PROGRAM)
    made = tmp_path / "items"
    subprocess.run(["cc", "-O1", "-g", "-o", made, tmp_path / "items.c"], check=True, timeout=60)
    yield made


def test_members(program: Path) -> None:
    expressions = {
        "item->at.x": 1, "item->at.y": -2, "item->next->at.y": 8, "item->corners[1].y": 13, "(*item).at.x": 1,
        "((struct item *)arg1)->next->shade": -2, "((item_t *)arg1)->shade == 1": 1, "item->flag": 1, "item->kind": 21,
        "item->small": 7, "item->next->small": -3, "item->low": 1, "item->high": 2, "item->whole": 0x200000001,
        "item->next->next == 0": 1, "number": ord("a"), "item->corners[2].x * 2": 28,
    }  # fmt: skip
    texts = {"item->name": "first", "item->next->name": "last", "item->text": "begin", "item->next->text": "the end"}
    form = " ".join(["%lld"] * len(expressions) + ["%s"] * len(texts))
    probe = f'{program}:see(struct item *item, int number) "{form}", {", ".join([*expressions, *texts])}'
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        pid = str(process.pid)
        tool = Running("trace", "-p", pid, "-Z", "16", "--json", probe)
        counts = Running("argdist", "-p", pid, "-i", "1000", "--json", "-C",
                         f"p:{program}:see(item_t *item, int number):short,char*:item->at.y,item->next->name",
                         "-C", f"r:{program}:see(item_t *item):int:$entry(item)->next->at.x")  # fmt: skip
        tool.attached()
        counts.attached()
        process.stdin.write("a\n")
        process.stdin.flush()
        assert process.stdout.readline() == "98\n"
        (row,) = map(json.loads, tool.stop())
        (report,) = map(json.loads, counts.stop())
        process.stdin.close()
    wanted = [value & (1 << 64) - 1 for value in expressions.values()]
    assert [value & (1 << 64) - 1 for value in row["values"][: len(wanted)]] == wanted
    assert row["values"][len(wanted) :] == list(texts.values())
    at_entry, at_return = report["probes"]
    assert at_entry["counts"] == [{"values": {"item->at.y": -2, "item->next->name": "last"}, "count": 1}]
    assert at_return["counts"] == [{"values": {"$entry(item)->next->at.x": 7}, "count": 1}]


def test_what_is_not_there(program: Path) -> None:
    found = run("trace", f'{program}:see "%d", ((struct item *)arg1)->naem')
    assert found.returncode == 1 and "struct item has no member 'naem'; did you mean name?" in found.stderr
    found = run("trace", f'{program}:see "%d", ((struct nothing *)arg1)->x')
    assert found.returncode == 1 and "struct nothing" in found.stderr and "Traceback" not in found.stderr
