"""What starting takes: time to the first event, processor time, peak memory; against bpftrace."""
