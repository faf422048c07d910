// SPDX-License-Identifier: GPL-2.0
// A domain's process is looked at only if the domain's data is a process.
// files: drivers/iommu/iommu-sva.c
// hunks: 7.2=8 7.3=8
// options: --no-includes

@@
identifier domain, mm;
@@
 iommu_sva_domain_alloc(..., struct mm_struct *mm)
 {
 ...
 struct iommu_domain *domain;
+#ifdef CONFIG_IOMMU_EXT
+int ret;
+#endif
 ...
+#ifdef CONFIG_IOMMU_EXT
+ret = iommu_domain_set_data_owner(domain, IOMMU_DOMAIN_DATA_OWNER_SVA);
+if (ret) {
+	iommu_domain_free(domain);
+	return ERR_PTR(ret);
+}
+#else
 domain->cookie_type = IOMMU_COOKIE_SVA;
+#endif
 mmgrab(mm);
 ...
 }

@@
expression domain, E;
@@
 iommu_sva_bind_device(...)
 {
 <...
 if (
-domain->mm != E
+iommu_domain_data_owner(domain) != IOMMU_DOMAIN_DATA_OWNER_SVA || domain->mm != E
    )
 { ... }
 ...>
 }

@@
identifier domain, iommu_mm, dev;
expression E1, E2;
@@
 iommu_sva_unbind_device(...)
 {
 struct iommu_domain *domain = E1;
-struct iommu_mm_data *iommu_mm = domain->mm->iommu_mm;
+struct iommu_mm_data *iommu_mm;
 struct device *dev = E2;

+if (WARN_ON(iommu_domain_data_owner(domain) != IOMMU_DOMAIN_DATA_OWNER_SVA))
+	return;
+iommu_mm = domain->mm->iommu_mm;
 mutex_lock(...);
 ...
 }

@@
identifier domain;
@@
 iommu_sva_get_pasid(...)
 {
 struct iommu_domain *domain = ...;
+if (WARN_ON(iommu_domain_data_owner(domain) != IOMMU_DOMAIN_DATA_OWNER_SVA))
+	return IOMMU_PASID_INVALID;
 return ...;
 }

@@
expression domain, fault;
identifier status;
@@
 iommu_sva_handle_iopf(...)
 {
 <...
+if (iommu_domain_data_owner(domain) != IOMMU_DOMAIN_DATA_OWNER_SVA) {
+	status = IOMMU_PAGE_RESP_INVALID;
+	break;
+}
 status = iommu_sva_handle_mm(fault, domain->mm);
 ...>
 }
