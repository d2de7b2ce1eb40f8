"""Attaching programs: one file per kind of probe, each giving a link that detaches when it is closed."""

from __future__ import annotations

from pybpf.attach.link import Link, MultiLink

__all__ = ["Link", "MultiLink"]
