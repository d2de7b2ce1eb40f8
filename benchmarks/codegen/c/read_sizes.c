#include "bpf.h"

struct key { char comm[16]; u32 bucket, pad; };
struct leave { u64 common; s64 nr, ret; };

MAP(sizes, PERCPU_HASH, sizeof(struct key), 8, 4096);

SEC("tracepoint/leave") int on_exit(struct leave *args)
{
	struct key key = {};

	if (!mine())
		return 0;
	get_comm(key.comm, sizeof key.comm);
	key.bucket = log2_bucket(args->ret);
	add_one(&sizes, &key);
	return 0;
}
