// SPDX-License-Identifier: GPL-2.0
/*
 * Driver of the PASID test device that QEMU emulates; userspace tells it what
 * to allocate, map, attach and submit. Only the kernel's ordinary calls are
 * used, so that it shows what they do.
 *
 * A device has one lock, for its hardware and for all that was made for it.
 * After remove() @pdev is NULL and nothing is left but the memory of struct
 * ptd, which goes with the last file that has it open.
 *
 * Lock order: device_lock (in remove() and reset_prepare()), ptd->lock, those
 * of the IOMMU core. ptd_list_lock is inside none and has ptd->lock inside.
 * Devices that are reset together have all their locks taken, in the order of
 * their bus, under all their device_locks: so each is a class of its own.
 */
#include <linux/dma-mapping.h>
#include <linux/interrupt.h>
#include <linux/io-64-nonatomic-lo-hi.h>
#include <linux/iommu.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/lockdep.h>
#include <linux/mutex.h>
#include <linux/overflow.h>
#include <linux/pci.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/wait.h>

#include "iommu_ext_test_internal.h"
#include "pasid_testdev_regs.h"

struct ptd_buf {
	void *cpu;		/* NULL: this index is free */
	dma_addr_t addr;	/* physical unless coherent */
	u32 size;
	bool coherent;
	unsigned int mapped;
};

struct ptd_domain {
	struct iommu_domain *domain;	/* NULL: this index is free */
	unsigned int users;		/* mappings and attachments */
};

struct ptd_map {
	struct ptd_domain *domain;	/* NULL: this entry is free */
	struct ptd_buf *buf;
	u64 iova;
};

struct ptd_attached {
	struct iommu_domain *domain;	/* NULL: this entry is free */
	struct ptd_domain *owner;	/* NULL: the default domain */
	ioasid_t pasid;
};

struct ptd_queue {
	struct ptd *ptd;
	wait_queue_head_t wait;
	unsigned int events;		/* interrupts, resets */
};

struct ptd {
	struct kref ref;
	struct list_head node;
	struct lock_class_key key;
	struct mutex lock;		/* all below */
	struct pci_dev *pdev;
	void __iomem *bar;
	bool opened;
	bool careless;			/* remove() leaves the device running */
	struct ptd_queue queues[PTD_NR_QUEUES];
	struct ptd_buf bufs[PTD_TEST_NR_BUFS];
	struct ptd_domain domains[PTD_TEST_NR_DOMAINS];
	struct ptd_map maps[PTD_TEST_NR_MAPS];
	struct ptd_attached attached[PTD_TEST_NR_ATTACHED];
	struct iommu_sva *sva;
};

static LIST_HEAD(ptd_list);
static DEFINE_MUTEX(ptd_list_lock);

static void ptd_free(struct kref *ref)
{
	struct ptd *ptd = container_of(ref, struct ptd, ref);

	mutex_destroy(&ptd->lock);
	lockdep_unregister_key(&ptd->key);
	kfree(ptd);
}

static void ptd_put(struct ptd *ptd)
{
	kref_put(&ptd->ref, ptd_free);
}

/* Hardware */

static void ptd_queue_event(struct ptd_queue *queue)
{
	WRITE_ONCE(queue->events, READ_ONCE(queue->events) + 1);
	wake_up_all(&queue->wait);
}

static void ptd_all_queues_event(struct ptd *ptd)
{
	unsigned int i;

	for (i = 0; i < PTD_NR_QUEUES; i++)
		ptd_queue_event(&ptd->queues[i]);
}

static irqreturn_t ptd_interrupt(int irq, void *data)
{
	ptd_queue_event(data);
	return IRQ_HANDLED;
}

/* Stops all requests at once, empties the translation cache */
static void ptd_hw_reset(struct ptd *ptd)
{
	iowrite32(PTD_CTRL_RESET, ptd->bar + PTD_REG_CTRL);
	ioread32(ptd->bar + PTD_REG_CTRL);
	ptd_all_queues_event(ptd);
}

