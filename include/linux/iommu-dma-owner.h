/* SPDX-License-Identifier: GPL-2.0 */
/*
 * DMA ownership: who does DMA in an IOMMU group.
 *
 * An IOMMU group is the smallest unit of isolation, so its devices have one
 * owner at a time, and the owner is claimed through any of them. See
 * Documentation/driver-api/iommu-ext/dma-owner.rst.
 */
#ifndef _LINUX_IOMMU_DMA_OWNER_H
#define _LINUX_IOMMU_DMA_OWNER_H

#include <linux/errno.h>

struct device;

/**
 * enum iommu_dma_owner - who does DMA in an IOMMU group
 * @DMA_OWNER_NONE: nobody; compatible with everything
 * @DMA_OWNER_DMA_API: kernel drivers that use the DMA API
 * @DMA_OWNER_PRIVATE_DOMAIN: a kernel driver that attaches a domain of its own
 * @DMA_OWNER_PRIVATE_DOMAIN_USER: userspace; its DMA never reaches memory that
 *				   its own domains do not map
 */
enum iommu_dma_owner {
	DMA_OWNER_NONE,
	DMA_OWNER_DMA_API,
	DMA_OWNER_PRIVATE_DOMAIN,
	DMA_OWNER_PRIVATE_DOMAIN_USER,
};

#ifdef CONFIG_IOMMU_EXT

/**
 * iommu_device_set_dma_owner() - claim the IOMMU group of a device
 * @dev: the device; the caller is the driver that is bound to it
 * @owner: who is going to do DMA; not DMA_OWNER_NONE
 * @cookie: tells owners of the same kind apart: an address that is the owner's.
 *	    Not NULL for private owners; ignored for the DMA API
 *
 * A claim succeeds if the group has no owner, or the same one with the same
 * cookie, and has to be released as often as it succeeded. For userspace the
 * whole group is attached to its blocking domain by the first claim.
 *
 * Context: may sleep; takes the group's mutex.
 *
 * Return: 0; -EINVAL for bad arguments, -ENODEV without an IOMMU (but 0 for the
 * DMA API), -EBUSY if the group has another owner, is attached to other domains
 * or PASIDs, or has no default domain yet, or if the device, with ATS, is being
 * reset, -EOVERFLOW for too many claims, or why the blocking domain cannot be
 * made or attached.
 */
int iommu_device_set_dma_owner(struct device *dev, enum iommu_dma_owner owner,
			       void *cookie);

/**
 * iommu_device_release_dma_owner() - release a claim of a device's IOMMU group
 * @dev: the device
 * @owner: as it was claimed
 *
 * With the last claim the group has no owner any more; if it was a private one,
 * the default domain is attached again. A release of what is not held warns
 * and does nothing. A device that has left its group has no claims, which is
 * no mistake.
 *
 * If the device's last claim for the DMA API goes, and DMA with PASID was not
 * disabled, that is done first.
 *
 * Context: may sleep; takes the group's mutex and, if DMA with PASID was not
 * disabled, before it the one of that.
 */
void iommu_device_release_dma_owner(struct device *dev,
				    enum iommu_dma_owner owner);

#else /* !CONFIG_IOMMU_EXT */

static inline int iommu_device_set_dma_owner(struct device *dev,
					     enum iommu_dma_owner owner,
					     void *cookie)
{
	return owner == DMA_OWNER_DMA_API ? 0 : -EINVAL;
}

/* With the IOMMU core but without the series, <linux/iommu.h> has this name. */
#ifndef CONFIG_IOMMU_API
static inline void iommu_device_release_dma_owner(struct device *dev,
						  enum iommu_dma_owner owner)
{
}
#endif

#endif /* CONFIG_IOMMU_EXT */

#endif /* _LINUX_IOMMU_DMA_OWNER_H */
