"""``BtfBuilder``: makes BTF blobs; types that are equal are written once."""

from __future__ import annotations

import re
import struct
from array import array
from collections.abc import Iterable, Sequence
from typing import Any

from pybpf.btf import kinds
from pybpf.btf.format import HEADER_SIZE, KIND_OF, MAGIC, ROWS
from pybpf.btf.kinds import BtfType, Encoding, Enumerator, Field, Linkage, Parameter
from pybpf.btf.reader import Types
from pybpf.errors import BtfError
from pybpf.lazy import regex
from pybpf.types import Array, Int, Layout, PointerType, Struct, bool_, char, layout, u8, u32

__all__ = ["BtfBuilder"]

# The kernel's limits: names are shorter than KSYM_NAME_LEN (128 before Linux 6.1), string offsets have 24 bits,
# ids 20 bits.
_NAME = regex(r"[A-Za-z_.][A-Za-z0-9_.]{0,126}\Z", re.ASCII)
_MAX_TEXT = 1 << 24
_MAX_TYPES = 1 << 20
#: kinds whose name may be any text ("unsigned int", ".bss"), kinds that have none, and kinds that must have one
_FREE = (kinds.Int, kinds.Float, kinds.DeclTag, kinds.TypeTag, kinds.DataSec)
_NAMELESS = (kinds.Ptr, kinds.Array, kinds.Const, kinds.Volatile, kinds.Restrict, kinds.FuncProto)
_NAMED = (kinds.Typedef, kinds.Func, kinds.Var, kinds.Fwd, *_FREE)