static int ptd_submit_one(struct ptd *ptd, const struct ptd_test_request *req)
{
	void __iomem *queue, *slot;

	if (req->queue >= PTD_NR_QUEUES || req->slot >= PTD_NR_SLOTS)
		return -EINVAL;
	queue = ptd->bar + PTD_QUEUE(req->queue);
	slot = ptd->bar + PTD_SLOT(req->queue, req->slot);
	if (readq(queue + PTD_Q_PENDING) & BIT_ULL(req->slot))
		return -EBUSY;

	iowrite32(req->pasid, slot + PTD_D_PASID);
	writeq(req->src, slot + PTD_D_SRC);
	writeq(req->dst, slot + PTD_D_DST);
	iowrite32(req->len, slot + PTD_D_LEN);
	iowrite32(req->delay_us, slot + PTD_D_DELAY_US);
	writeq(req->pattern, slot + PTD_D_PATTERN);
	iowrite32(req->buf, slot + PTD_D_BUF);
	iowrite32(req->ctrl | PTD_F_IRQ, slot + PTD_D_CTRL);
	iowrite32(req->slot, queue + PTD_Q_DOORBELL);
	return 0;
}

static int ptd_status_one(struct ptd *ptd, struct ptd_test_request *req)
{
	void __iomem *slot;

	if (req->queue >= PTD_NR_QUEUES || req->slot >= PTD_NR_SLOTS)
		return -EINVAL;
	slot = ptd->bar + PTD_SLOT(req->queue, req->slot);
	req->status = ioread32(slot + PTD_D_STATUS);
	req->moved = ioread32(slot + PTD_D_MOVED);
	req->fault_addr = readq(slot + PTD_D_FAULT_ADDR);
	return 0;
}

static int ptd_access(struct ptd *ptd, struct ptd_test_reg *reg)
{
	void __iomem *addr = ptd->bar + reg->offset;

	if (reg->offset >= PTD_BAR_SIZE || !reg->width || reg->offset % reg->width)
		return -EINVAL;

	switch (reg->width) {
	case 1:
		if (reg->write)
			iowrite8(reg->value, addr);
		else
			reg->value = ioread8(addr);
		return 0;
	case 2:
		if (reg->write)
			iowrite16(reg->value, addr);
		else
			reg->value = ioread16(addr);
		return 0;
	case 4:
		if (reg->write)
			iowrite32(reg->value, addr);
		else
			reg->value = ioread32(addr);
		return 0;
	case 8:
		if (reg->write)
			writeq(reg->value, addr);
		else
			reg->value = readq(addr);
		return 0;
	default:
		return -EINVAL;
	}
}

/* Buffers */

static struct ptd_buf *ptd_buf(struct ptd *ptd, u32 index)
{
	if (index >= PTD_TEST_NR_BUFS || !ptd->bufs[index].cpu)
		return NULL;
	return &ptd->bufs[index];
}

static int ptd_buf_alloc(struct ptd *ptd, struct ptd_test_buf_alloc *args)
{
	struct ptd_buf *buf;
	u32 index;

	if (!args->size || args->size > PTD_TEST_MAX_BUF || !PAGE_ALIGNED(args->size))
		return -EINVAL;
	for (index = 0; index < PTD_TEST_NR_BUFS; index++)
		if (!ptd->bufs[index].cpu)
			break;
	if (index == PTD_TEST_NR_BUFS)
		return -ENOSPC;

	buf = &ptd->bufs[index];
	*buf = (struct ptd_buf){ .size = args->size, .coherent = args->coherent };
	if (buf->coherent) {
		buf->cpu = dma_alloc_coherent(&ptd->pdev->dev, buf->size, &buf->addr, GFP_KERNEL);
	} else {
		buf->cpu = alloc_pages_exact(buf->size, GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN);
		if (buf->cpu)
			buf->addr = virt_to_phys(buf->cpu);
	}
	if (!buf->cpu)
		return -ENOMEM;
	args->buf = index;
	args->addr = buf->addr;
	return 0;
}

static int ptd_buf_free(struct ptd *ptd, u32 index)
{
	struct ptd_buf *buf = ptd_buf(ptd, index);

	if (!buf)
		return -ENOENT;
	if (buf->mapped)
		return -EBUSY;
	if (buf->coherent)
		dma_free_coherent(&ptd->pdev->dev, buf->size, buf->cpu, buf->addr);
	else
		free_pages_exact(buf->cpu, buf->size);
	buf->cpu = NULL;
	return 0;
}

