"""A place of a probe: what one program serves, before it is compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pybpf.record import NamedTuple, dataclass
from pybpf.sys.bpf import AttachType, ProgType

if TYPE_CHECKING:
    from pybpf.bt.probes.arguments import Arguments
    from pybpf.bt.syntax.attachpoints import AttachPoint
    from pybpf.compiler.target import Target
    from pybpf.lang.tracer.attaching import Attach

__all__ = ["Environment", "Place", "Resolve", "Wants"]


class Wants(NamedTuple):
    """What the body of a probe asks of its places, so that several places may or may not share a program."""

    args: bool  #: fields of ``args``, whose types and places may differ
    name: bool  #: ``probe``, as text to compute with
    shown: bool  #: ``probe``, to be kept in keys and printed: a number is enough, which tells the places apart

    @property
    def apart(self) -> bool:
        """Whether each place needs a program of its own."""
        return self.args or self.name

    def separate(self, target: Target, type: ProgType) -> bool:
        """The same where programs are of a type: they may not be able to tell places apart (before Linux 5.15)."""
        return self.apart or (self.shown and not target.has_helper(type, "get_attach_cookie"))


@dataclass(frozen=True)
class Environment:
    """What attach points are resolved for.

    :ivar target: the kernel.
    :ivar pid: the one process that is traced where probes can be attached to one, or None.
    :ivar missing: ``"error"``, ``"warn"`` or ``"ignore"``: what to do about probes that do not exist.
    """

    target: Target
    pid: int | None = None
    missing: str = "error"


@dataclass(frozen=True, eq=False)
class Place:
    """Where one program goes.

    :ivar kind: the kind of probe, canonical.
    :ivar name: what ``probe`` gives, where there is one place alone.
    :ivar type: the type of program.
    :ivar arguments: what the probe can tell.
    :ivar attach: loads and attaches; None: user space runs the program itself (``begin``).
    :ivar places: at how many places it is.
    :ivar names: where it is at several places whose cookies count from 0: what ``probe`` gives at each.
    """

    kind: str
    name: str
    type: ProgType
    arguments: Arguments
    attach: Attach | None
    expected: AttachType = AttachType.NONE
    attach_btf: str | None = None
    places: int = 1
    point: Any = None
    names: tuple[str, ...] = ()


#: Makes places of an attach point. :raises BpfError: there is no such place.
Resolve = Callable[["AttachPoint", Wants, Environment], "list[Place]"]
