"""What the host tells while a script is compiled: addresses of symbols, control groups, named arguments, settings."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pybpf.bt.functions.function import Arguments, Function, Lowering
from pybpf.bt.functions.output import text_of
from pybpf.bt.functions.symbols import probed_address
from pybpf.bt.lower.values import Scalar, Value
from pybpf.bt.syntax import tree
from pybpf.bt.syntax.literals import LiteralFault, integer
from pybpf.bt.types import BOOL, UINT64, Integer, Pointer, Record, Type
from pybpf.errors import BpfError
from pybpf.lang.values.flow import Choice, when
from pybpf.lang.values.reading import KERNEL, USER
from pybpf.record import field_names

if TYPE_CHECKING:
    from pybpf.bt.check.checker import Checker
    from pybpf.bt.check.constants import Value as Constant
    from pybpf.bt.lower.gen import Gen
    from pybpf.compiler.ir import Operand

__all__ = ["ROWS"]

_WORD = 8
_PER_CPU_OFFSETS = "__per_cpu_offset"
_TRUE, _FALSE = ("true", "1"), ("false", "0")


# symbols of the kernel


def _kernel_symbol(check: Checker, node: tree.Node, name: str) -> int:
    from pybpf.symbols.kallsyms import address_of

    check.facts.passing = True
    try:
        found = address_of(name)
    except BpfError as error:
        check.fail(node, str(error))
    if found is None:
        check.fail(node, f"the kernel has no symbol {name!r}, or hides its address (sysctl kernel.kptr_restrict)")
    return found


def _check_kaddr(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    name = text_of(check, arguments[0], "the name of a symbol of the kernel")
    if node not in check.checked.notes:
        check.checked.notes[node] = _kernel_symbol(check, arguments[0], name)
    return UINT64


def _kaddr(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    return Scalar(UINT64, gen.checked.notes[node])


def _check_per_cpu(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    name = text_of(check, arguments[0], "the name of a symbol of the kernel")
    if len(arguments) > 1:
        check.integer(arguments[1], "the number of a processor")
    if node not in check.checked.notes:
        names = name, _PER_CPU_OFFSETS
        check.checked.notes[node] = [_kernel_symbol(check, arguments[0], each) for each in names]
    return Pointer(UINT64, KERNEL)


def _per_cpu(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    """The kernel keeps by how much the data of each processor are apart from the symbol; null: there is no such CPU."""
    from pybpf.sys.cpus import nr_cpu_ids

    symbol, offsets = gen.checked.notes[node]
    b = gen.b
    if len(arguments) > 1:
        cpu: Operand = gen.scalar(arguments[1])
    else:
        cpu = b.emit("call", helper="get_smp_processor_id")
    address = Choice(b, 0)
    with when(b, "ult", cpu, nr_cpu_ids(), "possible"):
        place = b.emit("add", b.emit("mul", cpu, _WORD), offsets)
        address.set(b.emit("add", b.emit("peek", place, space=KERNEL, offset=0, size=_WORD, signed=False), symbol))
    return Scalar(Pointer(UINT64, KERNEL), address.value)


# symbols of the process


def _check_uaddr(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    from pybpf.symbols.elf import OBJECT, ElfFile

    check.facts.passing = True
    name = text_of(check, arguments[0], "the name of a symbol of the program")
    point = check.place.point
    if check.place.names or not (point.function or point.address is not None) or check.place.places != 1:
        check.fail(node, "uaddr() needs a probe at one function, from which the program's address is computed")
    try:
        with ElfFile(point.target) as file:
            found = file.symbol(name, (OBJECT,)) or file.symbol(name)
            start = file.symbol(point.function) if point.function else None
    except BpfError as error:
        check.fail(node, str(error))
    if found is None:
        check.fail(arguments[0], f"{point.target} has no symbol {name!r}")
    here = point.address if start is None else start.address + point.offset
    check.checked.notes[node] = found.address - here
    width = found.size if found.size in (1, 2, 4, 8) else _WORD
    return Pointer(Integer(width, False), USER)


def _uaddr(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    return Scalar(gen.type(node), gen.b.emit("add", probed_address(gen, node), gen.checked.notes[node]))


# control groups


def _cgroup_id(check: Checker, node: tree.Node, arguments: Arguments) -> int:
    path = text_of(check, arguments[0], "the path of a control group")
    check.facts.passing = True
    try:
        return os.stat(path).st_ino
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        check.fail(arguments[0], f"there is no control group {path!r}: {why}")


def _check_cgroup_id(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    _cgroup_id(check, node, arguments)
    return UINT64


def _known_number(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    return Scalar(UINT64, _cgroup_id(gen.check, node, arguments))


# named arguments


def _option(check: Checker, node: tree.Node, arguments: Arguments) -> Constant:
    """The value of a named argument, or what it is where none was given: of the default's type."""
    name = text_of(check, arguments[0], "the name of an argument")
    default = check.constant(arguments[1]) if len(arguments) > 1 else False
    if default is None:
        check.fail(arguments[1], "the default is a number, true, false or text that is known")
    described = text_of(check, arguments[2], "the description of an argument") if len(arguments) > 2 else ""
    check.facts.options[name] = described or check.facts.options.get(name, "")
    given = check.facts.named.get(name)
    if given is None:
        return default
    if isinstance(default, bool):
        if given.lower() not in (*_TRUE, *_FALSE):
            check.fail(node, f"--{name} is true or false (1 or 0), not {given!r}")
        return given.lower() in _TRUE
    if isinstance(default, str):
        return given
    try:
        return (-1 if given.startswith("-") else 1) * integer(given.lstrip("-"))
    except LiteralFault:
        check.fail(node, f"--{name} is a number, not {given!r}")


def _check_option(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    from pybpf.bt.check.expressions import literal

    if len(arguments) > 1:
        check.type(arguments[1])
    found = _option(check, node, arguments)
    return BOOL if isinstance(found, bool) else literal(found)


def _known(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    value = gen.constant(node)
    assert value is not None
    return gen.known(value)


# settings


def _settings(check: Checker) -> dict[str, Constant]:
    return {each: getattr(check.facts.settings, each) for each in field_names(check.facts.settings)}


def _check_config(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    from pybpf.bt.check.expressions import literal

    return Record(tuple((name, literal(value)) for name, value in _settings(check).items()))


def _config(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    from pybpf.bt.lower.expressions import tuple_value

    kind = gen.type(node)
    assert isinstance(kind, Record)
    return tuple_value(gen, kind, [gen.known(value) for value in _settings(gen.check).values()])


def _row(signature: str, text: str, check: object, lower: Lowering, **more: object) -> Function:
    return Function(signature, text, check, lower, **more)  # type: ignore[arg-type]


ROWS = (
    _row("kaddr(name)", "the address of a symbol of the kernel", _check_kaddr, _kaddr),
    _row("percpu_kaddr(name, [cpu])", "the same of what each processor has its own of; null: there is no such one",
         _check_per_cpu, _per_cpu),
    _row("uaddr(name)", "the address of a symbol of the program that is probed", _check_uaddr, _uaddr,
         kinds=frozenset({"uprobe", "uretprobe"})),
    _row("cgroupid(path)", "the id of the control group (version 2) at a path", _check_cgroup_id, _known_number,
         constant=_cgroup_id),
    _row("getopt(name, [default], [description])", "a named argument of the script", _check_option, _known,
         constant=_option),
    _row("config()", "the settings of the script, by name: config.max_strlen", _check_config, _config),
)  # fmt: skip
