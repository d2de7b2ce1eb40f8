"""func_info and line_info: which instruction starts which function, and stands on which source line."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from pybpf.errors import BtfError
from pybpf.record import NamedTuple

__all__ = ["FUNC_INFO_SIZE", "LINE_INFO_SIZE", "FuncInfo", "LineInfo", "pack_func_info", "pack_line_info"]

_FUNC = struct.Struct("=II")
_LINE = struct.Struct("=4I")
#: what ``func_info_rec_size`` and ``line_info_rec_size`` of BPF_PROG_LOAD take
FUNC_INFO_SIZE = _FUNC.size
LINE_INFO_SIZE = _LINE.size
_MAX_LINE, _MAX_COLUMN = (1 << 22) - 1, (1 << 10) - 1


class FuncInfo(NamedTuple):
    """A function of a program starts here. The kernel wants one for each, the first at 0."""

    insn: int  #: counted in 8-byte slots
    type: int  #: id of its FUNC


class LineInfo(NamedTuple):
    """A source line starts here. The kernel wants one at the start of each function."""

    insn: int  #: counted in 8-byte slots; never the second slot of a 64-bit load
    file: int  #: string offset of the file's name
    text: int  #: string offset of the line
    line: int  #: from 1; beyond 4194303 it is recorded as that
    column: int = 0  #: beyond 1023 it is recorded as that


def pack_func_info(records: Iterable[FuncInfo]) -> bytes:
    """The records for ``func_info``. :raises BtfError: they do not start at 0, or do not increase."""
    records = list(records)
    if records and records[0].insn:
        raise BtfError(f"cannot encode func_info: the first function starts at {records[0].insn}, not at 0")
    _check_order("func_info", [record.insn for record in records])
    return b"".join(_FUNC.pack(*record) for record in records)


def pack_line_info(records: Iterable[LineInfo]) -> bytes:
    """The records for ``line_info``. :raises BtfError: they do not increase."""
    records = list(records)
    _check_order("line_info", [record.insn for record in records])
    return b"".join(
        _LINE.pack(insn, file, text, min(line, _MAX_LINE) << 10 | min(column, _MAX_COLUMN))
        for insn, file, text, line, column in records
    )


def _check_order(what: str, insns: list[int]) -> None:
    for before, after in zip(insns, insns[1:]):
        if before >= after:
            raise BtfError(f"cannot encode {what}: instruction {after} follows instruction {before}")
