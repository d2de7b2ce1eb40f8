"""What annotations and type arguments of a probe mean: types of pybpf, pointers to them, the kernel's by name."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from pybpf.errors import BtfError
from pybpf.lang.values.shapes import Address, Shape, btf_named, type_shape
from pybpf.sys.near import did_you_mean

if TYPE_CHECKING:
    from pybpf.btf import Btf
    from pybpf.lang.front.gen import Gen
    from pybpf.lang.probes.probe import Param
    from pybpf.lang.values.val import Val

__all__ = ["annotated_shape", "kernel_shape", "kernel_types", "known_address", "type_of"]


def kernel_types(gen: Gen, at: ast.AST, what: str) -> Btf:
    """The target's types. :raises CompileError: it has none."""
    types = gen.target.types()
    if types is None:
        gen.fail(at, f"{what} needs the types of the kernel, and the target has none (BTF: Linux 5.4 built with "
                 "CONFIG_DEBUG_INFO_BTF=y)")  # fmt: skip
    return types


def kernel_shape(gen: Gen, name: str, at: ast.AST) -> Shape:
    """What a type of the kernel is, by its name in C. :raises CompileError: there is none."""
    types = kernel_types(gen, at, repr(name))
    try:
        return btf_named(types, name)
    except BtfError:
        keyword, _, plain = name.rstrip("* ").rpartition(" ")
        kind = keyword if keyword in ("struct", "union", "enum") else "typedef"
        near = did_you_mean(plain, (each for each, _ in types.names(kind)))
        if keyword:
            near = near.replace("did you mean ", f"did you mean {keyword} ")
        gen.fail(at, f"the kernel has no type {name!r}{near or ': names are as in C, struct sock, pid_t, void *'}")


def known_address(gen: Gen, address: Address, at: ast.AST) -> Address:
    """A pointer whose target is known: one of the kernel's types by its name is looked up. :raises CompileError"""
    if not isinstance(address.to, str):
        return address
    types = kernel_types(gen, at, repr(address.to))
    kernel_shape(gen, address.to, at)  # whether there is one
    return Address(types, types.resolve(types.named(address.to)), address.user)


def annotated_shape(gen: Gen, param: Param) -> Shape:
    """What the annotation of a parameter says that it is. :raises CompileError: nothing that a parameter can be."""
    if param.annotation is int:
        gen.fail(param.node, "int does not say how many bits of the register count: write "
                 f"{param.name}: s32 for an int of C, {param.name}: s64 for a long")  # fmt: skip
    return type_of_object(gen, param.annotation, param.node)


def type_of(gen: Gen, val: Val, at: ast.AST) -> Shape:
    """The type that an argument of a builtin means: a type, ``user_ptr(...)``, or the name of one of the kernel's."""
    given = gen.const(val)
    return type_of_object(gen, given if given is not None else getattr(val, "kind", None), at)


def type_of_object(gen: Gen, given: Any, at: ast.AST) -> Shape:
    """As :func:`type_of`, of the object itself."""
    if isinstance(given, str):
        return kernel_shape(gen, given, at)
    try:
        shape = type_shape(given)
        return known_address(gen, shape, at) if isinstance(shape, Address) else shape
    except TypeError:
        name = getattr(given, "__name__", repr(given))
        gen.fail(at, f"{name:.60} is no type: write u64, a Struct, user_ptr(T), or the kernel's \"struct NAME\"")
