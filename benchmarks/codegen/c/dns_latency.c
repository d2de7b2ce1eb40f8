#include "bpf.h"

struct begun { u64 time; char host[64]; };
struct done { u32 pid; s32 result; u64 latency; char comm[16]; char host[64]; };

MAP(begun, HASH, 4, sizeof(struct begun), 10240);
MAP(slow, HASH, 64, 8, 1024);
MAP(latency, PERCPU_ARRAY, 4, 8, 66);
MAP(lookups, RINGBUF, 0, 0, 1 << 23);

SEC("kprobe/getaddrinfo") int on_begin(u64 *ctx)
{
	u64 id = pid_tgid();
	u32 tid = id;
	struct begun new = {};

	if (id >> 32 != PID)
		return 0;
	new.time = ktime_ns();
	read_user_str(new.host, sizeof new.host, (void *)ctx[ARGUMENT]);
	keep(&begun, &tid, &new);
	return 0;
}

SEC("kprobe/return") int on_end(u64 *ctx)
{
	u64 id = pid_tgid(), delta, *count;
	u32 tid = id, bucket;
	struct begun start, *found;
	struct done *event;

	if (id >> 32 != PID)
		return 0;
	found = lookup(&begun, &tid);
	if (!found)
		return 0;
	start = *found;
	delete(&begun, &tid);
	delta = (ktime_ns() - start.time) / 1000000;
	event = reserve(&lookups, sizeof *event, 0);
	if (event) {
		event->pid = id >> 32;
		event->result = ctx[RESULT];
		event->latency = delta;
		get_comm(event->comm, sizeof event->comm);
		__builtin_memcpy(event->host, start.host, sizeof event->host);
		submit(event, 0);
	} else {
		__sync_fetch_and_add(&lost, 1);
	}
	if (delta > 100)
		add_one(&slow, start.host);
	bucket = log2_bucket(delta);
	count = lookup(&latency, &bucket);
	if (count)
		__sync_fetch_and_add(count, 1);
	return 0;
}
