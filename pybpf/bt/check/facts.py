"""What is found out about a script while it is checked: its maps and variables, settings, warnings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pybpf.bt.syntax import tree
from pybpf.bt.syntax.source import Span
from pybpf.bt.types import NONE, Type
from pybpf.record import dataclass, field

if TYPE_CHECKING:
    from pybpf.bt.c.declarations import Definitions
    from pybpf.bt.probes.place import Place
    from pybpf.bt.state.settings import Settings
    from pybpf.compiler.target import Target
    from pybpf.errors import CompileError

__all__ = ["Checked", "Facts", "MapFacts", "Unknown", "VariableFacts"]

#: The type of what no pass has found the type of yet: of a map that is read before it is assigned to.
Unknown = NONE


@dataclass
class MapFacts:
    """A map of the script.

    :ivar key: the type of its keys; None: it has none, or none was seen yet.
    :ivar keyed: whether it has keys; None: not known yet.
    :ivar value: the type of its values.
    :ivar declared: the kind that ``let`` gives it, or ``""``.
    """

    name: str
    first: tree.Node
    key: Type | None = None
    keyed: bool | None = None
    value: Type | None = None
    declared: str = ""
    entries: int = 0


@dataclass(eq=False)
class VariableFacts:
    """A scratch variable of a probe.

    :ivar fixed: the type was declared: values must fit it.
    :ivar addressed: its address is taken: it lives in memory.
    :ivar early: it may be read where nothing was assigned to it.
    """

    name: str
    type: Type | None = None
    fixed: bool = False
    addressed: bool = False
    early: bool = False


class Facts:
    """What all probes of a script share while they are checked.

    :ivar shown: where ``probe`` stands that is only kept in a key, or printed.
    :ivar words: names of builtins and functions that the script has somewhere.
    :ivar options: name of an argument that the script asks for -> its description.
    :ivar passing: something was found out that holds for the moment only: the address of a symbol, the number of a
        control group.
    :ivar changed: a pass has found out something new: another one must follow.
    :ivar final: nothing new is to be found: what is still unknown is an error now, and warnings count.
    """

    def __init__(
        self,
        script: tree.Script,
        definitions: Definitions,
        target: Target,
        settings: Settings,
        arguments: Sequence[str] = (),
        named: Mapping[str, str] | None = None,
        unsafe: bool = False,
        command: int | None = None,
    ) -> None:
        self.script = script
        self.definitions = definitions
        self.target = target
        self.settings = settings
        self.arguments = arguments
        self.named = dict(named or {})
        self.unsafe = unsafe
        self.command = command
        self.maps: dict[str, MapFacts] = {}
        self.defines: dict[str, tree.Expression | None] = {}
        self.warnings: dict[tuple[Span, str], CompileError] = {}
        self.shown: set[tree.Node] = set()
        self.words: set[str] = set()
        self.options: dict[str, str] = {}
        self.passing = False
        self.changed = False
        self.final = False

    @property
    def counts_frames(self) -> bool:
        """Whether the script may ask for the depths of stacks, which are kept with them then."""
        return "len" in self.words and not self.words.isdisjoint(("kstack", "ustack"))

    def warn(self, node: tree.Node, message: str) -> None:
        """Note a warning, once."""
        if self.final:
            self.warnings.setdefault((node.span, message), self.script.source.error(node.span, message))

    def map(self, node: tree.Map) -> MapFacts:
        """The map of a name."""
        return self.maps.setdefault(node.name, MapFacts(node.name, node))


@dataclass
class Checked:
    """A probe at one place, checked.

    :ivar point: what names the place in the script.
    :ivar types: expression -> its type.
    :ivar variables: node of a variable, or of what assigns to it -> the variable.
    :ivar notes: what a function's check has left for its lowering.
    """

    probe: tree.Probe
    point: tree.ProbePoint
    place: Place
    types: dict[tree.Node, Type] = field(default_factory=dict)
    variables: dict[tree.Node, VariableFacts] = field(default_factory=dict)
    notes: dict[tree.Node, Any] = field(default_factory=dict)
    chosen: dict[tree.Node, tree.Node | None] = field(default_factory=dict)
    """Node -> what stands for it: the value of a name, the branch of ``if comptime``."""
