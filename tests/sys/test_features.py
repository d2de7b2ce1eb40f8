"""Feature probes: a table that is whole, answers that agree with the kernel, "not allowed" told from "no"."""

from __future__ import annotations

import errno
import os
import re
from functools import partial

import pytest

from pybpf import asm
from pybpf.arch import host_arch
from pybpf.asm import R0, R1, R9, exit_, mov
from pybpf.errors import AsmError, NotFoundError
from pybpf.sys import features, privilege, probes
from pybpf.sys.bpf import Cmd, MapType, ProgType, bpf
from pybpf.sys.fd import Fd
from pybpf.sys.features import FEATURES, Result, Support, all_features, has, helper, probe
from tests.sys.child import NOBODY, refuse_by_seccomp, run

_GROUPS = {"map", "program", "attach", "instruction", "helper", "type", "command"}


def test_the_table_is_whole() -> None:
    for name, row in FEATURES.items():
        assert name == row.name
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
        assert row.group in _GROUPS
        assert re.fullmatch(r"\d+\.\d+", row.since)
        assert row.text and row.text[-1] != "."
    # instructions go by the assembler's names
    own = {"bounded_loop", "gotol", "iter_num", "jit"}
    named = {name for name, row in FEATURES.items() if row.group == "instruction"}
    assert named - own <= set(asm.FEATURES)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(NotFoundError, match="no feature 'hashh'"):
        probe("hashh")
    with pytest.raises(NotFoundError):
        has("")
    with pytest.raises(AsmError):
        helper("no_such_helper", ProgType.KPROBE)


@pytest.mark.root
def test_every_probe_answers_and_leaves_nothing() -> None:
    before = set(os.listdir("/proc/self/fd"))
    for name, result in all_features().items():
        assert isinstance(result, Result), name
        assert bool(result) == (result.support is Support.YES)
        assert result.support is Support.YES or result.detail, name
        assert str(result).startswith(result.support.value)
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.mark.root
@pytest.mark.parametrize("name", ["hash", "percpu_array", "prog_tracepoint", "raw_tp", "test_run", "object_ids"])
def test_what_every_kernel_has(name: str) -> None:
    assert has(name), probe(name)


@pytest.mark.root
def test_map_probes_agree_with_map_creation() -> None:
    for kind in (MapType.HASH, MapType.BLOOM_FILTER, MapType.USER_RINGBUF):
        sizes = {MapType.BLOOM_FILTER: (0, 4, 1), MapType.USER_RINGBUF: (0, 0, 65536)}.get(kind, (4, 4, 1))
        key, value, entries = sizes
        try:
            Fd(bpf(Cmd.MAP_CREATE, map_type=kind, key_size=key, value_size=value, max_entries=entries), "map").close()
            made = True
        except OSError:
            made = False
        assert has(kind.name.lower()) == made


@pytest.mark.root
def test_what_no_kernel_has_is_no() -> None:
    assert probes.insns((mov(R0, 0), mov(R1, R9), exit_())).support is Support.NO
    assert "R9 !read_ok" in probes.insns((mov(R0, 0), mov(R1, R9), exit_())).detail
    assert probes.judge(OSError(errno.EINVAL, "")) == Result(Support.NO, "EINVAL: Invalid argument")


@pytest.mark.root
def test_helpers_by_program_type() -> None:
    assert helper("ktime_get_ns", ProgType.KPROBE)
    assert helper("bpf_ktime_get_ns", ProgType.TRACEPOINT) == probes.YES
    result = helper("skb_load_bytes", ProgType.KPROBE)
    assert result.support is Support.NO
    assert "func" in result.detail or "helper" in result.detail


def test_transient_failures_are_no_verdict() -> None:
    for number in (errno.ENOMEM, errno.EMFILE, errno.EINTR):
        result = probes.judge(OSError(number, ""))
        assert result.support is Support.NOT_ALLOWED
        assert "could not be tried" in result.detail
    assert probes.judge(OSError(errno.EBADF, ""), supported=(errno.EBADF,)) == probes.YES


@pytest.mark.root
def test_results_are_remembered_but_refusals_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [Result(Support.NOT_ALLOWED, "no"), Result(Support.NOT_ALLOWED, "no"), probes.YES]
    row = FEATURES["hash"]._replace(name="tried", probe=lambda: answers.pop(0))
    monkeypatch.setattr(features, "FEATURES", {"tried": row})
    monkeypatch.setattr(features, "_RESULTS", features._Results())
    assert [has("tried"), has("tried"), has("tried"), has("tried")] == [False, False, True, True]


@pytest.mark.root
def test_nobody_is_not_allowed_rather_than_unsupported() -> None:
    code = """
from pybpf.sys import features
features._RESULTS.clear()
for name in ("prog_kprobe", "object_ids", "enable_stats", "perf_event"):
    print(name, features.probe(name))
"""
    for line in run(code, uid=NOBODY).splitlines():
        assert line.partition(" ")[2].startswith("not allowed: "), line
    lacking = run("from pybpf.sys.features import *\nimport pybpf.sys.features as f\nf._RESULTS.clear()\n"
                  "print(probe('prog_kprobe'))", uid=NOBODY)  # fmt: skip
    assert "this process lacks CAP_" in lacking


@pytest.mark.root
def test_running_out_of_descriptors_is_not_a_missing_feature() -> None:
    code = """
import resource
from pybpf.sys import features
features._RESULTS.clear()
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
print(features.probe("hash"))
"""
    assert run(code) == "not allowed: could not be tried: EMFILE: Too many open files"


