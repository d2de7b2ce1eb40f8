"""Kprobes and fentry probes of functions of the kernel, run for real: parameters by name, results, system calls."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

import pytest

from pybpf.attach import fentry, fexit, kprobe, kretprobe
from pybpf.lang import cast, enum, has_field, ntoh16, read_user_str
from tests.attach.counting import ARCH, function_of
from tests.lang.recorder import Record, Recorded, recording

pytestmark = [pytest.mark.root, pytest.mark.needs("btf_vmlinux")]

FIRST = ARCH.arguments[0]
ATTACHES = {"kprobe": kprobe, "kretprobe": kretprobe, "fentry": fentry, "fexit": fexit}


def traced(function: Callable[..., Any], kind: str, name: str, act: Callable[[], Any]) -> Record:
    """What a probe recorded when this process did something."""

    def attach(program: Any) -> Any:
        return ATTACHES[kind](program, name) if kind.startswith("k") else ATTACHES[kind](program)

    with recording(function, Recorded(kind, name), attach) as record:
        act()
        return record()


def connect() -> int:
    """Make a connection on the loopback interface; the port connected to."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.connect(server.getsockname())
        port: int = server.getsockname()[1]
        return port


def nobody() -> None:
    """Ask for the group of a process that is not there."""
    with pytest.raises(ProcessLookupError):
        os.getpgid(0x1234567)


def nowhere() -> None:
    """Go where nothing is."""
    with pytest.raises(FileNotFoundError):
        os.chroot("/no/such/place")


KINDS = [
    pytest.param("kprobe", marks=pytest.mark.needs("kprobe")),
    pytest.param("fentry", marks=pytest.mark.needs("fentry")),
]


@pytest.mark.parametrize("kind", KINDS)
def test_socket(kind: str) -> None:
    def port(sk):
        return ntoh16(sk.__sk_common.skc_dport)

    def address(sk):
        return sk.__sk_common.skc_daddr

    def state(sk):
        return sk.__sk_common.skc_state == enum("TCP_SYN_SENT")

    def own_port(sk):
        return sk.__sk_common.skc_num == ntoh16(cast("struct inet_sock", sk).inet_sport)

    ports: list[int] = []
    record = traced(port, kind, "tcp_connect", lambda: ports.append(connect()))
    assert (record.runs, record.number) == (1, ports[0])
    assert traced(address, kind, "tcp_connect", connect).number == 0x0100007F
    assert traced(state, kind, "tcp_connect", connect).number == 1
    assert traced(own_port, kind, "tcp_connect", connect).number == 1


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("kretprobe", marks=pytest.mark.needs("kretprobe")),
        pytest.param("fexit", marks=pytest.mark.needs("fexit")),
    ],
)
def test_result(kind: str) -> None:
    def result(ret):
        return ret + 100

    record = traced(result, kind, "tcp_connect", connect)
    assert (record.runs, record.number) == (1, 100)


@pytest.mark.needs("fexit")
def test_parameters_and_result_together() -> None:
    def both(sk, ret):
        return sk.__sk_common.skc_family * 100 + ret

    assert traced(both, "fexit", "tcp_connect", connect).number == 100 * socket.AF_INET


@pytest.mark.needs("kprobe")
def test_system_call_through_its_wrapper() -> None:
    def first(pid):
        return pid

    def name(filename):
        return read_user_str(filename)

    record = traced(first, "kprobe", function_of("getpgid"), nobody)
    assert (record.runs, record.number) == (1, 0x1234567)
    record = traced(name, "kprobe", function_of("chroot"), nowhere)
    assert (record.runs, record.text) == (1, "/no/such/place")


@pytest.mark.needs("kprobe")
def test_registers_of_a_kprobe() -> None:
    def first(ctx):
        regs = cast("struct pt_regs", ctx.reg(FIRST))
        return regs.di if has_field("struct pt_regs", "di") else regs.regs[0]

    record = traced(first, "kprobe", function_of("getpgid"), nobody)
    assert record.number == 0x1234567
