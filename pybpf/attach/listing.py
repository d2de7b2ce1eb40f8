"""What can be attached to: probes by pattern, named and written as ``bpftrace -l`` does."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from fnmatch import translate
from typing import TYPE_CHECKING

from pybpf.attach.events import HARDWARE, SOFTWARE
from pybpf.attach.fields import parse_format
from pybpf.attach.many import is_pattern
from pybpf.errors import BpfError, NotFoundError, UnsupportedError
from pybpf.record import NamedTuple
from pybpf.sys.near import did_you_mean
from pybpf.sys.perf import PerfType, perf_event_open
from pybpf.sys.tracefs import tracefs

if TYPE_CHECKING:
    from pybpf.btf import Btf, Function
    from pybpf.symbols import Binary, UsdtSite

__all__ = ["KINDS", "Probe", "ProbeKind", "list_probes", "meant_instead", "not_allowed"]

ITERATOR_PREFIX = "bpf_iter_"


class Probe(NamedTuple):
    """Something to attach to."""

    kind: str  #: ``"tracepoint"``, ``"kprobe"``, ...
    name: str  #: in the kind's own syntax: ``"syscalls:sys_enter_openat"``
    arguments: tuple[str, ...] = ()  #: C declarations, where they were asked for and are known

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


class ProbeKind(NamedTuple):
    """How the probes of one kind are found."""

    short: str  #: bpftrace's abbreviation
    feature: str  #: what the kernel must have, a name of :mod:`pybpf.sys.features`; ``""``: nothing
    names: Callable[[str], Iterator[str]]  #: pattern -> names that may match it; the caller filters
    arguments: Callable[[list[str]], Iterator[tuple[str, ...]]]  #: names -> the arguments of each
    in_file: bool = False  #: the name begins with a binary, so that ``*:...`` does not mean it
    in_module: bool = False  #: the name may begin with the module that has the function
    aliases: tuple[str, ...] = ()  #: other names of the kind


def list_probes(pattern: str, arguments: bool = False) -> Iterator[Probe]:
    """The probes that match, kind by kind.

    :param pattern: ``KIND:NAME`` with shell wildcards in both, ``KIND`` also abbreviated (``t:sched:*``); without a
        kind, the name in any kind. ``uprobe`` and ``usdt`` want a file: ``uprobe:libc:mem*``.
    :param arguments: find out the arguments too.
    :raises NotFoundError: there is no kind or file of that name.
    :raises UnsupportedError: this kernel lacks the one kind that was asked for.
    """
    kind_pattern, colon, name_pattern = pattern.partition(":")
    if not colon:
        kind_pattern, name_pattern = "*", pattern
    kinds = _matching_kinds(kind_pattern)
    for kind, how in kinds.items():
        if len(kinds) > 1 and (how.in_file or _lack(how) is not None):
            continue
        lack = _lack(how)
        if lack is not None:
            raise lack
        match = re.compile(translate(name_pattern if colon else f"*{name_pattern}"), re.DOTALL).match
        bare = how.in_module and ":" not in name_pattern
        if how.in_file:
            # The names come filtered: the pattern's first part is a file, written in many ways.
            names = list(how.names(name_pattern))
        else:
            names = sorted(
                name
                for name in how.names(name_pattern)
                if match(name) or (bare and match(name.rpartition(":")[2]))
            )
        found = how.arguments(names) if arguments else ((),) * len(names)
        yield from (Probe(kind, name, known) for name, known in zip(names, found))


def not_allowed(pattern: str) -> dict[str, str]:
    """Of the kinds that a pattern of :func:`list_probes` means, those that this process may not attach to: why."""
    from pybpf.sys.features import Support, probe

    kind_pattern, colon, _ = pattern.partition(":")
    results = {
        name: probe(kind.feature)
        for name, kind in _matching_kinds(kind_pattern if colon else "*").items()
        if kind.feature
    }
    return {name: result.detail for name, result in results.items() if result.support is Support.NOT_ALLOWED}


def meant_instead(pattern: str) -> str:
    """``"; did you mean ...?"`` for a pattern that nothing matches, where it is the name of one probe; or ``""``."""
    kind, _, name = pattern.partition(":")
    if not name or any(map(is_pattern, (kind, name))):
        return ""
    in_file = all(each.in_file for each in _matching_kinds(kind).values())
    file, _, inside = name.partition(":") if in_file else ("", "", name)
    place = f"{kind}:{file}:" if in_file else f"{kind}:"
    try:
        found = [probe.name for probe in list_probes(f"{place}*{inside[:3]}*")]
    except BpfError:
        return ""
    return did_you_mean(pattern, (place + (each.partition(":")[2] if in_file else each) for each in found))


def _matching_kinds(pattern: str) -> dict[str, ProbeKind]:
    match = re.compile(translate(pattern)).match
    kinds = {name: kind for name, kind in KINDS.items() if match(name) or pattern in (kind.short, *kind.aliases)}
    if not kinds:
        raise NotFoundError(f"there is no kind of probe {pattern!r}; there are {', '.join(KINDS)}")
    return kinds


def _lack(kind: ProbeKind) -> BpfError | None:
    """Why probes of this kind cannot be attached on this kernel; None where they can, or where that is not known."""
    if not kind.feature:
        return None
    from pybpf.sys.features import Support, probe

    result = probe(kind.feature)
    if result.support is not Support.NO:
        return None
    return UnsupportedError(f"list probes of kind {kind.feature}", errno.EOPNOTSUPP, result.detail)


# --- kernel probes --------------------------------------------------------------------------------------------


def _kernel_types(module: str = "") -> Btf:
    # Types are loaded for those kinds only that need them: most listings must not wait for it.
    from pybpf.btf import Btf

    return Btf.module(module) if module and module != "vmlinux" else Btf.vmlinux()


def _no_arguments(names: list[str]) -> Iterator[tuple[str, ...]]:
    return iter([()] * len(names))


def _tracepoints(pattern: str) -> Iterator[str]:
    with tracefs() as files:
        return iter(files.read("available_events").split())


def _tracepoint_fields(names: list[str]) -> Iterator[tuple[str, ...]]:
    with tracefs() as files:
        for name in names:
            fields = parse_format(files.event_format(*name.split(":", 1)))
            yield tuple(field.declaration for field in fields)


def _raw_tracepoints(pattern: str) -> Iterator[str]:
    try:
        return iter(sorted({name for name, _ in _kernel_types().tracepoints()}))
    except UnsupportedError:  # no BTF: the names of the events, which are mostly those of the tracepoints
        return iter(sorted({event.partition(":")[2] for event in _tracepoints(pattern)}))


def _raw_tracepoint_arguments(names: list[str]) -> Iterator[tuple[str, ...]]:
    btf = _kernel_types()
    for name in names:
        yield tuple(btf.declaration(p.type, p.name or f"arg{i}") for i, p in enumerate(btf.tracepoint(name).parameters))


def _functions(pattern: str) -> Iterator[str]:
    """The functions that ftrace can hook, which are those that kprobes take too; else all of the symbol table."""
    from pybpf.attach.kinds.kprobes import traceable_functions
    from pybpf.symbols import kernel_functions

    traceable = traceable_functions()
    if traceable is not None:
        lines = (line.split() for line in traceable)
        return (f"{line[1][1:-1]}:{line[0]}" if len(line) > 1 else line[0] for line in lines)
    found = kernel_functions()
    return (f"{function.module}:{function.name}" if function.module else function.name for function in found)


def _function_arguments(names: list[str]) -> Iterator[tuple[str, ...]]:
    known: dict[str, tuple[str, ...]] = {}
    of_module: dict[str, list[str]] = {}
    for name in names:
        of_module.setdefault(name.rpartition(":")[0], []).append(name)
    for module, functions in of_module.items():
        try:
            btf = _kernel_types(module)
        except BpfError:  # without type information a function is still a probe
            continue
        found = btf.functions_named([name.rpartition(":")[2] for name in functions])
        known.update((name, _declared(btf, each)) for name, each in zip(functions, found) if each)
    return (known.get(name, ()) for name in names)


def _declared(btf: Btf, function: Function) -> tuple[str, ...]:
    result = () if not function.return_type else (btf.declaration(function.return_type, "retval"),)
    return tuple(btf.declaration(parameter.type, parameter.name) for parameter in function.parameters) + result


def _typed_functions(pattern: str) -> Iterator[str]:
    typed = {name for name, _ in _kernel_types().functions()}
    return (f"vmlinux:{name}" for name in _functions(pattern) if name in typed)


def _iterators(pattern: str) -> Iterator[str]:
    """Iterators are ``int bpf_iter_NAME(struct bpf_iter_meta *, ...)``; what else is named so are helper functions."""
    btf = _kernel_types()
    for name, _ in btf.functions(ITERATOR_PREFIX + "*"):
        found = btf.function(name)
        types = [found.return_type, *(parameter.type for parameter in found.parameters[:1])]
        if [btf.declaration(type_id) for type_id in types] == ["int", "struct bpf_iter_meta *"]:
            yield name[len(ITERATOR_PREFIX) :]


def _software(pattern: str) -> Iterator[str]:
    return _countable(PerfType.SOFTWARE, [names[0] for names in SOFTWARE.values()])


def _hardware(pattern: str) -> Iterator[str]:
    return _countable(PerfType.HARDWARE, [names[0] for names in HARDWARE])


def _periods(pattern: str) -> Iterator[str]:
    """The units that a number follows: ``profile:hz:99``, ``interval:s:1``."""
    return iter(["hz:", "ms:", "s:", "us:"])


def _countable(kind: PerfType, names: list[str]) -> Iterator[str]:
    """Those of the kernel's events, in the order of its numbers, that this machine can count."""
    for number, name in enumerate(names):
        try:
            perf_event_open(pid=0, type=kind, config=number).close()
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EACCES):
                continue
        yield name


