"""Iterators over the kernel's objects, which can be None: what is read behind the question, and joined with others."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pybpf import CompileError, Tracer, UnsupportedError, char, s32
from pybpf.lang import current_task, ktime_ns

pytestmark = [pytest.mark.root, pytest.mark.needs("iter")]

PID = os.getpid()


def own_task(names: Any, task: Any) -> None:
    if task is None:
        return
    if task.tgid == PID:
        names[task.pid] = task.comm


def in_a_loop(names: Any, task: Any) -> None:
    if not task:
        return
    for number in range(600):
        if task.tgid == PID and number == 500:
            names[task.pid] = task.comm


def joined_with_none(names: Any, task: Any) -> None:
    mine = task if ktime_ns() else None
    if mine is not None and mine.tgid == PID:
        names[mine.pid] = mine.comm


def twice(names: Any, task: Any) -> None:
    found = task
    for _ in range(2):
        if found is None:
            return
        found = found.group_leader
    if task is not None and found is not None and task.tgid == PID and found.tgid == PID:
        names[task.pid] = task.comm


def joined_with_another(names: Any, task: Any) -> None:
    if task is None or task.tgid != PID:
        return
    found = task.group_leader  # which the verifier lets a program follow by itself
    if not ktime_ns():
        found = current_task()
    names[task.pid] = found.comm


def by_a_function(names: Any, task: Any) -> None:
    found = matching(task)
    if found is not None:
        names[found.pid] = found.comm


def matching(task: Any) -> Any:
    if task is None or task.tgid != PID:
        return None
    return task


@pytest.mark.parametrize(
    "body",
    [own_task, in_a_loop, joined_with_none, twice, joined_with_another, by_a_function],
    ids=lambda body: body.__name__,
)
def test_tasks_of_this_process(body: Callable[..., None]) -> None:
    tracer = Tracer()
    names = tracer.hash(s32, char[16], name="names")

    @tracer.iterator("task")
    def each(task):  # type: ignore[no-untyped-def]
        body(names, task)

    with tracer:
        (link,) = tracer.links(each)
        list(link.read())  # type: ignore[union-attr]
        tasks = Path("/proc/self/task")
        leader = (tasks / str(PID) / "comm").read_text().strip()
        comms = {int(each.name): (each / "comm").read_text().strip() for each in tasks.iterdir()}
        if body is joined_with_another:
            comms = dict.fromkeys(comms, leader)
        assert dict(names.items()) == comms


def test_one_that_is_not_asked_for_is_refused() -> None:
    tracer = Tracer()
    names = tracer.hash(s32, char[16], name="names")

    @tracer.iterator("task")
    def each(meta, task):  # type: ignore[no-untyped-def]
        if meta.seq_num:
            names[task.pid] = "it"

    with pytest.raises(CompileError, match="'task' may give None: write 'if x is not None:'") as refused:
        tracer.compile()
    assert refused.value.text.strip() == 'names[task.pid] = "it"'


@pytest.mark.parametrize(("pid", "others"), [(PID, False), (None, True)])
def test_the_process_of_a_tracer_is_the_only_one_that_is_visited(pid: int | None, others: bool) -> None:
    tracer = Tracer(pid=pid)
    seen = tracer.hash(s32, s32, name="seen", max_entries=100_000)

    @tracer.iterator("task")
    def each(task):  # type: ignore[no-untyped-def]
        if task is not None:
            seen[task.pid] = task.tgid

    try:
        tracer.attach()
    except UnsupportedError:
        tracer.close()
        assert pid
        pytest.skip("kernel cannot limit an iterator to a process (Linux 6.1)")
    with closing(tracer):
        (link,) = tracer.links(each)
        list(link.read())  # type: ignore[union-attr]
        assert PID in seen.values() and (set(seen.values()) != {PID}) == others
