// SPDX-License-Identifier: GPL-2.0
// VT-d makes domains as it is told to, from the memory it is told. What hardware
// cannot do, drivers/iommu/ext/shim/vtd_domain.c tells beforehand.
// files: drivers/iommu/intel/iommu.c
// hunks: 7.2=14 7.3=14
// options: --no-includes

@@
expression domain;
@@
-paging_domain_alloc(void)
+paging_domain_alloc(gfp_t gfp)
 {
 <...
-kzalloc_obj(*domain)
+kzalloc_obj(*domain, gfp)
 ...>
 }

@@
identifier fn =~ "^intel_iommu_domain_alloc_\(first\|second\)_stage$";
identifier dev, iommu, flags;
expression E1, E2;
@@
 fn(struct device *dev, struct intel_iommu *iommu, u32 flags
+	, gfp_t gfp
 )
 {
 <...
(
-paging_domain_alloc()
+paging_domain_alloc(gfp)
|
 \(pt_iommu_x86_64_init\|pt_iommu_vtdss_init\)(E1, E2,
-	GFP_KERNEL
+	gfp
 )
)
 ...>
 }

@@
identifier fn =~ "^intel_iommu_domain_alloc_\(first\|second\)_stage$";
expression E1, E2, E3;
@@
 fn(E1, E2, E3
+	, GFP_KERNEL
 )

// What the core has decided already
@@
identifier iommu, flags;
statement S1, S2;
@@
 intel_iommu_domain_alloc_first_stage(struct device *dev, struct intel_iommu *iommu, u32 flags, ...)
 {
 ...
+#ifndef CONFIG_IOMMU_EXT
 if (flags & ~IOMMU_HWPT_ALLOC_PASID) S1
 if (!sm_supported(iommu) || !ecap_flts(iommu->ecap)) S2
+#endif
 ...
 }

@@
identifier iommu, flags;
expression E;
statement S1, S2, S3;
@@
 intel_iommu_domain_alloc_second_stage(struct device *dev, struct intel_iommu *iommu, u32 flags, ...)
 {
 ...
+#ifndef CONFIG_IOMMU_EXT
 if (flags & E) S1
 if (<+... nested_supported(iommu) ...+>) S2
 if (sm_supported(iommu) && !ecap_slts(iommu->ecap)) S3
+#endif
 ...
 }