# --- probes in files ------------------------------------------------------------------------------------------


def _in_file(pattern: str) -> tuple[str, str]:
    """``"libc:mem*"`` -> file and the pattern of what is in it."""
    file, colon, name = pattern.partition(":")
    if not colon or not file or set("*?[") & set(file):
        raise NotFoundError(f"name a file before the pattern, as in libc:mem* or /bin/bash:*; {pattern!r} has none")
    return file, name


def _user_functions(pattern: str) -> Iterator[str]:
    from pybpf.symbols import ElfFile, find_binary
    from pybpf.symbols.library import matching_files

    file, _, name = pattern.partition(":")
    found = []
    if "/" in file and set("*?[") & set(file):
        for path in matching_files(file):
            with suppress(BpfError), ElfFile(path) as elf:
                found += [f"{path}:{symbol.name}" for symbol in elf.functions(name or "*")]
        return iter(found)
    file, name = _in_file(pattern)
    binary = find_binary(file)
    with ElfFile(binary.path) as elf:
        return iter([f"{binary.name}:{symbol.name}" for symbol in elf.functions(name)])


def _usdt(pattern: str) -> Iterator[str]:
    file, name = _in_file(pattern)
    match = re.compile(translate(name if ":" in name else f"*:{name}")).match
    binary, sites = _usdt_sites(file)
    found = dict.fromkeys(site.probe for site in sites)
    return (f"{binary.name}:{probe}" for probe in found if match(probe))


