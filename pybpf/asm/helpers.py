"""Every helper of the kernel: id, name, arguments, result, licence, and which tracing programs may call it.

Sources: the prototypes of Linux 6.18 (arguments, result, licence; of a helper that has several, the one for a
context argument or the most general); the release that added the id; and the sources of 4.18, 5.4, 5.10,
5.15, 6.1, 6.8, 6.12 and 6.18 (availability per program type: the first of these that has it, so the true
release may be up to one step earlier, and distributions backport). Whether the running kernel has a helper is
for a probe to say; this table is for checking, for described targets and for messages.
"""

from __future__ import annotations

from collections.abc import Mapping

from pybpf.errors import AsmError
from pybpf.record import NamedTuple

__all__ = ["HELPERS", "HELPERS_BY_ID", "PROGRAM_TYPES", "Helper", "find_helper"]


class Helper(NamedTuple):
    """One helper."""

    id: int
    name: str
    """Without ``bpf_``."""
    since: str
    """The upstream release that added the id."""
    gpl: bool
    """Only programs with a GPL-compatible licence may call it."""
    might_sleep: bool
    """Only sleepable programs may call it."""
    programs: Mapping[str, str]
    """Key of :data:`PROGRAM_TYPES` -> first release known to let that type call it; ``"5.15..6.0"``: only in
    these.
    """
    returns: str
    """What R0 holds afterwards, by the verifier's name without ``RET_``, such as ``"INTEGER"``."""
    args: tuple[str, ...]
    """What R1 to R5 must hold, by the verifier's names without ``ARG_``, such as ``"PTR_TO_MAP_KEY"``."""


#: Tracing program types that availability is known for: the last one is fentry, fexit, fmod_ret, tp_btf and iter.
PROGRAM_TYPES = ("kprobe", "tracepoint", "perf_event", "raw_tracepoint", "tracing")

#: Short form in the table -> argument kind. Suffixes: ``?`` may be null, ``=`` is filled in, ``!`` is released.
_ARGS = {
    "any": "ANYTHING",
    "ctx": "PTR_TO_CTX",
    "ctx?": "PTR_TO_CTX_OR_NULL",
    "map": "CONST_MAP_PTR",
    "key": "PTR_TO_MAP_KEY",
    "value": "PTR_TO_MAP_VALUE",
    "value?": "PTR_TO_MAP_VALUE_OR_NULL",
    "value=": "PTR_TO_MAP_VALUE|MEM_UNINIT|MEM_WRITE",
    "size": "CONST_SIZE",
    "size0": "CONST_SIZE_OR_ZERO",
    "alloc0": "CONST_ALLOC_SIZE_OR_ZERO",
    "mem=": "PTR_TO_UNINIT_MEM",
    "mem": "PTR_TO_MEM",
    "mem?": "PTR_TO_MEM_OR_NULL",
    "rdmem": "PTR_TO_MEM|MEM_RDONLY",
    "wrmem": "PTR_TO_MEM|MEM_WRITE",
    "rdmem?": "PTR_TO_MEM|PTR_MAYBE_NULL|MEM_RDONLY",
    "fixed": "PTR_TO_FIXED_SIZE_MEM",
    "fixedwr": "PTR_TO_FIXED_SIZE_MEM|MEM_WRITE|MEM_ALIGNED",
    "fixed=": "PTR_TO_FIXED_SIZE_MEM|MEM_UNINIT|MEM_WRITE|MEM_ALIGNED",
    "btf": "PTR_TO_BTF_ID",
    "btf?": "PTR_TO_BTF_ID_OR_NULL",
    "btf?!": "PTR_TO_BTF_ID_OR_NULL|OBJ_RELEASE",
    "sock": "PTR_TO_BTF_ID_SOCK_COMMON",
    "sock!": "PTR_TO_BTF_ID_SOCK_COMMON|OBJ_RELEASE",
    "sockcommon": "PTR_TO_SOCK_COMMON",
    "percpu": "PTR_TO_PERCPU_BTF_ID",
    "func": "PTR_TO_FUNC",
    "stack?": "PTR_TO_STACK_OR_NULL",
    "timer": "PTR_TO_TIMER",
    "lock": "PTR_TO_SPIN_LOCK",
    "ring!": "PTR_TO_RINGBUF_MEM|OBJ_RELEASE",
    "str": "PTR_TO_CONST_STR",
    "dynptr": "PTR_TO_DYNPTR|MEM_RDONLY",
    "dynring!": "PTR_TO_DYNPTR|DYNPTR_TYPE_RINGBUF|OBJ_RELEASE",
    "dynring=": "PTR_TO_DYNPTR|DYNPTR_TYPE_RINGBUF|MEM_UNINIT|MEM_WRITE",
    "dynlocal=": "PTR_TO_DYNPTR|DYNPTR_TYPE_LOCAL|MEM_UNINIT|MEM_WRITE",
    "kptr": "KPTR_XCHG_DEST",
}

