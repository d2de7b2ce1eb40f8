"""Manual pages, made from what the tools say of themselves."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from pybpf.tool.command import examples_of, help_of, options_of, privileges_of, probes_of
from pybpf.tool.declare import Option, Tool

__all__ = ["page"]


def page(tool: Tool) -> str:
    """The manual page of a tool, in roff (section 8)."""
    from pybpf import __version__

    name = f"pybpf-{tool.name}"
    lines = [
        f'.TH "{name.upper()}" 8 "" "pybpf {__version__}"',
        ".SH NAME",
        f"{_text(name)} \\- {_text(tool.summary)}",
        ".SH SYNOPSIS",
        f".B pybpf {_text(tool.name)}",
        "[\\fIoptions\\fR] " + " ".join(_argument(each) for each in options_of(tool) if not _is_flag(each)),
        ".SH OPTIONS",
        *_options(tool),
    ]
    if tool.notes:
        lines += [".SH NOTES", ".nf", *(_text(line) for line in tool.notes.strip().splitlines()), ".fi"]
    lines += [".SH EXAMPLES"]
    for each in examples_of(tool):
        lines += [".TP", f".B pybpf {_text(tool.name)} {_text(each.arguments)}", f"{_text(each.text)}"]
    lines += [".SH PROBES", *(line for probe in probes_of(tool) for line in (".PP", _text(probe)))]
    needs = privileges_of(tool)
    lines += [".SH PRIVILEGES", _text(f"{needs[0].upper()}{needs[1:]}.")]
    return "\n".join([*lines, ".SH SEE ALSO", ".BR pybpf (8)", ""])


def _is_flag(option: Option) -> bool:
    return option.flags[0].startswith("-")


def _argument(option: Option) -> str:
    name = str(option.settings.get("metavar", option.flags[0]))
    return f"[\\fI{_text(name)}\\fR]" if option.settings.get("nargs") in ("?", "*") else f"\\fI{_text(name)}\\fR"


def _options(tool: Tool) -> Iterator[str]:
    for each in options_of(tool):
        if each.settings.get("help") == argparse.SUPPRESS:
            continue
        value = ""
        if _is_flag(each) and each.settings.get("action", "store") in ("store", "append"):
            value = f" \\fI{_text(str(each.settings.get('metavar', each.name.upper())))}\\fR"
        flags = ", ".join(f"\\fB{_text(flag)}\\fR{value}" for flag in each.flags) if _is_flag(each) else _argument(each)
        yield from (".TP", flags, _text(help_of(each)))


def _text(text: str) -> str:
    """Text that roff takes as it is."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text
