"""What is traced, before it is compiled: ``Probe``, pure data, and the one table of kinds of probes."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pybpf.lang.probes.alone import runs_alone
from pybpf.lang.values.constants import Const
from pybpf.record import NamedTuple, dataclass, field, replace
from pybpf.sys.bpf import AttachType, ProgType

if TYPE_CHECKING:
    from pybpf.attach.kinds.usdt import UsdtPlace
    from pybpf.compiler.ir import Counter, Operand
    from pybpf.compiler.target import Target
    from pybpf.lang.front.gen import Gen
    from pybpf.lang.state.counts import Counts
    from pybpf.lang.values.val import Val

__all__ = ["PROBES", "Param", "Probe", "ProbeKind"]


class Param(NamedTuple):
    """A parameter of a probe function."""

    name: str
    annotation: Any  #: the object that its annotation means, or None
    node: ast.AST  #: where errors point


class ProbeKind(NamedTuple):
    """A row of the table."""

    name: str
    text: str  #: what it is, for people
    type: ProgType
    params: str  #: how parameters bind: a key of :data:`pybpf.lang.probes.params.BINDINGS`
    expected: AttachType = AttachType.NONE
    bound: bool = False  #: the program is bound to its target when it is loaded (``attach_btf``)
    typed: bool = False  #: pointers in the context are typed: the verifier lets the program follow them by itself
    returns: bool = False  #: what the function returns means something; of all others it is 0


def _table(*rows: ProbeKind) -> Mapping[str, ProbeKind]:
    return MappingProxyType({row.name: row for row in rows})


_TRACING = ProgType.TRACING

#: Kind of probe -> row. :class:`pybpf.Tracer` has a method of each name.
PROBES = _table(
    ProbeKind("tracepoint", "a tracepoint's record", ProgType.TRACEPOINT, "record"),
    ProbeKind("raw_tracepoint", "a tracepoint's own arguments", ProgType.RAW_TRACEPOINT, "raw"),
    ProbeKind("tp_btf", "the same, typed by BTF", _TRACING, "raw", AttachType.TRACE_RAW_TP, bound=True, typed=True),
    ProbeKind("kprobe", "a kernel function, or an instruction of it", ProgType.KPROBE, "registers"),
    ProbeKind("kretprobe", "the return of a kernel function", ProgType.KPROBE, "result"),
    ProbeKind("fentry", "a kernel function, by trampoline", _TRACING, "function", AttachType.TRACE_FENTRY, bound=True,
              typed=True),
    ProbeKind("fexit", "the return of a kernel function, by trampoline", _TRACING, "function", AttachType.TRACE_FEXIT,
              bound=True, typed=True),
    ProbeKind("fmod_ret", "instead of a kernel function", _TRACING, "function", AttachType.MODIFY_RETURN, bound=True,
              typed=True, returns=True),
    ProbeKind("iterator", "each object of a kind", _TRACING, "iterator", AttachType.TRACE_ITER, bound=True, typed=True,
              returns=True),
    ProbeKind("uprobe", "a function of a program or library", ProgType.KPROBE, "positions"),
    ProbeKind("uretprobe", "the return of such a function", ProgType.KPROBE, "result"),
    ProbeKind("usdt", "a place that a program itself prepares", ProgType.KPROBE, "usdt"),
    ProbeKind("perf_event", "a perf event, each so many times", ProgType.PERF_EVENT, "nothing"),
    ProbeKind("profile", "samples by a timer on every CPU", ProgType.PERF_EVENT, "nothing"),
    ProbeKind("interval", "at intervals on one CPU", ProgType.PERF_EVENT, "nothing"),
    ProbeKind("syscall", "run by the tracer itself, for tests", ProgType.SYSCALL, "nothing", returns=True),
)  # fmt: skip

#: Kind -> the typed kind that is taken instead where the kernel has it, and its types know the target.
_TYPED = MappingProxyType({"raw_tracepoint": "tp_btf"})


@dataclass(frozen=True)
class Probe:
    """What a probe function is attached to.

    :param kind: a key of :data:`PROBES`.
    :param name: ``"system:event"`` of a tracepoint; the function of a kprobe, fentry or uprobe; the tracepoint of a raw
        one; ``"provider:name"`` of USDT; the kind of objects of an iterator; the event of a perf event.
    :param binary: the program or library of a uprobe or USDT probe.
    :param options: what else attaching takes: ``pid``, ``hz``, ``cookie``, ... Compiling looks at ``pid`` and
        ``places`` of USDT probes.
    :raises KeyError: there is no such kind.
    """

    kind: str
    name: str = ""
    binary: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def row(self) -> ProbeKind:
        """Its row of the table."""
        return PROBES[self.kind]

    @property
    def title(self) -> str:
        """What messages call it: ``"kprobe:tcp_connect"``, ``"uprobe:libc.so.6:malloc"``."""
        return ":".join(part for part in (self.kind, self.binary, self.name) if part)

    @property
    def type(self) -> ProgType:
        """The type of program."""
        return self.row.type

    @property
    def expected_attach_type(self) -> AttachType:
        """What the program says at its loading that it will be attached to."""
        return self.row.expected

    @property
    def attach_btf(self) -> str | None:
        """The function, tracepoint or iterator that the program is bound to when it is loaded."""
        return self.name if self.row.bound else None

    def chosen(self, target: Target) -> Probe:
        """This probe, or the typed one of the same place where the target has that."""
        better = _TYPED.get(self.kind)
        if better is None or not target.has(better):
            return self
        types = target.types()
        if types is None or types.find("typedef", f"btf_trace_{self.name}") is None:
            return self
        return replace(self, kind=better)

    def alone(self, target: Target) -> bool:
        """Whether no other probe of its kind begins on a CPU where it runs: what is the CPU's own needs no atomics."""
        return runs_alone(self.kind, target)

    def owns(self, counts: Counts) -> bool:
        """Whether it may use maps and events whose counters are among these: those of its tracer, if it has one."""
        return True

    def skipped(self, gen: Gen) -> Counter | None:
        """What counts the runs that found no memory for large values."""
        return None

    def count_cut(self, gen: Gen) -> None:
        """Compile what counts a loop that was cut."""

    def places(self) -> Sequence[UsdtPlace]:
        """Where a USDT probe is: the option ``places``, or as found now; what is attached must be the same.

        :raises NotFoundError, BpfError: as :func:`pybpf.attach.usdt`.
        """
        found = self.options.get("places")
        if found is None:
            from pybpf.attach.kinds.usdt import find_usdt_places

            found = find_usdt_places(self.binary, self.name, pid=self.options.get("pid"))
        places: Sequence[UsdtPlace] = found
        return places

    def split(self, target: Target) -> list[Probe]:
        """The probes to compile and attach: mostly this one alone.

        Of a USDT probe whose sites have their arguments in different places, one for each way where the target has no
        cookies to tell them apart. The places of a USDT probe are settled by this.
        """
        chosen = self.chosen(target)
        if self.kind != "usdt":
            return [chosen]
        from pybpf.lang.probes.usdt import site_groups

        places = self.places()
        if target.has_helper(self.type, "get_attach_cookie"):
            return [self._at(places)]
        return [self._at([places[index] for index in indices]) for _, indices in site_groups(places)]

    def _at(self, places: Sequence[UsdtPlace]) -> Probe:
        return replace(self, options={**self.options, "places": tuple(places)})

    def bind(self, gen: Gen, params: Sequence[Param]) -> list[Val]:
        """The value of each parameter of the probe function, read from the context; at the program's start.

        :raises CompileError: a parameter that the probe does not have, or one whose type must be said.
        """
        from pybpf.lang.probes.params import BINDINGS

        return BINDINGS[self.row.params](gen, self, params)

    def result(self, gen: Gen, value: Val, at: ast.AST) -> Operand:
        """What the program returns where the function returns a value: 0 for None, and where it means nothing.

        :raises CompileError: it is no integer.
        """
        if isinstance(value, Const) and value.value is None:
            return 0
        result = value.scalar(gen, getattr(at, "value", None) or at)
        return result if self.row.returns else 0
