"""``python -m pybpf`` as a fork of the test's process, for the guests of tests/vm, where Python takes seconds to start.

The fork has imported everything, and gets the arguments, descriptors, environment and signals of a new process. That
the command also starts as a new one is tested natively.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

__all__ = ["Popen", "become"]

_COMMAND = [sys.executable, "-m", "pybpf"]


class Popen(subprocess.Popen):  # type: ignore[type-arg]
    """As subprocess has it, but for what runs the command."""

    def __init__(self, args: Any, *others: Any, **options: Any) -> None:
        if not others and isinstance(args, list) and args[:3] == _COMMAND and not options.get("preexec_fn"):
            options["preexec_fn"] = partial(become, args[3:], options.pop("env", None))
        super().__init__(args, *others, **options)


def become(words: Sequence[str], env: Mapping[str, str] | None) -> None:
    """In the child, where it would execute the command: be what that would be. Does not return."""
    faulthandler.disable()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # as Python does when it starts; Popen has undone it
    last = max(map(int, os.listdir("/proc/self/fd")))
    os.closerange(3, last + 1)  # one of them tells the parent that the command has begun
    warnings.resetwarnings()
    warnings.simplefilter("ignore")
    if env is not None:
        os.environ.clear()
        os.environ.update(env)
    sys.argv = ["pybpf", *words]
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    code: object = 1
    try:
        from pybpf.cli import main

        code = main()
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
    if not isinstance(code, (int, type(None))):
        print(code, file=sys.stderr)
        code = 1
    for file in (sys.stdout, sys.stderr):
        with suppress(OSError):
            file.flush()
    os._exit(code or 0)
