// SPDX-License-Identifier: GPL-2.0
/*
 * Test access to the IOASID allocator.
 *
 * Data objects carry a token and are poisoned before they are freed, so that a
 * reader who still sees one after that knows. Lifetime of an object: one
 * reference belongs to the ID, finders with a getter take more. An object that
 * ioasid_set_data() replaced is freed at once with its last reference, since
 * that call waited for the readers; one whose ID was freed waits for them by
 * call_rcu().
 */
#include <linux/delay.h>
#include <linux/idr.h>
#include <linux/ioasid.h>
#include <linux/iommu.h>
#include <linux/irq_work.h>
#include <linux/kref.h>
#include <linux/kthread.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/prandom.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <linux/xarray.h>

#include "iommu_ext_test_internal.h"

#define OBJECT_ALIVE	0xa11fe
#define OBJECT_POISON	0xdead

static DECLARE_IOASID_SET(ext_test_set0);
static DECLARE_IOASID_SET(ext_test_set1);
static DECLARE_IOASID_SET(ext_test_set2);
static DECLARE_IOASID_SET(ext_test_set3);

static struct ioasid_set *const sets[IOASID_TEST_NR_SETS] = {
	&ext_test_set0, &ext_test_set1, &ext_test_set2, &ext_test_set3,
};

struct test_object {
	struct kref ref;
	struct rcu_head rcu;
	bool unreachable;	/* for readers too: a grace period has passed */
	u32 magic;
	u32 token;
	ioasid_t id;		/* INVALID_IOASID until it is known */
	struct ioasid_set *set;
};

static struct test_object *object_new(struct ioasid_set *set, u32 token)
{
	struct test_object *obj = kzalloc_obj(*obj);

	if (!obj)
		return NULL;
	kref_init(&obj->ref);
	obj->magic = OBJECT_ALIVE;
	obj->token = token;
	obj->id = INVALID_IOASID;
	obj->set = set;
	return obj;
}

static void object_free(struct test_object *obj)
{
	WRITE_ONCE(obj->magic, OBJECT_POISON);
	kfree(obj);
}

static void object_free_rcu(struct rcu_head *rcu)
{
	object_free(container_of(rcu, struct test_object, rcu));
}

static void object_release(struct kref *ref)
{
	struct test_object *obj = container_of(ref, struct test_object, ref);

	if (obj->unreachable)
		object_free(obj);
	else
		call_rcu(&obj->rcu, object_free_rcu);
}

static void object_put(struct test_object *obj)
{
	if (obj)
		kref_put(&obj->ref, object_release);
}

/* The ID's own reference, after ioasid_set_data() took the object away */
static void object_put_replaced(struct test_object *obj)
{
	if (!obj)
		return;
	obj->unreachable = true;
	object_put(obj);
}

static bool object_getter(void *data)
{
	struct test_object *obj = data;

	return kref_get_unless_zero(&obj->ref);
}

static bool refusing_getter(void *data)
{
	return false;
}

/* Calls from other contexts */

struct context_call {
	void (*fn)(void *arg);
	void *arg;
	struct irq_work work;
	struct rcu_head rcu;
	struct completion done;
};

static void call_in_irq_work(struct irq_work *work)
{
	struct context_call *call = container_of(work, struct context_call, work);

	call->fn(call->arg);
}

static void call_in_rcu_callback(struct rcu_head *rcu)
{
	struct context_call *call = container_of(rcu, struct context_call, rcu);

	call->fn(call->arg);
	complete(&call->done);
}

static void call_in_context(enum ioasid_test_context context, void (*fn)(void *arg), void *arg)
{
	struct context_call call = { .fn = fn, .arg = arg };
	unsigned long flags;

	switch (context) {
	case IOASID_TEST_IRQS_OFF:
		local_irq_save(flags);
		fn(arg);
		local_irq_restore(flags);
		break;
	case IOASID_TEST_HARDIRQ:
		init_irq_work(&call.work, call_in_irq_work);
		irq_work_queue(&call.work);
		irq_work_sync(&call.work);
		break;
	case IOASID_TEST_RCU_CALLBACK:
		init_completion(&call.done);
		init_rcu_head_on_stack(&call.rcu);
		call_rcu(&call.rcu, call_in_rcu_callback);
		wait_for_completion(&call.done);
		destroy_rcu_head_on_stack(&call.rcu);
		break;
	default:
		fn(arg);
	}
}

