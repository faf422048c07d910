// SPDX-License-Identifier: GPL-2.0
/*
 * DMA with PASID inside the kernel: enables and maps as userspace says, on
 * behalf of whatever driver is bound to a PCI device. The DMA itself is done by
 * those that drive pasid-testdev.
 *
 * Lock order: device_lock, which keeps the driver bound; pasid_lock; those of
 * the IOMMU core.
 */
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/hex.h>
#include <linux/iommu-dma-pasid.h>
#include <linux/iommu.h>
#include <linux/kthread.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/random.h>
#include <linux/scatterlist.h>
#include <linux/set_memory.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "iommu_ext_test_internal.h"

struct pasid_buf {
	void *cpu;			/* NULL: this index is free */
	u32 kind;
	u32 size;
	struct page **pages;		/* of what vmap() made */
	bool hidden;			/* the first page, from the direct map */
	struct pci_dev *pdev;		/* mapped for it, else NULL */
	struct sg_table sgt;		/* mapped so if it has entries */
	dma_addr_t addr;
	u32 len;
};

struct pasid_load {
	struct task_struct *task;	/* NULL: none */
	struct pci_dev *pdev;
	void *cpu;
	struct dma_pasid_test_load result;
};

struct pasid_file {
	struct list_head node;		/* in pasid_files */
	struct list_head uses;
	struct pasid_buf bufs[DMA_PASID_TEST_NR_BUFS];
	struct iommu_dma_pasid_hold holds[DMA_PASID_TEST_NR_HOLDS];
	bool held[DMA_PASID_TEST_NR_HOLDS];
	struct pasid_load load;
};

/* A mode that a file enabled once */
struct pasid_use {
	struct list_head node;
	struct pci_dev *pdev;
	struct iommu_domain *domain;
	u32 mode;
	bool forget;
	bool gone;			/* the driver is */
};

static LIST_HEAD(pasid_files);
static DEFINE_MUTEX(pasid_lock);

/* Buffers */

/*
 * Pages that are no neighbours: every other page of a block that is split, or
 * whatever there is. Returns how many there are.
 */
static unsigned int pasid_spread(struct page **pages, unsigned int nr)
{
	struct page *page, *spare = NULL;
	unsigned int i;

	for (i = 0; i < nr;) {
		page = alloc_page(GFP_KERNEL | __GFP_ZERO);
		if (!page)
			break;
		if (i && page_to_pfn(page) == page_to_pfn(pages[i - 1]) + 1) {
			/* Keep it until the next one is found */
			set_page_private(page, (unsigned long)spare);
			spare = page;
			continue;
		}
		pages[i++] = page;
	}
	while (spare) {
		page = spare;
		spare = (struct page *)page_private(page);
		set_page_private(page, 0);
		__free_page(page);
	}
	return i;
}

/* Pages that are neighbours */
static unsigned int pasid_contiguous(struct page **pages, unsigned int nr)
{
	void *cpu = alloc_pages_exact(nr * PAGE_SIZE, GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN);
	unsigned int i;

	if (!cpu)
		return 0;
	for (i = 0; i < nr; i++)
		pages[i] = virt_to_page(cpu + i * PAGE_SIZE);
	return nr;
}

static void pasid_free_pages(struct page **pages, unsigned int nr)
{
	while (nr--)
		__free_page(pages[nr]);
	kvfree(pages);
}

static void pasid_vmap(struct pasid_buf *buf)
{
	unsigned int nr = buf->size >> PAGE_SHIFT, got;

	buf->pages = kvcalloc(nr, sizeof(*buf->pages), GFP_KERNEL);
	if (!buf->pages)
		return;
	if (buf->kind == DMA_PASID_TEST_SPREAD)
		got = pasid_spread(buf->pages, nr);
	else
		got = pasid_contiguous(buf->pages, nr);
	if (got == nr)
		buf->cpu = vmap(buf->pages, nr, VM_MAP, PAGE_KERNEL);
	if (!buf->cpu)
		pasid_free_pages(buf->pages, got);
}

