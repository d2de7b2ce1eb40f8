"""BTF of the running kernel: vmlinux and modules from sysfs, any blob by id, and loading one."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Union

from pybpf.errors import KernelError, NotFoundError, UnsupportedError
from pybpf.sys.bpf import Attr, Cmd, bpf
from pybpf.sys.explain import explain
from pybpf.sys.fd import Fd
from pybpf.sys.objects import BtfInfo, btf_data, btf_info

__all__ = [
    "BtfInfo",
    "btf_data",
    "btf_info",
    "load_btf", "load_btf_where_taken",
    "module_data",
    "module_fd",
    "modules",
    "open_btf",
    "vmlinux_data",
]

Buffer = Union[bytes, mmap.mmap]

_SYSFS = "/sys/kernel/btf"
_VMLINUX = f"{_SYSFS}/vmlinux"
#: What is tried for the verifier's log, which lists every type up to the offending one.
_LOG_SIZES = (1 << 16, 1 << 20, 1 << 24)


@contextmanager
def vmlinux_data() -> Iterator[Buffer]:
    """The kernel's own BTF, for the time of a ``with`` block.

    :raises UnsupportedError: the kernel has none.
    :raises KernelError: it may not be read.
    """
    try:
        with _open(_VMLINUX) as data:
            yield data
    except FileNotFoundError:
        raise UnsupportedError(
            "read the kernel's type information",
            errno.ENOENT,
            f"there is no {_VMLINUX}",
            "it needs Linux 5.4 built with CONFIG_DEBUG_INFO_BTF=y, and in a container, sysfs mounted at /sys",
        ) from None
    except KernelError:
        raise
    except OSError as error:
        raise explain("read the kernel's type information", error, "file") from None


@contextmanager
def module_data(name: str) -> Iterator[Buffer]:
    """The BTF of a loaded module, which extends vmlinux's (Linux 5.11), for the time of a ``with`` block.

    :raises NotFoundError: no such module is loaded, or it has no BTF.
    :raises KernelError: it may not be read.
    """
    try:
        if "/" in name or name in ("", ".", "..") or "\0" in name:
            raise FileNotFoundError
        with _open(f"{_SYSFS}/{name}") as data:
            yield data
    except FileNotFoundError:
        raise NotFoundError(
            f"there is no type information of a module {name!r}: it is not loaded, or the kernel is older than "
            "Linux 5.11 or built without CONFIG_DEBUG_INFO_BTF_MODULES"
        ) from None
    except KernelError:
        raise
    except OSError as error:
        raise explain(f"read the type information of module {name!r}", error, "file") from None


@contextmanager
def _open(path: str) -> Iterator[Buffer]:
    with open(path, "rb", buffering=0) as file:
        try:
            # Much faster than read(2), which gives sysfs files by the page. Possible since Linux 6.16.
            data: Buffer = mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ)
        except (OSError, ValueError):
            data = file.readall()
        try:
            yield data
        finally:
            if isinstance(data, mmap.mmap):
                data.close()


def modules() -> list[str]:
    """The names of the modules that have BTF, sorted; without vmlinux."""
    try:
        return sorted(name for name in os.listdir(_SYSFS) if name != "vmlinux")
    except OSError:
        return []


def open_btf(btf_id: int) -> Fd:
    """A descriptor of the kernel's BTF object with an id.

    :raises NotFoundError: there is none.
    :raises KernelError: it may not be had: CAP_SYS_ADMIN is needed.
    """
    try:
        return Fd(bpf(Cmd.BTF_GET_FD_BY_ID, id=btf_id), f"BTF {btf_id}")
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise NotFoundError(f"there is no BTF object with id {btf_id}") from None
        raise explain(f"open BTF object {btf_id}", error, "obj_id") from None


def module_fd(name: str) -> Fd:
    """A descriptor of a module's BTF, as ``attach_btf_obj_fd`` takes for probes of its functions.

    :raises NotFoundError: there is none.
    :raises KernelError: BTF objects may not be listed: CAP_SYS_ADMIN is needed.
    """
    btf_id = 0
    while True:
        attr = Attr(Cmd.BTF_GET_NEXT_ID, id=btf_id)
        try:
            attr.call()
        except OSError as error:
            if error.errno == errno.ENOENT:
                raise NotFoundError(f"the kernel has no BTF object of a module {name!r}") from None
            raise explain("list BTF objects", error, "obj_id") from None
        btf_id = attr["next_id"]
        try:
            fd = open_btf(btf_id)
        except NotFoundError:  # gone in between
            continue
        try:
            info = btf_info(fd)
        except BaseException:
            fd.close()
            raise
        if info.kernel and info.name == name:
            return fd
        fd.close()


def load_btf(data: bytes) -> Fd:
    """Load a blob into the kernel.

    :raises KernelError: the kernel refuses it; the cause is the end of its log.
    """
    try:
        return Fd(bpf(Cmd.BTF_LOAD, btf=data, btf_size=len(data)), "BTF")
    except OSError as error:
        refused = error
    action = f"load {len(data)} bytes of BTF"
    log = "" if refused.errno in (errno.EPERM, errno.ENOSYS) else _load_log(data)
    if not log:
        raise explain(action, refused, "btf_load")
    raise KernelError(action, refused.errno or 0, f"the kernel's log ends with {log!r}")


def load_btf_where_taken(data: bytes, feature: str) -> Fd | None:
    """:func:`load_btf`; None where the kernel takes no such BTF, or does not let this process load any.

    :param feature: of :mod:`pybpf.sys.features`, that the blob needs: ``"btf"`` or ``"btf_func"``.
    :raises KernelError: it is refused for another reason, such as a limit of the process.
    """
    try:
        return load_btf(data)
    except KernelError as error:
        if error.errno in (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.E2BIG):  # E2BIG: 16 MiB is the most
            return None
        if error.errno == errno.EINVAL:
            from pybpf.sys.features import Support, probe  # only a failure needs all that it loads

            if probe(feature).support is not Support.YES:
                return None
        raise


def _load_log(data: bytes) -> str:
    """The last lines of what the kernel says when it refuses a blob."""
    for size in _LOG_SIZES:
        log = ctypes.create_string_buffer(size)
        try:
            fd = bpf(Cmd.BTF_LOAD, btf=data, btf_size=len(data), btf_log_buf=log, btf_log_size=size, btf_log_level=1)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                break
        else:
            Fd(fd, "BTF").close()
            return ""
    lines = log.value.decode("utf-8", "replace").strip().splitlines()
    return "; ".join(lines[-2:])
