"""What to do in Python when the kernel's verifier refuses a probe: its reasons mean other things than in assembler.

:mod:`pybpf.prog.verifier` reads the log, finds the source line, and says the same for programs of instructions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING

from pybpf.errors import VerifierError

if TYPE_CHECKING:
    from pybpf.compiler.target import Target

__all__ = ["advice_in_python", "in_python"]

#: What stands for advice that depends on the loops that the kernel has.
ENDLESS, MANY_WAYS = "endless", "many ways"
#: The same -> (feature, advice): the first feature that the kernel has decides.
_BY_FEATURE: Mapping[str, tuple[tuple[str, str], ...]] = MappingProxyType({
    ENDLESS: (
        ("helper_loop", "for all the verifier knows the loop never ends: write 'for i in range(n):', and 'break' where "
                        "it may end early"),
        ("", "for all the verifier of this kernel knows the loop never ends: give it an end, as in 'for i in range(n & "
             "63):', and 'break' where it may end early"),
    ),
    MANY_WAYS: (
        ("helper_loop", "the verifier follows every way through the 'if's of the probe and of its loops, and gave up: "
                        "ask less in the loop that this line is in, or count there and decide behind it, or split the "
                        "probe into two"),
        ("", "the verifier of this kernel follows every turn of every loop and every way through its 'if's, and gave "
             "up: bound the loop, as in 'for i in range(n & 63):', and take 'in' and path() out of it"),
    ),
})  # fmt: skip
#: First match wins. Reasons that are not here keep the advice that they have.
_ADVICE: tuple[tuple[str, str], ...] = (
    (
        r"_or_null_?'|possibly null pointer|pointer arithmetic on \w+_or_null",
        "the value may be missing on one of the ways that lead here: write 'if x is None: return' before it is used",
    ),
    (
        r"leads? to reference leak|[Uu]nreleased reference",
        "what reserve() gave must be passed to submit() or discard() once on every way out of the function, 'return' "
        "and the end of a loop included",
    ),
    (
        r"expected=(?:ringbuf_mem|alloc_mem)|release.*reference",
        "submit() and discard() take what reserve() gave, once: it is gone afterwards",
    ),
    (
        r"invalid mem access '(?:inv|scalar)'",
        "this is no memory that the probe may use here: an event is gone after submit() or discard(), a value may be "
        "missing where it was not compared with None, and an address is read by read_kernel(...) or read_user(...)",
    ),
    (
        r"back-edge",
        "this kernel takes no loops (Linux 5.3 does): write 'for' over a short constant range, which is unrolled",
    ),
    (r"infinite loop", ENDLESS),
    (r"program is too large|jumps is too complex|too complex|too many states", MANY_WAYS),
    (
        r"combined stack size|stack depth|off=-(?:51[3-9]|5[2-9]\d|[6-9]\d\d|\d{4,})\b",
        "the functions that call each other here have more than 512 bytes of variables: keep large ones in a map",
    ),
    (
        r"invalid (?:indirect )?read from stack|invalid access to stack.*uninit|!read_ok",
        "a variable is read that has no value on one of the ways that lead here: give it one before",
    ),
    (
        r"min value is negative",
        "the number may be negative for all the verifier knows: write u32(x), or 'if x < 0: return' right before",
    ),
    (
        r"unbounded (?:memory access|size)|outside of the (?:allowed memory|array) range|invalid access to map value"
        r"|unbounded variable-offset|unbounded min value|math between \w+ pointer and register"
        r"|makes \w+ pointer be out of bounds",
        "the verifier cannot prove that the index stays inside: write x[i & 15], say, or 'if i < 16:' right before",
    ),
    (
        r"invalid bpf_context access|doesn't have \d+-th arg",
        "the probe has no such parameter on this kernel: take away the last ones, or say their types",
    ),
    (
        r"pointer arithmetic|subtraction from stack pointer|32-bit pointer|pointer \+= pointer",
        "an address that the kernel watches over cannot be computed with: write pointer[n], or u64(pointer)",
    ),
)  # fmt: skip


def advice_in_python(reason: str, target: Target) -> str:
    """What to do about a verifier's reason in a probe, or ``""`` where nothing else can be said than of any program.

    :param target: the kernel that gave it.
    """
    found = next((advice for pattern, advice in _ADVICE if re.search(pattern, reason)), "")
    ways = _BY_FEATURE.get(found)
    return found if ways is None else next(advice for feature, advice in ways if not feature or target.has(feature))


@contextmanager
def in_python(target: Target) -> Iterator[None]:
    """Errors of the verifier that leave it say what to do in Python.

    :param target: the kernel that the program was compiled for.
    :raises VerifierError: with that advice.
    """
    try:
        yield
    except VerifierError as error:
        error.advice = advice_in_python(error.cause, target) or error.advice
        raise
