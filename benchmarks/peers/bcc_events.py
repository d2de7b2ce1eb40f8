"""Events of 64 bytes through BCC to a callback in Python: prints ns of processor time and of wall time, the lost.

One round, after one that does not count. Run by ``/usr/bin/python3 bcc_events.py ring|perf``; BCC
compiles for the headers of ``BCC_KERNEL_SOURCE``.
"""

import os
import sys
import time

from bcc import BPF

_TEXT = """
struct event { u64 number; u32 cpu, size; u64 begin, end, inode, offset; u32 pid, tid, uid; int ret; };
DECLARE
RAW_TRACEPOINT_PROBE(sys_enter) {
    if (ctx->args[1] != NUMBER || bpf_get_current_pid_tgid() >> 32 != PID) return 0;
    struct event e = {.number = bpf_ktime_get_ns(), .size = 64};
    SEND
    return 0;
}
"""
_RINGS = {
    "ring": ("BPF_RINGBUF_OUTPUT(events, 2048);", "events.ringbuf_output(&e, sizeof(e), BPF_RB_NO_WAKEUP);"),
    "perf": ("BPF_PERF_OUTPUT(events);", "events.perf_submit(ctx, &e, sizeof(e));"),
}
_GETPPID = {"x86_64": 110, "aarch64": 173}[os.uname().machine]
#: what fits into 8 MiB of either
_EVENTS = 80_000


def main() -> None:
    ring = sys.argv[1]
    declare, send = _RINGS[ring]
    text = _TEXT.replace("DECLARE", declare).replace("SEND", send)
    bpf = BPF(text=text.replace("NUMBER", str(_GETPPID)).replace("PID", str(os.getpid())))
    seen = [0]

    def take(cpu, data, size):  # type: ignore[no-untyped-def]
        event = bpf["events"].event(data)
        seen[0] += event.size == 64

    if ring == "ring":
        bpf["events"].open_ring_buffer(take)
        drain = bpf.ring_buffer_consume
    else:
        bpf["events"].open_perf_buffer(take, page_cnt=2048)
        drain = lambda: bpf.perf_buffer_poll(timeout=0)  # noqa: E731
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    for _ in range(2):
        for _ in range(_EVENTS):
            os.getppid()
        seen[0] = 0
        begin, busy = time.monotonic(), time.process_time()
        drain()
        cpu, wall = time.process_time() - busy, time.monotonic() - begin
    count = max(1, seen[0])
    print(cpu / count * 1e9, wall / count * 1e9, _EVENTS - seen[0])


main()
