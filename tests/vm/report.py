"""Outcomes as text: for the terminal, and as rows of a table in Markdown."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from .cache import VmError
from .kernels import KERNELS
from .suite import LACKS, Outcome

__all__ = ["HEAD", "headline", "lines", "record"]

#: how the table of kernels begins
HEAD = (
    "| kernel | version | date | passed | failed | unsteady | skipped, and for want of what | seconds |",
    "| --- | --- | --- | ---: | ---: | ---: | --- | ---: |",
)

#: lines of a failure that are shown
MOST_LINES = 40


def headline(outcome: Outcome) -> str:
    """One line: what passed, failed and was skipped, and how long it took."""
    if outcome.unavailable:
        return f"{outcome.kernel.name}: not run: {outcome.unavailable}"
    return (
        f"{outcome.kernel.name} ({outcome.version}): {outcome.passed} passed, {len(outcome.failed)} failed, "
        + (f"{len(outcome.unsteady)} unsteady, " if outcome.unsteady else "")
        + f"{sum(outcome.skipped.values())} skipped; booted in {outcome.boot:.1f} s, "
        f"took {outcome.seconds:.1f} s, {outcome.cpu:.1f} s of processors"
        + ("; INCOMPLETE" if outcome.problem else "")
    )


def lines(outcome: Outcome, *, slowest: bool = False) -> Iterator[str]:
    """The headline, each reason for skips with its count, and each failure with its message."""
    yield headline(outcome)
    wrong = outcome.wrong_skips
    for reason, count in outcome.skipped.most_common():
        yield f"  skipped {count}: {reason}" + ("   <- WRONG: this kernel has it" if reason in wrong else "")
    if outcome.left_out:
        yield f"  left out, as the same on every architecture (marked generic): {', '.join(outcome.left_out)}"
    said = [(f"FAILED {test}", message) for test, message in outcome.failed.items()]
    said += [(f"UNSTEADY {test}: failed once, passed alone", how) for test, how in outcome.unsteady.items()]
    for title, message in said:
        yield f"  {title}"
        text = message.strip().splitlines()
        if len(text) > MOST_LINES:
            text = ["[...]", *text[-MOST_LINES:]]
        yield from (f"    {line}" for line in text)
    if outcome.problem:
        yield from (f"  {line}" for line in outcome.problem.splitlines())
    if slowest:
        yield from (f"  {line}" for line in outcome.slowest.splitlines())
        yield from (f"  {ms / 1000:.1f}s {module}" for module, ms in outcome.files.most_common(MOST_LINES))


def record(path: Path, outcomes: Iterable[Outcome]) -> None:
    """Put what was found into the table of a page: a row for each kernel, in the place of the one of an earlier run.

    :param path: of a Markdown file with such a table, or of one that is made.
    """
    text = path.read_text("utf-8") if path.exists() else "\n".join(HEAD) + "\n"
    before, head, rest = text.partition("\n".join(HEAD) + "\n")
    if not head:
        raise VmError(f"{path} has no table of kernels: it begins with the line {HEAD[0]}")
    lines = rest.split("\n")
    count = next((at for at, line in enumerate(lines) if not line.startswith("|")), len(lines))
    rows = {line.split("|")[1].strip(): line for line in lines[:count]}
    rows.update((outcome.kernel.name, _row(outcome)) for outcome in outcomes if not outcome.unavailable)
    order = [kernel.name for kernel in KERNELS]
    table = [rows[name] for name in sorted(rows, key=lambda name: order.index(name) if name in order else len(order))]
    path.write_text(before + head + "\n".join([*table, *lines[count:]]), "utf-8")


def _row(outcome: Outcome) -> str:
    cells = (
        outcome.kernel.name, outcome.version, time.strftime("%Y-%m-%d"), str(outcome.passed), str(len(outcome.failed)),
        str(len(outcome.unsteady)), _skips(outcome) + ("; INCOMPLETE" if outcome.problem else ""),
        f"{outcome.seconds:.0f}",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _skips(outcome: Outcome) -> str:
    """How many tests were skipped, and for which features of the kernel or other reasons."""
    why: Counter[str] = Counter()
    for reason, count in outcome.skipped.items():
        match = LACKS.search(reason)
        why[f"`{match[1]}`" if match else reason.partition(":")[0].replace("|", "/")] += count
    parts = ", ".join(f"{count} {reason}" for reason, count in why.most_common())
    return f"{sum(why.values())}: {parts}" if why else "0"
