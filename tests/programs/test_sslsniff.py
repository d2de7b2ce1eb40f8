"""sslsniff: what a process sends to itself through each library."""

from __future__ import annotations

import csv
import ctypes.util
import json
import signal
from typing import Any

import pytest

from tests.programs.cases import Running, run
from tests.programs.network import Host, wait_until_attached

pytestmark = [
    pytest.mark.root, pytest.mark.needs("uprobe"),
    pytest.mark.skipif(ctypes.util.find_library("ssl") is None, reason="no libssl"),
]  # fmt: skip

# Both ends of a connection, by Python's ssl: SSL_write_ex and SSL_read_ex. Without certificates.
PYTHON = """
import ssl
contexts = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
contexts[0].check_hostname = False
contexts[0].verify_mode = ssl.CERT_NONE
for each in contexts:
    each.maximum_version = ssl.TLSVersion.TLSv1_2
    each.set_ciphers("AECDH-AES128-SHA:@SECLEVEL=0")
A, B = ssl.MemoryBIO(), ssl.MemoryBIO()
ends = contexts[0].wrap_bio(A, B, server_side=False), contexts[1].wrap_bio(B, A, server_side=True)
def shake():
    todo = list(ends)
    while todo:
        for end in list(todo):
            try:
                end.do_handshake()
                todo.remove(end)
            except ssl.SSLWantReadError:
                pass
"""

# The same by the library's own functions: SSL_write and SSL_read.
OPENSSL = """
import ctypes, ctypes.util
lib, P = ctypes.CDLL(ctypes.util.find_library("ssl")), ctypes.c_void_p
crypto = ctypes.CDLL(ctypes.util.find_library("crypto"))
for name in ("TLS_method", "SSL_CTX_new", "SSL_new"):
    getattr(lib, name).restype = P
context = P(lib.SSL_CTX_new(P(lib.TLS_method())))
lib.SSL_CTX_ctrl(context, 124, ctypes.c_long(0x303), None)  # at most TLS 1.2
assert lib.SSL_CTX_set_cipher_list(context, b"AECDH-AES128-SHA:@SECLEVEL=0")
one, other = P(), P()
assert crypto.BIO_new_bio_pair(ctypes.byref(one), ctypes.c_size_t(0), ctypes.byref(other), ctypes.c_size_t(0))
c, s = P(lib.SSL_new(context)), P(lib.SSL_new(context))
lib.SSL_set_bio(c, one, one); lib.SSL_set_bio(s, other, other)
lib.SSL_set_connect_state(c); lib.SSL_set_accept_state(s)
for _ in range(10):
    done = [lib.SSL_do_handshake(x) for x in (c, s)]
assert done == [1, 1]
room = ctypes.create_string_buffer(100000)
def say(data):
    assert lib.SSL_write(c, data, len(data)) == len(data)
    lib.SSL_read(s, room, 100000)
"""

GNUTLS = """
import ctypes, socket
lib, P, Z = ctypes.CDLL("libgnutls.so.30"), ctypes.c_void_p, ctypes.c_size_t
a, b = socket.socketpair()
a.setblocking(0); b.setblocking(0)
sessions = []
for role, end in ((2, a), (1, b)):  # GNUTLS_CLIENT, GNUTLS_SERVER
    session, credentials = P(), P()
    assert lib.gnutls_init(ctypes.byref(session), role) == 0
    assert lib.gnutls_priority_set_direct(session, b"NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+ANON-ECDH", None) == 0
    make = lib.gnutls_anon_allocate_client_credentials if role == 2 else lib.gnutls_anon_allocate_server_credentials
    assert make(ctypes.byref(credentials)) == 0
    assert lib.gnutls_credentials_set(session, 2, credentials) == 0  # GNUTLS_CRD_ANON
    lib.gnutls_transport_set_int2(session, end.fileno(), end.fileno())
    sessions.append(session)
todo = list(sessions)
while todo:
    todo = [x for x in todo if lib.gnutls_handshake(x) == -28]  # GNUTLS_E_AGAIN
room = ctypes.create_string_buffer(1000)
def say(data):
    assert lib.gnutls_record_send(sessions[0], data, Z(len(data))) == len(data)
    assert lib.gnutls_record_recv(sessions[1], room, Z(1000)) == len(data)
"""

NSPR = """
import ctypes
lib, P = ctypes.CDLL("libnspr4.so"), ctypes.c_void_p
one, other = P(), P()
assert lib.PR_CreatePipe(ctypes.byref(one), ctypes.byref(other)) == 0
room = ctypes.create_string_buffer(1000)
def say(data):
    assert lib.PR_Write(other, data, len(data)) == len(data)
    assert lib.PR_Read(one, room, 1000) == len(data)
"""


def objects(tool: Running) -> list[Any]:
    tool.process.send_signal(signal.SIGINT)
    return [json.loads(line) for line in tool.wait()]