static void ioasid_free_fn(void *arg)
{
	ioasid_free(*(ioasid_t *)arg);
}

struct reference_call {
	struct ioasid_set *set;
	ioasid_t id;
	int error;
	bool freed;
};

static void ioasid_get_fn(void *arg)
{
	struct reference_call *call = arg;

	call->error = ioasid_get(call->set, call->id);
}

static void ioasid_put_fn(void *arg)
{
	struct reference_call *call = arg;

	call->freed = ioasid_put(call->id);
}

static void global_free_fn(void *arg)
{
	iommu_free_global_pasid(*(ioasid_t *)arg);
}

/*
 * The IDs of an open file. An IDA holds 31 bits, IOASIDs have 32: the top bit
 * selects one of two.
 */
struct id_bag {
	struct ida ida[2];
};

static void bag_init(struct id_bag *bag)
{
	ida_init(&bag->ida[0]);
	ida_init(&bag->ida[1]);
}

/* -ENOSPC if it is there already */
static int bag_add(struct id_bag *bag, ioasid_t id)
{
	int ret = ida_alloc_range(&bag->ida[id >> 31], id & INT_MAX, id & INT_MAX, GFP_KERNEL);

	return ret < 0 ? ret : 0;
}

static bool bag_has(struct id_bag *bag, ioasid_t id)
{
	return ida_exists(&bag->ida[id >> 31], id & INT_MAX);
}

static void bag_remove(struct id_bag *bag, ioasid_t id)
{
	ida_free(&bag->ida[id >> 31], id & INT_MAX);
}

static bool bag_first(struct id_bag *bag, ioasid_t *id)
{
	unsigned int half;
	int ret;

	for (half = 0; half < 2; half++) {
		ret = ida_find_first(&bag->ida[half]);
		if (ret >= 0) {
			*id = (half << 31) | ret;
			return true;
		}
	}
	return false;
}

/* Serialises changes by all files: none meets an ID that another is making or freeing */
static DEFINE_MUTEX(change_lock);

struct ioasid_state {
	struct id_bag held;	/* from ioasid_alloc() */
	struct xarray extra;	/* more references to held IDs: how many */
	struct id_bag global;	/* from iommu_alloc_global_pasid() */
	bool custom[IOASID_TEST_NR_CUSTOM];
	bool quota_changed[IOASID_TEST_NR_SETS];
};

/* Custom allocators. One file at a time may register each. */

/* An ID whose way back to the allocator takes long */
struct slow_free {
	ioasid_t id;
	u32 ms;
	bool left;
	struct completion entered;
};

struct custom_allocator {
	struct ioasid_allocator_ops ops;
	struct ida ids;
	u32 answer;
	atomic_t allocs;
	atomic_t frees;
	ioasid_t last_freed;
	struct slow_free *slow;
};

static ioasid_t custom_alloc(ioasid_t min, ioasid_t max, void *data)
{
	struct custom_allocator *custom = data;
	int id;

	atomic_inc(&custom->allocs);
	if (custom->answer != IOASID_TEST_CUSTOM_HONEST)
		return custom->answer;
	id = ida_alloc_range(&custom->ids, max(min, 2), min(max, INT_MAX), GFP_KERNEL);
	return id < 0 ? INVALID_IOASID : id;
}

static void custom_free(ioasid_t id, void *data)
{
	struct custom_allocator *custom = data;
	struct slow_free *slow = READ_ONCE(custom->slow);

	atomic_inc(&custom->frees);
	WRITE_ONCE(custom->last_freed, id);
	if (id <= INT_MAX && ida_exists(&custom->ids, id))
		ida_free(&custom->ids, id);
	if (slow && slow->id == id) {
		complete(&slow->entered);
		mdelay(slow->ms);
		WRITE_ONCE(slow->left, true);
	}
}

static ioasid_t other_custom_alloc(ioasid_t min, ioasid_t max, void *data)
{
	return custom_alloc(min, max, data);
}

static void other_custom_free(ioasid_t id, void *data)
{
	custom_free(id, data);
}

static DEFINE_MUTEX(custom_lock);
static struct custom_allocator customs[IOASID_TEST_NR_CUSTOM] = {
	{ .ops = { .alloc = custom_alloc, .free = custom_free, .pdata = &customs[0] } },
	{ .ops = { .alloc = custom_alloc, .free = custom_free, .pdata = &customs[1] } },
	{ .ops = { .alloc = other_custom_alloc, .free = other_custom_free,
		   .pdata = &customs[2] } },
};

