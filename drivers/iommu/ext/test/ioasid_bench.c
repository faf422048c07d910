// SPDX-License-Identifier: GPL-2.0
/*
 * What the IOASID allocator costs, beside what its C counterparts cost in the
 * same run: "old", the design of the first proposals, a structure for each ID
 * in an XArray, and "ida", the kernel's allocator of bare numbers, which finds
 * nothing. All three are called through the same table of functions.
 *
 * The size of each measurement is how many IDs are held.
 *
 *   fill       allocate them all, the lowest free one each time
 *   pair       allocate the last one and free it
 *   replace    free one of them and allocate it again, in random order
 *   find       look them up, in random order
 *   readers-N  the same by N threads at once; the slowest counts
 *   drain      free them all, in order
 *   bytes      memory they take, in bytes; counted where there are tracepoints
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/completion.h>
#include <linux/idr.h>
#include <linux/ioasid.h>
#include <linux/iommu.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/prandom.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <linux/xarray.h>
#include <trace/events/kmem.h>

#include "bench.h"

#define FIRST		(IOASID_DMA_KERNEL + 1)
#define LAST		((1U << 20) - 1)

#define MIN_OPS		10000	/* of each kind, however few IDs there are */
#define BATCH		1000	/* operations until others may run */
#define READER_FINDS	2000000

static unsigned int repeats = IS_MODULE(CONFIG_IOASID_BENCH) ? 5 : 0;
module_param(repeats, uint, 0444);
MODULE_PARM_DESC(repeats, "How often to measure everything (built in: 0, not at all)");

static const u32 sizes[] = { 10, 1000, 100000, LAST - FIRST + 1 };

static DECLARE_IOASID_SET(bench_set);
static char data;		/* of every ID */
static u32 *order;		/* the IDs, shuffled */

struct design {
	const char *name;
	ioasid_t (*alloc)(struct ioasid_set *set, ioasid_t min, ioasid_t max, void *private);
	void (*free)(ioasid_t id);
	void *(*find)(struct ioasid_set *set, ioasid_t id, bool (*getter)(void *));
	bool keeps_some;	/* memory, when all IDs are freed */
};

/* The old design */

struct old_id {
	ioasid_t id;
	struct ioasid_set *set;
	void *private;
	struct rcu_head rcu;
};

static DEFINE_XARRAY_ALLOC(old_ids);

static ioasid_t old_alloc(struct ioasid_set *set, ioasid_t min, ioasid_t max, void *private)
{
	struct old_id *old = kzalloc_obj(*old);

	if (!old)
		return INVALID_IOASID;
	old->set = set;
	old->private = private;
	if (xa_alloc(&old_ids, &old->id, old, XA_LIMIT(min, max), GFP_KERNEL)) {
		kfree(old);
		return INVALID_IOASID;
	}
	return old->id;
}

static void old_free(ioasid_t id)
{
	struct old_id *old = xa_erase(&old_ids, id);

	if (old)
		kfree_rcu(old, rcu);
}

static void *old_find(struct ioasid_set *set, ioasid_t id, bool (*getter)(void *))
{
	struct old_id *old;
	void *private;

	rcu_read_lock();
	old = xa_load(&old_ids, id);
	if (!old) {
		private = ERR_PTR(-ENOENT);
		goto unlock;
	}
	if (set && old->set != set) {
		private = ERR_PTR(-EACCES);
		goto unlock;
	}
	private = READ_ONCE(old->private);
	if (getter && !getter(private))
		private = NULL;
unlock:
	rcu_read_unlock();
	return private;
}

/* The kernel's IDA */

static DEFINE_IDA(bare_ids);

static ioasid_t bare_alloc(struct ioasid_set *set, ioasid_t min, ioasid_t max, void *private)
{
	int id = ida_alloc_range(&bare_ids, min, max, GFP_KERNEL);

	return id < 0 ? INVALID_IOASID : id;
}

static void bare_free(ioasid_t id)
{
	ida_free(&bare_ids, id);
}

static const struct design designs[] = {
	{ "ours", ioasid_alloc, ioasid_free, ioasid_find, true },
	{ "old", old_alloc, old_free, old_find },
	{ "ida", bare_alloc, bare_free },
};

static void report(const struct design *d, const char *row, u32 held, u64 ops, u64 cost)
{
	bench_report(d->name, row, held, ops, cost);
}

/* Memory that this task allocates and keeps */

