"""Time lines: what viewers need of the format, however the file ends."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybpf.report import TraceEvents

pytestmark = pytest.mark.pure

EVENTS = st.lists(
    st.tuples(st.text(max_size=5), st.integers(0, 2**62), st.none() | st.integers(0, 2**40), st.integers(0, 3),
              st.integers(0, 3), st.text(max_size=4)),
    max_size=8,
)  # fmt: skip


@given(EVENTS)
def test_every_event_is_there_once_and_threads_have_names(
    events: list[tuple[str, int, int | None, int, int, str]],
) -> None:
    stream = io.StringIO()
    trace = TraceEvents(stream, "tool")
    for number, event in enumerate(events):
        trace.add(*event, {"number": number})
    cut = stream.getvalue()
    trace.close()
    written = json.loads(stream.getvalue())["traceEvents"]
    assert json.loads(cut + "]}")["traceEvents"] == written  # a run that was killed
    names: dict[int, str] = {}
    open_pairs: dict[int, float] = {}
    seen = []
    for each in written:
        assert {"name", "ph", "pid", "tid"} <= set(each)
        if each["ph"] == "M":
            names[each["tid"]] = each["args"]["name"]
        elif each["ph"] == "e":
            assert open_pairs.pop(each["id"]) <= each["ts"]
        else:
            number = each["args"]["number"]
            _, time, lasted, pid, tid, comm = events[number]
            assert (each["ph"], each["pid"], each["tid"]) == ("i" if lasted is None else "b", pid, tid)
            assert each["ts"] == (time - (lasted or 0)) / 1000
            assert names[tid] == (comm if comm.isprintable() and "\\" not in comm else names[tid])
            seen.append(number)
            if lasted is not None:
                open_pairs[each["id"]] = each["ts"]
    assert seen == list(range(len(events))) and not open_pairs
    assert "\x1b" not in "".join(names.values())
