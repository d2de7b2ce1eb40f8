"""``pybpf list``: probes that can be attached to; programs, maps and links that the kernel holds."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pybpf.errors import NotFoundError
from pybpf.report import printable, table
from pybpf.sys import objects
from pybpf.sys.fd import Fd
from pybpf.sys.objects import Kind

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
    """A value as the table shows it: escaped text, lists joined."""
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
    return {
        "id": info.id,
        "type": objects.type_name(info.type),
        "name": info.name,
        "tag": info.tag,
        "bytes": info.xlated_len,
        "runs": info.run_cnt or 0,
        "ns": info.run_time_ns or 0,
        "missed": info.recursion_misses or 0,
        "maps": list(info.map_ids),
    }


def _map(fd: Fd) -> dict[str, Any]:
    info = objects.map_info(fd)
    return {
        "id": info.id,
        "type": objects.type_name(info.type),
        "name": info.name,
        "key": info.key_size,
        "value": info.value_size,
        "max_entries": info.max_entries,
        "flags": info.flags,
    }


def _link(fd: Fd) -> dict[str, Any]:
    info = objects.link_info(fd)
    target = ""
    if info.detail is not None:
        fields = ((name, value) for name, value in info.detail._asdict().items() if value)
        target = " ".join(f"{name}={_name(value)}" for name, value in fields)
    return {"id": info.id, "type": objects.type_name(info.type), "program": info.prog_id, "target": target}


def _name(value: Any) -> str:
    return objects.type_name(value) if hasattr(value, "name") else str(value)


#: what -> its kind and what is told of each
OBJECTS: dict[str, tuple[Kind, Callable[[Fd], dict[str, Any]]]] = {
    "programs": (Kind.PROG, _program),
    "maps": (Kind.MAP, _map),
    "links": (Kind.LINK, _link),
}


def _probes(pattern: str, verbose: bool, as_json: bool) -> int:
    from pybpf.attach.listing import list_probes

    found = False
    for probe in list_probes(pattern, arguments=verbose):
        found = True
        if as_json:
            row: dict[str, Any] = {"kind": probe.kind, "name": probe.name}
            print(json.dumps({**row, "arguments": list(probe.arguments)} if verbose else row))
            continue
        print(printable(str(probe)))
        for argument in probe.arguments:
            print(f"    {printable(argument)}")
    if not found:
        raise NotFoundError(f"no probe matches {pattern!r}")
    return 0
