#include "bpf.h"

#define FIELD(task, offset) (*(s32 *)((char *)(task) + (offset)))

MAP(woken, HASH, 4, 8, 10240);
MAP(latency, PERCPU_ARRAY, 4, 8, 66);

SEC("tp_btf/sched_wakeup") int on_wakeup(u64 *ctx)
{
	void *task = (void *)ctx[0];
	u32 pid = FIELD(task, TASK_PID);
	u64 now;

	if (FIELD(task, TASK_TGID) != PID)
		return 0;
	now = ktime_ns();
	keep(&woken, &pid, &now);
	return 0;
}

SEC("tp_btf/sched_switch") int on_switch(u64 *ctx)
{
	void *task = (void *)ctx[2];
	u32 pid = FIELD(task, TASK_PID), bucket;
	u64 *time, delta, *count;

	if (FIELD(task, TASK_TGID) != PID)
		return 0;
	time = lookup(&woken, &pid);
	if (!time)
		return 0;
	delta = (ktime_ns() - *time) / 1000;
	delete(&woken, &pid);
	bucket = log2_bucket(delta);
	count = lookup(&latency, &bucket);
	if (count)
		__sync_fetch_and_add(count, 1);
	return 0;
}
