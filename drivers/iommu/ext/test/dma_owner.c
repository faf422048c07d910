// SPDX-License-Identifier: GPL-2.0
/*
 * DMA ownership: two drivers, for whatever device is bound to them by its
 * driver_override, that claim, release, attach and do DMA as userspace says.
 * One manages DMA by itself, the other has its bus claim for the DMA API.
 *
 * Lock order: device_lock, which is held when a driver is bound and unbound;
 * owner_lock; those of the IOMMU core.
 */
#include <linux/dma-mapping.h>
#include <linux/io-64-nonatomic-lo-hi.h>
#include <linux/iommu-dma-owner.h>
#include <linux/iommu.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/slab.h>

#include "iommu_ext_test_internal.h"
#include "pasid_testdev_regs.h"

#define NR_OWNERS	(DMA_OWNER_PRIVATE_DOMAIN_USER + 1)

/* What the memory holds that the device is told to fill with PATTERN */
#define BACKGROUND	0x55
#define PATTERN		0xa6

struct owner_dev {
	struct list_head node;
	struct pci_dev *pdev;
	void __iomem *bar;		/* NULL: not a device that does DMA */
	void *buf;
	dma_addr_t addr;
	unsigned int claims[NR_OWNERS];
	struct iommu_domain *domain;	/* NULL: none is attached */
	struct iommu_group *group;	/* attached so, else NULL */
	ioasid_t pasid;			/* attached so, else IOMMU_NO_PASID */
	unsigned int resets;
	bool keep;			/* claims outlast the driver */
	bool gone;
};

static LIST_HEAD(owner_devs);
static DEFINE_MUTEX(owner_lock);

/* Only addresses count: cookie n of an ioctl is that of cookies[n] */
static char cookies[DMA_OWNER_TEST_NR_COOKIES];

static int owner_claim(struct owner_dev *od, u32 owner, u32 cookie)
{
	int ret;

	if (cookie >= DMA_OWNER_TEST_NR_COOKIES)
		return -ERANGE;
	ret = iommu_device_set_dma_owner(&od->pdev->dev, owner,
					 cookie ? &cookies[cookie] : NULL);
	if (!ret)
		od->claims[owner]++;
	return ret;
}

static void owner_release(struct owner_dev *od, u32 owner)
{
	if (owner < NR_OWNERS && od->claims[owner])
		od->claims[owner]--;
	iommu_device_release_dma_owner(&od->pdev->dev, owner);
}

static int owner_do_attach(struct owner_dev *od, struct iommu_domain *domain,
			   u32 how, u32 pasid)
{
	struct device *dev = &od->pdev->dev;
	int ret;

	switch (how) {
	case DMA_OWNER_TEST_BY_DEVICE:
		return iommu_attach_device(domain, dev);
	case DMA_OWNER_TEST_BY_GROUP:
		od->group = iommu_group_get(dev);
		ret = iommu_attach_group(domain, od->group);
		if (ret) {
			iommu_group_put(od->group);
			od->group = NULL;
		}
		return ret;
	case DMA_OWNER_TEST_BY_PASID:
		ret = iommu_attach_device_pasid(domain, dev, pasid, NULL);
		if (!ret)
			od->pasid = pasid;
		return ret;
	default:
		return -ERANGE;
	}
}

static int owner_attach(struct owner_dev *od, u32 how, u32 pasid)
{
	struct iommu_domain *domain;
	int ret;

	if (od->domain)
		return -EALREADY;
	domain = iommu_paging_domain_alloc(&od->pdev->dev);
	if (IS_ERR(domain))
		return PTR_ERR(domain);
	ret = owner_do_attach(od, domain, how, pasid);
	if (ret)
		iommu_domain_free(domain);
	else
		od->domain = domain;
	return ret;
}

static void owner_detach(struct owner_dev *od)
{
	struct device *dev = &od->pdev->dev;

	if (!od->domain)
		return;
	if (od->pasid != IOMMU_NO_PASID) {
		iommu_detach_device_pasid(od->domain, dev, od->pasid);
		od->pasid = IOMMU_NO_PASID;
	} else if (iommu_get_domain_for_dev(dev) == od->domain) {
		/* Not if the last release has detached it */
		if (od->group)
			iommu_detach_group(od->domain, od->group);
		else
			iommu_detach_device(od->domain, dev);
	}
	iommu_group_put(od->group);
	od->group = NULL;
	iommu_domain_free(od->domain);
	od->domain = NULL;
}

