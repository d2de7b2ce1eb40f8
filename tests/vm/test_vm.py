"""The whole suite inside each kernel that CI covers, and the harness's own promises."""

from __future__ import annotations

import faulthandler
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.again import UNSTEADY

from . import report, suite
from .cache import VmError
from .conftest import OUTCOMES
from .kernels import KERNELS, Kernel
from .suite import Outcome

#: fewer passed tests than this mean that the suite did not really run
FEWEST = 20
CHOSEN = [kernel for kernel in KERNELS if kernel.ci]


@pytest.fixture(scope="session")
def runs(request: pytest.FixtureRequest) -> Iterator[dict[Kernel, Future[Outcome]]]:
    """The suite's runs in all the kernels that this session asks for, two at a time, started at once.

    The newest first: they have most to do. When the session is interrupted it says what each was doing.
    """
    selected = {item.name for item in request.session.items}
    chosen = [kernel for kernel in CHOSEN if f"test_suite_in_kernel[{kernel.name}]" in selected]
    stop = threading.Event()
    pool = ThreadPoolExecutor(2)
    running = {kernel: pool.submit(suite.run, kernel, stop=stop) for kernel in reversed(chosen)}
    yield running
    stop.set()
    pool.shutdown(cancel_futures=True)
    outcomes = request.config.stash[OUTCOMES]
    known = {outcome.kernel for outcome in outcomes}
    outcomes += [each.result() for kernel, each in running.items() if kernel not in known and not each.cancelled()]


@pytest.mark.vm
@pytest.mark.parametrize("kernel", CHOSEN, ids=lambda kernel: kernel.name)
def test_suite_in_kernel(
    kernel: Kernel,
    runs: dict[Kernel, Future[Outcome]],
    pytestconfig: pytest.Config,
    record_property: Callable[[str, object], None],
) -> None:
    faulthandler.cancel_dump_traceback_later()  # pytest's: it shows where tests hang, and this one waits long
    outcome = runs[kernel].result()
    pytestconfig.stash[OUTCOMES].append(outcome)
    record_property("kernel", report.headline(outcome))
    if outcome.unavailable and (kernel.optional or os.environ.get("CI") != "true"):
        pytest.skip(outcome.unavailable)
    problems = [outcome.unavailable, outcome.problem]
    problems += (f"failed: {test}" for test in outcome.failed)
    problems += (f"this kernel has what {count} tests skipped: {why}" for why, count in outcome.wrong_skips.items())
    if outcome.passed < FEWEST or outcome.passed < sum(outcome.skipped.values()):
        problems.append("too few tests passed to call this a run of the suite")
    if any(problems):
        # The section "kernels" at the end has the details.
        pytest.fail("\n".join([report.headline(outcome), *filter(None, problems)]), pytrace=False)


def test_a_skip_for_a_feature_that_the_kernel_has_is_wrong() -> None:
    kernel = Kernel("test", "x86_64", "6.1", lacks=frozenset(["kprobe_multi"]))
    fine = Counter({"kernel lacks kprobe_multi: EOPNOTSUPP": 3, "bpftool is not installed": 1})
    assert Outcome(kernel, passed=1, skipped=fine).good
    outcome = Outcome(kernel, passed=1, skipped=fine + Counter({"kernel lacks kprobe: EINVAL": 2}))
    assert outcome.wrong_skips == {"kernel lacks kprobe: EINVAL": 2}
    assert not outcome.good


def test_an_unsteady_test_is_told_and_fails_nothing(tmp_path: Path) -> None:
    junit = tmp_path / "junit.xml"
    junit.write_text(f"""<testsuites><testsuite>
      <testcase classname="tests.a" name="b"><properties><property name="{UNSTEADY}" value="too late"/></properties>
      </testcase><testcase classname="tests.a" name="c"/></testsuite></testsuites>""")
    outcome = Outcome(KERNELS[0])
    suite.read_junit(outcome, junit)
    assert outcome.good and outcome.passed == 2 and outcome.unsteady == {"tests.a::b": "too late"}
    said = list(report.lines(outcome))
    assert "2 passed, 0 failed, 1 unsteady, 0 skipped" in said[0]
    assert said[1:] == ["  UNSTEADY tests.a::b: failed once, passed alone", "    too late"]


def test_what_is_left_out() -> None:
    markers = suite.markers_left_out("x86_64")
    assert set(suite.markers_left_out("aarch64")) - set(markers) == {"generic"}
    left_out = suite.left_out(*markers)
    assert {"tests/examples/test_examples.py", "tests/asm/test_table.py"} <= set(left_out)
    assert not {"tests/asm/test_execute.py", "tests/vm/test_vm.py"} & set(left_out)
    # pytest takes an --ignore of nothing without a word
    assert [path for path in left_out if not (suite.SOURCE / path).exists()] == []
    generic = suite.left_out("generic")
    assert "tests/maps/test_ring_readers.py" in generic and not set(generic) & set(left_out)
    said = list(report.lines(Outcome(KERNELS[0], passed=1, left_out=generic)))
    assert said[1].endswith(f"(marked generic): {', '.join(generic)}")


@pytest.mark.pure
def test_what_a_run_found_takes_the_place_of_what_an_older_one_did(tmp_path: Path) -> None:
    page = tmp_path / "kernels.md"
    first, second = KERNELS[1], KERNELS[2]
    page.write_text("# Kernels\n\n" + "\n".join(report.HEAD) + f"\n| {second.name} | 6.0 | old |\n\nMore.\n")
    skips = Counter({"kernel lacks arena: EINVAL": 3, "kernel refuses arena: EPERM": 1, "no tc: none|here": 2})
    report.record(page, [
        Outcome(second, version="6.2", passed=7, failed={"a": "b"}, unsteady={"c": "d"}, skipped=skips, seconds=8.6),
        Outcome(first, version="6.1", passed=5, problem="it died"), Outcome(KERNELS[0], unavailable="gone"),
    ])  # fmt: skip
    today = time.strftime("%Y-%m-%d")
    assert page.read_text() == "\n".join([
        "# Kernels", "", *report.HEAD, f"| {first.name} | 6.1 | {today} | 5 | 0 | 0 | 0; INCOMPLETE | 0 |",
        f"| {second.name} | 6.2 | {today} | 7 | 1 | 1 | 6: 4 `arena`, 2 no tc | 9 |", "", "More.", "",
    ])  # fmt: skip
    with pytest.raises(VmError, match="has no table of kernels"):
        report.record(Path(__file__), [])
    report.record(tmp_path / "new.md", [])
    assert (tmp_path / "new.md").read_text() == "\n".join(report.HEAD) + "\n"


@pytest.mark.pure
def test_the_page_of_kernels() -> None:
    """It has the table, with rows of kernels that there are, and nothing failed there."""
    _, head, table = (suite.SOURCE / "docs/kernels.md").read_text("utf-8").partition("\n".join(report.HEAD) + "\n")
    assert head
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.split("\n\n")[0].splitlines()]
    assert {row[0] for row in rows} <= {kernel.name for kernel in KERNELS}
    for _, _, date, passed, failed, unsteady, skipped, seconds in rows:
        assert time.strptime(date, "%Y-%m-%d") and int(passed) > int(skipped.partition(":")[0])
        assert int(failed) == 0 and int(unsteady) >= 0 and int(seconds) > 0 and "INCOMPLETE" not in skipped


def test_an_empty_run_is_not_good() -> None:
    assert not Outcome(KERNELS[0]).good
