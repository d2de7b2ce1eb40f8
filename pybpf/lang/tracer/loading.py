"""From the probes of a tracer to programs that run: compile, create maps, load, attach; and back, in every case."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any

from pybpf.attach.link import AnyLink
from pybpf.compiler.compiled import Compiled
from pybpf.compiler.pipeline import compile_unit
from pybpf.compiler.target import Target
from pybpf.errors import BpfError
from pybpf.lang.builtins.stacks import bound
from pybpf.lang.front.compile import compile_probe
from pybpf.lang.probes.probe import Probe
from pybpf.lang.state.maps import TracerMap
from pybpf.lang.state.output import Events
from pybpf.lang.state.stacks import Stacks
from pybpf.lang.tracer.attaching import Attach, by_spec
from pybpf.lang.tracer.declare import Declared
from pybpf.lang.tracer.rejected import in_python
from pybpf.lang.tracer.session import Session, TracedProbe
from pybpf.maps import Map, MapSpec
from pybpf.record import NamedTuple, replace
from pybpf.sys.bpf import ProgType
from pybpf.sys.rcu import wait_for_programs

__all__ = ["Built", "Live", "build"]

#: programs that may run on for a moment when they have been detached
_RUN_ON = (ProgType.RAW_TRACEPOINT, ProgType.TRACING)


class Built(NamedTuple):
    """A compiled probe."""

    declared: Declared
    probe: Probe
    compiled: Compiled
    owners: Mapping[str, Any]
    """Name of a map in the program -> the object of the tracer that it stands for."""


def build(declared: Declared, target: Target, *, stages: bool = False) -> list[Built]:
    """Compile a probe: one program, or one for each way in which the sites of a USDT probe have their arguments.

    :param stages: keep the text of each stage.
    :raises CompileError: it cannot be compiled.
    """
    probes = declared.probe.split(target)
    if len(probes) == 1:
        return [_built(declared, probes[0], target, stages)]
    return [_built(declared._replace(attach=_at_places(probe)), probe, target, stages) for probe in probes]


def _at_places(probe: Probe) -> Attach:
    """Attaches to the sites that a USDT probe was compiled for."""
    from pybpf.attach.kinds.usdt import attach_usdt

    places, pid = probe.places(), probe.options.get("pid")
    return by_spec(lambda spec, maps: attach_usdt(spec, places, maps=maps, pid=pid))


def _built(declared: Declared, probe: Probe, target: Target, stages: bool) -> Built:
    assert isinstance(probe, TracedProbe)
    unit = compile_probe(declared.function, probe, target, source=declared.source)
    return Built(declared, probe, compile_unit(unit, target, stages=stages), dict(unit.owners))


class Live:
    """What a tracer has in the kernel.

    :param session: of the tracer.
    :ivar links: probe function -> its links.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._maps: dict[int, Map] = {}  # by the identity of their owners
        self._owners: dict[int, Any] = {}  # of maps that are made when a program refers to them
        self._owned = ExitStack()  # maps and readers
        self._attached = ExitStack()  # programs, then links
        self.links: dict[Callable[..., Any], list[AnyLink]] = {}
        self._sends = False

    def start(
        self,
        built: Iterable[Built],
        parts: Iterable[Any],
        target: Target,
        progress: Callable[[int, int], object] | None = None,
    ) -> None:
        """Create all maps, load all programs, then attach them in their order.

        Where something fails nothing stays.

        :param parts: the tracer's maps and event streams.
        :param progress: is told of each probe that is attached: its number, and how many there are.
        """
        session = self._session
        try:
            for part in parts:
                self._make(part, part.buffer(target) if isinstance(part, Events) else part)
            if session.prints.used:
                self._make(session.prints.events, session.prints.events.buffer(target))
            self._owners = {id(each): each for each in (session.counts, session.stacks)}
            loaded = []
            for each in built:
                maps = {name: self._map_for(each, name, spec) for name, spec in each.compiled.maps.items()}
                with in_python(target):
                    program = each.declared.attach.load(each.compiled.spec, maps)
                if program is not None:
                    self._attached.callback(program.close)
                loaded.append((each, program, maps))
            if self._sends and any(each.compiled.spec.type in _RUN_ON for each, _, _ in loaded):
                self._attached.callback(wait_for_programs)  # after the links: what programs still send is there then
            for number, (each, program, maps) in enumerate(loaded, 1):
                if progress is not None:
                    progress(number, len(loaded))
                with in_python(target):
                    link = each.declared.attach.attach(program, each.compiled.spec, maps)
                self._attached.callback(link.close)
                self.links.setdefault(each.declared.function, []).append(link)
            for pid in session.filters.pids if session.stacks.map is not None else ():
                session.stacks.saw(pid)
        except BaseException:
            self.close()
            raise

    def _make(self, part: Any, owner: Any) -> Map:
        """Create the map of a part, which ``owner`` stands for in programs."""
        spec = _with_stacks(owner.spec, self._session.stacks)
        made = owner.create(spec) if isinstance(owner, TracerMap) else spec.create()
        self._owned.callback(made.close)
        self._maps[id(owner)] = made
        if isinstance(part, Events):
            self._sends = True
            kind: Any = part.kind
            part.bind(made, self._session.stacks.reader_of(kind) if isinstance(kind, type) else kind)
        else:
            part.bind(made)
        if hasattr(part, "close"):
            self._owned.callback(part.close)
        return made

    def _map_for(self, built: Built, name: str, spec: MapSpec) -> Map:
        """A map that a program refers to; one that only it has (scratch memory) is made."""
        owner = built.owners.get(name)
        if owner is None:
            made = spec.create()
            self._owned.callback(made.close)
            return made
        if id(owner) in self._maps:
            return self._maps[id(owner)]
        if id(owner) not in self._owners:
            what = f"{type(owner).__name__} {name!r}"
            raise BpfError(f"cannot load the probe {built.compiled.spec.name}: {what} belongs to another tracer")
        return self._make(owner, owner)

    def detach(self) -> None:
        """Detach and unload all programs; maps stay."""
        self._attached.close()

    def close(self) -> None:
        """Detach, and close the maps; a second call does nothing."""
        try:
            self._attached.close()
        finally:
            self._owned.close()


def _with_stacks(spec: MapSpec, stacks: Stacks) -> MapSpec:
    """The map, its keys and values being of types that can name the frames of stacks."""
    key, value = bound(spec.key, stacks), bound(spec.value, stacks)
    return spec if key is spec.key and value is spec.value else replace(spec, key=key, value=value)
