"""``Body``: the function of a probe, written in Python from expressions of C, with the names that they use."""

from __future__ import annotations

import errno
import keyword
import os
import re
import signal
import socket
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pybpf.errors import BpfError
from pybpf.tool.c.expressions import Names, translate
from pybpf.tool.c.records import Records, Typed
from pybpf.tool.c.specs import Place, split
from pybpf.tool.c.types import CType, parameter

__all__ = ["Body"]

_MOST_ARGUMENTS = 6
#: ``$name`` -> Python
_TASK = MappingProxyType({
    "$uid": "_uid()", "$gid": "_gid()", "$pid": "_tid()", "$tgid": "_pid()", "$cpu": "_cpu()",
    "$task": "_current_task()", "$PID": "_pid()", "NULL": "0", "true": "True", "false": "False",
})  # fmt: skip


class Body:
    """Collects what a probe is made of: expressions in C become Python, their names its parameters::

        body = Body(Place.parse("p:c:write"), "")
        test = body.condition("arg2 > 1024")
        source, names = body.function("trace", [f"if not {test}: return", "hits.add()"], {"hits": hits})

    :param place: what is probed.
    :param signature: the parameters in C, where they are known.
    """

    def __init__(self, place: Place, signature: str = "") -> None:
        self.place = place
        self.written_signature = split(signature, ",") if signature.strip() else []
        self.signature = dict(map(parameter, self.written_signature))
        #: parameters that the return of the function wants of its entry (``$entry(x)``); with ``$latency`` its time
        self.entered: dict[str, CType] = {}
        self.timed = False
        self._arguments = 0
        self._named: dict[str, None] = {}
        from pybpf.arch import host_arch

        #: whether plain numbers are addresses of the process
        self.user = place.user or place.name.startswith((host_arch().syscall_prefix, "syscalls:"))
        self.records = Records(place.binary) if place.binary else None
        self.names = Names(self._value, self._call, self._pointer, self.user)

    def expression(self, text: str) -> str:
        """An expression in Python. :raises BpfError: it cannot be read, or has a name that means nothing here."""
        return translate(text, self.names)

    def condition(self, text: str) -> str:
        """Python that is true when an expression of C is. :raises BpfError: as :meth:`expression`."""
        return translate(text, self.names, condition=True)

    def text(self, text: str) -> str:
        """The text that an expression of C means: a pointer is followed."""
        return f"_{'user' if self.user else 'kernel'}_text({self.expression(text)})"

    # names

    def _value(self, name: str) -> str:
        plain, _, user = name.partition("@")
        match = re.fullmatch(r"arg([1-9])", plain)
        if plain in self.signature and self.place.kind != "r":
            found = self._parameter(plain)
        elif match:
            found = self._argument(int(match[1]))
        elif plain in ("retval", "$retval"):
            if self.place.kind != "r":
                raise BpfError(f"{name} is what a function returns: it is there in r: probes only")
            return "ret"
        elif plain in _TASK:
            return _TASK[plain]
        elif plain == "$latency" and self.place.kind == "r":
            self.timed = True
            return "(_ktime_ns() - entry.time)"
        elif plain == "args" and self.place.kind == "t":
            return "args"
        else:
            if plain in self.signature:
                self._parameter(plain)  # which says what to do
            found = self._parameter_of_kernel(plain) or _constant(plain)
        return f"_cast(_user_ptr(_char), {found})" if user else found

    def _pointer(self, kind: CType, code: str) -> str:
        found = code if self.records is None else self.records.pointer(kind, code)
        return found if isinstance(found, Typed) else f"_cast({kind.code(self.user)}, {code})"

    def _argument(self, number: int) -> str:
        if self.place.kind in "rt":
            where = "they are gone when it returns" if self.place.kind == "r" else "a tracepoint has args->FIELD"
            raise BpfError(f"arg{number} is not there in {self.place.kind}: probes: {where}")
        if self.signature:
            if number > len(self.signature):
                raise BpfError(f"arg{number} is not there: the signature has {len(self.signature)} parameters")
            return self._parameter(list(self.signature)[number - 1])
        if number > _MOST_ARGUMENTS:
            raise BpfError(f"there is no arg{number}: arguments are arg1 to arg{_MOST_ARGUMENTS}")
        self._arguments = max(self._arguments, number)
        return f"arg{number}"

    def _parameter(self, name: str) -> str:
        if self.place.kind == "r":
            raise BpfError(f"{name} is gone when the function returns; take a p: probe, or in argdist $entry({name})")
        kind = self.signature[name]
        return _safe(name) if self.records is None else self.records.pointer(kind, _safe(name))

    def _parameter_of_kernel(self, name: str) -> str:
        """A parameter that the kernel's own types name, or ``""``."""
        if self.place.kind != "p" or self.place.user or not re.fullmatch(r"[A-Za-z_]\w*", name):
            return ""
        if name not in _parameters_of(self.place.name):
            return ""
        self._named[name] = None
        return name

    def _call(self, name: str, values: list[str], written: list[str]) -> str:
        if name == "$entry" and self.place.kind == "r":
            return self._of_entry(written)
        if name == "STRCMP":
            if len(values) != 2:
                raise BpfError('STRCMP takes two: STRCMP("text", expression)')
            if values[0].startswith("b"):
                return f"_same_bytes({values[1]}, {values[0]}, {self.user})"
            space = "user" if self.user else "kernel"
            return f"_starts_with(_{space}_text({values[1]}), {values[0]})"
        if name in ("ntohs", "htons", "ntohl", "htonl", "bpf_ntohs", "bpf_htons", "bpf_ntohl", "bpf_htonl"):
            bits = 16 if name.endswith("s") else 32
            return f"_ntoh{bits}({', '.join(values)})"
        raise BpfError(f"there is no function {name}() in expressions; there are STRCMP, sizeof, ntohs and the like")

    def _of_entry(self, written: list[str]) -> str:
        """``$entry(parameter)``."""
        name = written[0] if len(written) == 1 else ""
        if name not in self.signature:
            raise BpfError(f"$entry takes a parameter of the signature, one of {', '.join(self.signature) or 'none'}")
        self.entered[name] = self.signature[name]
        kind = self.signature[name]
        if self.records is not None and self.records.find(kind) is not None:
            return self.records.pointer(kind, f"entry.{name}_")
        if kind.pointers and not kind.is_text:
            return f"_cast({kind.code(self.user)}, entry.{name}_)"
        return f"entry.{name}_"

    # the function

    def parameters(self) -> str:
        """The parameters of the function, for those names that were used."""
        if self.place.kind == "t":
            return "args"
        if self.place.kind == "r":
            return "ret: s64" if self.place.user or not _parameters_of(self.place.name, result=True) else "ret"
        if self.place.kind == "u":
            return ", ".join(f"arg{number}" for number in range(1, self._arguments + 1))
        if self.signature:
            return self.entry_parameters()
        positions = [f"arg{number}: u64" for number in range(1, self._arguments + 1)]
        return ", ".join([*positions, *self._named])

    def entry_parameters(self) -> str:
        """Those of the signature, by position."""
        return ", ".join(f"{_safe(name)}: {self._annotation(kind)}" for name, kind in self.signature.items())

    def _annotation(self, kind: CType) -> str:
        known = kind.integer or (kind.pointers and (self.records is None or self.records.find(kind) is None))
        return kind.code(self.user) if known else "u64"

    def function(self, name: str, lines: list[str], given: Mapping[str, Any]) -> tuple[Any, str]:
        """The function, for a decorator of a tracer, and its source.

        :param lines: its statements.
        :param given: what they refer to beside the builtins.
        """
        return made_function(name, self.parameters(), lines, given)


