// SPDX-License-Identifier: GPL-2.0
/*
 * What DMA with PASID costs inside the kernel, beside what C code can do
 * without it, on the first pasid-testdev that has PASIDs and no driver.
 *
 *   dma-map, dma-unmap  a buffer by the DMA API, while the device has no PASID
 *                       ("plain"), one by IOVA mode ("iova"), and one that the
 *                       default domain was attached to by hand ("hand")
 *   kva-map, kva-unmap  contiguous pages at their kernel virtual addresses:
 *                       by iommu_map_kva() ("kva"), by iommu_map() of each page
 *                       in a domain like that ("loop"), and of each contiguous
 *                       run with the knowledge of where it ends ("runs")
 *   spread-map, -unmap  the same where no page lies behind the one before
 *   MODE-enable         a mode, for the first and for the second time ("ours");
 *   MODE-disable        a PASID and a domain by hand ("hand")
 *
 * The size of a measurement is that of the buffer in KiB, or how many times the
 * mode is enabled.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/dma-mapping.h>
#include <linux/iommu-dma-pasid.h>
#include <linux/iommu.h>
#include <linux/irqflags.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/sched.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/vmalloc.h>
#include <uapi/linux/iommufd.h>

#include "bench.h"
#include "pasid_testdev_regs.h"

#define PROT		(IOMMU_READ | IOMMU_WRITE)

#define DMA_OPS		10000
#define KVA_BYTES	SZ_64M	/* mapped altogether, however little at a time */
#define ENABLE_OPS	1000

/* The buffer's pages come in the largest blocks there are; some are neighbours */
#define NR_PAGES	(SZ_64M >> PAGE_SHIFT)
#define NR_BLOCKS	(NR_PAGES / MAX_ORDER_NR_PAGES)
#define NR_TRIED	(4 * NR_BLOCKS)

static unsigned int repeats = 5;
module_param(repeats, uint, 0444);
MODULE_PARM_DESC(repeats, "How often to measure everything");

static const u32 dma_sizes[] = { SZ_4K, SZ_64K, SZ_2M };
static const u32 kva_sizes[] = { SZ_4K, SZ_2M, SZ_64M };

static int outcome = -ENODEV;	/* of the first device that will do */

struct buffer {
	const char *name;
	void *cpu;
	struct page **pages;
	u32 run;		/* so many of them are contiguous */
};

/* Where a buffer is to be mapped, and at what address it was */
struct work {
	struct device *dev;
	struct iommu_domain *domain;
	const struct buffer *buffer;
	dma_addr_t addr;
};

typedef bool (*operation)(struct work *work, u32 size);

struct design {
	const char *name;
	operation map;
	operation unmap;
	bool atomic;		/* nothing sleeps, so nothing need come in between */
};

static void report(const char *design, const char *what, const char *how, u32 size, u64 ops,
		   u64 cost)
{
	char row[32];

	snprintf(row, sizeof(row), "%s-%s", what, how);
	bench_report(design, row, size, ops, cost);
}

/* Buffers */

static int compare_blocks(const void *a, const void *b)
{
	unsigned long pfn_a = page_to_pfn(*(struct page **)a);
	unsigned long pfn_b = page_to_pfn(*(struct page **)b);

	return pfn_a < pfn_b ? -1 : pfn_a > pfn_b;
}

/* The first of as many neighbours as the buffer takes, which are not freed */
static struct page *alloc_blocks(void)
{
	struct page *blocks[NR_TRIED], *found = NULL;
	unsigned int nr, i;

	for (nr = 0; nr < NR_TRIED; nr++) {
		blocks[nr] = alloc_pages(GFP_KERNEL | __GFP_NOWARN, MAX_PAGE_ORDER);
		if (!blocks[nr])
			break;
	}
	sort(blocks, nr, sizeof(*blocks), compare_blocks, NULL);
	for (i = 0; i < nr; i++) {
		struct page *last = i + NR_BLOCKS <= nr ? blocks[i + NR_BLOCKS - 1] : NULL;

		if (!found && last && page_to_pfn(last) - page_to_pfn(blocks[i]) ==
				      NR_PAGES - MAX_ORDER_NR_PAGES) {
			found = blocks[i];
			i += NR_BLOCKS - 1;
			continue;
		}
		__free_pages(blocks[i], MAX_PAGE_ORDER);
	}
	return found;
}

