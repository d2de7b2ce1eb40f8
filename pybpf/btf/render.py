"""Types as C source text, laid out as ``bpftool btf dump format c`` prints them."""

from __future__ import annotations

from pybpf.btf import kinds
from pybpf.btf.kinds import Kind
from pybpf.btf.reader import MAX_DEPTH, Types
from pybpf.errors import BtfError

__all__ = ["c", "declaration"]

#: Types, members and lines of padding that one text may have; hostile types could ask for billions.
_MOST_PARTS = 50_000

_QUALIFIERS: dict[type, str] = {kinds.Const: "const", kinds.Volatile: "volatile", kinds.Restrict: "restrict"}
_KEYWORDS: dict[type, str] = {kinds.Struct: "struct", kinds.Union: "union", kinds.Enum: "enum", kinds.Enum64: "enum"}
#: sizes of enums that differ from int's
_MODES = {1: "byte", 2: "HI", 8: "word"}


def c(types: Types, type_id: int, offsets: bool = False) -> str:
    """A type in C, without a newline at its end.

    :param offsets: say each member's offset and size in bytes in a comment.
    :raises BtfError: it is malformed, or too large to print.
    """
    return _Writer(types, offsets).top(type_id)


def declaration(types: Types, type_id: int, name: str = "") -> str:
    """``name`` declared with a type, such as ``"struct sock *sk"``; without a name, the type as a cast has it.

    :raises BtfError: the type is malformed, or too large to print.
    """
    return _Writer(types, False).declare(type_id, name, 0)


