// SPDX-License-Identifier: GPL-2.0
// Without an IOMMU core the new pair has stubs of its own, one under an old name.
// files: include/linux/iommu.h
// hunks: 7.2=1 7.3=1
// options: --no-includes

@@
identifier dev;
@@
-static inline void iommu_device_release_dma_owner(struct device *dev)
-{
-}

@@
identifier dev, owner;
@@
-static inline int iommu_device_claim_dma_owner(struct device *dev, void *owner)
-{
-	return ...;
-}