static unsigned int pasid_level(const void *cpu)
{
	unsigned int level = 0;

#ifdef CONFIG_X86
	lookup_address((unsigned long)cpu, &level);
#endif
	return level;
}

static int pasid_buf_alloc(struct pasid_file *file, struct dma_pasid_test_buf *args)
{
	struct pasid_buf *buf;
	u32 index;

	if (!args->size || args->size > DMA_PASID_TEST_MAX_BUF || !PAGE_ALIGNED(args->size))
		return -EINVAL;
	for (index = 0; index < DMA_PASID_TEST_NR_BUFS; index++)
		if (!file->bufs[index].cpu)
			break;
	if (index == DMA_PASID_TEST_NR_BUFS)
		return -ENOSPC;

	buf = &file->bufs[index];
	*buf = (struct pasid_buf){ .kind = args->kind, .size = args->size };
	switch (args->kind) {
	case DMA_PASID_TEST_PAGES:
		buf->cpu = alloc_pages_exact(buf->size, GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN);
		break;
	case DMA_PASID_TEST_VMALLOC:
		buf->cpu = vzalloc(buf->size);
		break;
	case DMA_PASID_TEST_SPREAD:
	case DMA_PASID_TEST_VMAP:
		pasid_vmap(buf);
		break;
	case DMA_PASID_TEST_HUGE:
		buf->cpu = vmalloc_huge(buf->size, GFP_KERNEL | __GFP_ZERO);
		break;
	default:
		return -EINVAL;
	}
	if (!buf->cpu)
		return -ENOMEM;

	args->buf = index;
	args->level = pasid_level(buf->cpu);
	args->addr = (unsigned long)buf->cpu;
	args->phys = buf->kind == DMA_PASID_TEST_PAGES ? virt_to_phys(buf->cpu) :
		     PFN_PHYS(vmalloc_to_pfn(buf->cpu));
	return 0;
}

static struct pasid_buf *pasid_buf(struct pasid_file *file, u32 index)
{
	if (index >= DMA_PASID_TEST_NR_BUFS || !file->bufs[index].cpu)
		return NULL;
	return &file->bufs[index];
}

static int pasid_buf_free(struct pasid_buf *buf)
{
	if (buf->pdev)
		return -EBUSY;
	/* Who gets a hidden page next has no use for it: it is lost rather than freed */
	if (buf->hidden && clear_mce_nospec(PHYS_PFN(virt_to_phys(buf->cpu)))) {
		buf->cpu = NULL;
		return -EIO;
	}
	if (buf->kind == DMA_PASID_TEST_PAGES) {
		free_pages_exact(buf->cpu, buf->size);
	} else if (!buf->pages) {
		vfree(buf->cpu);
	} else {
		vunmap(buf->cpu);
		pasid_free_pages(buf->pages, buf->size >> PAGE_SHIFT);
	}
	buf->cpu = NULL;
	return 0;
}

/* The one exported function that takes from the kernel what it could access */
static int pasid_buf_hide(struct pasid_buf *buf)
{
	int ret;

	if (buf->pdev || buf->hidden || buf->kind != DMA_PASID_TEST_PAGES)
		return -EINVAL;
	ret = set_mce_nospec(PHYS_PFN(virt_to_phys(buf->cpu)));
	buf->hidden = !ret;
	return ret;
}

static int pasid_buf_copy(struct pasid_buf *buf, const struct dma_pasid_test_copy *args)
{
	void __user *data = u64_to_user_ptr(args->data);
	unsigned long left;

	if (buf->hidden || args->offset > buf->size || args->len > buf->size - args->offset)
		return -EINVAL;
	if (args->write)
		left = copy_from_user(buf->cpu + args->offset, data, args->len);
	else
		left = copy_to_user(data, buf->cpu + args->offset, args->len);
	return left ? -EFAULT : 0;
}

static int pasid_buf_uncache(struct pasid_buf *buf)
{
#ifdef CONFIG_X86
	if (buf->kind == DMA_PASID_TEST_PAGES)
		return set_memory_uc((unsigned long)buf->cpu, 1) ?:
		       set_memory_wb((unsigned long)buf->cpu, 1);
#endif
	return -EINVAL;
}

