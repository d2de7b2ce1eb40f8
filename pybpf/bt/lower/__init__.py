"""From the checked tree of a probe to the compiler's IR."""
