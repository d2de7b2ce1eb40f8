"""Functions that mean something in probes only: a table, and a file for each subject."""
