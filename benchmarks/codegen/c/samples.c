#include "bpf.h"

struct key { s64 kernel, user; char comm[16]; };

MAP(stacks, STACK_TRACE, 4, 127 * 8, 10240);
MAP(counts, HASH, sizeof(struct key), 8, 10240);

SEC("perf_event/sample") int on_sample(void *ctx)
{
	struct key key;

	if (!mine())
		return 0;
	key.kernel = get_stackid(ctx, &stacks, 0);
	key.user = get_stackid(ctx, &stacks, 1 << 8);
	get_comm(key.comm, sizeof key.comm);
	add_one(&counts, &key);
	return 0;
}
