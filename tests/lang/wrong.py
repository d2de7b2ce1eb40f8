"""What wrong probes are compiled with: names that they may use, a described kernel, and the files of cases.

A case is the text of a probe and the whole message that it is refused with, in files that are readable in review::

    === what is wrong with it
    def probe(args):
        assert args.flags
    ---
    probe.py:2:5: 'assert' cannot be compiled: ...

A heading that ends in ``[3.10]`` needs that version of Python. The last function of the text is the probe: of
``syscalls:sys_enter_openat``, unless it is decorated. ``python -m tests.lang.wrong`` writes the messages anew.
"""

from __future__ import annotations

import enum
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

import pybpf
import pybpf.lang
import pybpf.lang.builtins.kernel
import pybpf.lang.builtins.user
import pybpf.types
from pybpf import BpfError, CompileError, Struct, Tracer, char, s32, s64, u8, u32, u64
from pybpf.btf import Btf
from pybpf.btf.writer import BtfBuilder
from pybpf.compiler.target import Target

__all__ = ["CASES", "Case", "message_of", "names", "read_cases"]

CASES = Path(__file__).with_name("refused")

_OPENAT = """\
name: sys_enter_openat
ID: 656
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:int __syscall_nr;\toffset:8;\tsize:4;\tsigned:1;
\tfield:int dfd;\toffset:16;\tsize:8;\tsigned:0;
\tfield:const char * filename;\toffset:24;\tsize:8;\tsigned:0;
\tfield:int flags;\toffset:32;\tsize:8;\tsigned:0;
\tfield:umode_t mode;\toffset:40;\tsize:8;\tsigned:0;
"""
FIELDS = {"syscalls:sys_enter_openat": _OPENAT}


def _types() -> Btf:
    b = BtfBuilder()
    number, long, text = b.int("int", 4, signed=True), b.int("long unsigned int", 8), b.int("char", 1)
    inner = b.struct("sock_common", 8, [("skc_daddr", number, 0), ("skc_dport", number, 4)])
    sock = b.struct("sock", 24, [("__sk_common", inner, 0), ("sk_flags", long, 8), ("sk_socket", b.ptr(), 16)])
    task = b.struct("task_struct", 32, [("pid", number, 0), ("tgid", number, 4), ("comm", b.array(text, 16), 16)])
    pointer = b.ptr(sock)
    b.ptr(task)
    b.func("tcp_connect", b.func_proto(number, [("sk", pointer)]))
    b.func("inet_release", b.func_proto(0, [("sk", pointer), ("how", number)]))
    b.typedef("btf_trace_sched_exit", b.ptr(b.func_proto(0, [("__data", b.ptr()), ("p", b.ptr(task))])))
    return Btf.from_bytes(b.bytes())


TARGET = Target.described("6.8", "x86_64", types=_types(), fields=FIELDS)


class Pair(Struct):
    first: u32
    second: s64
    name: char[16]


class Color(enum.IntEnum):
    RED = 1
    BLUE = 2


class Table(Struct):
    items: u32[4]
    pair: Pair


class Plain:
    """No Struct."""

    count = 0


def names() -> dict[str, Any]:
    """The globals of a case: everything public of pybpf, a tracer, one of each of what it makes."""
    found: dict[str, Any] = {"__name__": "probe"}
    for module in (pybpf, pybpf.types, pybpf.lang, pybpf.lang.builtins.kernel, pybpf.lang.builtins.user):
        found.update({name: getattr(module, name) for name in module.__all__})
    found.update({name: getattr(pybpf.lang, name) for name in ("enum", "random", "signal")})
    tracer = Tracer(target=TARGET)
    found.update(
        Color=Color, Pair=Pair, Plain=Plain, Table=Table, plain=Plain(), tracer=tracer,
        counts=tracer.hash(u32, u64), pairs=tracer.hash(u32, Pair), named=tracer.hash(char[16], u64),
        tables=tracer.hash((u32, u32), Table), slots=tracer.array(u64, 8), tiny=tracer.hash(u32, u8),
        events=tracer.events(Pair), queue=tracer.queue(u32), total=tracer.variable(s32),
        LIMIT=100, NAMES=("a", "b"), TEXT="x" * 40, settings={"limit": 3},
    )  # fmt: skip
    found.update(hits=tracer.count(key=u32), sizes=tracer.histogram(), slow=tracer.stats(key=char[16]))
    return found


def message_of(source: str, path: Path, target: Target = TARGET) -> str:
    """The message of the error that a probe is refused with; ``""``: it compiles. The file is called probe.py in it.

    :param path: a file that may be written.
    """
    path.write_text(source, "utf-8")
    space = names()
    tracer: Tracer = space["tracer"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            code = compile(source, str(path), "exec", dont_inherit=True)
        exec(code, space)
        if not tracer.declared:
            here = [each for each in space.values() if isinstance(each, FunctionType) and each.__module__ == "probe"]
            tracer.tracepoint("syscalls:sys_enter_openat")(here[-1])
        tracer.compile(target)
    except CompileError as error:
        return str(error).replace(str(path), "probe.py")
    except BpfError as error:
        return f"{type(error).__name__}: {error}".replace(str(path), "probe.py")
    return ""


class Case(NamedTuple):
    """One wrong probe."""

    title: str
    source: str
    message: str
    since: tuple[int, ...]  #: the version of Python that it needs


def read_cases(path: Path) -> Iterator[Case]:
    """The cases of a file."""
    for part in re.split(r"(?m)^=== ", path.read_text("utf-8"))[1:]:
        title, _, rest = part.partition("\n")
        source, _, message = rest.partition("---\n")
        since = re.search(r"\[(3)\.(\d+)\]$", title)
        needed = (int(since[1]), int(since[2])) if since else (3, 9)
        yield Case(title, source, message.rstrip("\n"), needed)


def _rewrite(make: Callable[[str, Path], str], scratch: Path) -> None:
    for path in sorted(CASES.glob("*.txt")):
        parts = []
        for case in read_cases(path):
            message = make(case.source, scratch) if sys.version_info >= case.since else case.message
            parts.append(f"=== {case.title}\n{case.source}---\n{message}\n")
        path.write_text("\n".join(parts), "utf-8")


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        _rewrite(message_of, Path(folder, "probe.py"))
