"""The BTF of a program: its functions and source lines, as the verifier and bpftool quote them."""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import Any

from pybpf.asm import Code
from pybpf.btf import (
    FUNC_INFO_SIZE,
    LINE_INFO_SIZE,
    BtfBuilder,
    FuncInfo,
    LineInfo,
    load_btf_where_taken,
    pack_func_info,
    pack_line_info,
)
from pybpf.prog.debug import functions, line_rows

__all__ = ["debug_fields"]

_TEXT = 256  # of a source line, in characters


def debug_fields(code: Code, name: str, owned: ExitStack) -> dict[str, Any]:
    """The fields of PROG_LOAD that carry func_info and line_info.

    :param name: of the program's own function.
    :param owned: closes the descriptor of the BTF, which is needed until the program is loaded.
    :returns: empty where the kernel takes no such BTF (before Linux 5.0) or does not let this process load any.
    :raises KernelError: it is refused for another reason, such as a limit of the process.
    """
    builder = BtfBuilder()
    parts = functions(code, name)
    number = builder.int("int", 4, signed=True)
    # All static: a global function would be verified on its own, and callbacks must not be global.
    proto = builder.func_proto(number, [("ctx", builder.ptr())])
    funcs = [FuncInfo(part.slot, builder.func(_identifier(part.name), proto)) for part in parts]
    lines = [
        LineInfo(slot, builder.string(line.file), builder.string(line.text.strip()[:_TEXT]), line.line, line.column)
        for slot, line in line_rows(code, parts)
    ]
    data = builder.bytes()
    btf = load_btf_where_taken(data, "btf_func")
    if btf is None:
        return {}
    owned.enter_context(btf)
    fields: dict[str, Any] = {
        "prog_btf_fd": btf.fileno(),
        "func_info_rec_size": FUNC_INFO_SIZE,
        "func_info": pack_func_info(funcs),
        "func_info_cnt": len(funcs),
    }
    if lines:
        fields.update(line_info_rec_size=LINE_INFO_SIZE, line_info=pack_line_info(lines), line_info_cnt=len(lines))
    return fields


def _identifier(name: str) -> str:
    """A label as the name of a function in BTF: a C identifier."""
    return re.sub(r"[^A-Za-z0-9_]|^(?=\d)", "_", name)[:127]
