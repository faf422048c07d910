// SPDX-License-Identifier: GPL-2.0
// iommufd claims for userspace, and still reports another owner, and nothing else, as -EPERM.
// files: drivers/iommu/iommufd/device.c
// hunks: 7.2=7 7.3=5
// options: --no-includes

@@
@@
 #include <linux/iommu.h>
+#include <linux/iommu-dma-owner.h>

@@
expression dev, ictx;
identifier igroup, rc;
@@
 struct iommufd_group *igroup;
 ...
+#ifdef CONFIG_IOMMU_EXT
+rc = iommu_device_set_dma_owner(dev, DMA_OWNER_PRIVATE_DOMAIN_USER, ictx);
+if (rc == -EBUSY && iommu_dma_owner_is_other(igroup->group, ictx))
+	rc = -EPERM;
+#else
 rc = iommu_device_claim_dma_owner(dev, ictx);
+#endif

@@
expression dev;
@@
+#ifdef CONFIG_IOMMU_EXT
+iommu_device_release_dma_owner(dev, DMA_OWNER_PRIVATE_DOMAIN_USER);
+#else
 iommu_device_release_dma_owner(dev);
+#endif