@pytest.mark.root
def test_few_descriptors_make_no_feature_missing() -> None:
    """Each row, with room for none to two descriptors: what there is is never "no", then or afterwards."""
    code = """
import os, resource
from pybpf.sys import features, privilege, probes
before = resource.getrlimit(resource.RLIMIT_NOFILE)
free = os.dup(0)
os.close(free)
features._RESULTS.clear(), probes._ids.cache_clear(), probes._HELPERS.clear()
for limit in (free, free + 1, free + 2, before[0]):
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
    for name, result in features.all_features().items():
        print(limit == before[0], name, result.support.name)
"""
    truth = {name: result.support.name for name, result in all_features().items()}
    lines = [line.split(" ") for line in run(code).splitlines()]
    assert len(lines) == 4 * len(truth)
    for last, name, found in lines:
        assert found == truth[name] or (last == "False" and found == "NOT_ALLOWED"), name


@pytest.mark.root
def test_what_the_verifier_refuses_to_ordinary_users_is_not_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "lacks_privileges", lambda: ["CAP_BPF"])
    result = probes.insns((mov(R0, 0), mov(R1, R9), exit_()))
    assert result.support is Support.NOT_ALLOWED
    assert result.detail.endswith("this process lacks CAP_BPF")
    probes._HELPERS.clear()
    assert helper("skb_load_bytes", ProgType.KPROBE).support is Support.NOT_ALLOWED
    monkeypatch.undo()
    assert helper("skb_load_bytes", ProgType.KPROBE).support is Support.NO


@pytest.mark.root
def test_implied_features() -> None:
    if has("kprobe_pmu"):
        assert has("kprobe") and has("kretprobe")
    if has("uprobe_pmu"):
        assert has("uprobe")
    if has("cpu_v4"):
        assert has("gotol")


@pytest.mark.root
@pytest.mark.parametrize(
    ("name", "kind", "lockdown", "support"),
    [
        ("probe_write_user", ProgType.KPROBE, "integrity", Support.NOT_ALLOWED),
        ("probe_write_user", ProgType.KPROBE, "none", Support.NO),
        ("probe_write_user", ProgType.KPROBE, "", Support.NOT_ALLOWED),
        ("probe_write_user", ProgType.XDP, "integrity", Support.NO),
        ("probe_read_kernel", ProgType.KPROBE, "integrity", Support.NO),
        ("probe_read_kernel", ProgType.KPROBE, "confidentiality", Support.NOT_ALLOWED),
        ("skb_load_bytes", ProgType.KPROBE, "confidentiality", Support.NO),
    ],
)
def test_a_helper_that_lockdown_takes_is_not_allowed(
    name: str, kind: ProgType, lockdown: str, support: Support, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = privilege.privileges()
    monkeypatch.setattr(probes, "privileges", lambda: state._replace(lockdown=lockdown))
    result = probes._why_not(name, kind, "cannot use helper", probes.YES)
    assert result.support is support and ("locked down" in result.detail) == (support is not Support.NO)


@pytest.mark.root
def test_the_lockdown_of_this_kernel_is_told() -> None:
    if not privilege.privileges().locks("probe_write_user"):
        pytest.skip("the kernel is not locked down")
    assert probe("helper_probe_write_user").support is Support.NOT_ALLOWED


@pytest.mark.root
def test_what_could_not_be_tried_where_it_belongs_is_not_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some hosts allow tracepoints only: what they say of a helper of functions means nothing."""
    if not has("tp_btf"):
        pytest.skip("kernel lacks tp_btf")
    refused = Result(Support.NOT_ALLOWED, "EPERM: refused", errno.EPERM)
    monkeypatch.setattr(probes, "_HELPERS", probes._Helpers())
    monkeypatch.setattr(probes, "known_to_verifier", lambda kind, **fields: refused)
    result = helper("get_func_ret", ProgType.TRACING)
    if has("helper_get_func_ret") or "invalid func" not in probe("helper_get_func_ret").detail:
        assert result == refused._replace(detail="could not be tried where it may be called: EPERM: refused")
    assert helper("ktime_get_ns", ProgType.TRACING)


@pytest.mark.root
def test_refusals_name_their_cause() -> None:
    """As long explanations do: the capability that this very feature takes."""
    code = "from pybpf.sys import features\nfeatures._RESULTS.clear()\n"
    code += "for name in ('devmap', 'prog_xdp', 'object_ids'): print(features.probe(name))"
    caps = ["BPF", "PERFMON"] if "CAP_BPF" in privilege.privileges().known else []
    devmap, xdp, ids = run(code, uid=NOBODY, caps=caps).splitlines()
    if caps:
        assert "lacks CAP_NET_ADMIN" in devmap and "lacks CAP_NET_ADMIN" in xdp
    assert "lacks CAP_SYS_ADMIN" in ids and "run as root" in ids


@pytest.mark.root
@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
def test_what_a_seccomp_filter_refuses_is_not_allowed(number: int) -> None:
    code = "from pybpf.sys import features\nfeatures._RESULTS.clear()\nprint(features.probe('hash'))"
    answer = run(code, before=partial(refuse_by_seccomp, host_arch().nr_bpf, number))
    assert re.match(r"not allowed: E\w+: a seccomp filter of this process (refuses|hides) bpf\(2\); let the", answer)
