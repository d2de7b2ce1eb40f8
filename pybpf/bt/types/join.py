"""How types widen: the type of a variable or map that is given values of two types."""

from __future__ import annotations

from pybpf.bt.types.types import Aggregate, Buffer, Integer, Pointer, Record, String, Tuple, Type
from pybpf.record import replace

__all__ = ["differ_in_sign", "fits", "join"]

_WIDEST = 8


def join(one: Type, other: Type) -> Type | None:
    """The type that has the values of both, or None where there is none."""
    if one == other:
        return one
    if isinstance(one, Aggregate) or isinstance(other, Aggregate):
        return _aggregates(one, other)
    if isinstance(one, Integer) and isinstance(other, Integer):
        return _integers(one, other)
    if isinstance(one, String) and isinstance(other, String):
        return one if one.room >= other.room else other
    if isinstance(one, Buffer) and isinstance(other, Buffer):
        return one if one.room >= other.room else other
    if isinstance(one, Tuple) and isinstance(other, Tuple):
        return _tuples(one, other)
    if isinstance(one, Record) and isinstance(other, Record):
        return _records(one, other)
    if isinstance(one, Pointer) and isinstance(other, Pointer):
        return one if one.target == other.target else None
    if isinstance(one, Integer) and isinstance(other, Pointer):
        return other
    if isinstance(one, Pointer) and isinstance(other, Integer):
        return one
    return None


def fits(value: Type, room: Type) -> bool:
    """Whether values of a type can be kept as another, perhaps cut off."""
    if isinstance(value, Integer) and isinstance(room, Integer):
        return True
    joined = join(value, room)
    return joined is not None and type(joined) is type(room)


def differ_in_sign(one: Type, other: Type) -> bool:
    """Whether these are integers, and numbers of the unsigned one are none of the signed one, however wide that is."""
    if not isinstance(one, Integer) or not isinstance(other, Integer) or one.flexible or other.flexible:
        return False
    return one.signed != other.signed and (other if one.signed else one).width == _WIDEST


def _integers(one: Integer, other: Integer) -> Integer:
    if one.enum or other.enum:
        one, other = (replace(each, enum=(), title="") for each in (one, other))
    width = max(one.width, other.width)
    flexible = one.flexible and other.flexible
    if one.signed == other.signed:
        return Integer(width, one.signed, flexible)
    if one.flexible or other.flexible:
        # a literal takes the sign of what it stands beside
        return Integer(width, (one.signed and not one.flexible) or (other.signed and not other.flexible), flexible)
    signed, unsigned = (one, other) if one.signed else (other, one)
    if signed.width > unsigned.width:
        return Integer(signed.width, True)
    return Integer(min(2 * unsigned.width, _WIDEST), True)


def _aggregates(one: Type, other: Type) -> Type | None:
    if not isinstance(one, Aggregate) or not isinstance(other, Aggregate):
        return None
    if one.way != other.way or one.options != other.options:
        return None
    return one if one.signed else other


def _tuples(one: Tuple, other: Tuple) -> Tuple | None:
    if len(one.items) != len(other.items):
        return None
    items = [join(mine, its) for mine, its in zip(one.items, other.items)]
    return None if None in items else Tuple(tuple(item for item in items if item is not None))


def _records(one: Record, other: Record) -> Record | None:
    known = dict(other.fields)
    if known.keys() != dict(one.fields).keys():
        return None
    fields = [(name, join(kind, known[name])) for name, kind in one.fields]
    return Record(tuple((name, kind) for name, kind in fields if kind is not None)) if all(
        kind is not None for _, kind in fields
    ) else None
