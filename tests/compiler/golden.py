"""The golden files: the bytecode of the reference probes, under the lines of Python that it comes from.

``python -m tests.compiler.golden`` writes them anew; what changed is then to be looked at, by ``git diff``.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.codegen import probes
from pybpf.lang.tracer.loading import Built
from tests.compiler.golden_target import RELEASE, golden_target

__all__ = ["GOLDEN", "golden_text", "main"]

#: name of a probe -> its file
GOLDEN = {probe.__name__: Path(__file__).parent / "golden" / f"{probe.__name__}.txt" for probe in probes.PROBES}
#: the process that the probes look at
_PROCESS = 4242


def golden_text(name: str) -> str:
    """What the file of a probe has to be."""
    tracer = getattr(probes, name)(_PROCESS)
    programs = tracer.compile(golden_target())
    slots = sum(each.compiled.spec.code.slots for each in programs)
    return "\n\n".join([f"# {name}: {slots} instructions for {RELEASE}", *map(_program, programs)]) + "\n"


def _program(built: Built) -> str:
    code = built.compiled.spec.code
    labels = {index: name for name, index in code.labels.items()}
    rows = [f"{built.declared.function.__name__}:  # {built.probe.title}"]
    before = None
    for index, insn in enumerate(code.insns):
        if index in labels:
            rows.append(f"{labels[index]}:")
        assert insn.line is not None, f"instruction {index} has no line: {insn}"
        if insn.line.text != before:
            before = insn.line.text
            rows.append(f"; {before.strip()}")
        rows.append(f"  {code.slot(index):3}: {insn}")
    return "\n".join(rows)


def main() -> None:
    """Write all files."""
    for name, path in GOLDEN.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(golden_text(name))


if __name__ == "__main__":
    main()