class BtfBuilder:
    """Collects types and strings for one blob.

    >>> builder = BtfBuilder()
    >>> number = builder.int("int", 4, signed=True)
    >>> program = builder.func("probe", builder.func_proto(number, [("ctx", builder.ptr(0))]))
    >>> data = builder.bytes()

    Every method that adds a type returns its id; adding an equal one returns the same id. Ids count up from 1 (or
    from the end of ``base``), so that types can refer to what is added after them.
    """

    def __init__(self, base: Types | None = None) -> None:
        """:param base: what the blob extends (split BTF); its types are referred to by their ids."""
        self._first = base.count if base else 1
        self._first_string = base.string_end if base else 0
        self._ids: dict[tuple[type, BtfType], int] = {}
        self._words = array("I")
        self._strings: dict[str, int] = {"": 0}
        self._text = bytearray(b"" if base else b"\0")
        self._classes: dict[Any, int] = {}

    def string(self, text: str) -> int:
        """The offset of a string, added if it is new; also for file names and source lines.

        Control characters and NUL, which a string here cannot have, become spaces.

        :raises BtfError: the string section is full.
        """
        offset = self._strings.get(text)
        if offset is None:
            data = _CONTROL.sub(" ", text).encode("utf-8", "replace")
            offset = self._first_string + len(self._text)
            if offset + len(data) >= _MAX_TEXT:
                raise BtfError(f"cannot add string {text[:40]!r}: a BTF's strings have less than {_MAX_TEXT} bytes")
            self._text += data + b"\0"
            self._strings[text] = offset
        return offset

    def put(self, kind: BtfType) -> int:
        """Add a type of any kind of :mod:`pybpf.btf.kinds`.

        :raises BtfError: its name is not one, or a number in it does not fit.
        """
        key = type(kind), kind  # the class too: named tuples of two classes can be equal
        found = self._ids.get(key)
        if found is not None:
            return found
        what = f"{type(kind).__name__} {kind.name!r}"
        row = ROWS.get(KIND_OF.get(type(kind), kinds.Kind.VOID))
        if row is None:
            raise BtfError(f"cannot add {what}: it is not a type that BTF can hold")
        _check_names(kind, what)
        raw = row.encode(kind, self.string)
        if not 0 <= raw.vlen <= row.vlen:
            raise BtfError(f"cannot add {what}: {raw.vlen} is more than its {row.vlen} items")
        made = self._first + len(self._ids)
        if made >= _MAX_TYPES:
            raise BtfError(f"cannot add {what}: a BTF has less than {_MAX_TYPES} types")
        info = raw.kflag << 31 | KIND_OF[type(kind)] << 24 | raw.vlen
        try:
            self._words.extend(array("I", [self.string(kind.name), info, raw.size, *raw.extra]))
        except (OverflowError, TypeError) as error:
            raise BtfError(f"cannot add {what}: {error}") from None
        self._ids[key] = made
        return made

    def bytes(self) -> bytes:
        """The blob, in this machine's byte order."""
        types = self._words.tobytes()
        header = struct.pack("=HBB5I", MAGIC, 1, 0, HEADER_SIZE, 0, len(types), len(types), len(self._text))
        return header + types + self._text

    # -- one method for each kind that takes more than a name and a type

    def ptr(self, target: int = 0) -> int:
        """A pointer; to void by default."""
        return self.put(kinds.Ptr("", target))

    def array(self, element: int, length: int) -> int:
        """An array."""
        return self.put(kinds.Array("", element, self.add(u32), length))

    def struct(self, name: str, size: int, members: Iterable[Sequence[Any]]) -> int:
        """A struct; members are (name, type, offset in bits[, width of a bitfield])."""
        return self.put(kinds.Struct(name, size, tuple(Field(*member) for member in members)))

    def union(self, name: str, size: int, members: Iterable[Sequence[Any]]) -> int:
        """A union; members as of :meth:`struct`."""
        return self.put(kinds.Union(name, size, tuple(Field(*member) for member in members)))

    def enum(self, name: str, values: Iterable[tuple[str, int]], size: int = 4, signed: bool = False) -> int:
        """An enum; with 8 bytes an ENUM64. Kernels before 6.0 refuse signed ones and those of 8 bytes."""
        made = tuple(Enumerator(*value) for value in values)
        for label, value in made:
            if not -(signed << (8 * size - 1)) <= value < 1 << (8 * size - signed):
                raise BtfError(f"cannot add enum {name!r}: {label} = {value} does not fit into {size} bytes")
        return self.put((kinds.Enum64 if size == 8 else kinds.Enum)(name, size, signed, made))

    def typedef(self, name: str, target: int) -> int:
        """A typedef."""
        return self.put(kinds.Typedef(name, target))

    def func_proto(self, returns: int, parameters: Iterable[tuple[str, int]] = ()) -> int:
        """A prototype; parameters are (name, type), the last one ``("", 0)`` for ``...``."""
        return self.put(kinds.FuncProto("", returns, tuple(Parameter(*each) for each in parameters)))

    def func(self, name: str, proto: int, linkage: Linkage = Linkage.STATIC) -> int:
        """A function. Global ones are verified on their own, and cannot be callbacks."""
        return self.put(kinds.Func(name, proto, linkage))

    # -- pybpf's own types

    def add(self, kind: Any) -> int:
        """A type of :mod:`pybpf.types`, or a view of a BTF type (which becomes bytes in a struct of its name).

        :raises TypeError: ``kind`` is none.
        :raises BtfError: the name of a struct or of a field is not a C identifier.
        """
        found = self._classes.get(kind) if isinstance(kind, type) else None
        if found is None:
            found = self._classes[kind] = self._add(kind, layout(kind))
        return found

    def _add(self, kind: Any, how: Layout[Any]) -> int:
        if issubclass(kind, Array):
            return self.array(self.add(kind.element), kind.length)
        if issubclass(kind, Struct):
            fields = kind.__layout__.fields.values()
            return self.struct(kind.__name__, how.size, [(f.name, self.add(f.kind), 8 * f.offset) for f in fields])
        if issubclass(kind, PointerType):
            return self.ptr()
        if kind is char:
            return self.int("char", 1, encoding=Encoding.SIGNED)
        if kind is bool_:
            return self.int("bool", 1, encoding=Encoding.BOOL)
        if issubclass(kind, Int) and hasattr(how, "signed") and kind.__module__ == Int.__module__:
            return self.int(kind.__name__, how.size, signed=how.signed)
        return self.struct(kind.__name__, how.size, [("bytes", self.array(self.add(u8), how.size), 0)])

    # Last in the class: what follows would take "int" in a signature for it.
    def int(self, name: str, size: int, signed: bool = False, encoding: int = 0) -> int:
        """An integer of ``size`` bytes; ``encoding`` is an :class:`Encoding`."""
        return self.put(kinds.Int(name, size, encoding | (Encoding.SIGNED if signed else 0), 8 * size))


#: what a string must not have: it would end it, or drive the terminal that prints a verifier's log
_CONTROL = regex(r"[\x00-\x08\x0a-\x1f\x7f]")


def _check_names(kind: BtfType, what: str) -> None:
    """:raises BtfError: a name is not a C identifier where the kernel wants one."""
    wrong = not isinstance(kind, _FREE) and kind.name and not _NAME.match(kind.name)
    if wrong or bool(kind.name) < isinstance(kind, _NAMED) or bool(kind.name) > (not isinstance(kind, _NAMELESS)):
        raise BtfError(f"cannot add {what}: its name must be {_wanted(kind)}")
    inner: tuple[Any, ...] = ()
    if isinstance(kind, (kinds.Struct, kinds.Union)):
        inner = kind.members
    elif isinstance(kind, kinds.FuncProto):
        inner = kind.parameters
    elif isinstance(kind, (kinds.Enum, kinds.Enum64)):
        inner = kind.values
    for item in inner:
        if item.name and not _NAME.match(item.name):
            raise BtfError(f"cannot add {what}: {item.name!r} is not a C identifier of less than 128 characters")


def _wanted(kind: BtfType) -> str:
    if isinstance(kind, _NAMELESS):
        return "empty"
    return "some text" if isinstance(kind, _FREE) else "a C identifier of less than 128 characters"
