// SPDX-License-Identifier: GPL-2.0
/*
 * Exports the C entry points that are written in Rust. The headers are included
 * for the types that modversions and others look at.
 */
#include <linux/export.h>
#include <linux/ioasid.h>
#include <linux/iommu-dma-owner.h>
#include <linux/iommu-user-domain.h>
#include <linux/iommu-dma-pasid.h>

#ifdef CONFIG_IOMMU_EXT
#include "dma_owner.h"
#endif

EXPORT_SYMBOL_GPL(ioasid_alloc);
EXPORT_SYMBOL_GPL(ioasid_free);
EXPORT_SYMBOL_GPL(ioasid_find);
EXPORT_SYMBOL_GPL(ioasid_set_data);
EXPORT_SYMBOL_GPL(ioasid_get);
EXPORT_SYMBOL_GPL(ioasid_put);
EXPORT_SYMBOL_GPL(ioasid_register_allocator);
EXPORT_SYMBOL_GPL(ioasid_unregister_allocator);

#ifdef CONFIG_IOMMU_EXT
EXPORT_SYMBOL_GPL(iommu_alloc_global_pasid);
EXPORT_SYMBOL_GPL(iommu_free_global_pasid);

EXPORT_SYMBOL_GPL(iommu_device_set_dma_owner);
EXPORT_SYMBOL_GPL(iommu_device_release_dma_owner);
EXPORT_SYMBOL_GPL(iommu_group_claim_dma_owner);
EXPORT_SYMBOL_GPL(iommu_group_release_dma_owner);
EXPORT_SYMBOL_GPL(iommu_group_dma_owner_claimed);
EXPORT_SYMBOL_NS_GPL(iommu_dma_owner_is_other, "IOMMUFD_INTERNAL");

EXPORT_SYMBOL_GPL(iommu_domain_set_data_owner);
EXPORT_SYMBOL_GPL(iommu_domain_clear_data_owner);
EXPORT_SYMBOL_GPL(iommu_driver_domain_alloc_user);
EXPORT_SYMBOL_GPL(iommu_driver_domain_alloc_paging);
EXPORT_SYMBOL_GPL(iommu_dma_pasid_enable);
EXPORT_SYMBOL_GPL(iommu_dma_pasid_disable);
EXPORT_SYMBOL_GPL(iommu_dma_pasid_take);
EXPORT_SYMBOL_GPL(iommu_dma_pasid_release);
EXPORT_SYMBOL_GPL(iommu_dma_pasid_map_kva);
EXPORT_SYMBOL_GPL(iommu_dma_pasid_unmap_kva);
EXPORT_SYMBOL_GPL(iommu_map_kva);
EXPORT_SYMBOL_GPL(iommu_unmap_kva);
#endif
