"""How good the compiled code is: the same probes by pybpf, by clang from C, and by bpftrace."""
