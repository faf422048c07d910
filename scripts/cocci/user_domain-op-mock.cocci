// SPDX-License-Identifier: GPL-2.0
// iommufd's mock driver makes domains as it is told to, from the memory it is told.
// files: drivers/iommu/iommufd/selftest.c
// hunks: 7.2=11 7.3=11
// options: --no-includes

@@
identifier mock, rc;
@@
 mock_domain_alloc_pgtable(...
+	, gfp_t gfp
 )
 {
 <...
(
-mock = kzalloc_obj(*mock);
+mock = kzalloc_obj(*mock, gfp);
|
-rc = pt_iommu_amdv1_mock_init(&mock->amdv1, &cfg, GFP_KERNEL);
+rc = pt_iommu_amdv1_mock_init(&mock->amdv1, &cfg, gfp);
)
 ...>
 }

@@
identifier dev, flags, user_data, mock;
expression E1, E2;
statement S1, S2;
@@
-mock_domain_alloc_paging_flags(struct device *dev, u32 flags, const struct iommu_user_data *user_data)
+__mock_domain_alloc_paging(struct device *dev, u32 flags, const struct iommu_user_data *user_data, gfp_t gfp)
 {
 ...
-if (E1)
+if (!IS_ENABLED(CONFIG_IOMMU_EXT) && (E1))
 S1
-if (user_data && E2)
+if (!IS_ENABLED(CONFIG_IOMMU_EXT) && user_data && E2)
 S2
 ...
-mock = mock_domain_alloc_pgtable(dev, &user_cfg, flags);
+mock = mock_domain_alloc_pgtable(dev, &user_cfg, flags, gfp);
 ...
 }

@@
identifier mock_nested;
@@
 __mock_domain_alloc_nested(...)
 {
 ...
-mock_nested = kzalloc_obj(*mock_nested);
+mock_nested = kzalloc_obj(*mock_nested, IS_ENABLED(CONFIG_IOMMU_EXT) ? GFP_KERNEL_ACCOUNT : GFP_KERNEL);
 ...
 }

@@
expression E1, E2;
identifier parent;
statement S1, S2;
@@
-static
 struct iommu_domain *mock_domain_alloc_nested(struct device *dev, struct iommu_domain *parent, ...)
 {
 ...
-if (E1)
+if (!IS_ENABLED(CONFIG_IOMMU_EXT) && (E1))
 S1
-if (!parent || E2)
+if (!IS_ENABLED(CONFIG_IOMMU_EXT) && (!parent || E2))
 S2
 ...
 }
