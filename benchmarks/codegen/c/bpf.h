/* What the probes need of the kernel's interface, written out: no headers of the kernel or of libbpf. */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed int s32;
typedef signed long long s64;

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define MAP(name, kind, key, value, entries) \
	struct map_def name SEC("maps") = { kind, key, value, entries }

enum { HASH = 1, ARRAY = 2, PERCPU_HASH = 5, PERCPU_ARRAY = 6, STACK_TRACE = 7, RINGBUF = 27 };

struct map_def {
	u32 type, key_size, value_size, max_entries;
};

static void *(*lookup)(void *map, const void *key) = (void *)1;
static long (*update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*delete)(void *map, const void *key) = (void *)3;
static u64 (*ktime_ns)(void) = (void *)5;
static u64 (*pid_tgid)(void) = (void *)14;
static u64 (*uid_gid)(void) = (void *)15;
static long (*get_comm)(void *to, u32 size) = (void *)16;
static long (*get_stackid)(void *ctx, void *map, u64 flags) = (void *)27;
static long (*read_user)(void *to, u32 size, const void *from) = (void *)112;
static long (*read_user_str)(void *to, u32 size, const void *from) = (void *)114;
static long (*read_kernel_str)(void *to, u32 size, const void *from) = (void *)115;
static void *(*reserve)(void *ring, u64 size, u64 flags) = (void *)131;
static void (*submit)(void *data, u64 flags) = (void *)132;

/* what could not be kept or sent, as pybpf counts it */
u64 lost;

INLINE void keep(void *map, const void *key, const void *value)
{
	if (update(map, key, value, 0))
		__sync_fetch_and_add(&lost, 1);
}

INLINE int mine(void)
{
	return pid_tgid() >> 32 == PID;
}

INLINE void add_one(void *map, void *key)
{
	u64 one = 1, *count = lookup(map, key);

	if (!count) {
		if (!update(map, key, &one, 1))
			return;
		count = lookup(map, key);
		if (!count) {
			__sync_fetch_and_add(&lost, 1);
			return;
		}
	}
	__sync_fetch_and_add(count, 1);
}

/* 0: negative, 1: zero, 2 + k: 2^k and above */
INLINE u32 log2_bucket(s64 value)
{
	u64 v = value;
	u32 r = 2, shift;

	if (value < 0)
		return 0;
	if (!value)
		return 1;
	shift = (v > 0xffffffff) << 5; v >>= shift; r += shift;
	shift = (v > 0xffff) << 4; v >>= shift; r += shift;
	shift = (v > 0xff) << 3; v >>= shift; r += shift;
	shift = (v > 0xf) << 2; v >>= shift; r += shift;
	shift = (v > 0x3) << 1; v >>= shift; r += shift;
	return r + (v >> 1);
}
