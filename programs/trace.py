"""Trace functions, tracepoints and USDT probes, with their arguments, by expressions of C."""

from __future__ import annotations

import os
import re
from collections import Counter
from typing import Any

from pybpf import BpfError, Struct, char, u32, u64
from pybpf.lang import KernelAddress, KernelStack, UserAddress, UserStack
from pybpf.tool import (
    Body,
    Format,
    Moment,
    Run,
    Spec,
    Tool,
    arguments,
    clean,
    frame_text,
    option,
    parse_format,
    shared,
    struct,
)

#: kinds of values of a format -> field, type, and how a probe makes it
FIELDS = {
    "number": ("n", u64), "letter": ("n", u64), "text": ("s", None), "kernel": ("k", KernelAddress),
    "user": ("u", UserAddress),
}  # fmt: skip
ESCAPE = re.compile(r"\\([abefnrtv\"'\\]|[0-7]{1,3}|x[0-9A-Fa-f]{1,2})")
ESCAPES = {**dict(zip("abefnrtv", "\a\b\x1b\f\n\r\t\v")), '"': '"', "'": "'", "\\": "\\"}


class Traced:
    """One of the probes: how its rows are made."""

    def __init__(self, text: str) -> None:
        self.spec = Spec.parse(text)
        self.format: Format | None = None if self.spec.format is None else parse_format(unescaped(self.spec.format))
        expected, given = len(self.format.parts) if self.format else 0, len(self.spec.expressions)
        if expected != given:
            raise BpfError(f"{text!r}: the format takes {expected} values, and {given} are given "
                           "(a comma before each)")
        #: the fields of an event that its values are in
        self.fields = [f"{FIELDS[part.kind][0]}{i}" for i, part in enumerate(self.format.parts if self.format else ())]

    def body(self, number: int, run: Run, events: Any) -> tuple[Any, str]:
        """The function of the probe."""
        options, spec = run.options, self.spec
        body = Body(spec.place, spec.signature)
        lines = []
        if not options.include_self:
            lines.append(f"if _pid() == {os.getpid()}: return")
        if spec.predicate:
            lines.append(f"if not {body.condition(spec.predicate)}: return")
        if options.name:
            lines += ["who: _name = _comm()", f"if {options.name!r} not in who: return"]
        lines += [
            "with events.reserve() as event:",
            "    event.comm = _comm()",
            "    event.time, event.pid, event.tid, event.cpu = _ktime_ns(), _pid(), _tid(), _cpu()",
            f"    event.probe = {number}",
        ]
        lines += ["    event.kernel_stack = _kernel_stack()"] if options.kernel_stack else []
        lines += ["    event.user_stack = _user_stack()"] if options.user_stack else []
        for part, field, text in zip(self.format.parts if self.format else (), self.fields, spec.expressions):
            value = body.text(text) if part.kind == "text" else body.expression(text)
            value = f"_{part.kind}_symbol({value})" if part.kind in ("kernel", "user") else value
            lines.append(f"    event.{field} = {value}")
        return body.function("probe", lines, {"events": events, "_name": char[16]})

    def message(self, event: Any) -> str:
        """What the format makes of an event."""
        if self.format is None:
            return ""
        return self.format.fill([getattr(event, field) for field in self.fields], clean)


def unescaped(text: str) -> str:
    """What backslashes in a format of C mean."""
    return ESCAPE.sub(lambda match: meaning(match[1]), text).rstrip("\n")


def meaning(escape: str) -> str:
    """What follows a backslash of C, as what it stands for."""
    if escape[0] == "x":
        return chr(int(escape[1:], 16))
    return chr(int(escape, 8)) if escape[0].isdigit() else ESCAPES[escape]


def event_type(probes: list[Traced], options: Any) -> type[Struct]:
    """What probes send: room for the values of each."""
    fields: dict[str, Any] = {"time": u64, "pid": u32, "tid": u32, "cpu": u32, "probe": u32, "comm": char[16]}
    for probe in probes:
        for field in probe.fields:
            kind = next(kind for short, kind in FIELDS.values() if short == field[0])
            fields[field] = kind or char[options.string_size]
    fields.update({"kernel_stack": KernelStack} if options.kernel_stack else {})
    fields.update({"user_stack": UserStack} if options.user_stack else {})
    return struct("Event", fields)


