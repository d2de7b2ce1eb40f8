"""Links: what they own and close, in which order, whatever fails; and the search for the place that refuses."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from errno import EINVAL, EMFILE, ENFILE, ENOMEM, ENOSPC

import pytest

from pybpf.attach import Link, MultiLink
from pybpf.attach.many import attach_many
from pybpf.errors import BpfError, ClosedError, KernelError, PermissionDenied, UnsupportedError
from pybpf.sys.fd import Fd

pytestmark = pytest.mark.pure


class Thing:
    """Something to close that keeps a record."""

    def __init__(self, name: str, record: list[str], error: Exception | None = None) -> None:
        self.name, self.record, self.error = name, record, error

    def close(self) -> None:
        self.record.append(self.name)
        if self.error is not None:
            raise self.error


def bare(target: str = "test", owned: Sequence[Thing] = ()) -> Link:
    """A link around a descriptor that is no BPF link."""
    return Link(Fd(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), target), target, is_bpf_link=False, owned=owned)


def test_what_is_owned_is_closed_once_after_the_descriptor() -> None:
    record: list[str] = []
    link = bare(owned=[Thing("first", record), Thing("second", record)])
    link.own(Thing("own", record))
    with link:
        assert not link.closed
    assert link.closed
    assert record == ["second", "first", "own"]
    link.close()
    assert len(record) == 3


def test_every_thing_is_closed_whatever_fails() -> None:
    record: list[str] = []
    one = bare("one", [Thing("a", record, ValueError("a"))])
    two = bare("two", [Thing("b", record)])
    multi = MultiLink([one, two], "both", owned=[Thing("c", record, ValueError("c"))])
    with pytest.raises(ValueError, match="c"):
        multi.close()
    assert one.closed and two.closed and multi.closed
    assert record == ["b", "a", "c"]
    multi.close()


def test_many_links_are_closed_by_two_threads_whatever_fails() -> None:
    record: list[str] = []
    threads: set[int] = set()
    both = threading.Barrier(2, timeout=60)

    class Meeting(Thing):
        def close(self) -> None:
            threads.add(threading.get_ident())
            super().close()
            both.wait()

    links = [bare(str(number), [Meeting(str(number), record)]) for number in range(20)]
    links[7].own(Thing("fails", record, ValueError("fails")))
    multi = MultiLink(links, "all", owned=[Thing("program", record)])
    with pytest.raises(ValueError, match="fails"):
        multi.close()
    assert len(threads) == 2 and all(link.closed for link in links)
    assert sorted(record[:-1]) == sorted([*map(str, range(20)), "fails"]) and record[-1] == "program"
    multi.close()
    assert len(record) == 22


def test_closed_link_is_refused() -> None:
    link = bare()
    link.close()
    multi = MultiLink([link], "all")
    multi.close()
    for ask in (link.fileno, link.info, lambda: link.missed, lambda: link.pin("/x"), lambda: multi.missed):
        with pytest.raises(ClosedError):
            ask()
    assert "closed" in repr(link) and "closed" in repr(multi)


def test_perf_event_has_no_link_information() -> None:
    with bare() as link:
        assert link.missed is None
        with pytest.raises(UnsupportedError, match=r"cannot read the link information of test: .*perf event"):
            link.info()


def test_many_links_as_one() -> None:
    failures = [("bad", BpfError("no"))]
    links = [bare("a"), bare("b")]
    with MultiLink(links, "all", failures=failures) as multi:
        assert list(multi) == links
        assert len(multi) == 2
        assert multi.failures == failures
        assert multi.missed is None
    assert all(link.closed for link in links)


class Kernel:
    """Refuses every call that has a bad index."""

    def __init__(self, *bad: int, error: type[KernelError] = KernelError, errno: int = EINVAL) -> None:
        self.bad, self.error, self.errno = set(bad), error, errno
        self.calls = 0
        self.links: list[Link] = []
        self.attached: list[int] = []

    def attach(self, indices: Sequence[int]) -> Link:
        self.calls += 1
        if self.bad & set(indices):
            raise self.error("attach", self.errno, str(min(self.bad & set(indices))))
        self.attached += indices
        self.links.append(bare())
        return self.links[-1]


NAMES = [f"f{index}" for index in range(100)]


@pytest.mark.parametrize("bad", [(), (0,), (99,), (50,), (0, 1, 2), (3, 50, 97), tuple(range(1, 100))])
def test_bad_places_are_found_and_skipped(bad: tuple[int, ...]) -> None:
    kernel = Kernel(*bad)
    links, failures = attach_many(NAMES, kernel.attach, [range(100)], skip_failures=True)
    for link in links:
        link.close()
    assert kernel.attached == [index for index in range(100) if index not in bad]  # in order, each once
    assert [name for name, _ in failures] == [f"f{index}" for index in bad]
    assert all(str(index) in str(error) for index, (_, error) in zip(bad, failures))
    if len(bad) == 1:
        assert kernel.calls <= 16  # 2 log2(100) + 1


def test_first_bad_place_is_named_and_nothing_stays() -> None:
    kernel = Kernel(40, 70)
    with pytest.raises(KernelError, match="cannot attach: 40"):
        attach_many(NAMES, kernel.attach, [range(100)])
    assert kernel.links and all(link.closed for link in kernel.links)


def test_all_bad() -> None:
    kernel = Kernel(*range(100))
    with pytest.raises(KernelError, match="cannot attach: 0"):
        attach_many(NAMES, kernel.attach, [range(100)], skip_failures=True)


def test_lack_of_privileges_is_not_searched_for() -> None:
    kernel = Kernel(*range(100), error=PermissionDenied)
    with pytest.raises(PermissionDenied):
        attach_many(NAMES, kernel.attach, [range(100)], skip_failures=True)
    assert kernel.calls == 1


@pytest.mark.parametrize("errno", [EMFILE, ENFILE, ENOMEM, ENOSPC])
@pytest.mark.parametrize("parts", [[range(100)], [[index] for index in range(100)]], ids=["at once", "one by one"])
def test_lack_of_room_is_not_searched_for(errno: int, parts: list[Sequence[int]]) -> None:
    kernel = Kernel(50, errno=errno)
    with pytest.raises(KernelError):
        attach_many(NAMES, kernel.attach, parts, skip_failures=True)
    assert kernel.calls == (1 if len(parts) == 1 else 51)
    assert all(link.closed for link in kernel.links)


def test_one_by_one() -> None:
    kernel = Kernel(5)
    parts = [[index] for index in range(10)]
    links, failures = attach_many(NAMES[:10], kernel.attach, parts, skip_failures=True)
    for link in links:
        link.close()
    assert (len(links), [name for name, _ in failures], kernel.calls) == (9, ["f5"], 10)
