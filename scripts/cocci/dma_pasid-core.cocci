// SPDX-License-Identifier: GPL-2.0
// Devices that join and leave a group are seen by who keeps its kernel PASIDs.
// files: drivers/iommu/iommu.c
// hunks: 7.2=6 7.3=6
// options: --no-includes

// The last thing before a driver's device goes that may sleep on other locks
@@
identifier group, dev;
@@
 __iommu_group_remove_device(struct device *dev)
 {
 ...
 struct iommu_group *group = ...;
 ...
+#ifdef CONFIG_IOMMU_EXT
+iommu_dma_pasid_remove_device(dev);
+#endif
 mutex_lock(...);
 ...
 }

// It may have PASIDs that its siblings attached for the whole group
@@
iterator name for_each_group_device;
identifier group, gdev;
@@
 __iommu_group_remove_device(...)
 {
 ...
 for_each_group_device(group, gdev) {
 ...
+#ifdef CONFIG_IOMMU_EXT
+iommu_group_forget_pasids(group, gdev);
+#endif
 list_del(...);
 ...
 }
 ...
 }

// The group's domain was attached before, as what undoes the join takes the device off it
@@
identifier group, dev, ret, gdev, group_list;
@@
 __iommu_probe_device(struct device *dev, struct list_head *group_list)
 {
 ...
 struct iommu_group *group;
 struct group_device *gdev;
 int ret;
 ... when any
+#ifdef CONFIG_IOMMU_EXT
+ret = iommu_dma_pasid_join(group, dev);
+if (ret) {
+	dev_warn(dev, "cannot join its IOMMU group while PASIDs are in use there\n");
+	/* No reason for an IOMMU that registers to give up */
+	if (group_list)
+		ret = -ENODEV;
+	goto err_remove_gdev;
+}
+#endif
 if (group->default_domain)
 	iommu_setup_dma_ops(...);
 ... when any
 }

// The driver is done with a device that has joined
@@
identifier fn =~ "^iommu_probe_device$\|^iommu_group_do_probe_finalize$";
identifier dev, ops;
@@
 fn(struct device *dev)
 {
 ...
 if (ops->probe_finalize)
 	ops->probe_finalize(dev);
+#ifdef CONFIG_IOMMU_EXT
+iommu_dma_pasid_device_ready(dev);
+#endif
 ...
 }

// One that was refused is asked again when a driver is bound, where firmware describes it so
@@
identifier dev;
expression list es;
@@
 __iommu_probe_device(struct device *dev, ...)
 {
 <...
-if (dev->driver)
+if (!IS_ENABLED(CONFIG_IOMMU_EXT) && dev->driver)
 	dev_WARN(dev, es);
 ...>
 }
