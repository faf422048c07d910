/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the IOASID allocator, written in Rust, needs from C: its static objects
 * and the parts of the XArray that are macros. Chunks are opaque here.
 *
 * Lock order: ioasid_allocator_mutex, then the XArray's lock, which is taken in
 * any context but NMI.
 */
#ifndef _IOMMU_EXT_IOASID_XA_H
#define _IOMMU_EXT_IOASID_XA_H

#include <linux/ioasid.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/xarray.h>

extern struct xarray ioasid_xa;
extern struct mutex ioasid_allocator_mutex;
extern struct list_head ioasid_allocators;
extern struct ioasid_set iommu_global_pasids;

void *ioasid_xa_alloc_chunk(size_t size);
int ioasid_xa_insert(unsigned long index, void *chunk);
void ioasid_xa_hide(unsigned long index, bool hidden);
unsigned long ioasid_xa_first_free(unsigned long from, unsigned long to,
				   void **chunk);

void ioasid_allocators_add(struct ioasid_allocator_ops *ops);
void ioasid_allocators_del(struct ioasid_allocator_ops *ops);

struct seq_file;

s64 ioasid_debugfs_next(u32 from);
void ioasid_debugfs_show_head(struct seq_file *m);
void ioasid_debugfs_show_chunk(struct seq_file *m, u32 index);

#endif /* _IOMMU_EXT_IOASID_XA_H */
