"""What each pass makes of a short function, before and after."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from pybpf.compiler.check import check
from pybpf.compiler.midend import PASSES_MID
from pybpf.compiler.parse import parse_unit
from pybpf.compiler.target import Target
from pybpf.compiler.text import format_unit

pytestmark = pytest.mark.pure

HEAD = """\
unit raw_tracepoint
  map m = hash key 4 value 8 entries 8
  map structs = lru_hash key 4 value 16 entries 8
  map one = array key 4 value 16 entries 1
  map ring = ringbuf key 0 value 0 entries 4096
func f(ptr):
"""
TARGET = Target.described("5.10", "x86_64")


class Case(NamedTuple):
    run: str
    what: str
    before: str
    after: str


CASES = [
    Case(
        "outline_loops",
        "what leaves in its first turn is no loop",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = load v0 offset=0 size=8 signed=0 : int
  v2 = again most=8388608 : int
  branch v2, 0 cond=ne -> body, over
body:
  ret v1
over:
  ret 1
""",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = load v0 offset=0 size=8 signed=0 : int
  branch 1, 0 cond=ne -> body, over
body: <- entry
  ret v1
over: <- entry
  ret 1
""",
    ),
    Case(
        "outline_loops",
        "a loop becomes a callback; its count is unknown to the verifier from the start",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = load v0 offset=0 size=8 signed=0 : int
  jump -> head
head:
  v2 = phi 0, v5 : int
  v3 = again most=8388608 : int
  branch v3, 0 cond=ne -> test, over
test:
  branch v2, v1 cond=ult -> body, done
body:
  v5 = add v2, 3 : int
  jump -> head
done:
  ret v2
over:
  ret 1
""",
        """\
entry:
  v0 = slot size=32 align=8 name=loop
  v1 = param index=0 : ptr
  v2 = load v1 offset=0 size=8 signed=0 : int
  jump -> head_start
done: <- head_exit1
  ret v9
over: <- head_exit0
  ret 1
head_start: <- entry
  v3 = call helper=jiffies64 : int
  v4 = lshr v3, 63
  v5 = mul v4, v3
  v6 = mul v5, 3
  jump -> head_call
head_call: <- head_start
  store v0, 0 offset=0 size=8
  store v0, v6 offset=16 size=8
  store v0, v2 offset=24 size=8
  v7 = func func=f_loop
  v8 = call 8388608, v7, v0, 0 helper=loop : int
  v9 = load v0 offset=16 size=8 signed=0 : int
  v10 = load v0 offset=0 size=8 signed=0 : int
  branch v10, 1 cond=eq -> head_exit1, head_not1
head_exit1: <- head_call
  jump -> done
head_not1: <- head_call
  jump -> head_exit0
head_exit0: <- head_not1
  jump -> over
func f_loop(int, ptr):
head_turn:
  v0 = param index=1 : ptr
  v1 = load v0 offset=16 size=8 signed=0 : int
  v2 = load v0 offset=24 size=8 signed=0 : int
  jump -> head
head: <- head_turn
  jump -> test
test: <- head
  branch v1, v2 cond=ult -> body, test_out1
body: <- test
  v3 = add v1, 3
  jump -> body_back0
test_out1: <- test
  store v0, 1 offset=0 size=8
  ret 1
body_back0: <- body
  store v0, v3 offset=16 size=8
  ret 0
""",
    ),
    Case(
        "outline_loops",
        "what a turn reserves it gives back itself, also where it leaves the loop",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = load v0 offset=0 size=8 signed=0 : int
  jump -> head
head:
  v2 = phi 0, v6 : int
  v3 = again most=10 : int
  branch v3, 0 cond=ne -> body, done
body:
  v4 = call 16, 0, 0 helper=ringbuf_reserve : ptr
  branch v4, 0 cond=eq -> done, room
room:
  v5 = load v4 offset=0 size=8 signed=0 : int
  branch v5, v1 cond=eq -> found, next
next:
  call v4, 0 helper=ringbuf_submit
  v6 = add v2, 1 : int
  jump -> head
found:
  call v4, 0 helper=ringbuf_discard
  ret v5
done:
  ret 1
""",
        """\
entry:
  v0 = slot size=40 align=8 name=loop
  v1 = param index=0 : ptr
  v2 = load v1 offset=0 size=8 signed=0 : int
  jump -> head_start
found_rest: <- head_exit2
  ret v9
done: <- head_exit0, head_exit1
  ret 1
head_start: <- entry
  v3 = call helper=jiffies64 : int
  v4 = lshr v3, 63
  v5 = mul v4, v3
  v6 = mul v5, 3
  jump -> head_call
head_call: <- head_start
  store v0, 0 offset=0 size=8
  store v0, v6 offset=16 size=8
  store v0, 0 offset=24 size=8
  store v0, v2 offset=32 size=8
  v7 = func func=f_loop
  v8 = call 10, v7, v0, 0 helper=loop : int
  v9 = load v0 offset=24 size=8 signed=0 : int
  v10 = load v0 offset=0 size=8 signed=0 : int
  branch v10, 2 cond=eq -> head_exit2, head_not2
head_exit2: <- head_call
  jump -> found_rest
head_not2: <- head_call
  branch v10, 1 cond=eq -> head_exit1, head_not1
head_exit1: <- head_not2
  jump -> done
head_not1: <- head_not2
  jump -> head_exit0
head_exit0: <- head_not1
  jump -> done
func f_loop(int, ptr):
head_turn:
  v0 = param index=1 : ptr
  v1 = load v0 offset=16 size=8 signed=0 : int
  v2 = load v0 offset=32 size=8 signed=0 : int
  jump -> head
head: <- head_turn
  jump -> body
body: <- head
  v3 = call 16, 0, 0 helper=ringbuf_reserve : ptr
  branch v3, 0 cond=eq -> body_out0, room
room: <- body
  v4 = load v3 offset=0 size=8 signed=0 : int
  branch v4, v2 cond=eq -> found, next
next: <- room
  call v3, 0 helper=ringbuf_submit
  v5 = add v1, 1
  jump -> next_back0
found: <- room
  call v3, 0 helper=ringbuf_discard
  jump -> found_out0
body_out0: <- body
  store v0, 1 offset=0 size=8
  ret 1
next_back0: <- next
  store v0, v5 offset=16 size=8
  ret 0
found_out0: <- found
  store v0, v4 offset=24 size=8
  store v0, 2 offset=0 size=8
  ret 1
""",
    ),
    Case(
        "fold",
        "an odd chain becomes one instruction, and the branch on it a jump",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = load v0 offset=0 size=4 signed=0 : int
  v2 = zext v1 bits=32
  v3 = udiv v2, 8
  v4 = add v3, 3
  v5 = sub v4, 5
  v6 = cmp v2, 4294967295 cond=ule
  branch v6, 0 cond=ne -> small, large
small:
  ret v5
large:
  ret 1
""",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = load v0 offset=0 size=4 signed=0 : int
  v2 = lshr v1, 3
  v3 = add v2, 3
  v4 = add v2, -2
  jump -> small
small: <- entry
  ret v4
""",
    ),
    Case(
        "fold",
        "what the verifier does not know stays masked",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = load v0 offset=0 size=8 signed=0 : int
  v2 = umod v1, 60
  v3 = and v2, 63
  v4 = umod v1, 64
  v5 = and v4, 63
  v6 = add v3, v5
  ret v6
""",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = load v0 offset=0 size=8 signed=0 : int
  v2 = umod v1, 60
  v3 = and v2, 63
  v4 = and v1, 63
  v5 = add v3, v4
  ret v5
""",
    ),
    Case(
        "fold",
        "addresses move into offsets; stores need no extension",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = add v0, 16
  v2 = add v1, 8
  v3 = load v2 offset=8 size=8 signed=0 : int
  v4 = slot size=8 align=8 name=s
  v5 = zext v3 bits=16
  store v4, v5 offset=0 size=2
  ret 0
""",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = add v0, 16
  v2 = add v0, 24
  v3 = load v0 offset=32 size=8 signed=0 : int
  v4 = slot size=8 align=8 name=s
  v5 = zext v3 bits=16
  store v4, v3 offset=0 size=2
  ret 0
""",
    ),
    Case(
        "fold",
        "a test of a bit",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = load v0 offset=0 size=8 signed=0 : int
  v2 = and v1, 4
  v3 = cmp v2, 0 cond=ne
  branch v3, 0 cond=eq -> no, yes
no:
  ret 0
yes:
  ret 1
""",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = load v0 offset=0 size=8 signed=0 : int
  v2 = and v1, 4
  v3 = cmp v1, 4 cond=set
  branch v1, 4 cond=clear -> no, yes
no: <- entry
  ret 0
yes: <- entry
  ret 1
""",
    ),
    Case(
        "branches",
        "a short-circuit condition goes where it leads",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = load v0 offset=0 size=8 signed=0 : int
  branch v1, 5 cond=ugt -> right, both
right: <- entry
  v2 = load v0 offset=8 size=8 signed=0 : int
  v3 = cmp v2, 7 cond=eq
  jump -> both
both: <- entry, right
  v4 = phi 0, v3 : int
  branch v4, 0 cond=ne -> yes, no
yes:
  jump -> done
no:
  jump -> done
done: <- yes, no
  v5 = phi 1, 2 : int
  ret v5
""",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = load v0 offset=0 size=8 signed=0 : int
  branch v1, 5 cond=ugt -> right, done
right: <- entry
  v2 = load v0 offset=8 size=8 signed=0 : int
  v3 = cmp v2, 7 cond=eq
  branch v3, 0 cond=ne -> done, no
no: <- right
  jump -> done
done: <- no, right, entry
  v4 = phi 2, 1, 2 : int
  ret v4
""",
    ),
    Case(
        "promote",
        "a copy of a map value, of which two fields are used",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = slot size=16 align=8 name=begun
  v2 = lookup 1 map=structs
  branch v2, 0 cond=eq -> missing, there
missing:
  ret 0
there:
  copy v1, v2 size=16
  v3 = delete 1 map=structs
  v4 = load v1 offset=0 size=4 signed=1 : int
  v5 = add v1, 8
  v6 = load v5 offset=0 size=8 signed=0 : int
  v7 = add v4, v6
  ret v7
""",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = lookup 1 map=structs
  branch v1, 0 cond=eq -> missing, there
missing: <- entry
  ret 0
there: <- entry
  v2 = load v1 offset=0 size=4 signed=0 : int
  v3 = load v1 offset=8 size=8 signed=0 : int
  v4 = delete 1 map=structs
  v5 = sext v2 bits=32
  v6 = add v5, v3
  ret v6
""",
    ),
    Case(
        "promote",
        "a slot whose address a helper sees stays",
        """\
entry:
  v0 = slot size=16 align=8 name=comm
  v1 = call v0, 16 helper=get_current_comm : int
  v2 = load v0 offset=0 size=8 signed=0 : int
  ret v2
""",
        """\
entry:
  v0 = slot size=16 align=8 name=comm
  v1 = call v0, 16 helper=get_current_comm : int
  v2 = load v0 offset=0 size=8 signed=0 : int
  ret v2
""",
    ),
    Case(
        "cse",
        "what cannot change is computed once",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = call helper=get_current_pid_tgid : int
  v2 = zext v1 bits=32
  v3 = load v0 offset=8 size=8 signed=0 : int
  v4 = call helper=ktime_get_ns : int
  v5 = call helper=get_current_pid_tgid : int
  v6 = zext v5 bits=32
  v7 = load v0 offset=8 size=8 signed=0 : int
  v8 = call helper=ktime_get_ns : int
  v9 = add v2, v6
  v10 = add v3, v7
  v11 = sub v8, v4
  v12 = add v9, v10
  v13 = add v12, v11
  ret v13
""",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = call helper=get_current_pid_tgid : int
  v2 = zext v1 bits=32
  v3 = load v0 offset=8 size=8 signed=0 : int
  v4 = call helper=ktime_get_ns : int
  v5 = call helper=ktime_get_ns : int
  v6 = add v2, v2
  v7 = add v3, v3
  v8 = sub v5, v4
  v9 = add v6, v7
  v10 = add v9, v8
  ret v10
""",
    ),
    Case(
        "lookups",
        "a lookup is good until its map changes",
        """\
entry:
  v0 = lookup 1 map=m
  v1 = lookup 1 map=structs
  update 2, 5, 0 map=structs
  v2 = lookup 1 map=m
  v3 = lookup 1 map=structs
  v4 = cmp v0, v2 cond=eq
  v5 = cmp v1, v3 cond=eq
  v6 = add v4, v5
  ret v6
""",
        """\
entry:
  v0 = lookup 1 map=m
  v1 = lookup 1 map=structs
  update 2, 5, 0 map=structs
  v2 = lookup 1 map=structs
  v3 = cmp v0, v0 cond=eq
  v4 = cmp v1, v2 cond=eq
  v5 = add v3, v4
  ret v5
""",
    ),
    Case(
        "lookups",
        "a helper that writes at a variable place in a key ends the lookup",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = slot size=32 align=8 name=key
  v2 = load v0 offset=0 size=8 signed=0 : int
  v3 = add v1, v2
  v4 = lookup v1 map=m
  v5 = call v3, 16 helper=get_current_comm : int
  v6 = lookup v1 map=m
  v7 = cmp v4, v6 cond=eq
  ret v7
""",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = slot size=32 align=8 name=key
  v2 = load v0 offset=0 size=8 signed=0 : int
  v3 = add v1, v2
  v4 = lookup v1 map=m
  v5 = call v3, 16 helper=get_current_comm : int
  v6 = lookup v1 map=m
  v7 = cmp v4, v6 cond=eq
  ret v7
""",
    ),
    Case(
        "lookups",
        "a helper that fills other memory does not end a lookup",
        """\
entry:
  v0 = slot size=32 align=8 name=key
  v1 = slot size=16 align=8 name=other
  v2 = lookup v0 map=m
  v3 = call v1, 16 helper=get_current_comm : int
  v4 = lookup v0 map=m
  v5 = cmp v2, v4 cond=eq
  ret v5
""",
        """\
entry:
  v0 = slot size=32 align=8 name=key
  v1 = slot size=16 align=8 name=other
  v2 = lookup v0 map=m
  v3 = call v1, 16 helper=get_current_comm : int
  v4 = cmp v2, v2 cond=eq
  ret v4
""",
    ),
    Case(
        "lookups",
        "a map that is reached by a pointer may be any but an array",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = slot size=8 align=8 name=key
  v2 = lookup 1 map=m
  v3 = lookup 1 map=one
  v4 = lookup 0 map=structs
  v5 = call v4, v1 helper=map_delete_elem : int
  v6 = lookup 1 map=m
  v7 = lookup 1 map=one
  v8 = cmp v2, v6 cond=eq
  v9 = cmp v3, v7 cond=eq
  v10 = add v8, v9
  ret v10
""",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = slot size=8 align=8 name=key
  v2 = lookup 1 map=m
  v3 = lookup 1 map=one
  v4 = lookup 0 map=structs
  v5 = call v4, v1 helper=map_delete_elem : int
  v6 = lookup 1 map=m
  v7 = cmp v2, v6 cond=eq
  v8 = cmp v3, v3 cond=eq
  v9 = add v7, v8
  ret v9
""",
    ),
    Case(
        "checks",
        "a pointer is checked for null once",
        """\
entry:
  v0 = lookup 1 map=m
  branch v0, 0 cond=ne -> there, missing
missing:
  ret 0
there:
  v1 = load v0 offset=0 size=8 signed=0 : int
  branch v0, 0 cond=eq -> never, again
never:
  ret 1
again:
  ret v1
""",
        """\
entry:
  v0 = lookup 1 map=m
  branch v0, 0 cond=ne -> there, missing
missing: <- entry
  ret 0
there: <- entry
  v1 = load v0 offset=0 size=8 signed=0 : int
  jump -> again
again: <- there
  ret v1
""",
    ),
    Case(
        "checks",
        "a value that is missing or not is asked for once",
        """\
entry:
  v0 = lookup 1 map=m
  branch v0, 0 cond=ne -> found, done
found: <- entry
  v1 = load v0 offset=0 size=8 signed=0 : int
  v2 = delete 1 map=m
  jump -> done
done: <- entry, found
  v3 = phi 0, v1 : int
  branch v0, 0 cond=eq -> none, some
none: <- done
  jump -> end
some: <- done
  jump -> end
end: <- none, some
  ret v3
""",
        """\
entry:
  v0 = lookup 1 map=m
  branch v0, 0 cond=ne -> found, none
found: <- entry
  v1 = load v0 offset=0 size=8 signed=0 : int
  v2 = delete 1 map=m
  jump -> some
none: <- entry
  jump -> end
some: <- found
  jump -> end
end: <- none, some
  v3 = phi 0, v1 : int
  ret v3
""",
    ),
    Case(
        "dce",
        "lookups and slots that nothing looks at",
        """\
entry:
  v0 = slot size=8 align=8 name=s
  v1 = lookup 1 map=m
  v2 = call helper=ktime_get_ns : int
  store v0, v2 offset=0 size=8
  v3 = call v0, 8, 0 helper=probe_read_kernel : int
  ret 0
""",
        """\
entry:
  ret 0
""",
    ),
    Case(
        "direct_maps",
        "an array of one is used by its address",
        """\
entry:
  v0 = slot size=16 align=8 name=s
  v1 = lookup 0 map=one
  v2 = lookup 1 map=one
  v3 = lookup 0 map=m
  branch v1, 0 cond=ne -> there, never
there:
  zero v0 offset=0 size=16
  v4 = tryupdate 0, v0, 0 map=one
  v5 = tryupdate 0, v0, 1 map=one
  v6 = add v4, v5
  ret v6
never:
  ret 0
""",
        """\
entry:
  v0 = slot size=16 align=8 name=s
  v1 = mapvalue map=one offset=0
  v2 = lookup 1 map=one
  v3 = lookup 0 map=m
  branch v1, 0 cond=ne -> there, never
there: <- entry
  zero v0 offset=0 size=16
  v4 = mapvalue map=one offset=0
  copy v4, v0 size=16
  v5 = tryupdate 0, v0, 1 map=one
  v6 = add 0, v5
  ret v6
never: <- entry
  ret 0
""",
    ),
    Case(
        "lower_maps",
        "keys that are equal share a slot",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = load v0 offset=0 size=8 signed=0 : int
  v2 = lookup v1 map=m
  update v1, 7, 1 map=m
  v3 = lookup 0 map=one
  v4 = load v3 offset=8 size=8 signed=0 : int
  ret v4
""",
        """\
entry:
  v0 = slot size=4 align=8 name=key
  v1 = slot size=8 align=8 name=value
  v2 = slot size=4 align=8 name=key
  v3 = param index=0 : ptr
  v4 = load v3 offset=0 size=8 signed=0 : int
  store v0, v4 offset=0 size=4
  v5 = map map=m
  v6 = call v5, v0 helper=map_lookup_elem : ptr
  store v0, v4 offset=0 size=4
  store v1, 7 offset=0 size=8
  v7 = map map=m
  v8 = call v7, v0, v1, 1 helper=map_update_elem : int
  store v2, 0 offset=0 size=4
  v9 = map map=one
  v10 = call v9, v2 helper=map_lookup_elem : ptr
  v11 = load v10 offset=8 size=8 signed=0 : int
  ret v11
""",
    ),
    Case(
        "lower_reads",
        "fields of one object share a read",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = load v0 offset=0 size=8 signed=0 : int
  v2 = peek v1 space=kernel offset=20 size=4 signed=0
  v3 = peek v1 space=kernel offset=12 size=2 signed=1
  v4 = peek v1 space=kernel offset=200 size=8 signed=0
  v5 = peek v1 space=user offset=0 size=8 signed=0
  v6 = add v2, v3
  v7 = add v4, v5
  v8 = add v6, v7
  ret v8
""",
        """\
entry:
  v0 = slot size=16 align=8 name=read
  v1 = slot size=8 align=8 name=read
  v2 = slot size=8 align=8 name=read
  v3 = param index=0 : ptr
  v4 = load v3 offset=0 size=8 signed=0 : int
  v5 = add v0, 4
  v6 = add v4, 12
  v7 = call v5, 12, v6 helper=probe_read_kernel : int
  v8 = load v0 offset=12 size=4 signed=0 : int
  v9 = load v0 offset=4 size=2 signed=1 : int
  v10 = add v4, 200
  v11 = call v1, 8, v10 helper=probe_read_kernel : int
  v12 = load v1 offset=0 size=8 signed=0 : int
  v13 = call v2, 8, v4 helper=probe_read_user : int
  v14 = load v2 offset=0 size=8 signed=0 : int
  v15 = add v8, v9
  v16 = add v12, v14
  v17 = add v15, v16
  ret v17
""",
    ),
    Case(
        "lower_memory",
        "wide stores and loads",
        """\
entry:
  v0 = slot size=24 align=8 name=a
  v1 = slot size=1024 align=8 name=b
  zero v0 offset=4 size=19
  copy v1, v0 size=13
  zero v1 offset=24 size=1000
  ret 0
""",
        """\
entry:
  v0 = slot size=24 align=8 name=a
  v1 = slot size=1024 align=8 name=b
  store v0, 0 offset=4 size=4
  store v0, 0 offset=8 size=8
  store v0, 0 offset=16 size=4
  store v0, 0 offset=20 size=2
  store v0, 0 offset=22 size=1
  v2 = load v0 offset=0 size=8 signed=0 : int
  store v1, v2 offset=0 size=8
  v3 = load v0 offset=8 size=4 signed=0 : int
  store v1, v3 offset=8 size=4
  v4 = load v0 offset=12 size=1 signed=0 : int
  store v1, v4 offset=12 size=1
  v5 = add v1, 24
  v6 = call v5, 1000, 0 helper=probe_read_kernel : int
  ret 0
""",
    ),
    Case(
        "lower_elements",
        "an index times a size that was computed before the test is not shared",
        """\
entry:
  v0 = slot size=120 align=8 name=s
  v1 = param index=0 : ptr
  v2 = load v1 offset=0 size=8 signed=0 : int
  v3 = shl v2, 3
  zero v0 offset=0 size=120
  branch v2, 5 cond=ult -> inside, done
inside: <- entry
  v4 = element v0, v2 size=8
  v5 = element v0, v2 size=24
  v6 = element v0, v2 size=1
  v7 = load v4 offset=0 size=8 signed=0 : int
  v8 = load v5 offset=8 size=8 signed=0 : int
  v9 = load v6 offset=0 size=1 signed=0 : int
  v10 = add v7, v8
  v11 = add v10, v9
  ret v11
done: <- entry
  ret v3
""",
        """\
entry:
  v0 = slot size=120 align=8 name=s
  v1 = param index=0 : ptr
  v2 = load v1 offset=0 size=8 signed=0 : int
  v3 = shl v2, 3
  zero v0 offset=0 size=120
  branch v2, 5 cond=ult -> inside, done
inside: <- entry
  v4 = shl v2, 3
  v5 = add v0, v4
  v6 = mul v2, 24
  v7 = add v0, v6
  v8 = add v0, v2
  v9 = load v5 offset=0 size=8 signed=0 : int
  v10 = load v7 offset=8 size=8 signed=0 : int
  v11 = load v8 offset=0 size=1 signed=0 : int
  v12 = add v9, v10
  v13 = add v12, v11
  ret v13
done: <- entry
  ret v3
""",
    ),
    Case(
        "lower_division",
        "magnitudes are divided",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = load v0 offset=0 size=8 signed=0 : int
  v2 = sdiv v1, -3
  v3 = smod v1, v2
  ret v3
""",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = load v0 offset=0 size=8 signed=0 : int
  v2 = ashr v1, 63
  v3 = xor v1, v2
  v4 = sub v3, v2
  v5 = neg -3
  v6 = udiv v4, v5
  v7 = xor v2, -1
  v8 = xor v6, v7
  v9 = sub v8, v7
  v10 = ashr v1, 63
  v11 = xor v1, v10
  v12 = sub v11, v10
  v13 = ashr v9, 63
  v14 = xor v9, v13
  v15 = sub v14, v13
  v16 = umod v12, v15
  v17 = xor v16, v10
  v18 = sub v17, v10
  ret v18
""",
    ),
    Case(
        "forward",
        "through memory, up to a call where others may write",
        """\
entry:
  v0 = slot size=16 align=8 name=s
  v1 = lookup 1 map=m
  branch v1, 0 cond=eq -> missing, there
missing:
  ret 0
there:
  v2 = load v1 offset=0 size=8 signed=0 : int
  store v0, v2 offset=0 size=4
  v3 = load v1 offset=0 size=8 signed=0 : int
  v4 = call helper=ktime_get_ns : int
  v5 = load v1 offset=0 size=8 signed=0 : int
  v6 = load v0 offset=0 size=4 signed=1 : int
  v7 = add v3, v5
  v8 = add v6, v4
  v9 = add v7, v8
  ret v9
""",
        """\
entry:
  v0 = slot size=16 align=8 name=s
  v1 = lookup 1 map=m
  branch v1, 0 cond=eq -> missing, there
missing: <- entry
  ret 0
there: <- entry
  v2 = load v1 offset=0 size=8 signed=0 : int
  store v0, v2 offset=0 size=4
  v3 = call helper=ktime_get_ns : int
  v4 = load v1 offset=0 size=8 signed=0 : int
  v5 = sext v2 bits=32
  v6 = add v2, v4
  v7 = add v5, v3
  v8 = add v6, v7
  ret v8
""",
    ),
    Case(
        "dead_stores",
        "only what is read before it is written again is cleared",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = slot size=32 align=8 name=event
  zero v1 offset=0 size=32
  v2 = load v0 offset=0 size=8 signed=0 : int
  store v1, v2 offset=0 size=4
  store v1, v2 offset=0 size=8
  v3 = add v1, 8
  v4 = call v3, 16, v2 helper=probe_read_kernel : int
  v5 = map map=ring
  v6 = call v5, v1, 28, 0 helper=ringbuf_output : int
  store v1, 1 offset=0 size=8
  ret 0
""",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = slot size=32 align=8 name=event
  zero v1 offset=24 size=4
  v2 = load v0 offset=0 size=8 signed=0 : int
  store v1, v2 offset=0 size=8
  v3 = add v1, 8
  v4 = call v3, 16, v2 helper=probe_read_kernel : int
  v5 = map map=ring
  v6 = call v5, v1, 28, 0 helper=ringbuf_output : int
  ret 0
""",
    ),
    Case(
        "widen",
        "constants next to each other",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = slot size=16 align=8 name=s
  v2 = load v0 offset=0 size=8 signed=0 : int
  store v1, 1 offset=0 size=4
  store v1, v2 offset=8 size=4
  store v1, 0 offset=4 size=4
  store v1, 97 offset=12 size=1
  store v1, 98 offset=13 size=1
  store v1, 0 offset=14 size=2
  v3 = map map=ring
  v4 = call v3, v1, 16, 0 helper=ringbuf_output : int
  ret 0
""",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = slot size=16 align=8 name=s
  v2 = load v0 offset=0 size=8 signed=0 : int
  store v1, v2 offset=8 size=4
  v3 = map map=ring
  store v1, 1 offset=0 size=8
  store v1, 25185 offset=12 size=4
  v4 = call v3, v1, 16, 0 helper=ringbuf_output : int
  ret 0
""",
    ),
    Case(
        "equalities",
        "what has been found equal to a constant is that constant, but where the value itself is as good",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = slot size=8 align=8 name=s
  v2 = call helper=get_current_pid_tgid : int
  v3 = lshr v2, 32
  branch v3, 77 cond=ne -> other, mine
mine: <- entry
  store v1, v3 offset=0 size=4
  v4 = map map=ring
  v5 = call v4, v1, 8, v3 helper=ringbuf_output : int
  jump -> leave
other: <- entry
  store v1, v3 offset=4 size=4
  jump -> leave
leave: <- mine, other
  v6 = phi v3, 1 : int
  ret v6
""",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = slot size=8 align=8 name=s
  v2 = call helper=get_current_pid_tgid : int
  v3 = lshr v2, 32
  branch v3, 77 cond=ne -> other, mine
mine: <- entry
  store v1, 77 offset=0 size=4
  v4 = map map=ring
  v5 = call v4, v1, 8, 77 helper=ringbuf_output : int
  jump -> leave
other: <- entry
  store v1, v3 offset=4 size=4
  jump -> leave
leave: <- mine, other
  v6 = phi v3, 1 : int
  ret v6
""",
    ),
    Case(
        "checks",
        "a value that may be missing, and one more condition: each way goes straight on",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = lookup 1 map=m
  branch v1, 0 cond=ne -> found, merged
found: <- entry
  v2 = load v1 offset=0 size=8 signed=0 : int
  v3 = delete 1 map=m
  jump -> merged
merged: <- entry, found
  v4 = phi 0, v2 : int
  branch v1, 0 cond=eq -> leave, more
more: <- merged
  v5 = load v0 offset=8 size=8 signed=0 : int
  branch v5, 0 cond=eq -> leave, use
use: <- more
  ret v4
leave: <- merged, more
  ret 0
""",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = lookup 1 map=m
  branch v1, 0 cond=ne -> found, merged_leave
found: <- entry
  v2 = load v1 offset=0 size=8 signed=0 : int
  v3 = delete 1 map=m
  jump -> more
more: <- found
  v4 = load v0 offset=8 size=8 signed=0 : int
  branch v4, 0 cond=eq -> leave, use
use: <- more
  ret v2
leave: <- merged_leave, more
  ret 0
merged_leave: <- entry
  jump -> leave
""",
    ),
    Case(
        "sink",
        "fields of the context are loaded behind calls and tests",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = load v0 offset=8 size=4 signed=1 : int
  v2 = load v0 offset=16 size=8 signed=0 : int
  v3 = load v0 offset=24 size=8 signed=0 : int
  v4 = map map=ring
  v5 = call v4, 16, 0 helper=ringbuf_reserve : ptr
  branch v5, 0 cond=eq -> leave, there
there: <- entry
  store v5, v1 offset=0 size=4
  branch v3, 5 cond=eq -> five, done
five: <- there
  store v5, v2 offset=8 size=8
  jump -> done
done: <- there, five
  v6 = call v5, 0 helper=ringbuf_submit : int
  jump -> leave
leave: <- entry, done
  ret 0
""",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = map map=ring
  v2 = call v1, 16, 0 helper=ringbuf_reserve : ptr
  branch v2, 0 cond=eq -> leave, there
there: <- entry
  v3 = load v0 offset=8 size=4 signed=1 : int
  store v2, v3 offset=0 size=4
  v4 = load v0 offset=24 size=8 signed=0 : int
  branch v4, 5 cond=eq -> five, done
five: <- there
  v5 = load v0 offset=16 size=8 signed=0 : int
  store v2, v5 offset=8 size=8
  jump -> done
done: <- there, five
  v6 = call v2, 0 helper=ringbuf_submit : int
  jump -> leave
leave: <- entry, done
  ret 0
""",
    ),
    Case(
        "sink",
        "one load takes a register over the call as the context would; none goes into a loop",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = load v0 offset=8 size=8 signed=0 : int
  v2 = call helper=get_smp_processor_id : int
  jump -> loop
loop: <- entry, loop
  v3 = phi 0, v4 : int
  v4 = add v3, v1
  branch v4, 100 cond=ult -> loop, done
done: <- loop
  ret v4
""",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = load v0 offset=8 size=8 signed=0 : int
  v2 = call helper=get_smp_processor_id : int
  jump -> loop
loop: <- entry, loop
  v3 = phi 0, v4 : int
  v4 = add v3, v1
  branch v4, 100 cond=ult -> loop, done
done: <- loop
  ret v4
""",
    ),
    Case(
        "sink",
        "what is written to the context, or to the registers behind it, is read where it was",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = load v0 offset=8 size=8 signed=0 : int
  v2 = load v0 offset=16 size=8 signed=0 : int
  v3 = call v0, 5 helper=override_return : int
  v4 = add v1, v2
  ret v4
""",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = load v0 offset=8 size=8 signed=0 : int
  v2 = load v0 offset=16 size=8 signed=0 : int
  v3 = call v0, 5 helper=override_return : int
  v4 = add v1, v2
  ret v4
""",
    ),
    Case(
        "outline_loops",
        "a loop over a map has the key and value of each entry as parameters",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = load v0 offset=0 size=8 signed=0 : int
  jump -> head
head:
  v2 = phi 0, v6 : int
  v3 = entry map=m
  branch v3, 0 cond=ne -> body, done
body:
  v4 = entrykey v3
  v5 = load v4 offset=0 size=4 signed=0 : int
  v6 = add v2, v5 : int
  v7 = entryvalue v3
  v8 = load v7 offset=0 size=8 signed=0 : int
  branch v8, v1 cond=eq -> found, head
found:
  ret v2
done:
  ret v2
""",
        """\
entry:
  v0 = slot size=32 align=8 name=loop
  v1 = param index=0 : ptr
  v2 = load v1 offset=0 size=8 signed=0 : int
  jump -> head_start
found: <- head_exit1
  ret v10
done: <- head_exit0
  ret v10
head_start: <- entry
  v3 = call helper=jiffies64 : int
  v4 = lshr v3, 63
  v5 = mul v4, v3
  v6 = mul v5, 3
  jump -> head_call
head_call: <- head_start
  store v0, 0 offset=0 size=8
  store v0, v6 offset=16 size=8
  store v0, v2 offset=24 size=8
  v7 = map map=m
  v8 = func func=f_loop
  v9 = call v7, v8, v0, 0 helper=for_each_map_elem : int
  v10 = load v0 offset=16 size=8 signed=0 : int
  v11 = load v0 offset=0 size=8 signed=0 : int
  branch v11, 1 cond=eq -> head_exit1, head_not1
head_exit1: <- head_call
  jump -> found
head_not1: <- head_call
  jump -> head_exit0
head_exit0: <- head_not1
  jump -> done
func f_loop(ptr, ptr, ptr, ptr):
head_turn:
  v0 = param index=3 : ptr
  v1 = param index=1 : ptr
  v2 = param index=2 : ptr
  v3 = load v0 offset=16 size=8 signed=0 : int
  v4 = load v0 offset=24 size=8 signed=0 : int
  jump -> head
head: <- head_turn
  jump -> body
body: <- head
  v5 = load v1 offset=0 size=4 signed=0 : int
  v6 = add v3, v5
  v7 = load v2 offset=0 size=8 signed=0 : int
  branch v7, v4 cond=eq -> body_out0, body_back1
body_out0: <- body
  store v0, 1 offset=0 size=8
  ret 1
body_back1: <- body
  store v0, v6 offset=16 size=8
  ret 0
""",
    ),
    Case(
        "far_offsets",
        "what is near each other shares the address of a part",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = load v0 offset=40000 size=8 signed=0 : int
  v2 = load v0 offset=40008 size=8 signed=0 : int
  v3 = load v0 offset=8 size=8 signed=0 : int
  v4 = add v1, v2
  ret v4
""",
        """\
entry:
  v0 = param index=0 : ptr
  v1 = add v0, 28672
  v2 = load v1 offset=11328 size=8 signed=0 : int
  v3 = load v1 offset=11336 size=8 signed=0 : int
  v4 = load v0 offset=8 size=8 signed=0 : int
  v5 = add v2, v3
  ret v5
""",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[f"{case.run}: {case.what}" for case in CASES])
def test_pass(case: Case) -> None:
    unit = parse_unit(HEAD + case.before)
    check(unit)
    dict(PASSES_MID)[case.run](unit, TARGET)
    check(unit)
    assert format_unit(unit) == HEAD + case.after


def test_every_pass_has_a_case() -> None:

    assert {run for _, run in PASSES_MID} == {dict(PASSES_MID)[case.run] for case in CASES}
