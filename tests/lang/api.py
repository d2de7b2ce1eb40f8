"""``docs/api.md``: every public name that programs with tracers use, from the code; ``python -m tests.lang.api`` writes
it anew.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pybpf
import pybpf.lang
from pybpf import Tracer
from pybpf.attach.kinds.iterator import IteratorLink
from pybpf.attach.link import Link, MultiLink
from pybpf.errors import BpfError
from pybpf.lang.state import ArrayOfMaps, Bloom, HashOfMaps, HistogramMap, Jumps, PerfCounter, Tally, TaskStorage
from pybpf.lang.state.maps import (
    Array,
    Hash,
    Lpm,
    LruHash,
    LruPerCpuHash,
    PerCpuArray,
    PerCpuHash,
    Queue,
    Stack,
    Variable,
)
from pybpf.lang.state.output import Events
from pybpf.report import LinearHistogram, Log2Histogram, Stats

__all__ = ["PAGE", "page"]

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
_HEAD = """\
# Every public name of the Python DSL

Written from the code by `python -m tests.lang.api`; `help()` of each name says the same. What a probe may do with maps
and values, and what it is refused, is in [language.md](language.md); how programs embed tracers in
[library.md](library.md).

Units: times of the kernel are nanoseconds, those that Python is given seconds; sizes are bytes. `Any` stands for a type
where maps are made, and for their keys and values where they are used. What is wrong of an argument is a `PackError`
(a value), a `DeclarationError` (a type) or a plain `BpfError`; maps raise `BpfError` before the tracer is attached,
`ClosedError` after it is closed, `KeyError` of a key that is not there, and `KernelError` of what the kernel refuses.
"""
#: heading, what stands below it, and the classes whose names follow
_PARTS: tuple[tuple[str, tuple[type, ...]], ...] = (
    ("Maps", (Hash, LruHash, PerCpuHash, LruPerCpuHash, Lpm, Array, PerCpuArray, Variable, Queue, Stack)),
    ("Rarer maps", (Bloom, TaskStorage, HashOfMaps, ArrayOfMaps, Jumps, PerfCounter)),
    ("Aggregates", (Tally, HistogramMap, Log2Histogram, LinearHistogram, Stats)),
    ("Events", (Events,)),
    ("Links", (Link, MultiLink, IteratorLink)),
)
#: for the tracer itself, and the compiler: not for those who use it
_INTERNAL = frozenset({
    "bind", "buffer", "counter", "counts", "create", "map", "own", "pumping", "reader", "spec", "through",
    "through_async", "type",
})  # fmt: skip
#: operators of Python that maps have
_OPERATORS = ("__getitem__", "__setitem__", "__delitem__", "__contains__", "__iter__", "__len__", "__aiter__")
_AS_WRITTEN = {
    "__getitem__": "x[key]", "__setitem__": "x[key] = value", "__delitem__": "del x[key]",
    "__contains__": "key in x", "__iter__": "for each in x", "__len__": "len(x)", "__aiter__": "async for each in x",
}  # fmt: skip


def _text(owner: Any) -> str:
    """A docstring as Markdown: its parameters as a list."""
    text = inspect.getdoc(owner) or ""
    text = re.sub(r":(?:class|meth|func|attr|mod|data):`~?([^`]*)`", r"`\1`", text).replace("``", "`")
    text = re.sub(r"`pybpf\.(?:[a-z_]+\.)*([A-Za-z_0-9]+)`", r"`\1`", text)
    lines = []
    for line in text.splitlines():
        found = re.match(r":(param|ivar|cvar|raises|return)s?\s?([^:]*): ?(.*)", line)
        if found:
            kind, names, rest = found.groups()
            what = f"raises `{names}`:" if kind == "raises" else "gives" if kind == "return" else f"`{names}`:"
            if lines and lines[-1] and not lines[-1].startswith(("- ", "  ")):
                lines.append("")
            lines.append(f"- {what} {rest}".rstrip())
        else:
            lines.append(re.sub("::$", ":", line))
    return "\n".join(lines)


def _signature(name: str, function: Any) -> str:
    signature = inspect.signature(function)
    shown, before = [], None
    for each in signature.parameters.values():
        if each.name == "self":
            continue
        if each.kind is each.KEYWORD_ONLY and before not in (each.KEYWORD_ONLY, each.VAR_POSITIONAL):
            shown.append("*")
        before = each.kind
        stars = {each.VAR_POSITIONAL: "*", each.VAR_KEYWORD: "**"}.get(each.kind, "")
        default = "" if each.default is each.empty else f" = {getattr(each.default, '__name__', repr(each.default))}"
        shown.append(f"{stars}{each.name}: {_plain(each.annotation)}{default}")
    return f"{name}({', '.join(shown)}) -> {_plain(signature.return_annotation)}"


def _plain(annotation: Any) -> str:
    return re.sub(r"\b(?:state|report|attach)\.", "", str(annotation))


def _members(kind: type, known: frozenset[str] = frozenset()) -> Iterator[tuple[str, str, str]]:
    """(name, how it is written, what it says) of the public names of a class, those of its bases too."""
    for name in sorted(dir(kind)):
        member = inspect.getattr_static(kind, name)
        if name in _INTERNAL or name in known or (name.startswith("_") and name not in _OPERATORS):
            continue
        if isinstance(member, property):
            yield name, name, _text(member)
        elif name in _OPERATORS and getattr(member, "__module__", "").startswith("pybpf"):
            yield name, _AS_WRITTEN[name], _text(member)
        elif inspect.isfunction(member):
            yield name, _signature(name, member), _text(member)


def _class(kind: type) -> Iterator[str]:
    yield f"### {kind.__name__}\n\n{_text(kind)}\n"
    inherited = next((base for base in kind.__mro__[1:] if base.__name__ in _TITLES), None)
    known = frozenset(name for name, _, _ in _members(inherited)) if inherited else frozenset()
    own = frozenset(vars(kind))
    shown = [(name, written, text) for name, written, text in _members(kind) if name not in known or name in own]
    if inherited is not None:
        yield f"All of `{inherited.__name__}`{', and:' if shown else '.'}\n"
    plain = [written for _, written, text in shown if not text]
    lines = ["- " + ", ".join(f"`{each}`" for each in plain)] if plain else []
    for _, written, text in shown:
        if text:
            first, _, rest = text.partition("\n\n")
            lines.append(f"- `{written}`: {' '.join(first.split())}")
            if rest:
                lines += ["", *(f"  {line}".rstrip() for line in rest.splitlines()), ""]
    yield "\n".join(lines) + "\n"


_TITLES = frozenset(kind.__name__ for _, kinds in _PARTS for kind in kinds)


def _tracer() -> Iterator[str]:
    groups = {"tracer": "Life and reading", "declare": "Decorators of probes", "making": "Maps and events",
              "counting": "Aggregates"}  # fmt: skip
    found: dict[str, list[str]] = {title: [] for title in groups.values()}
    for name, written, text in _members(Tracer):
        member = inspect.getattr_static(Tracer, name)
        module = (member.fget if isinstance(member, property) else member).__module__.rpartition(".")[2]
        found[groups[module]].append(f"#### {name}\n\n`{written}`\n\n{text}\n")
    yield f"## Tracer\n\n`{_signature('Tracer', Tracer.__init__).replace(' -> None', '')}`\n\n{_text(Tracer)}\n"
    bases = {each.__name__: each for each in Tracer.__mro__}
    shared = {"Decorators of probes": "Declares", "Maps and events": "Makes", "Aggregates": "MakesAggregates"}
    for title, texts in found.items():
        yield f"### {title}\n"
        if title in shared:
            yield _text(bases[shared[title]]) + "\n"
        yield from texts


def _builtins() -> Iterator[str]:
    yield "## Builtins of probes\n\nThe names of `pybpf.lang`; outside of probes each raises `BpfError`.\n"
    for name in sorted({*pybpf.lang.__all__, "enum", "random", "signal"}):
        value = getattr(pybpf.lang, name)
        if inspect.isclass(value) and value is not Tracer:
            yield f"### {name}\n\n{_text(value)}\n"
        elif value is not Tracer and callable(value):
            yield f"### {name}\n\n`{_signature(name, value)}`\n\n{_text(value)}\n"


def _errors() -> Iterator[str]:
    yield "## Errors\n"
    for name in sorted(pybpf.__all__):
        value = getattr(pybpf, name)
        if inspect.isclass(value) and issubclass(value, BpfError):
            bases = ", ".join(base.__name__ for base in value.__bases__)
            yield f"### {name}\n\nA `{bases}`. {_text(value)}\n"


def page() -> str:
    """The text of the page."""
    texts = [_HEAD, *_tracer()]
    for title, kinds in _PARTS:
        texts.append(f"## {title}\n")
        for kind in kinds:
            texts += _class(kind)
    return re.sub(r"\n{3,}", "\n\n", "\n".join([*texts, *_builtins(), *_errors()])).rstrip("\n") + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
