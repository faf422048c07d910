/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Between those who change the kernel's page table and the IOMMUs that walk it.
 */
#ifndef _LINUX_IOMMU_KVA_H
#define _LINUX_IOMMU_KVA_H

#ifdef CONFIG_IOMMU_KVA_FAST

/**
 * iommu_kva_invalidate() - forget what IOMMUs know of the kernel's page table
 * @start: first address that has changed
 * @end: the one after the last, or TLB_FLUSH_ALL for all addresses
 *
 * To be called when the change was made, and before what is not referred to any
 * more is used for something else.
 *
 * Context: any but NMI.
 */
void iommu_kva_invalidate(unsigned long start, unsigned long end);

#else

static inline void iommu_kva_invalidate(unsigned long start, unsigned long end)
{
}

#endif /* CONFIG_IOMMU_KVA_FAST */

#endif /* _LINUX_IOMMU_KVA_H */