static int ptd_buf_copy(struct ptd *ptd, const struct ptd_test_buf_copy *args)
{
	struct ptd_buf *buf = ptd_buf(ptd, args->buf);
	void __user *data = u64_to_user_ptr(args->data);
	unsigned long left;

	if (!buf)
		return -ENOENT;
	if (args->offset > buf->size || args->len > buf->size - args->offset)
		return -EINVAL;
	if (args->write)
		left = copy_from_user(buf->cpu + args->offset, data, args->len);
	else
		left = copy_to_user(data, buf->cpu + args->offset, args->len);
	return left ? -EFAULT : 0;
}

/* Domains, mappings */

static struct ptd_domain *ptd_domain(struct ptd *ptd, u32 index)
{
	if (index >= PTD_TEST_NR_DOMAINS || !ptd->domains[index].domain)
		return NULL;
	return &ptd->domains[index];
}

static int ptd_domain_alloc(struct ptd *ptd, u32 *index)
{
	struct iommu_domain *domain;
	u32 i;

	for (i = 0; i < PTD_TEST_NR_DOMAINS; i++)
		if (!ptd->domains[i].domain)
			break;
	if (i == PTD_TEST_NR_DOMAINS)
		return -ENOSPC;
	domain = iommu_paging_domain_alloc(&ptd->pdev->dev);
	if (IS_ERR(domain))
		return PTR_ERR(domain);
	ptd->domains[i] = (struct ptd_domain){ .domain = domain };
	*index = i;
	return 0;
}

static int ptd_domain_free(struct ptd *ptd, u32 index)
{
	struct ptd_domain *domain = ptd_domain(ptd, index);

	if (!domain)
		return -ENOENT;
	if (domain->users)
		return -EBUSY;
	iommu_domain_free(domain->domain);
	domain->domain = NULL;
	return 0;
}

static int ptd_map(struct ptd *ptd, const struct ptd_test_map *args)
{
	struct ptd_domain *domain = ptd_domain(ptd, args->domain);
	struct ptd_buf *buf = ptd_buf(ptd, args->buf);
	u64 end;
	u32 i;
	int ret;

	if (!domain || !buf)
		return -ENOENT;
	if (buf->coherent || !PAGE_ALIGNED(args->iova) ||
	    check_add_overflow(args->iova, (u64)buf->size - 1, &end))
		return -EINVAL;
	for (i = 0; i < PTD_TEST_NR_MAPS; i++)
		if (!ptd->maps[i].domain)
			break;
	if (i == PTD_TEST_NR_MAPS)
		return -ENOSPC;

	ret = iommu_map(domain->domain, args->iova, buf->addr, buf->size,
			IOMMU_READ | (args->writable ? IOMMU_WRITE : 0), GFP_KERNEL);
	if (ret)
		return ret;
	ptd->maps[i] = (struct ptd_map){ .domain = domain, .buf = buf, .iova = args->iova };
	domain->users++;
	buf->mapped++;
	return 0;
}

static int ptd_unmap_entry(struct ptd_map *map)
{
	size_t size = iommu_unmap(map->domain->domain, map->iova, map->buf->size);
	int ret = size == map->buf->size ? 0 : -EIO;

	map->domain->users--;
	map->buf->mapped--;
	map->domain = NULL;
	return ret;
}

static int ptd_unmap(struct ptd *ptd, const struct ptd_test_map *args)
{
	struct ptd_domain *domain = ptd_domain(ptd, args->domain);
	struct ptd_buf *buf = ptd_buf(ptd, args->buf);
	struct ptd_map *map;
	u32 i;

	for (i = 0; domain && i < PTD_TEST_NR_MAPS; i++) {
		map = &ptd->maps[i];
		if (map->domain == domain && map->buf == buf && map->iova == args->iova)
			return ptd_unmap_entry(map);
	}
	return -ENOENT;
}

/* Attachments */

static struct ptd_attached *ptd_find_attached(struct ptd *ptd, ioasid_t pasid)
{
	u32 i;

