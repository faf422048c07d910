/* SPDX-License-Identifier: GPL-2.0 */
/*
 * DMA ownership between iommu.c and the Rust that decides about it. Included
 * by iommu-priv.h, and through it by rust/bindings/bindings_helper.h, which
 * checks every function of the first part against its Rust definition.
 */
#ifndef _IOMMU_EXT_DMA_OWNER_H
#define _IOMMU_EXT_DMA_OWNER_H

#include <linux/iommu-dma-owner.h>
#include <linux/types.h>

struct device;
struct group_device;
struct iommu_domain;
struct iommu_group;
struct seq_file;

/**
 * struct iommu_dma_ownership - who owns a group; part of struct iommu_group
 * @cookie: tells private owners apart, NULL for others
 * @count: how many claims there are
 * @owner: DMA_OWNER_NONE if there are none
 * @whole: the one claim is the group's (VFIO's container), not a device's
 *
 * Only Rust writes it; that and reading needs the group's mutex.
 */
struct iommu_dma_ownership {
	void *cookie;
	unsigned int count;
	enum iommu_dma_owner owner;
	bool whole;
};

/* C calls Rust, with the group's mutex held */

struct iommu_domain *iommu_dma_owner_core_domain(struct iommu_group *group);
int iommu_dma_owner_may_attach(struct iommu_group *group, struct device *dev);
int iommu_dma_owner_may_attach_pasid(struct iommu_group *group, struct device *dev);
int iommu_dma_owner_may_attach_group(struct iommu_group *group);
bool iommu_group_uses_pasids(struct iommu_group *group);
void iommu_dma_owner_remove_device(struct iommu_group *group,
				   struct group_device *gdev);

/* C calls Rust, without it */

bool iommu_dma_owner_is_other(struct iommu_group *group, void *cookie);
int iommu_dma_owner_show(struct seq_file *m, void *unused);

/* Rust calls C; the first two with the group's mutex held */

int iommu_group_block_dma(struct iommu_group *group);
void iommu_group_restore_dma(struct iommu_group *group);
struct iommu_group *iommu_group_next(struct iommu_group *group);

#endif /* _IOMMU_EXT_DMA_OWNER_H */
