"""Copies that happen at once, turned into instructions that happen one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pybpf.compiler.frame import SpillFrame
from pybpf.compiler.machine import (
    REGISTERS,
    MInsn,
    Place,
    Recipe,
    Source,
    Spill,
    load_spill,
    materialise,
    move,
    store_spill,
)

__all__ = ["sequence"]


def sequence(pairs: Iterable[tuple[Place, Source]], busy: set[int], frame: SpillFrame) -> list[MInsn]:
    """The instructions of copies between registers of the machine and the frame.

    :param pairs: places, each once, and what is copied there.
    :param busy: registers that hold what is needed afterwards.
    :param frame: where places are; it is asked for spare ones where registers do not suffice.
    """
    computed: list[tuple[Place, Recipe]] = []
    moves: dict[Place, int | Spill] = {}
    for place, source in pairs:
        if isinstance(source, (int, Spill)):
            if place != source:
                moves[place] = source
        else:
            computed.append((place, source))
    places = {*moves, *(place for place, _ in computed)}
    sources = {source for source in moves.values() if isinstance(source, int)}
    writer = _Writer({reg for reg in busy if reg not in places}, sources, frame)
    writer.move_all(moves)
    for place, recipe in computed:
        writer.compute(place, recipe)
    return writer.made


class _Writer:
    """
    :ivar kept: registers that hold what is needed afterwards and stays there.
    :ivar taken: these, those whose value is still to be copied, and those that have been written.
    """

    def __init__(self, kept: set[int], sources: set[int], frame: SpillFrame) -> None:
        self.kept = kept
        self.taken = kept | sources
        self.frame = frame
        self.spares = 1  # the first one is for the register that is lent
        self.made: list[MInsn] = []

    def move_all(self, moves: dict[Place, int | Spill]) -> None:
        """Copy; a place is written as soon as nobody needs what it held."""
        readers: dict[Place, int] = {}
        for source in moves.values():
            readers[source] = readers.get(source, 0) + 1
        ready = [place for place in moves if not readers.get(place)]
        while moves:
            if not ready:
                place = next(iter(moves))
                away = self.put_away(place)
                # whoever needs what the place held finds it elsewhere
                for other, source in moves.items():
                    if source == place:
                        moves[other] = away
                readers[away] = readers.pop(place)
                ready.append(place)
            place = ready.pop()
            source = moves.pop(place)
            self.copy(place, source)
            readers[source] -= 1
            if not readers[source]:
                if isinstance(source, int) and source not in self.kept:
                    self.taken.discard(source)
                if source in moves:
                    ready.append(source)

    def put_away(self, place: Place) -> Place:
        """Keep what a place holds, in a free register or in the frame."""
        free = self.free()
        away: Place
        if free is None:
            away = self.frame.spare(self.spares)
            self.spares += 1
        else:
            away = free
        self.copy(away, place)
        return away

    def free(self) -> int | None:
        return next((reg for reg in REGISTERS if reg not in self.taken), None)

    def copy(self, place: Place, source: Place) -> None:
        if isinstance(place, int):
            self.taken.add(place)
            if isinstance(source, int):
                self.made.append(move(place, source))
            else:
                self.made.append(load_spill(place, self.frame.offset(source)))
        elif isinstance(source, int):
            self.made.append(store_spill(self.frame.offset(place), source))
        else:
            self.through_register(place, lambda reg: [load_spill(reg, self.frame.offset(source))])

    def compute(self, place: Place, recipe: Recipe) -> None:
        if isinstance(place, int):
            self.taken.add(place)
            self.made += materialise(place, recipe)
        else:
            self.through_register(place, lambda reg: materialise(reg, recipe))

    def through_register(self, place: Spill, get: Callable[[int], list[MInsn]]) -> None:
        """Fill a place in the frame; where no register is free, one, which then holds a value, is lent for it."""
        reg = self.free()
        if reg is not None:
            self.made += [*get(reg), store_spill(self.frame.offset(place), reg)]
            return
        lent, kept = REGISTERS[0], self.frame.spare(0)
        self.made.append(store_spill(self.frame.offset(kept), lent))
        self.made += [*get(lent), store_spill(self.frame.offset(place), lent)]
        self.made.append(load_spill(lent, self.frame.offset(kept)))
