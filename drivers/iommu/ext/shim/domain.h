/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Drivers of IOMMUs and their descriptions in this folder: of the functions of a
 * driver the first are the description's, for the driver's operations, and the
 * others are the driver's own, which the description names.
 */
#ifndef _IOMMU_EXT_DOMAIN_H
#define _IOMMU_EXT_DOMAIN_H

#include <linux/iommu.h>
#include <linux/iommu-user-domain.h>

#ifdef CONFIG_IOMMU_EXT

/* VT-d */

struct iommu_domain *
intel_iommu_domain_alloc_user(struct device *dev, u32 flags,
			      struct iommu_domain *parent,
			      const struct iommu_user_data *user_data);
struct iommu_domain *
intel_iommu_domain_alloc_paging_flags(struct device *dev, u32 flags,
				      const struct iommu_user_data *user_data);

struct iommu_domain *
intel_iommu_domain_alloc_stage(struct device *dev, u32 stage, u32 flags,
			       const struct iommu_user_data *user_data, gfp_t gfp);

#if IS_ENABLED(CONFIG_KUNIT)
extern const struct iommu_user_domain_format intel_iommu_vtd_s1;
#endif

/* SMMUv3 */

struct iommu_domain *
arm_smmu_domain_alloc_user(struct device *dev, u32 flags,
			   struct iommu_domain *parent,
			   const struct iommu_user_data *user_data);
struct iommu_domain *
arm_smmu_domain_alloc_paging_flags(struct device *dev, u32 flags,
				   const struct iommu_user_data *user_data);

struct iommu_domain *
arm_smmu_domain_alloc_stage(struct device *dev, u32 stage, u32 flags,
			    const struct iommu_user_data *user_data, gfp_t gfp);

/* iommufd's mock driver */

struct iommu_domain *
mock_domain_alloc_user(struct device *dev, u32 flags,
		       struct iommu_domain *parent,
		       const struct iommu_user_data *user_data);
struct iommu_domain *
mock_domain_alloc_paging_flags(struct device *dev, u32 flags,
			       const struct iommu_user_data *user_data);

struct iommu_domain *
mock_domain_alloc_stage(struct device *dev, u32 stage, u32 flags,
			const struct iommu_user_data *user_data, gfp_t gfp);
struct iommu_domain *
mock_domain_alloc_on_parent(struct device *dev, struct iommu_domain *parent,
			    u32 flags, const struct iommu_user_data *user_data);

/* How it allocates nested domains */
#define MOCK_NESTED_GFP	GFP_KERNEL_ACCOUNT

#else /* !CONFIG_IOMMU_EXT */

#define MOCK_NESTED_GFP	GFP_KERNEL

#endif /* CONFIG_IOMMU_EXT */

#endif /* _IOMMU_EXT_DOMAIN_H */