static void free_blocks(struct page *first)
{
	unsigned int i;

	for (i = 0; i < NR_BLOCKS; i++)
		__free_pages(pfn_to_page(page_to_pfn(first) + i * MAX_ORDER_NR_PAGES),
			     MAX_PAGE_ORDER);
}

/* The DMA API */

static bool dma_map(struct work *work, u32 size)
{
	work->addr = dma_map_single(work->dev, work->buffer->cpu, size, DMA_BIDIRECTIONAL);
	return !dma_mapping_error(work->dev, work->addr);
}

static bool dma_unmap(struct work *work, u32 size)
{
	dma_unmap_single(work->dev, work->addr, size, DMA_BIDIRECTIONAL);
	return true;
}

static const struct design dma_plain = { "plain", dma_map, dma_unmap, true };
static const struct design dma_iova = { "iova", dma_map, dma_unmap, true };
static const struct design dma_hand = { "hand", dma_map, dma_unmap, true };

/* Kernel virtual addresses */

static bool kva_map(struct work *work, u32 size)
{
	work->addr = (unsigned long)work->buffer->cpu;
	return !iommu_map_kva(work->domain, work->buffer->cpu, size, PROT);
}

static bool kva_unmap(struct work *work, u32 size)
{
	return !iommu_unmap_kva(work->domain, work->buffer->cpu, size);
}

static bool map_runs(struct work *work, u32 size, u32 run)
{
	u32 at, page;

	work->addr = (unsigned long)work->buffer->cpu;
	for (at = 0; at < size; at += run) {
		page = at >> PAGE_SHIFT;
		if (iommu_map(work->domain, work->addr + at,
			      page_to_phys(work->buffer->pages[page]), min(run, size - at),
			      PROT | IOMMU_CACHE, GFP_KERNEL))
			return false;
	}
	return true;
}

static bool loop_map(struct work *work, u32 size)
{
	return map_runs(work, size, PAGE_SIZE);
}

static bool loop_unmap(struct work *work, u32 size)
{
	u32 at;

	for (at = 0; at < size; at += PAGE_SIZE)
		if (iommu_unmap(work->domain, work->addr + at, PAGE_SIZE) != PAGE_SIZE)
			return false;
	return true;
}

static bool runs_map(struct work *work, u32 size)
{
	return map_runs(work, size, work->buffer->run);
}

static bool runs_unmap(struct work *work, u32 size)
{
	return iommu_unmap(work->domain, work->addr, size) == size;
}

static const struct design kva_ours = { "kva", kva_map, kva_unmap };
static const struct design kva_loop = { "loop", loop_map, loop_unmap };
static const struct design kva_runs = { "runs", runs_map, runs_unmap };

/* Measuring them */

/* The last page is what says whether all were mapped */
static void check(const struct work *work, u32 size, bool mapped)
{
	struct page *page = work->buffer->pages[(size - 1) >> PAGE_SHIFT];
	dma_addr_t addr = work->addr + size - PAGE_SIZE;

	bench_wrong += iommu_iova_to_phys(work->domain, addr) != (mapped ? page_to_phys(page) : 0);
}

static u64 timed(struct work *work, u32 size, operation op, bool atomic)
{
	unsigned long flags;
	u64 start, time;
	bool right;

	if (atomic)
		local_irq_save(flags);
	start = ktime_get_ns();
	right = op(work, size);
	time = bench_passed(start);
	if (atomic)
		local_irq_restore(flags);
	bench_wrong += !right;
	return time;
}

static void measure(const struct design *d, struct work *work, const char *what, u32 size, u32 ops)
{
	u64 map = 0, unmap = 0;
	u32 i;

	for (i = 0; i < ops; i++) {
		map += timed(work, size, d->map, d->atomic);
		check(work, size, true);
		unmap += timed(work, size, d->unmap, d->atomic);
		check(work, size, false);
		cond_resched();
	}
	report(d->name, what, "map", size / SZ_1K, ops, map);
	report(d->name, what, "unmap", size / SZ_1K, ops, unmap);
}

static void measure_dma(const struct design *d, struct work *work)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(dma_sizes); i++)
		measure(d, work, "dma", dma_sizes[i], DMA_OPS);
}

static void measure_kva(const struct design *d, struct work *work, const struct buffer *buffer)
{
	unsigned int i;

	work->buffer = buffer;
	for (i = 0; i < ARRAY_SIZE(kva_sizes); i++)
		measure(d, work, buffer->name, kva_sizes[i], KVA_BYTES / kva_sizes[i]);
}

/* What C code can do without the modes */

