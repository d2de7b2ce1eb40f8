"""What a probe can tell: the fields of ``args``, ``arg0`` and so on, ``retval``; their types, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from pybpf.bt.lower.values import Scalar, Value, at
from pybpf.bt.types import INT64, UINT64, Compound, Integer, Pointer, Type
from pybpf.bt.types.foreign import of_btf, of_shape
from pybpf.compiler.ops import PTR
from pybpf.errors import BtfError
from pybpf.lang.values.reading import KERNEL, USER, Where
from pybpf.record import NamedTuple

if TYPE_CHECKING:
    from pybpf.attach.fields import TracepointField
    from pybpf.btf import Btf
    from pybpf.compiler.target import Target
    from pybpf.lang.probes.prototypes import Argument, Prototype
    from pybpf.lang.values.emitter import Emitter
    from pybpf.symbols.usdt_args import UsdtArg

__all__ = ["Arguments", "Context", "FieldSpec", "Record", "Registers", "Sites", "Words"]

_WORD = 8


class FieldSpec(NamedTuple):
    """A field of ``args``."""

    type: Type
    load: Callable[[Emitter], Value]


class Arguments:
    """What a probe can tell that tells nothing.

    :ivar space: whose memory addresses are of that say nothing themselves.
    :ivar registers: the context begins with the processor's registers: ``reg()``.
    :ivar count: how many of ``arg0`` and so on there are.
    """

    space = KERNEL
    registers = False
    count = 0

    def fields(self) -> Mapping[str, FieldSpec]:
        """The fields of ``args`` by name."""
        return {}

    def why_no_fields(self) -> str:
        """What to say where there is no field at all."""
        return "this kind of probe has no args"

    def numbered_type(self, index: int) -> Type:
        """The type of ``arg0`` and so on."""
        return UINT64

    def numbered(self, gen: Emitter, index: int) -> Value:
        """``arg0`` and so on."""
        raise AssertionError

    def begin(self, gen: Emitter) -> None:
        """Compile what the program does before everything else."""

    @property
    def result(self) -> Type | None:
        """The type of ``retval``; None where there is none."""
        return None

    def load_result(self, gen: Emitter) -> Value:
        """``retval``"""
        raise AssertionError


class Record(Arguments):
    """The record of a tracepoint."""

    def __init__(self, target: Target, name: str) -> None:
        self._target = target
        self._name = name
        self._fields: dict[str, FieldSpec] | None = None

    def fields(self) -> Mapping[str, FieldSpec]:
        if self._fields is None:
            ask = self._target.tracepoint_fields
            found = ask(self._name) if ask is not None else []
            self._fields = {field.name: self._field(field) for field in found}
        return self._fields

    def why_no_fields(self) -> str:
        return f"the fields of tracepoint {self._name} are not known"

    def _types(self) -> Btf | None:
        return self._target.types()

    def _field(self, field: TracepointField) -> FieldSpec:
        from pybpf.lang.probes.fields import DYNAMIC, SYSCALLS

        user = self._name.startswith(f"{SYSCALLS}:")
        space = USER if user else KERNEL
        for prefix, relative in DYNAMIC.items():
            if field.type.startswith(prefix):
                return self._dynamic(field, field.type[len(prefix) :], relative)
        kind = self._kind(field.type, field.size, field.signed, space)
        return FieldSpec(kind, lambda gen: at(gen, Where(gen.ctx, field.offset, KERNEL, gen.ctx), kind))

    def _kind(self, text: str, size: int, signed: bool, space: str) -> Type:
        """What a field is by its C type; beyond what both languages know of these, pointers to pointers, and enums."""
        from pybpf.lang.probes.fields import field_shape, unqualified

        plain = unqualified(text)
        inner = plain[:-1].rstrip()
        if plain.endswith("*") and inner.endswith("*"):
            return Pointer(self._kind(inner, _WORD, False, space), space)
        types = self._types() if plain.startswith("enum ") and inner[-1:] not in ("*", "]") else None
        if types is not None:
            try:
                known = of_btf(types, types.named(plain))
            except BtfError:
                known = None
            if isinstance(known, Integer) and known.width <= size:
                return known
        return of_shape(field_shape(text, size, signed, self._types, space == USER), space)

    def _dynamic(self, field: TracepointField, text: str, relative: bool) -> FieldSpec:
        """Data behind the fixed fields: the field has its offset in the low 16 bits. Here it is a pointer to it."""
        from pybpf.lang.probes.fields import field_shape

        shape = field_shape(text.replace("[]", ""), 0, field.signed, self._types)
        kind = Pointer(of_shape(shape), KERNEL)
        base = field.offset + field.size if relative else 0

        def load(gen: Emitter) -> Value:
            place = gen.b.emit("load", gen.ctx, offset=field.offset, size=4, signed=False)
            found = gen.b.emit("add", gen.ctx, gen.b.emit("and", place, 0xFFFF))
            return Scalar(kind, gen.b.emit("add", found, base) if base else found)

        return FieldSpec(kind, load)


class Words(Arguments):
    """A context of 8-byte words: of raw tracepoints, of functions by trampoline, of iterators.

    :param known: the prototype, where the types have it.
    :param typed: the verifier lets the program follow pointers that it loads from the context.
    :param result: what a function returns is behind its arguments.
    """

    def __init__(self, known: Prototype | None, typed: bool, result: bool = False, title: str = "") -> None:
        self._known = known
        self._typed = typed
        self._result = result
        self._title = title
        self.count = known.words if known else 0

    def fields(self) -> Mapping[str, FieldSpec]:
        return {each.name: self._field(each) for each in self._known.arguments} if self._known else {}

    def why_no_fields(self) -> str:
        if self._known is None:
            return f"the kernel's types do not know {self._title}"
        return f"{self._title} has no arguments"

    def _field(self, argument: Argument) -> FieldSpec:
        kind = of_shape(argument.shape)
        return FieldSpec(kind, lambda gen: self._load(gen, argument.word, kind))

    def _load(self, gen: Emitter, word: int, kind: Type) -> Value:
        where = Where(gen.ctx, _WORD * word, KERNEL, gen.ctx, self._typed)
        followed = isinstance(kind, Pointer) and isinstance(kind.target, Compound) and kind.space != USER
        return at(gen, where, kind, followed)

    def numbered(self, gen: Emitter, index: int) -> Value:
        return self._load(gen, index, UINT64)

    @property
    def result(self) -> Type | None:
        if not self._result or self._known is None or self._known.result is None:
            return None
        return of_shape(self._known.result)

    def load_result(self, gen: Emitter) -> Value:
        assert self._known is not None and self.result is not None
        return self._load(gen, self._known.words, self.result)


class Registers(Arguments):
    """The processor's registers at a function's entry, or its return.

    :param known: the arguments' names and types, where they are known.
    :param ret: at the return: ``retval`` instead of arguments.
    :param inside: at an instruction inside the function: the arguments are no more.
    """

    registers = True

    def __init__(
        self,
        target: Target,
        space: str,
        known: Sequence[tuple[str, Type, int]] = (),
        *,
        ret: bool = False,
        result: Type | None = None,
        why: str = "",
    ) -> None:
        self._arch = target.arch
        self.space = space
        self._known = known
        self._ret = ret
        self._result = result
        self._why = why
        self.count = 0 if ret else 10

    def fields(self) -> Mapping[str, FieldSpec]:
        if self._ret:
            return {}
        return {name: FieldSpec(kind, lambda gen, w=word, k=kind: self._argument(gen, w, k))  # type: ignore[misc]
                for name, kind, word in self._known}  # fmt: skip

    def why_no_fields(self) -> str:
        if self._ret:
            return "the arguments are gone when a function returns; keep them in a map at its entry"
        return self._why or "the arguments' names are not known; arg0, arg1 and so on have them"

    def _argument(self, gen: Emitter, word: int, kind: Type) -> Value:
        arch = self._arch
        if word < len(arch.arguments):
            where = Where(gen.ctx, arch.registers[arch.arguments[word]], KERNEL, gen.ctx)
        else:
            sp = gen.b.emit("load", gen.ctx, offset=arch.registers[arch.sp], size=_WORD, signed=False)
            where = Where(sp, arch.stack_argument + _WORD * (word - len(arch.arguments)), self.space)
        if isinstance(kind, Pointer):
            return Scalar(kind, where.load(gen, _WORD))
        return at(gen, where, kind)

    def numbered(self, gen: Emitter, index: int) -> Value:
        return self._argument(gen, index, UINT64)

    @property
    def result(self) -> Type | None:
        return (self._result or UINT64) if self._ret else None

    def load_result(self, gen: Emitter) -> Value:
        kind = self.result
        assert kind is not None
        where = Where(gen.ctx, self._arch.registers[self._arch.result], KERNEL, gen.ctx)
        if isinstance(kind, Integer) and kind.width < INT64.width:
            return at(gen, where, kind)
        return Scalar(kind, where.load(gen, _WORD))


class Sites(Arguments):
    """The arguments of a USDT probe, which each of its sites may have elsewhere.

    :param groups: as :func:`pybpf.lang.probes.usdt.site_groups` gives them.
    """

    space = USER
    registers = True

    def __init__(self, groups: list[tuple[tuple[UsdtArg, ...], list[int]]]) -> None:
        self._groups = groups
        self.count = min(len(args) for args, _ in groups)

    def why_no_fields(self) -> str:
        return "the arguments of USDT probes have no names; arg0, arg1 and so on are they"

    def numbered_type(self, index: int) -> Type:
        return Integer(_WORD, self._groups[0][0][index].signed)

    def numbered(self, gen: Emitter, index: int) -> Value:
        from pybpf.lang.probes.usdt import words_by_site

        return Scalar(self.numbered_type(index), words_by_site(gen, self._groups, [index])[0])


class Context(Words):
    """The context of an iterator: a struct of pointers, each of which may be null at the end.

    :param type: the struct, ``struct bpf_iter__NAME``.
    """

    def __init__(self, known: Prototype | None, type: Type, title: str) -> None:
        super().__init__(known, True, title=title)
        self.type = type

    def begin(self, gen: Emitter) -> None:
        b = gen.b
        assert self._known is not None
        for argument in self._known.arguments[1:]:
            if not isinstance(of_shape(argument.shape), Pointer):
                continue
            pointer = b.emit("load", gen.ctx, type=PTR, offset=_WORD * argument.word, size=_WORD, signed=False)
            there, null = b.new_block("there"), b.new_block("null")
            b.branch("ne", pointer, 0, there, null)
            for block in (null, there):
                b.seal(block)
                b.start(block)
                if block is null:
                    b.ret(0)
