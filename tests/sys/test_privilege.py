"""What the process may do, seen from processes with more and with fewer privileges."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from pybpf.sys import privilege
from pybpf.sys.mount import detached_mount
from pybpf.sys.privilege import and_list, describe, privileges, sysctl
from tests.sys.child import NOBODY, refuse_by_seccomp, run

_ALL = ("CAP_BPF", "CAP_PERFMON", "CAP_SYS_ADMIN")


def test_this_process() -> None:
    state = privileges()
    assert state.uid == os.geteuid()
    assert state.memlock == resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    assert state.nofile == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert state.unprivileged_bpf_disabled == int(Path("/proc/sys/kernel/unprivileged_bpf_disabled").read_text())
    assert not state.seccomp_filter or "Seccomp:\t2" in Path("/proc/self/status").read_text()


@pytest.mark.root
def test_nobody_has_nothing_and_each_capability_is_seen() -> None:
    code = "from pybpf.sys.privilege import privileges\ns = privileges()\n"
    code += f"print(s.uid, s.seccomp_filter, s.missing{_ALL!r})"
    answer = run(code, uid=NOBODY)
    known = privileges().known
    if "CAP_BPF" not in known:  # Linux 5.8 split it off
        assert answer == "65534 False ['CAP_SYS_ADMIN']"
        return
    assert answer == f"65534 False {list(_ALL)}"
    assert run(code, uid=NOBODY, caps=["BPF"]).endswith("['CAP_PERFMON', 'CAP_SYS_ADMIN']")
    assert run(code, uid=NOBODY, caps=["BPF", "PERFMON"]).endswith("['CAP_SYS_ADMIN']")
    assert run(code, uid=NOBODY, caps=["SYS_ADMIN"]).endswith("[]")  # which includes the others


@pytest.mark.root
def test_a_seccomp_filter_is_seen() -> None:
    code = "from pybpf.sys.privilege import privileges\nprint(privileges().seccomp_filter)"
    assert run(code, before=partial(refuse_by_seccomp, 0xFFFF, 1)) == "True"


def test_a_user_namespace_takes_the_capabilities_away() -> None:
    state = privileges()._replace(initial_user_ns=False, capabilities=frozenset(_ALL), known=frozenset(_ALL))
    assert state.missing(*_ALL) == list(_ALL)
    assert not state.has("CAP_BPF")
    assert state._replace(initial_user_ns=True).missing(*_ALL) == []


def test_before_5_8_sys_admin_stands_for_all() -> None:
    state = privileges()._replace(known=frozenset({"CAP_SYS_ADMIN"}), capabilities=frozenset(), initial_user_ns=True)
    assert state.missing("CAP_BPF", "CAP_PERFMON") == ["CAP_SYS_ADMIN"]


def test_description_has_a_line_for_everything() -> None:
    lines = describe()
    assert lines["user"] == str(os.geteuid())
    assert {"capabilities", "seccomp filter", "lockdown", "kernel.perf_event_paranoid"} <= set(lines)
    assert all(value and "\n" not in value for value in lines.values())


def test_without_proc_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> str:
        raise PermissionError(path)

    monkeypatch.setattr(privilege, "_read", refuse)
    state = privileges()
    assert state.unprivileged_bpf_disabled is None
    assert state.lockdown == ""
    assert describe()["kernel.kptr_restrict"] == "unknown"


@pytest.mark.parametrize(
    ("text", "mode"),
    [("[none] integrity confidentiality\n", "none"), ("none integrity [confidentiality]\n", "confidentiality")],
)
def test_lockdown_modes(monkeypatch: pytest.MonkeyPatch, text: str, mode: str) -> None:
    monkeypatch.setattr(privilege, "_read", lambda path: text)
    assert privilege._lockdown() == mode


@pytest.mark.root
def test_lockdown_is_read_where_securityfs_is_not_mounted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privilege, "_LOCKDOWN", "/nonexistent")
    try:
        with detached_mount("securityfs") as root, open(f"/proc/self/fd/{root.fileno()}/lockdown") as file:
            lines = file.read()
    except OSError:
        pytest.skip("the kernel has no lockdown")
    assert f"[{privilege._lockdown()}]" in lines
    assert privileges().lockdown == privilege._lockdown()


def test_without_descriptors_nothing_fails() -> None:
    """Not even where a file of this package would be read for the first time: a new process."""
    code = """
import os, resource
from pybpf.sys import privilege
privilege._LOCKDOWN = "/nonexistent"
free = os.dup(0)
os.close(free)
resource.setrlimit(resource.RLIMIT_NOFILE, (free, free))
print(privilege.privileges().lockdown == "")
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "True\n"


def test_lockdown_takes_helpers_by_its_mode() -> None:
    state = privileges()
    taken = {
        mode: [name for name in ("probe_write_user", "probe_read_kernel", "ktime_get_ns")
               if state._replace(lockdown=mode).locks(name)]
        for mode in ("", "none", "integrity", "confidentiality")
    }  # fmt: skip
    assert taken == {
        "": [], "none": [], "integrity": ["probe_write_user"],
        "confidentiality": ["probe_write_user", "probe_read_kernel"],
    }  # fmt: skip


def test_sysctl_and_lists() -> None:
    assert sysctl("no_such_sysctl") is None
    assert sysctl("ostype") is None  # text
    assert [and_list(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]