/* The DMA API */

static int pasid_map_sg(struct pci_dev *pdev, struct pasid_buf *buf)
{
	unsigned int nr = buf->size >> PAGE_SHIFT, i;
	struct scatterlist *sg;
	int ret;

	ret = sg_alloc_table(&buf->sgt, nr, GFP_KERNEL);
	if (ret)
		return ret;
	for_each_sgtable_sg(&buf->sgt, sg, i) {
		void *cpu = buf->cpu + i * PAGE_SIZE;

		sg_set_page(sg, is_vmalloc_addr(cpu) ? vmalloc_to_page(cpu) : virt_to_page(cpu),
			    PAGE_SIZE, 0);
	}
	ret = dma_map_sgtable(&pdev->dev, &buf->sgt, DMA_BIDIRECTIONAL, 0);
	if (ret) {
		sg_free_table(&buf->sgt);
		return ret;
	}
	buf->addr = sg_dma_address(buf->sgt.sgl);
	return 0;
}

static int pasid_dma_map(struct pci_dev *pdev, struct pasid_buf *buf,
			 struct dma_pasid_test_dma *args)
{
	int ret = 0;

	if (buf->pdev || buf->hidden)
		return -EBUSY;
	if (args->sg) {
		ret = pasid_map_sg(pdev, buf);
	} else if (buf->kind != DMA_PASID_TEST_PAGES || !args->len || args->offset > buf->size ||
		   args->len > buf->size - args->offset) {
		ret = -EINVAL;
	} else {
		buf->len = args->len;
		buf->addr = dma_map_single(&pdev->dev, buf->cpu + args->offset, args->len,
					   DMA_BIDIRECTIONAL);
		ret = dma_mapping_error(&pdev->dev, buf->addr);
	}
	if (ret)
		return ret;
	buf->pdev = pdev;
	args->addr = buf->addr;
	return 0;
}

static void pasid_dma_unmap(struct pasid_buf *buf)
{
	if (!buf->pdev)
		return;
	if (buf->sgt.orig_nents) {
		dma_unmap_sgtable(&buf->pdev->dev, &buf->sgt, DMA_BIDIRECTIONAL, 0);
		sg_free_table(&buf->sgt);
		buf->sgt = (struct sg_table){};
	} else {
		dma_unmap_single(&buf->pdev->dev, buf->addr, buf->len, DMA_BIDIRECTIONAL);
	}
	buf->pdev = NULL;
}

/* Modes */

static struct pasid_use *pasid_find(struct pasid_file *file, struct pci_dev *pdev, u32 mode)
{
	struct pasid_use *use;

	list_for_each_entry(use, &file->uses, node)
		if (use->pdev == pdev && use->mode == mode)
			return use;
	return NULL;
}

static void pasid_forget(struct pasid_use *use)
{
	list_del(&use->node);
	pci_dev_put(use->pdev);
	kfree(use);
}

static int pasid_enable(struct pasid_file *file, struct pci_dev *pdev,
			struct dma_pasid_test_mode *args)
{
	struct pasid_use *use = kzalloc_obj(*use);

	if (!use)
		return -ENOMEM;
	use->mode = args->mode;
	args->ret = iommu_dma_pasid_enable(&pdev->dev, args->no_pointer ? NULL : &use->domain,
					   args->mode);
	args->domain = !!use->domain;
	if (args->ret < 0) {
		kfree(use);
		return 0;
	}
	use->pdev = pci_dev_get(pdev);
	list_add(&use->node, &file->uses);
	return 0;
}

static int pasid_disable(struct pasid_file *file, struct pci_dev *pdev,
			 struct dma_pasid_test_mode *args)
{
	struct pasid_use *use = pasid_find(file, pdev, args->mode);
	struct iommu_domain *domain = use ? use->domain : NULL;

	args->ret = iommu_dma_pasid_disable(&pdev->dev, args->no_pointer ? NULL : &domain,
					    args->mode);
	args->domain = !!domain;
	if (use && (!args->ret || use->gone))
		pasid_forget(use);
	return 0;
}

