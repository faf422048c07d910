// SPDX-License-Identifier: GPL-2.0
// iommufd's mock driver makes domains as it is told to, from the memory it is told.
// files: drivers/iommu/iommufd/selftest.c
// hunks: 7.2=10 7.3=10
// options: --no-includes

@@
expression mock, E1, E2;
@@
 mock_domain_alloc_pgtable(...
+	, gfp_t gfp
 )
 {
 <...
(
-kzalloc_obj(*mock)
+kzalloc_obj(*mock, gfp)
|
 pt_iommu_amdv1_mock_init(E1, E2,
-	GFP_KERNEL
+	gfp
 )
)
 ...>
 }

@@
expression E1, E2, E3;
identifier dev, flags, user_data;
@@
-mock_domain_alloc_paging_flags(struct device *dev, u32 flags, const struct iommu_user_data *user_data)
+__mock_domain_alloc_paging(struct device *dev, u32 flags, const struct iommu_user_data *user_data, gfp_t gfp)
 {
 <...
 mock_domain_alloc_pgtable(E1, E2, E3
+	, gfp
 )
 ...>
 }

@@
expression mock_nested;
@@
 __mock_domain_alloc_nested(...)
 {
 <...
-kzalloc_obj(*mock_nested)
+kzalloc_obj(*mock_nested, MOCK_NESTED_GFP)
 ...>
 }

// What the core has decided already
@@
identifier flags, user_data, known;
expression E1, E2;
statement S1, S2;
@@
 __mock_domain_alloc_paging(struct device *dev, u32 flags, const struct iommu_user_data *user_data, gfp_t gfp)
 {
 ...
+#ifndef CONFIG_IOMMU_EXT
 if ((flags & ~known) || E1) S1
 if (user_data && E2) S2
+#endif
 ...
 }

@@
identifier parent, flags;
expression E;
statement S1, S2;
@@
 mock_domain_alloc_nested(struct device *dev, struct iommu_domain *parent, u32 flags, ...)
 {
 ...
+#ifndef CONFIG_IOMMU_EXT
 if (flags & ~IOMMU_HWPT_ALLOC_PASID) S1
 if (!parent || E) S2
+#endif
 ...
 }
