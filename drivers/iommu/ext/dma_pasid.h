/* SPDX-License-Identifier: GPL-2.0 */
/*
 * DMA with PASID inside the kernel, between iommu.c, the shims and Rust.
 * Included by iommu-priv.h, and through it by rust/bindings/bindings_helper.h,
 * which checks every function of the first part against its Rust definition.
 */
#ifndef _IOMMU_EXT_DMA_PASID_H
#define _IOMMU_EXT_DMA_PASID_H

#include <linux/ioasid.h>
#include <linux/iommu-dma-pasid.h>
#include <linux/mutex.h>
#include <linux/types.h>

struct device;
struct group_device;
struct iommu_domain;
struct iommu_group;
struct seq_file;

#define IOMMU_DMA_PASID_NR_MODES	(IOMMU_DMA_PASID_KVA + 1)

/**
 * struct iommu_dma_pasid - one mode of a group; part of struct iommu_group
 * @domain: what the PASID is attached to
 * @pasid: 0 if nobody uses the mode, or the first user's is about to be attached
 * @count: how often it is enabled
 *
 * Only Rust looks inside. It is written with the PASID-DMA mutex and the group's
 * mutex held, so either is enough to read it.
 */
struct iommu_dma_pasid {
	struct iommu_domain *domain;
	ioasid_t pasid;
	unsigned int count;
};

/**
 * struct iommu_dma_pasid_part - a device's part in a mode
 * @id: as long as @count is not 0, no other part has it or ever had it
 * @count: how often the device has enabled the mode
 */
struct iommu_dma_pasid_part {
	u64 id;
	unsigned int count;
};

/**
 * struct iommu_dma_pasid_member - a device's part in all; part of struct group_device
 * @parts: those in the modes; read and written as struct iommu_dma_pasid is
 * @ready: the IOMMU driver has switched on what the device needs
 * @leaving: the device is about to leave the group: it can enable nothing any
 *	     more. The group's mutex protects both
 *
 * Only Rust looks inside.
 */
struct iommu_dma_pasid_member {
	struct iommu_dma_pasid_part parts[IOMMU_DMA_PASID_NR_MODES];
	bool ready;
	bool leaving;
};

/* C calls Rust, with the group's mutex held */

int iommu_dma_pasid_join(struct iommu_group *group, struct device *dev);

/* In iommu.c itself, with the group's mutex held */

void iommu_group_forget_pasids(struct iommu_group *group, struct group_device *gdev);

/* C calls Rust, without it */

void iommu_dma_pasid_device_ready(struct device *dev);
void iommu_dma_pasid_remove_device(struct device *dev);
int iommu_dma_pasid_show(struct seq_file *m, void *unused);

/* Rust calls C */

extern struct mutex iommu_dma_pasid_mutex;
extern struct ioasid_set iommu_dma_pasids;

bool iommu_dma_pasid_on(struct device *dev);
bool iommu_dma_pasid_trusts(struct device *dev);
struct iommu_domain *iommu_dma_pasid_identity(struct device *dev);

struct iommu_domain *iommu_kva_domain_alloc(struct device *dev);
int iommu_kva_domain_init(struct iommu_domain *domain, void *kva);
void *iommu_kva_of(struct iommu_domain *domain);
void *iommu_kva_domain_free(struct iommu_domain *domain);
unsigned long iommu_kva_piece(unsigned long addr, bool write, phys_addr_t *phys);
unsigned long iommu_kva_piece_atomic(unsigned long addr, bool write, phys_addr_t *phys);
bool iommu_kva_is_memory(phys_addr_t phys, size_t size);
bool iommu_kva_on_stack(unsigned long addr, size_t size);
bool iommu_kva_is_vmalloc(unsigned long addr);

#endif /* _IOMMU_EXT_DMA_PASID_H */