	for (i = 0; i < PTD_TEST_NR_ATTACHED; i++)
		if (ptd->attached[i].domain && ptd->attached[i].pasid == pasid)
			return &ptd->attached[i];
	return NULL;
}

static int ptd_attach_group(struct ptd *ptd, struct iommu_domain *domain)
{
	struct iommu_group *group = iommu_group_get(&ptd->pdev->dev);
	int ret;

	if (!group)
		return -ENODEV;
	ret = iommu_attach_group(domain, group);
	iommu_group_put(group);
	return ret;
}

static void ptd_detach_group(struct ptd *ptd, struct iommu_domain *domain)
{
	struct iommu_group *group = iommu_group_get(&ptd->pdev->dev);

	iommu_detach_group(domain, group);
	iommu_group_put(group);
}

static int ptd_attach(struct ptd *ptd, const struct ptd_test_attach *args)
{
	struct ptd_domain *owner = NULL;
	struct iommu_domain *domain;
	u32 i;
	int ret;

	if (args->domain == PTD_TEST_DEFAULT_DOMAIN) {
		domain = iommu_get_domain_for_dev(&ptd->pdev->dev);
		/* Somebody's own domain, attached to the group, may go at any time */
		if (domain && domain->type == IOMMU_DOMAIN_UNMANAGED)
			return -EBUSY;
	} else {
		owner = ptd_domain(ptd, args->domain);
		domain = owner ? owner->domain : NULL;
	}
	if (!domain)
		return -ENOENT;
	for (i = 0; i < PTD_TEST_NR_ATTACHED; i++)
		if (!ptd->attached[i].domain)
			break;
	if (i == PTD_TEST_NR_ATTACHED)
		return -ENOSPC;

	if (!args->pasid) {
		/* The group is attached to its default domain as it is */
		if (!owner)
			return -EINVAL;
		ret = ptd_attach_group(ptd, domain);
	} else {
		ret = iommu_attach_device_pasid(domain, &ptd->pdev->dev, args->pasid, NULL);
	}
	if (ret)
		return ret;

	ptd->attached[i] = (struct ptd_attached){
		.domain = domain, .owner = owner, .pasid = args->pasid,
	};
	if (owner)
		owner->users++;
	return 0;
}

static void ptd_detach_entry(struct ptd *ptd, struct ptd_attached *attached)
{
	if (attached->pasid)
		iommu_detach_device_pasid(attached->domain, &ptd->pdev->dev, attached->pasid);
	else
		ptd_detach_group(ptd, attached->domain);
	if (attached->owner)
		attached->owner->users--;
	attached->domain = NULL;
}

static int ptd_detach(struct ptd *ptd, u32 pasid)
{
	struct ptd_attached *attached = ptd_find_attached(ptd, pasid);

	if (!attached)
		return -ENOENT;
	ptd_detach_entry(ptd, attached);
	return 0;
}

static int ptd_sva_bind(struct ptd *ptd, u32 *pasid)
{
	struct iommu_sva *sva;

	if (ptd->sva)
		return -EBUSY;
	sva = iommu_sva_bind_device(&ptd->pdev->dev, current->mm);
	if (IS_ERR(sva))
		return PTR_ERR(sva);
	ptd->sva = sva;
	*pasid = iommu_sva_get_pasid(sva);
	return 0;
}

static int ptd_sva_unbind(struct ptd *ptd)
{
	if (!ptd->sva)
		return -ENOENT;
	iommu_sva_unbind_device(ptd->sva);
	ptd->sva = NULL;
	return 0;
}

/* Take down everything, in the reverse order of use; the device has been stopped */
static void ptd_release_all(struct ptd *ptd)
{
	u32 i;

	ptd_sva_unbind(ptd);
	for (i = 0; i < PTD_TEST_NR_ATTACHED; i++)
		if (ptd->attached[i].domain)
			ptd_detach_entry(ptd, &ptd->attached[i]);
	for (i = 0; i < PTD_TEST_NR_MAPS; i++)
		if (ptd->maps[i].domain)
			ptd_unmap_entry(&ptd->maps[i]);
	for (i = 0; i < PTD_TEST_NR_DOMAINS; i++)
		ptd_domain_free(ptd, i);
	for (i = 0; i < PTD_TEST_NR_BUFS; i++)
		ptd_buf_free(ptd, i);
}

