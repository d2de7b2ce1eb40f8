"""The command line of a tool: an option parser and its help, made from what the tool says of itself."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import NoReturn

from pybpf.tool.declare import Example, Option, Tool
from pybpf.tool.options import VERBOSE

__all__ = ["examples_of", "options_of", "parse", "parser_of", "privileges_of", "probes_of"]


def options_of(tool: Tool) -> list[Option]:
    """The options with the flags that they have in this tool: shared ones leave theirs to others before them."""
    given = [*tool.options, *([] if any(each.name == VERBOSE.name for each in tool.options) else [VERBOSE])]
    taken = {flag for each in given if not each.shared for flag in each.flags}
    result = []
    for each in given:
        if each.shared:
            each = each._replace(flags=tuple(flag for flag in each.flags if flag not in taken))
            taken.update(each.flags)
        if each.flags:
            result.append(each)
    return result


def examples_of(tool: Tool) -> list[Example]:
    """The tool's examples."""
    return [Example(*each) for each in tool.examples]


def probes_of(tool: Tool, here: bool = False) -> list[str]:
    """What the tool attaches to, a line each.

    :param here: say which of several this kernel has, where that can be found out.
    """
    return [each if isinstance(each, str) else each.describe(here) for each in tool.probes]


def privileges_of(tool: Tool) -> str:
    """What the tool needs, for people."""
    return tool.privileges or (f"root, or {' and '.join(tool.needs)}" if tool.needs else "no privileges")


def help_of(option: Option) -> str:
    """The help of an option, with its default."""
    text = str(option.settings.get("help", ""))
    default = option.settings.get("default")
    if default in (None, False, "") or default == argparse.SUPPRESS or "default" in text:
        return text
    return f"{text} (default: {default})"


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28)


class _Parser(argparse.ArgumentParser):
    """An option parser whose help says what is below the options only when it is printed: that takes a look."""

    tool: Tool

    def format_help(self) -> str:
        self.epilog = "\n".join(_epilog(self.tool))
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        """What is wrong, in a line."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _epilog(tool: Tool) -> Iterator[str]:
    examples = examples_of(tool)
    width = max((len(each.arguments) for each in examples), default=0)
    if examples:
        yield "examples:"
        for each in examples:
            yield f"  pybpf {tool.name} {each.arguments:<{width}}  {each.text}"
        yield ""
    if tool.notes:
        yield from (*tool.notes.strip().splitlines(), "")
    yield "attaches to:"
    yield from (f"  {line}" for line in probes_of(tool, here=True))
    yield ""
    yield f"needs: {privileges_of(tool)}"


def parser_of(tool: Tool) -> argparse.ArgumentParser:
    """The parser of a tool's options."""
    parser = _Parser(
        prog=f"pybpf {tool.name}",
        description=f"{tool.summary[:1].upper()}{tool.summary[1:]}.",
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    parser.tool = tool
    groups: dict[str, argparse._ArgumentGroup] = {}
    for each in options_of(tool):
        if each.group and each.group not in groups:
            groups[each.group] = parser.add_argument_group(each.group)
        to = groups[each.group] if each.group else parser
        settings = dict(each.settings)
        if settings.get("help") != argparse.SUPPRESS:
            settings["help"] = help_of(each).replace("%", "%%")
        to.add_argument(*each.flags, **settings)
    return parser


def parse(tool: Tool, arguments: Sequence[str]) -> argparse.Namespace:
    """The options; ends the process with a message and exit code 2 where they are wrong, also together."""
    parser = parser_of(tool)
    options = parser.parse_args(arguments)
    wrong = _clash(options) or (tool.check(options) if tool.check else "")
    if wrong:
        parser.error(wrong)
    return options


def _clash(options: argparse.Namespace) -> str:
    """What is wrong with shared options together, or ``""``."""
    chosen = vars(options)
    has = {name for name, value in chosen.items() if value is not None and value is not False}
    command = has & {"exec", "command"}
    if "exec" in has and not chosen["exec"]:
        return "--exec takes a command"
    if command and (has & {"pid", "tid"} or len(command) > 1):
        return f"--{min(command)} takes a command, and neither --pid nor --tid with it"
    if "follow" in has and not (command or "pid" in has):
        return "--follow needs a process: --pid, or a command"
    forms = [form for form in ("json", "csv", "folded") if form in has]
    if len(forms) > 1:
        return f"--{forms[0]} and --{forms[1]} exclude each other"
    if {"cgroup", "container"} <= has:
        return "--cgroup and --container exclude each other"
    return ""
