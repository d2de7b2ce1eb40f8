"""``FirstOf``: a list of places to attach to, of which the first that this kernel has is taken."""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from pybpf.errors import BpfError, NotFoundError, UnsupportedError

if TYPE_CHECKING:
    from pybpf.lang import Tracer

__all__ = ["FirstOf", "attach_at", "lack"]

F = TypeVar("F", bound=Callable[..., Any])


class FirstOf:
    """Where something can be seen, the best place first: ``FirstOf("tracepoint:...", "kprobe:...")``.

    A place is ``KIND:NAME``; kinds are the decorators of :class:`~pybpf.Tracer` (``tracepoint``, ``raw_tracepoint``,
    ``fentry``, ``fexit``, ``kprobe``, ``kretprobe``, ``uprobe``, ``uretprobe``, ``usdt``), and ``tp_btf``: a raw
    tracepoint where the kernel's types are known, so that its arguments can be followed. Names are what they take:
    ``"tracepoint:block:block_rq_issue"``, ``"kprobe:tcp_connect"``, ``"uprobe:libc.so.6:malloc"``;
    ``"tracepoint:skb:kfree_skb(reason)"`` is one whose record has a field ``reason``, ``"tp_btf:kfree_skb(reason)"``
    one that has such a parameter. Alternatives need not have the same parameters::

        ISSUED = FirstOf("tracepoint:block:block_rq_issue", "kprobe:blk_mq_start_request")

        @ISSUED.on(tracer, "tracepoint")
        def issued(args):
            begin(args.dev, args.sector)

        @ISSUED.on(tracer, "kprobe")
        def started(rq):
            begin(...)

    :param places: the alternatives.
    :param what: what is seen there, for messages.
    :param optional: the tool can do without: nothing is attached where the kernel has none of them.
    """

    def __init__(self, *places: str, what: str = "", optional: bool = False) -> None:
        self.places = places
        self.what = what
        self.optional = optional

    def find(self) -> str | None:
        """The first place that this kernel has, or None."""
        return next((place for place in self.places if not lack(place)), None)

    def choose(self) -> str:
        """As :meth:`find`. :raises UnsupportedError: it has none; says why, each."""
        found = self.find()
        if found is None:
            why = "; ".join(f"{place}: {lack(place)}" for place in self.places)
            raise UnsupportedError(f"trace {self.what or 'this'}", errno.EOPNOTSUPP, f"this kernel has none of {why}")
        return found

    def on(self, tracer: Tracer, *places: str, **options: Any) -> Callable[[F], F]:
        """A decorator: attaches the function where the chosen place is one of ``places``; otherwise leaves it alone.

        :param places: ``KIND:NAME``, or a kind alone; none: all of the list.
        :param options: what the decorator of the tracer takes, as ``everyone``.
        :raises UnsupportedError: the kernel has none of the list, and it is not optional.
        """
        chosen = self.find() if self.optional else self.choose()
        if chosen is None or not (not places or chosen in places or chosen.partition(":")[0] in places):
            return lambda function: function
        return attach_at(tracer, chosen, **options)

    def describe(self, here: bool = False) -> str:
        """One line for people: the places; with ``here``, which of them is taken."""
        text = ", or ".join(self.places)
        if not here or len(self.places) < 2:
            return text
        try:
            found = self.find()
        except (BpfError, OSError):
            return text
        return f"{text}  [here: {found or 'none'}]"


def attach_at(tracer: Tracer, place: str, **options: Any) -> Callable[[F], F]:
    """The decorator of a tracer for a place, ``KIND:NAME``."""
    kind, _, name = place.partition("(")[0].partition(":")
    kind = "raw_tracepoint" if kind == "tp_btf" else kind
    names: tuple[str, ...] = (name,)
    if kind in ("uprobe", "uretprobe"):
        names = tuple(name.rsplit(":", 1))
    elif kind == "usdt":
        names = tuple(name.split(":", 1))
    decorate: Callable[[F], F] = getattr(tracer, kind)(*names, **options)
    return decorate


@cache
def lack(place: str) -> str:
    """Why the running kernel has no such place, or it cannot be attached to; ``""`` if it can.

    :raises NotFoundError: there is no such kind of place.
    """
    kind, _, name = place.partition(":")
    if kind not in _LACKS:
        raise NotFoundError(f"there is no kind of place {kind!r}; there are {', '.join(_LACKS)}")
    try:
        return _LACKS[kind](name)
    except BpfError as error:
        return " ".join(str(error).split())


def _no_tracepoint(name: str) -> str:
    from pybpf.attach import tracepoint_fields
    from pybpf.sys import features

    lacking = features.probe("tracepoint")
    if not lacking:
        return lacking.detail
    name, _, wanted = name.partition("(")
    fields = tracepoint_fields(name)
    wanted = wanted.rstrip(")")
    return f"it has no field {wanted}" if wanted and all(field.name != wanted for field in fields) else ""


def _no_raw_tracepoint(name: str) -> str:
    from pybpf.btf import Btf
    from pybpf.sys import features
    from pybpf.sys.tracefs import tracefs

    lacking = features.probe("raw_tp")
    if not lacking:
        return lacking.detail
    if features.has("btf_vmlinux"):
        known = Btf.vmlinux().find("typedef", f"btf_trace_{name}") is not None
    else:
        with tracefs() as files:
            known = any(line.endswith(f":{name}") for line in files.read("available_events").split())
    return "" if known else f"there is no tracepoint {name}"


def _no_typed_tracepoint(name: str) -> str:
    from pybpf.sys import features

    lacking = features.probe("tp_btf")
    if not lacking:
        return lacking.detail
    name, _, wanted = name.partition("(")
    return _no_raw_tracepoint(name) or (_no_parameter(name, wanted.rstrip(")")) if wanted else "")


def _no_parameter(name: str, wanted: str) -> str:
    from pybpf.compiler.target import Target
    from pybpf.lang.probes.prototypes import raw_prototype

    known = raw_prototype(Target.host(), name)
    given = [] if known is None else [argument.name for argument in known.arguments]
    return "" if wanted in given else f"it has no parameter {wanted}"


def _no_kprobe(name: str) -> str:
    from pybpf.attach.kinds.kprobe import kernel_function_lack

    return kernel_function_lack(name)


def _no_fentry(name: str) -> str:
    from pybpf.btf import Btf
    from pybpf.sys import features

    lacking = features.probe("fentry")
    if not lacking:
        return lacking.detail
    return "" if Btf.vmlinux().find("func", name) is not None else f"there is no function {name}"


def _no_uprobe(name: str) -> str:
    from pybpf.symbols import ElfFile, find_binary

    binary, _, symbol = name.rpartition(":")
    found = find_binary(binary)
    with ElfFile(found.path) as elf:
        return "" if any(True for _ in elf.functions(symbol)) else f"{found.path} has no function {symbol}"


def _no_usdt(name: str) -> str:
    from pybpf.attach.kinds.usdt import find_usdt_places

    binary, _, probe = name.partition(":")
    find_usdt_places(binary, probe)
    return ""


_LACKS = MappingProxyType({
    "tracepoint": _no_tracepoint, "raw_tracepoint": _no_raw_tracepoint, "tp_btf": _no_typed_tracepoint,
    "kprobe": _no_kprobe, "kretprobe": _no_kprobe, "fentry": _no_fentry, "fexit": _no_fentry,
    "uprobe": _no_uprobe, "uretprobe": _no_uprobe, "usdt": _no_usdt,
})  # fmt: skip
