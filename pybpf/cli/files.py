"""Reading what the command line names, within bounds."""

from __future__ import annotations

from pybpf.errors import BpfError

__all__ = ["read_input"]


def read_input(name: str, most: int) -> bytes:
    """The bytes of a file, or of standard input for ``-``.

    :raises BpfError: there are more than ``most`` bytes.
    """
    with open(0 if name == "-" else name, "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise BpfError(f"{name} has more than {most >> 20} MiB, which no program needs")
    return data
