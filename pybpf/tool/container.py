"""``container_cgroup``: a container's control group, found through /proc by name, by id, or by the start of its id."""

from __future__ import annotations

import os
from collections.abc import Iterator

from pybpf.errors import NotFoundError
from pybpf.lazy import regex

__all__ = ["container_cgroup"]

#: What runtimes put around a name or an id in the last part of a path: docker-ID.scope, libpod-ID.scope,
#: cri-containerd-ID.scope, crio-ID.scope, lxc.payload.NAME, machine-NAME.scope, NAME.service
_AROUND = regex(r"(?:[a-z-]+[-:]|lxc\.(?:payload|monitor)\.|machine-)?(?P<name>.+?)(?:\.scope|\.service)?")
_LEAST_ID = 4
_HEX = regex(r"[0-9a-f]{32,}")


def container_cgroup(name: str, proc: str = "/proc") -> str:
    """The directory of the version 2 control group of a container.

    Names are in the paths of control groups (LXC, systemd-nspawn, plain groups), in the command lines of ``conmon``
    (Podman, CRI-O), and are host names of containers (Docker's ``--hostname``; by default the start of the id).

    :raises NotFoundError: there is none, or several; says which.
    """
    found: dict[str, None] = {}
    ids: set[str] = set()
    groups: list[tuple[str, str]] = []
    for pid in (entry for entry in os.listdir(proc) if entry.isdigit()):
        words = _words(f"{proc}/{pid}/cmdline")
        if words and os.path.basename(words[0]) == "conmon":  # what watches a container is not in it
            if _after(words, "-n", "--name") == name:
                ids.add(_after(words, "-c", "--cid"))
            continue
        path = _group(f"{proc}/{pid}/cgroup")
        if path and path != "/":
            groups.append((pid, path))
    for pid, path in groups:
        outermost = next((part for part in _prefixes(path) if _means(part, name, ids)), None)
        if outermost is None and name and _hostname(proc, pid) == name:
            outermost = path
        if outermost is not None:
            found[outermost] = None
    if not found:
        raise NotFoundError(f"there is no container {name!r}: give its name, its id, or --cgroup PATH")
    if len(found) > 1:
        raise NotFoundError(f"{name!r} is not one container but {len(found)}: {', '.join(found)}; give --cgroup PATH")
    return _mounted(proc) + next(iter(found))


def _prefixes(path: str) -> Iterator[str]:
    """``/a/b`` -> ``/a``, ``/a/b``."""
    parts = path.strip("/").split("/")
    for count in range(1, len(parts) + 1):
        yield "/" + "/".join(parts[:count])


def _means(path: str, name: str, ids: set[str]) -> bool:
    last = path.rpartition("/")[2]
    match = _AROUND.fullmatch(last)
    called = {last} | ({match["name"]} if match else set())
    if name in called or called & ids:
        return True
    return len(name) >= _LEAST_ID and any(_HEX.fullmatch(each) and each.startswith(name) for each in called)


def _words(path: str) -> list[str]:
    try:
        with open(path, "rb") as file:
            return os.fsdecode(file.read()).split("\0")
    except OSError:
        return []


def _after(words: list[str], *flags: str) -> str:
    return next((words[i + 1] for i, word in enumerate(words[:-1]) if word in flags), "")


def _group(path: str) -> str:
    """The version 2 group of a process: the line of hierarchy 0."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return next((line[3:].rstrip("\n") for line in file if line.startswith("0::")), "")
    except OSError:
        return ""


def _hostname(proc: str, pid: str) -> str:
    """The host name in the root directory of a process, if that is not ours."""
    try:
        if os.path.samefile(f"{proc}/{pid}/root", "/"):
            return ""
        with open(f"{proc}/{pid}/root/etc/hostname", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def _mounted(proc: str) -> str:
    with open(f"{proc}/self/mounts", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            _, where, kind, *_ = line.split(" ")
            if kind == "cgroup2":
                return where.rstrip("/")
    raise NotFoundError("no control groups of version 2 are mounted, by which containers are told apart")
