"""Compile a function of the DSL, load it into the running kernel and run it: what the front end's tests rest on.

>>> def double(x: u32):
...     return x + x
>>> run(double, 7)  # doctest: +SKIP
14

The program is of type RAW_TRACEPOINT. Arguments lie one after the other, 8 bytes each, in its context; parameters have
the types that they are annotated with (``u64`` without). The result, 64 bits, is kept in an array map.
"""

from __future__ import annotations

import ast
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from pybpf.compiler.ir import Operand, Unit
from pybpf.compiler.target import Target
from pybpf.lang.front.compile import compile_probe
from pybpf.lang.front.gen import Gen
from pybpf.lang.probes.probe import Param, Probe
from pybpf.lang.values.constants import Const
from pybpf.lang.values.ints import KINDS, Int, extended
from pybpf.lang.values.val import Val
from pybpf.maps import Map, MapSpec
from pybpf.prog import Program
from pybpf.sys.bpf import MapType
from pybpf.types import bool_, s64, u32, u64

__all__ = ["Loaded", "compiled", "load", "run"]

RESULT = "harness_result"


@dataclass(frozen=True)
class Harness(Probe):
    """A probe whose parameters come from the context and whose result goes into a map."""

    def bind(self, gen: Gen, params: Sequence[Param]) -> list[Val]:
        return [_argument(gen, index, param) for index, param in enumerate(params)]

    def result(self, gen: Gen, value: Val, at: ast.AST) -> Operand:
        none = isinstance(value, Const) and value.value is None
        gen.unit.maps[RESULT] = MapSpec(MapType.ARRAY, u32, u64, 1, RESULT)
        address = gen.b.emit("mapvalue", map=RESULT, offset=0)
        gen.b.emit("store", address, 0 if none else value.scalar(gen, at), offset=0, size=8)
        return 0


def _argument(gen: Gen, index: int, param: Param) -> Val:
    kind = {None: u64, bool: bool_, int: s64}.get(param.annotation, param.annotation)
    if kind not in KINDS:
        gen.fail(param.node, f"the harness passes integers, not {kind!r}")
    loaded = Int(gen.b.emit("load", gen.ctx, offset=8 * index, size=8, signed=False), u64)
    return Int(extended(gen, loaded, kind), kind)


def compiled(function: Callable[..., Any], target: Target | None = None, *, source: str | None = None) -> Unit:
    """The IR of a function, for this kernel or another."""
    return compile_probe(function, Harness("raw_tracepoint", "harness"), target or Target.host(), source=source)


class Loaded:
    """A program in the kernel and its maps.

    :ivar maps: by the names in the unit.
    """

    def __init__(self, program: Program, maps: dict[str, Map]) -> None:
        self.program = program
        self.maps = maps

    def __call__(self, *args: int, signed: bool = False) -> int:
        """Run it on arguments; the result as 64 bits."""
        values = [each & (1 << 64) - 1 for each in (*args, *[0] * (12 - len(args)))]
        self.program.test_run(ctx=struct.pack("=12Q", *values))
        result: int = self.maps[RESULT][0]  # type: ignore[index]
        return result - (1 << 64) if signed and result >> 63 else result


@contextmanager
def load(
    function: Callable[..., Any], *, source: str | None = None, log: int = 0, without: Iterable[str] = ()
) -> Iterator[Loaded]:
    """Compile a function, create its maps, load it.

    :param without: features of this kernel to do without.
    """
    from pybpf.compiler.pipeline import compile_unit

    host, lacking = Target.host(), frozenset(without)
    target = replace(host, has=lambda name: name not in lacking and host.has(name))
    done = compile_unit(compiled(function, target, source=source), target)
    with ExitStack() as stack:
        maps = {name: stack.enter_context(spec.create()) for name, spec in done.maps.items()}
        yield Loaded(stack.enter_context(Program.load(done.spec, maps, log=log)), maps)


def run(function: Callable[..., Any], *args: int, signed: bool = False, source: str | None = None) -> int:
    """The result of a function, computed by the kernel."""
    with load(function, source=source) as program:
        return program(*args, signed=signed)