static int custom_init(void)
{
	unsigned int i;

	for (i = 0; i < IOASID_TEST_NR_CUSTOM; i++)
		ida_init(&customs[i].ids);
	return 0;
}

static void custom_unregister(struct ioasid_state *state, u32 which)
{
	if (!state->custom[which])
		return;
	ioasid_unregister_allocator(&customs[which].ops);
	ida_destroy(&customs[which].ids);
	state->custom[which] = false;
}

static int custom_register(struct ioasid_state *state, u32 which)
{
	struct custom_allocator *custom = &customs[which];
	int ret = ioasid_register_allocator(&custom->ops);

	if (ret)
		return ret;
	state->custom[which] = true;
	custom->answer = IOASID_TEST_CUSTOM_HONEST;
	atomic_set(&custom->allocs, 0);
	atomic_set(&custom->frees, 0);
	custom->last_freed = INVALID_IOASID;
	return 0;
}

static void *ioasid_state_open(void)
{
	struct ioasid_state *state = kzalloc_obj(*state);

	if (!state)
		return ERR_PTR(-ENOMEM);
	bag_init(&state->held);
	xa_init(&state->extra);
	bag_init(&state->global);
	return state;
}

static unsigned long extra_refs(struct ioasid_state *state, ioasid_t id)
{
	void *entry = xa_load(&state->extra, id);

	return entry ? xa_to_value(entry) : 0;
}

/* Never needs memory to count down */
static int set_extra_refs(struct ioasid_state *state, ioasid_t id, unsigned long count)
{
	if (!count) {
		xa_erase_irq(&state->extra, id);
		return 0;
	}
	return xa_err(xa_store_irq(&state->extra, id, xa_mk_value(count), GFP_KERNEL));
}

/* Forgets one reference; true if it is the last one */
static bool forget_ref(struct ioasid_state *state, ioasid_t id)
{
	unsigned long extra = extra_refs(state, id);

	if (extra) {
		set_extra_refs(state, id, extra - 1);
		return false;
	}
	bag_remove(&state->held, id);
	return true;
}

/* The ID's own reference to its object, after this file dropped its last one to the ID */
static void object_put_freed(struct test_object *obj, ioasid_t id)
{
	if (IS_ERR_OR_NULL(obj))
		return;
	/* While somebody else has a reference, the ID and its object can be found */
	while (ioasid_find(NULL, id, NULL) == obj)
		cond_resched();
	object_put(obj);
}

/* Nobody else changes an ID that this file holds, so its object stays until then */
static void free_held(struct ioasid_state *state, ioasid_t id, enum ioasid_test_context context)
{
	struct test_object *obj = ioasid_find(NULL, id, NULL);
	bool last = forget_ref(state, id);

	call_in_context(context, ioasid_free_fn, &id);
	if (last)
		object_put_freed(obj, id);
}

static void drain(struct ioasid_state *state)
{
	ioasid_t id;

	while (bag_first(&state->held, &id)) {
		free_held(state, id, IOASID_TEST_TASK);
		cond_resched();
	}
	while (bag_first(&state->global, &id)) {
		bag_remove(&state->global, id);
		iommu_free_global_pasid(id);
	}
}

static void ioasid_state_release(void *data)
{
	struct ioasid_state *state = data;
	u32 i;

	mutex_lock(&change_lock);
	drain(state);
	mutex_unlock(&change_lock);
	mutex_lock(&custom_lock);
	for (i = 0; i < IOASID_TEST_NR_CUSTOM; i++)
		custom_unregister(state, i);
	mutex_unlock(&custom_lock);
	for (i = 0; i < IOASID_TEST_NR_SETS; i++)
		if (state->quota_changed[i])
			WRITE_ONCE(sets[i]->quota, 0);
	kfree(state);
}

static int test_alloc(struct ioasid_state *state, struct ioasid_test_alloc *args)
{
	struct test_object *obj = NULL;
	int ret;

	if (args->set >= IOASID_TEST_NR_SETS)
		return -EINVAL;
	if (args->token) {
		obj = object_new(sets[args->set], args->token);
		if (!obj)
			return -ENOMEM;
	}

	args->id = ioasid_alloc(sets[args->set], args->min, args->max, obj);
	if (args->id == INVALID_IOASID) {
		object_put(obj);
		return 0;
	}
	if (obj)
		WRITE_ONCE(obj->id, args->id);
	ret = bag_add(&state->held, args->id);
	if (ret == -ENOSPC) {
		/* The allocator gave an ID that this file holds: leave it to its holder */
		object_put(obj);
		return -EEXIST;
	}
	if (ret) {
		ioasid_free(args->id);
		object_put(obj);
	}
	return ret;
}

