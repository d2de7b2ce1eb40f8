"""What an address is: a function of the kernel, of a program or of a library, and how far inside it."""

from __future__ import annotations

from pybpf.record import NamedTuple
from pybpf.symbols.files import show

__all__ = ["UNKNOWN", "Symbol"]

#: the name of an address that no symbol covers
UNKNOWN = "[unknown]"


class Symbol(NamedTuple):
    """An address with its name. ``str()`` gives ``"malloc+0x1f (libc.so.6)"``, demangled and safe to print.

    ``address`` is always ``start + offset``. Where no symbol covers the address its name is :data:`UNKNOWN`, and
    ``offset`` is the address as the file has it, which ``addr2line`` and ``nm`` understand; where nothing is mapped,
    ``module`` and ``path`` are empty and ``start`` is 0.
    """

    name: str  #: as in the symbol table: not demangled, without ``@VERSION``; may have any character
    offset: int  #: bytes from the start of the symbol
    module: str  #: file name of ``path``, ``"[vdso]"``, or a kernel module's name; ``""`` for the kernel itself
    path: str  #: as the process sees it; ``""`` for the kernel
    address: int
    start: int  #: where the symbol is in memory

    @property
    def known(self) -> bool:
        """Whether there is a name."""
        return self.name != UNKNOWN

    @property
    def demangled(self) -> str:
        """The name as C++ or Rust source has it; that of other languages as it is."""
        from pybpf.symbols.demangle import demangle  # most stacks are C: loaded when it is first wanted

        return demangle(self.name)

    def __str__(self) -> str:
        name = f"{show(self.demangled)}+{self.offset:#x}" if self.known else UNKNOWN
        return f"{name} ({show(self.module)})" if self.module else name
