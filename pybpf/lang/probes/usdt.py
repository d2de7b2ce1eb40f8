"""The arguments of USDT probes: read from where the note of each site says, which one it is told by the cookie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pybpf.lang.front.annotations import annotated_shape
from pybpf.lang.probes.context import Context
from pybpf.lang.values.ints import Int
from pybpf.lang.values.pointers import Pointer
from pybpf.lang.values.reading import KERNEL, USER, Where
from pybpf.lang.values.shapes import Address, Number, Shape, integer
from pybpf.symbols.usdt_args import UsdtArg, UsdtArgKind
from pybpf.types import layout

if TYPE_CHECKING:
    from pybpf.compiler.ir import Block, Operand
    from pybpf.lang.front.gen import Gen
    from pybpf.lang.probes.probe import Param, Probe
    from pybpf.lang.values.emitter import Emitter
    from pybpf.lang.values.val import Val

__all__ = ["bind", "site_groups", "words_by_site"]

_WORD_BITS = 64
_CONTEXT = "ctx"


def site_groups(places: Sequence[Any]) -> list[tuple[tuple[UsdtArg, ...], list[int]]]:
    """The different ways in which the sites of a probe have its arguments, each with the indices of the sites.

    :param places: :class:`pybpf.attach.usdt.UsdtPlace`, in the order in which they are attached.
    """
    groups: dict[tuple[UsdtArg, ...], list[int]] = {}
    for index, place in enumerate(places):
        groups.setdefault(place.site.args, []).append(index)
    return sorted(groups.items(), key=lambda group: -len(group[1]))


def bind(gen: Gen, probe: Probe, params: Sequence[Param]) -> list[Val]:
    """The arguments, by position.

    :raises CompileError: the probe has fewer, or one that cannot be read, or sites that the target cannot tell apart.
    """
    groups = site_groups(probe.places())
    counts = [len(args) for args, _ in groups]
    wanted = [param for param in params if param.name != _CONTEXT or param.annotation is not None]
    if len(wanted) > min(counts):
        gen.fail(wanted[min(counts)].node, f"{probe.title} has {min(counts) or 'no'} argument"
                 f"{'s' * (min(counts) != 1)}, and the function has {len(wanted)} parameters")  # fmt: skip
    for args, _ in groups:
        for arg, param in zip(args, wanted):
            if arg.kind is UsdtArgKind.UNREADABLE:
                gen.fail(param.node, f"{probe.title}: {arg.problem}")
    read = iter(_read(gen, probe, wanted, groups) if wanted else [])
    return [next(read) if param in wanted else Context(gen.ctx) for param in params]


def _read(
    gen: Gen, probe: Probe, params: Sequence[Param], groups: list[tuple[tuple[UsdtArg, ...], list[int]]]
) -> list[Val]:
    first = groups[0][0]
    if len(groups) == 1:
        words = [_word(gen, arg) for arg, _ in zip(first, params)]
    else:
        words = _word_by_site(gen, probe, params, groups)
    return [_typed(gen, word, arg, param) for word, arg, param in zip(words, first, params)]


def _word_by_site(
    gen: Gen, probe: Probe, params: Sequence[Param], groups: list[tuple[tuple[UsdtArg, ...], list[int]]]
) -> list[Operand]:
    """The arguments where the sites have them in different places."""
    if not gen.target.has_helper(gen.unit.type, "get_attach_cookie"):
        gen.fail(params[0].node, f"the sites of {probe.title} have their arguments in different places, which takes "
                 "attach cookies to tell (Linux 5.15): compile what Probe.split() gives")  # fmt: skip
    return words_by_site(gen, groups, range(len(params)))


def words_by_site(
    gen: Emitter, groups: list[tuple[tuple[UsdtArg, ...], list[int]]], wanted: Sequence[int]
) -> list[Operand]:
    """The arguments with these numbers: a branch for each way to have them. Needs attach cookies."""
    if len(groups) == 1:
        return [_word(gen, groups[0][0][number]) for number in wanted]
    b = gen.b
    cookie = b.emit("call", gen.ctx, helper="get_attach_cookie")
    done = b.new_block("arguments")
    keys = [object() for _ in wanted]

    def read_here(args: tuple[UsdtArg, ...]) -> None:
        for key, number in zip(keys, wanted):
            b.write(key, _word(gen, args[number]))
        b.jump(done)

    ways: list[tuple[Block, tuple[UsdtArg, ...]]] = []
    for args, sites in groups[1:]:
        here, other = b.new_block("site"), b.new_block("other")
        ways.append((here, args))
        for index, site in enumerate(sites):
            more: Block = other if index == len(sites) - 1 else b.new_block("or")
            b.branch("eq", cookie, site, here, more)
            b.seal(more)
            b.start(more)
        b.seal(here)
    read_here(groups[0][0])
    for here, args in ways:
        b.start(here)
        read_here(args)
    b.seal(done)
    b.start(done)
    return [b.read(key) for key in keys]


def _word(gen: Emitter, arg: UsdtArg) -> Operand:
    """An argument, extended to 64 bits."""
    if arg.kind is UsdtArgKind.CONST:
        return arg.offset
    if arg.kind is UsdtArgKind.REG:
        assert arg.register is not None
        return Where(gen.ctx, arg.register, KERNEL, gen.ctx).load(gen, arg.size, arg.signed)
    address: Operand = _register(gen, arg.register) if arg.register is not None else 0
    if arg.index is not None:
        index: Operand = _register(gen, arg.index)
        if arg.index_bits != _WORD_BITS:
            index = gen.b.emit("sext" if arg.index_bits < 0 else "zext", index, bits=abs(arg.index_bits))
        address = gen.b.emit("add", gen.b.emit("mul", index, arg.scale), address)
    return Where(address, arg.offset, USER).load(gen, arg.size, arg.signed)


def _register(gen: Emitter, offset: int) -> Operand:
    return gen.b.emit("load", gen.ctx, offset=offset, size=8, signed=False)


def _typed(gen: Gen, word: Operand, arg: UsdtArg, param: Param) -> Val:
    """The argument as its note says, or as the annotation does."""
    if param.annotation is None:
        return Int(word, integer(arg.size, arg.signed))
    shape: Shape = annotated_shape(gen, param)
    if isinstance(shape, Address):
        return Pointer(Where(word, 0, USER), shape.target)
    if not isinstance(shape, Number):
        gen.fail(param.node, f"an argument of a USDT probe is a number or a pointer, not a {shape.title}")
    size, signed = layout(shape.kind).size, bool(getattr(layout(shape.kind), "signed", False))
    if size < arg.size or (size == arg.size < 8 and signed != arg.signed):
        word = gen.b.emit("sext" if signed else "zext", word, bits=8 * size)
    return Int(word, shape.kind)
