"""pybpf: trace Linux with eBPF from Python alone. Submodules load when they are named."""

__version__ = "0.1.0"