/* All that a file has of a device whose driver goes, or whose file does */
static void pasid_clean(struct pasid_file *file, struct pci_dev *pdev)
{
	struct pasid_use *use, *next;
	unsigned int i;

	list_for_each_entry_safe(use, next, &file->uses, node) {
		if (use->pdev != pdev)
			continue;
		if (use->forget) {
			use->gone = true;
			continue;
		}
		iommu_dma_pasid_disable(&pdev->dev, &use->domain, use->mode);
		pasid_forget(use);
	}
	for (i = 0; i < DMA_PASID_TEST_NR_BUFS; i++)
		if (file->bufs[i].pdev == pdev)
			pasid_dma_unmap(&file->bufs[i]);
}

/* As the driver's remove() ought to do */
static int pasid_notify(struct notifier_block *nb, unsigned long action, void *data)
{
	struct pasid_file *file;

	if (action != BUS_NOTIFY_UNBIND_DRIVER)
		return NOTIFY_DONE;
	guard(mutex)(&pasid_lock);
	list_for_each_entry(file, &pasid_files, node)
		pasid_clean(file, to_pci_dev(data));
	return NOTIFY_DONE;
}

static struct notifier_block pasid_nb = { .notifier_call = pasid_notify };

/* Kernel virtual addresses */

static const char rodata[64] = "read-only";
static char moduledata[64];

static void *pasid_alias(const void *cpu)
{
	if (is_vmalloc_or_module_addr(cpu))
		return page_address(vmalloc_to_page(cpu)) + offset_in_page(cpu);
	return lm_alias(cpu);
}

static void *pasid_special(u32 special, void *stack)
{
	switch (special) {
	case DMA_PASID_TEST_TEXT:
		return vmalloc_noprof;
	case DMA_PASID_TEST_TEXT_ALIAS:
		return pasid_alias(vmalloc_noprof);
	case DMA_PASID_TEST_RODATA:
		return (void *)hex_asc;
	case DMA_PASID_TEST_RODATA_ALIAS:
		return pasid_alias(hex_asc);
	case DMA_PASID_TEST_MODULE_TEXT:
		return pasid_special;
	case DMA_PASID_TEST_MODULE_TEXT_ALIAS:
		return pasid_alias(pasid_special);
	case DMA_PASID_TEST_MODULE_RODATA:
		return (void *)rodata;
	case DMA_PASID_TEST_MODULE_RODATA_ALIAS:
		return pasid_alias(rodata);
	case DMA_PASID_TEST_MODULE_DATA:
		return moduledata;
	case DMA_PASID_TEST_STACK:
		return stack;
	case DMA_PASID_TEST_NO_MEMORY:
		return phys_to_virt(0xa0000);
	default:
		return NULL;
	}
}

/* One more address of a page */
static void *pasid_vmap_again(const void *cpu, pgprot_t prot)
{
	struct page *page = virt_to_page(pasid_alias(cpu));

	return vmap(&page, 1, VM_MAP, prot);
}

static int pasid_map_once(struct iommu_domain *domain, void *cpu, u32 prot)
{
	int ret = iommu_map_kva(domain, cpu, 16, prot);

	if (!ret)
		ret = iommu_unmap_kva(domain, cpu, 16) ? -EIO : 0;
	return ret;
}

