"""Running scripts in tests: on this process alone, and beside an installed bpftrace."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import pybpf.bt
from pybpf.bt.runtime.events import Event, Printed
from pybpf.bt.show.text import event_text

__all__ = ["BPFTRACE", "Done", "command", "printed", "theirs", "traced"]

BPFTRACE = shutil.which("bpftrace")
_TIMEOUT = 120


class Done(NamedTuple):
    """What a script gave."""

    text: str  #: what it printed, without the maps at the end
    maps: dict[str, Any]  #: name -> the value, or a dict by key
    events: list[Event]
    shown: str  #: the maps at the end, as text


def traced(script: str, act: Callable[[], object] = lambda: None, **options: Any) -> Done:
    """Run a script on this process, while it does something."""
    options.setdefault("pid", os.getpid())
    with pybpf.bt.run(script, **options) as running:
        act()
        events = list(running.events(0)) + running.stop()
        maps = {}
        for name, found in running.maps.items():
            maps[name] = found.value if found.key is None else dict(found.items())
        shown = "".join(map(event_text, running.shown_maps()))
    return Done("".join(map(event_text, events)), maps, events, shown)


def printed(script: str, **options: Any) -> str:
    """What ``printf`` prints in a script."""
    return "".join(event.text for event in traced(script, **options).events if isinstance(event, Printed))


def command(*arguments: str, timeout: float = _TIMEOUT) -> subprocess.CompletedProcess[str]:
    """``pybpf bt``"""
    return subprocess.run(
        [sys.executable, "-m", "pybpf", "bt", *arguments], capture_output=True, text=True, timeout=timeout
    )


def theirs(script: str, *options: str) -> str:
    """What the installed bpftrace prints, its own messages left out."""
    assert BPFTRACE is not None
    done = subprocess.run([BPFTRACE, *options, "-e", script], capture_output=True, text=True, timeout=_TIMEOUT)
    return re.sub(r"^Attaching \d+ probes?\.\.\.\n", "", done.stdout)