def _usdt_arguments(names: list[str]) -> Iterator[tuple[str, ...]]:
    """Where the arguments lie; once for each way in which the sites of a probe differ."""
    sites: dict[str, list[UsdtSite]] = {}
    for name in names:
        path, provider, probe = name.rsplit(":", 2)
        if path not in sites:
            sites[path] = _usdt_sites(path)[1]
        specs = dict.fromkeys(site.args_text for site in sites[path] if site.probe == f"{provider}:{probe}")
        yield tuple(f"arg{i} {spec}" for text in specs for i, spec in enumerate(text.split()))


def _usdt_sites(file: str) -> tuple[Binary, list[UsdtSite]]:
    from pybpf.symbols import ElfFile, find_binary, usdt_sites

    binary = find_binary(file)
    with ElfFile(binary.path) as elf:
        return binary, usdt_sites(elf)


#: kind -> how its probes are found
KINDS: dict[str, ProbeKind] = {
    "tracepoint": ProbeKind("t", "", _tracepoints, _tracepoint_fields),
    "rawtracepoint": ProbeKind(
        "rt", "", _raw_tracepoints, _raw_tracepoint_arguments, aliases=("raw_tracepoint", "tp_btf")
    ),
    "kprobe": ProbeKind("k", "kprobe", _functions, _function_arguments, in_module=True),
    "kretprobe": ProbeKind("kr", "kretprobe", _functions, _function_arguments, in_module=True),
    "fentry": ProbeKind("f", "fentry", _typed_functions, _function_arguments, in_module=True, aliases=("kfunc",)),
    "fexit": ProbeKind("fr", "fentry", _typed_functions, _function_arguments, in_module=True, aliases=("kretfunc",)),
    "uprobe": ProbeKind("u", "", _user_functions, _no_arguments, in_file=True),
    "uretprobe": ProbeKind("ur", "", _user_functions, _no_arguments, in_file=True),
    "usdt": ProbeKind("U", "", _usdt, _usdt_arguments, in_file=True),
    "software": ProbeKind("s", "", _software, _no_arguments),
    "hardware": ProbeKind("h", "", _hardware, _no_arguments),
    "profile": ProbeKind("p", "", _periods, _no_arguments),
    "interval": ProbeKind("i", "", _periods, _no_arguments),
    "iter": ProbeKind("it", "iter", _iterators, _no_arguments),
}
