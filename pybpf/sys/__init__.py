"""The kernel interface: system calls, their errors explained, features probed, tracefs, objects by id."""
