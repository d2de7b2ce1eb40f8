"""``pybpf completion SHELL``: completions of all commands and their options."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Print a script for a shell."""
    from pybpf.cli import COMMANDS
    from pybpf.cli.tools import all_tools
    from pybpf.tool.completion import SHELLS

    parser = argparse.ArgumentParser(
        prog="pybpf completion",
        description="Print a script that completes pybpf's commands and options.",
        epilog="examples:\n"
        "  pybpf completion bash > /etc/bash_completion.d/pybpf\n"
        "  pybpf completion zsh > /usr/share/zsh/vendor-completions/_pybpf\n"
        "  pybpf completion fish > /etc/fish/completions/pybpf.fish",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=sorted(SHELLS))
    shell = parser.parse_args(arguments).shell
    print(SHELLS[shell](all_tools(), {each.name: each.summary for each in COMMANDS}), end="")
    return 0