#: Short form in the table -> kind of result.
_RETURNS = {
    "int": "INTEGER",
    "void": "VOID",
    "btf": "PTR_TO_BTF_ID",
    "btf?": "PTR_TO_BTF_ID_OR_NULL",
    "trusted": "PTR_TO_BTF_ID_TRUSTED",
    "dynmem?": "PTR_TO_DYNPTR_MEM_OR_NULL",
    "value": "PTR_TO_MAP_VALUE",
    "value?": "PTR_TO_MAP_VALUE_OR_NULL",
    "membtf": "PTR_TO_MEM_OR_BTF_ID|MEM_RDONLY",
    "membtf?": "PTR_TO_MEM_OR_BTF_ID|PTR_MAYBE_NULL|MEM_RDONLY",
    "ring?": "PTR_TO_RINGBUF_MEM_OR_NULL",
    "socket?": "PTR_TO_SOCKET_OR_NULL",
    "sockcommon?": "PTR_TO_SOCK_COMMON_OR_NULL",
    "tcpsock?": "PTR_TO_TCP_SOCK_OR_NULL",
}

#: id, name, since, flags (G: GPL only, S: might sleep), availability, result, arguments. Availability is one
#: release for all types; or ``first four/tracing``, with commas where the four differ; ``-`` is never.
_TABLE = """\
1 map_lookup_elem 3.18 - 4.18/5.10 value? map key
2 map_update_elem 3.18 - 4.18/5.10 int map key value any
3 map_delete_elem 3.19 - 4.18/5.10 int map key
4 probe_read 4.1 G 4.18/5.10 int mem= size0 any
5 ktime_get_ns 4.1 - 4.18/5.10 int
6 trace_printk 4.1 G 4.18/5.10 int rdmem size
7 get_prandom_u32 4.1 - 4.18/5.10 int
8 get_smp_processor_id 4.1 - 4.18/5.10 int
9 skb_store_bytes 4.1 - - int ctx any rdmem size any
10 l3_csum_replace 4.1 - - int ctx any any any any
11 l4_csum_replace 4.1 - - int ctx any any any any
12 tail_call 4.2 - 4.18/5.10 void ctx map any
13 clone_redirect 4.2 - - int ctx any any
14 get_current_pid_tgid 4.2 - 4.18/5.10 int
15 get_current_uid_gid 4.2 - 4.18/5.10 int
16 get_current_comm 4.2 - 4.18/5.10 int mem= size
17 get_cgroup_classid 4.3 - 6.18 int ctx
18 skb_vlan_push 4.3 - - int ctx any any
19 skb_vlan_pop 4.3 - - int ctx
20 skb_get_tunnel_key 4.3 - - int ctx mem= size any
21 skb_set_tunnel_key 4.3 - - int ctx rdmem size any
22 perf_event_read 4.3 G 4.18/5.10 int map any
23 redirect 4.4 - - int any any
24 get_route_realm 4.4 - - int ctx
25 perf_event_output 4.4 G 4.18/5.10 int ctx map any rdmem size0
26 skb_load_bytes 4.5 - - int ctx any mem= size
27 get_stackid 4.6 G 4.18/5.10 int ctx map any
28 csum_diff 4.6 - - int rdmem? size0 rdmem? size0 any
29 skb_get_tunnel_opt 4.6 - - int ctx mem= size
30 skb_set_tunnel_opt 4.6 - - int ctx rdmem size
31 skb_change_proto 4.8 - - int ctx any any
32 skb_change_type 4.8 - - int ctx any
33 skb_under_cgroup 4.8 - - int ctx map any
34 get_hash_recalc 4.8 - - int ctx
35 get_current_task 4.8 G 4.18/5.10 int
36 probe_write_user 4.8 G 4.18/5.10 int any rdmem size
37 current_task_under_cgroup 4.9 - 4.18/5.10 int map any
38 skb_change_tail 4.9 - - int ctx any any
39 skb_pull_data 4.9 - - int ctx any
40 csum_update 4.9 - - int ctx any
41 set_hash_invalid 4.9 - - int ctx
42 get_numa_node_id 4.10 - 4.18/5.10 int
43 skb_change_head 4.10 - - int ctx any any
44 xdp_adjust_head 4.10 - - int ctx any
45 probe_read_str 4.11 G 4.18/5.10 int mem= size0 any
46 get_socket_cookie 4.12 - -/5.15 int ctx
47 get_socket_uid 4.12 - - int ctx
48 set_hash 4.13 - - int ctx any
49 setsockopt 4.13 - - int ctx any any rdmem size
50 skb_adjust_room 4.13 - - int ctx any any any
51 redirect_map 4.14 - - int map any any
52 sk_redirect_map 4.14 - - int ctx map any any
53 sock_map_update 4.14 - - int ctx map key any
54 xdp_adjust_meta 4.15 - - int ctx any
55 perf_event_read_value 4.15 G 4.18,5.10,5.10,5.10/5.10 int map any mem= size
56 perf_prog_read_value 4.15 G -,-,4.18,-/- int ctx mem= size
57 getsockopt 4.15 - - int ctx any any mem= size
58 override_return 4.16 G 4.18,-,-,-/- int ctx any
59 sock_ops_cb_flags_set 4.16 - - int ctx any
60 msg_redirect_map 4.17 - - int ctx map any any
61 msg_apply_bytes 4.17 - - int ctx any
62 msg_cork_bytes 4.17 - - int ctx any
63 msg_pull_data 4.17 - - int ctx any any any
64 bind 4.17 - - int ctx rdmem size
65 xdp_adjust_tail 4.18 - - int ctx any
66 skb_get_xfrm_state 4.18 - - int ctx any mem= size any
67 get_stack 4.18 G 4.18/5.10 int ctx mem= size0 any
68 skb_load_bytes_relative 4.18 - - int ctx any mem= size any
69 fib_lookup 4.18 G - int ctx mem size any
70 sock_hash_update 4.18 - - int ctx map key any
71 msg_redirect_hash 4.18 - - int ctx map key any
72 sk_redirect_hash 4.18 - - int ctx map key any
73 lwt_push_encap 4.18 - - int ctx any rdmem size
74 lwt_seg6_store_bytes 4.18 - - int ctx any rdmem
75 lwt_seg6_adjust_srh 4.18 - - int ctx any any
76 lwt_seg6_action 4.18 - - int ctx any rdmem
77 rc_repeat 4.18 G - int ctx
78 rc_keydown 4.18 G - int ctx any any any
79 skb_cgroup_id 4.18 - - int ctx
80 get_current_cgroup_id 4.18 - 4.18/5.10 int
81 get_local_storage 4.19 - - value map any
82 sk_select_reuseport 4.19 - - int ctx map key any
83 skb_ancestor_cgroup_id 4.19 - - int ctx any
84 sk_lookup_tcp 4.20 - - socket? ctx rdmem size0 any any
85 sk_lookup_udp 4.20 - - socket? ctx rdmem size0 any any
86 sk_release 4.20 - - int sock!
87 map_push_elem 4.20 - 5.4/5.10 int map value any
88 map_pop_elem 4.20 - 5.4/5.10 int map value=
89 map_peek_elem 4.20 - 5.4/5.10 int map value=
90 msg_push_data 4.20 - - int ctx any any any
91 msg_pop_data 5.0 - - int ctx any any any
92 rc_pointer_rel 5.0 G - int ctx any any
93 spin_lock 5.1 - 5.15 void lock
94 spin_unlock 5.1 - 5.15 void lock
95 sk_fullsock 5.1 - - socket? sockcommon
96 tcp_sock 5.1 - - tcpsock? sockcommon
97 skb_ecn_set_ce 5.1 - - int ctx
98 get_listener_sock 5.1 - - socket? sockcommon
99 skc_lookup_tcp 5.2 - - sockcommon? ctx rdmem size0 any any
100 tcp_check_syncookie 5.2 G - int sock rdmem size rdmem size
101 sysctl_get_name 5.2 - - int ctx wrmem size any
102 sysctl_get_current_value 5.2 - - int ctx mem= size
103 sysctl_get_new_value 5.2 - - int ctx mem= size
104 sysctl_set_new_value 5.2 - - int ctx rdmem size
105 strtol 5.2 - 6.1 int rdmem size any fixed=
106 strtoul 5.2 - 6.1 int rdmem size any fixed=
107 sk_storage_get 5.2 - -/5.15 value? map sock value? any
108 sk_storage_delete 5.2 - -/5.15 int map sock
109 send_signal 5.3 - 5.4/5.10 int any
110 tcp_gen_syncookie 5.4 G - int sock rdmem size rdmem size
111 skb_output 5.5 G -/5.10 int btf map any rdmem size0
112 probe_read_user 5.5 G 5.10 int mem= size0 any
113 probe_read_kernel 5.5 G 5.10 int mem= size0 any
114 probe_read_user_str 5.5 G 5.10 int mem= size0 any
115 probe_read_kernel_str 5.5 G 5.10 int mem= size0 any
116 tcp_send_ack 5.6 - - int btf any
117 send_signal_thread 5.6 - 5.10 int any
118 jiffies64 5.6 - 5.10 int
119 read_branch_records 5.7 G -,-,5.10,-/- int ctx mem? size0 any
120 get_ns_current_pid_tgid 5.7 - 5.10 int any any mem= size
121 xdp_output 5.7 G -/5.10 int btf map any rdmem size0
122 get_netns_cookie 5.7 - - int ctx?
123 get_current_ancestor_cgroup_id 5.7 - 5.15 int any
124 sk_assign 5.7 - - int ctx sock any
125 ktime_get_boot_ns 5.8 - 5.10 int
126 seq_printf 5.8 G -/5.10 int btf rdmem size rdmem? size0
127 seq_write 5.8 G -/5.10 int btf rdmem size0
128 sk_cgroup_id 5.8 - - int sock
129 sk_ancestor_cgroup_id 5.8 - - int sock any
130 ringbuf_output 5.8 - 5.10 int map rdmem size0 any
131 ringbuf_reserve 5.8 - 5.10 ring? map alloc0 any
132 ringbuf_submit 5.8 - 5.10 void ring! any
133 ringbuf_discard 5.8 - 5.10 void ring! any
134 ringbuf_query 5.8 - 5.10 int map any
135 csum_level 5.8 - - int ctx any
136 skc_to_tcp6_sock 5.9 - -/5.10 btf? sock
137 skc_to_tcp_sock 5.9 - -/5.10 btf? sock
138 skc_to_tcp_timewait_sock 5.9 - -/5.10 btf? sock
139 skc_to_tcp_request_sock 5.9 - -/5.10 btf? sock
140 skc_to_udp6_sock 5.9 - -/5.10 btf? sock
141 get_task_stack 5.9 - 5.10 int btf mem= size0 any
142 load_hdr_opt 5.10 - - int ctx wrmem size any
143 store_hdr_opt 5.10 - - int ctx rdmem size any
144 reserve_hdr_opt 5.10 - - int ctx any any
145 inode_storage_get 5.10 - - value? map btf? value? any
146 inode_storage_delete 5.10 - - int map btf?
147 d_path 5.10 - -/5.10 int btf wrmem size0
148 copy_from_user 5.10 S 5.10 int mem= size0 any
149 snprintf_btf 5.10 - 5.10 int mem size rdmem size any
150 seq_printf_btf 5.10 G -/5.10 int btf rdmem size0 any
151 skb_cgroup_classid 5.10 - - int ctx
152 redirect_neigh 5.10 - - int any rdmem? size0 any
153 per_cpu_ptr 5.10 - 5.10 membtf? percpu any
154 this_cpu_ptr 5.10 - 5.10 membtf percpu
155 redirect_peer 5.10 - - int any any
156 task_storage_get 5.11 - 5.15 value? map btf? value? any
157 task_storage_delete 5.11 - 5.15 int map btf?
158 get_current_task_btf 5.11 G 5.15 trusted
159 bprm_opts_set 5.11 - - int btf any
160 ktime_get_coarse_ns 5.11 - 5.15..6.0 int
161 ima_inode_hash 5.11 S - int btf mem= size
162 sock_from_file 5.11 - -/5.15 btf? btf
163 check_mtu 5.12 G - int ctx any fixedwr any any
164 for_each_map_elem 5.13 - 5.15 int map func stack? any
165 snprintf 5.13 G 5.15 int mem? size0 str rdmem? size0
166 sys_bpf 5.14 - - int any rdmem size
167 btf_find_by_name_kind 5.14 - - int rdmem size any any
168 sys_close 5.14 - - int any
169 timer_init 5.15 G 5.15 int timer map any
170 timer_set_callback 5.15 G 5.15 int timer func
171 timer_start 5.15 G 5.15 int timer any any
172 timer_cancel 5.15 G 5.15 int timer
173 get_func_ip 5.15 G 5.15 int ctx
174 get_attach_cookie 5.15 - 5.15,5.15,5.15,6.12/6.1 int ctx
175 task_pt_regs 5.15 G 5.15 btf btf
176 get_branch_snapshot 5.16 G 6.1 int mem= size0
177 trace_vprintk 5.16 G 6.1 int rdmem size rdmem? size0
178 skc_to_unix_sock 5.16 - -/6.1 btf? sock
179 kallsyms_lookup_name 5.16 - - int mem size0 any fixed=
180 find_vma 5.17 - 6.1 int btf any func stack? any
181 loop 5.17 - 6.1 int any func stack? any
182 strncmp 5.17 - 6.1 int rdmem size str
183 get_func_arg 5.17 - -/6.1 int ctx any fixed=
184 get_func_ret 5.17 - -/6.1 int ctx fixed=
185 get_func_arg_cnt 5.17 - -/6.1 int ctx
186 get_retval 5.18 - - int
187 set_retval 5.18 - - int any
188 xdp_get_buff_len 5.18 - -/6.1 int ctx
189 xdp_load_bytes 5.18 - - int ctx any mem= size
190 xdp_store_bytes 5.18 - - int ctx any mem= size
191 copy_from_user_task 5.18 GS 6.1 int mem= size0 any btf
192 skb_set_tstamp 5.18 - - int ctx any any
193 ima_file_hash 5.18 S - int btf mem= size
194 kptr_xchg 5.19 - 6.1 btf? kptr btf?!
195 map_lookup_percpu_elem 5.19 - 6.1 value? map key any
196 skc_to_mptcp_sock 5.19 - -/6.1 btf? sockcommon
197 dynptr_from_mem 5.19 - 6.1 int mem= size0 any dynlocal=
198 ringbuf_reserve_dynptr 5.19 - 6.1 int map any any dynring=
199 ringbuf_submit_dynptr 5.19 - 6.1 void dynring! any
200 ringbuf_discard_dynptr 5.19 - 6.1 void dynring! any
201 dynptr_read 5.19 - 6.1 int mem= size0 dynptr any any
202 dynptr_write 5.19 - 6.1 int dynptr any rdmem size0 any
203 dynptr_data 5.19 - 6.1 dynmem? dynptr any alloc0
204 tcp_raw_gen_syncookie_ipv4 6.0 G - int fixed mem size0
205 tcp_raw_gen_syncookie_ipv6 6.0 G - int fixed mem size0
206 tcp_raw_check_syncookie_ipv4 6.0 G - int fixed fixed
207 tcp_raw_check_syncookie_ipv6 6.0 G - int fixed fixed
208 ktime_get_tai_ns 6.1 - 6.1 int
209 user_ringbuf_drain 6.1 - 6.1 int map func stack? any
210 cgrp_storage_get 6.2 - 6.8 value? map btf? value? any
211 cgrp_storage_delete 6.2 - 6.8 int map btf?
"""


