"""``docs/api.md`` has every public name; what writes it takes it from the code."""

from __future__ import annotations

import inspect
import pydoc
import re

import pytest

import pybpf.lang
from pybpf import Tracer
from tests.lang.api import PAGE, page

pytestmark = pytest.mark.pure

OF_TRACER = {name for name in dir(Tracer) if not name.startswith("_")}
WRITTEN = PAGE.read_text("utf-8")


def names(text: str) -> set[str]:
    """The headings of a page, and the names of its lists."""
    return set(re.findall(r"^(?:#+ |- `)(\w+)", text, re.MULTILINE))


def test_no_name_is_missing() -> None:
    missing = names(page()) - names(WRITTEN)
    assert not missing, "write the page anew by 'python -m tests.lang.api'"
    assert OF_TRACER - {"pumping"} | set(pybpf.lang.__all__) <= names(WRITTEN)  # that one is for the tools
    assert len(names(WRITTEN)) > 180


@pytest.mark.parametrize("name", sorted(OF_TRACER))
def test_every_name_of_a_tracer_says_what_it_is(name: str) -> None:
    assert len((getattr(Tracer, name).__doc__ or "").split()) >= 3


BUILTINS = sorted(
    name for name in (*pybpf.lang.__all__, "enum", "random", "signal") if not inspect.isclass(getattr(pybpf.lang, name))
)


@pytest.mark.parametrize("name", BUILTINS)
def test_builtins_are_shown_with_what_they_take(name: str) -> None:
    taken = list(inspect.signature(getattr(pybpf.lang, name)).parameters)
    line = next(iter(re.findall(rf"^### {name}\n\n`{name}\((.*)\) -> .*`$", WRITTEN, re.MULTILINE)))
    assert re.findall(r"(?:^|, )\**(\w+):", line) == taken


def test_help_of_a_builtin_shows_what_it_takes() -> None:
    shown = pydoc.plain(pydoc.render_doc(pybpf.lang.read_user_str))
    assert re.search(r"^read_user_str\(pointer: .*, most: .*\) -> ", shown, re.MULTILINE)
