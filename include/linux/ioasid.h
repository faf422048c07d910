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
 * Only its address identifies a set. It must stay valid as long as it has IDs.
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
 * @alloc: returns an ID in [@min, @max] that is not in use, or INVALID_IOASID.
 *         Called with a mutex held: it may sleep, but not allocate an ID, nor
 *         register or unregister an allocator.
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

#if IS_ENABLED(CONFIG_IOASID)

ioasid_t ioasid_alloc(struct ioasid_set *set, ioasid_t min, ioasid_t max,
		      void *private);
void ioasid_free(ioasid_t ioasid);
void *ioasid_find(struct ioasid_set *set, ioasid_t ioasid,
		  bool (*getter)(void *));
int ioasid_set_data(ioasid_t ioasid, void *data);
int ioasid_get(struct ioasid_set *set, ioasid_t ioasid);
bool ioasid_put(ioasid_t ioasid);
int ioasid_register_allocator(struct ioasid_allocator_ops *ops);
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