static int owner_fill(struct owner_dev *od, const struct dma_owner_test_fill *args)
{
	void __iomem *slot;

	if (!od->bar)
		return -EOPNOTSUPP;
	if (args->len > DMA_OWNER_TEST_BUF_SIZE)
		return -EINVAL;
	slot = od->bar + PTD_SLOT(0, 0);

	memset(od->buf, BACKGROUND, DMA_OWNER_TEST_BUF_SIZE);
	writeq(od->addr, slot + PTD_D_DST);
	iowrite32(args->len, slot + PTD_D_LEN);
	iowrite32(args->delay_us, slot + PTD_D_DELAY_US);
	writeq(PATTERN * 0x0101010101010101ULL, slot + PTD_D_PATTERN);
	iowrite32(PTD_OP_FILL, slot + PTD_D_CTRL);
	iowrite32(0, od->bar + PTD_QUEUE(0) + PTD_Q_DOORBELL);
	return 0;
}

static int owner_filled(struct owner_dev *od, struct dma_owner_test_fill *args)
{
	void __iomem *slot;
	u32 i;

	if (!od->bar)
		return -EOPNOTSUPP;
	slot = od->bar + PTD_SLOT(0, 0);

	args->status = ioread32(slot + PTD_D_STATUS);
	args->moved = ioread32(slot + PTD_D_MOVED);
	args->changed = 0;
	for (i = 0; i < DMA_OWNER_TEST_BUF_SIZE; i++)
		args->changed += ((u8 *)od->buf)[i] != BACKGROUND;
	return 0;
}

/* As a reset does around what it does to the device */
static int owner_reset_begin(struct owner_dev *od)
{
	int ret = pci_dev_reset_iommu_prepare(od->pdev);

	if (!ret)
		od->resets++;
	return ret;
}

static int owner_reset_end(struct owner_dev *od)
{
	if (!od->resets)
		return -EINVAL;
	od->resets--;
	pci_dev_reset_iommu_done(od->pdev);
	return 0;
}

/* As the device was when it was bound; its claims stay if they are to be kept */
static void owner_clean(struct owner_dev *od)
{
	u32 owner;

	if (od->bar)
		iowrite32(PTD_CTRL_RESET, od->bar + PTD_REG_CTRL);
	while (!owner_reset_end(od))
		;
	owner_detach(od);
	if (od->keep)
		return;
	for (owner = 0; owner < NR_OWNERS; owner++)
		while (od->claims[owner])
			owner_release(od, owner);
}

static void owner_forget(struct owner_dev *od)
{
	list_del(&od->node);
	pci_dev_put(od->pdev);
	kfree(od);
}

static int owner_init_dma(struct owner_dev *od)
{
	struct pci_dev *pdev = od->pdev;
	int ret;

	if (pdev->vendor != PTD_VENDOR_ID || pdev->device != PTD_DEVICE_ID)
		return 0;

	ret = pcim_enable_device(pdev);
	if (ret)
		return ret;
	ret = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (ret)
		return ret;
	od->buf = dmam_alloc_coherent(&pdev->dev, DMA_OWNER_TEST_BUF_SIZE,
				      &od->addr, GFP_KERNEL);
	if (!od->buf)
		return -ENOMEM;
	od->bar = pcim_iomap(pdev, PTD_BAR, PTD_BAR_SIZE);
	if (!od->bar)
		return -ENOMEM;
	iowrite32(PTD_CTRL_RESET, od->bar + PTD_REG_CTRL);
	pci_set_master(pdev);
	return 0;
}

static int owner_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct owner_dev *od = kzalloc_obj(*od);
	int ret;

	if (!od)
		return -ENOMEM;
	od->pdev = pdev;
	ret = owner_init_dma(od);
	if (ret) {
		kfree(od);
		return ret;
	}
	pci_dev_get(pdev);
	pci_set_drvdata(pdev, od);
	guard(mutex)(&owner_lock);
	/* In front of one that is gone and had the same place */
	list_add(&od->node, &owner_devs);
	return 0;
}

static void owner_remove(struct pci_dev *pdev)
{
	struct owner_dev *od = pci_get_drvdata(pdev);

	guard(mutex)(&owner_lock);
	if (od->bar) {
		iowrite32(PTD_CTRL_RESET, od->bar + PTD_REG_CTRL);
		pci_clear_master(pdev);
		od->bar = NULL;
	}
	owner_clean(od);
	if (od->keep)
		od->gone = true;
	else
		owner_forget(od);
}

