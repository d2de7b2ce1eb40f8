"""``pybpf list``: probes that can be attached to; programs, maps and links that the kernel holds."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pybpf.errors import NotFoundError
from pybpf.report import printable, table
from pybpf.sys import objects
from pybpf.sys.bpf import MapFlags
from pybpf.sys.fd import Fd
from pybpf.sys.objects import Kind
from pybpf.sys.privilege import sysctl

__all__ = ["main"]

EXAMPLES = """\
examples:
  pybpf list probes 'tracepoint:syscalls:*openat*'
  pybpf list probes -v 'tracepoint:sched:sched_switch'
  pybpf list probes 'uprobe:libc:*alloc*'
  pybpf list programs --json"""


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="pybpf list",
        description="List what can be traced, or the BPF objects that the kernel holds now.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=("probes", *OBJECTS), help="what to list")
    parser.add_argument("pattern", nargs="?", default="*", help="of probes: KIND:NAME, with wildcards")
    parser.add_argument("-v", "--verbose", action="store_true", help="of probes: their arguments too")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_intermixed_args(arguments)
    if options.what == "probes":
        return _probes(options.pattern, options.verbose, options.json)
    if options.pattern != "*" or options.verbose:
        parser.error(f"list {options.what} takes neither a pattern nor --verbose")
    rows = list(_objects(*OBJECTS[options.what]))
    if options.json:
        for row in rows:
            print(json.dumps(row))
    elif rows:
        header = list(rows[0])
        print(table([name.upper() for name in header], ([_cell(value) for value in row.values()] for row in rows)))
    return 0


def _cell(value: Any) -> object:
    """A value as the table shows it: escaped text, lists joined; a dash for what is not known."""
    if value is None:
        return "-"
    if isinstance(value, dict):
        from pybpf.attach.attached import in_words

        return printable(in_words(value))
    if isinstance(value, list):
        return ",".join(map(str, value))
    return printable(value) if isinstance(value, str) else value


def _objects(kind: Kind, describe: Callable[[Fd], dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for number in objects.ids(kind):
        try:
            with objects.open_id(kind, number) as fd:
                yield describe(fd)
        except NotFoundError:  # gone since it was listed
            continue


def _program(fd: Fd) -> dict[str, Any]:
    info = objects.prog_info(fd)
    counted = bool(info.run_cnt or sysctl("bpf_stats_enabled"))  # otherwise 0 means that nothing counts
    return {
        "id": info.id,
        "type": objects.type_name(info.type),
        "name": info.name,
        "tag": info.tag,
        "bytes": info.xlated_len,
        "runs": info.run_cnt if counted else None,
        "ns": info.run_time_ns if counted else None,
        "missed": info.recursion_misses,
        "uid": info.uid,
        "loaded": _since_boot(info.load_time),
        "maps": list(info.map_ids),
    }


def _since_boot(nanoseconds: int) -> str:
    """A time since boot as the local time of day."""
    ago = time.clock_gettime(time.CLOCK_BOOTTIME) - nanoseconds / 1e9
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(time.time() - ago))


def _map(fd: Fd) -> dict[str, Any]:
    info = objects.map_info(fd)
    return {
        "id": info.id,
        "type": objects.type_name(info.type),
        "name": info.name,
        "key": info.key_size,
        "value": info.value_size,
        "max_entries": info.max_entries,
        "flags": _flags(info.flags),
    }


def _flags(bits: int) -> list[str]:
    """The names of a map's flags; what has none as a number."""
    names = [str(flag.name).lower() for flag in MapFlags if bits & flag]
    rest = bits & ~sum(flag.value for flag in MapFlags)
    return [*names, hex(rest)] if rest else names


def _link(fd: Fd) -> dict[str, Any]:
    from pybpf.attach.attached import what_is_attached

    info = objects.link_info(fd)
    target = what_is_attached(info)
    return {"id": info.id, "type": objects.type_name(info.type), "program": info.prog_id, "target": target}


#: what -> its kind and what is told of each
OBJECTS: dict[str, tuple[Kind, Callable[[Fd], dict[str, Any]]]] = {
    "programs": (Kind.PROG, _program),
    "maps": (Kind.MAP, _map),
    "links": (Kind.LINK, _link),
}


def _probes(pattern: str, verbose: bool, as_json: bool) -> int:
    from pybpf.attach.listing import list_probes, meant_instead, not_allowed

    kinds: set[str] = set()
    for probe in list_probes(pattern, arguments=verbose):
        kinds.add(probe.kind)
        if as_json:
            row: dict[str, Any] = {"kind": probe.kind, "name": probe.name}
            print(json.dumps({**row, "arguments": list(probe.arguments)} if verbose else row))
            continue
        print(printable(str(probe)))
        for argument in probe.arguments:
            print(f"    {printable(argument)}")
    for kind, reason in not_allowed(pattern).items():
        if kind in kinds:
            print(f"pybpf list: this process may not attach to probes of kind {kind}: {reason}", file=sys.stderr)
    if not kinds:
        raise NotFoundError(f"no probe matches {pattern!r}{meant_instead(pattern)}")
    return 0
