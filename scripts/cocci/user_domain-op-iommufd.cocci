// SPDX-License-Identifier: GPL-2.0
// iommufd has paging domains made by the op for user domains, if there is one.
// files: drivers/iommu/iommufd/hw_pagetable.c
// hunks: 7.2=2 7.3=2
// options: --no-includes

@@
expression ops, E1, E2, E3;
@@
 iommufd_hwpt_paging_alloc(...)
 {
 <...
(
-ops->domain_alloc_paging_flags(
+iommufd_domain_alloc(ops,
	E1, E2, E3)
|
-ops->domain_alloc_paging_flags
+iommufd_domain_takes_flags(ops)
)
 ...>
 }
