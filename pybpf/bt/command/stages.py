"""What ``-d`` shows of a script that is compiled: a function for each stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from pybpf.bt.syntax.parse import parse
from pybpf.bt.syntax.printer import script_text

if TYPE_CHECKING:
    from pybpf.bt.state.script import CompiledScript

__all__ = ["stage_texts"]

#: stages of the compiler that are neither what the front end made nor bytecode
_LAST, _CODE = "source", "code"


def stage_texts(compiled: CompiledScript, stages: set[str]) -> Iterator[str]:
    """The stages that are asked for, in the order in which they happen.

    :param compiled: with its stages kept.
    """
    for name, show in _STAGES.items():
        if name in stages:
            for title, text in show(compiled):
                yield f"{title}\n{'-' * len(title)}\n{text.rstrip()}\n"


def _ast(compiled: CompiledScript) -> Iterator[tuple[str, str]]:
    source = compiled.source
    yield "Script in canonical form", script_text(parse(source.text, source.file))


def _types(compiled: CompiledScript) -> Iterator[tuple[str, str]]:
    lines = []
    for found in compiled.shared.maps.values():
        key = "" if found.key is None else f"[{found.key.name}]"
        lines.append(f"@{found.name}{key}: {found.value.name}")
    for built in compiled.built:
        assert built.checked is not None
        variables = {each.name: each for each in built.checked.variables.values()}
        for variable in variables.values():
            kind = "?" if variable.type is None else variable.type.name
            lines.append(f"{built.site.name}: ${variable.name}: {kind}")
    yield "Types of maps and variables", "\n".join(lines) or "none"


def _of_compiler(title: str, wanted: Callable[[str], bool]) -> Callable[[CompiledScript], Iterator[tuple[str, str]]]:
    def show(compiled: CompiledScript) -> Iterator[tuple[str, str]]:
        for built in compiled.built:
            for name, text in built.compiled.stages.items():
                if wanted(name):
                    yield f"{title} of {built.site.name}: {name}", text

    return show


def _verifier(compiled: CompiledScript) -> Iterator[tuple[str, str]]:
    from pybpf.bt.runtime.live import Live

    live = Live(compiled.shared, compiled.target)
    try:
        for name, log in live.logs(compiled.built):
            yield f"Log of the verifier for {name}", log
    finally:
        live.close()


#: stage -> what makes (title, text) of it
_STAGES: Mapping[str, Callable[[CompiledScript], Iterator[tuple[str, str]]]] = MappingProxyType({
    "ast": _ast,
    "types": _types,
    "codegen": _of_compiler("Intermediate code", lambda name: name == _LAST),
    "codegen-opt": _of_compiler("Intermediate code", lambda name: name not in (_LAST, _CODE)),
    "dis": _of_compiler("Bytecode", lambda name: name == _CODE),
    "verifier": _verifier,
})  # fmt: skip
