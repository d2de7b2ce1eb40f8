"""The C definitions that a script may hold: structs, unions, enums, typedefs, ``#define``."""
