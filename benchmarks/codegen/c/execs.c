#include "bpf.h"

struct record { u64 common; u32 filename; s32 pid, old_pid; };
struct exec { u32 pid, uid; char comm[16]; char path[128]; };

MAP(execs, RINGBUF, 0, 0, 1 << 23);

SEC("tracepoint/exec") int on_exec(struct record *args)
{
	struct exec *event;

	if (!mine())
		return 0;
	event = reserve(&execs, sizeof *event, 0);
	if (!event) {
		__sync_fetch_and_add(&lost, 1);
		return 0;
	}
	event->pid = args->pid;
	event->uid = uid_gid();
	get_comm(event->comm, sizeof event->comm);
	read_kernel_str(event->path, sizeof event->path, (char *)args + (args->filename & 0xffff));
	submit(event, 0);
	return 0;
}
