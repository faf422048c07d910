// SPDX-License-Identifier: GPL-2.0
// The core asks the tracker where it used to look at the group's owner.
// files: drivers/iommu/iommu.c
// hunks: 7.2=11 7.3=11
// options: --no-includes

// How many claims a group has
@@
identifier fn =~ "^__iommu_group_free_device$";
expression group;
@@
 fn(...)
 {
 <+...
-group->owner_cnt
+iommu_group_nr_claims(group)
 ...+>
 }

// Whether a group's default domain may be changed
@@
identifier fn =~ "^iommu_group_store_type$";
expression group;
@@
 fn(...)
 {
 <+...
-group->owner_cnt
+iommu_group_is_used(group)
 ...+>
 }

// A device takes its claims along
@@
iterator name for_each_group_device;
identifier group, gdev;
@@
 __iommu_group_remove_device(...)
 {
 ...
 struct iommu_group *group = ...;
 struct group_device *gdev;
 ...
 for_each_group_device(group, gdev) {
 ...
+#ifdef CONFIG_IOMMU_EXT
+iommu_dma_owner_remove_device(group, gdev);
+#endif
 list_del(...);
 ...
 }
 ...
 }

// What detaching falls back to
@@
identifier group, domain;
statement S1, S2;
@@
 __iommu_group_set_core_domain(struct iommu_group *group)
 {
 ...
 struct iommu_domain *domain;
 ...
+#ifdef CONFIG_IOMMU_EXT
+domain = iommu_dma_owner_core_domain(group);
+#else
 if (group->owner) S1 else S2
+#endif
 ...
 }

// Who may attach and detach
@@
identifier group, dev, ret;
expression E;
statement S;
@@
 iommu_attach_device(..., struct device *dev)
 {
 ...
 struct iommu_group *group = ...;
 ...
+#ifdef CONFIG_IOMMU_EXT
+ret = iommu_dma_owner_may_attach(group, dev);
+if (ret)
+	goto out_unlock;
+#else
 ret = E;
 if (<+...list_count_nodes(...)...+>) S
+#endif
 ...
 }

@@
identifier group, dev, domain;
statement S;
@@
 iommu_detach_device(struct iommu_domain *domain, struct device *dev)
 {
 ...
 struct iommu_group *group = ...;
 ...
+#ifdef CONFIG_IOMMU_EXT
+if (WARN_ON(domain != group->domain))
+	goto out_unlock;
+if (WARN_ON(iommu_dma_owner_may_attach(group, dev)))
+	goto out_unlock;
+#else
 if (<+...list_count_nodes(...)...+>) S
+#endif
 ...
 }

@@
identifier group, ret;
@@
 iommu_attach_group(..., struct iommu_group *group)
 {
 ...
 mutex_lock(...);
+#ifdef CONFIG_IOMMU_EXT
+ret = iommu_dma_owner_may_attach_group(group);
+if (!ret)
+#endif
 ret = __iommu_attach_group(...);
 ...
 }

@@
identifier group, dev, ret;
@@
 iommu_attach_device_pasid(..., struct device *dev, ...)
 {
 ...
 struct iommu_group *group = ...;
 ...
 int ret;
 ...
 mutex_lock(...);
+#ifdef CONFIG_IOMMU_EXT
+ret = iommu_dma_owner_may_attach_pasid(group, dev);
+if (ret)
+	goto out_unlock;
+#endif
 ...
 }
