// SPDX-License-Identifier: GPL-2.0
// A domain's process is looked at only after it is known to have one.
// files: drivers/iommu/iommu-sva.c
// hunks: 7.2=1 7.3=1
// options: --no-includes

@@
identifier domain, iommu_mm;
@@
 iommu_sva_unbind_device(...)
 {
 ...
-struct iommu_mm_data *iommu_mm = domain->mm->iommu_mm;
+struct iommu_mm_data *iommu_mm;
 ...
 }
