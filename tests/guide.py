"""A guide to tracing that may lie beside the tree: its scripts and command lines are tried as they stand."""

from __future__ import annotations

from pathlib import Path

__all__ = ["COPY", "find_guide"]

_TREE = Path(__file__).parent.parent
#: where it is in the copies of the tree that the guests of tests/vm get
COPY = ".guide"


def find_guide(tree: Path = _TREE) -> Path | None:
    """The folder of the guide, or None."""
    places = (tree / COPY, tree.parent / "shared" / "guide")
    return next((each for each in places if each.is_dir()), None)
