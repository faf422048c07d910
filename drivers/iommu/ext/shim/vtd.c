// SPDX-License-Identifier: GPL-2.0
/*
 * Domains that are the kernel's page table, for VT-d.
 *
 * Lock order: those of whoever changes the kernel's page table, shared_lock, a
 * domain's lock or its cache_lock, those of the invalidation queue. Interrupts are off
 * from shared_lock on, and nobody sleeps.
 */
#include <linux/init.h>
#include <linux/iommu-kva.h>
#include <linux/kstrtox.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/pci.h>
#include <linux/pci-ats.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <asm/tlbflush.h>

#include "../../intel/iommu.h"
#include "../../intel/pasid.h"
#include "../../iommu-priv.h"
#include "vtd.h"

struct shared_table {
	struct dmar_domain dmar;
	struct list_head node;
};

static LIST_HEAD(shared_tables);
static DEFINE_SPINLOCK(shared_lock);

static bool allowed;

static int __init iommu_kva_set_fast(char *text)
{
	return kstrtobool(text, &allowed);
}
early_param("iommu.kva_fast", iommu_kva_set_fast);

static bool may_send_privileged(struct device *dev)
{
	return dev_is_pci(dev) &&
	       pci_physfn(to_pci_dev(dev))->pasid_features & PCI_PASID_CAP_PRIV;
}

void iommu_vtd_kva_ask(struct device *dev, struct iommu_vtd_kva *answer)
{
	struct device_domain_info *info;
	struct intel_iommu *iommu;

	*answer = (struct iommu_vtd_kva){};
	if (dev_iommu_ops(dev) != &intel_iommu_ops)
		return;
	info = dev_iommu_priv_get(dev);
	iommu = info->iommu;
	answer->allowed = allowed;
	answer->requests = ecap_flts(iommu->ecap) && ecap_srs(iommu->ecap);
	answer->privileged = info->pasid_enabled && may_send_privileged(dev);
	/* What process page tables need, the kernel's needs as well */
	answer->same_paging = iommu->flags & VTD_FLAG_SVM_CAPABLE;
}

static int shared_set_dev_pasid(struct iommu_domain *domain, struct device *dev,
				ioasid_t pasid, struct iommu_domain *old)
{
	unsigned long flags = PASID_FLAG_PWSNP | PASID_FLAG_SUPERVISOR;
	struct device_domain_info *info = dev_iommu_priv_get(dev);
	struct dev_pasid_info *dev_pasid;
	int ret;

	if (dev_is_real_dma_subdevice(dev))
		return -EOPNOTSUPP;
	if (context_copied(info->iommu, info->bus, info->devfn))
		return -EBUSY;
	if (cpu_feature_enabled(X86_FEATURE_LA57))
		flags |= PASID_FLAG_FL5LP;
	dev_pasid = domain_add_dev_pasid(domain, dev, pasid);
	if (IS_ERR(dev_pasid))
		return PTR_ERR(dev_pasid);
	ret = __domain_setup_first_level(info->iommu, dev, pasid, FLPT_DEFAULT_DID,
					 __pa(init_mm.pgd), flags, old);
	if (ret) {
		domain_remove_dev_pasid(domain, dev, pasid);
		return ret;
	}
	domain_remove_dev_pasid(old, dev, pasid);
	return 0;
}

/* What the CPU finds there */
static phys_addr_t shared_iova_to_phys(struct iommu_domain *domain, dma_addr_t iova)
{
	phys_addr_t phys;

	return iommu_kva_piece_atomic(iova, false, &phys) ? phys : 0;
}

static void shared_free(struct iommu_domain *domain)
{
	struct shared_table *table =
		container_of(to_dmar_domain(domain), struct shared_table, dmar);

	scoped_guard(spinlock_irqsave, &shared_lock)
		list_del(&table->node);
	kfree(table->dmar.qi_batch);
	kfree(table);
}

static const struct iommu_domain_ops shared_ops = {
	.set_dev_pasid = shared_set_dev_pasid,
	.iova_to_phys = shared_iova_to_phys,
	.free = shared_free,
};

/* As a process's page table, so to the driver it is such a domain, without process. */
struct iommu_domain *iommu_vtd_kva_domain_alloc(struct device *dev)
{
	struct shared_table *table = kzalloc_obj(*table);
	struct dmar_domain *dmar;

	if (!table)
		return ERR_PTR(-ENOMEM);
	dmar = &table->dmar;
	dmar->domain.type = IOMMU_DOMAIN_SVA;
	dmar->domain.ops = &shared_ops;
	dmar->domain.owner = dev_iommu_ops(dev);
	INIT_LIST_HEAD(&dmar->dev_pasids);
	INIT_LIST_HEAD(&dmar->cache_tags);
	spin_lock_init(&dmar->cache_lock);
	spin_lock_init(&dmar->lock);

	guard(spinlock_irqsave)(&shared_lock);
	list_add(&table->node, &shared_tables);
	return &dmar->domain;
}

/*
 * If all devices are unplugged, only the IOMMU's caches have to forget the table:
 * a device that is gone would be waited for until that times out, every time.
 */
static bool flush_unplugged(struct shared_table *table)
{
	struct dev_pasid_info *user;

	guard(spinlock)(&table->dmar.lock);
	list_for_each_entry(user, &table->dmar.dev_pasids, link_domain)
		if (!dev_is_pci(user->dev) ||
		    !pci_dev_is_disconnected(to_pci_dev(user->dev)))
			return false;
	list_for_each_entry(user, &table->dmar.dev_pasids, link_domain) {
		struct device_domain_info *info = dev_iommu_priv_get(user->dev);

		qi_flush_piotlb_all(info->iommu, FLPT_DEFAULT_DID, user->pasid);
	}
	return true;
}

/*
 * The kernel's page table has changed: in no context that it changes in may one
 * sleep. Whoever attaches a table after this looked has seen the change.
 */
void iommu_kva_invalidate(unsigned long start, unsigned long end)
{
	struct shared_table *table;

	/* Pairs with what attaching does after list_add() */
	smp_mb();
	if (list_empty(&shared_tables))
		return;
	guard(spinlock_irqsave)(&shared_lock);
	list_for_each_entry(table, &shared_tables, node) {
		if (flush_unplugged(table))
			continue;
		if (end == TLB_FLUSH_ALL || start >= end)
			cache_tag_flush_all(&table->dmar);
		else
			cache_tag_flush_range(&table->dmar, start, end - 1, 0);
	}
}
