// SPDX-License-Identifier: GPL-2.0
// Private data of a domain is claimed before it is written, and given up when it
// is dropped.
// files: drivers/iommu/iommu.c drivers/iommu/dma-iommu.c
// hunks: 7.2=13 7.3=13
// options: --no-includes

// Fault handlers
@@
identifier domain;
@@
 iommu_set_fault_handler(struct iommu_domain *domain, ...)
 {
+#ifdef CONFIG_IOMMU_EXT
+if (WARN_ON(!domain ||
+	    iommu_domain_set_data_owner(domain,
+					IOMMU_DOMAIN_DATA_OWNER_FAULT_HANDLER)))
+	return;
+#else
 if (WARN_ON(...))
	return;
 domain->cookie_type = IOMMU_COOKIE_FAULT_HANDLER;
+#endif
 ...
 }

// A process
@@
identifier domain;
@@
 iommu_domain_free(struct iommu_domain *domain)
 {
 <...
 mmdrop(domain->mm);
+iommu_domain_clear_data_owner(domain, IOMMU_DOMAIN_DATA_OWNER_SVA);
 ...>
 }

// The DMA API: the cookie is whole before the claim tells of it
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
