"""Conversions that a script writes, and ``typeinfo``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pybpf.bt.check.facts import Unknown
from pybpf.bt.syntax import tree
from pybpf.bt.types import Array, Bool, Compound, Integer, Nothing, Pointer, Record, String, Type
from pybpf.bt.types.types import INT8

if TYPE_CHECKING:
    from pybpf.bt.check.checker import Checker

__all__ = ["cast", "type_info"]


def cast(check: Checker, node: tree.Cast, wanted: Type) -> Type:
    """The type of ``(wanted)value``. :raises CompileError: there is no such conversion."""
    found = check.read(check.value(node.value))
    if isinstance(found, Nothing):
        return Unknown
    if isinstance(wanted, Pointer):
        if not isinstance(found, (Integer, Pointer, Bool)):
            check.fail(node, f"{found.name} cannot be converted to a pointer")
        space = found.space if isinstance(found, Pointer) else ""
        return Pointer(wanted.target, space or check.place.arguments.space)
    if isinstance(wanted, (Integer, Bool)):
        return _to_number(check, node, found, wanted)
    if isinstance(wanted, Array):
        return _to_array(check, node, found, wanted)
    if isinstance(wanted, String) and isinstance(found, (String, Array)):
        return wanted
    if isinstance(wanted, Compound):
        # as bpftrace: (struct x)address is what lies there
        if isinstance(found, (Integer, Pointer)):
            return wanted
        if found == wanted:
            return wanted
    check.fail(node, f"{found.name} cannot be converted to {wanted.name}")


def _to_number(check: Checker, node: tree.Cast, found: Type, wanted: Type) -> Type:
    if found.scalar:
        return wanted
    if isinstance(found, Array) and found.size == wanted.size and isinstance(wanted, Integer):
        return wanted
    if isinstance(found, Array):
        check.fail(node, f"an array of {found.size} bytes cannot be converted to {wanted.name}, of {wanted.size}")
    check.fail(node, f"{found.name} cannot be converted to {wanted.name}")


def _to_array(check: Checker, node: tree.Cast, found: Type, wanted: Array) -> Type:
    if not isinstance(found, (Integer, Array, String, Bool)):
        check.fail(node, f"{found.name} cannot be converted to {wanted.name}")
    if isinstance(found, Integer) and found.flexible and wanted.length:
        found = next((Integer(each, True) for each in (1, 2, 4, 8) if each == wanted.size), found)
    length = wanted.length or -(-found.size // max(wanted.item.size, 1))
    made = Array(wanted.item, length)
    if isinstance(found, String) and wanted.item.size == INT8.size:
        return made
    if made.size != found.size:
        check.fail(node, f"{found.name} has {found.size} bytes, and {made.name} has {made.size}")
    return made


def type_info(check: Checker, node: tree.TypeInfo) -> Type:
    """``typeinfo(x)``: a record of the type's id, its sort and its name."""
    from pybpf.bt.check.sizes import written

    operand = node.operand
    if isinstance(operand, (tree.NamedType, tree.CompoundType, tree.PointerType, tree.ArrayType, tree.TypeOf)):
        found = written(check, operand)
    else:
        found = check.read(check.type(operand))
    if isinstance(found, Nothing):
        return Unknown
    names = sort_of(found), found.name
    check.checked.notes[node] = names
    text = [String(len(name.encode()) + 1) for name in names]
    return Record((("btf_id", Integer(4, False)), ("base_ty", text[0]), ("full_ty", text[1])))


def sort_of(found: Type) -> str:
    """The sort of a type: ``"int"``, ``"string"``, ``"array"``, ..."""
    if isinstance(found, Integer):
        return "enum" if found.enum else "int"
    return type(found).__name__.lower() if not isinstance(found, Compound) else "c_struct"
