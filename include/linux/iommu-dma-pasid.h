/* SPDX-License-Identifier: GPL-2.0 */
/*
 * DMA with PASID inside the kernel: a driver gets a PASID in one call and
 * chooses what addresses its device uses with it. See
 * Documentation/driver-api/iommu-ext/dma-pasid.rst.
 */
#ifndef _LINUX_IOMMU_DMA_PASID_H
#define _LINUX_IOMMU_DMA_PASID_H

#include <linux/errno.h>
#include <linux/types.h>

struct device;
struct iommu_domain;
struct iommu_group;

/**
 * enum iommu_dma_pasid_mode - what the addresses of a PASID are
 * @IOMMU_DMA_PASID_BYPASS: physical addresses; for trusted devices only
 * @IOMMU_DMA_PASID_IOVA: what the DMA API returned for the device
 * @IOMMU_DMA_PASID_KVA: kernel virtual addresses that were mapped by
 *			 iommu_map_kva()
 */
enum iommu_dma_pasid_mode {
	IOMMU_DMA_PASID_BYPASS,
	IOMMU_DMA_PASID_IOVA,
	IOMMU_DMA_PASID_KVA,
};

/**
 * struct iommu_dma_pasid_hold - a mode that was enabled, and may be over
 * @group: the device's group, with a reference
 * @dev: the device, which may be gone
 * @id: tells what was enabled from what the device enables later
 * @mode: the mode
 *
 * Only iommu_dma_pasid_take() writes it, and nobody else looks inside.
 */
struct iommu_dma_pasid_hold {
	struct iommu_group *group;
	struct device *dev;
	u64 id;
	enum iommu_dma_pasid_mode mode;
};

#ifdef CONFIG_IOMMU_EXT

/**
 * iommu_dma_pasid_enable() - get a PASID for DMA of the kernel
 * @dev: the device; the caller is the driver that is bound to it, and uses the
 *	 DMA API
 * @domain: where to put the domain that the PASID is attached to; may be NULL,
 *	    but for IOMMU_DMA_PASID_KVA
 * @mode: what addresses the device is going to use
 *
 * A mode has one PASID in an IOMMU group: a call for one that is enabled, by
 * whatever device of the group, returns the same PASID. Each call that
 * succeeds has to be undone by iommu_dma_pasid_disable(); for IOMMU_DMA_PASID_KVA
 * before the device leaves D0.
 *
 * Context: may sleep; takes the group's mutex, and one that all devices share, so
 * not where memory is reclaimed, nor with an mmap lock held.
 *
 * Return: the PASID, which is above 0; -EINVAL for bad arguments, -ENODEV
 * without an IOMMU, -EOPNOTSUPP if device or IOMMU cannot do PASIDs or the mode,
 * -EPERM if the device does not use the DMA API or is not trusted with the mode,
 * -EBUSY while a device of its group, with ATS, is being reset, or one with
 * PASIDs being added, -EOVERFLOW for too many calls, -ENOSPC without a PASID
 * left, or why the domain cannot be made or attached.
 */
int iommu_dma_pasid_enable(struct device *dev, struct iommu_domain **domain,
			   enum iommu_dma_pasid_mode mode);

/**
 * iommu_dma_pasid_disable() - undo one iommu_dma_pasid_enable()
 * @dev: the device
 * @domain: as for enabling; set to NULL if the domain was detached; may be NULL
 * @mode: as it was enabled
 *
 * The device must not be told to use the PASID any more. If nobody else in the
 * group uses the mode, the PASID is detached and given up: when this returns,
 * neither the IOMMU nor the device translates addresses of that PASID, page
 * requests included. A KVA domain is freed, with all that is mapped in it.
 *
 * Context: may sleep; takes the group's mutex, and one that all devices share, so
 * not where memory is reclaimed, nor with an mmap lock held.
 *
 * Return: 0, or -EINVAL if the device has not enabled the mode.
 */
int iommu_dma_pasid_disable(struct device *dev, struct iommu_domain **domain,
			    enum iommu_dma_pasid_mode mode);

/**
 * iommu_map_kva() - let a device use a buffer at its kernel virtual address
 * @domain: as got from iommu_dma_pasid_enable() for IOMMU_DMA_PASID_KVA
 * @cpu_addr: the buffer, of any alignment, in the direct map, in vmalloc space, or
 *	      in the data of a module or of the kernel's image
 * @size: its size in bytes
 * @prot: IOMMU_READ, IOMMU_WRITE, or both; IOMMU_CACHE goes without saying
 *
 * Whole pages are mapped, and each page counts how often that was done. Where
 * iommu.kva_fast=1 lets the device walk the kernel's own page table, only
 * counts change, and a buffer in vmalloc space is refused with -EINVAL.
 *
 * Context: may sleep; takes a mutex and, for reading, the mmap lock of init_mm, and
 * allocates with GFP_KERNEL, so not where memory is reclaimed.
 *
 * Return: 0; -EINVAL for another domain, for a bad @prot, or for what is no such
 * buffer, is on the caller's stack, may not be written by anybody, or is not made
 * of whole pages although the device is not trusted; -EBUSY if a page is mapped
 * with less permission; -EOVERFLOW if it is mapped too often; -ERANGE if the
 * IOMMU's page table cannot express the address; -ENOMEM. Nothing is mapped then
 * that was not before.
 */
