"""The decorators of a tracer: each says what a function is attached to, and leaves the function as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, Union

from pybpf import attach
from pybpf.attach.many import is_pattern
from pybpf.compiler.target import Target
from pybpf.errors import BpfError, PackError
from pybpf.lang.probes.probe import Probe
from pybpf.lang.probes.records import tracepoints_named
from pybpf.lang.tracer.attaching import AtPlace, Attach, at_one, by_spec, tracepoints
from pybpf.lang.tracer.given import check_options, check_seconds
from pybpf.lang.tracer.session import Session, TracedProbe
from pybpf.prog import Program
from pybpf.record import NamedTuple

__all__ = ["Declared", "Declares"]

F = TypeVar("F", bound=Callable[..., Any])
Names = Union[str, Sequence[str]]


class Declared(NamedTuple):
    """A probe of a tracer."""

    function: Callable[..., Any]
    probe: Probe
    attach: Attach
    source: str | None
    """Of the function, where it has no file."""


class Declares:
    """What a :class:`~pybpf.Tracer` has a decorator for. All of them share these parameters:

    ``cookie``: what ``cookie()`` gives in the probe, which tells places apart that share a function (Linux 5.15).
    ``source``: the source text of the function, where Python has none (``exec``, interactive sessions).
    ``everyone``: the tracer's filters do not count: for probes where whoever happens to run says nothing of the event,
    such as the end of a disk's request.
    ``cookies``: with a list of names, a number for each of them, which ``cookie()`` gives there (Linux 5.15).
    ``skip_failures``: with patterns or lists, leave out what cannot be probed, which ``failures`` of the link has.

    Nothing is compiled before the tracer is attached; so what a function refers to may be defined after it.
    """

    session: Session
    declared: list[Declared]

    def _declare(
        self,
        kind: str,
        name: str,
        how: Attach,
        source: str | None,
        binary: str | None = None,
        everyone: bool = False,
        **options: Any,
    ) -> Callable[[F], F]:
        given = {key: value for key, value in options.items() if value is not None}
        probe = TracedProbe(kind, name, binary, given, self.session, everyone)

        if not isinstance(name, str) or not isinstance(binary, (str, type(None))):
            raise BpfError(f"cannot trace {kind} {name if binary is None else binary!r}: a name is a str")

        def decorate(function: F) -> F:
            if not callable(function):
                raise BpfError(f"cannot make a probe of {function!r:.60}: @tracer.{kind}(...) decorates a function")
            self._add(Declared(function, probe, how, source))
            return function

        return decorate

    def _add(self, declared: Declared) -> None:
        raise NotImplementedError

    # the kernel

    def tracepoint(
        self,
        name: Names,
        *,
        cookie: int | None = None,
        cookies: Sequence[int] | None = None,
        everyone: bool = False,
        source: str | None = None,
    ) -> Callable[[F], F]:
        """At a tracepoint, ``"system:event"``. The parameter has the fields of its record: ``args.filename``.

        :param name: also a pattern (``"syscalls:sys_enter_*"``) or a list of names: at all of them, with the fields
            that all of them have. The kernel takes some 0.04 s to detach each: for every system call of a
            process ``raw_syscalls:sys_enter`` is better.
        """
        check_options("tracepoint", locals())
        if not _is_many(name, "tracepoint"):
            how = at_one(lambda program: attach.tracepoint(program, str(name), cookie=cookie))
            return self._declare("tracepoint", str(name), how, source, everyone=everyone, cookie=cookie)
        title = f"tracepoint:{_one(name)}"

        def run(program: Program) -> attach.MultiLink:
            return tracepoints(program, tracepoints_named(name, Target.host()), title, cookie, cookies)

        how = at_one(run)
        return self._declare("tracepoint", _one(name), how, source, everyone=everyone, cookie=cookie, names=name)

    def raw_tracepoint(
        self, name: str, *, cookie: int | None = None, everyone: bool = False, source: str | None = None
    ) -> Callable[[F], F]:
        """At a tracepoint, with its own arguments, by name, typed from the kernel's BTF: ``"sched_switch"``."""
        check_options("raw_tracepoint", locals())

        def run(program: Program) -> attach.Link:
            if program.spec is not None and program.spec.attach_btf is not None:
                return attach.btf_tracepoint(program, cookie=cookie)
            return attach.raw_tracepoint(program, name, cookie=cookie)

        return self._declare("raw_tracepoint", name, at_one(run), source, everyone=everyone, cookie=cookie)

    def kprobe(
        self,
        function: Names,
        *,
        offset: int = 0,
        cookie: int | None = None,
        cookies: Sequence[int] | None = None,
        skip_failures: bool = False,
        everyone: bool = False,
        source: str | None = None,
    ) -> Callable[[F], F]:
        """At the entry of a function of the kernel; parameters bind by name, or by position where there are no types.

        :param function: ``"name"``, ``"module:name"``; patterns (``"tcp_*"``) or a list of names: at all of them.
        :param offset: at an instruction so many bytes inside the function.
        """
        check_options("kprobe", locals())
        if _is_many(function, "kprobe"):
            _refuse_with_many("kprobe", function, offset=offset, cookie=cookie)
            how = by_spec(
                lambda spec, maps: attach.kprobes(
                    spec, function, maps=maps, cookies=cookies, skip_failures=skip_failures
                )
            )
        else:
            how = at_one(lambda program: attach.kprobe(program, str(function), offset=offset, cookie=cookie))
        name = _one(function)
        return self._declare("kprobe", name, how, source, everyone=everyone, cookie=cookie, offset=offset or None)

    def kretprobe(
        self,
        function: Names,
        *,
        cookie: int | None = None,
        cookies: Sequence[int] | None = None,
        skip_failures: bool = False,
        everyone: bool = False,
        source: str | None = None,
    ) -> Callable[[F], F]:
        """At the return of a function of the kernel; its one parameter is what the function returns."""
        check_options("kretprobe", locals())
        if _is_many(function, "kretprobe"):
            _refuse_with_many("kretprobe", function, cookie=cookie)
            how = by_spec(
                lambda spec, maps: attach.kprobes(
                    spec, function, maps=maps, ret=True, cookies=cookies, skip_failures=skip_failures
                )
            )
        else:
            how = at_one(lambda program: attach.kretprobe(program, str(function), cookie=cookie))
        return self._declare("kretprobe", _one(function), how, source, everyone=everyone, cookie=cookie)

    def fentry(
        self, function: str, *, cookie: int | None = None, everyone: bool = False, source: str | None = None
    ) -> Callable[[F], F]:
        """At the entry of a function of the kernel, by trampoline: cheaper than a kprobe, and typed (Linux 5.5)."""
        check_options("fentry", locals())
        how = at_one(lambda program: attach.fentry(program, cookie=cookie))
        return self._declare("fentry", function, how, source, everyone=everyone, cookie=cookie)

    def fexit(
        self, function: str, *, cookie: int | None = None, everyone: bool = False, source: str | None = None
    ) -> Callable[[F], F]:
        """At the return of a function of the kernel, by trampoline; has its parameters, and ``ret``."""
        check_options("fexit", locals())
        how = at_one(lambda program: attach.fexit(program, cookie=cookie))
        return self._declare("fexit", function, how, source, everyone=everyone, cookie=cookie)

    def fmod_ret(self, function: str, *, cookie: int | None = None, source: str | None = None) -> Callable[[F], F]:
        """Instead of a function of the kernel that allows it: what the probe returns, if not 0, is its result."""
        check_options("fmod_ret", locals())
        how = at_one(lambda program: attach.fmod_ret(program, cookie=cookie))
        return self._declare("fmod_ret", function, how, source, cookie=cookie)

    def iterator(self, kind: str, *, source: str | None = None) -> Callable[[F], F]:
        """For each object of a kind (``"task"``, ``"tcp"``, ...), once over all of them whenever its link is read:
        ``tracer.links(function)[0].read()``. What the probe sent or counted is there then.
        """
        check_options("iterator", locals())
        if not isinstance(kind, str):
            raise BpfError(f"cannot iterate {kind!r:.60}: name a kind, \"task\", say; 'pybpf list' shows them")
        filters = self.session.filters
        pid, tid = (filters.pid, filters.tid) if kind.startswith("task") else (None, None)
        if isinstance(pid, tuple) or isinstance(tid, tuple):
            raise BpfError(f"cannot iterate {kind} of several processes: the kernel takes one, or all")
        how = at_one(lambda program: attach.iterator(program, pid=pid, tid=tid))
        return self._declare("iterator", kind, how, source)

    # processes

    def uprobe(
        self,
        binary: str | None,
        symbol: Names | None = None,
        *,
        offset: int = 0,
        address: int | None = None,
        pid: int | None = None,
        cookie: int | None = None,
        cookies: Sequence[int] | None = None,
        skip_failures: bool = False,
        source: str | None = None,
    ) -> Callable[[F], F]:
        """At a function of a program or library; parameters are positional and annotated: ``def malloc(size: u64)``.

        :param binary: a path, a program on PATH, a library (``"libc.so.6"``); None: the program that ``pid`` runs.
        :param symbol: the function; patterns (``"SSL_*"``) or a list of names: all of them.
        :param offset: at an instruction so many bytes inside the function.
        :param address: instead of ``symbol``: an address as ``nm`` prints it.
        :param pid: only in this process; by default in that of the tracer's filter.
        """
        check_options("uprobe", locals())
        pid = self.session.filters.one_pid if pid is None else pid
        if symbol is not None and _is_many(symbol, "uprobe"):
            names = symbol
            _refuse_with_many("uprobe", names, offset=offset, address=address, cookie=cookie)
            how: Attach = by_spec(
                lambda spec, maps: attach.uprobes(
                    spec, binary, names, maps=maps, pid=pid, cookies=cookies, skip_failures=skip_failures
                )
            )
        else:
            one = None if symbol is None else str(symbol)
            how = AtPlace(binary, one, offset=offset, address=address, pid=pid, cookie=cookie)
        name = hex(address or 0) if symbol is None else _one(symbol)
        return self._declare("uprobe", name, how, source, binary, pid=pid, cookie=cookie)

    def uretprobe(
        self,
        binary: str | None,
        symbol: Names | None = None,
        *,
        address: int | None = None,
        pid: int | None = None,
        cookie: int | None = None,
        cookies: Sequence[int] | None = None,
        skip_failures: bool = False,
        source: str | None = None,
    ) -> Callable[[F], F]:
        """At the return of a function of a program or library; the one parameter is its result, annotated."""
        check_options("uretprobe", locals())
        pid = self.session.filters.one_pid if pid is None else pid
        if symbol is not None and _is_many(symbol, "uretprobe"):
            names = symbol
            _refuse_with_many("uretprobe", names, address=address, cookie=cookie)
            how: Attach = by_spec(
                lambda spec, maps: attach.uprobes(
                    spec, binary, names, maps=maps, ret=True, pid=pid, cookies=cookies, skip_failures=skip_failures
                )
            )
        else:
            one = None if symbol is None else str(symbol)
            how = AtPlace(binary, one, address=address, ret=True, pid=pid, cookie=cookie)
        name = hex(address or 0) if symbol is None else _one(symbol)
        return self._declare("uretprobe", name, how, source, binary, pid=pid, cookie=cookie)

    def usdt(
        self, binary: str | None, probe: str, *, pid: int | None = None, source: str | None = None
    ) -> Callable[[F], F]:
        """At a probe that a program or library itself has (``"provider:name"``); parameters are its arguments."""
        check_options("usdt", locals())
        pid = self.session.filters.one_pid if pid is None else pid
        how = by_spec(lambda spec, maps: attach.usdt(spec, binary, probe, maps=maps, pid=pid))
        return self._declare("usdt", probe, how, source, binary, pid=pid)

    # time and counters

    def profile(self, hz: int = 99, *, cpu: int | None = None, source: str | None = None) -> Callable[[F], F]:
        """``hz`` times a second on each CPU, by the CPU's own clock: what runs there is sampled.

        :param cpu: only on this CPU.
        """
        check_options("profile", locals())
        pid = self.session.filters.one_pid
        how = at_one(lambda program: attach.perf_event(program, "cpu-clock", frequency=hz, pid=pid, cpu=cpu))
        return self._declare("profile", f"{hz}Hz", how, source)

    def interval(self, seconds: float, *, cpu: int | None = None, source: str | None = None) -> Callable[[F], F]:
        """Every so many seconds, on one CPU; the tracer's filters do not count here."""
        check_options("interval", locals())
        check_seconds("seconds", seconds, 1e-5)
        how = at_one(lambda program: attach.interval(program, round(seconds * 1e9), cpu=cpu))
        return self._declare("interval", f"{seconds}s", how, source)

    def perf_event(
        self,
        event: str,
        *,
        period: int | None = None,
        frequency: int | None = None,
        cpu: int | None = None,
        cookie: int | None = None,
        source: str | None = None,
    ) -> Callable[[F], F]:
        """At every ``period``-th event of a kind, or ``frequency`` times a second.

        :param event: of the kernel (``"page-faults"``, ``"context-switches"``) or the processor (``"cpu-cycles"``).
        :param cpu: only on this CPU.
        """
        check_options("perf_event", locals())
        if (period is None) is (frequency is None):
            raise PackError("@tracer.perf_event takes period= (every so many events) or frequency= (times a second)")
        pid = self.session.filters.one_pid

        def run(program: Program) -> attach.MultiLink:
            return attach.perf_event(
                program, event, period=period, frequency=frequency, pid=pid, cpu=cpu, cookie=cookie
            )

        return self._declare("perf_event", event, at_one(run), source, cookie=cookie)


def _is_many(names: Names, kind: str) -> bool:
    given = [names] if isinstance(names, str) else names
    if not isinstance(given, (list, tuple)) or not given or not all(isinstance(each, str) and each for each in given):
        wrong = f"@tracer.{kind}: {names!r:.60} names nothing to trace"
        raise BpfError(f"{wrong}: give its name, a pattern, or a list of names")
    return not isinstance(names, str) or is_pattern(names)


def _one(names: Names) -> str:
    return names if isinstance(names, str) else ", ".join(names)


def _refuse_with_many(kind: str, names: Names, **options: Any) -> None:
    for name, value in options.items():
        if value:
            raise BpfError(f"cannot attach to {kind}:{_one(names)}: {name}= is for one function, not for several")
