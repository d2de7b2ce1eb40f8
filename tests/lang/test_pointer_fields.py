"""Fields, elements, variables and values of maps that are pointers: followed in probes, addresses in Python."""

from __future__ import annotations

import ctypes
from typing import Annotated, Any

import pytest

from pybpf import DeclarationError, Struct, Tracer, char, s64, u32, u64
from pybpf.lang import cast, kernel_ptr, read_user, read_user_str, user_ptr
from pybpf.types import PointerType, layout
from tests.lang.harness import load, run
from tests.lang.wrong import TARGET


class Node(Struct):
    """An element of a list."""

    next: Annotated[Any, user_ptr(Node)]
    value: u32


class Command(Struct):
    """What a process may keep."""

    name: Any = user_ptr(char)
    argv: Annotated[Any, user_ptr(char)[3]]
    first: "user_ptr(Node)"  # noqa: UP037


class CNode(ctypes.Structure):
    """The same as a process has it."""


CNode._fields_ = [("next", ctypes.POINTER(CNode)), ("value", ctypes.c_uint32)]


class CCommand(ctypes.Structure):
    """The same as a process has it."""

    _fields_ = [("name", ctypes.c_char_p), ("argv", ctypes.c_char_p * 3), ("first", ctypes.POINTER(CNode))]


NODES = [CNode(None, value) for value in (5, 70, 900)]
for one, other in zip(NODES, NODES[1:]):
    one.next = ctypes.pointer(other)
COMMAND = CCommand(b"make", (ctypes.c_char_p * 3)(b"make", b"all", None), ctypes.pointer(NODES[0]))


def written_out(address: u64):
    p = cast(user_ptr(Node), address)
    total = 0
    for _ in range(8):
        if p is None:
            break
        total += p.value
        p = p.next
    return total


def endless(address: u64):
    p = cast(user_ptr(Node), address)
    total = 0
    while p is not None:
        total += p.value
        p = p.next
    return total


def declared(address: u64):
    p: Annotated[Any, user_ptr(Node)] = cast(user_ptr(Node), address)
    p = p.next
    return p.value if p else 0


def copied(address: u64):
    own: Node = read_user(address, Node)
    second = own.next
    own.next = second.next  # the copy's
    third = own.next
    own.next = None
    return second.value * 1000 + third.value + (7 if own.next is None else 0)


def made(address: u64):
    node = Node(next=cast(user_ptr(Node), address), value=3)
    other = Node(value=4)
    return node.next.value + (100 if other.next is None else 0) + (1000 if node.next == address else 0)


def of_a_command(address: u64):
    command = read_user(address, Command)
    ok = read_user_str(command.name) == "make" and read_user_str(command.argv[1]) == "all"
    return command.first.next.value + (1000 if ok and command.argv[2] is None else 0)


@pytest.mark.root
@pytest.mark.needs("map_value", "test_run_raw_tp")
@pytest.mark.parametrize(
    ("probe", "of", "result"),
    [
        (written_out, NODES[0], 975),
        (declared, NODES[0], 70),
        (copied, NODES[0], 70907),
        (made, NODES[0], 1105),
        (of_a_command, COMMAND, 1070),
    ],
)
def test_followed(probe: Any, of: Any, result: int) -> None:
    assert run(probe, ctypes.addressof(of)) == result


@pytest.mark.root
@pytest.mark.needs("map_value", "test_run_raw_tp", "helper_loop")
@pytest.mark.parametrize("without", [(), ("iter_num",)])
def test_followed_to_the_end(without: tuple[str, ...]) -> None:
    with load(endless, without=without) as program:
        assert [program(ctypes.addressof(each)) for each in NODES] == [975, 970, 900]


@pytest.mark.pure
def test_in_python() -> None:
    node = Node(next=1 << 63, value=2)
    assert (node.next, Node(next=None) == Node(), layout(Node).size) == (1 << 63, True, 16)
    assert layout(Node).unpack(layout(Node).pack(node)) == node
    assert Command(argv=(1, None, 3)).argv == (1, 0, 3)
    assert user_ptr(Node) is user_ptr(Node) is not kernel_ptr(Node)
    assert issubclass(user_ptr(user_ptr(char)), PointerType) and user_ptr(int) is user_ptr(s64)
    for wrong in (3, [Node], dict):
        with pytest.raises(DeclarationError, match="is nothing that a pointer points to: write u64, char, a Struct"):
            user_ptr(wrong)


class Seen(Struct):
    """An event with pointers."""

    sock: Annotated[Any, kernel_ptr("struct sock")]
    node: Annotated[Any, user_ptr(Node)]


@pytest.mark.pure
def test_kept_by_maps_and_events() -> None:
    tracer = Tracer(target=TARGET)
    heads, seen, events = tracer.hash(u32, user_ptr(Node)), tracer.hash(u64, Seen), tracer.events(Seen)
    total = tracer.variable(u64)

    @tracer.kprobe("tcp_connect")
    def probe(sk: Any) -> None:
        seen[0] = Seen(sock=sk)
        found = seen.get(sk)
        if found is not None:
            total.value += found.sock.__sk_common.skc_daddr
            heads[1] = found.node.next
        heads[2] = None
        head = heads.pop(1)
        if head is not None and head.next:
            total.value += heads[2].value + heads.setdefault(3, head).value
        events.emit(sock=sk, node=heads[3])

    (built,) = tracer.compile()
    text = "\n".join(map(str, built.compiled.spec.code.insns))
    assert text.count("probe_read_user") >= 4 and text.count("probe_read_kernel") >= 1
