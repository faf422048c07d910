/* SPDX-License-Identifier: GPL-2.0 */
/*
 * I/O address-space IDs: one global space of PASIDs, split into sets.
 *
 * The allocator is written in Rust (drivers/iommu/ext/ioasid.rs). See
 * Documentation/driver-api/iommu-ext/ioasid.rst for how to use it.
 */
#ifndef _LINUX_IOASID_H
#define _LINUX_IOASID_H

#include <linux/errno.h>
#include <linux/iommu.h>
#include <linux/types.h>

/**
 * INVALID_IOASID - no ID
 *
 * What ioasid_alloc() returns when it fails. Never handed out.
 */
#define INVALID_IOASID ((ioasid_t)-1)

/**
 * IOASID_DMA_KERNEL - the PASID of the kernel's own DMA
 *
 * Reserved: never handed out by ioasid_alloc() and unknown to all other calls.
 */
#define IOASID_DMA_KERNEL 1

/**
 * struct ioasid_set - IDs that belong together
 * @name: what debugfs and tracepoints call the set
 * @quota: at most this many IDs at a time, 0 for no limit. May be changed at
 *         any time with WRITE_ONCE(); a quota below @count frees nothing, it
 *         only makes further allocations fail.
 * @count: IDs of the set that are allocated now. Read with READ_ONCE().
 * @peak: the highest @count ever was. Read with READ_ONCE().
 *
 * Only its address identifies a set. It must stay valid as long as it has IDs;
 * others may hold references to them. A module waits until @count is 0 before
 * it goes.
 */
struct ioasid_set {
	const char *name;
	u32 quota;
	u32 count;
	u32 peak;
};

/**
 * DECLARE_IOASID_SET() - define an empty set without quota
 * @_name: name of the variable, and of the set
 *
 * May be preceded by static.
 */
#define DECLARE_IOASID_SET(_name) \
	struct ioasid_set _name = { .name = #_name }

/**
 * struct ioasid_allocator_ops - where IDs come from instead of the kernel
 * @alloc: returns an ID in [@min, @max] that is neither in use nor reserved, or
 *         %INVALID_IOASID. Called with a mutex held: it may sleep, but not
 *         allocate an ID, nor register or unregister an allocator.
 * @free: takes an ID back. Called from whatever context frees the ID: it must
 *        not sleep.
 * @list: for the kernel's use while registered
 * @pdata: passed to both functions as data
 *
 * Allocators whose two functions are the same share one space of IDs, and each
 * of them may be asked to take back what another one gave.
 */
struct ioasid_allocator_ops {
	ioasid_t (*alloc)(ioasid_t min, ioasid_t max, void *data);
	void (*free)(ioasid_t ioasid, void *data);
	struct list_head list;
	void *pdata;
};

#ifdef CONFIG_IOASID

/**
 * ioasid_alloc() - allocate an ID
 * @set: the set it will belong to; NULL for none
 * @min: the lowest ID that will do
 * @max: the highest ID that will do
 * @private: its data, for ioasid_find()
 *
 * Context: May sleep.
 * Return: The lowest free ID in [@min, @max], or the one that a custom
 * allocator chose, with one reference. %INVALID_IOASID if @min is above @max,
 * if nothing is free in between, if the quota of @set is used up, if the custom
 * allocator has none or gives one that will not do, or without memory. 0 and
 * %IOASID_DMA_KERNEL are never free.
 */
ioasid_t ioasid_alloc(struct ioasid_set *set, ioasid_t min, ioasid_t max,
		      void *private);

/**
 * ioasid_free() - drop a reference to an ID
 * @ioasid: the ID
 *
 * As ioasid_put(), for those who need no answer.
 *
 * Context: Any but NMI. Takes a spinlock, which sleeps on PREEMPT_RT.
 */
void ioasid_free(ioasid_t ioasid);

/**
 * ioasid_find() - look up the data of an ID
 * @set: the set it must belong to; NULL for any
 * @ioasid: the ID
 * @getter: called with the data under RCU, to take a reference on it; may
 *          refuse. NULL for none: then the data is good only in the caller's
 *          own RCU read-side critical section.
 *
 * Context: Any but NMI.
 * Return: The data; NULL if there is none or @getter refused it;
 * ERR_PTR(-ENOENT) if nobody holds the ID; ERR_PTR(-EACCES) if it belongs to
 * another set.
 */
void *ioasid_find(struct ioasid_set *set, ioasid_t ioasid,
		  bool (*getter)(void *));

/**
 * ioasid_set_data() - replace the data of an ID
 * @ioasid: the ID
 * @data: the new data; may be NULL
 *
 * When this returns, ioasid_find() in an RCU read-side critical section that
 * returned the old data is over: it may be freed.
 *
 * Context: May sleep.
 * Return: 0, or -ENOENT if nobody holds the ID.
 */
int ioasid_set_data(ioasid_t ioasid, void *data);

/**
 * ioasid_get() - add a reference to an ID
 * @set: the set it must belong to; NULL for any
 * @ioasid: the ID
 *
 * Context: Any but NMI.
 * Return: 0; -ENOENT if nobody holds the ID; -EACCES if it belongs to another
 * set; -EOVERFLOW if it has too many references already.
 */
int ioasid_get(struct ioasid_set *set, ioasid_t ioasid);

/**
 * ioasid_put() - drop a reference to an ID
 * @ioasid: the ID
 *
 * The last reference frees it. Without any, this warns and does nothing.
 *
 * Context: Any but NMI. Takes a spinlock, which sleeps on PREEMPT_RT.
 * Return: true if the ID is free now.
 */
bool ioasid_put(ioasid_t ioasid);

/**
 * ioasid_register_allocator() - have IDs chosen by someone else
 * @ops: who; valid until unregistered
 *
 * From now on @ops is asked for each ID, before any that was registered earlier.
 *
 * Context: May sleep.
 * Return: 0; -EINVAL if a function is missing; -EEXIST if @ops is registered
 * already; -EBUSY if there are IDs, unless they come from an allocator with the
 * same two functions.
 */
int ioasid_register_allocator(struct ioasid_allocator_ops *ops);

/**
 * ioasid_unregister_allocator() - undo ioasid_register_allocator()
 * @ops: who
 *
 * There should be no IDs. If there are, and the allocator that takes over has
 * not the same two functions, this warns; they stay valid, but nobody takes
 * them back when they are freed. When this returns, no callback of @ops runs any more.
 *
 * Context: May sleep.
 */
void ioasid_unregister_allocator(struct ioasid_allocator_ops *ops);

#else /* !CONFIG_IOASID */

static inline ioasid_t ioasid_alloc(struct ioasid_set *set, ioasid_t min,
				    ioasid_t max, void *private)
{
	return INVALID_IOASID;
}

static inline void ioasid_free(ioasid_t ioasid)
{
}

static inline void *ioasid_find(struct ioasid_set *set, ioasid_t ioasid,
				bool (*getter)(void *))
{
	return NULL;
}

static inline int ioasid_set_data(ioasid_t ioasid, void *data)
{
	return -ENODEV;
}

static inline int ioasid_get(struct ioasid_set *set, ioasid_t ioasid)
{
	return -ENODEV;
}

static inline bool ioasid_put(ioasid_t ioasid)
{
	return false;
}

static inline int ioasid_register_allocator(struct ioasid_allocator_ops *ops)
{
	return -ENODEV;
}

static inline void ioasid_unregister_allocator(struct ioasid_allocator_ops *ops)
{
}

#endif /* CONFIG_IOASID */

#endif /* _LINUX_IOASID_H */
