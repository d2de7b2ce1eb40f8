"""Maps that exist already: from a descriptor to an object of the right class with the right types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from pybpf.errors import BpfError, NotFoundError, PackError
from pybpf.maps.spec import MapSpec
from pybpf.maps.table import map_class
from pybpf.sys.bpf import MapFlags, MapType
from pybpf.sys.fd import Fd
from pybpf.sys.objects import MapInfo, map_info
from pybpf.types import sizeof

if TYPE_CHECKING:
    from pybpf.maps.base import Map

__all__ = ["opened"]

M = TypeVar("M", bound="Map")


def opened(cls: type[M], fd: Fd, key_type: Any, value_type: Any) -> M:
    """See :meth:`pybpf.maps.Map.from_fd`. ``fd`` is closed when that fails."""
    try:
        info = map_info(fd)
        if info.type not in MapType.__members__.values():
            raise NotFoundError(f"{fd.what} is of type {info.type}, which pybpf does not know")
        kind = MapType(info.type)
        found = map_class(kind)
        if not issubclass(found, cls):
            raise NotFoundError(f"{fd.what} is of type {kind.name.lower()}, which {cls.__name__} does not stand for")
        defaults = found._default_types(info.key_size, info.value_size, MapFlags(info.flags))
        told = _told(info) if key_type is None or value_type is None else (None, None)
        spec = MapSpec(
            kind,
            _sized(f"key of map {info.id}", info.key_size, key_type, told[0], defaults[0]),
            _sized(f"value of map {info.id}", info.value_size, value_type, told[1], defaults[1]),
            info.max_entries,
            info.name,
            MapFlags(info.flags),
            extra=info.extra,
        )
        fd.what = str(spec)
        made = found.__new__(found)
        made._adopt(spec, fd)
    except BaseException:
        fd.close()
        raise
    return made


def _told(info: MapInfo) -> tuple[Any, Any]:
    """Types of the keys and values, where the map has type information and this process may read it."""
    ids = (info.btf_key_type_id, info.btf_value_type_id)
    if not info.btf_id:
        return None, None
    from pybpf.btf import Btf  # only here: takes as long to import as the rest

    try:
        types = Btf.from_id(info.btf_id)
        key, value = (types.ctype(number) if number else None for number in ids)
    except BpfError:  # the bytes are there without
        return None, None
    return key, value


def _sized(what: str, size: int, given: Any, told: Any, default: Any) -> Any:
    """The type that is ``given``, else what is ``told`` if its size is right, else the ``default``."""
    if given is None:
        return told if told is not None and sizeof(told) == size else default
    if sizeof(given) != size:
        raise PackError(f"the {what} has {size} bytes, but {given.__name__} has {sizeof(given)}")
    return given