static struct task_struct *counted;
static s64 bytes;

static bool counts(void)
{
	return current == counted && in_task();
}

static void count_kmalloc(void *unused, unsigned long site, const void *ptr, size_t asked,
			  size_t size, gfp_t gfp, int node)
{
	if (counts())
		bytes += size;
}

static void count_cache_alloc(void *unused, unsigned long site, const void *ptr,
			      struct kmem_cache *cache, gfp_t gfp, int node)
{
	if (counts())
		bytes += kmem_cache_size(cache);
}

static void count_kfree(void *unused, unsigned long site, const void *ptr)
{
	if (counts())
		bytes -= ksize(ptr);
}

static void count_cache_free(void *unused, unsigned long site, const void *ptr,
			     const struct kmem_cache *cache)
{
	if (counts())
		bytes -= kmem_cache_size((struct kmem_cache *)cache);
}

static void count_end(void)
{
	counted = NULL;
	unregister_trace_kmalloc(count_kmalloc, NULL);
	unregister_trace_kmem_cache_alloc(count_cache_alloc, NULL);
	unregister_trace_kfree(count_kfree, NULL);
	unregister_trace_kmem_cache_free(count_cache_free, NULL);
	tracepoint_synchronize_unregister();
}

static bool count_begin(void)
{
	if (register_trace_kmalloc(count_kmalloc, NULL) ||
	    register_trace_kmem_cache_alloc(count_cache_alloc, NULL) ||
	    register_trace_kfree(count_kfree, NULL) ||
	    register_trace_kmem_cache_free(count_cache_free, NULL)) {
		count_end();
		return false;
	}
	return true;
}

static void alloc_one(const struct design *d, ioasid_t min, ioasid_t max, ioasid_t expected)
{
	bench_wrong += d->alloc(&bench_set, min, max, &data) != expected;
}

/*
 * What stays when all IDs are freed: the memory of the lowest ones. One like it
 * is what the second of two IDs takes that are apart, but not far.
 */
static s64 bytes_kept(const struct design *d)
{
	s64 kept;

	alloc_one(d, 64, 64, 64);
	bytes = 0;
	counted = current;
	alloc_one(d, 128, 128, 128);
	counted = NULL;
	kept = bytes;
	d->free(64);
	d->free(128);
	return kept;
}

static void measure_bytes(const struct design *d)
{
	u32 held = 0;
	unsigned int i;
	s64 kept = 0;

	/* What is made only once does not count */
	alloc_one(d, FIRST, LAST, FIRST);
	d->free(FIRST);
	if (!count_begin())
		return;
	if (d->keeps_some)
		kept = bytes_kept(d);

	bytes = 0;
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		counted = current;
		for (; held < sizes[i]; held++) {
			alloc_one(d, FIRST, LAST, FIRST + held);
			if (!(held % BATCH))
				cond_resched();
		}
		counted = NULL;
		report(d, "bytes", sizes[i], sizes[i], bytes + kept);
	}
	count_end();

	while (held--) {
		d->free(FIRST + held);
		if (!(held % BATCH))
			cond_resched();
	}
	rcu_barrier();
}

/* Time */

typedef void (*operation)(const struct design *d, u32 held, u32 i);

static void op_fill(const struct design *d, u32 held, u32 i)
{
	alloc_one(d, FIRST, LAST, FIRST + i);
}

static void op_drain(const struct design *d, u32 held, u32 i)
{
	d->free(FIRST + i);
}

/* The last ID is free */
static void op_pair(const struct design *d, u32 held, u32 i)
{
	alloc_one(d, FIRST, LAST, FIRST + held - 1);
	d->free(FIRST + held - 1);
}

static void op_replace(const struct design *d, u32 held, u32 i)
{
	d->free(order[i]);
	alloc_one(d, FIRST, LAST, order[i]);
}

static void op_find(const struct design *d, u32 held, u32 i)
{
	/* Several threads do this: nothing shared is written as long as all is well */
	if (unlikely(d->find(&bench_set, order[i], NULL) != &data))
		bench_wrong++;
}

/* @op is a constant wherever this is called, so it is not called but compiled in */
static __always_inline u64 timed(operation op, const struct design *d, u32 held, u32 ops)
{
	u32 done = 0, i = 0;
	u64 time = 0;

	while (done < ops) {
		u32 end = min(done + BATCH, ops);
		u64 start = ktime_get_ns();

		for (; done < end; done++) {
			op(d, held, i);
			if (++i == held)
				i = 0;
		}
		time += bench_passed(start);
		cond_resched();
	}
	return time;
}

