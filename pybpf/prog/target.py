"""What a program is bound to when it is loaded: the function or tracepoint that it traces, the kfuncs it calls."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

from pybpf.btf import Btf, Kind, module_fd
from pybpf.errors import NotFoundError
from pybpf.record import NamedTuple
from pybpf.sys.bpf import AttachType
from pybpf.sys.fd import Fd
from pybpf.sys.near import did_you_mean

__all__ = ["attach_fields", "kfunc_ids"]


class _Target(NamedTuple):
    noun: str
    kind: Kind
    prefix: str  #: what the target's name has in BTF before the name that people use


_FUNCTION = _Target("function", Kind.FUNC, "")
_TARGETS = {
    AttachType.TRACE_RAW_TP: _Target("tracepoint", Kind.TYPEDEF, "btf_trace_"),
    AttachType.TRACE_FENTRY: _FUNCTION,
    AttachType.TRACE_FEXIT: _FUNCTION,
    AttachType.MODIFY_RETURN: _FUNCTION,
    AttachType.LSM_MAC: _Target("LSM hook", Kind.FUNC, "bpf_lsm_"),
    AttachType.TRACE_ITER: _Target("iterator", Kind.FUNC, "bpf_iter_"),
}


def attach_fields(attach_btf: str, expected: AttachType, action: str, owned: ExitStack) -> dict[str, Any]:
    """The fields of PROG_LOAD that name the target.

    :param attach_btf: ``"name"`` or ``"module:name"``.
    :param owned: closes the descriptor of a module's BTF, which is needed until the program is loaded.
    :raises NotFoundError: there is no such target.
    :raises UnsupportedError: the kernel has no BTF.
    """
    target = _TARGETS.get(expected, _FUNCTION)
    module, _, name = attach_btf.rpartition(":")
    btf = Btf.module(module) if module else Btf.vmlinux()
    found = btf.find(target.kind, target.prefix + name)
    if found is None:
        known = (each[len(target.prefix) :] for each, _ in btf.names(target.kind, target.prefix + "*"))
        where = f"module {module}" if module else "this kernel"
        raise NotFoundError(
            f"cannot {action}: {where} has no {target.noun} {name!r} in its type information{did_you_mean(name, known)}"
        )
    if not module:
        return {"attach_btf_id": found}
    return {"attach_btf_id": found, "attach_btf_obj_fd": owned.enter_context(module_fd(module)).fileno()}


def kfunc_ids(names: Iterable[str], first: int, owned: ExitStack) -> tuple[dict[str, int | tuple[int, int]], list[Fd]]:
    """The BTF ids of kernel functions that programs can call, and the BTFs of the modules that have some of them.

    A function of a module is given as (id, index of its BTF in the ``fd_array`` of PROG_LOAD). Modules are looked
    through only for what the kernel itself does not have.

    :param first: the index of the first module's BTF.
    :param owned: closes the descriptors of the BTFs, which are needed until the program is loaded.
    :raises NotFoundError: neither the kernel nor a module has a function of such a name.
    """
    found = {name: Btf.vmlinux().find(Kind.FUNC, name) for name in names}
    ids: dict[str, int | tuple[int, int]] = {name: number for name, number in found.items() if number is not None}
    modules: list[Fd] = []
    missing = [name for name, number in found.items() if number is None]
    for module in Btf.modules() if missing else ():
        types = Btf.module(module)
        there = {name: types.find(Kind.FUNC, name) for name in missing}
        there = {name: number for name, number in there.items() if number is not None}
        if there:
            ids.update({name: (number, first + len(modules)) for name, number in there.items() if number is not None})
            modules.append(owned.enter_context(module_fd(module)))
            missing = [name for name in missing if name not in there]
    if missing:
        near = did_you_mean(missing[0], (each for each, _ in Btf.vmlinux().functions("bpf_*")))
        raise NotFoundError(f"this kernel has no kernel function {missing[0]!r} for programs to call{near}")
    return ids, modules