static int pasid_map_special(struct pasid_use *use, struct dma_pasid_test_special_map *args)
{
	struct iommu_domain *domain = use->domain;
	char on_stack[16] = {};
	void *cpu, *made = NULL, *again = NULL;

	cpu = pasid_special(args->special, on_stack);
	switch (args->special) {
	case DMA_PASID_TEST_IOREMAP:
		cpu = (void __force *)pci_iomap(use->pdev, 0, PAGE_SIZE);
		break;
	case DMA_PASID_TEST_GUARD:
		made = vmalloc(PAGE_SIZE);
		cpu = made ? made + PAGE_SIZE : NULL;
		break;
	case DMA_PASID_TEST_TEXT_VMAP:
		again = pasid_vmap_again(vmalloc_noprof, PAGE_KERNEL);
		cpu = again;
		break;
	case DMA_PASID_TEST_READ_ONLY_VMAP:
		again = pasid_vmap_again(moduledata, PAGE_KERNEL_RO);
		cpu = again;
		break;
	case DMA_PASID_TEST_OTHER_DOMAIN:
	case DMA_PASID_TEST_NO_DOMAIN:
		made = vmalloc(PAGE_SIZE);
		cpu = made;
		domain = args->special == DMA_PASID_TEST_NO_DOMAIN ? NULL :
			 iommu_get_domain_for_dev(&use->pdev->dev);
		break;
	}
	if (!cpu)
		return -EINVAL;

	args->error = pasid_map_once(domain, cpu, args->prot);
	if (args->special == DMA_PASID_TEST_IOREMAP)
		pci_iounmap(use->pdev, (void __iomem __force *)cpu);
	vunmap(again);
	vfree(made);
	return 0;
}

/* Threads that do everything at once, without a lock of ours between them */

struct pasid_stress {
	struct pasid_use *use;
	struct pasid_buf *buf;
	atomic_t rounds;
	atomic_t errors;
};

static int pasid_enable_once(struct device *dev, u32 mode)
{
	struct iommu_domain *domain;
	int pasid = iommu_dma_pasid_enable(dev, &domain, mode);

	return pasid < 0 ? pasid : iommu_dma_pasid_disable(dev, &domain, mode);
}

static int pasid_stress_fn(void *arg)
{
	struct pasid_stress *stress = arg;
	struct pasid_use *use = stress->use;
	struct pasid_buf *buf = stress->buf;

	while (!kthread_should_stop()) {
		u32 offset = get_random_u32_below(buf->size);
		u32 size = 1 + get_random_u32_below(buf->size - offset);
		u32 mode = get_random_u32_below(IOMMU_DMA_PASID_KVA + 1);
		void *cpu = buf->cpu + offset;

		if (iommu_map_kva(use->domain, cpu, size, IOMMU_READ | IOMMU_WRITE)) {
			atomic_inc(&stress->errors);
			continue;
		}
		if (pasid_enable_once(&use->pdev->dev, mode))
			atomic_inc(&stress->errors);
		if (iommu_unmap_kva(use->domain, cpu, size))
			atomic_inc(&stress->errors);
		atomic_inc(&stress->rounds);
	}
	return 0;
}

static int pasid_stress(struct pasid_use *use, struct pasid_buf *buf,
			struct dma_pasid_test_stress *args)
{
	struct task_struct *tasks[DMA_PASID_TEST_MAX_THREADS];
	struct pasid_stress stress = { .use = use, .buf = buf };
	u32 nr;
	int ret = 0;

	if (args->threads > DMA_PASID_TEST_MAX_THREADS)
		return -EINVAL;
	for (nr = 0; nr < args->threads; nr++) {
		tasks[nr] = kthread_run(pasid_stress_fn, &stress, "dma_pasid_stress/%u", nr);
		if (IS_ERR(tasks[nr])) {
			ret = PTR_ERR(tasks[nr]);
			break;
		}
	}
	if (!ret)
		msleep(args->ms);
	while (nr--)
		kthread_stop(tasks[nr]);
	args->rounds = atomic_read(&stress.rounds);
	args->errors = atomic_read(&stress.errors);
	return ret;
}

/* What outlives a driver */

static int pasid_hold(struct pasid_file *file, struct pci_dev *pdev,
		      struct dma_pasid_test_hold *args)
{
	if (args->hold >= DMA_PASID_TEST_NR_HOLDS || file->held[args->hold])
		return -EINVAL;
	args->ret = iommu_dma_pasid_take(&pdev->dev, &file->holds[args->hold], args->mode);
	file->held[args->hold] = args->ret > 0;
	return 0;
}

static struct iommu_dma_pasid_hold *pasid_held(struct pasid_file *file, u32 index)
{
	if (index >= DMA_PASID_TEST_NR_HOLDS || !file->held[index])
		return NULL;
	return &file->holds[index];
}

