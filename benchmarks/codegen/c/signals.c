#include "bpf.h"

struct record { u64 common; s32 sig, errno, code; char comm[16]; s32 pid, group, result; };
struct key { u32 sender, target; s32 sig; };

MAP(counts, HASH, sizeof(struct key), 8, 4096);

SEC("tracepoint/signal") int on_signal(struct record *args)
{
	u64 id = pid_tgid();
	struct key key = { id >> 32, args->pid, args->sig };

	if (key.sender != PID)
		return 0;
	add_one(&counts, &key);
	return 0;
}
