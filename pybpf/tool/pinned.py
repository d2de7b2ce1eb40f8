"""Filters by maps that somebody else keeps: of control groups, and of mount namespaces, that are wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pybpf.lang import Tracer

__all__ = ["MAPS", "only_in"]

#: the options, whose values are paths of pinned maps
MAPS = ("cgroupmap", "mntnsmap")


def only_in(tracer: Tracer, cgroupmap: str | None, mntnsmap: str | None) -> None:
    """Let a tracer see only tasks whose group and namespace are keys (``u64``) of these maps, whatever their values.

    :raises NotFoundError: no hash table is pinned there.
    :raises PackError: its keys are of another size.
    """
    from pybpf.lang import cgroup_id, current_task
    from pybpf.types import u64

    if cgroupmap is not None:
        groups = tracer.pinned_hash(cgroupmap, u64, name="cgroupmap")

        def in_group() -> bool:
            return cgroup_id() in groups

        tracer.only(in_group)
    if mntnsmap is not None:
        namespaces = tracer.pinned_hash(mntnsmap, u64, name="mntnsmap")

        def in_namespace() -> bool:
            return u64(current_task().nsproxy.mnt_ns.ns.inum) in namespaces

        tracer.only(in_namespace)
