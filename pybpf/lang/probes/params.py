"""How the parameters of a probe function get their values from the program's context: one function per way."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from pybpf.lang.front.annotations import annotated_shape
from pybpf.lang.probes.context import Context
from pybpf.lang.probes.prototypes import (
    WORD,
    Argument,
    Prototype,
    function_prototype,
    raw_prototype,
    syscall_prototype,
    types_of,
)
from pybpf.lang.probes.records import Fields, SharedFields
from pybpf.lang.values.memory import Maybe
from pybpf.lang.values.pointers import Pointer, value_at
from pybpf.lang.values.reading import KERNEL, USER, Where
from pybpf.lang.values.shapes import Address, Opaque, Shape
from pybpf.sys.near import did_you_mean, near

if TYPE_CHECKING:
    from pybpf.compiler.ir import Operand
    from pybpf.lang.front.gen import Gen
    from pybpf.lang.probes.probe import Param, Probe
    from pybpf.lang.values.val import Val

__all__ = ["BINDINGS", "Binding"]

Binding = Callable[["Gen", "Probe", "Sequence[Param]"], "list[Val]"]

#: The parameter that is the context itself, and the one that is what a function returns.
_CONTEXT, _RESULT = "ctx", "ret"
#: what the kernel names the function of an iterator
_ITERATOR = "bpf_iter_"
#: its parameter that is no object
_META = "meta"


# one parameter

Read = Callable[["Gen", Argument, "Shape"], "Val"]


def _by_name(
    gen: Gen, probe: Probe, params: Sequence[Param], known: Prototype | None, read: Read, context: Val | None = None
) -> list[Val]:
    """The parameters: by the names of the prototype, or, annotated, all by their positions.

    :param read: reads an argument from the context, as a shape.
    """
    by_name = {argument.name: argument for argument in (known.arguments if known else ()) if argument.name}
    named = any(param.name in by_name for param in params)
    values = []
    for index, param in enumerate(params):
        if param.name in by_name:
            argument = by_name[param.name]
            shape = annotated_shape(gen, param) if param.annotation is not None else argument.shape
        elif param.name == _CONTEXT and context is not None:
            values.append(context)
            continue
        elif param.annotation is not None:
            alike = near(param.name, by_name, 1)
            if known and (named or alike) and not _is_at(known, index, alike):
                _unknown(gen, probe, param, known)  # misspelt: its position would give another one
            if known and index >= len(known.arguments):
                gen.fail(param.node, f"{probe.title} has {len(known.arguments)} parameter(s), and this is number "
                         f"{index + 1}")  # fmt: skip
            shape = annotated_shape(gen, param)
            argument = known.arguments[index] if known else Argument(param.name, shape, index)
        else:
            _unknown(gen, probe, param, known)
        if isinstance(argument.shape, Opaque):
            gen.fail(param.node, f"{param.name!r} is a {argument.shape.title}: a probe cannot read that")
        values.append(read(gen, argument, shape))
    return values


def _is_at(known: Prototype, index: int, names: Sequence[str]) -> bool:
    """Whether an argument has one of the names: kernels name theirs differently, ``rq`` and ``req``."""
    return index < len(known.arguments) and known.arguments[index].name in names


def _know_not(gen: Gen) -> str:
    if gen.target.types() is None:
        return "the target has no types (BTF: Linux 5.4 built with CONFIG_DEBUG_INFO_BTF=y) that know"
    return "the target's types do not know"


def _meant(gen: Gen, probe: Probe) -> str:
    """``"; did you mean ...?"``: what a name that the types do not know may stand for; or ``""``."""
    types, name = types_of(gen.target, probe.name)
    if types is None:
        return ""
    if probe.row.params == "raw":
        return did_you_mean(name, dict(types.tracepoints()))
    prefix = _ITERATOR if probe.row.params == "iterator" else ""
    return did_you_mean(name, (known[len(prefix) :] for known, _ in types.functions(f"{prefix}*")))


def _unknown(gen: Gen, probe: Probe, param: Param, known: Prototype | None) -> None:
    if known is None:
        meant = _meant(gen, probe)
        what = f"{_know_not(gen)} {probe.title}{meant or ':'} "
        gen.fail(param.node, f"{what}{'If not, ' if meant else ''}annotate its parameters, in their order: "
                 f"{param.name}: u64")  # fmt: skip
    names = [argument.name for argument in known.arguments if argument.name]
    there = f"its parameters are {', '.join(names)}" if names else "it has no parameters"
    if not names and known.arguments:
        there = f"its {len(known.arguments)} parameters have no names: annotate yours, in their order"
    gen.fail(param.node, f"{probe.title} has no parameter {param.name!r}"
             f"{did_you_mean(param.name, names) or '; ' + there}")  # fmt: skip


# the ways


def _nothing(gen: Gen, probe: Probe, params: Sequence[Param]) -> list[Val]:
    context = Context(gen.ctx)
    if [param.name for param in params] not in ([], [_CONTEXT]):
        wrong = next(param for param in params if param.name != _CONTEXT)
        gen.fail(wrong.node, f"{probe.title} has no parameter {wrong.name!r}: only ctx, the registers")
    return [context for _ in params]


def _record(gen: Gen, probe: Probe, params: Sequence[Param]) -> list[Val]:
    if len(params) > 1:
        gen.fail(params[1].node, f"{probe.title} has one parameter: the record, whose fields are its attributes")
    names = probe.options.get("names")
    if names is not None:
        return [SharedFields.of_all(gen, probe.name, names, param.node) for param in params]
    return [Fields.of(gen, probe.name, param.node) for param in params]


def _word(gen: Gen, argument: Argument, shape: Shape) -> Val:
    """Reads from a context of 8-byte words, whose pointers typed programs may follow."""
    typed = gen.probe.row.typed and shape == argument.shape
    where = Where(gen.ctx, WORD * argument.word, KERNEL, gen.ctx, typed)
    return value_at(gen, where, shape, ast.Pass(), argument.name)


def _raw(gen: Gen, probe: Probe, params: Sequence[Param]) -> list[Val]:
    return _by_name(gen, probe, params, raw_prototype(gen.target, probe.name), _word)


def _traced(gen: Gen, probe: Probe, params: Sequence[Param]) -> list[Val]:
    """fentry, fexit and fmod_ret: the arguments, and behind them the result."""
    known = function_prototype(gen.target, probe.name)
    if not params:
        return []
    if known is None:
        gen.fail(params[0].node, f"{_know_not(gen)} the function {probe.name}"
                 f"{_meant(gen, probe) or f': {probe.kind} needs them; use a kprobe'}")  # fmt: skip
    if probe.kind in ("fexit", "fmod_ret"):
        if known.result is not None:
            result = Argument(_RESULT, known.result, known.words)
            known = known._replace(arguments=[*known.arguments, result])
        elif any(param.name == _RESULT for param in params):
            wrong = next(param for param in params if param.name == _RESULT)
            gen.fail(wrong.node, f"the function {probe.name} returns nothing: there is no 'ret'")
    return _by_name(gen, probe, params, known, _word)


def _iterator(gen: Gen, probe: Probe, params: Sequence[Param]) -> list[Val]:
    """The objects: at the end of all each of them is None once, which the verifier wants to be asked."""
    known = function_prototype(gen.target, _ITERATOR + probe.name)
    values = _by_name(gen, probe, params, known, _word)
    return [_perhaps(value, param.name) for value, param in zip(values, params)]


def _perhaps(value: Val, name: str) -> Val:
    """An argument of an iterator, which may be None; what it says of itself is there always."""
    there = value.where.direct if isinstance(value, Pointer) and name != _META else None
    return value if there is None else Maybe(there, value, repr(name))


# functions by their registers


def _from_registers(space: str) -> Read:
    """Reads the arguments of a function at its entry, by the calling convention."""

    def read(gen: Gen, argument: Argument, shape: Shape) -> Val:
        arch = gen.target.arch
        if argument.word < len(arch.arguments):
            found = Where(gen.ctx, arch.registers[arch.arguments[argument.word]], KERNEL, gen.ctx)
        else:
            sp = gen.b.emit("load", gen.ctx, offset=arch.registers[arch.sp], size=8, signed=False)
            found = Where(sp, arch.stack_argument + WORD * (argument.word - len(arch.arguments)), space)
        return _in_space(gen, found, shape, space)

    return read


def _in_space(gen: Gen, where: Where, shape: Shape, space: str) -> Val:
    """A value whose pointers are the kernel's, or those of the process."""
    if isinstance(shape, Address):
        return Pointer(Where(where.load(gen, WORD), 0, USER if shape.user else space), shape.target)
    return value_at(gen, where, shape, ast.Pass(), "")


