/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What hw/vtd.rs asks of VT-d. Included by rust/bindings/bindings_helper.h.
 */
#ifndef _IOMMU_EXT_VTD_H
#define _IOMMU_EXT_VTD_H

#include <linux/types.h>

struct device;
struct iommu_domain;

/**
 * struct iommu_vtd_kva - what VT-d says of sharing the kernel's page table
 * @allowed: iommu.kva_fast=1, and a VT-d unit serves the device
 * @requests: that unit knows supervisor requests
 * @privileged: the device may send them
 * @same_paging: page tables of this kernel are such as the unit walks
 */
struct iommu_vtd_kva {
	bool allowed;
	bool requests;
	bool privileged;
	bool same_paging;
};

void iommu_vtd_kva_ask(struct device *dev, struct iommu_vtd_kva *answer);
struct iommu_domain *iommu_vtd_kva_domain_alloc(struct device *dev);

#endif /* _IOMMU_EXT_VTD_H */
