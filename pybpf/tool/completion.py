"""Completions of commands and options for shells, made from what the tools say of themselves."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

from pybpf.tool.command import options_of
from pybpf.tool.declare import Option, Tool

__all__ = ["SHELLS"]

_HELP = "show the help and exit"


def _flags(tool: Tool) -> list[Option]:
    """The options that have flags, the one for help first."""
    given = [each for each in options_of(tool) if each.flags[0].startswith("-")]
    return [Option(("-h", "--help"), {"action": "store_true", "help": _HELP}), *given]


def _takes_value(option: Option) -> bool:
    return option.settings.get("action", "store") in ("store", "append")


def _help(option: Option) -> str:
    text = str(option.settings.get("help", ""))
    return "" if text == argparse.SUPPRESS else text


def _bash(tools: Sequence[Tool], commands: Mapping[str, str]) -> str:
    cases = [f"        {tool.name}) words='{' '.join(f for o in _flags(tool) for f in o.flags)}' ;;" for tool in tools]
    names = " ".join([*(tool.name for tool in tools), *commands])
    return "\n".join([
        "# completions of pybpf for bash",
        "_pybpf() {",
        "    local words=''",
        '    local word="${COMP_WORDS[COMP_CWORD]}"',
        '    if [ "$COMP_CWORD" -eq 1 ]; then',
        f"        words='{names} --help --version'",
        '    else case "${COMP_WORDS[1]}" in',
        *cases,
        "    esac; fi",
        '    COMPREPLY=($(compgen -W "$words" -- "$word"))',
        "}",
        "complete -o default -F _pybpf pybpf",
        "",
    ])  # fmt: skip


def _quoted(text: str, special: str) -> str:
    """For single quotes of a shell, with a backslash before what is special to the completer."""
    return "".join(f"\\{c}" if c in special else c for c in text).replace("'", "'\\''")


def _zsh_option(option: Option) -> Iterator[str]:
    for flag in option.flags:
        value = ":value:_default" if _takes_value(option) else ""
        others = " ".join(option.flags)
        yield f"'({others}){flag}[{_quoted(_help(option), '[]:')}]{value}'"


def _zsh(tools: Sequence[Tool], commands: Mapping[str, str]) -> str:
    every = {**{tool.name: tool.summary for tool in tools}, **commands}
    lines = ["#compdef pybpf", "# completions of pybpf for zsh", "_pybpf() {", "    local -a commands=("]
    lines += [f"        '{name}:{_quoted(text, ':')}'" for name, text in every.items()]
    lines += ["    )", "    if (( CURRENT == 2 )); then", "        _describe 'command' commands; return", "    fi",
              "    local command=$words[2]", "    shift words; (( CURRENT-- ))", "    case $command in"]  # fmt: skip
    for tool in tools:
        lines.append(f"        {tool.name}) _arguments \\")
        lines += [f"            {text} \\" for each in _flags(tool) for text in _zsh_option(each)]
        lines.append("            '*::argument:_default' ;;")
    return "\n".join([*lines, "        *) _default ;;", "    esac", "}", '_pybpf "$@"', ""])


def _fish(tools: Sequence[Tool], commands: Mapping[str, str]) -> str:
    every = {**{tool.name: tool.summary for tool in tools}, **commands}
    lines = ["# completions of pybpf for fish"]
    first = "__fish_is_first_arg" if every else ""
    lines += [f"complete -c pybpf -f -n {first} -a {name} -d '{_quoted(text, '')}'" for name, text in every.items()]
    for tool in tools:
        for each in _flags(tool):
            words = [f"-{'l' if f.startswith('--') else 's'} {f.lstrip('-')}" for f in each.flags]
            value = " -r" if _takes_value(each) else ""
            lines.append(
                f"complete -c pybpf -n '__fish_seen_subcommand_from {tool.name}' {' '.join(words)}{value} "
                f"-d '{_quoted(_help(each), '')}'"
            )
    return "\n".join([*lines, ""])


#: shell -> makes its script of the tools and of (name, summary) of other commands
SHELLS: Mapping[str, Callable[[Sequence[Tool], Mapping[str, str]], str]] = MappingProxyType(
    {"bash": _bash, "zsh": _zsh, "fish": _fish}
)
