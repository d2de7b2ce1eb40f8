#include "bpf.h"

struct begun { u64 size, time; };
struct total { u64 count, bytes; };
struct name { char comm[16]; };

MAP(begun, HASH, 4, sizeof(struct begun), 10240);
MAP(outstanding, HASH, 8, 8, 10240);
MAP(by_name, PERCPU_HASH, sizeof(struct name), sizeof(struct total), 1024);
MAP(sizes, PERCPU_ARRAY, 4, 8, 66);
MAP(latency, PERCPU_ARRAY, 4, 8, 66);

INLINE void count_in(void *map, u64 value)
{
	u32 bucket = log2_bucket(value);
	u64 *count = lookup(map, &bucket);

	if (count)
		__sync_fetch_and_add(count, 1);
}

SEC("kprobe/malloc") int on_malloc(u64 *ctx)
{
	u64 id = pid_tgid();
	u32 tid = id;
	struct begun new;

	if (id >> 32 != PID)
		return 0;
	new.size = ctx[ARGUMENT];
	new.time = ktime_ns();
	keep(&begun, &tid, &new);
	return 0;
}

SEC("kprobe/return") int on_return(u64 *ctx)
{
	u64 id = pid_tgid(), address;
	u32 tid = id;
	struct begun start, *found;
	struct total *total, first;
	struct name name = {};

	if (id >> 32 != PID)
		return 0;
	found = lookup(&begun, &tid);
	if (!found)
		return 0;
	start = *found;
	delete(&begun, &tid);
	address = ctx[RESULT];
	count_in(&sizes, start.size);
	count_in(&latency, ktime_ns() - start.time);
	get_comm(name.comm, sizeof name.comm);
	total = lookup(&by_name, &name);
	if (total) {
		__sync_fetch_and_add(&total->count, 1);
		__sync_fetch_and_add(&total->bytes, start.size);
	} else {
		first.count = 1;
		first.bytes = start.size;
		if (update(&by_name, &name, &first, 1))
			__sync_fetch_and_add(&lost, 1);
	}
	if (address)
		keep(&outstanding, &address, &start.size);
	return 0;
}
