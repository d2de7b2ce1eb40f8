"""A hash map of a million u64 pairs read by BCC's ``items()``: prints seconds, those of the processor, entries.

Run by ``/usr/bin/python3 bcc_items.py COUNT``; BCC compiles for the headers of ``BCC_KERNEL_SOURCE``.
"""

import ctypes
import sys
import time

from bcc import BPF


def main() -> None:
    count = int(sys.argv[1])
    bpf = BPF(text=f"BPF_HASH(table, u64, u64, {count});")
    table = bpf["table"]
    keys = (ctypes.c_uint64 * count)(*range(count))
    values = (ctypes.c_uint64 * count)(*range(count))
    try:
        table.items_update_batch(keys, values)
    except Exception:
        for number in range(count):
            table[table.Key(number)] = table.Leaf(number)
    begin, busy = time.monotonic(), time.process_time()
    found = sum(1 for key, value in table.items() if key.value == value.value)
    print(time.monotonic() - begin, time.process_time() - busy, found)


main()
