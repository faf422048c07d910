// SPDX-License-Identifier: GPL-2.0
// VT-d makes domains as it is told to, from the memory it is told. What hardware
// cannot do, drivers/iommu/ext/shim/vtd_domain.c tells beforehand.
// files: drivers/iommu/intel/iommu.c drivers/iommu/intel/nested.c drivers/iommu/intel/cache.c
// hunks: 7.2=18 7.3=18
// options: --no-includes

@@
expression domain;
@@
-paging_domain_alloc(void)
+paging_domain_alloc(gfp_t gfp)
 {
 ...
-kzalloc_obj(*domain)
+kzalloc_obj(*domain, gfp)
 ...
 }

@@
identifier fn =~ "^intel_iommu_domain_alloc_\(first\|second\)_stage$";
identifier dev, flags, iommu;
expression E;
@@
 fn(struct device *dev, struct intel_iommu *iommu, u32 flags
+	, gfp_t gfp
 )
 {
 <...
(
-if (E)
+if (!IS_ENABLED(CONFIG_IOMMU_EXT) && (E))
	return ERR_PTR(-EOPNOTSUPP);
|
-paging_domain_alloc()
+paging_domain_alloc(gfp)
|
-GFP_KERNEL
+gfp
)
 ...>
 }

@@
identifier fn =~ "^intel_iommu_domain_alloc_\(first\|second\)_stage$";
@@
 fn(...
+	, GFP_KERNEL
 )

@@
expression E;
@@
 intel_iommu_domain_alloc_nested(...)
 {
 <...
-if (E)
+if (!IS_ENABLED(CONFIG_IOMMU_EXT) && (E))
	return ERR_PTR(-EOPNOTSUPP);
 ...>
 }

// What a domain needs for its invalidations is charged as the domain is
@@
identifier domain;
@@
 domain_qi_batch_alloc(struct dmar_domain *domain)
 {
 <...
-GFP_ATOMIC
+iommu_domain_gfp(&domain->domain, GFP_ATOMIC)
 ...>
 }