/* The PCI driver */

static void ptd_free_irqs(struct ptd *ptd, struct pci_dev *pdev, unsigned int nr)
{
	while (nr--)
		free_irq(pci_irq_vector(pdev, nr), &ptd->queues[nr]);
	pci_free_irq_vectors(pdev);
}

static int ptd_request_irqs(struct ptd *ptd, struct pci_dev *pdev)
{
	unsigned int i;
	int ret;

	ret = pci_alloc_irq_vectors(pdev, PTD_NR_QUEUES, PTD_NR_QUEUES, PCI_IRQ_MSIX);
	if (ret < 0)
		return ret;
	for (i = 0; i < PTD_NR_QUEUES; i++) {
		ret = request_irq(pci_irq_vector(pdev, i), ptd_interrupt, 0,
				  "pasid_testdev", &ptd->queues[i]);
		if (ret) {
			ptd_free_irqs(ptd, pdev, i);
			return ret;
		}
	}
	return 0;
}

static struct ptd *ptd_new(struct pci_dev *pdev)
{
	struct ptd *ptd = kzalloc_obj(*ptd);
	unsigned int i;

	if (!ptd)
		return NULL;
	kref_init(&ptd->ref);
	lockdep_register_key(&ptd->key);
	mutex_init_with_key(&ptd->lock, &ptd->key);
	ptd->pdev = pdev;
	for (i = 0; i < PTD_NR_QUEUES; i++) {
		ptd->queues[i].ptd = ptd;
		init_waitqueue_head(&ptd->queues[i].wait);
	}
	return ptd;
}

static int ptd_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct ptd *ptd;
	int ret;

	ptd = ptd_new(pdev);
	if (!ptd)
		return -ENOMEM;
	/* By a careless remove() */
	if (pci_is_enabled(pdev))
		pci_disable_device(pdev);
	ret = pci_enable_device(pdev);
	if (ret)
		goto put;
	ret = pci_request_region(pdev, PTD_BAR, "pasid_testdev");
	if (ret)
		goto disable;
	ret = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (ret)
		goto release;
	ret = -ENOMEM;
	if (pci_resource_len(pdev, PTD_BAR) >= PTD_BAR_SIZE)
		ptd->bar = pci_iomap(pdev, PTD_BAR, PTD_BAR_SIZE);
	if (!ptd->bar)
		goto release;
	ret = -ENODEV;
	if (ioread32(ptd->bar + PTD_REG_ID) != PTD_ID ||
	    ioread32(ptd->bar + PTD_REG_VERSION) != PTD_VERSION)
		goto unmap;

	ptd_hw_reset(ptd);
	ret = ptd_request_irqs(ptd, pdev);
	if (ret)
		goto unmap;
	pci_set_master(pdev);
	pci_set_drvdata(pdev, ptd);
	mutex_lock(&ptd_list_lock);
	list_add_tail(&ptd->node, &ptd_list);
	mutex_unlock(&ptd_list_lock);
	return 0;

unmap:
	pci_iounmap(pdev, ptd->bar);
release:
	pci_release_region(pdev, PTD_BAR);
disable:
	pci_disable_device(pdev);
put:
	ptd_put(ptd);
	return ret;
}

static void ptd_remove(struct pci_dev *pdev)
{
	struct ptd *ptd = pci_get_drvdata(pdev);

	mutex_lock(&ptd_list_lock);
	list_del(&ptd->node);
	mutex_unlock(&ptd_list_lock);

	mutex_lock(&ptd->lock);
	if (!ptd->careless)
		ptd_hw_reset(ptd);
	ptd_release_all(ptd);
	WRITE_ONCE(ptd->pdev, NULL);
	mutex_unlock(&ptd->lock);
	ptd_all_queues_event(ptd);

	if (!ptd->careless)
		pci_clear_master(pdev);
	ptd_free_irqs(ptd, pdev, PTD_NR_QUEUES);
	pci_iounmap(pdev, ptd->bar);
	pci_release_region(pdev, PTD_BAR);
	if (!ptd->careless)
		pci_disable_device(pdev);
	ptd_put(ptd);
}

