"""Trace queries of PostgreSQL, MySQL and MariaDB servers that take longer than a limit."""

from __future__ import annotations

import os
from glob import glob
from typing import Any, NamedTuple

from pybpf import NotFoundError, Struct, char, u32, u64
from pybpf.lang import comm, ktime_ns, pid, read_user, read_user_str, tid
from pybpf.symbols import ElfFile, find_binary, usdt_sites
from pybpf.tool import Column, Moment, Run, Tool, arguments, clean, option, shared


class Server(NamedTuple):
    """A kind of server."""

    programs: tuple[str, ...]  #: its names, or where it is
    begin: str  #: USDT probes, of which the first has the query's text as its first argument
    end: str


SERVERS = {
    "postgres": Server(("/usr/lib/postgresql/*/bin/postgres", "postgres"), "postgresql:query__start",
                       "postgresql:query__done"),
    "mysql": Server(("mysqld", "mariadbd", "/usr/sbin/mysqld", "/usr/sbin/mariadbd", "/usr/libexec/mysqld"),
                    "mysql:query__start", "mysql:query__done"),
}  # fmt: skip
#: The function that carries out what a client sends, where there are no USDT probes. What it is given is in its name:
#: in MySQL 5.7 and newer (thread, data, command), in MariaDB and before 5.7 (command, thread, text, ...).
DISPATCH = "_Z16dispatch_command*"
DATA_FIRST = "_Z16dispatch_commandP3THD"
#: the command that is a query
COM_QUERY = 3
MAX_ENTRIES = 10240
TEXT = 256


class Query(Struct):
    """A query: running, or done."""

    time: u64
    ns: u64
    pid: u32
    tid: u32
    comm: char[16]
    text: char[TEXT]


def trace(run: Run) -> None:
    """The probes, and a row for each slow query."""
    options = run.options
    run.require()
    server = SERVERS[options.server]
    path = program(run, server)
    tracer = run.tracer()
    running = tracer.hash(u32, Query, max_entries=MAX_ENTRIES)
    queries = tracer.events(Query)
    limit: int = options.ms

    def begins(text: int) -> None:
        running[tid()] = Query(time=ktime_ns(), pid=pid(), tid=tid(), comm=comm(), text=read_user_str(text))

    def ends() -> None:
        query = running.get(tid())
        if query is None:
            return
        query.ns = ktime_ns() - query.time
        if query.ns >= limit:
            queries.emit(query)
        del running[tid()]

    def text_begins(text: u64) -> None:
        begins(text)

    def command_begins(command: u32, thread: u64, text: u64) -> None:
        if command == COM_QUERY:
            begins(text)

    def data_begins(thread: u64, data: u64, command: u32) -> None:
        if command == COM_QUERY:
            begins(read_user(data, u64))

    function = "" if has_usdt(path, server) else dispatcher(path, server)
    if function:
        tracer.uprobe(path, function)(data_begins if function.startswith(DATA_FIRST) else command_begins)
        tracer.uretprobe(path, function)(ends)
    else:
        tracer.usdt(path, server.begin)(text_begins)
        tracer.usdt(path, server.end)(ends)

    rows = run.rows(columns(run), moment=Moment(lambda query: str(query.text), lambda query: query.ns, ended))
    run.start(tracer)
    whose = f"process {run.pid}" if run.pid else clean(path)
    run.say(f"Tracing database queries of {whose} slower than {limit / 1e6:g} ms...")
    rows.header()
    run.deliver({queries: rows.write})


def program(run: Run, server: Server) -> str:
    """The path of the server."""
    if run.options.exe:
        return find_binary(run.options.exe, run.pid).path
    if run.pid:
        return f"/proc/{run.pid}/exe"
    for name in server.programs:
        found = max(glob(name), default=None) if name.startswith("/") else None
        try:
            return found or find_binary(name).path
        except NotFoundError:
            continue
    raise NotFoundError(f"there is no program {server.programs[-1]} here: name it by -x, or a process by -p")


def has_usdt(path: str, server: Server) -> bool:
    """Whether the program was built with its USDT probes."""
    with ElfFile(path) as elf:
        return {server.begin, server.end} <= {site.probe for site in usdt_sites(elf)}


def dispatcher(path: str, server: Server) -> str:
    """The function that carries out commands, if it is that of a server of MySQL."""
    with ElfFile(path) as elf:
        found = [each.name for each in elf.functions(DISPATCH)] if server is SERVERS["mysql"] else []
    if len(found) != 1:
        raise NotFoundError(f"{clean(os.path.realpath(path))} has no USDT probe {server.begin}, and no function that "
                            "is known to carry out queries")  # fmt: skip
    return found[0]


def ended(query: Any) -> int:
    """When a query ended."""
    return int(query.time + query.ns)


def columns(run: Run) -> list[Column]:
    """Those of BCC's dbslower."""
    return [
        run.clock.wall(shown=False, of=ended),
        run.clock.offset("%-14.6f ", of=ended),
        Column("PID", "%-7d ", "pid", lambda query: query.pid),
        Column("TID", "%-7d ", "tid", lambda query: query.tid, False),
        Column("COMM", "%-16s ", "comm", lambda query: query.comm, False),
        Column("MS", "%8.3f ", "duration_ms", lambda query: query.ns / 1e6),
        Column("QUERY", "%s", "query", lambda query: query.text,
               text=lambda query: clean(query.text) + ("..." if is_cut(query) else "")),
        Column("CUT", "%s", "query_cut", is_cut, False),
    ]  # fmt: skip


def is_cut(query: Any) -> bool:
    """Whether only the begin of a query was kept."""
    return len(query.text.encode("utf-8", "surrogateescape")) == TEXT - 1


def milliseconds(text: str) -> int:
    """A limit: nanoseconds."""
    number = float(text)
    if not 0 <= number < 1e9:
        raise arguments.wrong(text, "a number of milliseconds, zero or more")
    return int(number * 1_000_000)


TOOL = Tool(
    name="dbslower",
    topic="Applications",
    summary="trace queries of PostgreSQL or MySQL that are slow",
    trace=trace,
    probes=("USDT probes query__start and query__done of the server; of a MySQL or MariaDB that was built without them "
            "the function dispatch_command",),
    options=(
        option("server", choices=sorted(SERVERS), help="the kind of server; mysql is MariaDB, too"),
        option("-m", "--ms", "--threshold", type=milliseconds, default=1_000_000, metavar="MS",
               help="only queries that take as many milliseconds (default: 1)"),
        option("-x", "--exe", metavar="FILE", help="the server's program, by path; otherwise that of the process, or "
               "the one that is installed"),
        *shared("who ends rows perfetto"),
    ),
    examples=(
        ("postgres", "queries of more than a millisecond"),
        ("postgres -p 181 -m 0", "all queries of one process of the server"),
        ("mysql -x /opt/mysql/bin/mysqld -m 100", "those of another MySQL, of more than 100 ms"),
    ),
    notes=f"""\
Text is read when a query begins, up to {TEXT - 1} bytes. Of PostgreSQL simple queries are seen, of MySQL the command
COM_QUERY: those that were prepared before are not.""",
)  # fmt: skip
main = TOOL.main
