"""``python -m pybpf`` is the ``pybpf`` command."""

from pybpf.cli import process

process()
