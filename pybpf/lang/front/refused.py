"""What Python has and a probe cannot have: why, and what to write instead; one table."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

__all__ = ["instead_of", "meaningless", "reason"]

_FUNCTION = "define it outside of the probe, and call it here"
_COMPREHENSION = "write a 'for' loop"
_EXCEPTIONS = "eBPF has no exceptions"

_REASONS: Mapping[str, str] = MappingProxyType({
    "Assert": f"'assert' cannot be compiled: {_EXCEPTIONS}; write 'if not ...: return'",
    "AsyncFor": "'async for' cannot be compiled: a probe does not wait",
    "AsyncFunctionDef": f"a function inside of a probe cannot be compiled: {_FUNCTION}",
    "AsyncWith": "'async with' cannot be compiled: a probe does not wait",
    "Await": "'await' cannot be compiled: a probe does not wait",
    "ClassDef": "a class inside of a probe cannot be compiled: define it outside of the probe",
    "Dict": "a dict cannot be made in a probe: use a map, such as tracer.hash(...)",
    "DictComp": "a dict cannot be made in a probe: use a map, such as tracer.hash(...)",
    "FunctionDef": f"a function inside of a probe cannot be compiled: {_FUNCTION}",
    "GeneratorExp": f"a generator cannot be compiled: {_COMPREHENSION}",
    "Global": "'global' cannot be compiled: the globals of Python are constants in a probe; keep values in a map",
    "Import": "'import' cannot be compiled: import outside of the probe",
    "ImportFrom": "'import' cannot be compiled: import outside of the probe",
    "Lambda": f"a lambda inside of a probe cannot be compiled: {_FUNCTION}",
    "ListComp": f"a list comprehension cannot be compiled: {_COMPREHENSION}",
    "Nonlocal": "'nonlocal' cannot be compiled: what is outside of a probe is constant in it; keep values in a map",
    "Raise": f"'raise' cannot be compiled: {_EXCEPTIONS}; write 'return', or emit an event that says what is wrong",
    "SetComp": f"a set comprehension cannot be compiled: {_COMPREHENSION}",
    "Starred": "'*' cannot be compiled here: name each value",
    "Try": f"'try' cannot be compiled: {_EXCEPTIONS}; test values before they are used",
    "TryStar": f"'try' cannot be compiled: {_EXCEPTIONS}; test values before they are used",
    "TypeAlias": "'type' cannot be compiled: define types outside of the probe",
    "With": "'with' is for events only: 'with events.reserve() as event:' submits at its end",
    "Yield": "'yield' cannot be compiled: send values by the emit() of tracer.events(...)",
    "YieldFrom": "'yield' cannot be compiled: send values by the emit() of tracer.events(...)",
})  # fmt: skip

#: parts of statements and expressions that are compiled with what they are a part of
_PARTS = frozenset({"FormattedValue", "Starred"})

_COLLECTION = "keep values in a map, such as tracer.hash(...)"
_FLOAT = "eBPF has no floating point: compute with what is read, in Python"
_TIME = "write ktime_ns() or boot_ns()"

#: What to write instead of functions of Python that a probe cannot call, by their modules and names.
_INSTEAD: Mapping[str, str] = MappingProxyType({
    "builtins.all": "write 'and'", "builtins.any": "write 'or'", "builtins.dict": _COLLECTION,
    "builtins.divmod": "write a // b and a % b", "builtins.pow": "write a ** 2, where the exponent is a constant",
    "_socket.htonl": "write hton32(x) of pybpf.lang", "_socket.htons": "write hton16(x) of pybpf.lang",
    "_socket.ntohl": "write ntoh32(x) of pybpf.lang", "_socket.ntohs": "write ntoh16(x) of pybpf.lang",
    "builtins.enumerate": "write 'for i in range(n)' and x[i]", "builtins.filter": "write a 'for' loop",
    "builtins.float": _FLOAT, "builtins.getattr": "write x.name", "builtins.hasattr": "write has_field(...)",
    "builtins.input": "a probe cannot wait", "builtins.isinstance": "types are known when a probe is compiled",
    "builtins.iter": "write 'for i in range(n)' and x[i]", "builtins.list": _COLLECTION,
    "builtins.map": "write a 'for' loop", "builtins.open": "emit what is to be written, and write it in Python",
    "builtins.repr": "write print(f\"{x!r}\")", "builtins.reversed": "write range(n - 1, -1, -1)",
    "builtins.round": _FLOAT, "builtins.set": _COLLECTION, "builtins.sorted": "sort in Python",
    "builtins.str": "write print(f\"{x}\"), or keep the number", "builtins.sum": "write a 'for' loop",
    "builtins.zip": "write 'for i in range(n)' and x[i]", "math.": _FLOAT, "posix.getpid": "write pid()",
    "posix.getppid": "write ppid()", "posix.getuid": "write uid()", "random.": "write random() of pybpf.lang",
    "time.sleep": "a probe cannot wait; compare what ktime_ns() gives", "time.": _TIME,
    "str.format": "write print(f\"...\")",
    "dict.": _COLLECTION, "list.": _COLLECTION, "set.": _COLLECTION, "str.": "keep the text, and do this in Python",
})  # fmt: skip


def reason(node: ast.AST) -> str:
    """Why a node of the syntax tree cannot be compiled."""
    name = type(node).__name__
    return _REASONS.get(name, f"{name} has no meaning in eBPF")


def meaningless(body: list[ast.stmt], known: Mapping[type[ast.AST], object]) -> Iterator[ast.AST]:
    """What cannot be compiled of statements, also where nothing leads to it.

    :param known: the classes of statements and expressions that can be.
    """
    waiting: list[ast.AST] = list(reversed(body))
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.stmt, ast.expr)) and type(node) not in known and type(node).__name__ not in _PARTS:
            yield node
            continue
        waiting += reversed(list(ast.iter_child_nodes(node)))


#: of a function that no advice is known for
_CALLED = "a probe calls functions of pybpf.lang, and plain functions of Python, which are compiled"


def instead_of(function: Any) -> str:
    """``": write ..."`` for a function of Python that a probe cannot call, or ``""``."""
    owner = getattr(function, "__self__", None)
    method = isinstance(owner, (dict, list, set, str))
    module = type(owner).__name__ if method else getattr(function, "__module__", None)
    plain = getattr(function, "__name__", "")
    if getattr(builtins, plain, None) is function:
        module = "builtins"  # open() says that it is of another
    name = f"{module}.{plain}"
    found = _INSTEAD.get(name) or _INSTEAD.get(f"{module}.")
    return f": {found or _CALLED}"
