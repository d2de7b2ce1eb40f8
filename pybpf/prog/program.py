"""``Program``: a program in the kernel: load it, run it on test input, read its statistics, pin it."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Mapping, Sequence
from types import MappingProxyType, TracebackType

from pybpf.errors import KernelError
from pybpf.prog.load import Descriptor, load_program
from pybpf.prog.spec import ProgramSpec
from pybpf.record import NamedTuple
from pybpf.sys import objects
from pybpf.sys.bpf import Attr, Cmd, ProgType
from pybpf.sys.explain import explain
from pybpf.sys.fd import Fd
from pybpf.sys.objects import ProgInfo
from pybpf.sys.pin import Path, open_pinned, pin

__all__ = ["Program", "Stats", "TestRun"]

_NO_MAPS: Mapping[str, Descriptor] = MappingProxyType({})

#: These get no packet and run once; the context of SYSCALL programs is also their output (net/bpf/test_run.c).
_WITHOUT_DATA = (ProgType.RAW_TRACEPOINT, ProgType.RAW_TRACEPOINT_WRITABLE, ProgType.TRACING, ProgType.SYSCALL)
_PACKET = bytes(64)  # some kernels take no shorter one
_OUT_SIZE = 1 << 16
_RUN_ON_CPU = 1  # BPF_F_TEST_RUN_ON_CPU


class TestRun(NamedTuple):
    """The result of :meth:`Program.test_run`."""

    retval: int
    """What the program returned, as the kernel gives it: 32 bits unsigned."""
    data: bytes
    """The packet afterwards."""
    ctx: bytes
    """The context afterwards."""
    duration_ns: int
    """Nanoseconds of a run, the mean over ``repeat`` runs."""


class Stats(NamedTuple):
    """What ran of a program since it was loaded, counted while :func:`~pybpf.prog.run_time_stats` were on."""

    run_cnt: int
    run_time_ns: int
    recursion_misses: int | None
    """Runs that were skipped because the program already ran on that CPU; None before Linux 5.12."""


class Program:
    """A program in the kernel, which stays there until it is closed here, detached and unpinned.

    :ivar fd: its descriptor. Owned.
    :ivar type: its :class:`~pybpf.sys.bpf.ProgType`, or a plain number for one that pybpf does not know.
    :ivar name: as the spec has it; of a program that was opened, as the kernel has it.
    :ivar spec: what it was loaded from, or None when it was opened.
    :ivar log: the verifier's log, if it was asked for.
    """

    def __init__(self, fd: Fd, type: int, name: str, spec: ProgramSpec | None = None, log: str = "") -> None:
        self.fd = fd
        self.type = type
        self.name = name
        self.spec = spec
        self.log = log

    @classmethod
    def load(
        cls,
        spec: ProgramSpec,
        maps: Mapping[str, Descriptor] = _NO_MAPS,
        *,
        fd_array: Sequence[Descriptor] = (),
        log: int = 0,
    ) -> Program:
        """Load a program.

        :param maps: the map (or its descriptor) for each name that the code refers to. The kernel keeps them as long
            as the program.
        :param fd_array: the maps that the code refers to by index, ``r1 = map[idx:0]`` (Linux 5.14).
        :param log: the verifier's ``log_level`` for :attr:`log`: 1 (or True) short, 2 whole, 4 statistics, or a sum.
            When the program is refused, the error has the log in any case.
        :raises AsmError: the code cannot be encoded, or names a map that is not in ``maps``.
        :raises NotFoundError: the kernel lacks the target, or a kernel function that the code calls.
        :raises VerifierError: the verifier refused it; the message says why, where, and what to do.
        :raises PermissionDenied: tracing programs need CAP_BPF and CAP_PERFMON (before Linux 5.8 CAP_SYS_ADMIN).
        :raises KernelError: anything else.
        """
        loaded = load_program(spec, maps, int(log), fd_array)
        return cls(loaded.fd, spec.type, spec.name, spec, loaded.log)

    @classmethod
    def open(cls, path: Path) -> Program:
        """A pinned program. :raises NotFoundError: there is none. :raises KernelError: it is something else."""
        return cls._opened(open_pinned(path, "program"))

    @classmethod
    def from_id(cls, number: int) -> Program:
        """The program with an id; needs CAP_SYS_ADMIN. :raises NotFoundError: there is none (any more)."""
        return cls._opened(objects.open_id(objects.Kind.PROG, number))

    @classmethod
    def _opened(cls, fd: Fd) -> Program:
        try:
            info = objects.prog_info(fd)
        except BaseException:
            fd.close()
            raise
        return cls(fd, info.type, info.name)

    def fileno(self) -> int:
        """The descriptor's number. :raises ClosedError: after :meth:`close`."""
        return self.fd.fileno()

    def info(self) -> ProgInfo:
        """What the kernel says of the program."""
        return objects.prog_info(self.fd)

    @property
    def id(self) -> int:
        """The number that names the program on this machine, as in ``pybpf list programs``."""
        return self.info().id

    @property
    def stats(self) -> Stats:
        """How often and how long it ran while :func:`~pybpf.prog.run_time_stats` were on (Linux 5.1; 0 before)."""
        info = self.info()
        return Stats(info.run_cnt or 0, info.run_time_ns or 0, info.recursion_misses)

    def xlated(self) -> bytes:
        """Its instructions as the verifier left them, 8 bytes each; empty where the kernel does not show them."""
        return objects.xlated(self.fd)

    def pin(self, path: Path) -> None:
        """Keep it in the kernel under a name in a bpf file system; see :mod:`pybpf.sys.pin`.

        :raises NotFoundError: the directory does not exist.
        :raises KernelError: the name is taken, or not in a bpf file system.
        """
        pin(self.fd, path)

    def test_run(self, data: bytes = b"", ctx: bytes = b"", repeat: int = 1, cpu: int | None = None) -> TestRun:
        """Run the program now, on input that is given here (BPF_PROG_TEST_RUN).

        Socket filters, traffic control and XDP programs get a packet; raw tracepoints (Linux 5.10) their arguments as
        ``ctx``, 8 bytes each; SYSCALL programs (5.14) any ``ctx``, which they can write to. Kprobe, tracepoint and perf
        event programs cannot be run this way.

        :param data: the packet; 64 zero bytes where one is needed and none is given.
        :param repeat: how often to run it, for types that take a packet.
        :param cpu: run it on that CPU (raw tracepoints only).
        :raises UnsupportedError: the kernel cannot run programs of this type.
        :raises KernelError: the input does not fit the type.
        """
        data, ctx = bytes(data), bytes(ctx)
        plain = self.type in _WITHOUT_DATA
        if not plain and not data:
            data = _PACKET
        fields: dict[str, object] = {"prog_fd": self.fd.fileno(), "repeat": 0 if plain and repeat == 1 else repeat}
        data_out = ctypes.create_string_buffer(0 if plain else _OUT_SIZE)
        # The size of a context that is written back is the program type's, not that of what was passed.
        ctx_in = ctypes.create_string_buffer(ctx, len(ctx))
        ctx_out = ctypes.create_string_buffer(0 if plain or not ctx else max(len(ctx), 4096))
        if data:
            fields.update(data_in=data, data_size_in=len(data))
        if len(data_out):
            fields.update(data_out=data_out, data_size_out=len(data_out))
        if ctx:
            fields.update(ctx_in=ctx_in, ctx_size_in=len(ctx))
        if len(ctx_out):
            fields.update(ctx_out=ctx_out, ctx_size_out=len(ctx_out))
        if cpu is not None:
            fields.update(cpu=cpu, flags=_RUN_ON_CPU)
        attr = self._run(Attr(Cmd.PROG_TEST_RUN, **fields))
        context = ctx_out.raw[: attr["ctx_size_out"]] if len(ctx_out) else ctx_in.raw
        return TestRun(attr["retval"], data_out.raw[: attr["data_size_out"]], context, attr["duration"])

    def _run(self, attr: Attr) -> Attr:
        action = f"run program {self.name!r}"
        while True:
            try:
                attr.call()
                return attr
            except InterruptedError:  # a signal came between two repetitions; its handler has run by now
                continue
            except OSError as error:
                if error.errno == errno.EINVAL and self.type in _WITHOUT_DATA:
                    reason = "its type takes no packet and no repetition, and its context must be as long as it reads"
                    raise KernelError(action, errno.EINVAL, reason) from None
                raise explain(action, error, "test_run") from None

    def close(self) -> None:
        """Give up the program: it goes when it is neither attached nor pinned. A second call does nothing."""
        self.fd.close()

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        kind = objects.type_name(self.type)
        return f"<{kind} program {self.name!r}, {'closed' if self.fd.closed else f'fd {self.fd.fileno()}'}>"
