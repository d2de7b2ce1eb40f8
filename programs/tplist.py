"""List tracepoints of the kernel, or USDT probes of programs and libraries, with what they tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

from pybpf import BpfError, NotFoundError
from pybpf.arch import ARCHES
from pybpf.attach import list_probes
from pybpf.symbols import (
    Binary,
    ElfFile,
    UsdtArg,
    UsdtArgKind,
    UsdtSite,
    find_binary,
    mapped_binary,
    mappings,
    usdt_sites,
)
from pybpf.tool import Run, Tool, arguments, clean, option

#: architecture of a file -> offset in its pt_regs -> the kernel's name of the register
REGISTERS = {
    arch.elf_machine: {offset: name for name, offset in arch.registers.items()} for arch in ARCHES.values()
}


def trace(run: Run) -> None:
    """List; there is nothing to attach to."""
    options = run.options
    if options.pid is not None or options.lib is not None:
        found = usdt(run, binaries(options.pid, options.lib))
    else:
        found = tracepoints(run)
    if not found:
        raise NotFoundError(f"nothing matches {options.filter!r}" if options.filter else "there are none")


def tracepoints(run: Run) -> int:
    """Tracepoints, and with -v the fields of their records; how many."""
    options, output = run.options, run.output
    found = 0
    for probe in list_probes(f"tracepoint:{options.filter or '*'}", arguments=bool(options.verbosity) or options.json):
        found += 1
        if options.json:
            output.object({"tracepoint": probe.name, "fields": list(probe.arguments)})
            continue
        output.line(clean(probe.name))
        for field in probe.arguments:
            output.line(f"    {clean(field)};")
    output.flush()
    return found


def binaries(pid: int | None, library: str | None) -> Iterator[Binary]:
    """The files to look into: one, as a process sees it if there is one, or all that the process has mapped."""
    if library is not None:
        yield find_binary(library, pid)
        return
    assert pid is not None
    for mapping in {(each.path, each.inode): each for each in mappings(pid) if each.executable}.values():
        yield mapped_binary(pid, mapping)


def usdt(run: Run, files: Iterator[Binary]) -> int:
    """Probes of files that match; how many. Of a process's files, those that are no ELF files are passed over."""
    only = run.options.lib is not None
    found = 0
    for binary in files:
        try:
            with ElfFile(binary.path, binary.name) as elf:
                sites, registers = usdt_sites(elf), REGISTERS.get(elf.machine, {})
        except BpfError:
            if only:
                raise
            continue
        probes: dict[str, list[UsdtSite]] = {}
        for site in sites:
            if not run.options.filter or any(fnmatchcase(name, run.options.filter) for name in (site.probe, site.name)):
                probes.setdefault(site.probe, []).append(site)
        for name, places in probes.items():
            show(run, binary.name, name, places, registers)
        found += len(probes)
        run.output.flush()
    return found


def show(run: Run, path: str, name: str, sites: list[UsdtSite], registers: Mapping[int, str]) -> None:
    """A probe: with -v how many places and arguments it has, with -vv where they are."""
    output, detail = run.output, run.options.verbosity
    first = sites[0]
    if run.options.json:
        places = [
            {
                "address": each.address,
                "offset": each.offset,
                "arguments": [described(arg, registers) for arg in each.args],
            }
            for each in sites
        ]
        output.object({"path": path, "provider": first.provider, "name": first.name,
                       "semaphore": first.semaphore_address, "locations": places})  # fmt: skip
        return
    if not detail:
        output.line(f"{clean(path)} {clean(name)}")
        return
    output.line(f"{clean(name)} [sema {first.semaphore_address:#x}]")
    output.line(f"  {len(sites)} location(s)")
    if detail == 1:
        output.line(f"  {len(first.args)} argument(s)")
        return
    for number, site in enumerate(sites, 1):
        output.line(f"  location #{number} {clean(path)} {site.address:#x}")
        for position, arg in enumerate(site.args, 1):
            output.line(f"    argument #{position} {clean(described(arg, registers))}")


def described(arg: UsdtArg, registers: Mapping[int, str]) -> str:
    """An argument as BCC has it: its size, and where it is: ``4 signed bytes @ *(sp + 112)``."""
    kind = "floating" if arg.floating else "signed" if arg.signed else "unsigned"
    return f"{arg.size} {kind} bytes @ {place(arg, registers)}"


def place(arg: UsdtArg, registers: Mapping[int, str]) -> str:
    """Where an argument is."""
    if arg.kind is UsdtArgKind.UNREADABLE:
        return f"nowhere that can be read: {arg.problem}"
    if arg.kind is UsdtArgKind.CONST:
        return str(arg.offset)
    base = registers[arg.register] if arg.register is not None else ""
    if arg.kind is UsdtArgKind.REG:
        return base
    index = f"{registers[arg.index]} * {arg.scale}" if arg.index is not None else ""
    text = " + ".join(part for part in (base, index) if part)
    if not text:
        return f"*({arg.offset:#x})"
    return f"*({text} {'-' if arg.offset < 0 else '+'} {abs(arg.offset)})" if arg.offset else f"*({text})"


TOOL = Tool(
    name="tplist",
    topic="Functions and events",
    summary="list tracepoints, or USDT probes of programs and libraries",
    trace=trace,
    probes=("nothing: it reads what tracefs and the notes of files say",),
    needs=(),
    options=(
        option("filter", nargs="?", metavar="PATTERN", help="only these, with wildcards: 'sched:*', 'gc__*'"),
        option("-p", "--pid", type=arguments.pid, help="USDT probes of the files that this process has mapped"),
        option("-l", "--lib", metavar="FILE", help="USDT probes of a library or program, by name or path"),
        option("-v", "--verbose", dest="verbosity", action="count", default=0,
               help="also fields, or numbers of places and arguments; twice: where they are"),
        option("--json", action="store_true", help="one JSON object per line, with all of it"),
    ),
    examples=(
        ("'sched:*switch' -v", "tracepoints that match, with the fields of their records"),
        ("-l /usr/bin/python3.11 -vv", "USDT probes of a program, and where their arguments are"),
        ("-p 181 '*gc*'", "those of process 181 that match"),
    ),
    privileges="none for -l, and for -p of an own process; root for tracepoints, which tracefs tells",
    notes="""\
Tracepoints are told by tracefs, which only root may read. `pybpf list probes` lists all kinds of probes.""",
)
main = TOOL.main