def test_rows_and_data_are_printed_as_by_bcc(server: Host) -> None:
    server.do(PYTHON)
    tool = Running("sslsniff", "-p", str(server.pid), "-x", "-l", "--handshake")
    assert tool.ready("FUNC") == (
        "FUNC         TIME(s)            COMM             PID     LEN     UID     TID     LAT(ms)\n"
    )
    server.do(r"shake(); ends[0].write(b'GET /\r\n\x1b[31m\xff'); ends[1].read(100)")
    first, second, *rest = tool.stop()
    who = f"{server.comm:<16} {server.pid:<7}"
    for line in (first, second):
        assert line.startswith("HANDSHAKE    ") and f" {who} 0       0       {server.pid:<7} " in line
        assert 0 < float(line.split()[-1]) < 60000
    assert first.split()[1] == "0.000000000"
    shown = ["----- DATA -----", "GET /\\r", "\\x1b[31m\\xff", "----- END DATA -----", ""]
    assert rest[1:6] == rest[7:] == shown
    for line, function in ((rest[0], "WRITE/SEND"), (rest[6], "READ/RECV")):
        assert line.startswith(f"{function:<12} ") and f" {who} 13      0       {server.pid:<7} " in line


@pytest.mark.parametrize(
    ("library", "name"), [(OPENSSL, "ssl"), (GNUTLS, "gnutls"), (NSPR, "nspr4")], ids=["openssl", "gnutls", "nspr"]
)
def test_every_library(server: Host, library: str, name: str) -> None:
    if ctypes.util.find_library(name) is None:
        pytest.skip(f"no lib{name}")
    server.do(library)
    tool = Running("sslsniff", "--json", "-p", str(server.pid))
    wait_until_attached(tool)
    server.do("for i in range(20): say(b'number %d' % i)")
    rows = objects(tool)
    texts = [f"number {i}" for i in range(20)]
    for function in ("WRITE/SEND", "READ/RECV"):
        assert [row["data"] for row in rows if row["function"] == function] == texts
    assert len(rows) == 40 and {(row["pid"], row["comm"]) for row in rows} == {(server.pid, server.comm)}
    assert [row["len"] for row in rows[::2]] == [len(text) for text in texts]


def test_cut_data_and_hexadecimal(server: Host) -> None:
    server.do(OPENSSL)
    text = Running("sslsniff", "-p", str(server.pid), "--max-buffer-size", "16")
    dump = Running("sslsniff", "-p", str(server.pid), "--hexdump", "-c", server.comm)
    table = Running("sslsniff", "-p", str(server.pid), "--hexdump", "--csv")
    text.ready("FUNC")
    dump.ready("FUNC")
    titles = table.ready("time").strip().split(",")
    server.do("say(b'0123456789' * 2)")
    end = "----- END DATA (TRUNCATED, 4 bytes lost) -----"
    assert text.stop()[1:4] == ["----- DATA -----", "0123456789012345", end]
    assert dump.stop()[1:5] == ["----- DATA -----", "30313233343536373839303132333435", "36373839",
                                "----- END DATA -----"]  # fmt: skip
    rows = list(csv.DictReader(table.stop(), titles))
    assert [bytes.fromhex(row["data"]) for row in rows] == [b"0123456789" * 2] * 2


def test_libraries_that_are_not_wanted(server: Host) -> None:
    server.do(OPENSSL)
    tools = [Running("sslsniff", "-p", str(server.pid), *each) for each in ([], ["-u", "4321"], ["-c", "nobody"])]
    without = run("sslsniff", "-o", "-g", "-n", "-p", str(server.pid))
    for tool in tools:
        tool.ready("FUNC")
    server.do("say(b'x')")
    assert [len(tool.stop()) for tool in tools] == [10, 0, 0]
    assert without.returncode == 1 and "--extra-lib" in without.stderr


def test_an_extra_library(server: Host) -> None:
    server.do(OPENSSL)
    path = server.do("result = next(l.split()[-1] for l in open('/proc/self/maps') if 'libssl' in l)")
    tool = Running("sslsniff", "-o", "-g", "-n", "--extra-lib", f"openssl:{path}", "-p", str(server.pid))
    tool.ready("FUNC")
    server.do("say(b'x')")
    assert len(tool.stop()) == 10


@pytest.mark.parametrize(
    ("options", "says"),
    [(["--extra-lib", "tls:/x"], "TYPE:PATH"), (["--extra-lib", "nss:/x"], "/x"),
     (["--max-buffer-size", "0"], "from 1 to 1048576"), (["--max-buffer-size", "9999999"], "from 1 to 1048576")],
)  # fmt: skip
def test_wrong_options(options: list[str], says: str) -> None:
    found = run("sslsniff", *options)
    assert found.returncode == 2 and says in found.stderr
