"""All of the reliability tests, and a table of what came of them: ``python -m tests.reliability --long``.

The short forms are what every run of the test suite has; the long ones take hours.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["main"]

_HERE = Path(__file__).parent


class _Form(NamedTuple):
    """One kind of test."""

    text: str  #: what it does, with ``{}`` for how much of it
    files: tuple[str, ...]
    variable: str = ""  #: of the environment, which says how much; "": there is no long form
    short: str = ""
    long: str = ""


_FORMS = {
    "hostile": _Form("{} hostile inputs for each surface", ("hostile",), "PYBPF_HOSTILE", "400", "100000"),
    "death": _Form("{} deaths by each signal", ("death", "interrupts"), "PYBPF_DEATHS", "4", "100"),
    "overload": _Form("{} s of overload", ("overload",), "PYBPF_OVERLOAD", "1", "10"),
    "concurrency": _Form("{} tracers in turn", ("concurrency",), "PYBPF_TRACERS", "40", "200"),
    "privilege": _Form("privileges: {} tools", ("privilege_matrix",), "PYBPF_PRIVILEGE", "some", "all"),
    "changes": _Form("what is traced is replaced, deleted, cut, or ends", ("changes",)),
}


def _run(form: _Form, amount: str) -> tuple[int, str, float]:
    """pytest's exit status, its last line, and the seconds that it took."""
    files = [str(_HERE / f"test_{name}.py") for name in form.files]
    environment = {**os.environ, form.variable: amount} if form.variable else dict(os.environ)
    begin = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, cwd=_HERE.parent.parent, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        print(done.stdout, file=sys.stderr)
    lines = done.stdout.strip().splitlines() or ["nothing was printed"]
    return done.returncode, lines[-1].strip("= "), time.monotonic() - begin


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__.split("\n")[0])
    parser.add_argument("form", nargs="*", help=f"of {', '.join(_FORMS)}; by default all")
    parser.add_argument("--long", action="store_true", help="the long forms")
    parser.add_argument("--table", type=Path, metavar="FILE", help="write the table there too")
    options = parser.parse_args(arguments)
    unknown = set(options.form) - _FORMS.keys()
    if unknown:
        parser.error(f"no form {', '.join(sorted(unknown))}; there are {', '.join(_FORMS)}")
    host = os.uname()
    where = f"{time.strftime('%Y-%m-%d')}, Linux {host.release} {host.machine}, {os.cpu_count()} processors, Python "
    lines = [where + sys.version.split()[0], "", "| what | result | seconds | load |", "| --- | --- | --- | --- |"]
    bad = False
    for name in options.form or _FORMS:
        form = _FORMS[name]
        amount = form.long if options.long else form.short
        print(f"{name} ...", file=sys.stderr, flush=True)
        status, last, seconds = _run(form, amount)
        bad = bad or status != 0
        what = form.text.format(amount)
        result = ("" if status == 0 else "FAILED: ") + last
        lines.append(f"| {what} | {result} | {seconds:.0f} | {os.getloadavg()[0]:.1f} |")
        if options.table:  # after each: hours may be lost otherwise
            options.table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
