"""``python -m pybpf`` is the ``pybpf`` command."""

import os

try:
    from pybpf.cli import process
except KeyboardInterrupt:
    os._exit(130)
process()
