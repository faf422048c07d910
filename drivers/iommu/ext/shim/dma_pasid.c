// SPDX-License-Identifier: GPL-2.0
#include <linux/init.h>
#include <linux/kstrtox.h>
#include <linux/pci.h>

#include "../../iommu-priv.h"

/* Protects who uses which mode; see dma_pasid.rs for the order of locks. */
DEFINE_MUTEX(iommu_dma_pasid_mutex);

/* PASIDs besides IOASID_DMA_KERNEL. */
DECLARE_IOASID_SET(iommu_dma_pasids);

static bool trust = IS_ENABLED(CONFIG_IOMMU_DMA_PASID_TRUST);

static int __init iommu_dma_pasid_set_trust(char *text)
{
	return kstrtobool(text, &trust);
}
early_param("iommu.dma_pasid_trust", iommu_dma_pasid_set_trust);

static bool pasid_enabled(struct device *dev)
{
#ifdef CONFIG_PCI_PASID
	if (dev_is_pci(dev))
		return pci_physfn(to_pci_dev(dev))->pasid_enabled;
#endif
	return !dev_is_pci(dev);
}

/* Whether the device can send requests with PASID, and its IOMMU knows them. */
bool iommu_dma_pasid_on(struct device *dev)
{
	const struct iommu_domain *blocked = dev_iommu_ops(dev)->blocked_domain;

	return dev->iommu->max_pasids && pasid_enabled(dev) && blocked &&
	       blocked->ops->set_dev_pasid;
}

/* Whether the device may be given addresses that no IOMMU checks. */
bool iommu_dma_pasid_trusts(struct device *dev)
{
	if (!trust)
		return false;
	if (!dev_is_pci(dev))
		return true;
	return !to_pci_dev(dev)->untrusted && !to_pci_dev(dev)->external_facing;
}

/*
 * The domain for physical addresses, NULL if a PASID cannot have it. VT-d has the domain
 * whether the hardware passes requests through or not, and tells of that by the type.
 */
struct iommu_domain *iommu_dma_pasid_identity(struct device *dev)
{
	const struct iommu_ops *ops = dev_iommu_ops(dev);
	struct iommu_domain *identity = ops->identity_domain;

	if (ops->def_domain_type && ops->def_domain_type(dev) == IOMMU_DOMAIN_DMA)
		return NULL;
	return identity && identity->ops->set_dev_pasid ? identity : NULL;
}
