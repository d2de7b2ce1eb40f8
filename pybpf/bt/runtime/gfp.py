"""Flags of the kernel's page allocator as words: those of ``%gr``, as its own tracepoints write them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

__all__ = ["flags_text"]

_RECLAIM = ("DIRECT_RECLAIM", "KSWAPD_RECLAIM")
_KERNEL = (*_RECLAIM, "IO", "FS")
_USER = (*_KERNEL, "HARDWALL")
_HIGHUSER = (*_USER, "HIGHMEM")
_MOVABLE = (*_HIGHUSER, "MOVABLE", "SKIP_KASAN")
_LIGHT = (*(each for each in _MOVABLE if each not in _RECLAIM), "COMP", "NOMEMALLOC", "NOWARN")
#: What several flags together are called, the largest first (include/linux/gfp_types.h).
_TOGETHER = (
    ("GFP_TRANSHUGE", (*_LIGHT, "DIRECT_RECLAIM")), ("GFP_TRANSHUGE_LIGHT", _LIGHT), ("GFP_HIGHUSER_MOVABLE", _MOVABLE),
    ("GFP_HIGHUSER", _HIGHUSER), ("GFP_USER", _USER), ("GFP_KERNEL_ACCOUNT", (*_KERNEL, "ACCOUNT")),
    ("GFP_KERNEL", _KERNEL), ("GFP_NOFS", (*_RECLAIM, "IO")), ("GFP_ATOMIC", ("HIGH", "KSWAPD_RECLAIM")),
    ("GFP_NOIO", _RECLAIM), ("GFP_NOWAIT", ("KSWAPD_RECLAIM", "NOWARN")), ("GFP_DMA", ("DMA",)),
    ("GFP_DMA32", ("DMA32",)),
)  # fmt: skip
_ALONE = (
    "HIGHMEM", "HIGH", "IO", "FS", "ZERO", "DIRECT_RECLAIM", "KSWAPD_RECLAIM", "WRITE", "NOWARN", "RETRY_MAYFAIL",
    "NOFAIL", "NORETRY", "MEMALLOC", "COMP", "NOMEMALLOC", "HARDWALL", "THISNODE", "RECLAIMABLE", "MOVABLE", "ACCOUNT",
    "ZEROTAGS", "SKIP_ZERO", "SKIP_KASAN", "NO_OBJ_EXT",
)  # fmt: skip


def flags_text(value: int, constant: Callable[[str], int | None]) -> str:
    """``GFP_KERNEL|__GFP_ZERO``; what has no name is written as a number.

    :param constant: the values of the kernel's enumerators: which bit is which (Linux 6.9), None of others.
    """
    words, rest = [], value
    for name, mask in _masks(constant):
        if mask and rest & mask == mask:
            words.append(name)
            rest &= ~mask
    if rest or not words:
        words.append(f"0x{rest:x}" if rest else "0")
    return "|".join(words)


def _masks(constant: Callable[[str], int | None]) -> Iterator[tuple[str, int]]:
    def mask(name: str) -> int:
        bit = constant(f"___GFP_{name}_BIT")
        return 0 if bit is None else 1 << bit

    for title, names in _TOGETHER:
        yield title, sum(map(mask, names))
    for name in _ALONE:
        yield f"__GFP_{name}", mask(name)
