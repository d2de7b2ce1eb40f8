"""Settings by their names: of a script's ``config`` block, of the environment; their kinds, and the words they take."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pybpf.bt.state.settings import Settings
from pybpf.record import field_names
from pybpf.sys.near import did_you_mean

__all__ = ["PREFIX", "SettingError", "setting", "without_effect"]

PREFIX = "bpftrace_"
#: name of an older bpftrace -> the setting
_OLD: Mapping[str, str] = MappingProxyType({
    "strlen": "max_strlen", "map_keys_max": "max_map_keys", "cat_bytes_max": "max_cat_bytes",
})  # fmt: skip
#: setting that makes no difference here -> what is so instead
_IDLE: Mapping[str, str] = MappingProxyType({
    "lazy_symbolication": "addresses are looked up when they are printed",
    "cache_user_symbols": "symbols of a process are kept as long as it has them",
    "log_size": "the verifier's log is as long as it needs to be",
    "on_stack_limit": "values lie on the stack where there is room",
    "show_debug_info": "-d shows stages of the compiler",
})  # fmt: skip
#: what other versions of bpftrace have, and makes no difference here; so does what begins in "unstable_"
_IGNORED = frozenset({"use_blazesym", "max_ast_nodes", "max_type_res_iterations", "probe_inline", "debug_output",
                      "verify_llvm_ir", "symbol_source"})  # fmt: skip
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")
_KINDS: Mapping[type, str] = MappingProxyType({int: "a number", bool: "true or false", str: "a word or text"})
#: setting -> the words that it takes
_WORDS: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "stack_mode": ("bpftrace", "perf", "raw", "build_id"),
    "missing_probes": ("error", "warn", "ignore"),
    "cache_user_symbols": ("per_pid", "per_program", "none", "1", "0"),
    # those that the kernel takes for compatible with the GPL: include/linux/license.h
    "license": ("GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"),
})  # fmt: skip
#: setting -> least and greatest number
_RANGES: Mapping[str, tuple[int, int]] = MappingProxyType({
    "max_strlen": (1, 1 << 20), "max_map_keys": (1, (1 << 32) - 1), "perf_rb_pages": (1, 1 << 19),
})  # fmt: skip


class SettingError(ValueError):
    """There is no such setting, or it cannot have such a value. The text is the message."""


def setting(name: str, value: int | bool | str, shown: str = "", quiet: bool = False) -> tuple[str, Any] | None:
    """The setting that a name means, and its value; None: one that makes no difference here.

    :param name: with or without ``BPFTRACE_``, in any case.
    :param shown: what messages call it, by default the name.
    :param quiet: names that are unknown make no difference, either.
    :raises SettingError: it makes no sense.
    """
    shown = shown or name
    short = name.lower()
    short = short[len(PREFIX) :] if short.startswith(PREFIX) else short
    short = _OLD.get(short, short)
    known = field_names(Settings)
    if short == "no_cpp_demangle":
        return "cpp_demangle", not _kept(shown, "cpp_demangle", value, bool)
    if short not in known:
        if quiet or short in _IGNORED or short.startswith("unstable_"):
            return None
        hint = did_you_mean(short, known) or f"; there are {', '.join(known)}"
        raise SettingError(f"there is no setting {shown!r}{hint}")
    return short, _kept(shown, short, value, type(getattr(Settings, short)))


def without_effect(name: str) -> str:
    """Why a setting that a script has makes no difference; ``""``: it makes one, or allows what is allowed here."""
    short = name.lower()
    short = short[len(PREFIX) :] if short.startswith(PREFIX) else short
    if short in _IDLE:
        return f"{name} makes no difference here: {_IDLE[short]}"
    return f"{name} makes no difference here" if short in _IGNORED else ""


def _kept(shown: str, name: str, value: int | bool | str, kind: type) -> Any:
    """A value as a setting keeps it."""
    found = _READ[kind](value)
    if found is None:
        raise SettingError(f"{shown} is {_KINDS[kind]}, not {value!r}")
    words = _WORDS.get(name)
    if words is not None:
        found = next((word for word in words if word.lower() == found.lower()), None)
        if found is None:
            raise SettingError(f"{shown} is {', '.join(words[:-1])} or {words[-1]}, not {value!r}")
    least, most = _RANGES.get(name, (0, (1 << 63) - 1)) if kind is int else (0, 0)
    if kind is int and not least <= found <= most:
        raise SettingError(f"{shown} is {least} to {most}, not {found}")
    return found


def _flag(value: int | bool | str) -> bool | None:
    if isinstance(value, str):
        return value.lower() in _TRUE if value.lower() in (*_TRUE, *_FALSE) else None
    return bool(value)


def _number(value: int | bool | str) -> int | None:
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else None
    return None if isinstance(value, bool) else value


def _text(value: int | bool | str) -> str | None:
    return value if isinstance(value, str) else None if isinstance(value, bool) else str(value)


_READ: Mapping[type, Any] = MappingProxyType({bool: _flag, int: _number, str: _text})