/* From here to reset_done() nobody else touches the device */
static void ptd_reset_prepare(struct pci_dev *pdev)
{
	struct ptd *ptd = pci_get_drvdata(pdev);

	mutex_lock(&ptd->lock);
}

static void ptd_reset_done(struct pci_dev *pdev)
{
	struct ptd *ptd = pci_get_drvdata(pdev);

	mutex_unlock(&ptd->lock);
	ptd_all_queues_event(ptd);
}

static const struct pci_error_handlers ptd_err_handlers = {
	.reset_prepare = ptd_reset_prepare,
	.reset_done = ptd_reset_done,
};

static const struct pci_device_id ptd_ids[] = {
	{ PCI_DEVICE(PTD_VENDOR_ID, PTD_DEVICE_ID) },
	{}
};
MODULE_DEVICE_TABLE(pci, ptd_ids);

static struct pci_driver ptd_driver = {
	.name = "pasid_testdev",
	.id_table = ptd_ids,
	.probe = ptd_probe,
	.remove = ptd_remove,
	.err_handler = &ptd_err_handlers,
};

/* The ioctls */

struct ptd_state {
	struct mutex lock;	/* taking the device */
	struct ptd *ptd;	/* NULL until taken, then constant */
};

static void *ptd_state_open(void)
{
	struct ptd_state *state = kzalloc_obj(*state);

	if (!state)
		return ERR_PTR(-ENOMEM);
	mutex_init(&state->lock);
	return state;
}

static void ptd_state_release(void *data)
{
	struct ptd_state *state = data;
	struct ptd *ptd = state->ptd;

	if (ptd) {
		mutex_lock(&ptd->lock);
		if (ptd->pdev) {
			ptd_hw_reset(ptd);
			ptd_release_all(ptd);
			ptd->careless = false;
		}
		ptd->opened = false;
		mutex_unlock(&ptd->lock);
		ptd_put(ptd);
	}
	mutex_destroy(&state->lock);
	kfree(state);
}

static void ptd_fill_info(struct ptd *ptd, struct ptd_test_info *info)
{
	struct pci_dev *pdev = ptd->pdev;
	struct iommu_group *group = iommu_group_get(&pdev->dev);

	info->segment = pci_domain_nr(pdev->bus);
	info->bus = pdev->bus->number;
	info->devfn = pdev->devfn;
	info->group = group ? iommu_group_id(group) : -1;
	info->max_pasids = pdev->dev.iommu ? pdev->dev.iommu->max_pasids : 0;
	info->pasid_enabled = pdev->pasid_enabled;
	info->ats_enabled = pdev->ats_enabled;
	iommu_group_put(group);
}

static int ptd_info(struct ptd_test_info *info)
{
	u32 index = info->index;
	int ret = -ENOENT;
	struct ptd *ptd;

	mutex_lock(&ptd_list_lock);
	list_for_each_entry(ptd, &ptd_list, node) {
		if (index--)
			continue;
		/* On the list it is bound: remove() takes it off first */
		ptd_fill_info(ptd, info);
		ret = 0;
		break;
	}
	mutex_unlock(&ptd_list_lock);
	return ret;
}

static int ptd_take(struct ptd_state *state, struct ptd *ptd)
{
	int ret = -EBUSY;

	mutex_lock(&ptd->lock);
	if (!ptd->opened) {
		ptd->opened = true;
		kref_get(&ptd->ref);
		/* Pairs with ptd_state_ioctl(), which does without the locks */
		smp_store_release(&state->ptd, ptd);
		ret = 0;
	}
	mutex_unlock(&ptd->lock);
	return ret;
}

static int ptd_open(struct ptd_state *state, const struct ptd_test_open *args)
{
	int ret = -ENODEV;
	struct ptd *ptd;

	mutex_lock(&state->lock);
	mutex_lock(&ptd_list_lock);
	if (state->ptd) {
		ret = -EBUSY;
		goto unlock;
	}
	list_for_each_entry(ptd, &ptd_list, node) {
		if (pci_domain_nr(ptd->pdev->bus) == args->segment &&
		    ptd->pdev->bus->number == args->bus && ptd->pdev->devfn == args->devfn) {
			ret = ptd_take(state, ptd);
			break;
		}
	}
unlock:
	mutex_unlock(&ptd_list_lock);
	mutex_unlock(&state->lock);
	return ret;
}

