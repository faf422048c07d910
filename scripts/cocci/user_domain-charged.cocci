// SPDX-License-Identifier: GPL-2.0
// What a domain needs when it is attached is charged as the domain is.
// files: drivers/iommu/intel/iommu.c drivers/iommu/intel/cache.c drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3.c
// hunks: 7.2=5 7.3=5
// options: --no-includes

// VT-d: the domain's number in an IOMMU
@@
identifier domain;
expression info;
@@
 domain_attach_iommu(struct dmar_domain *domain, ...)
 {
 <...
-kzalloc_obj(*info)
+kzalloc_obj(*info, iommu_domain_gfp(&domain->domain, GFP_KERNEL))
 ...>
 }

// ... a device and PASID
@@
identifier domain;
expression info;
@@
 domain_add_dev_pasid(struct iommu_domain *domain, ...)
 {
 <...
-kzalloc_obj(*info)
+kzalloc_obj(*info, iommu_domain_gfp(domain, GFP_KERNEL))
 ...>
 }

// ... what is to be invalidated
@@
identifier domain;
expression tag;
@@
 cache_tag_assign(struct dmar_domain *domain, ...)
 {
 <...
-kzalloc_obj(*tag)
+kzalloc_obj(*tag, iommu_domain_gfp(&domain->domain, GFP_KERNEL))
 ...>
 }

// ... and how it is told
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

// SMMUv3: a device and PASID
@@
identifier state, domain;
expression info;
@@
 arm_smmu_attach_prepare(struct arm_smmu_attach_state *state, struct iommu_domain *domain)
 {
 <...
-kzalloc_obj(*info)
+kzalloc_obj(*info, iommu_domain_gfp(domain, GFP_KERNEL))
 ...>
 }
