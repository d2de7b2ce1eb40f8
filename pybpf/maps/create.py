"""MAP_CREATE: from a specification to a kernel object, with type information where the kernel takes it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from pybpf.maps.spec import NAME_SIZE, MapSpec
from pybpf.sys.bpf import Cmd, MapFlags, bpf
from pybpf.sys.explain import explaining
from pybpf.sys.fd import Fd

__all__ = ["create"]


def create(spec: MapSpec) -> Fd:
    """The new map's descriptor.

    :raises KernelError: the kernel refuses, with the cause.
    """
    fields: dict[str, Any] = {
        "map_type": spec.type,
        "key_size": spec.key_size,
        "value_size": spec.value_size,
        "max_entries": spec.max_entries,
        "map_flags": spec.flags,
        "map_name": spec.name.encode()[:NAME_SIZE],
        "map_extra": spec.extra,
    }
    if spec.numa_node is not None:
        fields["map_flags"] |= MapFlags.NUMA_NODE
        fields["numa_node"] = spec.numa_node
    with ExitStack() as stack:
        if spec.inner is not None:
            # The kernel only looks at its shape; it need not live on.
            fields["inner_map_fd"] = stack.enter_context(create(spec.inner)).fileno()
        with explaining(f"create {spec}", "map_create"):
            return Fd(bpf(Cmd.MAP_CREATE, **fields), str(spec))
