// SPDX-License-Identifier: GPL-2.0
/*
 * What iommufd's mock driver can do when a domain is asked for. Linked into
 * iommufd.
 */
#include "../../iommufd/iommufd_test.h"
#include "domain.h"

static const struct iommu_hwpt_selftest mock_known = {
	.iotlb = ~0U,
	.pagetable_type = ~0U,
};

static const struct iommu_user_domain_format mock_data = {
	.type = IOMMU_HWPT_DATA_SELFTEST,
	.min_len = offsetofend(struct iommu_hwpt_selftest, iotlb),
	.len = sizeof(mock_known),
	.known = &mock_known,
};

static void mock_abilities(struct device *dev,
			   struct iommu_user_domain_abilities *abilities)
{
	abilities->first.possible = true;
	abilities->first.flags = IOMMU_HWPT_ALLOC_NEST_PARENT | IOMMU_HWPT_ALLOC_PASID;
	if (device_iommu_capable(dev, IOMMU_CAP_DIRTY_TRACKING))
		abilities->first.flags |= IOMMU_HWPT_ALLOC_DIRTY_TRACKING;

	abilities->nested.possible = true;
	abilities->nested.flags = IOMMU_HWPT_ALLOC_PASID;
}

static const struct iommu_user_domain_driver mock = {
	.name = "mock",
	.paging_data = &mock_data,
	.nested_data = &mock_data,
	.abilities = mock_abilities,
	.alloc_paging = mock_domain_alloc_stage,
	.alloc_nested = mock_domain_alloc_on_parent,
};

struct iommu_domain *
mock_domain_alloc_user(struct device *dev, u32 flags,
		       struct iommu_domain *parent,
		       const struct iommu_user_data *user_data)
{
	return iommu_driver_domain_alloc_user(dev, flags, parent, user_data, &mock);
}

struct iommu_domain *
mock_domain_alloc_paging_flags(struct device *dev, u32 flags,
			       const struct iommu_user_data *user_data)
{
	return iommu_driver_domain_alloc_paging(dev, flags, user_data, &mock);
}
