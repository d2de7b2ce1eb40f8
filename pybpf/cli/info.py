"""``pybpf info``: the host, the process's privileges, and each feature of the kernel that tracing can use."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence

from pybpf import __version__
from pybpf.errors import KernelError
from pybpf.report import table
from pybpf.sys.cpus import online_cpus
from pybpf.sys.features import FEATURES, Feature, Result, Support, all_features
from pybpf.sys.objects import Kind, ids
from pybpf.sys.privilege import describe, privileges

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit code: 1 where this process may not find everything out."""
    parser = argparse.ArgumentParser(prog="pybpf info", description="Show what this kernel and process can trace.")
    parser.add_argument("--json", action="store_true", help="as one JSON object; null: not known, or no limit")
    options = parser.parse_args(arguments)
    results = all_features()
    if options.json:
        print(json.dumps(_as_json(results), indent=1))
    else:
        _print(results)
    denied = sum(result.support is Support.NOT_ALLOWED for result in results.values())
    why, advice = _in_the_way()
    if not why:
        return 0
    print(f"pybpf info: {denied} features could not be tried{why}; {advice}", file=sys.stderr)
    return 1


def _in_the_way() -> tuple[str, str]:
    """Why this process may not use BPF, and what to do; empty when it may."""
    state = privileges()
    lacking = state.missing("CAP_BPF", "CAP_PERFMON")
    if not state.initial_user_ns:
        return " in a user namespace of its own", "run it outside of that, as root"
    if lacking:
        return f" without {' and '.join(lacking)}", "run as root"
    try:
        next(ids(Kind.PROG), 0)
    except KernelError as error:
        if "seccomp" in error.cause:
            return f": {error.cause}", error.advice
    return "", ""


def _host() -> dict[str, str | int]:
    kernel = os.uname()
    return {
        "pybpf": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "kernel": f"{kernel.sysname} {kernel.release}",
        "architecture": kernel.machine,
        "cpus_online": len(online_cpus()),
    }


def _as_json(results: Mapping[str, Result]) -> dict[str, object]:
    state = privileges()
    process = {
        "uid": state.uid,
        "capabilities": sorted(state.capabilities),
        "kernel_capabilities": sorted(state.known),
        "initial_user_ns": state.initial_user_ns,
        "seccomp_filter": state.seccomp_filter,
        "lockdown": state.lockdown or None,
        "memlock_bytes": state.memlock if state.memlock >= 0 else None,
        "nofile": state.nofile if state.nofile >= 0 else None,
        "unprivileged_bpf_disabled": state.unprivileged_bpf_disabled,
        "perf_event_paranoid": state.perf_event_paranoid,
        "kptr_restrict": state.kptr_restrict,
    }
    features = {
        name: {
            "group": FEATURES[name].group,
            "text": FEATURES[name].text,
            "support": result.support.value,
            "detail": result.detail,
            "since": FEATURES[name].since,
        }
        for name, result in results.items()
    }
    return {"host": _host(), "process": process, "features": features}


def _print(results: Mapping[str, Result]) -> None:
    host = {name.replace("_", " "): str(value) for name, value in _host().items()}
    for title, facts in (("Host", host), ("This process", describe())):
        print(f"{title}:")
        for name, value in facts.items():
            print(f"  {name + ':':<36}{value}")
    # many features are refused for one reason, which is long: told once
    reasons = {result.detail: "" for result in results.values() if result.support is Support.NOT_ALLOWED}
    reasons = {reason: f"[{number}]" for number, reason in enumerate(reasons, 1)}
    for group in dict.fromkeys(feature.group for feature in FEATURES.values()):
        rows = [
            (f"  {name}", results[name].support.value, feature.since, _remark(results[name], feature, reasons))
            for name, feature in FEATURES.items()
            if feature.group == group
        ]
        print("\n" + table((f"{group.capitalize()} features", "", "SINCE", ""), rows))
    if reasons:
        print("\nNot allowed:")
        for reason, mark in reasons.items():
            print(f"  {mark} {reason}")


def _remark(result: Result, feature: Feature, reasons: Mapping[str, str]) -> str:
    if result.support is Support.NOT_ALLOWED:
        return f"{feature.text} {reasons[result.detail]}"
    return result.detail or feature.text
