"""The same scripts of the bpftrace language under pybpf and under bpftrace."""
