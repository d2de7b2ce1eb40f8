"""Run IR in Python: what every pass must keep. All operations, machine and lowered, with the kernel's arithmetic.

Addresses are numbers: every piece of memory has its own range. Reading what was never written is an error, so that a
pass cannot make use of it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

from pybpf.compiler.ir import Block, Function, Instr, Operand, Unit, signed64
from pybpf.maps import MapSpec
from pybpf.sys.bpf import MapType

MASK = (1 << 64) - 1
_SPAN = 1 << 20
_ARRAYS = (MapType.ARRAY, MapType.PERCPU_ARRAY)
ENOENT, EEXIST, E2BIG, EFAULT = -2, -17, -7, -14


class Fault(Exception):
    """The program did what no verified program does."""


def _truncating(left: int, right: int) -> tuple[int, int]:
    quotient = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
    return quotient, left - quotient * right


def _extend(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


#: of operands as signed numbers; results are cut to 64 bits
BINARY: dict[str, Callable[[int, int], int]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "udiv": lambda a, b: (a & MASK) // (b & MASK) if b else 0,
    "umod": lambda a, b: (a & MASK) % (b & MASK) if b else a,
    "sdiv": lambda a, b: _truncating(a, b)[0] if b else 0,
    "smod": lambda a, b: _truncating(a, b)[1] if b else a,
    "and": operator.and_,
    "or": operator.or_,
    "xor": operator.xor,
    "shl": lambda a, b: a << (b & 63),
    "lshr": lambda a, b: (a & MASK) >> (b & 63),
    "ashr": lambda a, b: a >> (b & 63),
}
COMPARE: dict[str, Callable[[int, int], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "slt": operator.lt,
    "sle": operator.le,
    "sgt": operator.gt,
    "sge": operator.ge,
    "ult": lambda a, b: (a & MASK) < (b & MASK),
    "ule": lambda a, b: (a & MASK) <= (b & MASK),
    "ugt": lambda a, b: (a & MASK) > (b & MASK),
    "uge": lambda a, b: (a & MASK) >= (b & MASK),
    "set": lambda a, b: bool(a & b),
    "clear": lambda a, b: not a & b,
}


#: helper without effects -> what it gives
_RESULTS = {
    "get_current_pid_tgid": 0x1234_0000_5678, "get_smp_processor_id": 3, "get_current_uid_gid": 1 << 32,
    "jiffies64": 4_294_937_296,
}  # fmt: skip


class Region:
    """A piece of memory: its bytes, ``None`` where nothing was written yet."""

    def __init__(self, address: int, content: list[int | None]) -> None:
        self.address = address
        self.content = content


class Machine:
    """Memory, maps and what helpers did.

    :ivar trace: what the outside saw: outputs, deletions, times that were asked for.
    """

    def __init__(self, unit: Unit, little: bool = True) -> None:
        self.unit = unit
        self.order = "little" if little else "big"
        self.trace: list[Any] = []
        self.steps = 0
        self._regions: dict[int, Region] = {}
        self.maps: dict[str, dict[bytes, Region]] = {}
        self._map_address = {name: (1 << 40) + number for number, name in enumerate(unit.maps)}
        self._functions = {each.name: each for each in unit.functions}
        self._now = 0
        self._iterators: dict[int, Iterator[int]] = {}
        for name, spec in unit.maps.items():
            self.maps[name] = {}
            if spec.type in _ARRAYS:
                for index in range(spec.max_entries):
                    self.maps[name][index.to_bytes(4, self.order)] = self.memory(bytes(spec.value_size))

    # memory

    def memory(self, content: bytes) -> Region:
        return self._add(list(content))

    def _add(self, content: list[int | None]) -> Region:
        region = Region((len(self._regions) + 1) * _SPAN, content)
        self._regions[region.address // _SPAN] = region
        return region

    def read(self, address: int, size: int, undefined: bool = False) -> bytes:
        region = self._regions.get(address // _SPAN)
        at = address % _SPAN
        if region is None or at + size > len(region.content):
            raise Fault(f"read of {size} bytes at {address:#x}")
        found = region.content[at : at + size]
        if None in found and not undefined:
            raise Fault(f"read of bytes that were never written, {found}")
        return bytes(each or 0 for each in found)

    def write(self, address: int, content: bytes) -> None:
        region = self._regions.get(address // _SPAN)
        at = address % _SPAN
        if region is None or at + len(content) > len(region.content):
            raise Fault(f"write of {len(content)} bytes at {address:#x}")
        region.content[at : at + len(content)] = content

    def probe_read(self, into: int, size: int, source: int) -> int:
        try:
            content = self.read(source, size)
        except Fault:
            self.write(into, bytes(size))
            return EFAULT
        self.write(into, content)
        return 0

    def contents(self) -> dict[str, dict[bytes, bytes]]:
        """Map name -> key -> value."""
        return {
            name: {key: self.read(region.address, len(region.content)) for key, region in found.items()}
            for name, found in self.maps.items()
        }

    # maps

    def lookup(self, name: str, key: bytes) -> int:
        region = self.maps[name].get(key)
        return region.address if region else 0

    def update(self, name: str, key: bytes, value: bytes, flags: int) -> int:
        spec, found = self.unit.maps[name], self.maps[name]
        if key in found:
            if flags == 1:
                return EEXIST
            if spec.type in _ARRAYS:
                self.write(found[key].address, value)
                return 0
        elif flags == 2:
            return ENOENT
        elif len(found) >= spec.max_entries or spec.type in _ARRAYS:
            return E2BIG
        found[key] = self.memory(value)
        return 0

    def delete(self, name: str, key: bytes) -> int:
        self.trace.append(("delete", name, key))
        if self.unit.maps[name].type in _ARRAYS:
            return -22
        return 0 if self.maps[name].pop(key, None) is not None else ENOENT

    def named(self, address: int) -> tuple[str, MapSpec]:
        name = next(each for each, at in self._map_address.items() if at == address)
        return name, self.unit.maps[name]

    # helpers

    def helper(self, name: str, args: list[int]) -> int:
        if name.startswith("map_"):
            where, spec = self.named(args[0])
            key = self.read(args[1], spec.key_size)
            if name == "map_lookup_elem":
                return self.lookup(where, key)
            if name == "map_delete_elem":
                return self.delete(where, key)
            return self.update(where, key, self.read(args[2], spec.value_size), args[3])
        if name in ("probe_read_kernel", "probe_read_user", "probe_read"):
            return self.probe_read(args[0], args[1], args[2])
        if name == "get_current_comm":
            self.write(args[0], b"comm".ljust(args[1], b"\0"))
            return 0
        if name == "ringbuf_output":
            self.trace.append(("output", self.named(args[0])[0], self.read(args[1], args[2]), args[3]))
            return 0
        if name == "ktime_get_ns":
            self._now += 7
            return self._now
        if name == "send_signal":
            self.trace.append(("signal", args))
            return 0
        return _RESULTS[name]

    # running

    def run(self, *params: int, function: Function | None = None) -> int:
        """Run a function, the program unless another one is given."""
        frame = _Frame(self, function or self.unit.functions[0], params)
        return frame.run()

    def number_iterator(self, name: str, args: list[int]) -> int:
        """The kernel functions ``bpf_iter_num_*``."""
        if name == "bpf_iter_num_new":
            self._iterators[args[0]] = iter(range(args[1], args[2]))
        elif name == "bpf_iter_num_destroy":
            del self._iterators[args[0]]
        else:
            number = next(self._iterators[args[0]], None)
            return 0 if number is None else self.memory(number.to_bytes(4, self.order)).address  # type: ignore[arg-type]
        return 0

    def call_function(self, name: str, args: list[int]) -> int:
        return self.run(*args, function=self._functions[name])


class _Frame:
    def __init__(self, machine: Machine, function: Function, params: tuple[int, ...]) -> None:
        self._machine = machine
        self._function = function
        self._params = params
        self._values: dict[Instr, int] = {}

    def run(self) -> int:
        block, before = self._function.blocks[0], None
        while True:
            phis = list(block.phis)
            if phis:
                at = block.predecessors.index(before)  # an edge that is there twice has equal operands
                self._values.update(zip(phis, [self._value(phi.args[at]) for phi in phis]))
            for instr in block.instrs[len(phis) :]:
                self._machine.steps += 1
                if self._machine.steps > 200_000:
                    raise Fault("it does not end")
                args = [self._value(arg) for arg in instr.args]
                if instr.op == "ret":
                    return args[0]
                if instr.op in ("jump", "branch"):
                    before, block = block, self._target(block, instr, args)
                    break
                result = self._execute(instr, args)
                self._values[instr] = signed64(result)

    def _target(self, block: Block, instr: Instr, args: list[int]) -> Block:
        if instr.op == "jump":
            return block.successors[0]
        return block.successors[0 if COMPARE[instr.attrs["cond"]](*args) else 1]

    def _value(self, arg: Operand) -> int:
        return arg if isinstance(arg, int) else self._values[arg]

    def _execute(self, instr: Instr, args: list[int]) -> int:
        if instr.op in BINARY:
            return BINARY[instr.op](*args)
        return getattr(self, f"_{instr.op}")(instr, args) or 0

    # operations

    def _neg(self, instr: Instr, args: list[int]) -> int:
        return -args[0]

    def _number(self, instr: Instr, args: list[int]) -> int:
        return args[0]

    def _zext(self, instr: Instr, args: list[int]) -> int:
        return args[0] & ((1 << instr.attrs["bits"]) - 1)

    def _sext(self, instr: Instr, args: list[int]) -> int:
        return _extend(args[0], instr.attrs["bits"])

    def _bswap(self, instr: Instr, args: list[int]) -> int:
        size = instr.attrs["bits"] // 8
        return int.from_bytes((args[0] & ((1 << 8 * size) - 1)).to_bytes(size, "little"), "big")

    def _cmp(self, instr: Instr, args: list[int]) -> int:
        return int(COMPARE[instr.attrs["cond"]](*args))

    def _slot(self, instr: Instr, args: list[int]) -> int:
        return self._machine._add([None] * instr.attrs["size"]).address

    def _param(self, instr: Instr, args: list[int]) -> int:
        return self._params[instr.attrs["index"]]

    def _map(self, instr: Instr, args: list[int]) -> int:
        return self._machine._map_address[instr.attrs["map"]]

    def _mapvalue(self, instr: Instr, args: list[int]) -> int:
        return self._machine.lookup(instr.attrs["map"], bytes(4)) + instr.attrs["offset"]

    def _element(self, instr: Instr, args: list[int]) -> int:
        return args[0] + args[1] * instr.attrs["size"]

    def _load(self, instr: Instr, args: list[int]) -> int:
        content = self._machine.read(args[0] + instr.attrs["offset"], instr.attrs["size"])
        return int.from_bytes(content, self._machine.order, signed=bool(instr.attrs["signed"]))

    def _store(self, instr: Instr, args: list[int]) -> None:
        self._put(args[0] + instr.attrs["offset"], args[1], instr.attrs["size"])

    def _put(self, address: int, value: int, size: int) -> None:
        self._machine.write(address, (value & ((1 << 8 * size) - 1)).to_bytes(size, self._machine.order))

    def _fetch(self, instr: Instr, args: list[int]) -> int:
        kind, size = instr.attrs["kind"], instr.attrs["size"]
        address = args[0] + instr.attrs["offset"]
        old = int.from_bytes(self._machine.read(address, size), self._machine.order)
        self._put(address, args[1] if kind == "xchg" else BINARY[kind](old, args[1]), size)
        return old

    _atomic = _fetch

    def _cmpxchg(self, instr: Instr, args: list[int]) -> int:
        size = instr.attrs["size"]
        address = args[0] + instr.attrs["offset"]
        old = int.from_bytes(self._machine.read(address, size), self._machine.order)
        if old == args[1] & ((1 << 8 * size) - 1):
            self._put(address, args[2], size)
        return old

    def _zero(self, instr: Instr, args: list[int]) -> None:
        self._machine.write(args[0] + instr.attrs["offset"], bytes(instr.attrs["size"]))

    def _copy(self, instr: Instr, args: list[int]) -> None:
        self._machine.write(args[0], self._machine.read(args[1], instr.attrs["size"]))

    def _call(self, instr: Instr, args: list[int]) -> int:
        return self._machine.helper(instr.attrs["helper"], args)

    def _callfunc(self, instr: Instr, args: list[int]) -> int:
        return self._machine.call_function(instr.attrs["func"], args)

    def _again(self, instr: Instr, args: list[int]) -> int:
        return 1

    def _kfunc(self, instr: Instr, args: list[int]) -> int:
        return self._machine.number_iterator(instr.attrs["name"], args)

    def _peek(self, instr: Instr, args: list[int]) -> int:
        try:
            return self._load(instr, args)
        except Fault:
            return 0

    def _bytes(self, instr: Instr, position: int, args: list[int], size: int) -> bytes:
        """A key or value, which is an integer or in memory."""
        arg = instr.args[position]
        if isinstance(arg, Instr) and arg.type == "ptr":
            return self._machine.read(args[position], size)
        return (args[position] & ((1 << 8 * size) - 1)).to_bytes(size, self._machine.order)

    def _key(self, instr: Instr, args: list[int]) -> bytes:
        return self._bytes(instr, 0, args, self._machine.unit.maps[instr.attrs["map"]].key_size)

    def _lookup(self, instr: Instr, args: list[int]) -> int:
        return self._machine.lookup(instr.attrs["map"], self._key(instr, args))

    def _update(self, instr: Instr, args: list[int]) -> int:
        size = self._machine.unit.maps[instr.attrs["map"]].value_size
        value = self._bytes(instr, 1, args, size)
        return self._machine.update(instr.attrs["map"], self._key(instr, args), value, args[2])

    _tryupdate = _update

    def _delete(self, instr: Instr, args: list[int]) -> int:
        return self._machine.delete(instr.attrs["map"], self._key(instr, args))
