// SPDX-License-Identifier: GPL-2.0
// Who asks what a domain's private data is asks for its owner.
// files: drivers/iommu/iommu.c drivers/iommu/dma-iommu.c
// hunks: 7.2=15 7.3=15
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

// Switching to the flush queue, a while after the domain was made
@@
identifier domain, cookie;
@@
 iommu_dma_init_fq(struct iommu_domain *domain)
 {
 struct iommu_dma_cookie *cookie = ...;
 ...
+#ifdef CONFIG_IOMMU_EXT
+if (iommu_domain_data_owner(domain) != IOMMU_DOMAIN_DATA_OWNER_DMA)
+	return -EINVAL;
+#endif
 if (cookie->fq_domain)
	return 0;
 ...
 }