static int pasid_release(struct pasid_file *file, u32 index)
{
	struct iommu_dma_pasid_hold *hold = pasid_held(file, index);

	if (!hold)
		return -ENOENT;
	iommu_dma_pasid_release(hold);
	file->held[index] = false;
	return 0;
}

static int pasid_hold_kva(struct pasid_file *file, unsigned int cmd,
			  struct dma_pasid_test_hold_kva *args)
{
	struct iommu_dma_pasid_hold *hold = pasid_held(file, args->hold);
	void *cpu = (void *)(unsigned long)args->addr;

	if (!hold)
		return -ENOENT;
	if (cmd == DMA_PASID_TEST_HOLD_MAP)
		args->error = iommu_dma_pasid_map_kva(hold, cpu, args->size, args->prot);
	else
		args->error = iommu_dma_pasid_unmap_kva(hold, cpu, args->size);
	return 0;
}

/* Goes on when the driver is unbound, as a handler that nobody stopped would */
static int pasid_load_run(void *data)
{
	struct pasid_load *load = data;
	struct iommu_dma_pasid_hold hold;
	int ret;

	while (!kthread_should_stop()) {
		cond_resched();
		ret = iommu_dma_pasid_take(&load->pdev->dev, &hold, IOMMU_DMA_PASID_KVA);
		if (ret < 0) {
			load->result.refused += ret == -EPERM;
			load->result.bad += ret != -EPERM;
			continue;
		}
		ret = iommu_dma_pasid_map_kva(&hold, load->cpu, PAGE_SIZE,
					      IOMMU_READ | IOMMU_WRITE);
		if (!ret) {
			load->result.mapped++;
			ret = iommu_dma_pasid_unmap_kva(&hold, load->cpu, PAGE_SIZE);
		}
		load->result.over += ret == -ENODEV;
		load->result.bad += ret && ret != -ENODEV;
		iommu_dma_pasid_release(&hold);
	}
	return 0;
}

static int pasid_load_start(struct pasid_file *file, struct pci_dev *pdev)
{
	struct pasid_load *load = &file->load;
	struct task_struct *task;

	if (load->task)
		return -EBUSY;
	*load = (struct pasid_load){ .pdev = pdev, .cpu = (void *)get_zeroed_page(GFP_KERNEL) };
	if (!load->cpu)
		return -ENOMEM;
	task = kthread_run(pasid_load_run, load, "dma_pasid_load");
	if (IS_ERR(task)) {
		free_page((unsigned long)load->cpu);
		return PTR_ERR(task);
	}
	load->task = task;
	pci_dev_get(pdev);
	return 0;
}

static int pasid_load_stop(struct pasid_file *file, struct dma_pasid_test_load *result)
{
	struct pasid_load *load = &file->load;

	if (!load->task)
		return -ENOENT;
	kthread_stop(load->task);
	load->task = NULL;
	*result = load->result;
	free_page((unsigned long)load->cpu);
	pci_dev_put(load->pdev);
	return 0;
}

/* The ioctls */

union pasid_args {
	u32 buf;
	u32 hold;
	struct dma_owner_test_dev dev;
	struct dma_pasid_test_mode mode;
	struct dma_pasid_test_buf alloc;
	struct dma_pasid_test_copy copy;
	struct dma_pasid_test_kva kva;
	struct dma_pasid_test_special_map special;
	struct dma_pasid_test_dma dma;
	struct dma_pasid_test_stress stress;
	struct dma_pasid_test_hold enable_hold;
	struct dma_pasid_test_hold_kva hold_kva;
	struct dma_pasid_test_load load;
};

static int pasid_kva_ioctl(struct pasid_file *file, struct pci_dev *pdev, unsigned int cmd,
			   union pasid_args *args)
{
	struct pasid_use *use = pasid_find(file, pdev, IOMMU_DMA_PASID_KVA);
	struct dma_pasid_test_kva *kva = &args->kva;
	void *cpu = (void *)(unsigned long)kva->addr;
	struct pasid_buf *buf;

