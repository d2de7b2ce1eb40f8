"""One file per kind of probe."""