def _programs(text: str) -> Mapping[str, str]:
    others, _, tracing = text.partition("/")
    four = others.split(",") if "," in others else [others] * 4
    return {name: since for name, since in zip(PROGRAM_TYPES, [*four, tracing or others]) if since != "-"}


def _helper(row: str) -> Helper:
    number, name, since, flags, programs, returns, *args = row.split()
    return Helper(
        int(number), name, since, "G" in flags, "S" in flags, _programs(programs), _RETURNS[returns],
        tuple(_ARGS[kind] for kind in args),
    )  # fmt: skip


#: id -> helper
HELPERS_BY_ID: Mapping[int, Helper] = {helper.id: helper for helper in map(_helper, _TABLE.splitlines())}

#: name without ``bpf_`` -> helper
HELPERS: Mapping[str, Helper] = {helper.name: helper for helper in HELPERS_BY_ID.values()}


def find_helper(name: str | int) -> Helper:
    """A helper by name, with or without ``bpf_``, or by id.

    :raises AsmError: there is none; the message names the nearest ones.
    """
    if isinstance(name, int):
        found = HELPERS_BY_ID.get(name)
        if found is None:
            raise AsmError(f"no helper has the id {name}; the known ones are 1 to {max(HELPERS_BY_ID)}")
        return found
    short = name[4:] if name.startswith("bpf_") else name
    found = HELPERS.get(short)
    if found is None:
        from difflib import get_close_matches

        near = get_close_matches(short[:60], HELPERS, 3)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise AsmError(
            f"no helper is called {name[:60]!r}{hint} (for a kfunc use call_kfunc, or call kfunc[name] in text)"
        )
    return found
