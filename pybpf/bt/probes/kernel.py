"""Probes in the kernel: tracepoints, raw tracepoints, functions by kprobe and by trampoline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pybpf import attach
from pybpf.bt.probes.arguments import Arguments, Context, Record, Registers, Words
from pybpf.bt.probes.place import Environment, Place, Wants
from pybpf.bt.syntax.attachpoints import AttachPoint, has_wildcard
from pybpf.bt.types.foreign import of_btf, of_shape
from pybpf.compiler.target import Target
from pybpf.errors import NotFoundError
from pybpf.lang.probes.prototypes import function_prototype, raw_prototype
from pybpf.lang.tracer.attaching import Attach, Call, at_one, by_spec, tracepoints
from pybpf.lang.values.reading import KERNEL
from pybpf.record import replace
from pybpf.sys.bpf import AttachType, ProgType
from pybpf.sys.near import did_you_mean

__all__ = ["fentry", "iterator", "kprobe", "matching", "rawtracepoint", "tracepoint"]


def matching(pattern: str) -> list[str]:
    """The names of probes that a pattern of ``KIND:NAME`` matches, as the kernel lists them."""
    from pybpf.attach.listing import list_probes

    return [probe.name for probe in list_probes(pattern)]


def tracepoint(point: AttachPoint, wants: Wants, environment: Environment) -> list[Place]:
    """``tracepoint:category:event``"""
    names = [f"{point.target}:{point.function}"]
    if has_wildcard(names[0]):
        names = matching(f"tracepoint:{names[0]}")
        if not names:
            raise NotFoundError(f"no tracepoint matches {point.target}:{point.function}")
    elif environment.target.tracepoint_fields is not None:
        environment.target.tracepoint_fields(names[0])  # whether there is one
    if len(names) == 1 or wants.separate(environment.target, ProgType.TRACEPOINT):
        return [_tracepoint(environment.target, point, name) for name in names]
    cookies = range(len(names)) if wants.shown else None
    how = at_one(lambda program: tracepoints(program, names, point.text, cookies=cookies))
    return [Place("tracepoint", point.text, ProgType.TRACEPOINT, Arguments(), how, places=len(names), point=point,
                  names=tuple(f"tracepoint:{name}" for name in names))]  # fmt: skip


def _tracepoint(target: Target, point: AttachPoint, name: str) -> Place:
    category, _, event = name.partition(":")
    exact = replace(point, target=category, function=event)
    how = Call("tracepoint", (name,))
    return Place("tracepoint", exact.text, ProgType.TRACEPOINT, Record(target, name), how, point=exact)


def rawtracepoint(point: AttachPoint, wants: Wants, environment: Environment) -> list[Place]:
    """``rawtracepoint:event``: typed by BTF where the kernel has that."""
    names = [point.function]
    if has_wildcard(point.function):
        names = [name.rpartition(":")[2] for name in matching(f"rawtracepoint:{point.function}")]
        if not names:
            raise NotFoundError(f"no raw tracepoint matches {point.function}")
    return [_raw(environment.target, replace(point, function=name)) for name in names]


def _raw(target: Target, point: AttachPoint) -> Place:
    name = f"{point.target}:{point.function}" if point.target else point.function
    known = raw_prototype(target, name)
    types = target.types()
    typed = target.has("tp_btf") and types is not None
    if typed and types is not None and types.find("typedef", f"btf_trace_{point.function}") is not None:
        how = Call("btf_tracepoint")
        arguments = Words(known, True, title=point.text)
        return Place("rawtracepoint", point.text, ProgType.TRACING, arguments, how, AttachType.TRACE_RAW_TP, name,
                     point=point)  # fmt: skip
    how = Call("raw_tracepoint", (point.function,))
    words = Words(known, False, title=point.text)
    return Place("rawtracepoint", point.text, ProgType.RAW_TRACEPOINT, words, how, point=point)


def kprobe(point: AttachPoint, wants: Wants, environment: Environment) -> list[Place]:
    """``kprobe:function``, ``kprobe:module:function``, ``kretprobe:...``"""
    ret = point.kind == "kretprobe"
    target = environment.target
    name = f"{point.target}:{point.function}" if point.target else point.function
    if point.address is not None or point.offset:
        where: Any = point.address if point.address is not None else name
        how: Attach = Call("kprobe", (where,), {"offset": point.offset})
        arguments = Registers(target, KERNEL, why="the probe is inside of a function, where its arguments are no more")
        return [Place(point.kind, point.text, ProgType.KPROBE, arguments, how, point=point)]
    if not has_wildcard(name):
        return [_function(target, point, name, ret)]
    if wants.separate(target, ProgType.KPROBE):
        return [_function(target, _exact(point, each), each, ret) for each in _functions(name)]
    registers = Registers(target, KERNEL, ret=ret)
    if not wants.shown:
        from pybpf.attach.kinds.kprobes import find_functions

        count = len(find_functions([name], at_once=target.has("kprobe_multi"))[0])
        how = by_spec(lambda spec, maps: attach.kprobes(spec, name, maps=maps, ret=ret))
        return [Place(point.kind, point.text, ProgType.KPROBE, registers, how, places=count, point=point)]
    found = _functions(name)
    how = by_spec(lambda spec, maps: attach.kprobes(spec, found, maps=maps, ret=ret, cookies=range(len(found))))
    return [Place(point.kind, point.text, ProgType.KPROBE, registers, how, places=len(found), point=point,
                  names=tuple(_exact(point, each).text for each in found))]  # fmt: skip


def _functions(pattern: str) -> Sequence[str]:
    module, _, name = pattern.rpartition(":")
    if module == "vmlinux":  # as what is in no module is not listed
        found = [each for each in matching(f"kprobe:{name}") if ":" not in each]
    else:
        found = matching(f"kprobe:{pattern}")
    if not found:
        raise NotFoundError(f"no function that can be traced matches {pattern}")
    return found


def _exact(point: AttachPoint, name: str) -> AttachPoint:
    module, _, function = name.rpartition(":")
    return replace(point, target=module if point.target else "", function=function)


def _function(target: Target, point: AttachPoint, name: str, ret: bool) -> Place:
    known = None if ret else function_prototype(target, name)
    fields = [(each.name, of_shape(each.shape), each.word) for each in (known.arguments if known else ())]
    how = Call("kretprobe" if ret else "kprobe", (name,))
    why = "" if known else f"the kernel's types do not know {name}; arg0, arg1 and so on have its arguments"
    registers = Registers(target, KERNEL, fields, ret=ret, why=why)
    return Place(point.kind, point.text, ProgType.KPROBE, registers, how, point=point)


def fentry(point: AttachPoint, wants: Wants, environment: Environment) -> list[Place]:
    """``fentry:function``, ``fentry:module:function``, ``fexit:...``"""
    name = f"{point.target}:{point.function}" if point.target else point.function
    if not has_wildcard(name):
        return [_trampoline(environment.target, point, name)]
    found = matching(f"fentry:{name if point.target else 'vmlinux:' + name}")
    if not found:
        raise NotFoundError(f"no function that can be traced matches {name}")
    return [_trampoline(environment.target, _exact(point, each), _exact(point, each).function) for each in found]


def _trampoline(target: Target, point: AttachPoint, name: str) -> Place:
    exit_ = point.kind == "fexit"
    plain = name[len("vmlinux:") :] if name.startswith("vmlinux:") else name
    known = function_prototype(target, plain)
    arguments = Words(known, True, exit_, point.text)
    how = Call("fexit" if exit_ else "fentry")
    expected = AttachType.TRACE_FEXIT if exit_ else AttachType.TRACE_FENTRY
    return Place(point.kind, point.text, ProgType.TRACING, arguments, how, expected, plain, point=point)


def iterator(point: AttachPoint, wants: Wants, environment: Environment) -> list[Place]:
    """``iter:task``, ``iter:task:/sys/fs/bpf/pin``"""
    target = environment.target
    names = [point.function]
    if has_wildcard(point.function):
        names = matching(f"iter:{point.function}")
    found = []
    for name in names:
        known = function_prototype(target, f"bpf_iter_{name}")
        types = target.types()
        if known is None or types is None:
            near = did_you_mean(name, matching("iter:*"))
            raise NotFoundError(f"the kernel has no iterator {name!r}{near}")
        exact = replace(point, function=name)
        arguments = Context(known, of_btf(types, types.named(f"struct bpf_iter__{name}")), exact.text)
        how = Call("iterator")
        found.append(Place("iter", exact.text, ProgType.TRACING, arguments, how, AttachType.TRACE_ITER, name,
                           point=exact))  # fmt: skip
    return found