def _safe(name: str) -> str:
    """A name of C, as Python takes it."""
    return f"{name}_" if keyword.iskeyword(name) else name


def made_function(name: str, parameters: str, lines: list[str], given: Mapping[str, Any]) -> tuple[Any, str]:
    """A function, and its source."""
    source = f"def {name}({parameters}):\n" + "".join(f"    {line}\n" for line in lines or ["pass"])
    scope = {**_scope(), **given}
    exec(compile(source, f"<{name}>", "exec"), scope)
    return scope[name], source


def _scope() -> dict[str, Any]:
    """The builtins, under names that no variable of C has by mistake, and the types."""
    from pybpf import lang, types
    from pybpf.tool.c import builtins

    names = (
        "cast", "comm", "cpu", "current_task", "gid", "kernel_ptr", "kernel_stack", "kernel_symbol", "ktime_ns",
        "ntoh16", "ntoh32", "pid", "read_user", "sizeof", "tid", "uid", "user_ptr", "user_stack", "user_symbol",
    )  # fmt: skip
    kinds = ("s8", "s16", "s32", "s64", "u8", "u16", "u32", "u64", "bool_")
    scope = {f"_{name}": getattr(lang, name) for name in names}
    scope.update((f"_{name}", getattr(builtins, name)) for name in builtins.__all__)
    scope.update((name, getattr(types, name)) for name in kinds)
    return {**scope, "_char": types.char}


def _parameters_of(function: str, result: bool = False) -> list[str]:
    """The names of the parameters of a function, or of its result, as the kernel's types have them."""
    from pybpf.btf import Btf

    try:
        found = Btf.vmlinux().function(function)
    except BpfError:
        return []
    if result:
        return ["ret"] if found.return_type else []
    return [each.name for each in found.parameters if each.name]


def _constant(name: str) -> str:
    """The number of a constant that has a name: in the kernel's types, or of Python's own modules."""
    for module in (os, socket, errno, signal):
        value = getattr(module, name, None)
        if isinstance(value, int) and name.isupper():
            return str(int(value))
    from pybpf.btf import Btf

    try:
        value = Btf.vmlinux().constant(name)
    except BpfError:
        value = None
    if value is None:
        raise BpfError(
            f"{name!r} means nothing here: there are arg1 to arg6, retval in r: probes, args->FIELD in t: probes, "
            "$pid, $tgid, $uid, $gid, $cpu, $task, parameters of a signature, and constants of the kernel"
        )
    return str(value)
