"""Show how arguments and results of functions are distributed: by counts, or as histograms."""

from __future__ import annotations

import re
from typing import Any

from pybpf import BpfError, char, u32, u64
from pybpf.tool import (
    Body,
    HeatMaps,
    Place,
    Run,
    Tool,
    arguments,
    balanced,
    clean,
    ctype,
    option,
    shared,
    split,
    struct,
    undisturbed,
)

MAX_ENTRIES = 10240
#: a parameter of the entry, which rows show by its name
ENTRY = re.compile(r"\$entry\((\w+)\)")


class Specifier:
    """What is counted: ``PLACE(signature)[:type[,type...]:expression[,expression...][:filter]][#label]``."""

    def __init__(self, text: str, histogram: bool) -> None:
        self.text = text
        self.histogram = histogram
        before, _, self.label = text.partition("#")
        place, parenthesis, _ = before.partition("(")
        if not parenthesis:
            raise BpfError(f"{text!r}: a signature in parentheses is expected, as in p:c:malloc(size_t size)")
        if place[:2] not in ("p:", "r:", "t:", "u:"):
            raise BpfError(f"{text!r}: write p:, r:, t: or u: first")
        self.place = Place.parse(place)
        signature, rest = balanced(before[len(place) :])
        parts = split(rest, ":")
        if parts[0] or len(parts) > 4 or len(parts) == 2:
            raise BpfError(f"{text!r}: what follows the signature is :type:expression[:filter]")
        self.types = [ctype(each) for each in split(parts[1], ",")] if len(parts) > 2 else []
        self.expressions = split(parts[2], ",") if len(parts) > 2 else []
        self.filter = parts[3] if len(parts) > 3 else ""
        if len(self.types) != len(self.expressions):
            raise BpfError(f"{text!r}: {len(self.types)} types, and {len(self.expressions)} expressions")
        self.shown = self.expressions
        if not self.expressions and self.place.kind == "r":
            self.types, self.expressions = [ctype("int")], ["$retval"]
            self.shown = ["retval"]
        self.plain = not self.expressions
        if histogram and len(self.expressions) != 1:
            raise BpfError(f"{text!r}: a histogram takes one expression")
        if histogram and self.types[0].is_text:
            raise BpfError(f"{text!r}: a histogram takes a number")
        self.body = Body(self.place, signature)

    def declare(self, run: Run, tracer: Any) -> None:
        """Its probes, and what they add to."""
        size: Any = char[run.options.string_size]
        keys = [size if kind.is_text else number(kind) for kind in self.types] or [u32]
        if self.histogram:
            self.data = tracer.histogram(max_entries=MAX_ENTRIES)
        else:
            key = keys[0] if len(keys) == 1 else tuple(keys)
            self.data = tracer.count(key, max_entries=MAX_ENTRIES, double_buffered=not run.options.cumulative)
        given: dict[str, Any] = {"data": self.data, "_string": size}
        lines = self.statements()
        body = self.body
        if body.entered or body.timed:
            given["begun"], given["inside"] = self.entry(tracer)
            lines = [
                "level = inside[_tid()]",
                "if level == 0: return",  # began before the tracing
                "inside[_tid()] = level - 1",
                "entry = begun.pop((_tid(), level))",
                "if entry is None: return",
                *lines,
            ]
        function, source = body.function("probe", lines, given)
        self.place.attach(tracer, source)(function)

    def statements(self) -> list[str]:
        """What the probe does."""
        lines = [f"if not {self.body.condition(self.filter)}: return"] if self.filter else []
        values = []
        for index, (kind, text) in enumerate(zip(self.types, self.expressions)):
            if not kind.is_text:
                values.append(f"{number(kind).__name__}({self.body.expression(text)})")
                continue
            lines.append(f"text{index}: _string = {'_comm()' if text == '$COMM' else self.body.text(text)}")
            values.append(f"text{index}")
        if self.histogram:
            return [*lines, f"data.add({values[0]})"]
        return [*lines, f"data[{', '.join(values) or '0'}].add()"]

    def entry(self, tracer: Any) -> tuple[Any, Any]:
        """The probe at the entry of a function whose return wants to know of it; what it keeps, by thread and level.

        A function may be inside of itself. Of one that is left without a return, as by longjmp(), a level stays, until
        there is no room for it.
        """
        body = self.body
        kept = struct("Entry", {"time": u64, **{f"{name}_": u64 for name in body.entered}})
        begun = tracer.lru_hash((u32, u32), kept, max_entries=MAX_ENTRIES)
        inside = tracer.lru_hash(u32, u32, max_entries=MAX_ENTRIES)
        fields = "".join(f", {name}_={name}" for name in body.entered)
        place = self.place._replace(kind="p")
        at_entry = Body(place, ", ".join(body.written_signature))
        for name in body.entered:
            at_entry.expression(name)
        lines = ["inside[_tid()] += 1", f"begun[_tid(), inside[_tid()]] = _Entry(time=_ktime_ns(){fields})"]
        function, source = at_entry.function("entry", lines, {"begun": begun, "inside": inside, "_Entry": kept})
        place.attach(tracer, source)(function)
        return begun, inside

    def rows(self, cumulative: bool) -> Any:
        """What has been counted, in the last interval or since the start."""
        if not cumulative:
            return self.data.changes()
        return self.data.value if self.histogram else dict(self.data.items())

    def event(self, key: Any) -> str:
        """A key as a row has it."""
        if self.plain:
            return "total calls"
        values = tuple(key) if len(self.types) > 1 else (key,)
        names = [ENTRY.sub(r"\1", text) for text in self.shown]
        return ", ".join(f"{name} = {clean(value)}" for name, value in zip(names, values))

    @property
    def title(self) -> str:
        """What is above its rows."""
        return self.label or (self.shown[0] if self.histogram else self.text)


