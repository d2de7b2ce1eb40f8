#include "bpf.h"

struct enter { u64 common; s64 nr, dfd; const char *filename; s64 flags, mode; };

MAP(counts, HASH, 4, 8, 4096);

SEC("tracepoint/enter") int on_enter(struct enter *args)
{
	u64 id = pid_tgid();
	u32 tid = id;
	char path[64];

	if (id >> 32 != PID || args->flags & 0x40)
		return 0;
	__builtin_memset(path, 0, sizeof path);
	read_user_str(path, sizeof path, args->filename);
	if (*(u32 *)path != 0x6374652f || path[4] != '/') /* "/etc/" */
		return 0;
	add_one(&counts, &tid);
	return 0;
}
