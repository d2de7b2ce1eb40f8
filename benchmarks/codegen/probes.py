"""The reference probes in the Python DSL: each function describes one tracer that looks at process ``pid`` only.

``c/NAME.c`` and ``bt/NAME.bt`` say the same in C and in the bpftrace language.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from pybpf import Struct, Tracer, char, s32, u8, u16, u32, u64
from pybpf.lang import KernelStack, UserStack, comm, kernel_stack, ktime_ns, pid, read_user_str, tid, uid, user_stack

__all__ = ["PROBES"]

#: pages of 4 KiB of a buffer for events: so many that none is lost, even where the host keeps their reader waiting
PAGES = 2048


class Begun(Struct):
    time: u64
    filename: u64


class Open(Struct):
    pid: u32
    ret: s32
    latency: u64
    comm: char[16]
    path: char[256]


def opens(process: int) -> Tracer:
    tracer = Tracer(pid=process)
    begun = tracer.hash(u32, Begun, max_entries=10240)
    opens = tracer.events(Open, pages=PAGES)

    @tracer.tracepoint("syscalls:sys_enter_openat")
    def on_enter(args):
        begun[tid()] = Begun(time=ktime_ns(), filename=args.filename)

    @tracer.tracepoint("syscalls:sys_exit_openat")
    def on_exit(args):
        start = begun.pop(tid())
        if start is None:
            return
        opens.emit(
            pid=pid(),
            ret=args.ret,
            latency=ktime_ns() - start.time,
            comm=comm(),
            path=read_user_str(start.filename),
        )

    return tracer


class Call(Struct):
    time: u64
    id: u32


class Latency(Struct):
    count: u64
    total: u64
    max: u64


def syscall_latency(process: int) -> Tracer:
    tracer = Tracer(pid=process)
    begun = tracer.hash(u32, Call, max_entries=10240)
    stats = tracer.hash(u32, Latency, max_entries=1024)

    @tracer.tracepoint("raw_syscalls:sys_enter")
    def on_enter(args):
        begun[tid()] = Call(time=ktime_ns(), id=args.id)

    @tracer.tracepoint("raw_syscalls:sys_exit")
    def on_exit(args):
        start = begun.pop(tid())
        if start is None:
            return
        delta = ktime_ns() - start.time
        data = stats.setdefault(start.id, Latency())
        if data is None:
            return
        data.count += 1
        data.total += delta
        if delta > data.max:
            data.max = delta

    return tracer


class Alloc(Struct):
    pid: u32
    tid: u32
    size: u64
    comm: char[16]
    stack: UserStack


def malloc_stacks(process: int) -> Tracer:
    tracer = Tracer(pid=process)
    sizes = tracer.hash(u32, u64, max_entries=10240)
    allocs = tracer.events(Alloc, pages=PAGES)
    threshold = 65536

    @tracer.uprobe("libc.so.6", "malloc")
    def on_malloc(size: u64):
        if size >= threshold:
            sizes[tid()] = size

    @tracer.uretprobe("libc.so.6", "malloc")
    def on_return(ret: u64):
        size = sizes.pop(tid())
        if size is not None and ret:
            allocs.emit(pid=pid(), tid=tid(), size=size, comm=comm(), stack=user_stack())

    return tracer


def comm_counts(process: int) -> Tracer:
    tracer = Tracer(pid=process)
    counts = tracer.hash(char[16], u64, max_entries=4096)

    @tracer.tracepoint("raw_syscalls:sys_enter")
    def on_enter(args):
        counts[comm()] += 1

    return tracer


def read_sizes(process: int) -> Tracer:
    tracer = Tracer(pid=process)
    sizes = tracer.histogram(key=char[16])

    @tracer.tracepoint("syscalls:sys_exit_read")
    def on_exit(args):
        sizes[comm()].add(args.ret)

    return tracer


def runqlat(process: int) -> Tracer:
    tracer = Tracer()
    woken = tracer.hash(u32, u64, max_entries=10240)
    latency = tracer.histogram()

    @tracer.raw_tracepoint("sched_wakeup")
    def on_wakeup(p):
        if p.tgid == process:
            woken[p.pid] = ktime_ns()

    @tracer.raw_tracepoint("sched_switch")
    def on_switch(prev, next):
        if next.tgid == process:
            time = woken.pop(next.pid)
            if time is not None:
                latency.add((ktime_ns() - time) // 1000)

    return tracer


class Exec(Struct):
    pid: u32
    uid: u32
    comm: char[16]
    path: char[128]


def execs(process: int) -> Tracer:
    tracer = Tracer(pid=process)
    execs = tracer.events(Exec, pages=PAGES)

    @tracer.tracepoint("sched:sched_process_exec")
    def on_exec(args):
        execs.emit(pid=args.pid, uid=uid(), comm=comm(), path=args.filename)

    return tracer


class Change(Struct):
    pid: u32
    old: s32
    new: s32
    sport: u16
    dport: u16
    saddr: u8[16]
    daddr: u8[16]
    comm: char[16]


def tcp_states(process: int) -> Tracer:
    tracer = Tracer(pid=process)
    changes = tracer.events(Change, pages=PAGES)

    @tracer.tracepoint("sock:inet_sock_set_state")
    def on_state(args):
        if args.protocol != 6 or args.family != 2:
            return
        changes.emit(
            pid=pid(),
            old=args.oldstate,
            new=args.newstate,
            sport=args.sport,
            dport=args.dport,
            saddr=args.saddr_v6,
            daddr=args.daddr_v6,
            comm=comm(),
        )

    return tracer


class Signal(Struct):
    sender: u32
    target: u32
    number: s32


def signals(process: int) -> Tracer:
    tracer = Tracer(pid=process)
    counts = tracer.hash(Signal, u64, max_entries=4096)

    @tracer.tracepoint("signal:signal_generate")
    def on_signal(args):
        counts[Signal(pid(), args.pid, args.sig)] += 1

    return tracer


def write_stats(process: int) -> Tracer:
    tracer = Tracer(pid=process)
    stats = tracer.stats(key=u32)

    @tracer.tracepoint("syscalls:sys_enter_write")
    def on_enter(args):
        if args.count >= 512:
            stats[tid()].add(args.count)

    return tracer


def path_filter(process: int) -> Tracer:
    tracer = Tracer(pid=process)
    counts = tracer.hash(u32, u64, max_entries=4096)

    @tracer.tracepoint("syscalls:sys_enter_openat")
    def on_enter(args):
        if args.flags & 0x40:
            return
        if read_user_str(args.filename, 64).startswith("/etc/"):
            counts[tid()] += 1

    return tracer


class Sample(Struct):
    kernel: KernelStack
    user: UserStack
    comm: char[16]


def samples(process: int) -> Tracer:
    tracer = Tracer(pid=process)
    counts = tracer.hash(Sample, u64, max_entries=10240)

    @tracer.profile(hz=99)
    def on_sample():
        counts[Sample(kernel_stack(), user_stack(), comm())] += 1

    return tracer


class Lookup(Struct):
    time: u64
    host: char[64]


class Resolved(Struct):
    pid: u32
    result: s32
    latency: u64
    comm: char[16]
    host: char[64]


def dns_latency(process: int) -> Tracer:
    tracer = Tracer(pid=process)
    begun = tracer.hash(u32, Lookup, max_entries=10240)
    slow = tracer.hash(char[64], u64, max_entries=1024)
    latency = tracer.histogram()
    lookups = tracer.events(Resolved, pages=PAGES)

    @tracer.uprobe("libc.so.6", "getaddrinfo")
    def on_begin(node: u64):
        begun[tid()] = Lookup(time=ktime_ns(), host=read_user_str(node))

    @tracer.uretprobe("libc.so.6", "getaddrinfo")
    def on_end(ret: s32):
        start = begun.pop(tid())
        if start is None:
            return
        delta = (ktime_ns() - start.time) // 1_000_000
        lookups.emit(pid=pid(), result=ret, latency=delta, comm=comm(), host=start.host)
        if delta > 100:
            slow[start.host] += 1
        latency.add(delta)

    return tracer


class Allocation(Struct):
    size: u64
    time: u64


def malloc_profile(process: int) -> Tracer:
    tracer = Tracer(pid=process)
    begun = tracer.hash(u32, Allocation, max_entries=10240)
    outstanding = tracer.hash(u64, u64, max_entries=10240)
    by_name = tracer.avg(key=char[16], max_entries=1024)
    sizes, latency = tracer.histogram(), tracer.histogram()

    @tracer.uprobe("libc.so.6", "malloc")
    def on_malloc(size: u64):
        begun[tid()] = Allocation(size, ktime_ns())

    @tracer.uretprobe("libc.so.6", "malloc")
    def on_return(ret: u64):
        start = begun.pop(tid())
        if start is None:
            return
        sizes.add(start.size)
        latency.add(ktime_ns() - start.time)
        by_name[comm()].add(start.size)
        if ret:
            outstanding[ret] = start.size

    return tracer


PROBES = (
    opens, syscall_latency, malloc_stacks, comm_counts, read_sizes, runqlat, execs, tcp_states, signals, write_stats,
    path_filter, samples, dns_latency, malloc_profile,
)  # fmt: skip