def trace(run: Run) -> None:
    """The probes, and a row for each hit."""
    options = run.options
    probes = [Traced(text) for text in options.probe]
    tracer = run.tracer(tid=options.lid)
    events = tracer.events(event_type(probes, options), pages=options.buffer_pages)
    for number, probe in enumerate(probes):
        function, source = probe.body(number, run, events)
        probe.spec.place.attach(tracer, source)(function)
    if options.debug:
        run.say("\n".join(str(each.compiled.spec.code) for each in tracer.compile()))
    report = Report(run, probes)
    run.start(tracer)
    report.header()
    run.deliver({events: report.event})
    report.end()


class Report:
    """Prints hits."""

    def __init__(self, run: Run, probes: list[Traced]) -> None:
        self.run = run
        self.options = run.options
        self.probes = probes
        self.left = run.options.max_events
        self.seen: Counter[str] = Counter()
        self.timeline = run.timeline()
        self.moment = Moment(lambda event: str(probes[event.probe].spec.place.function))

    def header(self) -> None:
        """The columns of BCC's trace."""
        options = self.options
        text = ""
        if options.time or options.timestamp:
            text = f"{'TIME':<17} " if options.unix_timestamp else f"{'TIME':<8} "
        text += f"{'CPU':<3} " if options.print_cpu else ""
        text += f"{'PID':<7} {'TID':<7} {'COMM':<15} {'FUNC':<16} "
        self.run.say((text + ("-" if any(probe.format for probe in self.probes) else "")).rstrip())

    def event(self, event: Any) -> None:
        """One hit."""
        probe = self.probes[event.probe]
        message = probe.message(event)
        if self.left == 0 or (self.options.msg_filter and self.options.msg_filter not in message):
            return
        if self.timeline is not None:
            self.timeline.add(self.moment, event, self.fields(event, probe, message))
        if self.run.output.form == "json":
            self.run.output.object(self.fields(event, probe, message))
        else:
            text = f"{event.pid:<7} {event.tid:<7} {clean(event.comm):<15} {clean(probe.spec.place.function):<16} "
            rows = [(text + message).rstrip(" "), *self.stacks(event)]
            if self.options.aggregate:
                self.seen["\n".join(rows)] += 1
            else:
                self.run.output.line(self.time(event) + "\n".join(rows))
        if self.left is not None:
            self.left -= 1
            if not self.left:
                self.run.stop()

    def time(self, event: Any) -> str:
        """What is before a row."""
        options, clock = self.options, self.run.clock
        text = ""
        if options.time:
            text = f"{clock.text(event.time):<8} "
        elif options.unix_timestamp:
            text = f"{f'{clock.unix(event.time):.6f}'[:17]:<17} "
        elif options.timestamp:
            text = f"{f'{clock.since_begin(event.time):.6f}'[:8]:<8} "
        return text + (f"{event.cpu:<3} " if options.print_cpu else "")

    def stacks(self, event: Any) -> list[str]:
        """The frames below a row."""
        lines = []
        for wanted, name in ((self.options.kernel_stack, "kernel_stack"), (self.options.user_stack, "user_stack")):
            for frame in getattr(event, name).frames if wanted else ():
                text = frame_text(frame)
                lines.append(" " * 8 + (f"{frame.address:<16x} {text}" if self.options.address else text))
        return [*lines, ""] if self.options.kernel_stack or self.options.user_stack else []

    def fields(self, event: Any, probe: Traced, message: str) -> dict[str, Any]:
        """A hit as JSON."""
        parts = probe.format.parts if probe.format else ()
        values = [part.value(getattr(event, field)) for part, field in zip(parts, probe.fields)]
        found = {"time": self.run.clock.unix(event.time), "pid": event.pid, "tid": event.tid, "comm": event.comm,
                 "cpu": event.cpu, "function": probe.spec.place.function, "message": message,
                 "values": [value if isinstance(value, (int, str)) else str(value) for value in values]}  # fmt: skip
        for name in ("kernel_stack", "user_stack"):
            if getattr(self.options, name):
                found[name] = [str(frame) for frame in getattr(event, name).frames]
        return found

    def end(self) -> None:
        """What was put together, the most last."""
        for rows, count in sorted(self.seen.items(), key=lambda each: each[1]):
            self.run.output.line(f"{rows}\n-->COUNT {count}\n")
        self.run.output.flush()


