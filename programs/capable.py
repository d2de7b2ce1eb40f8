"""Trace checks of capabilities: which process needs which privilege."""

from __future__ import annotations

from typing import Any

from pybpf import char, s32, u32, u64
from pybpf.lang import KernelStack, UserStack, cgroup_id, comm, kernel_stack, ktime_ns, pid, tid, uid, user_stack
from pybpf.tool import Column, FirstOf, Moment, Run, Tool, clean, option, shared, struct

# The function comes first: the tracepoint does not say whether a check is audited.
CHECKS = FirstOf(
    "fentry:cap_capable", "kprobe:cap_capable", "tp_btf:cap_capable", "tracepoint:capability:cap_capable",
    what="checks of capabilities",
)  # fmt: skip
#: include/uapi/linux/capability.h, by number, without CAP_
NAMES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)  # fmt: skip
#: include/linux/security.h: options of a check (Linux 5.1)
NO_AUDIT, IN_SETID = 2, 4


def trace(run: Run) -> None:
    """The probes, and a row for each check."""
    options = run.options
    tracer = run.tracer()
    fields: dict[str, Any] = {"time": u64, "group": u64, "pid": u32, "tid": u32, "uid": u32, "cap": s32, "opts": s32,
                              "comm": char[16]}  # fmt: skip
    fields.update({"kernel_stack": KernelStack} if options.kernel_stack else {})
    fields.update({"user_stack": UserStack} if options.user_stack else {})
    Check = struct("Check", fields)
    checks = tracer.events(Check)
    everything: bool = options.verbose
    with_kernel: bool = options.kernel_stack
    with_user: bool = options.user_stack

    def checked(cap: int, opts: int) -> None:
        if not everything and opts > 0 and opts & NO_AUDIT:
            return
        with checks.reserve() as event:
            event.time, event.pid, event.tid, event.uid, event.comm = ktime_ns(), pid(), tid(), uid(), comm()
            event.cap, event.opts, event.group = cap, opts, cgroup_id()
            if with_kernel:
                event.kernel_stack = kernel_stack()
            if with_user:
                event.user_stack = user_stack()

    @CHECKS.on(tracer, "fentry", "kprobe")
    def by_function(who: u64, where: u64, number: s32, how: u32) -> None:  # by position: names differ between kernels
        checked(number, how)

    @CHECKS.on(tracer, "tp_btf")
    def typed(cap: Any) -> None:
        checked(cap, -1)

    @CHECKS.on(tracer, "tracepoint")
    def by_record(args: Any) -> None:
        checked(args.cap, -1)

    rows = run.rows(columns(run), moment=Moment(lambda event: name_of(event.cap)))
    seen: set[Any] = set()

    def show(event: Any) -> None:
        if options.unique:
            stacks = tuple(getattr(event, name).id for name in ("kernel_stack", "user_stack") if name in fields)
            what = (event.group if options.unique == "cgroup" else event.pid, event.cap, stacks)
            if what in seen:
                return
            seen.add(what)
        rows.write(event)
        if run.output.form == "text":
            for name in ("kernel_stack", "user_stack"):
                for frame in getattr(event, name).frames if name in fields else ():
                    run.output.line(f"        {clean(frame.demangled)}+{frame.offset:#x}")

    run.start(tracer)
    rows.header()
    run.deliver({checks: show})


def name_of(number: int) -> str:
    """Of a capability."""
    return f"CAP_{NAMES[number]}" if 0 <= number < len(NAMES) else "?"


def columns(run: Run) -> list[Column]:
    """Those of BCC's capable; PID is the process, TID the thread."""
    options = run.options

    def audit(event: Any) -> Any:
        return None if event.opts < 0 else int(not event.opts & NO_AUDIT)

    def in_setid(event: Any) -> Any:
        return None if event.opts < 0 else int(bool(event.opts & IN_SETID))

    return [
        run.clock.wall("%-9s "),
        Column("UID", "%-6d ", "uid", lambda event: event.uid),
        Column("PID", "%-6d ", "pid", lambda event: event.pid),
        Column("TID", "%-6d ", "tid", lambda event: event.tid, options.extra),
        Column("COMM", "%-16s ", "comm", lambda event: event.comm),
        Column("CAP", "%-4d ", "cap", lambda event: event.cap),
        Column("NAME", "%-20s ", "name", lambda event: name_of(event.cap)),
        Column("AUDIT", "%-6s ", "audit", audit, text=lambda event: "?" if audit(event) is None else audit(event)),
        Column("INSETID", "%s", "insetid", in_setid, options.extra,
               lambda event: "?" if in_setid(event) is None else in_setid(event)),
    ]  # fmt: skip


TOOL = Tool(
    name="capable",
    topic="Processes",
    summary="trace checks of capabilities",
    trace=trace,
    probes=(CHECKS,),
    options=(
        option("-v", "--verbose", action="store_true", help="also checks that are not audited; say what is attached"),
        option("-x", "--extra", action="store_true", help="print thread, and whether it is for setuid"),
        option("-K", "--kernel-stack", action="store_true", help="print the kernel's stack"),
        option("-U", "--user-stack", action="store_true", help="print the stack of the process"),
        option("--unique", nargs="?", const="pid", choices=("pid", "cgroup"),
               help="each capability (and stack) once for each process, or control group"),
        *shared("who ends rows perfetto"),
    ),
    examples=(
        ("", "all audited checks"),
        ("-p 181 -K", "what process 181 needs, and where the kernel asks"),
        ("--unique -c 'ping -c1 127.0.0.1'", "what a command needs, each once"),
    ),
    notes="Where only the tracepoint is there, AUDIT and INSETID are not known (?), and all checks are shown.",
)  # fmt: skip
main = TOOL.main
