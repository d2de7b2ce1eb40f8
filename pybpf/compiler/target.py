"""What code is compiled for: architecture, kernel features, types; this host, or a description of another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pybpf.arch import Arch, arch_named, host_arch
from pybpf.asm import HELPERS
from pybpf.errors import NotFoundError
from pybpf.sys.bpf import ProgType

if TYPE_CHECKING:
    from pybpf.attach.fields import TracepointField
    from pybpf.btf import Btf

__all__ = ["Target"]


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2])


@dataclass(frozen=True, eq=False)
class Target:
    """A kernel to compile for.

    :param arch: the architecture.
    :param has: whether the kernel has a feature, by its name in :mod:`pybpf.sys.features`.
    :param has_helper: whether a type of program may call a helper, by its name.
    :param types: gives the kernel's type information, or ``None`` when it has none; called at most once per use.
    :param tracepoint_fields: the fields of the record of tracepoint ``system:event``.
    """

    arch: Arch
    has: Callable[[str], bool]
    has_helper: Callable[[ProgType, str], bool]
    types: Callable[[], Btf | None] = field(default=lambda: None)
    tracepoint_fields: Callable[[str], list[TracepointField]] | None = None

    @staticmethod
    def host() -> Target:
        """The running kernel; what it can do is probed when it is first asked for."""
        raise NotImplementedError

    @staticmethod
    def described(
        release: str, arch_name: str = "", *, types: Btf | None = None, without: Iterable[str] = ()
    ) -> Target:
        """The upstream kernel of a release such as ``"5.10"``, of this host's architecture or a named one.

        :param without: features that it lacks though its release has them.
        """
        from pybpf.sys.features import FEATURES

        limit, lacking = _version(release), frozenset(without)

        def has(name: str) -> bool:
            if name not in FEATURES:
                raise NotFoundError(f"there is no feature {name!r}")
            return name not in lacking and _version(FEATURES[name].since) <= limit

        def has_helper(kind: ProgType, name: str) -> bool:
            return name in HELPERS and _version(HELPERS[name].since) <= limit

        return Target(arch_named(arch_name) if arch_name else host_arch(), has, has_helper, lambda: types)
