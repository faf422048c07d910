// SPDX-License-Identifier: GPL-2.0
#include <linux/slab.h>

#include "ioasid_xa.h"

/*
 * Index: upper bits of an ID. Entry: the chunk of entries for these IDs. A slot
 * has XA_FREE_MARK if it is empty or its chunk may have a free ID.
 */
DEFINE_XARRAY_FLAGS(ioasid_xa, XA_FLAGS_LOCK_IRQ | XA_FLAGS_ALLOC);

/* Protects the list and what is called through it, except for freeing. */
DEFINE_MUTEX(ioasid_allocator_mutex);
LIST_HEAD(ioasid_allocators);

/* IDs for SVA and for drivers that use iommu_alloc_global_pasid(). */
DECLARE_IOASID_SET(iommu_global_pasids);

static struct kmem_cache *ioasid_chunk_cache;
static DEFINE_MUTEX(ioasid_chunk_cache_mutex);

/* There is no initcall that would come early enough to do this. */
static struct kmem_cache *ioasid_get_chunk_cache(size_t size)
{
	struct kmem_cache *cache;

	/* Pairs with the release below: whoever sees the cache sees it complete. */
	cache = smp_load_acquire(&ioasid_chunk_cache);
	if (cache)
		return cache;

	guard(mutex)(&ioasid_chunk_cache_mutex);
	cache = ioasid_chunk_cache;
	if (!cache) {
		cache = kmem_cache_create("ioasid_chunk", size, 0, 0, NULL);
		/* Pairs with the acquire above. */
		smp_store_release(&ioasid_chunk_cache, cache);
	}
	return cache;
}

/*
 * Memory for a chunk; all chunks have the same size. May sleep. To be freed by
 * kfree() or kvfree_call_rcu().
 */
void *ioasid_xa_alloc_chunk(size_t size)
{
	struct kmem_cache *cache = ioasid_get_chunk_cache(size);

	return cache ? kmem_cache_alloc(cache, GFP_KERNEL) : NULL;
}

/*
 * Puts a chunk with free IDs into an empty slot. The lock is held, but released
 * and taken again in between if memory is needed. May sleep.
 * Return: 0, -EBUSY if the slot is not empty, -ENOMEM.
 */
int ioasid_xa_insert(unsigned long index, void *chunk)
	__must_hold(&ioasid_xa.xa_lock)
{
	int ret = __xa_insert(&ioasid_xa, index, chunk, GFP_KERNEL);

	if (!ret)
		__xa_set_mark(&ioasid_xa, index, XA_FREE_MARK);
	return ret;
}

/* Says whether the chunk of a slot is known to be full. The lock is held. */
void ioasid_xa_hide(unsigned long index, bool hidden)
	__must_hold(&ioasid_xa.xa_lock)
{
	if (hidden)
		__xa_clear_mark(&ioasid_xa, index, XA_FREE_MARK);
	else
		__xa_set_mark(&ioasid_xa, index, XA_FREE_MARK);
}

/*
 * Looks for a slot that is empty or has a chunk that may have free IDs. The lock
 * is held.
 * Return: its index, above @to if there is none; its entry in @chunk.
 */
unsigned long ioasid_xa_first_free(unsigned long from, unsigned long to,
				   void **chunk)
	__must_hold(&ioasid_xa.xa_lock)
{
	XA_STATE(xas, &ioasid_xa, from);

	*chunk = xas_find_marked(&xas, to, XA_FREE_MARK);
	return xas.xa_index;
}

/* Both are called with the mutex held. */
void ioasid_allocators_add(struct ioasid_allocator_ops *ops)
{
	list_add(&ops->list, &ioasid_allocators);
}

void ioasid_allocators_del(struct ioasid_allocator_ops *ops)
{
	list_del(&ops->list);
}
