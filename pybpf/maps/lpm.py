"""LPM_TRIE: longest-prefix match, as routers look up addresses."""

from __future__ import annotations

import struct
from typing import Any, ClassVar

from pybpf.errors import PackError
from pybpf.maps.codec import Codec, LayoutCodec
from pybpf.maps.hash import DEFAULT_ENTRIES
from pybpf.maps.mapping import DictMap
from pybpf.maps.spec import NO_FLAGS, MapSpec
from pybpf.sys.bpf import MapFlags, MapType
from pybpf.types import Struct, layout, u8, u32

__all__ = ["Ipv4Prefix", "Ipv6Prefix", "LpmTrie"]

_BITS = struct.Struct("=I")


class Ipv4Prefix(Struct):
    """``10.0.0.0/8`` as ``struct bpf_lpm_trie_key``."""

    bits: u32  #: of the address that count, 0 to 32
    address: u8[4]  # type: ignore[type-arg,valid-type]  #: in network byte order


class Ipv6Prefix(Struct):
    """``2001:db8::/32`` as ``struct bpf_lpm_trie_key``."""

    bits: u32  #: of the address that count, 0 to 128
    address: u8[16]  # type: ignore[type-arg,valid-type]  #: in network byte order


class _PrefixCodec(LayoutCodec):
    """Keys of a trie, also from the objects of Python's :mod:`ipaddress`."""

    def pack_into(self, buffer: bytearray, value: Any) -> None:
        network = getattr(value, "network", value)  # of an interface
        address = getattr(network, "network_address", network)
        packed = getattr(address, "packed", None)
        if packed is not None:
            if len(packed) != self.size - 4:
                raise PackError(f"cannot store {value!r} in {self.layout}: an address has {self.size - 4} bytes there")
            buffer[:] = _BITS.pack(getattr(network, "prefixlen", address.max_prefixlen)) + packed
        else:
            super().pack_into(buffer, value)


class LpmTrie(DictMap):
    """A trie of prefixes: a lookup finds the longest prefix that the key starts with.

    :param key: a Struct whose first field is ``u32``, the number of leading bits that count; the rest is what they
        are bits of, most significant first: :class:`Ipv4Prefix`, :class:`Ipv6Prefix`, or your own. Keys can be
        given as tuples, and as networks, interfaces and addresses of :mod:`ipaddress`.
    :param value: type of the values.
    :param max_entries: how many prefixes fit.

    ``m[k]``, ``get`` and ``in`` match; ``del`` and ``pop`` want the very prefix.
    """

    map_type: ClassVar[MapType] = MapType.LPM_TRIE

    def __init__(
        self,
        key: Any,
        value: Any,
        max_entries: int = DEFAULT_ENTRIES,
        *,
        name: str = "",
        flags: MapFlags = NO_FLAGS,
        numa_node: int | None = None,
    ) -> None:
        self._create(MapSpec(self.map_type, key, value, max_entries, name, flags, numa_node=numa_node))

    def _key_codec(self) -> Codec:
        return _PrefixCodec(layout(self.key_type))
