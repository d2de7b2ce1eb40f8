"""The structs and maps that random functions use, as a probe sees them."""

from __future__ import annotations

from typing import Any

from pybpf.lang.state.counts import Counts
from pybpf.lang.state.maps import Array, Hash, Queue, Stack, TracerMap, Variable
from pybpf.types import Struct, bool_, char, s8, s16, s32, s64, u8, u16, u32, u64

__all__ = ["ARRAYS", "INTEGERS", "MAPS", "NAMES", "STRUCTS", "Inner", "Outer", "Packed"]

_counts = Counts()
#: entries of hash tables: more than random functions make
_ROOM = 256


class Inner(Struct):
    a: u8
    b: s32
    c: u16


class Packed(Struct, packed=True):
    tag: u8
    wide: u64
    three: s32[3]  # type: ignore[type-arg]
    on: bool_


class Outer(Struct):
    first: u16
    wide: s64
    inner: Inner
    many: Inner[3]  # type: ignore[type-arg]
    numbers: s16[5]  # type: ignore[type-arg]
    raw: u8[6]  # type: ignore[type-arg]
    name: char[12]
    total: u64
    packed: Packed


STRUCTS: dict[str, Any] = {"Inner": Inner, "Packed": Packed, "Outer": Outer}
#: arrays that are variables of a function
ARRAYS: dict[str, Any] = {"u64[4]": u64[4], "s8[7]": s8[7], "Inner[2]": Inner[2]}
INTEGERS: dict[str, Any] = {kind.__name__: kind for kind in (u8, u16, u32, u64, s8, s16, s32, s64)}
MAPS: dict[str, TracerMap] = {
    "hits": Hash(u32, u64, _ROOM, _counts, "hits"),
    "signed": Hash(s16, s32, _ROOM, _counts, "signed"),
    "outers": Hash(u8, Outer, _ROOM, _counts, "outers"),
    "pairs": Hash(Inner, Packed, _ROOM, _counts, "pairs"),
    "words": Hash(char[12], s64, _ROOM, _counts, "words"),
    "cells": Array(s32, 5, _counts, "cells"),
    "flags": Array(bool_, 3, _counts, "flags"),
    "boxes": Array(Outer, 3, _counts, "boxes"),
    "total": Variable(u32, _counts, None, "total"),
    "state": Variable(Outer, _counts, None, "state"),
    "queue": Queue(s16, _ROOM, _counts, "queue"),
    "stack": Stack(Inner, _ROOM, _counts, "stack"),
}
#: what the text of a random function refers to
NAMES: dict[str, Any] = {**INTEGERS, **STRUCTS, **MAPS, "char": char}
