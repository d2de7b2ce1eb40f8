"""Options that mean the same in every tool that has them: whom to trace, when to end, how to print."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pybpf.tool import arguments
from pybpf.tool.declare import Option

__all__ = ["SHARED", "VERBOSE", "shared"]

_WHOM, _WHEN, _HOW = "whom to trace", "when to report and to end", "output"


def _shared(group: str, *flags: str, **settings: Any) -> Option:
    return Option(flags, MappingProxyType(settings), group, True)


VERBOSE = _shared(_HOW, "-v", "--verbose", action="store_true", help="say on stderr what is attached")

SHARED: Mapping[str, Option] = MappingProxyType({
    "pid": _shared(_WHOM, "-p", "--pid", type=arguments.pid, help="only this process, all of its threads"),
    "pids": _shared(_WHOM, "-p", "--pid", type=arguments.pids, metavar="PID[,PID]",
                    help="only these processes, all of their threads"),
    "tids": _shared(_WHOM, "-t", "--tid", type=arguments.tids, metavar="TID[,TID]", help="only these threads"),
    "follow": _shared(_WHOM, "--follow", action="store_true", help="with a process: also those that it starts"),
    "tid": _shared(_WHOM, "-t", "--tid", type=arguments.tid, help="only this thread"),
    "uid": _shared(_WHOM, "-u", "--uid", type=arguments.user, metavar="USER", help="only this user (name or number)"),
    "comm": _shared(_WHOM, "--comm", metavar="NAME", help="only threads of exactly this name"),
    "ppid": _shared(_WHOM, "--ppid", type=arguments.pid, help="only children of this process"),
    "cgroup": _shared(_WHOM, "--cgroup", metavar="PATH",
                      help="only this control group (version 2) and those below it"),
    "container": _shared(_WHOM, "--container", metavar="NAME",
                         help="only this container, by name, id or the start of its id"),
    "cgroupmap": _shared(_WHOM, "--cgroupmap", metavar="PATH",
                         help="only control groups whose ids are keys of the map that is pinned there"),
    "mntnsmap": _shared(_WHOM, "--mntnsmap", metavar="PATH",
                        help="only mount namespaces whose numbers are keys of the map that is pinned there"),
    "ipv4": _shared(_WHOM, "-4", "--ipv4", action="store_true", help="only IPv4"),
    "ipv6": _shared(_WHOM, "-6", "--ipv6", action="store_true", help="only IPv6"),
    "netns": _shared(_WHOM, "--netns", type=arguments.netns, metavar="NAMESPACE",
                     help="only this network namespace: of a process, by name, or a file"),
    "top": _shared(_WHEN, "--top", type=arguments.positive, metavar="N", help="print the first N rows"),
    "interval": _shared(_WHEN, "-i", "--interval", type=arguments.seconds, metavar="S",
                        help="print, and start from zero, every S seconds"),
    "duration": _shared(_WHEN, "-d", "--duration", type=arguments.seconds, metavar="S", help="end after S seconds"),
    "every": _shared(_WHEN, "interval", nargs="?", type=arguments.seconds, metavar="INTERVAL",
                     help="seconds between reports"),
    "count": _shared(_WHEN, "count", nargs="?", type=arguments.positive, metavar="COUNT", help="number of reports"),
    "command": _shared(_WHEN, "-c", "--command", type=arguments.command_line, metavar="COMMAND",
                       help="run a command (one word, quoted), trace only it, end with it; whatever it exits with"),
    "exec": _shared(_WHEN, "--exec", nargs=argparse.REMAINDER, metavar="COMMAND",
                    help="the same for all words that follow"),
    "json": _shared(_HOW, "--json", action="store_true", help="one JSON object per line"),
    "folded": _shared(_HOW, "--folded", action="store_true", help="print folded stacks, a line each"),
    "flamegraph": _shared(_HOW, "--flamegraph", type=arguments.new_file, metavar="FILE",
                          help="at the end, write a flame graph (SVG, for a browser)"),
    "speedscope": _shared(_HOW, "--speedscope", type=arguments.new_file, metavar="FILE",
                          help="at the end, write the stacks as JSON for speedscope"),
    "pprof": _shared(_HOW, "--pprof", type=arguments.new_file, metavar="FILE",
                     help="at the end, write the stacks for pprof"),
    "heatmap": _shared(_HOW, "--heatmap", type=arguments.new_file, metavar="FILE",
                       help="at the end, write a heat map of all intervals (HTML, for a browser); they are of a second "
                       "if nothing else is said"),
    "perfetto": _shared(_HOW, "--perfetto", type=arguments.new_file, metavar="FILE",
                        help="write the events on a time line, too (JSON, for ui.perfetto.dev or chrome://tracing)"),
    "csv": _shared(_HOW, "--csv", action="store_true", help="comma-separated values, all columns"),
})  # fmt: skip


def shared(names: str, **settings: Any) -> tuple[Option, ...]:
    """Options that tools share, by name: ``shared("pid tid top=-T interval")``.

    ``NAME=-X`` gives it the short flag -X, ``NAME=`` none. ``who`` stands for all filters, ``groups`` for those of
    control groups and containers, ``net`` for those of sockets, ``ends`` for all ways to end, ``rows`` for the forms
    in which rows can be printed, ``pictures`` for the ways to show stacks that :class:`~pybpf.tool.Pictures` has. A
    short flag that an own option of the tool wants is the tool's.

    :param settings: what is different for these options in this tool, as ``help`` or ``default``.
    """
    words = " ".join(_SETS.get(word, word) for word in names.split()).split()
    return tuple(_named(word, settings) for word in words)


_GROUPS = "cgroup container cgroupmap mntnsmap"
_SETS = {
    "net": "ipv4 ipv6 netns", "groups": _GROUPS, "who": f"pid follow tid uid comm {_GROUPS}",
    "ends": "duration command exec",
    "rows": "json csv", "pictures": "folded flamegraph speedscope pprof",
}  # fmt: skip


def _named(word: str, settings: Mapping[str, Any]) -> Option:
    name, equals, short = word.partition("=")
    found = SHARED[name]
    if equals:
        long = [flag for flag in found.flags if flag.startswith("--")]
        found = found._replace(flags=(*([short] if short else []), *long))
    return found._replace(settings={**found.settings, **settings})
