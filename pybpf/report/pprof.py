"""Stacks as pprof reads them: ``profile.proto`` (https://github.com/google/pprof), compressed."""

from __future__ import annotations

import gzip
from typing import TypeVar

from pybpf.report.protobuf import message, packed
from pybpf.report.stacks import Frame, StackCounts

__all__ = ["pprof"]

T = TypeVar("T")

#: numbers of fields, by message: proto/profile.proto
_SAMPLE_TYPE, _SAMPLE, _MAPPING, _LOCATION, _FUNCTION, _STRINGS, _TIME, _DURATION = 1, 2, 3, 4, 5, 6, 9, 10
_COMMENT = 13


def pprof(stacks: StackCounts, title: str, started: float = 0.0, seconds: float = 0.0) -> bytes:
    """A profile with one type of value. Whose stack it is becomes a label of the sample, ``process``.

    :param title: becomes the profile's comment.
    :param started: when, in seconds since 1970; 0: it is not known.
    :param seconds: how long it took; 0: that is not known.
    """
    strings: _Numbers[str] = _Numbers(0)
    functions: _Numbers[Frame] = _Numbers(1)
    strings[""]  # has to be the first one
    kind = message((1, strings[stacks.measure]), (2, strings[stacks.unit]))
    samples = []
    for frames, value in stacks.items():
        calls = [functions[frame] for frame in reversed(frames) if frame.kind != "process"]
        whose = [frame.name for frame in frames if frame.kind == "process"]
        labels = [(3, message((1, strings["process"]), (2, strings[name]))) for name in whose]
        samples.append(message((1, packed(calls)), (2, packed([value])), *labels))
    return gzip.compress(
        message(
            (_SAMPLE_TYPE, kind),
            *((_SAMPLE, sample) for sample in samples),
            *_places(functions, strings),
            (_COMMENT, strings[title]),
            (_TIME, int(started * 1e9)),
            (_DURATION, int(seconds * 1e9)),
            *((_STRINGS, text.encode("utf-8", "backslashreplace")) for text in strings),
        ),
        mtime=0,
    )


def _places(functions: _Numbers[Frame], strings: _Numbers[str]) -> list[tuple[int, bytes]]:
    """Functions, the locations (one in each), and the files that they are in. Addresses differ from process to process,
    and are left out."""
    mappings: _Numbers[str] = _Numbers(1)
    fields = []
    for number, frame in enumerate(functions, 1):
        name, path = strings[frame.name], strings[frame.path]
        mapping = mappings[frame.path] if frame.path else 0
        fields.append((_LOCATION, message((1, number), (2, mapping), (4, message((1, number))))))
        fields.append((_FUNCTION, message((1, number), (2, name), (3, name), (4, path))))
    for number, file in enumerate(mappings, 1):
        fields.append((_MAPPING, message((1, number), (5, strings[file]), (7, 1))))
    return fields


class _Numbers(dict[T, int]):
    """Gives what it is asked for the next number, and the same one again."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self._first = first

    def __missing__(self, key: T) -> int:
        self[key] = number = self._first + len(self)
        return number
