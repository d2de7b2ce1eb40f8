"""MAP_CREATE: from a specification to a kernel object, with type information where the kernel takes it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from pybpf.errors import BtfError
from pybpf.maps.spec import NAME_SIZE, MapSpec
from pybpf.sys.bpf import Cmd, MapFlags, MapType
from pybpf.sys.explain import explaining
from pybpf.sys.fd import Fd
from pybpf.sys.memlock import bpf_charged

__all__ = ["create"]

#: map types that the kernel lets have types (ENOTSUPP or EINVAL for all others), and those that must have them
_TYPED = frozenset(
    {
        MapType.HASH,
        MapType.ARRAY,
        MapType.PERCPU_HASH,
        MapType.PERCPU_ARRAY,
        MapType.LRU_HASH,
        MapType.LRU_PERCPU_HASH,
        MapType.LPM_TRIE,
    }
)
_MUST_BE_TYPED = frozenset({MapType.TASK_STORAGE, MapType.INODE_STORAGE, MapType.CGRP_STORAGE})


def create(spec: MapSpec) -> Fd:
    """The new map's descriptor.

    Types that the kernel, or an older one, does not take are left away: they only serve people who look at the map
    with other tools.

    :raises KernelError: the kernel refuses, with the cause.
    """
    with ExitStack() as stack:
        fields = _fields(spec)
        if spec.inner is not None:
            # The kernel only looks at its shape; it need not live on.
            fields["inner_map_fd"] = stack.enter_context(create(spec.inner)).fileno()
        if spec.type in _MUST_BE_TYPED:
            fields.update(_types(spec, stack))
        elif spec.typed and spec.type in _TYPED:
            types = _types_where_taken(spec, stack)
            try:
                if types:
                    return Fd(bpf_charged(Cmd.MAP_CREATE, **fields, **types), str(spec))
            except OSError:
                pass  # older kernels take them of fewer map types; if it was for another reason, that comes again
        with explaining(f"create {spec}", "map_create"):
            return Fd(bpf_charged(Cmd.MAP_CREATE, **fields), str(spec))


def _fields(spec: MapSpec) -> dict[str, Any]:
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
    return fields


def _types(spec: MapSpec, stack: ExitStack) -> dict[str, int]:
    """The fields that say what keys and values are; the BTF is closed with ``stack``: the map keeps it."""
    from pybpf.btf import BtfBuilder, load_btf  # half of what it takes to create a map that has no types

    builder = BtfBuilder()
    key, value = builder.add(spec.key), builder.add(spec.value)
    fd = stack.enter_context(load_btf(builder.bytes()))
    return {"btf_fd": fd.fileno(), "btf_key_type_id": key, "btf_value_type_id": value}


def _types_where_taken(spec: MapSpec, stack: ExitStack) -> dict[str, int]:
    """As :func:`_types`; empty where there is no BTF of them: the kernel takes none, or names are no C identifiers."""
    from pybpf.btf import BtfBuilder, load_btf_where_taken

    builder = BtfBuilder()
    try:
        key, value = builder.add(spec.key), builder.add(spec.value)
    except BtfError:
        return {}
    fd = load_btf_where_taken(builder.bytes(), "btf")
    if fd is None:
        return {}
    stack.enter_context(fd)
    return {"btf_fd": fd.fileno(), "btf_key_type_id": key, "btf_value_type_id": value}
