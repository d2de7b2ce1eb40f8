"""What code is compiled for: architecture, kernel features, types; this host, or a description of another."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING

from pybpf.arch import Arch, arch_named, host_arch
from pybpf.asm import HELPERS
from pybpf.asm.helpers import PROGRAM_TYPES
from pybpf.errors import BpfError, BtfError, KernelError, NotFoundError, PermissionDenied
from pybpf.record import dataclass, field
from pybpf.sys.bpf import ProgType

if TYPE_CHECKING:
    from pybpf.attach.fields import TracepointField
    from pybpf.btf import Btf
    from pybpf.sys.probes import Result

__all__ = ["Target"]


_Version = tuple[int, int]
#: the releases from whose sources the table of helpers says what a type of program may call
_STEPS: tuple[_Version, ...] = ((4, 18), (5, 4), (5, 10), (5, 15), (6, 1), (6, 8), (6, 12), (6, 18))


@dataclass(frozen=True, eq=False)
class Target:
    """A kernel to compile for.

    :param arch: the architecture.
    :param has: whether the kernel has a feature, by its name in :mod:`pybpf.sys.features`.
    :param has_helper: whether a type of program may call a helper, by its name.
    :param types: gives the kernel's type information, or ``None`` when it has none.
    :param module_types: gives the types of a module, which extend the kernel's, or ``None`` when it has none.
    :param tracepoint_fields: gives the fields of the record of tracepoint ``"system:event"``.
    :param tracepoints: gives the names of all tracepoints that are known, for patterns.
    :raises NotFoundError: (from ``has`` and ``tracepoint_fields``) there is no such feature or tracepoint.
    :raises PermissionDenied, KernelError: (from ``has`` and ``has_helper`` of the running kernel) it may not be asked:
        "not allowed" is never taken for "has it not", which would silently choose the code for older kernels.
    """

    arch: Arch
    has: Callable[[str], bool]
    has_helper: Callable[[ProgType, str], bool]
    types: Callable[[], Btf | None] = field(default=lambda: None)
    module_types: Callable[[str], Btf | None] = field(default=lambda name: None)
    tracepoint_fields: Callable[[str], list[TracepointField]] | None = None
    tracepoints: Callable[[], list[str]] = list

    @staticmethod
    def host() -> Target:
        """The running kernel; what it can do is probed when it is first asked for, its types are read then.

        :raises UnsupportedError: pybpf has no table of this architecture.
        """
        from pybpf.sys import features

        return Target(
            host_arch(),
            lambda name: _answer(features.probe(name), name),
            lambda kind, name: name in HELPERS and _answer(features.helper(name, kind), f"bpf_{name}"),
            _host_types,
            _host_module_types,
            cache(_host_fields),
            cache(_host_tracepoints),
        )

    @staticmethod
    def described(
        release: str,
        arch_name: str = "",
        *,
        types: Btf | str | None = None,
        fields: Mapping[str, str] | None = None,
        without: Iterable[str] = (),
    ) -> Target:
        """The upstream kernel of a release such as ``"5.10"``, of this host's architecture or a named one.

        :param types: its type information, or the path of a file that has it, such as a copy of that kernel's
            ``/sys/kernel/btf/vmlinux``.
        :param fields: tracepoint ``"system:event"`` -> the text of its ``format`` file.
        :param without: features that it lacks though its release has them.
        :raises NotFoundError: ``release`` is none, or there is no such architecture or feature.
        :raises BtfError: the file has no type information.
        """
        from pybpf.sys.features import FEATURES

        limit, lacking = _version(release), frozenset(without)
        unknown = sorted(lacking - FEATURES.keys())
        if unknown:
            raise NotFoundError(f"there is no feature {unknown[0]!r}; pybpf.sys.features.FEATURES has them all")

        def has(name: str) -> bool:
            if name not in FEATURES:
                raise NotFoundError(f"there is no feature {name!r}; pybpf.sys.features.FEATURES has them all")
            return name not in lacking and _version(FEATURES[name].since) <= limit

        @cache
        def has_helper(kind: ProgType, name: str) -> bool:
            return _released(kind, name, limit)

        def described_fields(name: str) -> list[TracepointField]:
            from pybpf.attach.fields import parse_format

            if name not in (fields or {}):
                raise NotFoundError(f"the described kernel has no tracepoint {name}: give its format file as fields=")
            return parse_format((fields or {})[name])

        known = _read_types(types) if isinstance(types, str) else types
        arch = arch_named(arch_name) if arch_name else host_arch()
        return Target(
            arch, has, has_helper, lambda: known, tracepoint_fields=described_fields,
            tracepoints=lambda: list(fields or ()),
        )  # fmt: skip


def _version(text: str) -> _Version:
    """``"5.10.3-generic"`` -> ``(5, 10)``."""
    match = re.match(r"(\d+)\.(\d+)", text)
    if match is None:
        raise NotFoundError(f"there is no kernel release {text!r:.40}; one is named as in '5.10'")
    return int(match[1]), int(match[2])


def _released(kind: ProgType, name: str, limit: _Version) -> bool:
    """Whether the upstream kernel of a release lets programs of a type call a helper."""
    from pybpf.sys.features import FEATURES

    row, program = HELPERS.get(name), kind.name.lower()
    if row is None:
        return False
    if program not in PROGRAM_TYPES:  # which other types may call it is not in the table
        return _version(row.since) <= limit
    since, _, until = row.programs.get(program, "").partition("..")
    if not since or (until and limit > _version(until)):
        return False
    # The table knows some releases only: what is new since the one before may have come with the helper itself.
    came = max(_version(row.since), _version(FEATURES[f"prog_{program}"].since))
    before = [step for step in _STEPS if step < _version(since)]
    return limit >= (came if not before or came > before[-1] else _version(since))


def _answer(result: Result, name: str) -> bool:
    """What a probe found out. :raises PermissionDenied, KernelError: nothing."""
    from pybpf.sys.probes import Support

    if result.support is not Support.NOT_ALLOWED:
        return bool(result)
    action = f"find out whether this kernel ({os.uname().release}) has {name}"
    if result.errno not in (0, errno.EPERM, errno.EACCES):
        raise KernelError(action, result.errno, result.detail)
    advice = "run as root, or describe the kernel: --kernel of pybpf dump, Target.described() in Python"
    raise PermissionDenied(action, errno.EPERM, result.detail, advice)


def _host_types() -> Btf | None:
    from pybpf.btf import Btf

    try:
        return Btf.vmlinux()
    except BpfError:  # none, or it may not be read: code that needs types says so
        return None


def _host_module_types(name: str) -> Btf | None:
    from pybpf.btf import Btf

    try:
        return Btf.module(name)
    except BpfError:
        return None


def _host_fields(name: str) -> list[TracepointField]:
    from pybpf.attach import tracepoint_fields

    return tracepoint_fields(name)


def _host_tracepoints() -> list[str]:
    from pybpf.attach.listing import list_probes

    return [probe.name for probe in list_probes("tracepoint:*")]


def _read_types(path: str) -> Btf:
    from pybpf.btf import Btf

    try:
        with open(path, "rb") as file:
            return Btf.from_bytes(file.read())
    except OSError as error:
        raise BtfError(f"cannot read type information from {path!r}: {error.strerror}") from None
