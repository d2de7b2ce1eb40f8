"""Counted stacks come back unchanged out of every form in which they are written."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybpf.report import Frame, StackCounts, flame_graph, folded, pprof, printable, speedscope
from pybpf.report.protobuf import message, packed, varint

pytestmark = pytest.mark.pure

awkward = ["main", "malloc", "a b", "std::map<int, char>", "x;y", "\x1b[31m", "]]>&\"'<"]
names = st.one_of(st.sampled_from(awkward), st.text())
kinds = st.sampled_from(["user", "kernel"])
functions = st.builds(Frame, names, kinds, st.sampled_from(["", "/usr/lib/libc.so.6", "k"]))
processes = st.builds(Frame, names, st.just("process"))
stacks = st.builds(
    lambda whose, calls: (*whose, *calls), st.lists(processes, max_size=1), st.lists(functions, max_size=6)
)
Pairs = list[tuple[tuple[Frame, ...], int]]
Counts = dict[tuple[Frame, ...], int]
counted: st.SearchStrategy[Pairs] = st.lists(st.tuples(stacks, st.integers(1, 1 << 40)), max_size=12)


def made(pairs: Pairs, unit: str = "count") -> tuple[StackCounts, Counts]:
    counts, expected = StackCounts("samples", unit), dict[tuple[Frame, ...], int]()
    for frames, value in pairs:
        counts.add(frames, value)
        expected[frames] = expected.get(frames, 0) + value
    return counts, expected


def test_what_is_not_above_zero_is_left_out() -> None:
    counts = StackCounts()
    counts.add([Frame("f")], 0)
    counts.add([Frame("f")], -3)
    assert len(counts) == counts.total == 0 and list(counts.boxes()) == []


@given(counted)
def test_boxes_stand_on_those_that_called_them(pairs: Pairs) -> None:
    counts, expected = made(pairs)
    boxes = list(counts.boxes())
    assert counts.total == sum(expected.values())
    for box in boxes:
        below = [b for b in boxes if b.row == box.row - 1 and b.start <= box.start < b.start + b.value]
        assert len(below) == (box.row > 0) and all(box.start + box.value <= b.start + b.value for b in below)
        assert not [b for b in boxes if b.row == box.row and box.start < b.start < box.start + box.value]
    # what stands at a place is the stack that is there
    at = 0
    for frames, value in sorted(expected.items()):
        found = sorted(box for box in boxes if box.start <= at < box.start + box.value)
        assert tuple(box.frame for box in sorted(found, key=lambda box: box.row)) == frames
        at += value


@given(counted, st.sampled_from(["", "-", "--"]), st.booleans())
def test_folded_lines(pairs: Pairs, delimiter: str, annotate: bool) -> None:
    counts, expected = made(pairs)
    lines = list(folded(counts, delimiter, annotate))
    assert len(lines) == len(expected) and all(line.isprintable() for line in lines)
    values = [int(line.rpartition(" ")[2]) for line in lines]
    assert values == sorted(values) and sum(values) == counts.total
    for line, (frames, value) in zip(lines, counts.items()):
        words = line.rpartition(" ")[0].split(";") if frames else []
        mark = "_[k]" if annotate else ""
        marked = [printable(f.name).replace(";", ":") + (mark if f.kind == "kernel" else "") for f in frames]
        for index in range(len(frames) - 1, 0, -1):
            if delimiter and (frames[index - 1].kind, frames[index].kind) == ("user", "kernel"):
                marked.insert(index, delimiter)
        assert words == marked and int(line.rpartition(" ")[2]) == value


@given(counted, st.sampled_from(["count", "bytes", "microseconds"]))
def test_speedscope(pairs: Pairs, unit: str) -> None:
    """The rules of its schema for sampled profiles, and what they say."""
    counts, expected = made(pairs, unit)
    whole = json.loads(speedscope(counts, "a title"))
    assert set(whole) == {"$schema", "shared", "profiles", "name", "activeProfileIndex", "exporter"}
    assert whole["$schema"] == "https://www.speedscope.app/file-format-schema.json" and whole["name"] == "a title"
    frames, (profile,) = whole["shared"]["frames"], whole["profiles"]
    assert all(isinstance(f["name"], str) and set(f) <= {"name", "file", "line", "col"} for f in frames)
    assert set(profile) == {"type", "name", "unit", "startValue", "endValue", "samples", "weights"}
    assert profile["type"] == "sampled" and profile["unit"] == ("none" if unit == "count" else unit)
    assert (profile["startValue"], profile["endValue"]) == (0, sum(profile["weights"]))
    read: dict[tuple[tuple[str, str], ...], int] = {}
    for sample, weight in zip(profile["samples"], profile["weights"]):
        key = tuple((frames[n]["name"], frames[n].get("file", "")) for n in sample)
        read[key] = read.get(key, 0) + weight
    wanted: dict[tuple[tuple[str, str], ...], int] = {}
    for stack, value in expected.items():
        key = tuple((f.name, f.path) for f in stack)
        wanted[key] = wanted.get(key, 0) + value
    assert read == wanted


# --- pprof, read by the numbers of fields of profile.proto


def integer(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        tag, at = integer(data, at)
        assert tag & 7 in (0, 2)
        value, at = integer(data, at)
        if tag & 7 == 2:
            assert at + value <= len(data)
            yield tag >> 3, data[at : at + value]
            at += value
        else:
            yield tag >> 3, value


def one(data: bytes) -> dict[int, int | bytes]:
    """A message whose fields come once."""
    found = list(fields(data))
    assert len(dict(found)) == len(found)
    return dict(found)


def integers(data: object) -> list[int]:
    assert isinstance(data, bytes)
    found, at = [], 0
    while at < len(data):
        value, at = integer(data, at)
        found.append(value)
    return found


@given(st.integers(-(1 << 63), (1 << 64) - 1))
def test_varints(value: int) -> None:
    assert integer(varint(value), 0) == (value % (1 << 64), len(varint(value)))
    assert integers(packed([value, 7])) == [value % (1 << 64), 7]


def test_a_message_as_the_documentation_of_the_format_has_it() -> None:
    assert message((1, 150)).hex() == "089601" and message((2, b"testing")).hex() == "120774657374696e67"
    assert message((1, 0)) == b"" and message((6, b"")) == b"\x32\x00"


@given(counted)
def test_pprof(pairs: Pairs) -> None:
    counts, expected = made(pairs, "bytes")
    whole = list(fields(gzip.decompress(pprof(counts, "a title", 12.5, 2.0))))
    parts: dict[int, list[bytes]] = {}
    for number, value in whole:
        if isinstance(value, bytes):
            parts.setdefault(number, []).append(value)
    strings = [text.decode() for text in parts[6]]
    assert strings[0] == "" and len(set(strings)) == len(strings)
    numbers = {13: strings.index("a title"), 9: 12_500_000_000, 10: 2_000_000_000}
    assert dict(f for f in whole if isinstance(f[1], int)) == numbers
    assert [one(kind) for kind in parts[1]] == [{1: strings.index("samples"), 2: strings.index("bytes")}]
    mappings = {m[1]: strings[int(m[5])] for m in map(one, parts.get(3, []))}
    functions = {f[1]: f for f in map(one, parts.get(5, []))}
    places: dict[int, tuple[str, str]] = {}
    for place in map(one, parts.get(4, [])):
        line = place[4]
        assert isinstance(line, bytes) and isinstance(place[1], int)
        function = functions[one(line)[1]]
        file = strings[int(function.get(4, 0))]
        assert file == (mappings[place[2]] if 2 in place else "")
        places[place[1]] = strings[int(function.get(2, 0))], file
    assert 0 not in places and 0 not in mappings and 0 not in functions
    read: dict[object, int] = {}
    for sample in (list(fields(data)) for data in parts.get(2, [])):
        content = dict(sample)
        labels = [one(data) for number, data in sample if number == 3 and isinstance(data, bytes)]
        assert all(strings[int(label[1])] == "process" for label in labels)
        whose = tuple(strings[int(label.get(2, 0))] for label in labels)
        key = whose, tuple(places[n] for n in reversed(integers(content[1])))
        (value,) = integers(content[2])
        read[key] = read.get(key, 0) + value
    wanted: dict[object, int] = {}
    for stack, value in expected.items():
        whose = tuple(text(f.name) for f in stack if f.kind == "process")
        key = whose, tuple((text(f.name), f.path) for f in stack if f.kind != "process")
        wanted[key] = wanted.get(key, 0) + value
    assert read == wanted


def text(name: str) -> str:
    """What cannot be encoded is escaped."""
    return name.encode("utf-8", "backslashreplace").decode()


# --- flame graphs

SVG = "{http://www.w3.org/2000/svg}"


@given(counted)
def test_flame_graph(pairs: Pairs) -> None:
    counts, _ = made(pairs)
    svg = flame_graph(counts, "title <&>")
    root = ElementTree.fromstring(svg.encode())
    assert root.tag == f"{SVG}svg" and root.findtext(f"{SVG}title") == "title <&>"
    area = root.find(f"{SVG}svg")
    assert area is not None
    read = sorted((int(g.get("data-row", "")), int(g.get("data-start", "")), int(g.get("data-value", "")),
                   g.get("data-name"), g.get("data-file", "")) for g in area)  # fmt: skip
    # one of 2**40 is narrower than what is drawn
    drawn = [box for box in counts.boxes() if box.value / counts.total * 1176 >= 0.1]
    wanted = [(b.row + 1, b.start, b.value, printable(b.frame.name), printable(b.frame.path)) for b in drawn]
    assert read == sorted(([(0, 0, counts.total, "all", "")] if pairs else []) + wanted)
    for g in area:
        rect, *labels = g
        assert float(rect.get("x", "").rstrip("%")) + float(rect.get("width", "").rstrip("%")) <= 100.001
        for label in labels:
            shown = label.text or ""
            assert (g.get("data-name") or "").startswith(shown[:-2] if shown.endswith("..") else shown)


def test_a_flame_graph_loads_nothing() -> None:
    counts = StackCounts()
    counts.add([Frame("f")])
    svg = re.sub(r'xmlns="[^"]*"|"http://www\.w3\.org/2000/svg"', "", flame_graph(counts, "t"))
    assert not re.search(r"https?:|href|url\(|@import|import\(|fetch|XMLHttp", svg)


CLICKS = """
<script>//<![CDATA[
window.addEventListener("load", function () {
  var find = function (name) {
    return Array.from(document.querySelectorAll(".boxes g")).find(function (g) { return g.dataset.name === name; });
  };
  var say = [], input = document.querySelector("input");
  var shown = function () {
    var visible = Array.from(document.querySelectorAll(".boxes g")).filter(g => g.style.display !== "none");
    return visible.map(g => g.dataset.name + "=" + parseFloat(g.firstElementChild.getAttribute("width"))).join(" ");
  };
  var words = name => document.querySelector("." + name).textContent;
  say.push(shown());
  find("parse").dispatchEvent(new MouseEvent("mouseover", {bubbles: true}));
  say.push(words("details"));
  find("parse").dispatchEvent(new MouseEvent("click", {bubbles: true}));
  say.push(shown());
  input.value = "^mal";
  input.dispatchEvent(new Event("input", {bubbles: true}));
  say.push(words("matched"));
  input.value = "(";
  input.dispatchEvent(new Event("input", {bubbles: true}));
  say.push(words("matched"));
  document.dispatchEvent(new KeyboardEvent("keydown", {key: "Escape"}));
  say.push(words("matched") + shown());
  document.dispatchEvent(new KeyboardEvent("keydown", {key: "Escape"}));
  say.push(shown());
  document.querySelector(".note").textContent = JSON.stringify(say);
});
//]]></script></svg>"""


