"""tracefs: its files through a mount or a detached one, and what is said when it cannot be had."""

from __future__ import annotations

import errno
import os
import subprocess

import pytest

from pybpf.errors import KernelError, NotFoundError
from pybpf.sys.features import has
from pybpf.sys.mount import detached_mount, mounts, open_mount
from pybpf.sys.tracefs import tracefs
from tests.sys.child import NOBODY, run

pytestmark = pytest.mark.needs("tracefs")


def test_reads_lists_and_finds() -> None:
    with tracefs() as files:
        assert "sched" in files.listdir("events")
        assert files.read("events/sched/sched_switch/id") == f"{files.event_id('sched', 'sched_switch')}\n"
        assert files.event_format("sched", "sched_switch").startswith("name: sched_switch\n")
        assert files.exists("events/sched")
        assert not files.exists("events/sched/no_such_event")
        assert "detached" in repr(files) or "/" in repr(files)
    files.close()
    assert "closed" in repr(files)


def test_what_is_missing_is_named() -> None:
    with tracefs() as files:
        for system, name in (("sched", "none"), ("..", "sched"), ("sched/sched_switch", "x"), ("", ""), ("a b", "c")):
            with pytest.raises(NotFoundError, match="there is no tracepoint"):
                files.event_id(system, name)
        with pytest.raises(NotFoundError, match="no 'nothing'"):
            files.read("nothing")
        with pytest.raises(NotFoundError, match="no 'nothing'"):
            files.append("nothing", "x")
        with pytest.raises(NotFoundError, match="no 'trace/x'"):
            files.listdir("trace/x")
        with pytest.raises(KernelError) as caught:
            files.read("events")
        assert caught.value.errno == errno.EISDIR


def test_append_keeps_what_is_there_and_reports_refusals() -> None:
    if not has("uprobe_events"):
        pytest.skip("kernel lacks uprobe_events")
    group = f"pybpf{os.getpid()}"
    with tracefs() as files:
        before = files.read("uprobe_events")
        files.append("uprobe_events", f"p:{group}/one /bin/sh:0x1000\n")
        try:
            files.append("uprobe_events", f"p:{group}/two /bin/sh:0x1008\n")
            text = files.read("uprobe_events")
            assert text.startswith(before) and f"{group}/one" in text and f"{group}/two" in text
            assert files.event_id(group, "one") != files.event_id(group, "two")
        finally:
            for name in ("one", "two"):
                if files.exists(f"events/{group}/{name}"):
                    files.append("uprobe_events", f"-:{group}/{name}\n")
        assert files.read("uprobe_events") == before
        with pytest.raises(KernelError, match="uprobe_events"):
            files.append("uprobe_events", "nonsense\n")


def test_a_detached_mount_leaves_the_host_as_it_was() -> None:
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        before = file.read()
    try:
        root = detached_mount("tracefs")
    except OSError as error:
        if error.errno == errno.ENOSYS:
            pytest.skip("kernel lacks fsopen")
        raise
    with root:
        assert "events" in os.listdir(root.fileno())
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            assert file.read() == before


def test_mounts_reads_the_mount_table() -> None:
    assert "/proc" in [mount.path for mount in mounts("proc")]
    assert not list(mounts("no_such_type"))
    for mount in mounts("proc"):
        with open_mount(mount) as root:
            assert str(os.getpid()) in os.listdir(root.fileno())


def test_odd_mount_points_and_hidden_mounts() -> None:
    """In a mount namespace of its own: names with spaces are decoded, and a mount over another one is noticed."""
    script = """
import os, sys
sys.path.insert(0, os.getcwd())
from pybpf.sys.mount import mounts, open_mount
[mount] = [mount for mount in mounts("ramfs")]
assert mount.path == sys.argv[1] and mount.writable, mount
open_mount(mount).close()
os.system('mount -t tmpfs none "' + sys.argv[1] + '"')
try:
    open_mount(mount)
except FileNotFoundError as error:
    assert "hidden" in str(error)
else:
    raise AssertionError
"""
    import shutil
    import sys
    import tempfile

    if not shutil.which("unshare"):
        pytest.skip("unshare is not installed")
    with tempfile.TemporaryDirectory(prefix="a b\\") as place:
        command = 'mount -t ramfs none "$1" && exec "$2" -c "$3" "$1"'
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", command, "sh", place, sys.executable, script], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


def test_nobody_is_told_what_to_do() -> None:
    answer = run("from pybpf.sys.tracefs import tracefs\ntracefs()", uid=NOBODY)
    assert answer.startswith("PermissionDenied: cannot open tracefs: ")
    assert "run as root" in answer
    assert "\n" not in answer


def test_no_descriptor_left_for_it() -> None:
    code = """
import os, resource
from pybpf.sys.tracefs import tracefs
free = os.dup(0)
os.close(free)
resource.setrlimit(resource.RLIMIT_NOFILE, (free, free))
tracefs()
"""
    answer = run(code)
    assert answer.startswith("KernelError: cannot open tracefs: this process has as many files open as it may"), answer
    assert "raise it: ulimit -n" in answer
