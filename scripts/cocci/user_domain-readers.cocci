// SPDX-License-Identifier: GPL-2.0
// Who asks what a domain's private data is asks for its owner.
// files: drivers/iommu/iommu.c drivers/iommu/dma-iommu.c
// hunks: 7.2=14 7.3=14
// options: --no-includes

@@
expression domain;
@@
(
 domain->cookie_type = ...
|
 domain->cookie_type != IOMMU_COOKIE_NONE
|
-domain->cookie_type
+iommu_domain_data_owner(domain)
)

@@
expression domain;
@@
(
 domain->cookie_type = ...
|
-IOMMU_COOKIE_DMA_IOVA
+IOMMU_DOMAIN_DATA_OWNER_DMA
|
-IOMMU_COOKIE_DMA_MSI
+IOMMU_DOMAIN_DATA_OWNER_DMA_MSI
|
-IOMMU_COOKIE_FAULT_HANDLER
+IOMMU_DOMAIN_DATA_OWNER_FAULT_HANDLER
|
-IOMMU_COOKIE_SVA
+IOMMU_DOMAIN_DATA_OWNER_SVA
|
-IOMMU_COOKIE_IOMMUFD
+IOMMU_DOMAIN_DATA_OWNER_IOMMUFD
)
