"""Attaching programs: one file per kind of probe, each giving a link that detaches when it is closed."""

from __future__ import annotations

from pybpf.attach.link import Link, MultiLink
from pybpf.attach.uprobe import uprobe, uretprobe
from pybpf.attach.uprobe_multi import uprobes
from pybpf.attach.usdt import usdt

__all__ = ["Link", "MultiLink", "uprobe", "uprobes", "uretprobe", "usdt"]