def number(kind: Any) -> Any:
    """The type that numbers of a type of C are kept in: as wide, with its sign; pointers as addresses."""
    from pybpf import types

    return getattr(types, kind.name) if kind.integer and not kind.pointers and kind.name != "bool_" else u64


def trace(run: Run) -> None:
    """The probes, and a report per interval."""
    options = run.options
    specifiers = [Specifier(text, True) for text in options.histogram or ()]
    specifiers += [Specifier(text, False) for text in options.count or ()]
    tracer = run.tracer()
    for each in specifiers:
        each.declare(run, tracer)
    if options.debug:
        run.say("\n".join(str(each.compiled.spec.code) for each in tracer.compile()))
    run.start(tracer)
    maps = HeatMaps(run)
    for when in run.intervals(options.interval, options.number):
        with undisturbed():
            found = [each.rows(options.cumulative) for each in specifiers]
        maps.add(when, {each.text: data for each, data in zip(specifiers, found) if each.histogram})
        report(run, when, list(zip(specifiers, found)))
    maps.save()


def report(run: Run, when: float, found: list[tuple[Specifier, Any]]) -> None:
    """One interval."""
    output, top = run.output, run.options.top
    if output.form == "json":
        output.object({"time": round(when, 3), "probes": [as_json(each, data) for each, data in found]})
        return
    output.line(run.clock.now("[%H:%M:%S]", when))
    for each, data in found:
        if each.histogram:
            output.histogram(data, clean(each.title))
            continue
        output.line(clean(each.title))
        output.line(f"\t{'COUNT':<10} EVENT")
        rows = sorted(data.items(), key=lambda row: row[1])
        for key, count in rows[-top:] if top else rows:
            output.line(f"\t{count:<10} {each.event(key)}")


def as_json(each: Specifier, data: Any) -> dict[str, Any]:
    """What one of them counted."""
    if each.histogram:
        return {"specifier": each.text, "label": each.title, "histogram": data.to_dict()}
    rows = []
    for key, count in sorted(data.items(), key=lambda row: row[1]):
        values = () if each.plain else tuple(key) if len(each.types) > 1 else (key,)
        rows.append({"values": dict(zip(each.shown, values)), "count": count})
    return {"specifier": each.text, "label": each.title, "counts": rows}


def check(options: Any) -> str:
    """What does not go together."""
    if options.heatmap and (options.cumulative or not options.histogram):
        return "--heatmap shows histograms (-H) of intervals, and does not go with --cumulative"
    return "" if options.histogram or options.count else "nothing is to be counted: give -C or -H"


TOOL = Tool(
    name="argdist",
    topic="Functions and events",
    summary="distributions of arguments and results of functions",
    trace=trace,
    check=check,
    probes=(
        "kprobes and kretprobes (p::FUNCTION, r::FUNCTION), uprobes and uretprobes (p:LIBRARY:FUNCTION, "
        "r:LIBRARY:FUNCTION), tracepoints (t:SYSTEM:EVENT), USDT probes (u:LIBRARY:PROBE)",
    ),
    options=(
        option("-C", "--count", action="append", metavar="SPECIFIER", help="count each value"),
        option("-H", "--histogram", action="append", metavar="SPECIFIER", help="a histogram of the values"),
        option("-i", "--interval", type=arguments.seconds, default=1, metavar="S", help="seconds between reports"),
        option("-n", "--number", type=arguments.positive, metavar="N", help="number of reports"),
        option("-c", "--cumulative", action="store_true", help="do not start from zero with each report"),
        option("-T", "--top", type=arguments.positive, metavar="N", help="only the N largest counts"),
        option("-z", "--string-size", type=arguments.text_size, default=80, metavar="N", help="longest text"),
        option("-I", "--include", action="append", metavar="HEADER", help="ignored: types are the kernel's own (BTF)"),
        option("-D", "--debug", action="store_true", help="print the instructions of the probes"),
        *shared("who ends json heatmap"),
    ),
    examples=(
        ("-C 'p:c:malloc(size_t size):size_t:size'", "how often each size is allocated"),
        ("-H 'r:c:read()#bytes that read gives'", "a histogram of results"),
        ("-H 'r:c:write(int fd):u64:$latency/1000:$entry(fd) == 1#us'", "time in writes to standard output"),
        ("-C 't:syscalls:sys_enter_openat():char*:args->filename' -i 5 -T 10", "the files that are opened most"),
    ),
    notes="""\
A specifier is PLACE(signature)[:type[,type...]:expression[,expression...][:filter]][#label]; expressions are C, as in
trace. Names: the parameters of the signature, args->FIELD, arg1 to arg6, and where functions return $retval, $latency
(ns), $entry(PARAMETER); also $PID (process), $COMM (as char *). A ':' of a condition goes in parentheses.""",
)
main = TOOL.main
