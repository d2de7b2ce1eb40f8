#include "bpf.h"

struct record {
	u64 common; const void *skaddr; s32 oldstate, newstate;
	u16 sport, dport, family, protocol; u8 saddr[4], daddr[4]; u64 saddr_v6[2], daddr_v6[2];
};
struct change { u32 pid; s32 old, new; u16 sport, dport; u64 saddr[2], daddr[2]; char comm[16]; };

MAP(changes, RINGBUF, 0, 0, 1 << 23);

SEC("tracepoint/state") int on_state(struct record *args)
{
	struct change *event;
	u64 id = pid_tgid();

	if (id >> 32 != PID || args->protocol != 6 || args->family != 2)
		return 0;
	event = reserve(&changes, sizeof *event, 0);
	if (!event) {
		__sync_fetch_and_add(&lost, 1);
		return 0;
	}
	event->pid = id >> 32;
	event->old = args->oldstate;
	event->new = args->newstate;
	event->sport = args->sport;
	event->dport = args->dport;
	event->saddr[0] = args->saddr_v6[0];
	event->saddr[1] = args->saddr_v6[1];
	event->daddr[0] = args->daddr_v6[0];
	event->daddr[1] = args->daddr_v6[1];
	get_comm(event->comm, sizeof event->comm);
	submit(event, 0);
	return 0;
}
