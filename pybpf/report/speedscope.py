"""Stacks for speedscope (https://www.speedscope.app), which shows them in a browser: its JSON format."""

from __future__ import annotations

import json

from pybpf.report.stacks import Frame, StackCounts

__all__ = ["speedscope"]

_SCHEMA = "https://www.speedscope.app/file-format-schema.json"
#: the units that the format knows; counts have none
_UNITS = ("bytes", "nanoseconds", "microseconds", "milliseconds", "seconds")


def speedscope(stacks: StackCounts, title: str) -> str:
    """A file of the format, with one sampled profile.

    :param title: what its user sees of it.
    """
    numbers: dict[Frame, int] = {}
    samples, weights = [], []
    for frames, value in stacks.items():
        samples.append([numbers.setdefault(frame, len(numbers)) for frame in frames])
        weights.append(value)
    profile = {
        "type": "sampled",
        "name": stacks.measure,
        "unit": stacks.unit if stacks.unit in _UNITS else "none",
        "startValue": 0,
        "endValue": stacks.total,
        "samples": samples,
        "weights": weights,
    }
    whole = {
        "$schema": _SCHEMA,
        "shared": {"frames": [_frame(each) for each in numbers]},
        "profiles": [profile],
        "name": title,
        "activeProfileIndex": 0,
        "exporter": "pybpf",
    }
    return json.dumps(whole)


def _frame(frame: Frame) -> dict[str, str]:
    return {"name": frame.name, **({"file": frame.path} if frame.path else {})}