def _registers(gen: Gen, probe: Probe, params: Sequence[Param]) -> list[Val]:
    context = Context(gen.ctx)
    plain = types_of(gen.target, probe.name)[1]
    if "+" in probe.name or probe.options.get("offset"):
        wrong = next((param for param in params if param.name != _CONTEXT), None)
        if wrong is not None:
            gen.fail(wrong.node, f"{probe.title} is inside of a function, where its parameters are no more: only ctx, "
                     "the registers")  # fmt: skip
        return [context for _ in params]
    prefix = gen.target.arch.syscall_prefix
    if plain.startswith(prefix):
        known = syscall_prototype(gen.target, plain[len(prefix) :])
        return _by_name(gen, probe, params, known, _from_syscall(), context)
    return _by_name(gen, probe, params, function_prototype(gen.target, probe.name), _from_registers(KERNEL), context)


def _from_syscall() -> Read:
    """Reads a system call's arguments: the wrapper's one argument points to the registers of the process."""
    address: list[Operand] = []

    def read(gen: Gen, argument: Argument, shape: Shape) -> Val:
        arch = gen.target.arch
        if not address:
            offset = arch.registers[arch.arguments[0]]
            address.append(gen.b.emit("load", gen.ctx, offset=offset, size=8, signed=False))
        where = Where(address[0], arch.registers[arch.syscall_arguments[argument.word]], KERNEL)
        return _in_space(gen, where, shape, USER)

    return read


