"""Maps that exist already: from a descriptor to an object of the right class with the right types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from pybpf.errors import NotFoundError, PackError
from pybpf.maps.spec import MapSpec
from pybpf.maps.table import map_class
from pybpf.sys.bpf import MapFlags, MapType
from pybpf.sys.fd import Fd
from pybpf.sys.objects import MapInfo, map_info
from pybpf.types import array_of, sizeof, u8

if TYPE_CHECKING:
    from pybpf.maps.base import Map

__all__ = ["opened"]

M = TypeVar("M", bound="Map")


def opened(cls: type[M], fd: Fd, key_type: Any, value_type: Any) -> M:
    """See :meth:`pybpf.maps.Map.from_fd`. ``fd`` is closed when that fails."""
    try:
        info = map_info(fd)
        spec = _spec(info, key_type, value_type)
        found = map_class(spec.type)
        if not issubclass(found, cls):
            raise NotFoundError(f"{fd.what} is a {spec.type.name.lower()} map, not what {cls.__name__} stands for")
        fd.what = str(spec)
        made = found.__new__(found)
        made._adopt(spec, fd)
    except BaseException:
        fd.close()
        raise
    return made


def _spec(info: MapInfo, key_type: Any, value_type: Any) -> MapSpec:
    """What the kernel tells, as the specification that would make such a map."""
    return MapSpec(
        MapType(info.type),
        _sized(key_type, info.key_size, f"key of map {info.id}"),
        _sized(value_type, info.value_size, f"value of map {info.id}"),
        info.max_entries,
        info.name,
        MapFlags(info.flags),
        extra=info.extra,
    )


def _sized(kind: Any, size: int, what: str) -> Any:
    """``kind`` if it has ``size`` bytes; bytes if it is ``None``; ``None`` if the map has no such part."""
    if kind is None:
        return array_of(u8, size) if size else None
    if sizeof(kind) != size:
        raise PackError(f"the {what} has {size} bytes, but {kind.__name__} has {sizeof(kind)}")
    return kind
