"""Types as a script writes them, and what is asked of types: ``sizeof``, ``offsetof``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from pybpf.bt.c.types import CBasic, CType
from pybpf.bt.syntax import tree
from pybpf.bt.types import BOOL, NONE, Array, Buffer, Compound, Integer, Nothing, Pointer, Special, String, Type
from pybpf.bt.types.foreign import of_btf, of_c
from pybpf.errors import BtfError
from pybpf.lazy import regex
from pybpf.sys.near import did_you_mean

if TYPE_CHECKING:
    from pybpf.bt.check.checker import Checker

__all__ = ["of_kernel", "offset_of", "size_of", "written"]

_SIZED = regex(r"(?:__)?(?:([us])(8|16|32|64)|(u?)int(8|16|32|64)(?:_t)?)\Z")
_C: Mapping[str, tuple[int, bool]] = MappingProxyType({
    "char": (1, True), "signed char": (1, True), "unsigned char": (1, False), "short": (2, True),
    "unsigned short": (2, False), "int": (4, True), "signed int": (4, True), "unsigned": (4, False),
    "unsigned int": (4, False), "long": (8, True), "long int": (8, True), "unsigned long": (8, False),
    "long unsigned int": (8, False), "long long": (8, True), "unsigned long long": (8, False),
    "long long int": (8, True), "unsigned long long int": (8, False), "size_t": (8, False), "ssize_t": (8, True),
    "uintptr_t": (8, False), "intptr_t": (8, True), "pid_t": (4, True), "uid_t": (4, False), "gid_t": (4, False),
})  # fmt: skip
_TEXTS = {"string": String, "buffer": Buffer}


def written(check: Checker, node: tree.Type) -> Type:
    """The type that a script writes. :raises CompileError: there is none."""
    if isinstance(node, tree.NamedType):
        return _named(check, node)
    if isinstance(node, tree.CompoundType):
        return _compound(check, node)
    if isinstance(node, tree.PointerType):
        return Pointer(written(check, node.target))
    if isinstance(node, tree.ArrayType):
        return _array(check, node)
    if isinstance(node.operand, _TYPES):
        return written(check, node.operand)
    with check.asking():
        return check.read(check.type(node.operand))


_TYPES = (tree.NamedType, tree.CompoundType, tree.PointerType, tree.ArrayType, tree.TypeOf)


def _array(check: Checker, node: tree.ArrayType) -> Type:
    length = node.length
    if isinstance(node.item, tree.NamedType) and length and node.item.name in _TEXTS:
        return _TEXTS[node.item.name](length)
    return Array(written(check, node.item), length or 0)


def _named(check: Checker, node: tree.NamedType) -> Type:
    name = node.name
    found = check.facts.definitions.types.get(name)
    if found is not None:
        return of_c(found)
    if name in ("bool", "_Bool"):
        return BOOL
    if name == "void":
        return NONE
    if name in _TEXTS:
        return _TEXTS[name](check.facts.settings.max_strlen)
    sized = _SIZED.match(name)
    if sized is not None:
        return Integer(int(sized[2] or sized[4]) // 8, sized[1] == "s" if sized[1] else not sized[3])
    if name in _C:
        return Integer(*_C[name])
    known = of_kernel(check, name)
    if known is not None:
        return known
    near = did_you_mean(name, [*check.facts.definitions.types, "uint8", "uint16", "uint32", "uint64", "int8",
                               "int16", "int32", "int64", "string", "bool"])  # fmt: skip
    check.fail(node, f"there is no type {name!r}{near}")


def of_kernel(check: Checker, name: str) -> Type | None:
    """A type of the kernel by its name in C, or what the script defines instead; None where it is not known."""
    mine = check.facts.definitions.types.get(name)
    if mine is not None and _complete(mine):
        return of_c(mine)
    types = check.facts.target.types()
    if types is None:
        return None
    try:
        return of_btf(types, types.named(name))
    except BtfError:
        return None


def _compound(check: Checker, node: tree.CompoundType) -> Type:
    text = f"{node.keyword} {node.name}"
    mine = check.facts.definitions.types.get(text)
    if mine is not None and _complete(mine):
        return of_c(mine)
    known = of_kernel(check, text)
    if known is not None:
        return known
    types = check.facts.target.types()
    where = "the script does not define it, and the kernel has no types (BTF)"
    if types is not None:
        names = [*check.facts.definitions.types, *(f"{node.keyword} {each}" for each, _ in types.names(node.keyword))]
        where = did_you_mean(text, names).lstrip("; ") or "neither the script nor the kernel's types have it"
    check.fail(node, f"there is no {text}; {where}")


def _complete(found: CType) -> bool:
    return getattr(found, "complete", True) or isinstance(found, CBasic)


def size_of(check: Checker, node: tree.SizeOf | tree.OffsetOf) -> int | None:
    """The value of ``sizeof(...)`` or ``offsetof(...)``; None while it is not known."""
    if isinstance(node, tree.OffsetOf):
        return offset_of(check, node)
    found = _operand(check, node.operand)
    if isinstance(found, Nothing):
        return 0 if isinstance(node.operand, _TYPES) else None
    return found.size


def _operand(check: Checker, node: tree.Type | tree.Expression) -> Type:
    if isinstance(node, _TYPES):
        return written(check, node)
    if isinstance(node, tree.Index) and isinstance(node.value, tree.TypeOf):  # of a macro's parameter that is a type
        length = check.constant(node.index)
        return Array(written(check, node.value), length if isinstance(length, int) else 0)
    if isinstance(node, tree.Name) and node.name in check.facts.definitions.types:
        return of_c(check.facts.definitions.types[node.name])
    with check.asking():
        return check.type(node)


def offset_of(check: Checker, node: tree.OffsetOf) -> int | None:
    """Bytes from a record's start to a member, perhaps of a member."""
    found = _operand(check, node.operand)
    offset = 0
    for name in node.path:
        if isinstance(found, (Nothing, Special)) and not check.facts.final:
            return None
        if not isinstance(found, Compound):
            check.fail(node, f"{found.name} has no members")
        member = found.member(name)
        if member is None:
            check.fail(node, f"{found.name} has no member {name!r}{did_you_mean(name, found.names())}")
        if member.bits is not None:
            check.fail(node, f"{name!r} of {found.name} is a bit-field: it has no offset")
        offset, found = offset + member.offset, member.type
    return offset