def check(options: Any) -> str:
    """What does not go together."""
    if options.unix_timestamp and not options.timestamp:
        return "--unix-timestamp goes with -t"
    if options.aggregate and options.max_events is None:
        return "--aggregate needs --max-events"
    return "--pid and --tid exclude each other" if options.pid is not None and options.lid is not None else ""


TOOL = Tool(
    name="trace",
    topic="Functions and events",
    summary="trace functions and print their arguments, by a line each",
    trace=trace,
    check=check,
    probes=(
        "kprobes and kretprobes (p::FUNCTION, r::FUNCTION), uprobes and uretprobes (p:LIBRARY:FUNCTION, "
        "r:LIBRARY:FUNCTION), tracepoints (t:SYSTEM:EVENT), USDT probes (u:LIBRARY:PROBE)",
    ),
    options=(
        option("probe", nargs="+", metavar="PROBE", help="what to trace: PLACE[(signature)] [(predicate)] "
               "[\"format\"[, expression]...]"),
        option("-b", "--buffer-pages", type=arguments.pages, default=64, metavar="N", help="4 KiB pages for events"),
        option("-L", "--tid", dest="lid", type=arguments.tid, metavar="TID", help="only this thread"),
        option("--uid", type=arguments.user, metavar="USER", help="only this user (name or number)"),
        option("-Z", "--string-size", type=arguments.text_size, default=80, metavar="N", help="longest text of %s"),
        option("-S", "--include-self", action="store_true", help="also what pybpf itself does"),
        option("-M", "--max-events", type=arguments.positive, metavar="N", help="end after so many events"),
        option("-t", "--timestamp", action="store_true", help="print the time since the start, in seconds"),
        option("-u", "--unix-timestamp", action="store_true", help="with -t: seconds since 1970"),
        option("-T", "--time", action="store_true", help="print the time of day"),
        option("-C", "--print_cpu", action="store_true", help="print the CPU"),
        option("-c", "--cgroup-path", dest="cgroup", metavar="PATH", help="only this control group (version 2)"),
        option("-n", "--name", help="only processes whose name has this in it"),
        option("-f", "--msg-filter", metavar="TEXT", help="only rows whose message has this in it"),
        option("-B", "--bin_cmp", action="store_true", help="allow STRCMP({0x6C, 0x69}, x); it always is"),
        option("-s", "--sym_file_list", metavar="FILES", help="ignored: names are those of the files that are mapped"),
        option("-K", "--kernel-stack", action="store_true", help="print the kernel's stack"),
        option("-U", "--user-stack", action="store_true", help="print the stack of the process"),
        option("-a", "--address", action="store_true", help="print addresses in stacks"),
        option("-I", "--include", action="append", metavar="HEADER", help="ignored: types are the kernel's own (BTF)"),
        option("-A", "--aggregate", action="store_true", help="with -M: print each row once, with its number"),
        option("-D", "--debug", action="store_true", help="print the instructions of the probes"),
        *shared("pid follow comm container cgroupmap mntnsmap ends json perfetto"),
    ),
    examples=(
        ("'p:c:write (arg3 > 1024) \"fd=%d, size=%zu\", arg1, arg3'", "large writes of all programs"),
        ("-K 'r::do_sys_openat2 \"ret=%d\", retval'", "what opening files gives, with kernel stacks"),
        ("'t:sched:sched_process_exec \"%s\", args->filename'", "a tracepoint, with a field of its record"),
        ("'do_nanosleep(struct hrtimer_sleeper *t) \"%K\", t->timer.function'", "a member of a structure"),
    ),
    notes="""\
A predicate and expressions are C: operators, casts, ->, [], STRCMP("prefix", x), sizeof. Names: arg1 to arg6, argN@user
(a pointer of the process), retval, args->FIELD, $uid $gid $pid (thread) $tgid (process) $cpu $task, the parameters of
the signature or of the kernel's own types, and its constants. Structures of a program are those of its debug
information. Formats are printf's: %d %u %x %o %c %s %p with width and size, %K and %U for the function at an address
of the kernel and of the process. What a function returns is signed.""",
)  # fmt: skip
main = TOOL.main
