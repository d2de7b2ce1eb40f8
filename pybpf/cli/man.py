"""``pybpf man TOOL``: the manual page of a tracer."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Print a page in roff, as man(1) reads it."""
    from pybpf.cli.tools import find_tool, tool_names
    from pybpf.sys.near import did_you_mean
    from pybpf.tool.man import page

    parser = argparse.ArgumentParser(
        prog="pybpf man",
        description="Print the manual page of a tracer, in roff.",
        epilog="examples:\n  pybpf man opensnoop | man -l -\n  pybpf man opensnoop > pybpf-opensnoop.8",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("tool", metavar="TOOL")
    name = parser.parse_args(arguments).tool
    known = tool_names()
    if name not in known:
        print(f"pybpf man: no tracer {name!r}{did_you_mean(name, known)}", file=sys.stderr)
        return 2
    print(page(find_tool(name)), end="")
    return 0
