"""Explanations: each cause is brought about for real, in a child with fewer privileges where it takes one."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
from functools import partial

import pytest

from pybpf.arch import host_arch
from pybpf.errors import KernelError, PermissionDenied, UnsupportedError
from pybpf.sys import causes, explain, privilege, reasons
from pybpf.sys.bpf import Attr, Cmd, MapFlags, MapType, ProgType, bpf
from pybpf.sys.explain import explaining
from pybpf.sys.fd import Fd
from pybpf.sys.features import Support, has, probe
from pybpf.sys.perf import PerfType, perf_event_open
from tests.sys.child import NOBODY, refuse_by_seccomp, run

pytestmark = [pytest.mark.root, pytest.mark.generic]
_MAP = "bpf(Cmd.MAP_CREATE, map_type=2, key_size=4, value_size=4, max_entries=1)"
_CODE = 'b"\\xb7" + bytes(7) + b"\\x95" + bytes(7)'
_PROGRAM = "bpf(Cmd.PROG_LOAD, prog_type={}, insns=" + _CODE + ', insn_cnt=2, license=b"GPL\\0")'
_ARRAY = {"map_type": MapType.ARRAY, "key_size": 4, "value_size": 4, "max_entries": 1}
_RETURN_0 = b"\xb7" + bytes(7) + b"\x95" + bytes(7)


def _code(action: str, what: str, call: str) -> str:
    return (
        "from pybpf.sys.bpf import Cmd, bpf\nfrom pybpf.sys.explain import explaining\n"
        "from pybpf.sys.perf import perf_event_open\n"
        f"with explaining({action!r}, {what!r}):\n    {call}\n    print('done')"
    )


def _failed(what: str, *needs: str, **fields: object) -> KernelError:
    """The explanation of a map creation or program load that must fail."""
    cmd = {"map_create": Cmd.MAP_CREATE, "prog_load": Cmd.PROG_LOAD}[what]
    with pytest.raises(KernelError) as caught, explaining("do it", what, *needs):
        os.close(bpf(cmd, **fields))
    return caught.value


def _has_bpf_capabilities() -> bool:
    return "CAP_BPF" in privilege.privileges().known


def test_nobody_is_told_which_capabilities_are_missing() -> None:
    answer = run(_code("create map 'counts'", "map_create", _MAP), uid=NOBODY)
    lacking = "CAP_BPF" if _has_bpf_capabilities() else "CAP_SYS_ADMIN"
    if privilege.sysctl("unprivileged_bpf_disabled") == 0:
        assert answer == "done"
        return
    assert answer.startswith(f"PermissionDenied: cannot create map 'counts': this process lacks {lacking}")
    assert "(EPERM); run as root, or give it" in answer
    assert "\n" not in answer
    answer = run(_code("load program", "prog_load", _PROGRAM.format(5)), uid=NOBODY)
    assert "lacks CAP_BPF and CAP_PERFMON" in answer or "lacks CAP_SYS_ADMIN" in answer
    answer = run("from pybpf.sys.objects import *\nlist(ids(Kind.PROG))", uid=NOBODY)
    assert answer.startswith("PermissionDenied: cannot list programs: this process lacks CAP_SYS_ADMIN (EPERM); run as")


def test_with_some_capabilities_the_others_are_named() -> None:
    if not _has_bpf_capabilities():
        pytest.skip("kernel lacks CAP_BPF")
    assert run(_code("create map", "map_create", _MAP), uid=NOBODY, caps=["BPF"]) == "done"
    answer = run(_code("load program", "prog_load", _PROGRAM.format(5)), uid=NOBODY, caps=["BPF"])
    assert "this process lacks CAP_PERFMON" in answer
    assert "CAP_BPF" not in answer.replace("kernel.unprivileged_bpf_disabled", "")
    both = ["BPF", "PERFMON"]
    assert run(_code("load program", "prog_load", _PROGRAM.format(5)), uid=NOBODY, caps=both) == "done"
    assert "lacks CAP_SYS_ADMIN" in run("from pybpf.sys.objects import *\nlist(ids(Kind.MAP))", uid=NOBODY, caps=both)


def test_perf_events_of_nobody() -> None:
    call = "perf_event_open(pid=-1, cpu=0, type=1, config=0).close()"
    assert run(_code("open event", "perf_event", call), uid=None) == "done"
    answer = run(_code("open event", "perf_event", call), uid=NOBODY)
    assert answer.startswith("PermissionDenied: cannot open event: this process lacks CAP_"), answer
    assert "kernel.perf_event_paranoid is" in answer


def test_uprobes_ask_for_sys_admin() -> None:
    if not has("uprobe_pmu"):
        pytest.skip("kernel lacks uprobe_pmu")
    call = "perf_event_open(pid=-1, cpu=0, type=int(open('/sys/bus/event_source/devices/uprobe/type').read()), "
    call += "config1=b'/bin/sh\\0', config2=4096)"
    caps = ["BPF", "PERFMON"] if _has_bpf_capabilities() else []
    answer = run(_code("attach", "perf_event", call), uid=NOBODY, caps=caps)
    assert "this process lacks CAP_SYS_ADMIN (EACCES); run as root" in answer


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
def test_a_seccomp_filter_is_found(number: int) -> None:
    before = partial(refuse_by_seccomp, host_arch().nr_bpf, number)
    answer = run(_code("create map", "map_create", _MAP), before=before)
    if number == errno.EPERM:
        assert answer.startswith("PermissionDenied: cannot create map: a seccomp filter of this process refuses bpf(2)")
    else:
        assert answer.startswith("PermissionDenied: cannot create map: a seccomp filter of this process hides bpf(2)")
    assert "container" in answer
    before = partial(refuse_by_seccomp, host_arch().nr_perf_event_open, errno.EPERM)
    answer = run(_code("open", "perf_event", "perf_event_open(pid=-1, cpu=0, type=1, config=0)"), before=before)
    assert "a seccomp filter of this process refuses perf_event_open(2)" in answer


def test_a_filter_that_lets_bpf_through_is_not_blamed() -> None:
    before = partial(refuse_by_seccomp, host_arch().nr_perf_event_open, errno.EPERM)
    assert run(_code("create map", "map_create", _MAP), before=before) == "done"
    code = "from pybpf.sys.explain import explain\nprint(explain('x', PermissionError(1, ''), 'map_create'))"
    answer = run(code, before=before)
    assert "seccomp" not in answer


def test_a_user_namespace_is_named() -> None:
    if not shutil.which("unshare"):
        pytest.skip("unshare is not installed")
    if subprocess.run(["unshare", "-Ur", "true"], capture_output=True).returncode:
        pytest.skip("kernel lacks user namespaces, or forbids them")
    code = "import sys; sys.path.insert(0, '.')\n" + _code("create map", "map_create", _MAP)
    done = subprocess.run(["unshare", "-Ur", sys.executable, "-c", code], capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    if done.stdout.strip() == "done":
        pytest.skip("the kernel gives BPF to everyone")
    assert "in a user namespace of its own" in last


def test_few_descriptors() -> None:
    before = partial(resource.setrlimit, resource.RLIMIT_NOFILE, (3, 3))
    answer = run(_code("create map", "map_create", _MAP), before=before)
    assert answer.startswith("KernelError: cannot create map: this process has as many files open as it may")
    assert "(RLIMIT_NOFILE, 3)" in answer and "ulimit -n" in answer


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"map_type": MapType.RINGBUF, "key_size": 0, "value_size": 0, "max_entries": 4095}, "power of two"),
        ({"map_type": MapType.RINGBUF, "value_size": 0, "max_entries": 65536}, "neither keys nor values"),
        ({"key_size": 8}, "an array's key has 4 bytes, not 8"),
        ({"max_entries": 0}, "needs room for one element"),
        ({"map_type": MapType.HASH, "max_entries": 0}, "max_entries is 0"),
        ({"map_type": MapType.QUEUE, "key_size": 0, "max_entries": 0}, "max_entries is 0"),
        ({"map_type": MapType.HASH, "value_size": 1 << 30}, "keys of 4 or values of 1073741824 bytes are too large"),
        ({"map_type": MapType.HASH, "max_entries": (1 << 31) + 5}, "max_entries, 2147483653, is too large"),
        ({"map_name": b"a-b"}, "the name b'a-b' is not"),
        ({"map_type": MapType.PERCPU_ARRAY, "value_size": 40000}, "at most 32768 bytes, not 40000"),
        ({"map_type": MapType.STACK_TRACE, "value_size": 8 * 5000}, "kernel.perf_event_max_stack"),
    ],
)
def test_maps_of_impossible_shape(fields: dict[str, object], text: str) -> None:
    found = _failed("map_create", **{**_ARRAY, **fields})
    assert text in str(found)
    assert type(found) is KernelError


def test_maps_beyond_memory() -> None:
    found = _failed("map_create", **{**_ARRAY, "value_size": 1 << 20, "max_entries": 1 << 30})
    if found.errno == errno.ENOMEM:
        assert "the kernel has no memory for 1073741824 entries" in str(found)
    else:  # before 5.11 the charge is checked first
        assert found.errno in (errno.EPERM, errno.E2BIG)


def test_what_the_kernel_does_not_know() -> None:
    """A map type from the future, a field from the future."""
    with pytest.raises(KernelError) as caught, explaining("do it", "map_create"):
        bpf(Cmd.MAP_CREATE, **{**_ARRAY, "map_type": 200})
    assert str(caught.value) == "cannot do it: EINVAL: Invalid argument"
    for name in ("user_ringbuf", "task_storage"):
        if probe(name).support is Support.NO:
            kind = MapType[name.upper()]
            found = _failed("map_create", map_type=kind, key_size=0, value_size=0, max_entries=65536)
            assert isinstance(found, UnsupportedError)
            assert f"does not support {name}" in str(found)
    attr = Attr(Cmd.PROG_LOAD, insn_cnt=1)
    assert attr.known()
    assert Attr(Cmd.PROG_LOAD).known()
    attr = Attr(Cmd.PROG_LOAD, insn_cnt=1, keyring_id=1)
    assert attr.last_field() == "keyring_id"
    if not attr.known():
        found = _failed("prog_load", prog_type=1, insns=_RETURN_0, insn_cnt=2, license=b"GPL\0", keyring_id=1)
        assert isinstance(found, UnsupportedError)
        assert "does not know the field 'keyring_id'" in str(found)


def test_features_that_the_caller_names() -> None:
    for name in ("kprobe_multi", "may_goto", "fentry"):
        error = OSError(errno.EINVAL, "")
        found = explain.explain("do it", error, "other", name)
        if probe(name).support is Support.NO:
            assert isinstance(found, UnsupportedError)
            assert f"this kernel does not support {name} (" in str(found)
        else:
            assert type(found) is KernelError
            assert found.cause == ""


def test_programs_of_impossible_size() -> None:
    base = {"prog_type": ProgType.SOCKET_FILTER, "license": b"GPL\0"}
    assert "it has no instructions" in str(_failed("prog_load", insns=_RETURN_0, insn_cnt=0, **base))
    many = b"\xb7" + bytes(7)
    found = _failed("prog_load", insns=many * 1_000_001, insn_cnt=1_000_001, **base)
    assert "it has 1000001 instructions; the kernel takes a million" in str(found)
    found = _failed("prog_load", insns=_RETURN_0, insn_cnt=2, prog_name=b"no space ", **base)
    assert "the name b'no space ' is not" in str(found)


def test_perf_events_that_are_not_there() -> None:
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    gone = f"there is no process {ended.pid} \\(ESRCH\\)"
    with pytest.raises(KernelError, match=gone), explaining("x", "perf_event"):
        perf_event_open(pid=ended.pid, cpu=-1, type=PerfType.SOFTWARE)
    with pytest.raises(KernelError, match="no tracepoint with id 999999"), explaining("x", "perf_event"):
        perf_event_open(pid=-1, cpu=0, type=PerfType.TRACEPOINT, config=999999)
    if probe("perf_hardware").support is Support.NO:
        with pytest.raises(UnsupportedError, match="cpu-clock"), explaining("x", "perf_event"):
            perf_event_open(pid=-1, cpu=0, type=PerfType.HARDWARE, config=0)


def test_every_meaning_of_an_errno_is_a_sentence_part() -> None:
    """Each check of the tables, on a failure without arguments, gives a cause or nothing, and is fast to ask."""
    for what, number in reasons._CHECKS:
        found = explain.explain("do it", OSError(number, ""), what)
        assert str(found).startswith("cannot do it: ")
        assert found.errno == number
        assert not found.cause.endswith(".") and not found.advice.endswith(".")


def test_a_check_that_fails_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(failure: causes.Failure) -> None:
        raise RuntimeError

    monkeypatch.setattr(reasons, "_ALWAYS", {errno.EIO: (broken, lambda failure: causes.Cause("found"))})
    found = explain.explain("do it", OSError(errno.EIO, ""), "other")
    assert str(found) == "cannot do it: found (EIO)"


def test_classes_and_passing_through() -> None:
    for number, kind in ((errno.EPERM, PermissionDenied), (524, UnsupportedError), (errno.EIO, KernelError)):
        with pytest.raises(kind) as caught, explaining("do it", "other"):
            raise OSError(number, "")
        assert type(caught.value) is kind
        assert caught.value.__cause__ is None
    own = UnsupportedError("a", 1)
    with pytest.raises(UnsupportedError) as again, explaining("do it", "other"):
        raise own
    assert again.value is own
    with pytest.raises(ValueError, match="other"), explaining("do it", "other"):
        raise ValueError("other")


@pytest.mark.parametrize(("cpu", "text"), [(-1, "neither a process nor a CPU"), (1 << 20, "no CPU 1048576")])
def test_the_place_of_a_perf_event_is_looked_at_before_its_tracepoint(cpu: int, text: str) -> None:
    with pytest.raises(KernelError, match=text), explaining("x", "perf_event"):
        perf_event_open(pid=-1, cpu=cpu, type=PerfType.TRACEPOINT, config=1)


def test_lockdown_is_told_only_of_what_it_forbids(monkeypatch: pytest.MonkeyPatch) -> None:
    state = privilege.privileges()._replace(lockdown="confidentiality")
    monkeypatch.setattr(privilege, "privileges", lambda: state)
    told = {what: "locked down" in str(explain.explain("x", OSError(errno.EPERM, ""), what)) for what in (
        "map_create", "btf_load", "test_run", "obj_id", "stats",
        "prog_load", "attach", "perf_event", "tracefs", "tracefs_write")}  # fmt: skip
    assert list(told.values()) == [False] * 5 + [True] * 5, told


def test_a_limit_that_was_raised_is_not_blamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(causes, "_has_not", lambda name: causes.Cause(f"no {name}"))
    monkeypatch.setattr(resource, "getrlimit", lambda limit: (4096, 65536))
    state = privilege.privileges()._replace(memlock=4096, initial_user_ns=True, capabilities=frozenset())
    failure = causes.Failure("map_create", errno.EPERM, None, (), state)
    found = causes.memlock(failure)
    assert found is not None and "RLIMIT_MEMLOCK (64 KiB)" in found.text
    # the kernel's types say the same, without a probe
    assert causes.charged(failure) == (None if has("memcg_accounting") else found)
    assert causes.memlock(failure._replace(state=state._replace(capabilities=frozenset({"CAP_SYS_RESOURCE"})))) is None
    monkeypatch.setattr(resource, "getrlimit", lambda limit: (4096, -1))
    assert causes.memlock(failure) is None


def test_lockdown_is_told_only_when_it_is_so() -> None:
    state = privilege.privileges()._replace(lockdown="confidentiality")
    failure = causes.Failure("prog_load", errno.EPERM, None, (), state)
    found = causes.lockdown(failure)
    assert found is not None and "locked down" in found.text
    assert causes.lockdown(failure._replace(state=state._replace(lockdown="integrity"))) is None


def test_read_only_maps() -> None:
    with Fd(bpf(Cmd.MAP_CREATE, **{**_ARRAY, "map_flags": MapFlags.RDONLY}), "map") as made:
        with pytest.raises(KernelError) as caught, explaining("update it", "map_elem"):
            bpf(Cmd.MAP_UPDATE_ELEM, map_fd=made.fileno(), key=bytes(4), value=bytes(4))
        assert "the map is frozen, or was made or opened for the other direction only (EPERM)" in str(caught.value)


def test_a_cpu_that_is_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(causes, "online_cpus", list)
    error = OSError(errno.ENODEV, "")
    error.request = {"pid": -1, "cpu": 0, "type": PerfType.SOFTWARE}  # type: ignore[attr-defined]
    assert "CPU 0 is not online (ENODEV)" in str(explain.explain("x", error, "perf_event"))


def test_levels_of_paranoia_beyond_the_kernels_own() -> None:
    """Debian's default, 3: CAP_PERFMON does not count."""
    state = privilege.privileges()._replace(
        perf_event_paranoid=3, initial_user_ns=True, capabilities=frozenset({"CAP_PERFMON"})
    )
    failure = causes.Failure("perf_event", errno.EACCES, None, (), state)
    found = causes.paranoid(failure)
    assert found is not None and found.text.startswith("kernel.perf_event_paranoid is 3: ")
    assert causes.paranoid(failure._replace(state=state._replace(perf_event_paranoid=2))) is None
    assert causes.paranoid(failure._replace(state=state._replace(capabilities=frozenset({"CAP_SYS_ADMIN"})))) is None
    call = "perf_event_open(pid=-1, cpu=0, type=1, config=0).close()"
    answer = run(_code("open event", "perf_event", call), uid=NOBODY, caps=["PERFMON"])
    level = privilege.sysctl("perf_event_paranoid") or 0
    assert answer == "done" if level <= 2 else f"kernel.perf_event_paranoid is {level}" in answer
