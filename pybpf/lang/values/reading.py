"""Places in memory that is not the probe's own, and reading them: by loads where the verifier allows, or by helpers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pybpf.compiler.ops import PTR
from pybpf.lang.values import raw
from pybpf.lang.values.flow import Choice, when
from pybpf.record import NamedTuple

if TYPE_CHECKING:
    from pybpf.compiler.ir import Operand
    from pybpf.lang.values.emitter import Emitter

__all__ = ["KERNEL", "USER", "Where", "probe_read"]

#: Whose memory an address is of: the kernel's, or that of the process that runs.
KERNEL, USER = "kernel", "user"
_SIZE_OF_POINTER = 8
#: BPF_MAX_VAR_OFF of the verifier is twice that, in bytes
_FARTHEST = 1 << 28
#: bytes of a record up to which loads take less time than a helper
_MOST_LOADED = 64


class Where(NamedTuple):
    """A place in memory. A read that fails, through a null pointer for one, gives 0."""

    address: Operand
    """As a number."""
    offset: int = 0
    """Bytes from there."""
    space: str = KERNEL
    direct: Operand | None = None
    """The same address as a pointer that the program may load through; None: only helpers can read."""
    typed: bool = False
    """The verifier knows what is behind ``direct``, so that pointers that are loaded from there can be followed."""

    def moved(self, offset: int) -> Where:
        """So many bytes further on."""
        return self._replace(offset=self.offset + offset)

    def indexed(self, gen: Emitter, index: Operand, size: int, length: int) -> Where:
        """An element at an index that the program computes; of an array of known length, nowhere where it has none.

        :param length: of the array; 0: it is not known, and any index counts.
        """
        if isinstance(index, int):
            return self.moved(index * size)
        b = gen.b
        address = Choice(b, 0)
        if length:
            with when(b, "ult", index, length, "inside"):
                address.set(self._element(gen, index, size))
            return self._replace(address=address.value, direct=None, typed=False)
        if self.direct is not None:  # the verifier wants to see how far at most an address is from a pointer it knows
            index = b.emit("and", index, (1 << (_FARTHEST // size).bit_length() - 1) - 1)
        return self._replace(address=self._element(gen, index, size), direct=None, typed=False)

    def _element(self, gen: Emitter, index: Operand, size: int) -> Operand:
        return gen.b.emit("add", self._base, gen.b.emit("mul", index, size) if size != 1 else index)

    @property
    def _base(self) -> Operand:
        """What addresses are computed from: a pointer whose type the verifier knows was loaded, and compared, once."""
        return self.direct if self.typed and self.direct is not None else self.address

    def pointer(self, gen: Emitter) -> Operand:
        """The address, for helpers."""
        return gen.b.emit("add", self._base, self.offset) if self.offset else self._base

    def number(self, gen: Emitter) -> Operand:
        """The address as an integer."""
        return gen.b.emit("add", self.address, self.offset) if self.offset else self.address

    def load(self, gen: Emitter, size: int, signed: bool = False) -> Operand:
        """An integer of 1, 2, 4 or 8 bytes."""
        if self.direct is not None:
            return gen.b.emit("load", self.direct, offset=self.offset, size=size, signed=signed)
        return gen.b.emit("peek", self._base, space=self.space, offset=self.offset, size=size, signed=signed)

    def follow(self, gen: Emitter, user: bool, followed: bool) -> Where:
        """Where the pointer that is here leads.

        :param user: it leads to memory of the process.
        :param followed: the verifier lets a program follow pointers of its type.
        """
        direct = None
        if self.typed and followed and self.direct is not None:
            direct = gen.b.emit("load", self.direct, type=PTR, offset=self.offset, size=_SIZE_OF_POINTER, signed=False)
        address = self.load(gen, _SIZE_OF_POINTER)
        space = USER if user else self.space
        return Where(address, 0, space, direct, direct is not None)

    def copy(self, gen: Emitter, to: Operand, offset: int, size: int) -> None:
        """Copy so many bytes to memory of the program; zeros if they cannot be read."""
        if self.direct is not None and not self.typed and size <= _MOST_LOADED:
            raw.copy(gen, to, offset, self.direct, self.offset, size)
            return
        target = gen.b.emit("add", to, offset) if offset else to
        gen.b.emit("call", target, size, self._readable(gen), helper=probe_read(gen, self.space))

    def copy_text(self, gen: Emitter, to: Operand, offset: int, size: int) -> None:
        """Copy text up to its NUL, cut to ``size`` bytes with one; what follows is left as it was."""
        target = gen.b.emit("add", to, offset) if offset else to
        gen.b.emit("call", target, size, self._readable(gen), helper=probe_read(gen, self.space, "_str"))

    def _readable(self, gen: Emitter) -> Operand:
        """The address for a helper that reads: of a pointer that was compared with null, that one."""
        start = self.address if self.direct is None else self.direct
        return gen.b.emit("add", start, self.offset) if self.offset else start


def probe_read(gen: Emitter, space: str, suffix: str = "") -> str:
    """The helper that reads memory: ``probe_read_kernel``, or before Linux 5.5 the one for both."""
    name = f"probe_read_{space}{suffix}"
    return name if gen.target.has_helper(gen.unit.type, name) else f"probe_read{suffix}"