def test_what_its_script_does_in_a_browser(tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no browser")
    counts = StackCounts()
    counts.add([Frame("main"), Frame("parse"), Frame("malloc")], 1)
    counts.add([Frame("main"), Frame("parse")], 1)
    counts.add([Frame("main"), Frame("run"), Frame("(anonymous)"), Frame("malloc")], 2)
    file = tmp_path / "flames.svg"
    svg = flame_graph(counts, "t")
    file.write_text(svg[: svg.rindex("</svg>")] + CLICKS)
    words = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    words.append(f"--user-data-dir={tmp_path}/profile")
    page = subprocess.run([*words, file.as_uri()], capture_output=True, text=True, timeout=60, check=True).stdout
    found = re.search(r'class="note"[^>]*>(.*?)</text>', page)
    assert found, page[:2000]
    assert json.loads(found[1].replace("&quot;", '"')) == [
        "all=100 main=100 parse=50 run=50 malloc=25 (anonymous)=50 malloc=50",
        "parse: 2 samples, 50.00%",
        "all=100 main=100 parse=100 malloc=50",
        "matched: 75.00%",
        "matched: 50.00%",  # no regular expression: the very text
        "all=100 main=100 parse=100 malloc=50",
        "all=100 main=100 parse=50 run=50 malloc=25 (anonymous)=50 malloc=50",
    ]