/* Threads that look IDs up, all at once */

struct reader {
	const struct design *design;
	u32 held;
	u64 time;
	struct completion *start;
	struct completion done;
};

static int reader_fn(void *arg)
{
	struct reader *reader = arg;

	wait_for_completion(reader->start);
	reader->time = timed(op_find, reader->design, reader->held, READER_FINDS);
	kthread_complete_and_exit(&reader->done, 0);
}

static void measure_readers(const struct design *d, u32 held, unsigned int nr)
{
	DECLARE_COMPLETION_ONSTACK(start);
	struct reader readers[2] = {};
	unsigned int started, i;
	char row[16];
	u64 time = 0;

	for (started = 0; started < nr; started++) {
		struct reader *reader = &readers[started];
		struct task_struct *task;

		reader->design = d;
		reader->held = held;
		reader->start = &start;
		init_completion(&reader->done);
		task = kthread_run_on_cpu(reader_fn, reader, started, "ioasid_bench/%u");
		if (IS_ERR(task)) {
			bench_wrong++;
			break;
		}
	}
	complete_all(&start);
	for (i = 0; i < started; i++) {
		wait_for_completion(&readers[i].done);
		time = max(time, readers[i].time);
	}
	snprintf(row, sizeof(row), "readers-%u", nr);
	report(d, row, held, READER_FINDS, time);
}

static void shuffle(u32 held)
{
	struct rnd_state rnd;
	u32 i;

	prandom_seed_state(&rnd, held);
	for (i = 0; i < held; i++)
		order[i] = FIRST + i;
	for (i = held - 1; i; i--)
		swap(order[i], order[prandom_u32_state(&rnd) % (i + 1)]);
}

static void measure(const struct design *d, u32 held)
{
	u32 cycles = DIV_ROUND_UP(MIN_OPS, held);
	u64 fill = 0, drain = 0;
	unsigned int nr;
	u32 cycle;

	for (cycle = 0; cycle < cycles; cycle++) {
		fill += timed(op_fill, d, held, held);
		if (!cycle) {
			d->free(FIRST + held - 1);
			report(d, "pair", held, MIN_OPS, timed(op_pair, d, held, MIN_OPS));
			alloc_one(d, FIRST, LAST, FIRST + held - 1);
			report(d, "replace", held, MIN_OPS, timed(op_replace, d, held, MIN_OPS));
		}
		if (!cycle && d->find) {
			report(d, "find", held, 10 * MIN_OPS,
			       timed(op_find, d, held, 10 * MIN_OPS));
			for (nr = 1; nr <= 2 && num_online_cpus() > 1; nr++)
				measure_readers(d, held, nr);
		}
		drain += timed(op_drain, d, held, held);
	}
	report(d, "fill", held, (u64)held * cycles, fill);
	report(d, "drain", held, (u64)held * cycles, drain);
	rcu_barrier();
}

/* All of them are allocated and freed, whoever else might think to hold one */
static bool ids_are_unused(void)
{
	ioasid_t id;

	for (id = FIRST; id <= LAST; id++)
		if (ioasid_find(NULL, id, NULL) != ERR_PTR(-ENOENT))
			return false;
	return true;
}

static int __init ioasid_bench_init(void)
{
	unsigned int repeat, size, i;

	if (!repeats)
		return 0;
	if (!ids_are_unused())
		return -EBUSY;
	order = vmalloc_array(LAST - FIRST + 1, sizeof(*order));
	if (!order)
		return -ENOMEM;

	bench_begin();
	for (i = 0; i < ARRAY_SIZE(designs); i++)
		measure_bytes(&designs[i]);
	for (repeat = 0; repeat < repeats; repeat++) {
		for (size = 0; size < ARRAY_SIZE(sizes); size++) {
			shuffle(sizes[size]);
			for (i = 0; i < ARRAY_SIZE(designs); i++)
				measure(&designs[i], sizes[size]);
		}
	}
	bench_end();
	vfree(order);
	return 0;
}
module_init(ioasid_bench_init);

static void __exit ioasid_bench_exit(void)
{
}
module_exit(ioasid_bench_exit);

MODULE_DESCRIPTION("Benchmark of the IOASID allocator");
MODULE_LICENSE("GPL");
