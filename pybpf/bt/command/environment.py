"""Settings from the environment: ``BPFTRACE_MAX_STRLEN`` and the like, and the names that 0.17 had for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pybpf.bt.check.settings import PREFIX, SettingError, setting
from pybpf.errors import BpfError

__all__ = ["settings_of"]


def settings_of(environment: Mapping[str, str]) -> dict[str, Any]:
    """The settings that the environment has; they come before a script's ``config`` block, as in bpftrace.

    Other variables of bpftrace (``BPFTRACE_BTF``, ``BPFTRACE_KERNEL_SOURCE``) set nothing of a script.

    :raises BpfError: a value is not of the setting's kind.
    """
    found: dict[str, Any] = {}
    for variable, text in environment.items():
        if not variable.startswith(PREFIX.upper()):
            continue
        try:
            known = setting(variable, text, quiet=True)
        except SettingError as error:
            raise BpfError(str(error)) from None
        if known is not None:
            found[known[0]] = known[1]
    return found
