"""The compiler: typed IR, passes, register allocation, emission; shared by the Python DSL and the bpftrace language."""