static int test_free(struct ioasid_state *state, struct ioasid_test_free *args)
{
	ioasid_t id = args->id;

	if (args->context >= IOASID_TEST_NR_CONTEXTS)
		return -EINVAL;
	if (bag_has(&state->held, id)) {
		free_held(state, id, args->context);
		return 0;
	}
	if (bag_has(&state->global, id)) {
		bag_remove(&state->global, id);
		call_in_context(args->context, global_free_fn, &id);
		return 0;
	}
	if (ioasid_find(NULL, id, NULL) != ERR_PTR(-ENOENT))
		return -EPERM;
	if (!args->unknown)
		return -ENOENT;
	call_in_context(args->context, ioasid_free_fn, &id);
	return 0;
}

static void find_fn(void *arg)
{
	static bool (*const getters[])(void *) = {
		[IOASID_TEST_NO_GETTER] = NULL,
		[IOASID_TEST_GETTER_TAKES] = object_getter,
		[IOASID_TEST_GETTER_REFUSES] = refusing_getter,
	};
	struct ioasid_test_find *args = arg;
	struct ioasid_set *set = args->set == IOASID_TEST_ANY_SET ? NULL : sets[args->set];
	bool taken = args->getter == IOASID_TEST_GETTER_TAKES;
	struct test_object *obj;

	args->error = 0;
	args->token = 0;
	rcu_read_lock();
	obj = ioasid_find(set, args->id, getters[args->getter]);
	if (taken)
		rcu_read_unlock();
	if (IS_ERR(obj))
		args->error = PTR_ERR(obj);
	else if (obj)
		args->token = obj->token;
	if (taken && !IS_ERR(obj))
		object_put(obj);
	if (!taken)
		rcu_read_unlock();
}

static int test_find(struct ioasid_state *state, struct ioasid_test_find *args)
{
	if ((args->set >= IOASID_TEST_NR_SETS && args->set != IOASID_TEST_ANY_SET) ||
	    args->getter >= IOASID_TEST_NR_GETTERS || args->context >= IOASID_TEST_NR_CONTEXTS)
		return -EINVAL;
	call_in_context(args->context, find_fn, args);
	return 0;
}

/* A reader that found the old object and lingers in its RCU section */
struct lingering_reader {
	ioasid_t id;
	u32 ms;
	bool left;
	struct completion entered;
};

static int lingering_reader_fn(void *arg)
{
	struct lingering_reader *reader = arg;

	rcu_read_lock();
	ioasid_find(NULL, reader->id, NULL);
	complete(&reader->entered);
	mdelay(reader->ms);
	WRITE_ONCE(reader->left, true);
	rcu_read_unlock();
	while (!kthread_should_stop())
		schedule_timeout_interruptible(1);
	return 0;
}

static int test_set_data(struct ioasid_state *state, struct ioasid_test_set_data *args)
{
	struct lingering_reader reader = { .id = args->id, .ms = args->reader_ms };
	struct test_object *old, *new = NULL;
	struct task_struct *task = NULL;
	int ret = 0;

	if (args->reader_ms > MSEC_PER_SEC)
		return -EINVAL;
	old = ioasid_find(NULL, args->id, NULL);
	if (!bag_has(&state->held, args->id) && old != ERR_PTR(-ENOENT))
		return -EPERM;
	if (args->token) {
		new = object_new(IS_ERR_OR_NULL(old) ? NULL : old->set, args->token);
		if (!new)
			return -ENOMEM;
		new->id = args->id;
	}
	if (args->reader_ms) {
		init_completion(&reader.entered);
		task = kthread_run(lingering_reader_fn, &reader, "ioasid_reader");
		if (IS_ERR(task)) {
			object_put(new);
			return PTR_ERR(task);
		}
		wait_for_completion(&reader.entered);
	}

	args->error = ioasid_set_data(args->id, new);
	args->returned_early = task && !READ_ONCE(reader.left);

	if (task)
		kthread_stop(task);
	if (args->error)
		object_put(new);
	else if (!IS_ERR(old))
		object_put_replaced(old);
	return ret;
}

