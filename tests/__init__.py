"""The tests. ``python -m tests.vm`` runs them inside other kernels."""
