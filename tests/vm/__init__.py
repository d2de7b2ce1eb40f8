"""Boots Debian kernels under QEMU and runs commands, above all this test suite, inside them.

``python -m tests.vm --help`` is the way in. Emulation (TCG), not KVM: the hosts that matter rarely allow nested
virtual machines, and another architecture needs emulation anyway.
"""
