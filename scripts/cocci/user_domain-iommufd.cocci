// SPDX-License-Identifier: GPL-2.0
// iommufd claims the private data of its domains, and looks at its own only.
// files: drivers/iommu/iommufd/hw_pagetable.c drivers/iommu/iommufd/driver.c drivers/iommu/iommufd/eventq.c
// hunks: 7.2=9 7.3=9
// options: --no-includes

@@
identifier hwpt, rc;
@@
 struct iommufd_hw_pagetable *hwpt;
 ...
 int rc;
 <...
-hwpt->domain->iommufd_hwpt = hwpt;
 ... when any
+#ifdef CONFIG_IOMMU_EXT
+rc = iommu_domain_set_data_owner(hwpt->domain, IOMMU_DOMAIN_DATA_OWNER_IOMMUFD);
+if (rc)
+	goto out_abort;
+#else
 hwpt->domain->cookie_type = IOMMU_COOKIE_IOMMUFD;
+#endif
+hwpt->domain->iommufd_hwpt = hwpt;
 ...>

@@
expression hwpt, domain;
@@
 iommufd_fault_iopf_handler(...)
 {
 ...
+if (iommu_domain_data_owner(domain) != IOMMU_DOMAIN_DATA_OWNER_IOMMUFD)
+	return -EINVAL;
 hwpt = domain->iommufd_hwpt;
 ...
 }

@@
identifier domain;
expression E;
@@
 iommufd_sw_msi(struct iommu_domain *domain, ...)
 {
 ...
+if (iommu_domain_data_owner(domain) != IOMMU_DOMAIN_DATA_OWNER_IOMMUFD)
+	return -EINVAL;
 E = find_hwpt_paging(domain->iommufd_hwpt);
 ...
 }
