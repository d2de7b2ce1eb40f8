"""What expressions of a probe are while it is compiled: constants, integers, memory, text, structs, pointers."""
