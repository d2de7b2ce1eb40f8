"""Outcomes as text: for the terminal, and as a Markdown table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .suite import Outcome

__all__ = ["headline", "lines", "markdown"]

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


def markdown(outcomes: Sequence[Outcome]) -> str:
    """A table: one row per kernel."""
    rows = [
        "| kernel | version | passed | failed | skipped, and why | boot, s | total, s |",
        "| --- | --- | ---: | ---: | --- | ---: | ---: |",
    ]
    for outcome in outcomes:
        why = "; ".join(f"{count}: {reason}" for reason, count in outcome.skipped.most_common())
        if outcome.unavailable or outcome.problem:
            why = " ".join(filter(None, [why, (outcome.unavailable or outcome.problem).splitlines()[0]]))
        cells = [
            outcome.kernel.name, outcome.version, str(outcome.passed), str(len(outcome.failed)),
            why.replace("|", "\\|"), f"{outcome.boot:.1f}", f"{outcome.seconds:.0f}",
        ]  # fmt: skip
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"
