// SPDX-License-Identifier: GPL-2.0
/*
 * What VT-d can do when a domain is asked for.
 */
#include <kunit/visibility.h>
#include <uapi/linux/iommufd.h>

#include "../../intel/iommu.h"
#include "domain.h"

static const struct iommu_hwpt_vtd_s1 vtd_s1_known = {
	.flags = IOMMU_VTD_S1_SRE | IOMMU_VTD_S1_EAFE | IOMMU_VTD_S1_WPE,
	.pgtbl_addr = ~0ULL,
	.addr_width = ~0U,
};

VISIBLE_IF_KUNIT const struct iommu_user_domain_format intel_iommu_vtd_s1 = {
	.type = IOMMU_HWPT_DATA_VTD_S1,
	.min_len = offsetofend(struct iommu_hwpt_vtd_s1, __reserved),
	.len = sizeof(vtd_s1_known),
	.known = &vtd_s1_known,
};

static void vtd_abilities(struct device *dev,
			  struct iommu_user_domain_abilities *abilities)
{
	struct device_domain_info *info = dev_iommu_priv_get(dev);
	struct intel_iommu *iommu = info->iommu;
	u32 pasid = pasid_supported(iommu) ? IOMMU_HWPT_ALLOC_PASID : 0;

	/* Without scalable mode there is the second stage only */
	abilities->first.possible = sm_supported(iommu) && ecap_flts(iommu->ecap);
	abilities->first.flags = pasid;

	abilities->second.possible = !sm_supported(iommu) || ecap_slts(iommu->ecap);
	abilities->second.flags = pasid;
	if (nested_supported(iommu))
		abilities->second.flags |= IOMMU_HWPT_ALLOC_NEST_PARENT;
	if (ssads_supported(iommu))
		abilities->second.flags |= IOMMU_HWPT_ALLOC_DIRTY_TRACKING;

	abilities->nested.possible = nested_supported(iommu);
	abilities->nested.flags = pasid;
}

static const struct iommu_user_domain_driver vtd = {
	.name = "vtd",
	.nested_data = &intel_iommu_vtd_s1,
	.abilities = vtd_abilities,
	.alloc_paging = intel_iommu_domain_alloc_stage,
	.alloc_nested = intel_iommu_domain_alloc_nested,
};

struct iommu_domain *
intel_iommu_domain_alloc_user(struct device *dev, u32 flags,
			      struct iommu_domain *parent,
			      const struct iommu_user_data *user_data)
{
	return iommu_driver_domain_alloc_user(dev, flags, parent, user_data, &vtd);
}

struct iommu_domain *
intel_iommu_domain_alloc_paging_flags(struct device *dev, u32 flags,
				      const struct iommu_user_data *user_data)
{
	return iommu_driver_domain_alloc_paging(dev, flags, user_data, &vtd);
}
