"""BTF, the kernel's type information: read lazily, write, render in C, view values. Importing it reads none."""

from typing import TYPE_CHECKING

from pybpf.lazy import lazy_names

if TYPE_CHECKING:
    from pybpf.btf.btf import Btf
    from pybpf.btf.function import Function
    from pybpf.btf.info import FUNC_INFO_SIZE, LINE_INFO_SIZE, FuncInfo, LineInfo, pack_func_info, pack_line_info
    from pybpf.btf.kernel import BtfInfo, btf_info, load_btf, load_btf_where_taken, module_fd
    from pybpf.btf.kinds import Encoding, Kind, Linkage
    from pybpf.btf.member import BitLoad, Hop, Member
    from pybpf.btf.view import EnumValue, View
    from pybpf.btf.writer import BtfBuilder

__all__ = [
    "FUNC_INFO_SIZE",
    "LINE_INFO_SIZE",
    "BitLoad",
    "Btf",
    "BtfBuilder",
    "BtfInfo",
    "Encoding",
    "EnumValue",
    "FuncInfo",
    "Function",
    "Hop",
    "Kind",
    "LineInfo",
    "Linkage",
    "Member",
    "View",
    "btf_info",
    "load_btf",
    "load_btf_where_taken",
    "module_fd",
    "pack_func_info",
    "pack_line_info",
]

__getattr__ = lazy_names(
    __name__,
    {
        "btf": "Btf",
        "function": "Function",
        "info": "FUNC_INFO_SIZE LINE_INFO_SIZE FuncInfo LineInfo pack_func_info pack_line_info",
        "kernel": "BtfInfo btf_info load_btf load_btf_where_taken module_fd",
        "kinds": "Encoding Kind Linkage",
        "member": "BitLoad Hop Member",
        "view": "EnumValue View",
        "writer": "BtfBuilder",
    },
)
