"""``Btf``: type information as the other layers use it; each method's work is done by the file of its noun."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from pybpf.btf import function, kernel, member
from pybpf.btf.function import TRACEPOINT_PREFIX, Function
from pybpf.btf.kinds import Kind
from pybpf.btf.member import BitLoad, Member
from pybpf.btf.reader import Types

if TYPE_CHECKING:
    from pybpf.btf.view import Views

__all__ = ["Btf"]


class Btf(Types):
    """The types of the kernel, of a module, or of a blob.

    >>> btf = Btf.vmlinux()
    >>> btf.member("task_struct", "mm->pgd").hops
    (Hop(offset=1136, type=264),)

    All types are referred to by id; see :class:`pybpf.btf.reader.Types` for what else it can do.
    """

    @staticmethod
    def vmlinux() -> Btf:
        """The running kernel's own types; read once per process.

        :raises UnsupportedError: the kernel has no BTF.
        """
        return _vmlinux()

    @staticmethod
    def release() -> None:
        """Give back the memory of the running kernel's types, some 6 MB, unless somebody has them still.

        Who asks for them later reads them again.
        """
        _vmlinux.cache_clear()

    @staticmethod
    def module(name: str) -> Btf:
        """The types of a loaded module, on top of the kernel's. :raises NotFoundError: there is no such module."""
        with kernel.module_data(name) as data:
            return Btf(data, _vmlinux())

    @staticmethod
    def modules() -> list[str]:
        """The names of the loaded modules that have BTF."""
        return kernel.modules()

    @staticmethod
    def from_bytes(data: Any, base: Types | None = None) -> Btf:
        """The types of a blob. :raises BtfError: it is malformed."""
        return Btf(data, base)

    @staticmethod
    def from_id(btf_id: int) -> Btf:
        """The types of a BTF object of the kernel, such as a loaded program's. Needs CAP_SYS_ADMIN.

        :raises NotFoundError: there is none with this id.
        """
        with kernel.open_btf(btf_id) as fd:
            info = kernel.btf_info(fd)
            split = info.kernel and info.name != "vmlinux"
            return Btf(kernel.btf_data(fd), _vmlinux() if split else None)

    # -- members

    def member(self, struct: int | str, path: str) -> Member:
        """Where a member lies, by a path such as ``"mm->pgd"``; see :func:`pybpf.btf.member.member`."""
        return member.member(self, struct, path)

    def bit_load(self, found: Member) -> BitLoad:
        """How a machine reads a bitfield; see :func:`pybpf.btf.member.bit_load`."""
        return member.bit_load(found, self.endian)

    # -- functions

    def function(self, name: str) -> Function:
        """A function's prototype. :raises BtfError: there is none of this name."""
        return function.function(self, name)

    def functions_named(self, names: Sequence[str]) -> Iterator[Function | None]:
        """:meth:`function` of each name, None where there is none; fast for many names, too."""
        return function.functions_named(self, names)

    def functions(self, pattern: str = "*") -> list[tuple[str, int]]:
        """(name, id) of the functions whose names match a shell pattern."""
        return self.names(Kind.FUNC, pattern)

    def tracepoint(self, name: str) -> Function:
        """A tracepoint's prototype, as ``tp_btf`` programs see it. :raises BtfError: there is none of this name."""
        return function.tracepoint(self, name)

    def tracepoints(self, pattern: str = "*") -> list[tuple[str, int]]:
        """(name, id of its typedef) of the tracepoints whose names match a shell pattern."""
        skip = len(TRACEPOINT_PREFIX)
        return [(name[skip:], found) for name, found in self.names(Kind.TYPEDEF, TRACEPOINT_PREFIX + pattern)]

    # -- what people and maps see

    def c(self, what: int | str, offsets: bool = False) -> str:
        """A type in C: the definition of a struct, union, enum or typedef, else its declaration.

        :param offsets: say each member's offset and size in bytes in a comment.
        :raises BtfError: it is malformed, or too large to print.
        """
        from pybpf.btf import render  # only here: few programs print types

        return render.c(self, self.id_of(what), offsets)

    def declaration(self, what: int | str, name: str = "") -> str:
        """A declaration of a name with a type: ``"struct sock *sk"``; without a name, the type alone: ``"pid_t"``.

        :raises BtfError: it is malformed, or too large to print.
        """
        from pybpf.btf import render

        return render.declaration(self, self.id_of(what), name)

    def ctype(self, what: int | str) -> type[Any]:
        """The class of a type's values, for keys and values of maps; see :mod:`pybpf.btf.view`."""
        return self._views.ctype(self.id_of(what))

    @cached_property
    def _views(self) -> Views:
        from pybpf.btf.view import Views  # only here: few maps have values of the kernel's types

        return Views(self)


@cache
def _vmlinux() -> Btf:
    with kernel.vmlinux_data() as data:
        return Btf(data)
