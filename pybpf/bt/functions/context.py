"""What a probe can tell: arguments, return value, its own name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pybpf.bt.functions.function import Arguments, Function, Lowering
from pybpf.bt.lower.values import Known, Made, Scalar, Value
from pybpf.bt.probes.arguments import Context
from pybpf.bt.syntax import tree
from pybpf.bt.types import NONE, UINT64, Pointer, Record, Special, String, Type
from pybpf.lang.values import raw
from pybpf.lang.values.reading import KERNEL
from pybpf.sys.bpf import ProgType
from pybpf.sys.near import did_you_mean
from pybpf.types import u64

if TYPE_CHECKING:
    from pybpf.bt.check.checker import Checker
    from pybpf.bt.lower.gen import Gen
    from pybpf.compiler.ir import Operand

__all__ = ["PROBE", "ROWS"]

#: what a USDT probe may have
_MOST_ARGUMENTS = 12
#: The name of a probe as its number: what is printed, and what keys are made of.
PROBE = Special("probe", u64)
_USER_KINDS = frozenset({"uprobe", "uretprobe", "usdt"})
_CONTEXTS = {ProgType.KPROBE: "struct pt_regs", ProgType.PERF_EVENT: "struct bpf_perf_event_data"}
_FUNCTION_KINDS = frozenset({"kprobe", "kretprobe", "fentry", "fexit", "uprobe", "uretprobe"})


def _numbered(index: int) -> Function:
    def check_it(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
        found = check.place.arguments
        if index >= found.count:
            many = f"arg0 to arg{found.count - 1}" if found.count else "none"
            check.fail(node, f"{check.place.name} has no arg{index}; it has {many}")
        return found.numbered_type(index)

    def lower(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
        return gen.checked.place.arguments.numbered(gen, index)

    return Function(f"arg{index}()", f"argument {index} of the function or probe", check_it, lower)


def _check_retval(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    found = check.place.arguments.result
    if found is None:
        check.fail(node, f"{check.place.name} has no retval; kretprobe, uretprobe and fexit probes have it")
    return found


def _retval(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    return gen.checked.place.arguments.load_result(gen)


def _args(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    """All of them together."""
    found = check.place.arguments
    fields = found.fields()
    if not fields:
        check.fail(node, f"{check.place.name} has no args: {found.why_no_fields()}")
    return Record(tuple((name, each.type) for name, each in fields.items()))


def _all_args(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    from pybpf.bt.lower.expressions import tuple_value

    kind = gen.type(node)
    assert isinstance(kind, Record)
    return tuple_value(gen, kind, [each.load(gen) for each in gen.checked.place.arguments.fields().values()])


def _check_context(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    from pybpf.bt.check.sizes import of_kernel

    found = check.place.arguments
    if isinstance(found, Context):
        return Pointer(found.type, KERNEL)
    name = _CONTEXTS.get(check.place.type)
    known = None if name is None else of_kernel(check, name)
    return Pointer(NONE, KERNEL) if known is None else Pointer(known, KERNEL)


def _context(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    return Scalar(gen.type(node), gen.ctx, gen.ctx)


def _text(value: str) -> Known:
    data = value.encode("utf-8", "surrogateescape")
    return Known(String(len(data) + 1), data)


def _check_probe(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    return PROBE if node in check.facts.shown else _text(check.place.name).type


def _probe(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    place = gen.checked.place
    if gen.type(node) is not PROBE:
        return _text(place.name)
    names = place.names or (place.name,)
    number: Operand = gen.shared.number_probes(names)
    if place.names:
        number = gen.b.emit("add", gen.b.emit("call", gen.ctx, helper="get_attach_cookie"), number)
    return Made(PROBE, lambda to, offset: raw.store(gen, to, offset, PROBE.size, number))


def _check_func(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    if check.place.kind in _USER_KINDS:
        from pybpf.bt.functions.symbols import USYM

        return USYM
    return Special("ksym", u64)


def _func(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    from pybpf.bt.functions.symbols import function_address

    return function_address(gen, node)


def _check_register(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    name = check.constant(arguments[0])
    arch = check.facts.target.arch
    if not check.place.arguments.registers:
        check.fail(node, f"{check.place.kind} probes have no registers")
    if not isinstance(name, str) or name not in arch.registers:
        near = did_you_mean(str(name), arch.registers) or f"; they are {', '.join(arch.registers)}"
        check.fail(arguments[0], f"{arch.name} has no register {name!r}{near}")
    return UINT64


def _register(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    name = gen.constant(arguments[0])
    offset = gen.target.arch.registers[str(name)]
    return Scalar(UINT64, gen.b.emit("load", gen.ctx, offset=offset, size=8, signed=False))


def _row(signature: str, text: str, check: object, lower: Lowering, kinds: frozenset[str] = frozenset()) -> Function:
    return Function(signature, text, check, lower, kinds=kinds)  # type: ignore[arg-type]


ROWS = (
    *(_numbered(index) for index in range(_MOST_ARGUMENTS)),
    _row("args()", "the arguments of the probe, by name: args.x", _args, _all_args),
    _row("retval()", "what the function returns", _check_retval, _retval),
    _row("probe()", "the probe's full name", _check_probe, _probe),
    _row("func()", "the name of the function that is probed", _check_func, _func, _FUNCTION_KINDS),
    _row("ctx()", "the context of the program, a pointer", _check_context, _context),
    _row("reg(name)", "a register of the processor", _check_register, _register),
)
