"""``ntop``: addresses of the internet that print as such, and their type for keys, values and fields."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from pybpf.lang.builtins.builtin import builtin, meant_for_probes
from pybpf.lang.values import raw
from pybpf.lang.values.memory import Ref, Written, name_of
from pybpf.types import Struct, array_of, sizeof, u8, u32

if TYPE_CHECKING:
    import ipaddress

    from pybpf.compiler.ir import Operand
    from pybpf.lang.front.gen import Gen
    from pybpf.lang.values.val import Val

    Packed = bytes
else:
    Packed = array_of(u8, 16)

__all__ = ["IpAddress", "ntop"]

#: bytes of an address -> its version
_VERSIONS = {4: 4, 16: 6}


class IpAddress(Struct):
    """An address of version 4 or 6, as :func:`ntop` gives it. ``str()`` is what people write: ``"127.0.0.1"``.

    :ivar packed: its bytes in the network's order; of version 4 the first four.
    :ivar version: 4 or 6; 0 where there was none.
    """

    packed: Packed
    version: u32

    @property
    def address(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
        """As the standard library has it. :raises ValueError: there is none."""
        size = {version: size for size, version in _VERSIONS.items()}.get(self.version)
        if size is None:
            raise ValueError(f"there is no IP address of version {self.version}")
        from ipaddress import ip_address

        return ip_address(self.packed[:size])

    def __str__(self) -> str:
        if not self.version:
            return ""
        from socket import AF_INET, AF_INET6, inet_ntop  # which writes ::ffff:127.0.0.1 as people do, ipaddress may not

        return inet_ntop(AF_INET, self.packed[:4]) if self.version == 4 else inet_ntop(AF_INET6, self.packed)

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


class _Address(Written):
    """An address, written where it is wanted.

    :param value: an integer as the kernel keeps it, in the network's order, or memory of 4 or 16 bytes.
    """

    kind = IpAddress

    def __init__(self, value: Val, size: int, at: ast.AST) -> None:
        self.value = value
        self.size = size
        self.at = at

    def store(self, gen: Gen, address: Operand, offset: int, kind: Any, at: ast.AST) -> None:
        if kind is not IpAddress:
            self.refuse(gen, at, f"cannot be kept as {name_of(kind)}; its type is IpAddress of pybpf.lang")
        size, value = self.size, self.value
        where = getattr(value, "where", None)
        if where is not None:
            where.copy(gen, address, offset, size)
        elif isinstance(value, Ref):
            raw.copy(gen, address, offset, value.address, value.offset, size, value.align)
        else:
            raw.store(gen, address, offset, size, value.scalar(gen, at))
        raw.clear(gen, address, offset + size, 16 - size)
        raw.store(gen, address, offset + 16, 4, _VERSIONS[size])


def _ntop(gen: Gen, at: ast.AST, address: Val) -> Val:
    if getattr(address, "use", None):
        address = address.use(gen, at)  # type: ignore[attr-defined]
    shape = getattr(address, "shape", None)
    size = shape.size if shape is not None else sizeof(address.kind) if isinstance(address, Ref) else 4
    if size not in _VERSIONS:
        gen.fail(at, f"ntop() takes an integer of 32 bits, or memory of 4 or 16 bytes, not {address.what}")
    return _Address(address, size, at)


@builtin(_ntop)
def ntop(address: Any) -> IpAddress:
    """An IP address, to be printed as people write it, also as key, value or field of type :class:`IpAddress`.

    :param address: version 4: an integer as the kernel has it (``sk.__sk_common.skc_daddr``), or 4 bytes; version 6: 16
        bytes, or a ``struct in6_addr``.
    """
    meant_for_probes()
