"""The text of values that only user space can name: stacks, symbols."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pybpf.bt.runtime.gfp import flags_text
from pybpf.bt.runtime.places import BuildIds, hexadecimal, lines
from pybpf.bt.runtime.words import cgroup_paths, error_text, signal_text, syscall_text, time_text
from pybpf.bt.show.values import safe
from pybpf.bt.types import Special

if TYPE_CHECKING:
    from pybpf.bt.state.shared import Shared
    from pybpf.symbols import Symbol, Symbolizer

__all__ = ["Naming"]


class Naming:
    """Names of addresses on this host; what is known of a script's stacks.

    :param shared: what the programs of the script share.
    """

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._symbols: Symbolizer | None = None
        self._places = BuildIds()

    @property
    def symbols(self) -> Symbolizer:
        """What knows the names of addresses."""
        if self._symbols is None:
            from pybpf.symbols import Symbolizer

            self._symbols = Symbolizer()
        return self._symbols

    def trailer(self, room: int) -> str:
        """What is appended to text that fills all its room: arrays of characters may, what str() reads was cut off."""
        settings = self._shared.settings
        return settings.str_trunc_trailer if room == settings.max_strlen else ""

    def special(self, kind: Special, raw: Any) -> str:
        """The text of a special value."""
        return _SPECIAL[kind.what](self, kind, raw)

    def _kernel_stack(self, kind: Special, raw: Any) -> str:
        addresses = self._addresses(kind, raw.id)
        if kind.options[0] in ("raw", "build_id"):
            return lines(map(hexadecimal, addresses))
        symbols = self.symbols.kernel(addresses, stack=True)
        return lines(_frame(symbol, address, kind.options[0]) for symbol, address in zip(symbols, addresses))

    def _user_stack(self, kind: Special, raw: Any) -> str:
        addresses, mode = self._addresses(kind, raw.id), kind.options[0]
        if mode == "raw":
            return lines(map(hexadecimal, addresses))
        if mode == "build_id":
            return lines(self._places.of(raw.pid, addresses))
        symbols = self.symbols.user(raw.pid, addresses, stack=True)
        return lines(_frame(symbol, address, mode, user=True) for symbol, address in zip(symbols, addresses))

    def _addresses(self, kind: Special, number: int) -> Sequence[int]:
        return self._shared.stacks_of(kind.options[1]).addresses(number)

    def _ksym(self, kind: Special, raw: Any) -> str:
        return _name(self.symbols.kernel([raw])[0], raw)

    def _usym(self, kind: Special, raw: Any) -> str:
        return _name(self.symbols.user(raw.pid, [raw.address])[0], raw.address)

    def _username(self, kind: Special, raw: Any) -> str:
        import pwd  # here and below: most scripts need none of these

        try:
            return safe(pwd.getpwuid(raw).pw_name)
        except KeyError:
            return str(raw)

    def _probe(self, kind: Special, raw: Any) -> str:
        known = self._shared.probes
        return known[raw] if raw < len(known) else f"probe {raw}"


def _comm_of(naming: Naming, kind: Special, raw: Any) -> str:
    """The name of a process; ``""`` where it has ended."""
    try:
        with open(f"/proc/{raw}/comm", encoding="utf-8", errors="surrogateescape") as file:
            return safe(file.read().rstrip("\n"))
    except OSError:
        return ""


def _gfp(naming: Naming, kind: Special, raw: Any) -> str:
    from pybpf.compiler.target import Target

    types = Target.host().types()
    return flags_text(raw, types.constant if types is not None else lambda name: None)


def _inet(naming: Naming, kind: Special, raw: Any) -> str:
    import socket

    packed = bytes(raw.packed)
    if raw.family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, packed[:4])
    return socket.inet_ntop(socket.AF_INET6, packed) if raw.family == socket.AF_INET6 else ""


def _macaddr(naming: Naming, kind: Special, raw: Any) -> str:
    return bytes(raw).hex(":").upper()


def _name(symbol: Symbol, address: int) -> str:
    return safe(symbol.demangled) if symbol.known else f"0x{address:x}"


def _frame(symbol: Symbol, address: int, mode: str, user: bool = False) -> str:
    """A frame's line: with its address and, of processes, its file where perf's form is asked for."""
    name = f"{safe(symbol.demangled)}+{symbol.offset}" if symbol.known else f"0x{address:x}"
    if mode != "perf":
        return f"        {name}"
    file = symbol.path or symbol.module or ("[unknown]" if user else "")
    return f"\t{address:x} {name}" + (f" ({safe(file)})" if file else "")


_SPECIAL: Mapping[str, Callable[[Naming, Special, Any], str]] = MappingProxyType({
    "cgroup_path": lambda naming, kind, raw: safe(cgroup_paths(raw, *kind.options)),
    "comm_of": _comm_of,
    "gfp": _gfp,
    "inet": _inet,
    "kstack": Naming._kernel_stack,
    "macaddr": _macaddr,
    "signal_name": lambda naming, kind, raw: signal_text(raw),
    "strerror": lambda naming, kind, raw: error_text(raw),
    "syscall_name": lambda naming, kind, raw: syscall_text(raw),
    "timestamp": lambda naming, kind, raw: time_text(kind.options[0], kind.options[1], raw),
    "username": Naming._username,
    "ustack": Naming._user_stack,
    "ksym": Naming._ksym,
    "probe": Naming._probe,
    "usym": Naming._usym,
})  # fmt: skip
