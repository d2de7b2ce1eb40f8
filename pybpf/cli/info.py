"""``pybpf info``: the host, the process's privileges, and each feature of the kernel that tracing can use."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence

from pybpf import __version__
from pybpf.report import table
from pybpf.sys.cpus import online_cpus
from pybpf.sys.features import FEATURES, Result, Support, all_features
from pybpf.sys.privilege import describe, privileges

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit code: 1 where privileges are missing to find everything out."""
    parser = argparse.ArgumentParser(prog="pybpf info", description="Show what this kernel and process can trace.")
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    options = parser.parse_args(arguments)
    results = all_features()
    if options.json:
        features = {
            name: {"support": result.support.value, "detail": result.detail, "since": FEATURES[name].since}
            for name, result in results.items()
        }
        print(json.dumps({"host": _host(), "process": describe(), "features": features}, indent=1))
    else:
        _print(results)
    denied = sum(result.support is Support.NOT_ALLOWED for result in results.values())
    lacking = privileges().missing("CAP_BPF", "CAP_PERFMON")
    if not lacking:
        return 0
    print(
        f"pybpf info: {denied} features could not be tried without {' and '.join(lacking)}; run as root",
        file=sys.stderr,
    )
    return 1


def _host() -> dict[str, str]:
    kernel = os.uname()
    return {
        "pybpf": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "kernel": f"{kernel.sysname} {kernel.release}",
        "architecture": kernel.machine,
        "cpus online": str(len(online_cpus())),
    }


def _print(results: dict[str, Result]) -> None:
    for title, facts in (("Host", _host()), ("This process", describe())):
        print(f"{title}:")
        for name, value in facts.items():
            print(f"  {name + ':':<36}{value}")
    for group in dict.fromkeys(feature.group for feature in FEATURES.values()):
        rows = [
            (f"  {name}", results[name].support.value, feature.since, results[name].detail or feature.text)
            for name, feature in FEATURES.items()
            if feature.group == group
        ]
        print("\n" + table((f"{group.capitalize()} features", "", "SINCE", ""), rows))
