"""The library call: run a script and read what it gives as typed Python values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pybpf.bt.compile import compile_script
from pybpf.bt.runtime.running import Running

__all__ = ["run"]


def run(
    script: str,
    arguments: Sequence[str] = (),
    *,
    file: str = "<script>",
    pid: int | None = None,
    settings: Mapping[str, Any] | None = None,
    named: Mapping[str, str] | None = None,
    unsafe: bool = False,
) -> Running:
    """Compile, load and attach a bpftrace script; use the result in ``with``::

        with pybpf.bt.run('tracepoint:syscalls:sys_enter_openat { printf("%s\\n", str(args.filename)); }') as running:
            for event in running:                 # typed: Printed, ValueShown, MapShown, ...; ends with exit()
                print(event.text)

    Nothing is printed and no signals are taken.

    :param arguments: what ``$1`` and so on stand for.
    :param file: what messages call the script.
    :param pid: trace this process alone.
    :param settings: as the ``config`` block's, which comes first: ``{"max_map_keys": 100000}``.
    :param named: named arguments, for ``getopt()``.
    :param unsafe: allow what changes the processes that are traced.
    :raises CompileError: the script makes no sense; points into it.
    :raises BpfError: of loading and attaching; nothing stays in the kernel.
    """
    compiled = compile_script(
        script, file, arguments, settings=settings, named=named, pid=pid, unsafe=unsafe
    )
    return Running(compiled).start()