static int ptd_submit(struct ptd *ptd, const struct ptd_test_request *reqs, u32 nr)
{
	int ret = 0;
	u32 i;

	for (i = 0; i < nr && !ret; i++)
		ret = ptd_submit_one(ptd, &reqs[i]);
	return ret;
}

static int ptd_status(struct ptd *ptd, struct ptd_test_request *reqs, u32 nr)
{
	int ret = 0;
	u32 i;

	for (i = 0; i < nr && !ret; i++)
		ret = ptd_status_one(ptd, &reqs[i]);
	return ret;
}

static int ptd_batch(struct ptd *ptd, unsigned int cmd, const struct ptd_test_batch *args)
{
	void __user *user = u64_to_user_ptr(args->requests);
	struct ptd_test_request *reqs;
	int ret;

	if (args->nr > PTD_TEST_MAX_BATCH)
		return -EINVAL;
	reqs = memdup_array_user(user, args->nr, sizeof(*reqs));
	if (IS_ERR(reqs))
		return PTR_ERR(reqs);
	if (cmd == PTD_TEST_SUBMIT) {
		ret = ptd_submit(ptd, reqs, args->nr);
	} else {
		ret = ptd_status(ptd, reqs, args->nr);
		if (!ret && copy_to_user(user, reqs, array_size(args->nr, sizeof(*reqs))))
			ret = -EFAULT;
	}
	kfree(reqs);
	return ret;
}

static int ptd_regs(struct ptd *ptd, const struct ptd_test_regs *args)
{
	void __user *user = u64_to_user_ptr(args->regs);
	struct ptd_test_reg *regs;
	int ret = 0;
	u32 i;

	if (args->nr > PTD_TEST_MAX_BATCH)
		return -EINVAL;
	regs = memdup_array_user(user, args->nr, sizeof(*regs));
	if (IS_ERR(regs))
		return PTR_ERR(regs);
	for (i = 0; i < args->nr && !ret; i++)
		ret = ptd_access(ptd, &regs[i]);
	if (!ret && copy_to_user(user, regs, array_size(args->nr, sizeof(*regs))))
		ret = -EFAULT;
	kfree(regs);
	return ret;
}

/* Sleeps without the lock; an interrupt, a reset or the end of the device wakes */
static int ptd_wait(struct ptd *ptd, const struct ptd_test_wait *args)
{
	struct ptd_queue *queue;
	unsigned int events;
	u64 pending;
	long ret;

	if (args->queue >= PTD_NR_QUEUES)
		return -EINVAL;
	queue = &ptd->queues[args->queue];

	for (;;) {
		events = READ_ONCE(queue->events);
		mutex_lock(&ptd->lock);
		pending = ptd->pdev ? readq(ptd->bar + PTD_QUEUE(args->queue) + PTD_Q_PENDING) : 0;
		ret = ptd->pdev ? 0 : -ENODEV;
		mutex_unlock(&ptd->lock);
		if (ret || !(pending & args->slots))
			return ret;

		ret = wait_event_interruptible_timeout(queue->wait,
						       READ_ONCE(queue->events) != events,
						       msecs_to_jiffies(args->timeout_ms));
		if (ret < 0)
			return ret;
		if (!ret)
			return -ETIMEDOUT;
	}
}

/*
 * Without ptd->lock: reset_prepare() takes it. The device's lock keeps the device,
 * whose address another one may have as soon as this one is removed.
 */
static int ptd_reset(struct ptd *ptd)
{
	struct pci_dev *pdev;
	int ret = -ENODEV;

	mutex_lock(&ptd->lock);
	pdev = pci_dev_get(ptd->pdev);
	mutex_unlock(&ptd->lock);
	if (!pdev)
		return ret;

	device_lock(&pdev->dev);
	if (READ_ONCE(ptd->pdev))
		ret = pci_reset_function_locked(pdev);
	device_unlock(&pdev->dev);
	pci_dev_put(pdev);
	return ret;
}

