"""``python -m tests.vm``: run the test suite, or any command, inside other kernels."""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from . import kernels, qemu, report, suite
from .cache import VmError, directory
from .kernels import KERNELS, Kernel

EXAMPLES = """\
examples:
  python -m tests.vm                                    the suite in the kernels that CI runs
  python -m tests.vm --all --table docs/kernels.md      the whole matrix, recorded
  python -m tests.vm --kernel 6.1-x86_64 -k kprobe      some tests in one kernel
  python -m tests.vm --kernel 6.1-x86_64 -- tests/sys   the same, with any arguments of pytest
  python -m tests.vm --kernel 6.1-x86_64 --shell 'python3 -m pybpf info'
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.vm", description="Run the test suite inside other kernels, under QEMU.",
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--all", action="store_true", help="the whole matrix, not only what CI runs")
    which.add_argument("--kernel", metavar="NAME", action="append", help="this kernel; may be repeated")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="show the kernels and exit")
    what.add_argument("--shell", metavar="COMMAND", help="run a shell command instead, in a copy of this tree")
    parser.add_argument("--with", metavar="PACKAGE", action="append", default=[], dest="more",
                        help="Debian's package that the guest of --shell has, too; may be repeated")  # fmt: skip
    parser.add_argument("--jobs", metavar="N", type=int, default=2, help="virtual machines at a time (2)")
    parser.add_argument("--timeout", metavar="S", type=float, default=suite.TIMEOUT,
                        help=f"seconds that one kernel may take ({suite.TIMEOUT:.0f})")  # fmt: skip
    parser.add_argument("--slowest", action="store_true", help="show the slowest tests and files of each kernel")
    parser.add_argument("--table", metavar="FILE", type=Path, help="put the results into the table of a Markdown file")
    parser.add_argument("-k", metavar="EXPR", help="only tests that match, as in pytest")
    parser.add_argument("pytest", nargs="*", metavar="-- ARGUMENTS", help="more arguments to pytest")
    return parser


def _list() -> None:
    for kernel in KERNELS:
        notes = [name for name, on in (("in CI", kernel.ci), ("optional", kernel.optional)) if on]
        print(f"{kernel.name:16} {', '.join(notes)}".rstrip())
    print(f"cache: {directory()}")


def _shell(chosen: list[Kernel], command: str, timeout: float, more: Sequence[str]) -> int:
    worst = 0
    for kernel in chosen:
        files, root = suite.prepare(kernel, more)
        with tempfile.TemporaryDirectory(prefix="pybpf-vm-") as out:
            done = qemu.run(
                kernel.arch, files, root, suite.SOURCE, ["sh", "-c", command], Path(out),
                timeout=timeout, show=True,
            )  # fmt: skip
        if done.status in qemu.ENDINGS:
            print(f"{kernel.name}: the guest {qemu.ENDINGS[done.status]}", file=sys.stderr)
        worst = max(worst, done.status)
    return worst


def _suite(chosen: list[Kernel], arguments: list[str], options: argparse.Namespace) -> int:
    outcomes = {}
    stop = threading.Event()
    pool = ThreadPoolExecutor(options.jobs)
    try:
        running = [pool.submit(suite.run, kernel, arguments, options.timeout, stop) for kernel in chosen]
        for future in as_completed(running):
            outcome = future.result()
            outcomes[outcome.kernel] = outcome
            print("\n".join(report.lines(outcome, slowest=options.slowest)), flush=True)
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
    if options.table:
        report.record(options.table, outcomes.values())
    bad = [
        kernel.name
        for kernel, outcome in outcomes.items()
        if not (outcome.good or (kernel.optional and outcome.unavailable))
    ]
    if bad:
        print(f"not good: {', '.join(bad)}", file=sys.stderr)
    return 1 if bad else 0


def main() -> int:
    options = _parser().parse_args()
    try:
        if options.list:
            _list()
            return 0
        if options.kernel:
            chosen = [kernels.named(name) for name in options.kernel]
        else:
            chosen = [kernel for kernel in KERNELS if options.all or kernel.ci]
        if options.shell is not None:
            return _shell(chosen, options.shell, options.timeout, options.more)
        arguments = [*(["-k", options.k] if options.k else []), *options.pytest]
        if options.table and arguments:
            raise VmError("--table records runs of the whole suite, and these arguments choose a part of it")
        return _suite(chosen, arguments, options)
    except VmError as error:
        print(f"tests.vm: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
