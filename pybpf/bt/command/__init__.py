"""The command line of the bpftrace language: options, settings of the environment, listing, what ``-d`` shows."""