union ptd_args {
	u32 u32;
	struct ptd_test_info info;
	struct ptd_test_open open;
	struct ptd_test_buf_alloc buf_alloc;
	struct ptd_test_buf_copy buf_copy;
	struct ptd_test_map map;
	struct ptd_test_attach attach;
	struct ptd_test_batch batch;
	struct ptd_test_wait wait;
	struct ptd_test_regs regs;
};

static int ptd_locked_ioctl(struct ptd *ptd, unsigned int cmd, union ptd_args *args)
{
	switch (cmd) {
	case PTD_TEST_BUF_ALLOC:
		return ptd_buf_alloc(ptd, &args->buf_alloc);
	case PTD_TEST_BUF_FREE:
		return ptd_buf_free(ptd, args->u32);
	case PTD_TEST_BUF_COPY:
		return ptd_buf_copy(ptd, &args->buf_copy);
	case PTD_TEST_DOMAIN_ALLOC:
		return ptd_domain_alloc(ptd, &args->u32);
	case PTD_TEST_DOMAIN_FREE:
		return ptd_domain_free(ptd, args->u32);
	case PTD_TEST_MAP:
		return ptd_map(ptd, &args->map);
	case PTD_TEST_UNMAP:
		return ptd_unmap(ptd, &args->map);
	case PTD_TEST_ATTACH:
		return ptd_attach(ptd, &args->attach);
	case PTD_TEST_DETACH:
		return ptd_detach(ptd, args->attach.pasid);
	case PTD_TEST_SUBMIT:
	case PTD_TEST_STATUS:
		return ptd_batch(ptd, cmd, &args->batch);
	case PTD_TEST_SVA_BIND:
		return ptd_sva_bind(ptd, &args->u32);
	case PTD_TEST_SVA_UNBIND:
		return ptd_sva_unbind(ptd);
	case PTD_TEST_REGS:
		return ptd_regs(ptd, &args->regs);
	case PTD_TEST_CARELESS:
		ptd->careless = true;
		return 0;
	default:
		return -ENOTTY;
	}
}

static int ptd_device_ioctl(struct ptd *ptd, unsigned int cmd, union ptd_args *args)
{
	int ret = -ENODEV;

	if (cmd == PTD_TEST_WAIT)
		return ptd_wait(ptd, &args->wait);
	if (cmd == PTD_TEST_RESET)
		return ptd_reset(ptd);

	mutex_lock(&ptd->lock);
	if (ptd->pdev)
		ret = ptd_locked_ioctl(ptd, cmd, args);
	mutex_unlock(&ptd->lock);
	return ret;
}

static long ptd_state_ioctl(void *data, unsigned int cmd, void __user *arg)
{
	struct ptd_state *state = data;
	/* Pairs with ptd_take() */
	struct ptd *ptd = smp_load_acquire(&state->ptd);
	union ptd_args args = {};
	int ret;

	if (_IOC_SIZE(cmd) > sizeof(args))
		return -ENOTTY;
	if ((_IOC_DIR(cmd) & _IOC_WRITE) && copy_from_user(&args, arg, _IOC_SIZE(cmd)))
		return -EFAULT;

	if (cmd == PTD_TEST_INFO)
		ret = ptd_info(&args.info);
	else if (cmd == PTD_TEST_OPEN)
		ret = ptd_open(state, &args.open);
	else if (ptd)
		ret = ptd_device_ioctl(ptd, cmd, &args);
	else
		ret = -ENODEV;

	if (!ret && (_IOC_DIR(cmd) & _IOC_READ) && copy_to_user(arg, &args, _IOC_SIZE(cmd)))
		return -EFAULT;
	return ret;
}

static int ptd_init(void)
{
	return pci_register_driver(&ptd_driver);
}

static void ptd_exit(void)
{
	pci_unregister_driver(&ptd_driver);
}

const struct ext_test_group ext_test_pasid_testdev = {
	.type = IOMMU_EXT_TEST_PASID_TESTDEV,
	.init = ptd_init,
	.exit = ptd_exit,
	.open = ptd_state_open,
	.release = ptd_state_release,
	.ioctl = ptd_state_ioctl,
};
