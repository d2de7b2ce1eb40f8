#include "bpf.h"

struct enter { u64 common; s64 nr; u64 fd, buffer, count; };
struct stat { u64 count, total, min, max; };

MAP(stats, PERCPU_HASH, 4, sizeof(struct stat), 4096);

SEC("tracepoint/enter") int on_enter(struct enter *args)
{
	u64 id = pid_tgid(), size = args->count;
	u32 tid = id;
	struct stat *found, first = { 1, size, size, size };

	if (id >> 32 != PID || size < 512)
		return 0;
	found = lookup(&stats, &tid);
	if (!found) {
		keep(&stats, &tid, &first);
		return 0;
	}
	/* zeros as long as this CPU has not counted */
	if (!found->count || size < found->min)
		found->min = size;
	if (!found->count || size > found->max)
		found->max = size;
	found->count += 1;
	found->total += size;
	return 0;
}
