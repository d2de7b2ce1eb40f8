"""Where probes go: attach points with their wildcards resolved, what each can tell, how it is attached."""
