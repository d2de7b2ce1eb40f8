#include "bpf.h"

MAP(counts, HASH, 16, 8, 4096);

SEC("tracepoint/enter") int on_enter(void *ctx)
{
	char comm[16];

	if (!mine())
		return 0;
	get_comm(comm, sizeof comm);
	add_one(&counts, comm);
	return 0;
}
