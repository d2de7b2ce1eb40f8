"""The number of a histogram's bucket, computed in the kernel: the same as ``bucket_of`` of pybpf.report.histogram."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pybpf.lang.values.flow import Choice, when
from pybpf.lang.values.ints import KINDS, compare_constant

if TYPE_CHECKING:
    from pybpf.compiler.ir import Operand
    from pybpf.lang.values.emitter import Emitter
    from pybpf.lang.values.ints import Int

__all__ = ["linear_bucket", "log2_bucket"]


def log2_bucket(gen: Emitter, value: Int, bits: int) -> Operand:
    """By powers of two, each split into ``2**bits`` buckets.

    The value is shifted right until ``bits + 1`` bits are left, by 32, 16, 8, 4, 2, 1 where it is large enough; the
    sum of the shifts and what is left make the number, for zero, too. An addition, a shift and a branch per step.
    """
    b = gen.b
    rest, shifts = Choice(b, value.operand), Choice(b, 0)
    width = KINDS[value.kind][0]
    if not value.signed:
        _shift_down(gen, rest, shifts, width, bits)
        return _number(gen, rest, shifts, bits)
    bucket = Choice(b, 0)  # of negative values
    with when(b, "sge", value.operand, 0, "positive"):
        _shift_down(gen, rest, shifts, width, bits)
        bucket.set(_number(gen, rest, shifts, bits))
    return bucket.value


def _shift_down(gen: Emitter, rest: Choice, shifts: Choice, width: int, bits: int) -> None:
    for step in (32, 16, 8, 4, 2, 1):
        if step + bits < width:
            with when(gen.b, "uge", rest.value, 1 << (step + bits), "large"):
                rest.set(gen.b.emit("lshr", rest.value, step))
                shifts.set(gen.b.emit("add", shifts.value, step))


def _number(gen: Emitter, rest: Choice, shifts: Choice, bits: int) -> Operand:
    whole = gen.b.emit("shl", shifts.value, bits) if bits else shifts.value
    return gen.b.emit("add", gen.b.emit("add", rest.value, whole), 1)


def linear_bucket(gen: Emitter, value: Int, lo: int, hi: int, step: int) -> Operand:
    """Steps from ``lo`` to ``hi``; 0 is below, the last one from ``hi`` on."""
    b = gen.b
    last = 1 + -(-(hi - lo) // step)
    bucket = Choice(b, 0)
    low, inside, high, done = (b.new_block(each) for each in ("from_lo", "inside", "from_hi", "bucket"))
    compare_constant(value, ">=", lo).branch_on(b, low, done)
    b.seal(low)
    b.start(low)
    compare_constant(value, ">=", hi).branch_on(b, high, inside)
    for block in (high, inside):
        b.seal(block)
        b.start(block)
        if b.reachable:
            if block is high:
                bucket.set(last)
            else:
                above = b.emit("sub", value.operand, lo) if lo else value.operand
                bucket.set(b.emit("add", b.emit("udiv", above, step) if step > 1 else above, 1))
            b.jump(done)
    b.seal(done)
    b.start(done)
    return bucket.value
