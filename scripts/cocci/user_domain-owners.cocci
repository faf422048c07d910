// SPDX-License-Identifier: GPL-2.0
// Cookies are claimed before they are written, and given up when they are dropped.
// files: drivers/iommu/dma-iommu.c
// hunks: 7.2=10 7.3=10
// options: --no-includes

// The DMA API: the cookie is made before the claim, and stored after it
@@
identifier domain, cookie;
statement S;
@@
 iommu_get_dma_cookie(struct iommu_domain *domain)
 {
 ...
+#ifndef CONFIG_IOMMU_EXT
 if (domain->cookie_type != IOMMU_COOKIE_NONE) S
+#endif
 ...
+#ifdef CONFIG_IOMMU_EXT
+if (iommu_domain_set_data_owner(domain, IOMMU_DOMAIN_DATA_OWNER_DMA)) {
+	kfree(cookie);
+	return -EEXIST;
+}
+#else
 domain->cookie_type = IOMMU_COOKIE_DMA_IOVA;
+#endif
 domain->\(iova_cookie\|msi_cookie\) = cookie;
 ...
 }

@@
identifier domain, cookie;
statement S;
@@
 iommu_get_msi_cookie(struct iommu_domain *domain, ...)
 {
 ...
+#ifndef CONFIG_IOMMU_EXT
 if (domain->cookie_type != IOMMU_COOKIE_NONE) S
+#endif
 ...
+#ifdef CONFIG_IOMMU_EXT
+if (iommu_domain_set_data_owner(domain, IOMMU_DOMAIN_DATA_OWNER_DMA_MSI)) {
+	kfree(cookie);
+	return -EEXIST;
+}
+#else
 domain->cookie_type = IOMMU_COOKIE_DMA_MSI;
+#endif
 domain->\(iova_cookie\|msi_cookie\) = cookie;
 ...
 }

@@
identifier domain, cookie;
@@
 iommu_put_dma_cookie(struct iommu_domain *domain)
 {
 struct iommu_dma_cookie *cookie = ...;
 <...
+iommu_domain_clear_data_owner(domain, IOMMU_DOMAIN_DATA_OWNER_DMA);
 kfree(cookie);
 ...>
 }

@@
identifier domain, cookie;
@@
 iommu_put_msi_cookie(struct iommu_domain *domain)
 {
 struct iommu_dma_msi_cookie *cookie = ...;
 <...
+iommu_domain_clear_data_owner(domain, IOMMU_DOMAIN_DATA_OWNER_DMA_MSI);
 kfree(cookie);
 ...>
 }