	if (!use || use->gone)
		return -ENOENT;
	switch (cmd) {
	case DMA_PASID_TEST_MAP:
		kva->error = iommu_map_kva(use->domain, cpu, kva->size, kva->prot);
		return 0;
	case DMA_PASID_TEST_UNMAP:
		kva->error = iommu_unmap_kva(use->domain, cpu, kva->size);
		return 0;
	case DMA_PASID_TEST_STRESS:
		buf = pasid_buf(file, args->stress.buf);
		return buf ? pasid_stress(use, buf, &args->stress) : -ENOENT;
	default:
		return pasid_map_special(use, &args->special);
	}
}

static int pasid_device_ioctl(struct pasid_file *file, struct pci_dev *pdev, unsigned int cmd,
			      union pasid_args *args)
{
	struct pasid_use *use;
	struct pasid_buf *buf;

	if (cmd == DMA_PASID_TEST_DISABLE)
		return pasid_disable(file, pdev, &args->mode);
	/* Nothing else may be done without a driver */
	if (!pdev->dev.driver)
		return -ENODEV;

	switch (cmd) {
	case DMA_PASID_TEST_ENABLE:
		return pasid_enable(file, pdev, &args->mode);
	case DMA_PASID_TEST_HOLD:
		return pasid_hold(file, pdev, &args->enable_hold);
	case DMA_PASID_TEST_LOAD_START:
		return pasid_load_start(file, pdev);
	case DMA_PASID_TEST_FORGET:
		list_for_each_entry(use, &file->uses, node)
			if (use->pdev == pdev)
				use->forget = true;
		return 0;
	case DMA_PASID_TEST_MAP:
	case DMA_PASID_TEST_UNMAP:
	case DMA_PASID_TEST_SPECIAL:
	case DMA_PASID_TEST_STRESS:
		return pasid_kva_ioctl(file, pdev, cmd, args);
	case DMA_PASID_TEST_DMA_MAP:
		buf = pasid_buf(file, args->dma.buf);
		return buf ? pasid_dma_map(pdev, buf, &args->dma) : -ENOENT;
	default:
		return -ENOTTY;
	}
}

/* The device's lock comes before ours, so find the device without it */
static int pasid_with_device(struct pasid_file *file, unsigned int cmd, union pasid_args *args)
{
	struct pci_dev *pdev;
	int ret;

	pdev = pci_get_domain_bus_and_slot(args->dev.segment, args->dev.bus, args->dev.devfn);
	if (!pdev)
		return -ENODEV;
	device_lock(&pdev->dev);
	mutex_lock(&pasid_lock);
	ret = pasid_device_ioctl(file, pdev, cmd, args);
	mutex_unlock(&pasid_lock);
	device_unlock(&pdev->dev);
	pci_dev_put(pdev);
	return ret;
}

static int pasid_buf_ioctl(struct pasid_file *file, unsigned int cmd, union pasid_args *args)
{
	struct pasid_buf *buf;

	guard(mutex)(&pasid_lock);
	if (cmd == DMA_PASID_TEST_PURGE) {
		vm_unmap_aliases();
		return 0;
	}
	if (cmd == DMA_PASID_TEST_BUF_ALLOC)
		return pasid_buf_alloc(file, &args->alloc);
	/* The index comes first in all the others, too */
	buf = pasid_buf(file, args->buf);
	if (!buf)
		return -ENOENT;
	switch (cmd) {
	case DMA_PASID_TEST_BUF_FREE:
		return pasid_buf_free(buf);
	case DMA_PASID_TEST_BUF_COPY:
		return pasid_buf_copy(buf, &args->copy);
	case DMA_PASID_TEST_HIDE:
		return pasid_buf_hide(buf);
	case DMA_PASID_TEST_UNCACHE:
		return pasid_buf_uncache(buf);
	default:
		pasid_dma_unmap(buf);
		return 0;
	}
}

static int pasid_hold_ioctl(struct pasid_file *file, unsigned int cmd, union pasid_args *args)
{
	guard(mutex)(&pasid_lock);
	switch (cmd) {
	case DMA_PASID_TEST_RELEASE:
		return pasid_release(file, args->hold);
	case DMA_PASID_TEST_LOAD_STOP:
		return pasid_load_stop(file, &args->load);
	default:
		return pasid_hold_kva(file, cmd, &args->hold_kva);
	}
}