static int attach(struct device *dev, struct iommu_domain *domain)
{
	ioasid_t pasid = iommu_alloc_global_pasid(dev);
	int ret;

	if (pasid == IOMMU_PASID_INVALID)
		return -ENOSPC;
	ret = iommu_attach_device_pasid(domain, dev, pasid, NULL);
	if (ret)
		iommu_free_global_pasid(pasid);
	return ret ?: pasid;
}

static void detach(struct device *dev, struct iommu_domain *domain, ioasid_t pasid)
{
	iommu_detach_device_pasid(domain, dev, pasid);
	iommu_free_global_pasid(pasid);
}

/* For the comparison to be fair it has base pages only, as KVA domains have */
static struct iommu_domain *alloc_domain(struct device *dev)
{
	struct iommu_domain *domain;

	domain = iommu_paging_domain_alloc_flags(dev, IOMMU_HWPT_ALLOC_PASID);
	if (!IS_ERR(domain))
		domain->pgsize_bitmap = PAGE_SIZE;
	return domain;
}

static int bench_dma(struct device *dev, const struct buffer *buffer)
{
	struct work work = { .dev = dev, .buffer = buffer };
	int pasid;

	work.domain = iommu_get_domain_for_dev(dev);
	measure_dma(&dma_plain, &work);

	pasid = iommu_dma_pasid_enable(dev, NULL, IOMMU_DMA_PASID_IOVA);
	if (pasid < 0)
		return pasid;
	measure_dma(&dma_iova, &work);
	iommu_dma_pasid_disable(dev, NULL, IOMMU_DMA_PASID_IOVA);

	pasid = attach(dev, work.domain);
	if (pasid < 0)
		return pasid;
	measure_dma(&dma_hand, &work);
	detach(dev, work.domain, pasid);
	return 0;
}

static int bench_kva(struct device *dev, const struct buffer *contiguous,
		     const struct buffer *spread)
{
	struct work work = { .dev = dev };
	bool strict;
	int pasid;

	pasid = iommu_dma_pasid_enable(dev, &work.domain, IOMMU_DMA_PASID_KVA);
	if (pasid < 0)
		return pasid;
	strict = work.domain->type & __IOMMU_DOMAIN_PAGING;
	if (strict) {
		measure_kva(&kva_ours, &work, contiguous);
		measure_kva(&kva_ours, &work, spread);
	}
	iommu_dma_pasid_disable(dev, &work.domain, IOMMU_DMA_PASID_KVA);
	if (!strict)
		return -EOPNOTSUPP;

	work.domain = alloc_domain(dev);
	if (IS_ERR(work.domain))
		return PTR_ERR(work.domain);
	pasid = attach(dev, work.domain);
	if (pasid >= 0) {
		measure_kva(&kva_loop, &work, contiguous);
		measure_kva(&kva_runs, &work, contiguous);
		measure_kva(&kva_loop, &work, spread);
		measure_kva(&kva_runs, &work, spread);
		detach(dev, work.domain, pasid);
	}
	iommu_domain_free(work.domain);
	return min(pasid, 0);
}

static struct iommu_domain *domain_by_hand(struct device *dev, enum iommu_dma_pasid_mode mode)
{
	switch (mode) {
	case IOMMU_DMA_PASID_BYPASS:
		return dev->iommu->iommu_dev->ops->identity_domain;
	case IOMMU_DMA_PASID_IOVA:
		return iommu_get_domain_for_dev(dev);
	default:
		return alloc_domain(dev);
	}
}

static int enable_by_hand(struct device *dev, enum iommu_dma_pasid_mode mode,
			  struct iommu_domain **domain)
{
	int pasid;

	*domain = domain_by_hand(dev, mode);
	if (IS_ERR(*domain))
		return PTR_ERR(*domain);
	pasid = attach(dev, *domain);
	if (pasid < 0 && mode == IOMMU_DMA_PASID_KVA)
		iommu_domain_free(*domain);
	return pasid;
}

static void disable_by_hand(struct device *dev, enum iommu_dma_pasid_mode mode,
			    struct iommu_domain *domain, ioasid_t pasid)
{
	detach(dev, domain, pasid);
	if (mode == IOMMU_DMA_PASID_KVA)
		iommu_domain_free(domain);
}

