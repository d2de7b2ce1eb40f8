"""Print the files that one process opens: a tracepoint, a ring buffer and typed events, from the library alone.

    sudo PYTHONPATH=. python3 examples/opens.py PID      # in a clone; PYTHONPATH is not needed after pip install
"""

from __future__ import annotations

import sys
from contextlib import suppress

from pybpf.asm import assemble
from pybpf.attach import tracepoint
from pybpf.maps import Array, RingBuffer, RingBufferReader
from pybpf.prog import Program, ProgramSpec, ProgType
from pybpf.report import printable
from pybpf.types import Struct, char, layout, u32, u64


class Open(Struct):
    pid: u32
    comm: char[16]
    path: char[236]


PROGRAM = """
    r6 = r1                                 ; the tracepoint's record
    call bpf_get_current_pid_tgid
    r0 >>= 32
    if r0 != {pid} goto out
    r7 = r0
    r1 = map[events]
    r2 = {size}
    r3 = 0
    call bpf_ringbuf_reserve
    if r0 != 0 goto reserved
    r1 = map[lost][0]+0                     ; no room: count what is lost, the reader asks for it
    r2 = 1
    lock *(u64 *)(r1 +0) += r2
    goto out
reserved:
    r8 = r0
    *(u32 *)(r8 +0) = r7
    r1 = r8
    r1 += 4
    r2 = 16
    call bpf_get_current_comm
    r1 = r8
    r1 += 20
    r2 = 236
    r3 = *(u64 *)(r6 +24)                   ; filename, at its offset in the record
    call bpf_probe_read_user_str
    r1 = r8
    r2 = 0
    call bpf_ringbuf_submit
out:
    r0 = 0
    exit
"""


def main(pid: int) -> None:
    """Print what the process opens until Ctrl-C."""
    code = assemble(PROGRAM.format(pid=pid, size=layout(Open).size))
    spec = ProgramSpec(ProgType.TRACEPOINT, code, name="opens")
    with (
        RingBuffer(1 << 18, name="events") as ring,
        Array(u64, max_entries=1, name="lost") as lost,
        Program.load(spec, {"events": ring, "lost": lost}) as program,
        RingBufferReader(ring, Open, lost_counter=lambda: lost[0]) as opens,
        tracepoint(program, "syscalls:sys_enter_openat"),
    ):
        with suppress(KeyboardInterrupt):
            for event in opens:
                print(event.pid, printable(event.comm), printable(event.path), flush=True)
        print(f"{opens.lost} events were lost")


if __name__ == "__main__":
    if len(sys.argv) != 2 or not sys.argv[1].isdecimal():
        sys.exit("usage: opens.py PID")
    main(int(sys.argv[1]))
