"""``python -m pybpf`` is the ``pybpf`` command."""

import sys

from pybpf.cli import main

sys.exit(main())
