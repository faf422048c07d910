// SPDX-License-Identifier: GPL-2.0
// Private data of a domain is claimed before it is written, and given up when it
// is dropped.
// files: drivers/iommu/iommu.c drivers/iommu/dma-iommu.c
// hunks: 7.2=17 7.3=17
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

// The DMA API
@@
identifier domain, cookie;
statement S;
expression E;
@@
 iommu_get_dma_cookie(struct iommu_domain *domain)
 {
 ...
+#ifdef CONFIG_IOMMU_EXT
+if (iommu_domain_set_data_owner(domain, IOMMU_DOMAIN_DATA_OWNER_DMA))
+	return -EEXIST;
+#else
 if (domain->cookie_type != IOMMU_COOKIE_NONE) S
+#endif
 cookie = E;
-if (!cookie)
+if (!cookie) {
+	iommu_domain_clear_data_owner(domain, IOMMU_DOMAIN_DATA_OWNER_DMA);
 	return -ENOMEM;
+}
 ...
+#ifndef CONFIG_IOMMU_EXT
 domain->cookie_type = IOMMU_COOKIE_DMA_IOVA;
+#endif
 ...
 }

@@
identifier domain, cookie;
statement S;
expression E;
@@
 iommu_get_msi_cookie(struct iommu_domain *domain, ...)
 {
 ...
+#ifdef CONFIG_IOMMU_EXT
+if (iommu_domain_set_data_owner(domain, IOMMU_DOMAIN_DATA_OWNER_DMA_MSI))
+	return -EEXIST;
+#else
 if (domain->cookie_type != IOMMU_COOKIE_NONE) S
+#endif
 cookie = E;
-if (!cookie)
+if (!cookie) {
+	iommu_domain_clear_data_owner(domain, IOMMU_DOMAIN_DATA_OWNER_DMA_MSI);
 	return -ENOMEM;
+}
 ...
+#ifndef CONFIG_IOMMU_EXT
 domain->cookie_type = IOMMU_COOKIE_DMA_MSI;
+#endif
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