static long pasid_ioctl(void *state, unsigned int cmd, void __user *arg)
{
	union pasid_args args = {};
	int ret;

	if (_IOC_SIZE(cmd) > sizeof(args))
		return -ENOTTY;
	if ((_IOC_DIR(cmd) & _IOC_WRITE) && copy_from_user(&args, arg, _IOC_SIZE(cmd)))
		return -EFAULT;

	switch (cmd) {
	case DMA_PASID_TEST_BUF_ALLOC:
	case DMA_PASID_TEST_BUF_FREE:
	case DMA_PASID_TEST_BUF_COPY:
	case DMA_PASID_TEST_DMA_UNMAP:
	case DMA_PASID_TEST_PURGE:
	case DMA_PASID_TEST_HIDE:
	case DMA_PASID_TEST_UNCACHE:
		ret = pasid_buf_ioctl(state, cmd, &args);
		break;
	case DMA_PASID_TEST_RELEASE:
	case DMA_PASID_TEST_HOLD_MAP:
	case DMA_PASID_TEST_HOLD_UNMAP:
	case DMA_PASID_TEST_LOAD_STOP:
		ret = pasid_hold_ioctl(state, cmd, &args);
		break;
	default:
		ret = pasid_with_device(state, cmd, &args);
	}

	if (!ret && (_IOC_DIR(cmd) & _IOC_READ) && copy_to_user(arg, &args, _IOC_SIZE(cmd)))
		return -EFAULT;
	return ret;
}

static void *pasid_open(void)
{
	struct pasid_file *file = kvzalloc_obj(*file);

	if (!file)
		return ERR_PTR(-ENOMEM);
	INIT_LIST_HEAD(&file->uses);
	guard(mutex)(&pasid_lock);
	list_add(&file->node, &pasid_files);
	return file;
}

/* A device that the file still has to do with, with a reference */
static struct pci_dev *pasid_any_device(struct pasid_file *file)
{
	struct pasid_use *use;
	unsigned int i;

	guard(mutex)(&pasid_lock);
	use = list_first_entry_or_null(&file->uses, struct pasid_use, node);
	if (use)
		return pci_dev_get(use->pdev);
	for (i = 0; i < DMA_PASID_TEST_NR_BUFS; i++)
		if (file->bufs[i].pdev)
			return pci_dev_get(file->bufs[i].pdev);
	return NULL;
}

static void pasid_close(void *state)
{
	struct pasid_file *file = state;
	struct dma_pasid_test_load result;
	struct pasid_use *use;
	struct pci_dev *pdev;
	unsigned int i;

	pasid_load_stop(file, &result);
	for (i = 0; i < DMA_PASID_TEST_NR_HOLDS; i++)
		pasid_release(file, i);
	while ((pdev = pasid_any_device(file))) {
		device_lock(&pdev->dev);
		scoped_guard(mutex, &pasid_lock) {
			list_for_each_entry(use, &file->uses, node)
				use->forget = false;
			pasid_clean(file, pdev);
		}
		device_unlock(&pdev->dev);
		pci_dev_put(pdev);
	}
	scoped_guard(mutex, &pasid_lock)
		list_del(&file->node);
	for (i = 0; i < DMA_PASID_TEST_NR_BUFS; i++)
		if (file->bufs[i].cpu)
			pasid_buf_free(&file->bufs[i]);
	kvfree(file);
}

static int pasid_init(void)
{
	return bus_register_notifier(&pci_bus_type, &pasid_nb);
}

static void pasid_exit(void)
{
	bus_unregister_notifier(&pci_bus_type, &pasid_nb);
}

const struct ext_test_group ext_test_dma_pasid = {
	.type = IOMMU_EXT_TEST_DMA_PASID,
	.init = pasid_init,
	.exit = pasid_exit,
	.open = pasid_open,
	.release = pasid_close,
	.ioctl = pasid_ioctl,
};
