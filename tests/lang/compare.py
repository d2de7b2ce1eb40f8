"""Random functions, in the kernel and in the model: ``python -m tests.lang.compare --count 20000 --jobs 2``.

Every function that the front end accepts must pass the verifier, and give what the model gives: the same results, and
the same content of all maps. Of each four functions one has integers alone. Prints how many were compared, or the
first that differs.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pybpf.errors import BpfError, CompileError
from pybpf.lang.front import outline
from pybpf.lang.state.maps import Queue
from pybpf.types import layout
from tests.lang import harness
from tests.lang.generate import arguments, function_text
from tests.lang.model import evaluate
from tests.lang.model_memory import Memory
from tests.lang.world import MAPS, NAMES

__all__ = ["REFUSED", "compare", "made", "start"]

#: calls of each function
ROUNDS = 4
#: Why a random function may be refused: a constant that was computed does not fit; it needs too many values at once; a
#: name stands for what is no more.
#: More than this part of all functions must not be refused.
REFUSED = 0.05
_REASONS = ("does not fit", "bytes of stack for values", "may take away", "makes anew")
#: the same of functions with long loops, on kernels that have to walk through them
_TOO_LONG = "is too long for the verifier"
#: (statements at most, how many of ten functions)
_SIZES = (1, 2, 2, 2, 2, 3, 3, 3, 4, 8)


def made(text: str) -> Any:
    """The function ``probe`` of a module's text."""
    names = dict(NAMES)
    exec(compile(text, "<random>", "exec", dont_inherit=True), names)
    return names["probe"]


@contextmanager
def _outlined(small: bool) -> Iterator[None]:
    """Small functions that are called more than once become functions of eBPF."""
    before = outline.LARGE
    outline.LARGE = 1 if small else before
    try:
        yield
    finally:
        outline.LARGE = before


def compare(seed: int, long: bool = False, without: Collection[str] = ()) -> bool:
    """Compare one function; whether it was accepted.

    :param long: it has long loops.
    :param without: features of this kernel to do without.
    :raises AssertionError: it differs, or the verifier refuses it.
    """
    size = _SIZES[seed % 10] if seed % 4 else 2 * _SIZES[seed % 10]
    text, kinds = function_text(seed, size, memory=bool(seed % 4), long=long)
    memory, rng = Memory(), random.Random(seed)
    expected = evaluate(text, memory.names)
    try:
        with _outlined(seed % 3 == 0), harness.load(made(text), source=text, without=without) as program:
            for _ in range(ROUNDS):
                args = arguments(rng, kinds)
                got, right = program(*args), expected(*args)
                assert got == right, f"probe{tuple(args)} gives {got}, not {right}"
            for name in MAPS.keys() & program.maps.keys():
                assert _content(name, program.maps[name]) == memory.content(name), f"{name} differs"
    except CompileError as error:
        reasons = (*_REASONS, _TOO_LONG) if long else _REASONS
        assert any(each in str(error) for each in reasons), f"seed {seed}: {error}\n{text}"
        return False
    except (AssertionError, BpfError) as error:
        raise AssertionError(f"seed {seed}: {error}\n{text}") from None
    return True


def _content(name: str, loaded: Any) -> Any:
    """What a map holds, packed, as the model says it."""
    spec = MAPS[name].spec
    value = layout(spec.value)
    if isinstance(MAPS[name], Queue):  # and a stack, which is one
        return [value.pack(each) for each in loaded.drain()]
    return {layout(spec.key).pack(key): value.pack(each) for key, each in loaded.items()}


def start(first: int, count: int, jobs: int, options: Sequence[str] = ()) -> list[subprocess.Popen[str]]:
    """Compare the functions of ``count`` seeds in processes of their own."""
    ends = [first + count * number // jobs for number in range(jobs + 1)]
    command = [sys.executable, "-m", "tests.lang.compare", "--jobs", "1", *options]
    return [
        subprocess.Popen(
            [*command, "--first", str(one), "--count", str(end - one)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for one, end in zip(ends, ends[1:])
    ]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lang.compare", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--count", type=int, default=2000, help="how many functions")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--long", action="store_true", help="functions with long loops")
    parser.add_argument("--without", action="append", default=[], help="a feature of this kernel to do without")
    options = parser.parse_args()
    if options.jobs > 1:
        more = [*(["--long"] if options.long else []), *(f"--without={each}" for each in options.without)]
        running = start(options.first, options.count, options.jobs, more)
        print("".join(each.communicate()[0] for each in running), end="")
        return max(each.returncode for each in running)
    accepted = 0
    for seed in range(options.first, options.first + options.count):
        try:
            accepted += compare(seed, options.long, options.without)
        except AssertionError as error:
            print(error)
            return 1
    refused = options.count - accepted
    print(f"{accepted} functions agree, {refused} were refused")
    return int(refused > max(3, REFUSED * options.count))


if __name__ == "__main__":
    sys.exit(main())
