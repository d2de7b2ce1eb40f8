"""Settings from the environment: ``BPFTRACE_MAX_STRLEN`` and the like, and the names that 0.17 had for them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pybpf.bt.check.facts import Settings
from pybpf.errors import BpfError
from pybpf.record import field_names

__all__ = ["OLD_NAMES", "settings_of"]

_PREFIX = "BPFTRACE_"
#: without the prefix: name of 0.17 -> that of the setting
OLD_NAMES: Mapping[str, str] = MappingProxyType({
    "STRLEN": "max_strlen", "MAP_KEYS_MAX": "max_map_keys", "CAT_BYTES_MAX": "max_cat_bytes",
})  # fmt: skip
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")
#: variables of bpftrace that set nothing of a script: where types come from, colours, and what only LLVM needs
OTHERS = frozenset({"BTF", "COLOR", "VMLINUX", "KERNEL_SOURCE", "KERNEL_BUILD", "NO_CPP_DEMANGLE", "NO_USER_SYMBOLS"})


def settings_of(environment: Mapping[str, str]) -> dict[str, Any]:
    """The settings that the environment has; a script's ``config`` block comes before them.

    :raises BpfError: a value is not of the setting's kind.
    """
    known = {name: getattr(Settings, name) for name in field_names(Settings)}
    found: dict[str, Any] = {}
    for variable, text in environment.items():
        if not variable.startswith(_PREFIX):
            continue
        short = variable[len(_PREFIX) :]
        name = OLD_NAMES.get(short, short.lower())
        if name in known:
            found[name] = _value(variable, text, type(known[name]))
    if environment.get(f"{_PREFIX}NO_CPP_DEMANGLE", "0") not in _FALSE:
        found["cpp_demangle"] = False
    return found


def _value(variable: str, text: str, kind: type) -> Any:
    if kind is bool:
        if text.lower() in (*_TRUE, *_FALSE):
            return text.lower() in _TRUE
        raise BpfError(f"{variable} is true or false, not {text!r}")
    if kind is int:
        if text.isascii() and text.isdigit() and len(text) < 19:
            return int(text)
        raise BpfError(f"{variable} is a number, not {text!r}")
    return text
