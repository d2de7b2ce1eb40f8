"""What calls of helpers do and do not do: which give the same again, which only fill memory, which only read it."""

from __future__ import annotations

from pybpf.asm import HELPERS
from pybpf.compiler.ir import Instr, Operand

__all__ = [
    "FILLING_HELPERS", "OVERWRITING_HELPERS", "PURE_HELPERS", "is_pure_call", "is_removable_call", "reads_only",
    "released",
]  # fmt: skip

#: Helpers whose result cannot change while a program runs. Programs do not change processor, even those that sleep:
#: the kernel forbids migration around each run.
PURE_HELPERS = frozenset(
    (
        "get_current_pid_tgid", "get_current_uid_gid", "get_current_task", "get_current_task_btf",
        "get_smp_processor_id", "get_numa_node_id", "get_current_cgroup_id", "get_current_ancestor_cgroup_id",
        "get_func_ip", "get_attach_cookie", "get_func_arg_cnt", "task_pt_regs",
    )
)  # fmt: skip

#: Helpers that change nothing but the memory that their first argument points to, of the size that the second one says.
FILLING_HELPERS = frozenset(
    ("get_current_comm", "probe_read", "probe_read_kernel", "probe_read_user", "copy_from_user")
)
#: Those that write all bytes of it, whatever happens: what was there before does not matter. bpf_get_current_comm of
#: Linux 5.18 to 6.1 leaves what follows the name (feature comm_padded).
OVERWRITING_HELPERS = FILLING_HELPERS - {"get_current_comm"}

#: Helpers that change nothing.
_READING_HELPERS = frozenset(
    (
        "map_lookup_elem", "map_lookup_percpu_elem", "ktime_get_ns", "ktime_get_boot_ns", "ktime_get_coarse_ns",
        "ktime_get_tai_ns", "get_prandom_u32", "jiffies64", "strncmp", "per_cpu_ptr", "this_cpu_ptr",
    )
)  # fmt: skip

#: Kinds of arguments through which a helper does not write.
_READ_KINDS = ("PTR_TO_MAP_KEY", "PTR_TO_MAP_VALUE", "PTR_TO_MAP_VALUE_OR_NULL", "PTR_TO_MEM", "PTR_TO_MEM_OR_NULL")


def is_pure_call(instr: Instr) -> bool:
    """Whether it calls a helper that gives the same again."""
    return instr.op == "call" and instr.attrs["helper"] in PURE_HELPERS


def is_removable_call(instr: Instr) -> bool:
    """Whether it calls a helper for nothing but the result."""
    return instr.op == "call" and instr.attrs["helper"] in PURE_HELPERS | _READING_HELPERS


def reads_only(instr: Instr, position: int) -> bool:
    """Whether a helper call does not write to the memory that an argument points to."""
    kinds = HELPERS[instr.attrs["helper"]].args
    if position >= len(kinds):
        return False
    return kinds[position] in _READ_KINDS or kinds[position].endswith("MEM_RDONLY")


def released(instr: Instr) -> Operand | None:
    """What a helper call gives back to the kernel, such as a record of a ring buffer."""
    if instr.op != "call":
        return None
    kinds = zip(HELPERS[instr.attrs["helper"]].args, instr.args)
    return next((arg for kind, arg in kinds if kind.endswith("OBJ_RELEASE")), None)
