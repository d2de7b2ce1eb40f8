#include "bpf.h"

struct begun { u64 time; u32 id; u32 pad; };
struct stat { u64 count, total, max; };
struct record { u64 common; s64 id; u64 rest[6]; };

MAP(begun, HASH, 4, sizeof(struct begun), 10240);
MAP(stats, HASH, 4, sizeof(struct stat), 1024);

SEC("tracepoint/enter") int on_enter(struct record *args)
{
	u64 id = pid_tgid();
	u32 tid = id;
	struct begun b = {};

	if (id >> 32 != PID)
		return 0;
	b.time = ktime_ns();
	b.id = args->id;
	keep(&begun, &tid, &b);
	return 0;
}

SEC("tracepoint/leave") int on_exit(struct record *args)
{
	u64 id = pid_tgid(), delta;
	u32 tid = id, nr;
	struct begun *start;
	struct stat *data, zero = {};

	if (id >> 32 != PID)
		return 0;
	start = lookup(&begun, &tid);
	if (!start)
		return 0;
	delta = ktime_ns() - start->time;
	nr = start->id;
	delete(&begun, &tid);
	data = lookup(&stats, &nr);
	if (!data) {
		update(&stats, &nr, &zero, 1);
		data = lookup(&stats, &nr);
		if (!data) {
			__sync_fetch_and_add(&lost, 1);
			return 0;
		}
	}
	__sync_fetch_and_add(&data->count, 1);
	__sync_fetch_and_add(&data->total, delta);
	if (delta > data->max)
		data->max = delta;
	return 0;
}
