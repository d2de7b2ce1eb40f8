"""Stacks as lines, and addresses of processes as places in files: build id and offset, for who has the symbols."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

from pybpf.errors import BpfError

__all__ = ["BuildIds", "hexadecimal", "lines"]

#: files whose build ids are kept
_MOST_FILES = 1024


def lines(frames: Iterable[str]) -> str:
    """A line per frame, behind an empty one, as bpftrace has them."""
    return "\n" + "".join(f"{frame}\n" for frame in frames)


def hexadecimal(address: int) -> str:
    """An address in ``raw`` stacks."""
    return f"{address:x}"


class BuildIds:
    """The build ids of the files that processes have mapped, each read once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], str | None] = {}

    def of(self, pid: int, addresses: Sequence[int]) -> Iterator[str]:
        """Build id and offset of each address; the address where there is none, or where the process has ended."""
        from pybpf.symbols.library import mappings, process_root

        try:
            root, mapped = process_root(pid).rstrip("/"), mappings(pid)
        except BpfError:
            root, mapped = "", []
        starts = [each.start for each in mapped]
        for address in addresses:
            index = bisect_right(starts, address) - 1
            found = mapped[index] if index >= 0 and address < mapped[index].end else None
            build_id = None if found is None or found.deleted else self._build_id(root + found.path)
            if found is None or build_id is None:
                yield hexadecimal(address)
            else:
                yield f"{build_id} 0x{address - found.start + found.offset:x}"

    def _build_id(self, path: str) -> str | None:
        import os

        from pybpf.symbols.elf import ElfFile

        try:
            status = os.stat(path)
            key = status.st_dev, status.st_ino
            if key not in self._known:
                if len(self._known) >= _MOST_FILES:
                    self._known.clear()
                with ElfFile(path) as elf:
                    self._known[key] = elf.build_id
            return self._known[key]
        except (BpfError, OSError):
            return None
