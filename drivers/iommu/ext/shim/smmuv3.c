// SPDX-License-Identifier: GPL-2.0
/*
 * What the SMMUv3 can do when a domain is asked for. Linked into its driver.
 *
 * Nested domains are made through a vIOMMU, which the driver does by itself.
 */
#include <uapi/linux/iommufd.h>

#include "../../arm/arm-smmu-v3/arm-smmu-v3.h"
#include "domain.h"

static void smmuv3_abilities(struct device *dev,
			     struct iommu_user_domain_abilities *abilities)
{
	struct arm_smmu_master *master = dev_iommu_priv_get(dev);
	u32 features = master->smmu->features;
	u32 dirty = ARM_SMMU_FEAT_HD | ARM_SMMU_FEAT_COHERENCY;

	abilities->first.possible = features & ARM_SMMU_FEAT_TRANS_S1;
	abilities->first.flags = IOMMU_HWPT_ALLOC_PASID;
	if ((features & dirty) == dirty)
		abilities->first.flags |= IOMMU_HWPT_ALLOC_DIRTY_TRACKING;

	abilities->second.possible = features & ARM_SMMU_FEAT_TRANS_S2;
	if (features & ARM_SMMU_FEAT_NESTING)
		abilities->second.flags = IOMMU_HWPT_ALLOC_NEST_PARENT;
}

static const struct iommu_user_domain_driver smmuv3 = {
	.name = "smmuv3",
	.abilities = smmuv3_abilities,
	.alloc_paging = arm_smmu_domain_alloc_stage,
};

struct iommu_domain *
arm_smmu_domain_alloc_user(struct device *dev, u32 flags,
			   struct iommu_domain *parent,
			   const struct iommu_user_data *user_data)
{
	return iommu_driver_domain_alloc_user(dev, flags, parent, user_data, &smmuv3);
}

struct iommu_domain *
arm_smmu_domain_alloc_paging_flags(struct device *dev, u32 flags,
				   const struct iommu_user_data *user_data)
{
	return iommu_driver_domain_alloc_paging(dev, flags, user_data, &smmuv3);
}
