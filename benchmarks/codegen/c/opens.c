#include "bpf.h"

struct begun { u64 time, filename; };
struct open { u32 pid; s32 ret; u64 latency; char comm[16]; char path[256]; };
struct enter { u64 common; s64 nr, dfd; const char *filename; s64 flags, mode; };
struct leave { u64 common; s64 nr, ret; };

MAP(begun, HASH, 4, sizeof(struct begun), 10240);
MAP(opens, RINGBUF, 0, 0, 1 << 23);

SEC("tracepoint/enter") int on_enter(struct enter *args)
{
	u64 id = pid_tgid();
	u32 tid = id;
	struct begun b;

	if (id >> 32 != PID)
		return 0;
	b.time = ktime_ns();
	b.filename = (u64)args->filename;
	keep(&begun, &tid, &b);
	return 0;
}

SEC("tracepoint/leave") int on_exit(struct leave *args)
{
	u64 id = pid_tgid();
	u32 tid = id;
	struct begun *start, copy;
	struct open *event;

	if (id >> 32 != PID)
		return 0;
	start = lookup(&begun, &tid);
	if (!start)
		return 0;
	copy = *start;
	delete(&begun, &tid);
	event = reserve(&opens, sizeof *event, 0);
	if (!event) {
		__sync_fetch_and_add(&lost, 1);
		return 0;
	}
	event->pid = id >> 32;
	event->ret = args->ret;
	event->latency = ktime_ns() - copy.time;
	get_comm(event->comm, sizeof event->comm);
	read_user_str(event->path, sizeof event->path, (void *)copy.filename);
	submit(event, 0);
	return 0;
}
