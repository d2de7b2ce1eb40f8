"""From the tree that was read to the one that is checked: imports put in, macros replaced."""
