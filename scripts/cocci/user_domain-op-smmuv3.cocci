// SPDX-License-Identifier: GPL-2.0
// The SMMUv3 makes domains from the memory that it is told.
// files: drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3.c drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3.h drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3-sva.c
// hunks: 7.2=8 7.3=8
// options: --no-includes

@@
identifier domain;
@@
-arm_smmu_domain_alloc(void)
+arm_smmu_domain_alloc(gfp_t gfp)
 {
 ...
-domain = kzalloc_obj(*domain);
+domain = kzalloc_obj(*domain, gfp);
 ...
 }

@@
@@
-struct arm_smmu_domain *arm_smmu_domain_alloc(void);
+struct arm_smmu_domain *arm_smmu_domain_alloc(gfp_t gfp);

@@
@@
-arm_smmu_domain_alloc()
+arm_smmu_domain_alloc(GFP_KERNEL)

@@
identifier smmu_domain, smmu, flags, pgtbl_cfg;
expression E;
@@
 arm_smmu_domain_finalise(struct arm_smmu_domain *smmu_domain, struct arm_smmu_device *smmu, u32 flags
+	, gfp_t gfp
 )
 {
 ...
 pgtbl_cfg = E;
+#ifdef CONFIG_IOMMU_EXT
+pgtbl_cfg.gfp = gfp;
+#endif
 ...
 }

@@
expression smmu_domain, smmu, flags;
@@
-arm_smmu_domain_finalise(smmu_domain, smmu, flags)
+arm_smmu_domain_finalise(smmu_domain, smmu, flags, GFP_KERNEL)
