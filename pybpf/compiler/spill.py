"""Move virtual registers to the frame: rewrite a function so that they are loaded and stored where they are used."""

from __future__ import annotations

from collections import Counter

from pybpf.compiler.machine import (
    Copies,
    Item,
    MBlock,
    MFunction,
    MInsn,
    Place,
    Recipe,
    Source,
    Spill,
    materialise,
)

__all__ = ["Spiller"]


class Spiller:
    """What has been moved to the frame so far.

    A value that is moved for the first time is loaded once and used up to the next call, also in blocks that only this
    one leads to: what a comparison says of a register, verifiers before Linux 5.11 do not know of another one that was
    loaded from the same place. When that is still too much, it is loaded for every use.

    :ivar reloaded: registers that hold what is in the frame, for a while.
    :ivar short: registers that live for one instruction: they cannot be moved.
    """

    def __init__(self, function: MFunction) -> None:
        self.function = function
        self.home: dict[int, Spill] = {}
        self.reloaded: set[int] = set()
        self.short: set[int] = set()

    def spill(self, groups: list[list[int]]) -> None:
        """Move groups of registers, each of which has been merged into one, to the frame."""
        homes: dict[int, Spill | Recipe] = {}
        eager: set[int] = set()
        for group in groups:
            recipe = self.function.recipes.get(group[0]) if len(group) == 1 else None
            home = recipe or self.home.get(group[0])
            if home is None:
                home = Spill(self.function.spills)
                self.function.spills += 1
                eager.update(group)
            homes.update(dict.fromkeys(group, home))
        predecessors = Counter(after for block in self.function.blocks for after in block.successors)
        held: dict[MBlock, dict[Spill, int]] = {}
        for block in self.function.blocks:
            rewriter = _Rewriter(self, homes, eager, held.get(block, {}))
            rewriter.rewrite(block)
            held.update((after, rewriter.held) for after in block.successors if predecessors[after] == 1)

    def temporary(self, home: Spill | Recipe, short: bool) -> int:
        """A register for a value that is elsewhere."""
        reg = self.function.new()
        self.reloaded.add(reg)
        if short:
            self.short.add(reg)
        elif isinstance(home, Spill):
            self.home[reg] = home
        return reg


class _Rewriter:
    def __init__(
        self, spiller: Spiller, homes: dict[int, Spill | Recipe], eager: set[int], held: dict[Spill, int]
    ) -> None:
        self.spiller = spiller
        self.homes = homes
        self.eager = eager
        self.items: list[Item] = []
        #: place in the frame -> register that holds the same here
        self.held = dict(held)

    def rewrite(self, block: MBlock) -> None:
        homes = self.homes
        for item in block.items:
            if isinstance(item, Copies):
                self.copies(item)
            elif any(reg in homes for reg in item.reads) or any(reg in homes for reg in item.writes):
                self.insn(item)
            else:
                self.items.append(item)
            if item.is_call:
                self.held.clear()
        block.items, self.items = self.items, []

    def copies(self, item: Copies) -> None:
        """Copies know the frame: no register is needed."""
        pairs: list[tuple[Place, Source]] = []
        held: dict[Spill, int] = {}
        for place, source in item.pairs:
            home = self.homes.get(place) if isinstance(place, int) else None
            origin = self.homes.get(source) if isinstance(source, int) else None
            if home is not None and (home == origin or not isinstance(home, Spill)):
                continue  # it is there already, or computed where it is used
            if origin is not None:
                source = self.held.get(origin, origin) if isinstance(origin, Spill) else origin
            if isinstance(home, Spill):
                if place in self.eager and isinstance(source, int):
                    held[home] = self.spiller.temporary(home, short=False)
                    pairs.append((held[home], source))
                place = home
            pairs.append((place, source))
        for place, _ in pairs:
            if isinstance(place, Spill):
                self.held.pop(place, None)
        self.held.update(held)
        item.set(pairs)
        if item.pairs:
            self.items.append(item)

    def insn(self, item: MInsn) -> None:
        behind: list[Item] = []
        for reg in dict.fromkeys(item.reads + item.writes):
            if reg not in self.homes:
                continue
            home = self.homes[reg]
            if not isinstance(home, Spill) and reg in item.writes and reg not in item.reads:
                return  # it was computed here; it is now where it is used
            temporary = self.use(item, reg, home)
            if reg in item.writes and isinstance(home, Spill):
                behind.append(_at(item, Copies([(home, temporary)])))
            item.rename(reg, temporary)
        self.items.append(item)
        self.items += behind

    def use(self, item: MInsn, reg: int, home: Spill | Recipe) -> int:
        """The register that takes the place of one that is elsewhere now, loaded if need be."""
        eager = reg in self.eager and isinstance(home, Spill)
        if isinstance(home, Spill) and eager and home in self.held:
            return self.held[home]
        temporary = self.spiller.temporary(home, not eager)
        if reg in item.reads:
            if isinstance(home, Spill):
                self.items.append(_at(item, Copies([(temporary, home)])))
            else:
                self.items += [_at(item, each) for each in materialise(temporary, home)]
        if eager and isinstance(home, Spill):
            self.held[home] = temporary
        return temporary


def _at(near: MInsn, item: Item) -> Item:
    """Give an item the source line of another."""
    item.line = near.line
    return item
