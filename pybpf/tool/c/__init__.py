"""C as BCC's trace and argdist have it: expressions, formats and probes, made into Python for the compiler."""
