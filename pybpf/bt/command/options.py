"""The options of ``pybpf bt``: bpftrace's own, of 0.17 and 0.26, in one table."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from getopt import GetoptError, gnu_getopt
from types import MappingProxyType

from pybpf.errors import BpfError
from pybpf.record import NamedTuple, dataclass, field

__all__ = ["HELP", "STAGES", "Options", "UsageError", "read_options"]

#: what ``-d`` shows
STAGES = ("ast", "types", "codegen", "codegen-opt", "dis", "verifier")
#: the same under the names of 0.17, 0.26 and debug builds
_STAGE_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType({
    **{stage: (stage,) for stage in STAGES}, "all": STAGES, "parse": ("ast",), "libbpf": (),
})  # fmt: skip

HELP = """\
usage: pybpf bt [options] FILE [arguments]
       pybpf bt [options] -e PROGRAM [arguments]
       pybpf bt -l [SEARCH | FILE | 'struct NAME']

Run a script of the bpftrace language. FILE - is the standard input; named arguments follow --.

options:
  -e PROGRAM           run this text
  -l [SEARCH]          list probes, or those of a script; with -v their arguments; types by 'struct NAME'
  -p PID               trace this process only; its end ends the script
  -c COMMAND           start a command, and end with it; only what is attached to a process (uprobes, USDT, profile)
                       is limited to it: write /pid == cpid/
  -o FILE              write the output to a file
  -f text|json         format of the output (text)
  -B line|full|none    when the output is written (line)
  -q                   do not say how many probes are attached
  -v                   say what is loaded, and where it is attached; the whole log of the verifier if it refuses
  -k                   say which values were not kept because a map was full, also of maps that are not printed
  --no-warnings        do not print warnings
  --unsafe             allow what changes the processes that are traced: system(), signal(), override(), ...
  --dry-run            compile the script, and load nothing
  --kernel RELEASE[/ARCH]
                       with --dry-run: compile for this kernel, described, as 5.10 or 6.1/aarch64
  -d STAGE[,STAGE]     show how the script is compiled, and do not run it: ast, types, codegen, codegen-opt, dis,
                       verifier, all
  -I DIRECTORY         look there for files that the script includes
  --include FILE       read a file of C before the script
  --info               what this kernel can do
  --fmt                print the script in its canonical form
  --test, --bench      run the test or bench probes of a script, and tell what came of them
  --probe-filter REGEX only those whose names match
  -h, --help           print this
  -V, --version        print the version