static const struct pci_device_id owner_ids[] = { {} };

static struct pci_driver owner_managed = {
	.name = "iommu_ext_managed",
	.id_table = owner_ids,
	.probe = owner_probe,
	.remove = owner_remove,
	.driver_managed_dma = true,
};

static struct pci_driver owner_plain = {
	.name = "iommu_ext_plain",
	.id_table = owner_ids,
	.probe = owner_probe,
	.remove = owner_remove,
};

/* The ioctls */

union owner_args {
	struct dma_owner_test_dev dev;
	struct dma_owner_test_call call;
	struct dma_owner_test_attach attach;
	struct dma_owner_test_fill fill;
};

static struct owner_dev *owner_find(const struct dma_owner_test_dev *dev)
{
	struct owner_dev *od;

	lockdep_assert_held(&owner_lock);
	list_for_each_entry(od, &owner_devs, node)
		if (pci_domain_nr(od->pdev->bus) == dev->segment &&
		    od->pdev->bus->number == dev->bus && od->pdev->devfn == dev->devfn)
			return od;
	return NULL;
}

static int owner_locked_ioctl(struct owner_dev *od, unsigned int cmd,
			      union owner_args *args)
{
	if (cmd == DMA_OWNER_TEST_RELEASE) {
		owner_release(od, args->call.owner);
		return 0;
	}
	/* Nothing else may be asked of a device that is no longer bound */
	if (od->gone)
		return -ENODEV;

	switch (cmd) {
	case DMA_OWNER_TEST_CLAIM:
		args->call.error = owner_claim(od, args->call.owner, args->call.cookie);
		return 0;
	case DMA_OWNER_TEST_KEEP:
		od->keep = true;
		return 0;
	case DMA_OWNER_TEST_ATTACH:
		args->attach.error = owner_attach(od, args->attach.how, args->attach.pasid);
		return 0;
	case DMA_OWNER_TEST_DETACH:
		owner_detach(od);
		return 0;
	case DMA_OWNER_TEST_FILL:
		return owner_fill(od, &args->fill);
	case DMA_OWNER_TEST_FILLED:
		return owner_filled(od, &args->fill);
	case DMA_OWNER_TEST_RESET_BEGIN:
		return owner_reset_begin(od);
	case DMA_OWNER_TEST_RESET_END:
		return owner_reset_end(od);
	default:
		return -ENOTTY;
	}
}

static long owner_ioctl(void *state, unsigned int cmd, void __user *arg)
{
	union owner_args args = {};
	struct owner_dev *od;
	int ret = -ENODEV;

	if (_IOC_SIZE(cmd) > sizeof(args))
		return -ENOTTY;
	if (copy_from_user(&args, arg, _IOC_SIZE(cmd)))
		return -EFAULT;

	scoped_guard(mutex, &owner_lock) {
		od = owner_find(&args.dev);
		if (od)
			ret = owner_locked_ioctl(od, cmd, &args);
	}

	if (!ret && (_IOC_DIR(cmd) & _IOC_READ) && copy_to_user(arg, &args, _IOC_SIZE(cmd)))
		return -EFAULT;
	return ret;
}

static void *owner_open(void)
{
	return NULL;
}

/* Whoever closes puts all devices back: tests run one after another */
static void owner_close(void *state)
{
	struct owner_dev *od, *next;

	guard(mutex)(&owner_lock);
	list_for_each_entry_safe(od, next, &owner_devs, node) {
		od->keep = false;
		if (od->gone)
			owner_forget(od);
		else
			owner_clean(od);
	}
}

static int owner_init(void)
{
	int ret = pci_register_driver(&owner_managed);

	if (ret)
		return ret;
	ret = pci_register_driver(&owner_plain);
	if (ret)
		pci_unregister_driver(&owner_managed);
	return ret;
}

static void owner_exit(void)
{
	pci_unregister_driver(&owner_plain);
	pci_unregister_driver(&owner_managed);
}

const struct ext_test_group ext_test_dma_owner = {
	.type = IOMMU_EXT_TEST_DMA_OWNER,
	.init = owner_init,
	.exit = owner_exit,
	.open = owner_open,
	.release = owner_close,
	.ioctl = owner_ioctl,
};
