"""Places in the frame for spilled values: values that are never needed at the same time share one."""

from __future__ import annotations

from collections.abc import Iterable

from pybpf.compiler.liveness import live_out
from pybpf.compiler.machine import Copies, Item, MFunction, Spill

__all__ = ["places", "share_places"]


def share_places(function: MFunction) -> int:
    """Renumber the places in the frame; what is kept there and never needed is not kept any more.

    :returns: how many places are left.
    """
    clashes: dict[Spill, set[Spill]] = {}
    copied: dict[Spill, list[Spill]] = {}
    behind = live_out(function, places)
    for block in function.blocks:
        live = set(behind[block])
        for item in reversed(block.items):
            if isinstance(item, Copies):
                _collect(item, live, clashes, copied)
    numbers: dict[Spill, Spill] = {}
    for place, others in clashes.items():
        taken = {numbers[other] for other in others if other in numbers}
        wanted = [numbers[other] for other in copied.get(place, ()) if other in numbers]
        numbers[place] = next(each for each in (*wanted, *map(Spill, range(len(taken) + 1))) if each not in taken)
    for block in function.blocks:
        for item in block.items:
            if isinstance(item, Copies):
                item.set(
                    [
                        (
                            numbers[to] if isinstance(to, Spill) else to,
                            numbers[source] if isinstance(source, Spill) else source,
                        )
                        for to, source in item.pairs
                    ]
                )
    return len(set(numbers.values()))


def places(item: Item) -> tuple[Iterable[Spill], Iterable[Spill]]:
    """The places that an item reads, and those that it then writes."""
    if not isinstance(item, Copies):
        return (), ()
    return (
        [source for _, source in item.pairs if isinstance(source, Spill)],
        [place for place, _ in item.pairs if isinstance(place, Spill)],
    )


def _collect(
    item: Copies, live: set[Spill], clashes: dict[Spill, set[Spill]], copied: dict[Spill, list[Spill]]
) -> None:
    """Go backwards over copies: drop those to places that nobody needs, and note which places clash."""
    if any(isinstance(place, Spill) and place not in live for place, _ in item.pairs):
        item.set([pair for pair in item.pairs if not isinstance(pair[0], Spill) or pair[0] in live])
    for place, source in item.pairs:
        if not isinstance(place, Spill):
            continue
        mine = clashes.setdefault(place, set())
        for other in live:
            if other not in (place, source):
                mine.add(other)
                clashes.setdefault(other, set()).add(place)
        if isinstance(source, Spill):
            copied.setdefault(place, []).append(source)
            copied.setdefault(source, []).append(place)
    reads, writes = places(item)
    live.difference_update(writes)
    live.update(reads)
    for place in reads:
        clashes.setdefault(place, set())