def _result(gen: Gen, probe: Probe, params: Sequence[Param]) -> list[Val]:
    kernel = probe.kind == "kretprobe"
    known = function_prototype(gen.target, probe.name) if kernel else None
    values: list[Val] = []
    for param in params:
        if param.name == _CONTEXT:
            values.append(Context(gen.ctx))
            continue
        if param.name != _RESULT:
            entry = ("fexit has them, or " if kernel else "") + "keep them in a map at the entry"
            gen.fail(param.node, f"{probe.title} has no parameter {param.name!r}: only ret, what the function returns, "
                     f"and ctx; the arguments are gone when it returns: {entry}")  # fmt: skip
        if param.annotation is not None:
            shape = annotated_shape(gen, param)
        elif known is None:
            why = f"{_know_not(gen)} the function" if kernel else "nothing says its type"
            meant = _meant(gen, probe) if kernel else ""
            gen.fail(param.node, f"annotate 'ret': {why}{meant or ';'} {'If not, ' if meant else ''}"
                     "write ret: s32, say")  # fmt: skip
        elif known.result is None:
            gen.fail(param.node, f"the function {probe.name} returns nothing: there is no 'ret'")
        else:
            shape = known.result
        where = Where(gen.ctx, gen.target.arch.registers[gen.target.arch.result], KERNEL, gen.ctx)
        values.append(_in_space(gen, where, shape, KERNEL if kernel else USER))
    return values


def _positions(gen: Gen, probe: Probe, params: Sequence[Param]) -> list[Val]:
    read, position = _from_registers(USER), 0
    values: list[Val] = []
    for param in params:
        if param.name == _CONTEXT and param.annotation is None:
            values.append(Context(gen.ctx))
            continue
        if param.annotation is None:
            gen.fail(param.node, f"annotate {param.name!r}: nothing says the type of a parameter of {probe.title}; "
                     f"write {param.name}: u64, say, or user_ptr(T) for a pointer")  # fmt: skip
        shape = annotated_shape(gen, param)
        values.append(read(gen, Argument(param.name, shape, position), shape))
        position += 1
    return values


def _usdt(gen: Gen, probe: Probe, params: Sequence[Param]) -> list[Val]:
    from pybpf.lang.probes.usdt import bind

    return bind(gen, probe, params)


#: :attr:`ProbeKind.params` -> what binds them
BINDINGS: Mapping[str, Binding] = MappingProxyType({
    "function": _traced,
    "iterator": _iterator,
    "nothing": _nothing,
    "positions": _positions,
    "raw": _raw,
    "record": _record,
    "registers": _registers,
    "result": _result,
    "usdt": _usdt,
})  # fmt: skip