class _Writer:
    """Writes one type. Named structs are referred to, anonymous ones are written where they are used."""

    def __init__(self, types: Types, offsets: bool) -> None:
        self.types = types
        self.offsets = offsets
        self.left = _MOST_PARTS

    def spend(self) -> None:
        """Count a part. :raises BtfError: there were too many."""
        self.left -= 1
        if self.left < 0:
            raise BtfError(f"cannot write this type in C: it has more than {_MOST_PARTS} parts")

    def top(self, type_id: int) -> str:
        """The definition or declaration of a type."""
        kind = self.types.type(type_id)
        if isinstance(kind, (kinds.Struct, kinds.Union, kinds.Enum, kinds.Enum64)):
            return self.body(type_id, kind, 0) + ";"
        if isinstance(kind, kinds.Fwd):
            return f"{'union' if kind.union else 'struct'} {kind.name};"
        if isinstance(kind, kinds.Typedef):
            return f"typedef {self.declare(kind.type, kind.name, 0)};"
        if isinstance(kind, (kinds.Func, kinds.Var)):
            # Linkage is not said: BTF of the kernel calls every function static.
            return f"{self.declare(kind.type, kind.name, 0)};"
        if isinstance(kind, kinds.DataSec):
            lines = [f"/* section {kind.name}, {kind.size} bytes */"]
            for variable in kind.variables:
                self.spend()
                lines.append(f"{self.top_variable(variable.type)} /* {variable.offset} {variable.size} */")
            return "\n".join(lines)
        if isinstance(kind, kinds.DeclTag):
            return f"{_attribute(kind, 'btf_decl_tag')} /* of {self.types.name(kind.type) or 'a type'} */"
        return self.declare(type_id, "", 0)

    def top_variable(self, type_id: int) -> str:
        """The declaration of a section's variable."""
        if self.types.kind(type_id) is not Kind.VAR:
            raise BtfError(f"cannot write this section in C: type {type_id} is not a variable")
        return self.top(type_id)

    def declare(self, type_id: int, inner: str, depth: int) -> str:
        """A declaration: ``inner`` is the declarator, such as a name, that is wrapped from the inside out."""
        if depth > MAX_DEPTH:
            raise BtfError(f"cannot write type {type_id} in C: it is nested in more than {MAX_DEPTH} types")
        prefixes: list[str] = []
        for _ in range(4 * MAX_DEPTH):
            self.spend()
            kind = self.types.type(type_id)
            if isinstance(kind, (kinds.Const, kinds.Volatile, kinds.Restrict)):
                if _QUALIFIERS[type(kind)] not in prefixes:
                    prefixes.append(_QUALIFIERS[type(kind)])
            elif isinstance(kind, kinds.TypeTag):
                prefixes.append(_attribute(kind, "btf_type_tag"))
            elif isinstance(kind, kinds.Ptr):
                inner, prefixes = _pointer(prefixes, inner), []
            elif isinstance(kind, kinds.Array):
                inner = f"{_grouped(inner)}[{kind.length}]"
            elif isinstance(kind, kinds.FuncProto):
                # A qualified function has no meaning in C.
                inner, prefixes = f"{_grouped(inner)}({self.parameters(kind, depth)})", []
            else:
                words = [*prefixes, self.specifier(type_id, kind, depth)]
                return " ".join([*words, inner] if inner else words)
            type_id = kind.type
        raise BtfError(f"cannot write type {type_id} in C: its chain of types does not end")

    def parameters(self, proto: kinds.FuncProto, depth: int) -> str:
        """What stands between the parentheses of a function."""
        if not proto.parameters:
            return "void"
        written = []
        for name, type_id in proto.parameters:
            self.spend()
            written.append(self.declare(type_id, name, depth + 1) if type_id or name else "...")
        return ", ".join(written)

    def specifier(self, type_id: int, kind: kinds.BtfType, depth: int) -> str:
        """The words at the start of a declaration; an anonymous type's whole body."""
        if isinstance(kind, (kinds.Struct, kinds.Union, kinds.Enum, kinds.Enum64)):
            if kind.name:
                return f"{_KEYWORDS[type(kind)]} {kind.name}"
            return self.body(type_id, kind, depth)
        if isinstance(kind, kinds.Fwd):
            return f"{'union' if kind.union else 'struct'} {kind.name}"
        if isinstance(kind, (kinds.Void, kinds.Int, kinds.Float, kinds.Typedef)):
            return kind.name or "void"
        raise BtfError(f"cannot write type {type_id} in C: a {self.types.kind(type_id).name} stands for a type")

    # -- bodies

    def body(self, type_id: int, kind: kinds.Struct | kinds.Union | kinds.Enum | kinds.Enum64, depth: int) -> str:
        """``struct name {...}``, the lines inside indented by ``depth`` + 1 tabs."""
        if depth > MAX_DEPTH:
            raise BtfError(f"cannot write type {type_id} in C: it is nested in more than {MAX_DEPTH} types")
        head = " ".join(filter(None, (_KEYWORDS[type(kind)], kind.name)))
        if isinstance(kind, (kinds.Struct, kinds.Union)):
            lines, tail = self.fields(type_id, kind, depth + 1)
        else:
            lines, tail = self.enumerators(kind), ""
            if kind.size in _MODES and isinstance(kind, kinds.Enum):
                tail = f" __attribute__((mode({_MODES[kind.size]})))"
        if not lines:
            return f"{head} {{}}{tail}"
        tabs = "\t" * depth
        inside = "\n".join(f"{tabs}\t{line}" for line in lines)
        return f"{head} {{\n{inside}\n{tabs}}}{tail}"

    def enumerators(self, kind: kinds.Enum | kinds.Enum64) -> list[str]:
        """The lines of an enum."""
        suffix = ("LL" if kind.signed else "ULL") if isinstance(kind, kinds.Enum64) else ""
        lines = []
        for name, value in kind.values:
            self.spend()
            lines.append(f"{name} = {value}{suffix},")
        return lines

    def fields(self, type_id: int, kind: kinds.Struct | kinds.Union, depth: int) -> tuple[list[str], str]:
        """The lines of a struct or union, and the attribute at its end."""
        align = self.types.align_of(type_id)
        packed = align == 1 and self.widest(kind) > 1
        union = isinstance(kind, kinds.Union)
        lines: list[str] = []
        at = 0  # bits
        for field in kind.members:
            self.spend()
            offset, bits = _bits_of(self.types, field)
            size = self.size(field.type)
            if not union:
                inner = 1 if packed else self.types.align_of(field.type)
                start = _place(at, bits, size, inner, packed)
                if start != offset:
                    self.pad(lines, at, offset, align)
                at = offset + (bits or 8 * size)
            line = self.declare(field.type, field.name, depth) + (f": {bits}" if bits else "") + ";"
            if self.offsets:
                where = f"{offset // 8}:{offset % 8} {bits} bits" if bits else f"{offset // 8} {size}"
                line += f" /* {where} */"
            lines.append(line)
        if not union and lines:
            end = 8 * kind.size
            if -(-at // (8 * align)) * 8 * align != end:
                self.pad(lines, at, end, align)
        return lines, " __attribute__((packed))" if packed else ""

    def widest(self, kind: kinds.Struct | kinds.Union) -> int:
        """The largest alignment among the members."""
        return max((self.types.align_of(field.type) for field in kind.members), default=1)

    def size(self, type_id: int) -> int:
        """A member's size; 0 where it has none."""
        resolved = self.types.resolve(type_id)
        if self.types.kind(resolved) in (Kind.VOID, Kind.FWD, Kind.FUNC_PROTO):
            return 0
        return self.types.size_of(resolved)

    def pad(self, lines: list[str], start: int, end: int, align: int) -> None:
        """Lines of unnamed bitfields that fill the bits from ``start`` to ``end``."""
        name, unit = {2: ("short", 16), 4: ("int", 32), 8: ("long", 64)}.get(
            min(align, self.types.pointer_size), ("char", 8)
        )
        while start < end:
            self.spend()
            step = min(end - start, unit - start % unit)
            lines.append(f"{name}: {step};")
            start += step


def _bits_of(types: Types, field: kinds.Field) -> tuple[int, int]:
    """(offset, width) of a member in bits; the width is 0 unless it is a bitfield."""
    kind = types.type(types.resolve(field.type))
    if isinstance(kind, kinds.Int) and not field.bits and (kind.offset or kind.bits != 8 * kind.size):
        return field.offset + kind.offset, kind.bits
    return field.offset, field.bits


def _place(at: int, bits: int, size: int, align: int, packed: bool) -> int:
    """Where C puts a member that follows ``at`` bits."""
    if not bits:
        return -(-at // (8 * align)) * 8 * align
    unit = 8 * size or 8
    # A bitfield does not cross the bounds of its type, unless the struct is packed.
    return at if packed or at % unit + bits <= unit else -(-at // unit) * unit


def _grouped(inner: str) -> str:
    """A pointer's declarator in the parentheses that arrays and functions of it need."""
    return f"({inner})" if inner.startswith("*") else inner


def _pointer(qualifiers: list[str], inner: str) -> str:
    words = " ".join(["*", *qualifiers])
    return f"{words}{' ' if inner and (qualifiers or inner[0] in '([') else ''}{inner}"


def _attribute(tag: kinds.TypeTag | kinds.DeclTag, name: str) -> str:
    if tag.attribute:
        return f"__attribute__(({tag.name}))"
    text = tag.name.replace("\\", "\\\\").replace('"', '\\"')
    return f'__attribute__(({name}("{text}")))'
