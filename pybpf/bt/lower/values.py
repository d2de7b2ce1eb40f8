"""What an expression is while it is compiled: in a register, in memory of the program, elsewhere, or yet to be written.

A value is kept as it is until somebody wants it somewhere: so a string is read straight into the event or the key that
it is for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pybpf.bt.types import Array, Bool, Buffer, Compound, Integer, Member, Pointer, Record, String, Tuple, Type
from pybpf.lang.values import raw
from pybpf.lang.values.flow import when
from pybpf.lang.values.reading import KERNEL, USER, Where, probe_read

if TYPE_CHECKING:
    from pybpf.compiler.ir import Operand
    from pybpf.lang.values.emitter import Emitter

__all__ = ["Entry", "Foreign", "Known", "Made", "Own", "Scalar", "Value", "at", "converted", "member_of",
           "read_text"]  # fmt: skip


class Value:
    """A value of a type.

    :ivar type: its type.
    """

    type: Type
    #: what :meth:`store` leaves behind the end of text is zero
    clean = True

    def operand(self, gen: Emitter) -> Operand:
        """The register of a scalar, extended to 64 bits as its type says."""
        raise AssertionError(f"a {self.type} is no scalar")

    def store(self, gen: Emitter, address: Operand, offset: int) -> None:
        """Write it, as its own type, to memory of the program."""
        raise NotImplementedError

    def own(self, gen: Emitter) -> Own:
        """The value in memory of the program: where it is, or in a slot."""
        slot = gen.b.slot(max(self.type.size, 1))
        if not self.clean:
            raw.clear(gen, slot, 0, self.type.size)
        self.store(gen, slot, 0)
        return Own(self.type, slot, 0)

    def where(self, gen: Emitter) -> Where:
        """The memory that it is in."""
        return self.own(gen).where(gen)


class Scalar(Value):
    """An integer, a boolean or a pointer in a register.

    :ivar direct: of a pointer: the same as a pointer that the program may load through, where it may.
    """

    def __init__(self, type: Type, operand: Operand, direct: Operand | None = None) -> None:
        self.type = type
        self._operand = operand
        self.direct = direct

    def operand(self, gen: Emitter) -> Operand:
        return self._operand

    def store(self, gen: Emitter, address: Operand, offset: int) -> None:
        raw.store(gen, address, offset, self.type.size, self._operand)


class Own(Value):
    """A value in memory of the program: a slot, the value of a map."""

    def __init__(self, type: Type, address: Operand, offset: int) -> None:
        self.type = type
        self.address = address
        self.offset = offset

    def operand(self, gen: Emitter) -> Operand:
        return _loaded(gen, Where(self.address, self.offset, KERNEL, self.address), self.type)

    def store(self, gen: Emitter, address: Operand, offset: int) -> None:
        raw.copy(gen, address, offset, self.address, self.offset, self.type.size)

    def own(self, gen: Emitter) -> Own:
        return self

    def where(self, gen: Emitter) -> Where:
        return Where(self.address, self.offset, KERNEL, self.address)

    def pointer(self, gen: Emitter) -> Operand:
        """Its address, for helpers."""
        return raw.pointer(gen, self.address, self.offset)


class Entry(Value):
    """The value of a map's entry that may be missing: zero then.

    :ivar pointer: to the value, or null.
    """

    def __init__(self, type: Type, pointer: Operand) -> None:
        self.type = type
        self.pointer = pointer

    def store(self, gen: Emitter, address: Operand, offset: int) -> None:
        b = gen.b
        there, absent, done = (b.new_block(name) for name in ("there", "absent", "stored"))
        b.branch("ne", self.pointer, 0, there, absent)
        b.seal(there)
        b.start(there)
        raw.copy(gen, address, offset, self.pointer, 0, self.type.size)
        b.jump(done)
        b.seal(absent)
        b.start(absent)
        raw.clear(gen, address, offset, self.type.size)
        b.jump(done)
        b.seal(done)
        b.start(done)

    def own(self, gen: Emitter) -> Own:
        slot = gen.b.slot(max(self.type.size, 1), "entry")
        raw.clear(gen, slot, 0, self.type.size)
        with when(gen.b, "ne", self.pointer, 0, "there"):
            raw.copy(gen, slot, 0, self.pointer, 0, self.type.size)
        return Own(self.type, slot, 0)


class Foreign(Value):
    """A struct, an array or text in memory of the kernel, of the process or of the context, read when it is used."""

    def __init__(self, type: Type, where: Where) -> None:
        self.type = type
        self._where = where
        self.clean = not isinstance(type, String)

    def store(self, gen: Emitter, address: Operand, offset: int) -> None:
        if isinstance(self.type, String):
            read_text(gen, self._where, address, offset, self.type.room)
        else:
            self._where.copy(gen, address, offset, self.type.size)

    def where(self, gen: Emitter) -> Where:
        return self._where


def read_text(gen: Emitter, where: Where, to: Operand, offset: int, room: int, most: Operand | None = None) -> None:
    """Read text up to its NUL. Where none is in all its room, it has none in memory of the program, either.

    :param most: bytes to read at most, and a NUL among them.
    """
    b = gen.b
    target, address = raw.pointer(gen, to, offset), where.pointer(gen)
    size = room if most is None else most
    got = b.emit("call", target, size, address, helper=probe_read(gen, where.space, "_str"))
    if most is None:  # the helper has put a NUL in the place of the last byte
        with when(b, "eq", got, room, "full"):
            last = b.emit("peek", address, space=where.space, offset=room - 1, size=1, signed=False)
            b.emit("store", target, last, offset=room - 1, size=1)


class Made(Value):
    """A value that a function writes where it is wanted.

    :param write: (address, offset) -> None
    :param clean: it writes all bytes of the type.
    """

    def __init__(self, type: Type, write: Callable[[Operand, int], None], clean: bool = True) -> None:
        self.type = type
        self._write = write
        self.clean = clean

    def store(self, gen: Emitter, address: Operand, offset: int) -> None:
        self._write(address, offset)


class Known(Value):
    """Text or bytes that are known while compiling; shorter than the type has room for."""

    def __init__(self, type: Type, data: bytes) -> None:
        self.type = type
        self.data = data

    def store(self, gen: Emitter, address: Operand, offset: int) -> None:
        raw.write(gen, address, offset, self.data.ljust(self.type.size, b"\0"))


def at(gen: Emitter, where: Where, type: Type, followed: bool = False) -> Value:
    """The value of what lies at a place: scalars are read, all else is when it is used.

    :param followed: the verifier lets a program follow pointers that it loads from here.
    """
    if isinstance(type, Pointer):
        space = where.space if not type.space else USER if type.space == "user" else KERNEL
        found = where.follow(gen, space == USER, followed)
        return Scalar(type if type.space else Pointer(type.target, space), found.address, found.direct)
    if type.scalar:
        return Scalar(type, _loaded(gen, where, type))
    return Foreign(type, where)


def _loaded(gen: Emitter, where: Where, type: Type) -> Operand:
    return where.load(gen, type.size, isinstance(type, Integer) and type.signed)


def member_of(gen: Emitter, where: Where, member: Member) -> Value:
    """The value of a member of the record at a place."""
    bits = member.bits
    if bits is None:
        followed = isinstance(member.type, Pointer) and isinstance(member.type.target, Compound)
        return at(gen, where.moved(member.offset), member.type, followed)
    value = where.moved(bits.offset).load(gen, bits.size)
    shifted = gen.b.emit("shl", value, bits.left) if bits.left else value
    operand = gen.b.emit("ashr" if bits.signed else "lshr", shifted, bits.right) if bits.right else shifted
    return Scalar(member.type, operand)


def converted(gen: Emitter, value: Value, type: Type) -> Value:
    """The value as another type, which the checker has found to have room for it."""
    have = value.type
    if have == type:
        return value
    if isinstance(type, Bool) and have.scalar:
        return Scalar(type, gen.b.emit("cmp", value.operand(gen), 0, cond="ne"))
    if type.scalar and have.scalar:
        direct = value.direct if isinstance(value, Scalar) and isinstance(type, Pointer) else None
        return Scalar(type, _extended(gen, value.operand(gen), have, type), direct)
    if isinstance(type, String) and isinstance(have, String):
        return _resized(gen, value, have, type)
    if isinstance(type, Buffer) and isinstance(have, Buffer) and have.room < type.room:
        return _lengthened(gen, value, have, type)
    if isinstance(type, (Tuple, Record)) and isinstance(have, (Tuple, Record)):
        return _rebuilt(gen, value.own(gen), have, type)
    if isinstance(type, Array) and isinstance(have, Array) and type.size == have.size:
        found = value.own(gen)
        return Own(type, found.address, found.offset)
    return value


def _extended(gen: Emitter, operand: Operand, have: Type, type: Type) -> Operand:
    """The low bits of an integer, as a register keeps them in a type."""
    width = type.size
    signed = isinstance(type, Integer) and type.signed
    have_signed = isinstance(have, Integer) and have.signed
    if width == 8 or (have.size < width and (signed or not have_signed)):
        return operand
    if have.size == width and have_signed == signed:
        return operand
    if isinstance(operand, int):
        value = operand & ((1 << 8 * width) - 1)
        return value - (1 << 8 * width) if signed and value >> (8 * width - 1) else value
    return gen.b.emit("sext" if signed else "zext", operand, bits=8 * width)


def _resized(gen: Emitter, value: Value, have: String, type: String) -> Value:
    if isinstance(value, Known):
        return Known(type, value.data[: type.room])
    if isinstance(value, Foreign):  # text is read up to its end
        most = String(min(have.room, type.room))
        return Foreign(type, value.where(gen)) if most == type else _widened(gen, value, have, type)
    return _widened(gen, value, have, type)


def _lengthened(gen: Emitter, value: Value, have: Buffer, type: Buffer) -> Value:
    """Bytes, and how many, with room for more behind them."""

    def write(address: Operand, offset: int) -> None:
        value.store(gen, address, offset)
        raw.clear(gen, address, offset + have.size, type.size - have.size)

    return Made(type, write, value.clean)


def _widened(gen: Emitter, value: Value, have: String, type: String) -> Value:
    def write(address: Operand, offset: int) -> None:
        if have.room <= type.room:
            value.store(gen, address, offset)
            raw.clear(gen, address, offset + have.room, type.room - have.room)
        else:
            found = value.own(gen)
            raw.copy(gen, address, offset, found.address, found.offset, type.room)

    return Made(type, write, value.clean)


def _rebuilt(gen: Emitter, value: Own, have: Tuple | Record, type: Tuple | Record) -> Value:
    old, new = (each.plain if isinstance(each, Record) else each for each in (have, type))
    order = list(range(len(new.items)))
    if isinstance(have, Record) and isinstance(type, Record):
        order = [have.index(name) or 0 for name, _ in type.fields]

    def write(address: Operand, offset: int) -> None:
        raw.clear(gen, address, offset, new.size)
        for index, kind in enumerate(new.items):
            source = order[index]
            place = value.where(gen).moved(old.offset(source))
            item = converted(gen, item_at(gen, place, old.items[source]), kind)
            item.store(gen, address, offset + new.offset(index))

    return Made(type, write)


def item_at(gen: Emitter, where: Where, type: Type) -> Value:
    """An item of a tuple in memory of the program."""
    if type.scalar:
        return Scalar(type, _loaded(gen, where, type))
    assert where.direct is not None
    return Own(type, where.direct, where.offset)
