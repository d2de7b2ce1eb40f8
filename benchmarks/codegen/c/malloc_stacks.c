#include "bpf.h"

struct alloc { u32 pid, tid; u64 size; char comm[16]; s64 stack; };

MAP(sizes, HASH, 4, 8, 10240);
MAP(allocs, RINGBUF, 0, 0, 1 << 23);
MAP(stacks, STACK_TRACE, 4, 127 * 8, 10240);

SEC("kprobe/malloc") int on_malloc(u64 *ctx)
{
	u64 id = pid_tgid(), size = ctx[ARGUMENT];
	u32 tid = id;

	if (id >> 32 != PID || size < 65536)
		return 0;
	keep(&sizes, &tid, &size);
	return 0;
}

SEC("kprobe/return") int on_return(u64 *ctx)
{
	u64 id = pid_tgid(), *size, bytes;
	u32 tid = id;
	struct alloc *event;

	if (id >> 32 != PID)
		return 0;
	size = lookup(&sizes, &tid);
	if (!size)
		return 0;
	bytes = *size;
	delete(&sizes, &tid);
	if (!ctx[RESULT])
		return 0;
	event = reserve(&allocs, sizeof *event, 0);
	if (!event) {
		__sync_fetch_and_add(&lost, 1);
		return 0;
	}
	event->pid = id >> 32;
	event->tid = id;
	event->size = bytes;
	get_comm(event->comm, sizeof event->comm);
	event->stack = get_stackid(ctx, &stacks, 1 << 8);
	submit(event, 0);
	return 0;
}