int iommu_map_kva(struct iommu_domain *domain, void *cpu_addr, size_t size,
		  int prot);

/**
 * iommu_unmap_kva() - undo one iommu_map_kva()
 * @domain: the domain
 * @cpu_addr: the buffer
 * @size: its size in bytes
 *
 * Pages that no other buffer shares are unmapped. When this returns, no cache
 * of the IOMMU or of a device knows them any more, unless the device walks the
 * kernel's own page table: then the pages stay within its reach.
 *
 * Context: may sleep; takes the mutex that iommu_map_kva() allocates with, so
 * not where memory is reclaimed.
 *
 * Return: 0, -EINVAL for bad arguments, or -ENOENT if a page is not mapped; then
 * nothing has changed.
 */
int iommu_unmap_kva(struct iommu_domain *domain, void *cpu_addr, size_t size);

/**
 * iommu_dma_pasid_take() - enable a mode for something that may outlive the driver
 * @dev: the device; the caller is the driver that is bound to it, and uses the
 *	 DMA API
 * @hold: where to put what was enabled
 * @mode: what addresses the device is going to use
 *
 * As iommu_dma_pasid_enable(). But if the driver goes before it has disabled the
 * mode, so that the core had to, what was got here may still be used: that it is
 * over is noticed, even if the device has enabled the mode anew meanwhile.
 *
 * Context: may sleep; takes the group's mutex, and one that all devices share, so
 * not where memory is reclaimed, nor with an mmap lock held.
 *
 * Return: as iommu_dma_pasid_enable().
 */
int iommu_dma_pasid_take(struct device *dev, struct iommu_dma_pasid_hold *hold,
			 enum iommu_dma_pasid_mode mode);

/**
 * iommu_dma_pasid_release() - undo one iommu_dma_pasid_take()
 * @hold: what was got; not to be used any more
 *
 * As iommu_dma_pasid_disable(). If the core has disabled the mode before,
 * nothing happens. Neither driver nor device need be there any more.
 *
 * Context: may sleep; takes the group's mutex, and one that all devices share, so
 * not where memory is reclaimed, nor with an mmap lock held.
 */
void iommu_dma_pasid_release(struct iommu_dma_pasid_hold *hold);

/**
 * iommu_dma_pasid_map_kva() - let a device use a buffer, unless the hold is over
 * @hold: as got for IOMMU_DMA_PASID_KVA
 * @cpu_addr: as for iommu_map_kva()
 * @size: as for iommu_map_kva()
 * @prot: as for iommu_map_kva()
 *
 * The core does not disable the mode meanwhile.
 *
 * Context: may sleep; takes the group's mutex, and one that all devices share, so
 * not where memory is reclaimed, nor with an mmap lock held.
 *
 * Return: as iommu_map_kva(), or -ENODEV if the core has disabled the mode.
 */
int iommu_dma_pasid_map_kva(const struct iommu_dma_pasid_hold *hold,
			    void *cpu_addr, size_t size, int prot);

/**
 * iommu_dma_pasid_unmap_kva() - undo one iommu_dma_pasid_map_kva()
 * @hold: the hold
 * @cpu_addr: the buffer
 * @size: its size in bytes
 *
 * After -ENODEV the buffer may still be mapped, for other devices of the group.
 *
 * Context: may sleep; takes the group's mutex, and one that all devices share, so
 * not where memory is reclaimed, nor with an mmap lock held.
 *
 * Return: as iommu_unmap_kva(), or -ENODEV if the core has disabled the mode.
 */
int iommu_dma_pasid_unmap_kva(const struct iommu_dma_pasid_hold *hold,
			      void *cpu_addr, size_t size);

#else /* !CONFIG_IOMMU_EXT */

static inline int iommu_dma_pasid_enable(struct device *dev,
					 struct iommu_domain **domain,
					 enum iommu_dma_pasid_mode mode)
{
	return -EOPNOTSUPP;
}

static inline int iommu_dma_pasid_disable(struct device *dev,
					  struct iommu_domain **domain,
					  enum iommu_dma_pasid_mode mode)
{
	return -EINVAL;
}

static inline int iommu_map_kva(struct iommu_domain *domain, void *cpu_addr,
				size_t size, int prot)
{
	return -EINVAL;
}

static inline int iommu_unmap_kva(struct iommu_domain *domain, void *cpu_addr,
				  size_t size)
{
	return -EINVAL;
}

static inline int iommu_dma_pasid_take(struct device *dev,
				       struct iommu_dma_pasid_hold *hold,
				       enum iommu_dma_pasid_mode mode)
{
	return -EOPNOTSUPP;
}

static inline void iommu_dma_pasid_release(struct iommu_dma_pasid_hold *hold)
{
}

static inline int
iommu_dma_pasid_map_kva(const struct iommu_dma_pasid_hold *hold, void *cpu_addr,
			size_t size, int prot)
{
	return -ENODEV;
}

static inline int
iommu_dma_pasid_unmap_kva(const struct iommu_dma_pasid_hold *hold,
			  void *cpu_addr, size_t size)
{
	return -ENODEV;
}

#endif /* CONFIG_IOMMU_EXT */

#endif /* _LINUX_IOMMU_DMA_PASID_H */
