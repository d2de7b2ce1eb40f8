"""The settings of a script."""

from __future__ import annotations

from pybpf.record import dataclass

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """What a script and its surroundings set; see docs/bpftrace.md for each."""

    max_strlen: int = 1024
    max_map_keys: int = 4096
    max_cat_bytes: int = 10240
    max_probes: int = 1024
    stack_mode: str = "bpftrace"
    str_trunc_trailer: str = ".."
    print_maps_on_exit: bool = True
    missing_probes: str = "error"
    #: of the whole buffer (2 MiB); bpftrace has 64 for each CPU, and needs less, for it reads faster
    perf_rb_pages: int = 512
    license: str = "GPL"
    cpp_demangle: bool = True
    lazy_symbolication: bool = False
    cache_user_symbols: str = ""
    log_size: int = 1000000
    max_bpf_progs: int = 1024
    on_stack_limit: int = 32
    show_debug_info: bool = False