BPFTRACE_MAX_STRLEN and the like set what scripts do not; see docs/bpftrace.md.
Exit code: that of exit(), 1 for errors."""


class UsageError(BpfError):
    """Words that are no command line."""


@dataclass
class Options:
    """A command line that was read.

    :ivar program: the script's text, or None: it is in :attr:`file`.
    :ivar words: the arguments of the script; of ``-l`` what is searched.
    :ivar named: its named arguments.
    :ivar trial: ``"test"`` or ``"bench"``: such probes are run, and those that :attr:`filter` matches.
    :ivar stages: what ``-d`` asks for, of :data:`STAGES`.
    """

    program: str | None = None
    file: str = ""
    words: list[str] = field(default_factory=list)
    named: dict[str, str] = field(default_factory=dict)
    listing: bool = False
    pid: int | None = None
    command: str = ""
    output: str = ""
    format: str = "text"
    buffering: str = "line"
    quiet: bool = False
    verbose: bool = False
    losses: bool = False
    warnings: bool = True
    unsafe: bool = False
    dry_run: bool = False
    kernel: str = ""
    stages: set[str] = field(default_factory=set)
    directories: list[str] = field(default_factory=list)
    includes: list[str] = field(default_factory=list)
    trial: str = ""
    filter: str = ""
    info: bool = False
    canonical: bool = False
    help: bool = False
    version: bool = False


def _set(name: str, value: object = True) -> Callable[[Options, str], None]:
    return lambda options, text: setattr(options, name, value)


def _text(name: str) -> Callable[[Options, str], None]:
    return lambda options, text: setattr(options, name, text)


def _one_more(name: str) -> Callable[[Options, str], None]:
    return lambda options, text: getattr(options, name).append(text)


def _one_of(name: str, what: str, *words: str) -> Callable[[Options, str], None]:
    def take(options: Options, text: str) -> None:
        if text not in words:
            raise UsageError(f"{what} is {', '.join(words[:-1])} or {words[-1]}, not {text!r}")
        setattr(options, name, text)

    return take


def _pid(options: Options, text: str) -> None:
    if text.isascii() and text.isdigit() and len(text) < 19 and int(text) > 0x400000:
        raise UsageError(f"there is no process {text}")
    if not (text.isascii() and text.isdigit() and len(text) < 19 and int(text)):
        raise UsageError(f"-p wants the number of a process, not {text!r}")
    options.pid = int(text)


def _stages(options: Options, text: str) -> None:
    for word in filter(None, text.split(",")):
        if word not in _STAGE_NAMES:
            raise UsageError(f"-d knows no stage {word!r}; there are {', '.join(_STAGE_NAMES)}")
        options.stages.update(_STAGE_NAMES[word])


def _mode(options: Options, text: str) -> None:
    if text in ("test", "bench"):
        options.trial = text
    elif text == "format":
        options.canonical = True
    else:
        raise UsageError(f"--mode is test, bench or format, not {text!r}; -d shows stages of the compiler")


def _nothing(options: Options, text: str) -> None:
    """An option that has no meaning here, but whose wish is fulfilled."""


def _refused(why: str) -> Callable[[Options, str], None]:
    def take(options: Options, text: str) -> None:
        raise UsageError(why)

    return take


class Option(NamedTuple):
    """A row of the table: all its names, whether it has a value, what it does."""

    names: tuple[str, ...]
    value: bool
    take: Callable[[Options, str], None]


_NO_LLVM = "there is no LLVM here: "
OPTIONS = (
    Option(("-e",), True, _text("program")),
    Option(("-l", "--list"), False, _set("listing")),
    Option(("-p", "--pid"), True, _pid),
    Option(("-c", "--cmd"), True, _text("command")),
    Option(("-o", "--output"), True, _text("output")),
    Option(("-f",), True, _one_of("format", "the format (-f)", "text", "json")),
    Option(("-B",), True, _one_of("buffering", "buffering (-B)", "line", "full", "none")),
    Option(("-q", "--quiet"), False, _set("quiet")),
    Option(("-v", "--verbose"), False, _set("verbose")),
    Option(("-k", "--warnings"), False, _set("losses")),
    Option(("--no-warnings",), False, _set("warnings", False)),
    Option(("--unsafe",), False, _set("unsafe")),
    Option(("--dry-run",), False, _set("dry_run")),
    Option(("--kernel",), True, _text("kernel")),
    Option(("-d", "--debug"), True, _stages),
    Option(("-I",), True, _one_more("directories")),
    Option(("--include",), True, _one_more("includes")),
    Option(("--info",), False, _set("info")),
    Option(("--fmt",), False, _set("canonical")),
    Option(("-h", "--help"), False, _set("help")),
    Option(("-V", "--version"), False, _set("version")),
    Option(("--test",), False, _set("trial", "test")),
    Option(("--bench",), False, _set("trial", "bench")),
    Option(("--mode",), True, _mode),
    Option(("--probe-filter",), True, _text("filter")),
    # what is so anyway
    Option(("-b", "--btf"), False, _nothing),
    Option(("--usdt-file-activation",), False, _nothing),
    Option(("--no-feature",), True, _nothing),
    Option(("--traceable-functions",), True, _nothing),
    Option(("--debuginfo",), True, _nothing),
    Option(("--dwarf-pid",), True, _nothing),
    Option(("--verify-llvm-ir",), False, _nothing),
    # what cannot be
    Option(("--emit-llvm",), True, _refused(f"{_NO_LLVM}-d codegen shows the intermediate code of pybpf's compiler")),
    Option(("--emit-elf",), True, _refused("--emit-elf: there are no object files here; -d dis shows the bytecode")),
    Option(("--aot",), True, _refused("--aot: scripts are compiled in milliseconds, and never ahead of time")),
)
_BY_NAME: Mapping[str, Option] = MappingProxyType({name: option for option in OPTIONS for name in option.names})


def read_options(words: Sequence[str]) -> Options:
    """Read a command line. :raises UsageError: it makes no sense."""
    short = "".join(name[1] + ":" * option.value for name, option in _BY_NAME.items() if len(name) == 2)
    long = [name[2:] + "=" * option.value for name, option in _BY_NAME.items() if len(name) > 2]
    try:
        found, rest = gnu_getopt(_with_stages(words), short, long)
    except GetoptError as error:
        from pybpf.sys.near import did_you_mean

        near = did_you_mean(error.opt, [name.lstrip("-") for name in _BY_NAME]) if len(error.opt) > 1 else ""
        raise UsageError(f"{error.msg}{near.replace('did you mean ', 'did you mean --')}") from None
    options = Options()
    for name, value in found:
        _BY_NAME[name].take(options, value)
    _positional(options, rest)
    if options.command and options.pid:
        raise UsageError("-p and -c exclude each other: what is traced is either there or to be started")
    if options.kernel and not (options.dry_run or options.stages):
        raise UsageError("--kernel describes another kernel: it needs --dry-run or -d")
    return options


def _with_stages(words: Sequence[str]) -> list[str]:
    """bpftrace 0.17 has ``-d`` and ``-dd`` without a stage: they mean all of them."""
    found = list(words)
    for at, word in enumerate(words):
        if word == "--":
            break
        following = words[at + 1].split(",") if at + 1 < len(words) else [""]
        if word == "-dd" or (word == "-d" and not _are_stages(following)):
            found[at] = "-dall"
    return found


def _are_stages(words: Sequence[str]) -> bool:
    """Whether words are stages, or can be nothing else, though there are no such stages."""
    known = [each in _STAGE_NAMES for each in words]
    return all(known) or any(known) or (len(words) == 1 and words[0].isalpha() and not os.path.exists(words[0]))


def _positional(options: Options, rest: list[str]) -> None:
    if options.help or options.version or options.info:
        return
    if options.listing:
        if len(rest) > 1:
            raise UsageError("-l takes one search, or one script")
        if rest and os.path.isfile(rest[0]):
            options.file = rest.pop()
        options.words = rest
        return
    if options.program is None:
        if not rest:
            raise UsageError("there is nothing to run: give a file, or a script by -e")
        options.file = rest.pop(0)
    for word in rest:
        if word.startswith("--") and len(word) > 2:
            name, equal, value = word[2:].partition("=")
            options.named[name] = value if equal else "1"
        else:
            options.words.append(word)
