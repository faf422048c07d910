// SPDX-License-Identifier: GPL-2.0
// iommufd has nested domains made by the op for user domains, and in no other way.
// files: drivers/iommu/iommufd/hw_pagetable.c
// hunks: 7.2=4 7.3=4
// options: --no-includes

@@
identifier ops, flags, user_data, hwpt, idev, parent;
statement S1, S2;
expression E;
@@
 iommufd_hwpt_nested_alloc(...,
	struct iommufd_hwpt_paging *parent,
	struct iommufd_device *idev, u32 flags,
	const struct iommu_user_data *user_data)
 {
 ...
 const struct iommu_ops *ops = ...;
 ...
 struct iommufd_hw_pagetable *hwpt;
 ...
+#ifdef CONFIG_IOMMU_EXT
+/* The op looks at everything else, the parent included */
+if (!ops->domain_alloc_user)
+	return ERR_PTR(-EOPNOTSUPP);
+#else
 if (<+... ops->domain_alloc_nested ...+>) S1
 if (<+... parent->auto_domain ...+>) S2
+#endif
 ...
+#ifdef CONFIG_IOMMU_EXT
+hwpt->domain = ops->domain_alloc_user(idev->dev,
+		flags & ~IOMMU_HWPT_FAULT_ID_VALID, parent->common.domain, user_data);
+#else
 hwpt->domain = ops->domain_alloc_nested(...);
+#endif
 ...
 }