static int bench_enable(struct device *dev, enum iommu_dma_pasid_mode mode, const char *name)
{
	u64 on[2] = {}, off[2] = {}, hand_on = 0, hand_off = 0, start;
	struct iommu_domain *domain;
	unsigned int i, use;
	int pasid, ret = 0;

	for (i = 0; i < ENABLE_OPS; i++) {
		for (use = 0; use < 2; use++) {
			start = ktime_get_ns();
			pasid = iommu_dma_pasid_enable(dev, &domain, mode);
			on[use] += bench_passed(start);
			ret = min(ret, pasid);
		}
		while (use--) {
			start = ktime_get_ns();
			pasid = iommu_dma_pasid_disable(dev, &domain, mode);
			off[use] += bench_passed(start);
			ret = min(ret, pasid);
		}
		start = ktime_get_ns();
		pasid = enable_by_hand(dev, mode, &domain);
		hand_on += bench_passed(start);
		ret = min(ret, pasid);
		if (ret) {
			if (pasid > 0)
				disable_by_hand(dev, mode, domain, pasid);
			return ret;
		}
		start = ktime_get_ns();
		disable_by_hand(dev, mode, domain, pasid);
		hand_off += bench_passed(start);
		cond_resched();
	}
	for (use = 0; use < 2; use++) {
		report("ours", name, "enable", use + 1, ENABLE_OPS, on[use]);
		report("ours", name, "disable", use + 1, ENABLE_OPS, off[use]);
	}
	report("hand", name, "enable", 1, ENABLE_OPS, hand_on);
	report("hand", name, "disable", 1, ENABLE_OPS, hand_off);
	return 0;
}

static int bench_all(struct device *dev, const struct buffer *contiguous,
		     const struct buffer *spread)
{
	unsigned int i;
	int ret = 0;

	bench_begin();
	for (i = 0; i < repeats && !ret; i++)
		ret = bench_dma(dev, contiguous) ?:
		      bench_kva(dev, contiguous, spread) ?:
		      bench_enable(dev, IOMMU_DMA_PASID_BYPASS, "bypass") ?:
		      bench_enable(dev, IOMMU_DMA_PASID_IOVA, "iova") ?:
		      bench_enable(dev, IOMMU_DMA_PASID_KVA, "kva");
	if (!ret)
		bench_end();
	return ret;
}

static int bench_device(struct device *dev)
{
	struct page *first = alloc_blocks();
	struct buffer contiguous = { .name = "kva", .run = SZ_64M };
	struct buffer spread = { .name = "spread", .run = PAGE_SIZE };
	int ret = -ENOMEM;
	unsigned int i;

	contiguous.pages = vmalloc_array(NR_PAGES, sizeof(*contiguous.pages));
	spread.pages = vmalloc_array(NR_PAGES, sizeof(*spread.pages));
	if (!first || !contiguous.pages || !spread.pages)
		goto free;
	for (i = 0; i < NR_PAGES; i++) {
		contiguous.pages[i] = pfn_to_page(page_to_pfn(first) + i);
		spread.pages[NR_PAGES - 1 - i] = contiguous.pages[i];
	}
	contiguous.cpu = page_address(first);
	spread.cpu = vmap(spread.pages, NR_PAGES, VM_MAP, PAGE_KERNEL);
	if (spread.cpu)
		ret = bench_all(dev, &contiguous, &spread);
	vunmap(spread.cpu);
free:
	vfree(spread.pages);
	vfree(contiguous.pages);
	if (first)
		free_blocks(first);
	return ret;
}

static int bench_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	if (outcome != -ENODEV || !pdev->pasid_enabled)
		return -ENODEV;
	outcome = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64)) ?:
		  bench_device(&pdev->dev);
	return outcome;
}

/* No alias for it: it must be asked for */
static const struct pci_device_id bench_ids[] = {
	{ PCI_DEVICE(PTD_VENDOR_ID, PTD_DEVICE_ID) },
	{}
};

static struct pci_driver bench_driver = {
	.name = "dma_pasid_bench",
	.id_table = bench_ids,
	.probe = bench_probe,
};

static int __init dma_pasid_bench_init(void)
{
	int ret = pci_register_driver(&bench_driver);

	if (ret || !outcome)
		return ret;
	pci_unregister_driver(&bench_driver);
	return outcome;
}
module_init(dma_pasid_bench_init);

static void __exit dma_pasid_bench_exit(void)
{
	pci_unregister_driver(&bench_driver);
}
module_exit(dma_pasid_bench_exit);

MODULE_DESCRIPTION("Benchmark of DMA with PASID inside the kernel");
MODULE_LICENSE("GPL");
