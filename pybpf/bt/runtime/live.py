"""What a script has in the kernel: maps, programs, links; made together or not at all, and taken back."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from pybpf.bt.state.maps import ScriptMap
from pybpf.errors import BpfError, VerifierError
from pybpf.prog import Program
from pybpf.sys.bpf import ProgType
from pybpf.sys.rcu import wait_for_programs

if TYPE_CHECKING:
    from pybpf.attach import IteratorLink
    from pybpf.attach.link import AnyLink
    from pybpf.bt.state.script import Built, Site
    from pybpf.bt.state.shared import Shared
    from pybpf.compiler.target import Target
    from pybpf.maps import Map

__all__ = ["Live", "run_once"]

#: bytes of the context that a raw tracepoint's program is run on: as many arguments as there can be
_CONTEXT = bytes(8 * 12)
#: programs that may run on for a moment when they have been detached
_RUN_ON = (ProgType.RAW_TRACEPOINT, ProgType.TRACING)


class Live:
    """A script in the kernel.

    :param missing: the setting ``missing_probes``; if it is not ``"error"``, what cannot be attached is left out.
    :ivar links: of what is attached.
    :ivar skipped: what was left out, and why.
    :ivar failed: what could not be loaded or attached.
    :ivar iterators: those of them that have not been read.
    """

    def __init__(self, shared: Shared, target: Target | None, missing: str = "error") -> None:
        self._shared = shared
        self._target = target
        self._maps: dict[int, Map] = {}  # by the identity of their owners
        self._owned = ExitStack()
        self._attached = ExitStack()
        self._special: list[tuple[Built, Program]] = []
        self._optional = missing != "error"
        self.skipped: list[tuple[Site, BpfError]] = []
        self.failed: Site | None = None
        self.links: list[AnyLink] = []
        self.iterators: list[IteratorLink] = []

    def start(self, built: Iterable[Built]) -> None:
        """Create all maps, load all programs, run ``begin``, attach.

        :raises BpfError: something fails; nothing stays.
        """
        try:
            loaded = self._load(list(built))
            if any(each.compiled.spec.type in _RUN_ON for each, _, _ in loaded):
                self._attached.callback(wait_for_programs)  # after the links: what programs still send is there then
            self._shared.began.set(_now())
            self.run("begin")
            for each, program, maps in loaded:
                attach = each.site.attach
                if attach is None:
                    continue
                link = None
                with self._trying(each.site):
                    link = attach.attach(program, each.compiled.spec, maps)
                if link is None:
                    continue
                self._attached.callback(link.close)
                self.links.append(link)
                if each.site.kind == "iter":
                    self._iterator(each, link)
            if self.skipped and not self.links and not self._special:
                self.failed, error = self.skipped[0]
                raise error
        except BaseException:
            self.close()
            raise

    def _load(self, built: list[Built]) -> list[tuple[Built, Program | None, dict[str, Map]]]:
        shared = self._shared
        events = shared.actions.events
        made = self._create(events.buffer(self._target).spec)
        self._maps[id(events.buffer(self._target))] = made
        events.bind(made, events.kind)
        self._owned.callback(events.close)
        for found in shared.maps.values():
            self._bound(found)
        loaded = []
        for each in built:
            maps = {name: self._map_for(each, name, spec) for name, spec in each.compiled.maps.items()}
            attach = each.site.attach
            count = len(self.skipped)
            with self._trying(each.site):
                program = (
                    Program.load(each.compiled.spec, maps) if attach is None else attach.load(each.compiled.spec, maps)
                )
            if len(self.skipped) > count:
                continue
            if program is not None:
                (self._attached if attach is not None else self._owned).callback(program.close)
            if attach is None:
                assert program is not None
                self._special.append((each, program))
            loaded.append((each, program, maps))
        return loaded

    @contextmanager
    def _trying(self, site: Site) -> Iterator[None]:
        """Note which probe cannot be loaded or attached; one that may be missing is left out."""
        try:
            yield
        except VerifierError as error:
            error.action = f"load {site.name}"
            raise
        except BpfError as error:
            if self._optional and site.attach is not None:
                self.skipped.append((site, error))
                return
            self.failed = site
            raise

    def _map_for(self, built: Built, name: str, spec: Any) -> Map:
        """A map that a program refers to; one that only it has (scratch memory) is made."""
        owner = built.owners.get(name)
        if owner is None:
            return self._create(spec)
        known = self._maps.get(id(owner))
        return self._bound(owner) if known is None else known

    def _bound(self, owner: ScriptMap | Any) -> Map:
        made = self._create(owner.spec)
        self._maps[id(owner)] = made
        owner.bind(made)
        if hasattr(owner, "close"):
            self._owned.callback(owner.close)
        return made

    def _create(self, spec: Any) -> Map:
        made: Map = spec.create()
        self._owned.callback(made.close)
        return made

    def run(self, kind: str) -> int:
        """Run the programs of a kind that is not attached: ``begin``, ``end``; returns how many there are."""
        programs = self.special(kind)
        for _, program in programs:
            run_once(program)
        return len(programs)

    def special(self, kind: str) -> list[tuple[str, Program]]:
        """The programs of a kind that is not attached, with the names of their probes."""
        sites = ((each.site, program) for each, program in self._special)
        return [(site.name, program) for site, program in sites if site.kind == kind]

    def _iterator(self, built: Built, link: Any) -> None:
        """What goes through the kernel's objects: it is pinned, or read when events are."""
        pin = built.site.pin
        if pin:
            link.pin(pin)
        else:
            self.iterators.append(link)

    def logs(self, built: Iterable[Built]) -> Iterator[tuple[str, str]]:
        """Load the programs, and let them go: the name of each probe and the whole log of the verifier."""
        events = self._shared.actions.events
        self._maps[id(events.buffer(self._target))] = self._create(events.buffer(self._target).spec)
        for found in self._shared.maps.values():
            self._bound(found)
        for each in built:
            maps = {name: self._map_for(each, name, spec) for name, spec in each.compiled.maps.items()}
            with self._trying(each.site), Program.load(each.compiled.spec, maps, log=1) as program:
                yield each.site.name, program.log

    def detach(self) -> None:
        """Detach and unload what is attached; maps, and what is run here, stay."""
        self._attached.close()

    def close(self) -> None:
        """Take everything out of the kernel; a second call does nothing."""
        try:
            self._attached.close()
        finally:
            self._owned.close()


def run_once(program: Program) -> int:
    """Run a program that is not attached; gives what it returns."""
    return program.test_run(ctx=_CONTEXT).retval


def _now() -> int:
    """The clock that ``elapsed`` counts by."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
