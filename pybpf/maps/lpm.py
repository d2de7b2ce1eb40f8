"""LPM_TRIE: longest-prefix match, as routers look up addresses."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, ClassVar

from pybpf.errors import PackError
from pybpf.maps.batch import Run
from pybpf.maps.codec import Codec, LayoutCodec
from pybpf.maps.hash import DEFAULT_ENTRIES
from pybpf.maps.mapping import DictMap
from pybpf.maps.spec import NO_FLAGS, MapSpec
from pybpf.sys.bpf import Cmd, MapFlags, MapType
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
        elif isinstance(value, str):
            advice = "make a network of it, ipaddress.ip_network(...)"
            raise PackError(f"cannot store {value!r:.60} in {self.layout}: {advice}")
        else:
            super().pack_into(buffer, value)
            (bits,) = _BITS.unpack_from(buffer)
            most = 8 * (self.size - 4)
            if bits > most:
                raise PackError(f"{value!r} has a prefix of {bits} bits: an address of {self.layout} has {most}")


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

    def _runs(self, cmd: Cmd = Cmd.MAP_LOOKUP_BATCH) -> Iterator[Run]:
        """As for every map, without keys that came before: the kernel begins anew where one it stood at is deleted.

        Under deletions that never end it does, and elements that are there all the time may then be missing.
        """
        width, value_width = self._keys.size, self._values.size
        seen: set[bytes] = set()
        met = 0
        for keys, values in super()._runs(cmd):
            raw = bytes(keys)
            found = {raw[i : i + width]: i // width for i in range(0, len(raw), width)}
            new = [(key, i * value_width) for key, i in found.items() if key not in seen]
            seen.update(found)
            if width * len(new) == len(raw):
                yield keys, values
            else:
                yield b"".join(key for key, _ in new), b"".join(bytes(values[i : i + value_width]) for _, i in new)
            met += len(raw) // width
            if met > 8 * self.max_entries:
                return