static int test_fill(struct ioasid_state *state, struct ioasid_test_fill *args)
{
	ioasid_t id;
	int ret;

	if (args->set >= IOASID_TEST_NR_SETS)
		return -EINVAL;

	args->count = 0;
	args->bad = 0;
	while ((id = ioasid_alloc(sets[args->set], args->min, args->max, NULL)) != INVALID_IOASID) {
		args->count++;
		ret = bag_add(&state->held, id);
		if (ret == -ENOMEM) {
			ioasid_free(id);
			return ret;
		}
		if (ret || id < args->min || id > args->max)
			args->bad++;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return 0;
}

static int test_get(struct ioasid_state *state, struct ioasid_test_ref *args)
{
	struct reference_call call = { .id = args->id };
	int ret;

	if (args->context >= IOASID_TEST_NR_CONTEXTS)
		return -EINVAL;
	if (args->set < IOASID_TEST_NR_SETS)
		call.set = sets[args->set];
	else if (args->set != IOASID_TEST_ANY_SET)
		return -EINVAL;

	call_in_context(args->context, ioasid_get_fn, &call);
	args->error = call.error;
	if (args->error)
		return 0;
	ret = -EPERM;
	if (bag_has(&state->held, args->id))
		ret = set_extra_refs(state, args->id, extra_refs(state, args->id) + 1);
	if (ret)
		ioasid_free(args->id);
	return ret;
}

static int test_put(struct ioasid_state *state, struct ioasid_test_ref *args)
{
	struct reference_call call = { .id = args->id };
	struct test_object *obj;
	bool last = false;

	if (args->context >= IOASID_TEST_NR_CONTEXTS)
		return -EINVAL;
	obj = ioasid_find(NULL, args->id, NULL);
	if (bag_has(&state->held, args->id))
		last = forget_ref(state, args->id);
	else if (obj != ERR_PTR(-ENOENT))
		return -EPERM;

	/* An unknown one will WARN */
	call_in_context(args->context, ioasid_put_fn, &call);
	args->freed = call.freed;
	if (last)
		object_put_freed(obj, args->id);
	return 0;
}

static int test_set(struct ioasid_state *state, struct ioasid_test_set *args)
{
	struct ioasid_set *set;

	if (args->set >= IOASID_TEST_NR_SETS)
		return -EINVAL;
	set = sets[args->set];
	if (args->change) {
		state->quota_changed[args->set] = true;
		WRITE_ONCE(set->quota, args->quota);
	}
	args->quota = READ_ONCE(set->quota);
	args->count = READ_ONCE(set->count);
	args->peak = READ_ONCE(set->peak);
	return 0;
}

static int slow_free_fn(void *arg)
{
	struct slow_free *slow = arg;

	ioasid_free(slow->id);
	complete(&slow->entered);	/* even if nobody was called */
	while (!kthread_should_stop())
		schedule_timeout_interruptible(1);
	return 0;
}

/* Unregisters an allocator that is taking back an ID of this file */
static int custom_unregister_busy(struct ioasid_state *state, struct ioasid_test_custom *args)
{
	struct slow_free slow = { .id = args->id, .ms = args->busy_ms };
	struct custom_allocator *custom = &customs[args->which];
	struct task_struct *task;
	struct test_object *obj;

	if (args->busy_ms > MSEC_PER_SEC || !bag_has(&state->held, args->id) ||
	    extra_refs(state, args->id))
		return -EINVAL;
	init_completion(&slow.entered);
	task = kthread_create(slow_free_fn, &slow, "ioasid_free");
	if (IS_ERR(task))
		return PTR_ERR(task);

	obj = ioasid_find(NULL, args->id, NULL);
	forget_ref(state, args->id);
	WRITE_ONCE(custom->slow, &slow);
	wake_up_process(task);
	wait_for_completion(&slow.entered);
	custom_unregister(state, args->which);
	args->returned_early = !READ_ONCE(slow.left);

	kthread_stop(task);
	WRITE_ONCE(custom->slow, NULL);
	object_put_freed(obj, args->id);
	return 0;
}

static int custom_act(struct ioasid_state *state, struct ioasid_test_custom *args)
{
	if (args->action == IOASID_TEST_CUSTOM_REGISTER) {
		args->error = custom_register(state, args->which);
		return 0;
	}
	if (!state->custom[args->which])
		return -ENOENT;
	if (args->action == IOASID_TEST_CUSTOM_ANSWER)
		customs[args->which].answer = args->answer;
	if (args->action == IOASID_TEST_CUSTOM_UNREGISTER) {
		if (args->busy_ms)
			return custom_unregister_busy(state, args);
		custom_unregister(state, args->which);
	}
	return 0;
}

static int test_custom(struct ioasid_state *state, struct ioasid_test_custom *args)
{
	struct custom_allocator *custom;
	int ret;

	if (args->which >= IOASID_TEST_NR_CUSTOM || args->action > IOASID_TEST_CUSTOM_ANSWER)
		return -EINVAL;

	guard(mutex)(&custom_lock);
	custom = &customs[args->which];
	args->error = 0;
	args->returned_early = 0;
	ret = custom_act(state, args);
	args->allocs = atomic_read(&custom->allocs);
	args->frees = atomic_read(&custom->frees);
	args->last_freed = custom->last_freed;
	return ret;
}

static int test_global(struct ioasid_state *state, struct ioasid_test_global *args)
{
	struct pci_dev *pdev;
	int ret = -ENODEV;

	pdev = pci_get_domain_bus_and_slot(args->segment, args->bus, args->devfn);
	if (!pdev)
		return -ENODEV;

	/* The group is stable while a driver is bound */
	device_lock(&pdev->dev);
	if (!pdev->dev.driver || !device_iommu_mapped(&pdev->dev))
		goto unlock;

	ret = 0;
	args->max_pasids = pdev->dev.iommu->max_pasids;
	args->id = iommu_alloc_global_pasid(&pdev->dev);
	if (args->id == IOMMU_PASID_INVALID)
		goto unlock;
	ret = bag_add(&state->global, args->id);
	if (ret)
		iommu_free_global_pasid(args->id);
unlock:
	device_unlock(&pdev->dev);
	pci_dev_put(pdev);
	return ret;
}

/* Stress */

#define STRESS_IDS_PER_THREAD	48

struct stress {
	ioasid_t min;
	ioasid_t max;
	atomic_t *holder;	/* per ID: number of the thread that holds it, or 0 */
};

struct stress_thread {
	struct stress *stress;
	struct task_struct *task;
	int nr;
	struct rnd_state rnd;
	unsigned int held;
	ioasid_t ids[STRESS_IDS_PER_THREAD];
	struct test_object *objs[STRESS_IDS_PER_THREAD];
	struct ioasid_test_stress count;
};

static u32 stress_below(struct stress_thread *t, u32 limit)
{
	return prandom_u32_state(&t->rnd) % limit;
}

static atomic_t *stress_holder(struct stress_thread *t, ioasid_t id)
{
	return &t->stress->holder[id - t->stress->min];
}

static void stress_alloc(struct stress_thread *t)
{
	struct ioasid_set *set = sets[stress_below(t, IOASID_TEST_NR_SETS)];
	struct stress *s = t->stress;
	struct test_object *obj;
	ioasid_t id;

	if (t->held == STRESS_IDS_PER_THREAD)
		return;
	obj = object_new(set, t->nr);
	if (!obj)
		return;

	id = ioasid_alloc(set, s->min, s->max, obj);
	if (id == INVALID_IOASID) {
		t->count.full++;
		object_put(obj);
		return;
	}
	WRITE_ONCE(obj->id, id);
	t->count.allocs++;
	if (id < s->min || id > s->max) {
		t->count.unexpected++;
		return;
	}
	if (atomic_cmpxchg(stress_holder(t, id), 0, t->nr)) {
		t->count.double_holders++;
		return;
	}
	t->ids[t->held] = id;
	t->objs[t->held++] = obj;
}

static void stress_free(struct stress_thread *t)
{
	enum ioasid_test_context context = IOASID_TEST_TASK;
	struct test_object *obj;
	unsigned int i;
	ioasid_t id;

	if (!t->held)
		return;
	if (!stress_below(t, 8))
		context = stress_below(t, 2) ? IOASID_TEST_HARDIRQ : IOASID_TEST_IRQS_OFF;

	i = stress_below(t, t->held--);
	id = t->ids[i];
	obj = t->objs[i];
	t->ids[i] = t->ids[t->held];
	t->objs[i] = t->objs[t->held];

	if (atomic_xchg(stress_holder(t, id), 0) != t->nr)
		t->count.double_holders++;
	call_in_context(context, ioasid_free_fn, &id);
	object_put_freed(obj, id);
}

static void stress_set_data(struct stress_thread *t)
{
	struct test_object *new;
	unsigned int i;

	if (!t->held)
		return;
	i = stress_below(t, t->held);
	new = object_new(t->objs[i]->set, t->nr);
	if (!new)
		return;

	new->id = t->ids[i];
	if (ioasid_set_data(t->ids[i], new)) {
		t->count.unexpected++;
		object_put(new);
		return;
	}
	t->count.replaced++;
	object_put_replaced(t->objs[i]);
	t->objs[i] = new;
}

/* What was found must be alive, and be what was asked for */
static void stress_check(struct stress_thread *t, struct test_object *obj,
			 struct ioasid_set *set, ioasid_t id)
{
	ioasid_t obj_id = READ_ONCE(obj->id);

	if (READ_ONCE(obj->magic) != OBJECT_ALIVE)
		t->count.stale++;
	else if ((obj_id != id && obj_id != INVALID_IOASID) || (set && obj->set != set))
		t->count.mixed++;
}

static void stress_find(struct stress_thread *t)
{
	ioasid_t id = t->stress->min + stress_below(t, t->stress->max - t->stress->min + 1);
	unsigned int pick = stress_below(t, IOASID_TEST_NR_SETS + 1);
	struct ioasid_set *set = pick < IOASID_TEST_NR_SETS ? sets[pick] : NULL;
	bool take = stress_below(t, 2);
	struct test_object *obj;

	rcu_read_lock();
	obj = ioasid_find(set, id, take ? object_getter : NULL);
	if (take)
		rcu_read_unlock();
	if (!IS_ERR_OR_NULL(obj)) {
		t->count.finds++;
		stress_check(t, obj, set, id);
		udelay(stress_below(t, 20));
		stress_check(t, obj, set, id);
		if (take)
			object_put(obj);
	} else if (!obj ? !take : obj != ERR_PTR(-ENOENT) && !(set && obj == ERR_PTR(-EACCES))) {
		t->count.unexpected++;
	}
	if (!take)
		rcu_read_unlock();
}

/* While there is a reference the ID does not go, nor to another holder */
static void stress_get(struct stress_thread *t)
{
	ioasid_t id = t->stress->min + stress_below(t, t->stress->max - t->stress->min + 1);
	struct ioasid_set *set = sets[stress_below(t, IOASID_TEST_NR_SETS)];
	struct test_object *obj;
	unsigned int i;
	int ret;

	ret = ioasid_get(set, id);
	if (ret) {
		if (ret != -ENOENT && ret != -EACCES)
			t->count.unexpected++;
		return;
	}
	t->count.gets++;
	for (i = 0; i < 2; i++) {
		rcu_read_lock();
		obj = ioasid_find(set, id, NULL);
		if (IS_ERR_OR_NULL(obj))
			t->count.unexpected++;
		else
			stress_check(t, obj, set, id);
		rcu_read_unlock();
		udelay(stress_below(t, 20));
	}
	ioasid_put(id);
}

/* An ID that this thread holds cannot be anything else than this */
static void stress_find_own(struct stress_thread *t)
{
	struct ioasid_set *set;
	void *expected;
	unsigned int i;

	if (!t->held)
		return;
	i = stress_below(t, t->held);
	set = sets[stress_below(t, IOASID_TEST_NR_SETS)];
	expected = set == t->objs[i]->set ? t->objs[i] : ERR_PTR(-EACCES);
	if (ioasid_find(set, t->ids[i], NULL) != expected ||
	    ioasid_find(NULL, t->ids[i], NULL) != t->objs[i])
		t->count.unexpected++;
}

static int stress_fn(void *arg)
{
	struct stress_thread *t = arg;

	while (!kthread_should_stop()) {
		u32 op = stress_below(t, 512);

		if (op == 0)
			stress_set_data(t);
		else if (op < 120)
			stress_alloc(t);
		else if (op < 220)
			stress_free(t);
		else if (op < 280)
			stress_find_own(t);
		else if (op < 330)
			stress_get(t);
		else
			stress_find(t);
		cond_resched();
	}
	while (t->held)
		stress_free(t);
	return 0;
}

static void stress_add(struct ioasid_test_stress *sum, const struct ioasid_test_stress *part)
{
	sum->allocs += part->allocs;
	sum->finds += part->finds;
	sum->gets += part->gets;
	sum->replaced += part->replaced;
	sum->full += part->full;
	sum->double_holders += part->double_holders;
	sum->stale += part->stale;
	sum->mixed += part->mixed;
	sum->unexpected += part->unexpected;
}

static int test_stress(struct ioasid_test_stress *args)
{
	struct stress stress = { .min = args->min, .max = args->max };
	struct stress_thread *threads;
	unsigned int started, i;
	u32 range;
	int ret = 0;

	if (!args->threads || args->threads > IOASID_TEST_MAX_THREADS || args->seconds > 3600 ||
	    args->min > args->max || args->max - args->min >= IOASID_TEST_MAX_RANGE)
		return -EINVAL;
	range = args->max - args->min + 1;
	stress.holder = vzalloc(array_size(range, sizeof(*stress.holder)));
	threads = vzalloc(array_size(args->threads, sizeof(*threads)));
	if (!stress.holder || !threads) {
		ret = -ENOMEM;
		goto free;
	}

	for (started = 0; started < args->threads; started++) {
		struct stress_thread *t = &threads[started];

		t->stress = &stress;
		t->nr = started + 1;
		prandom_seed_state(&t->rnd, t->nr);
		t->task = kthread_run(stress_fn, t, "ioasid_stress/%u", started);
		if (IS_ERR(t->task)) {
			ret = PTR_ERR(t->task);
			break;
		}
	}
	if (!ret && msleep_interruptible(args->seconds * MSEC_PER_SEC))
		ret = -EINTR;

	memset(&args->allocs, 0, sizeof(*args) - offsetof(struct ioasid_test_stress, allocs));
	for (i = 0; i < started; i++) {
		kthread_stop(threads[i].task);
		stress_add(args, &threads[i].count);
	}
	for (i = 0; i < range; i++)
		if (ioasid_find(NULL, stress.min + i, NULL) != ERR_PTR(-ENOENT))
			args->unexpected++;
free:
	vfree(threads);
	vfree(stress.holder);
	return ret;
}

union ioasid_args {
	struct ioasid_test_alloc alloc;
	struct ioasid_test_free free;
	struct ioasid_test_find find;
	struct ioasid_test_set_data set_data;
	struct ioasid_test_fill fill;
	struct ioasid_test_global global;
	struct ioasid_test_stress stress;
	struct ioasid_test_ref ref;
	struct ioasid_test_set set;
	struct ioasid_test_custom custom;
};

static int ioasid_change(struct ioasid_state *state, unsigned int cmd, union ioasid_args *args)
{
	switch (cmd) {
	case IOASID_TEST_ALLOC:
		return test_alloc(state, &args->alloc);
	case IOASID_TEST_FREE:
		return test_free(state, &args->free);
	case IOASID_TEST_SET_DATA:
		return test_set_data(state, &args->set_data);
	case IOASID_TEST_FILL:
		return test_fill(state, &args->fill);
	case IOASID_TEST_GLOBAL:
		return test_global(state, &args->global);
	case IOASID_TEST_GET:
		return test_get(state, &args->ref);
	case IOASID_TEST_PUT:
		return test_put(state, &args->ref);
	case IOASID_TEST_SET:
		return test_set(state, &args->set);
	case IOASID_TEST_CUSTOM:
		return test_custom(state, &args->custom);
	case IOASID_TEST_STRESS:
		return test_stress(&args->stress);
	case IOASID_TEST_DRAIN:
		drain(state);
		return 0;
	default:
		return -ENOTTY;
	}
}

static long ioasid_state_ioctl(void *data, unsigned int cmd, void __user *arg)
{
	struct ioasid_state *state = data;
	union ioasid_args args;
	int ret;

	if (_IOC_SIZE(cmd) > sizeof(args))
		return -ENOTTY;
	if (copy_from_user(&args, arg, _IOC_SIZE(cmd)))
		return -EFAULT;

	if (cmd == IOASID_TEST_FIND) {
		ret = test_find(state, &args.find);
	} else {
		mutex_lock(&change_lock);
		ret = ioasid_change(state, cmd, &args);
		mutex_unlock(&change_lock);
	}

	if (!ret && (_IOC_DIR(cmd) & _IOC_READ) && copy_to_user(arg, &args, _IOC_SIZE(cmd)))
		return -EFAULT;
	return ret;
}

static void ioasid_exit(void)
{
	rcu_barrier();	/* object_free_rcu() */
}

const struct ext_test_group ext_test_ioasid = {
	.type = IOMMU_EXT_TEST_IOASID,
	.init = custom_init,
	.exit = ioasid_exit,
	.open = ioasid_state_open,
	.release = ioasid_state_release,
	.ioctl = ioasid_state_ioctl,
};
