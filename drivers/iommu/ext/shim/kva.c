// SPDX-License-Identifier: GPL-2.0
/*
 * Domains for kernel virtual addresses, and what the kernel has at them.
 */
#include <linux/irqflags.h>
#include <linux/ioport.h>
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/pgtable.h>
#include <linux/sched/task_stack.h>
#include <linux/vmalloc.h>
#include <uapi/linux/iommufd.h>

#include "../../iommu-priv.h"

/* Makes a domain; base pages only: no leaf can be split. */
struct iommu_domain *iommu_kva_domain_alloc(struct device *dev)
{
	struct iommu_domain *domain;

	domain = iommu_paging_domain_alloc_flags(dev, IOMMU_HWPT_ALLOC_PASID);
	if (!IS_ERR(domain))
		domain->pgsize_bitmap = PAGE_SIZE;
	return domain;
}

/* Makes a new domain a KVA domain, and gives it its private data. */
int iommu_kva_domain_init(struct iommu_domain *domain, void *kva)
{
	int ret = iommu_domain_set_data_owner(domain, IOMMU_DOMAIN_DATA_OWNER_KVA);

	if (!ret)
		domain->kva = kva;
	return ret;
}

/* The private data of a KVA domain, NULL for any other domain. */
void *iommu_kva_of(struct iommu_domain *domain)
{
	if (iommu_domain_data_owner(domain) != IOMMU_DOMAIN_DATA_OWNER_KVA)
		return NULL;
	return domain->kva;
}

/* Frees a domain and returns what was its private data. */
void *iommu_kva_domain_free(struct iommu_domain *domain)
{
	void *kva = domain->kva;

	iommu_domain_clear_data_owner(domain, IOMMU_DOMAIN_DATA_OWNER_KVA);
	iommu_domain_free(domain);
	return kva;
}

#ifdef CONFIG_X86_64
/*
 * The leaf for an address. Interrupts are off: who frees a table waits for this
 * CPU to flush its TLB first, unless the CPU can flush those of others by an
 * instruction. The owner of what is mapped keeps the entry.
 */
static pte_t kernel_leaf(unsigned long addr, unsigned int *level)
{
	unsigned long flags;
	pte_t *ptep, pte = __pte(0);

	local_irq_save(flags);
	ptep = lookup_address(addr, level);
	if (ptep)
		pte = ptep_get(ptep);
	local_irq_restore(flags);
	/* To pte_present() a kernel's entry is present without that bit, too */
	return pte_flags(pte) & _PAGE_PRESENT ? pte : __pte(0);
}

/* What large leaves have at PAT's place in a small one stays out of this. */
static phys_addr_t leaf_phys(pte_t pte, unsigned int level)
{
	switch (level) {
	case PG_LEVEL_1G:
		return (phys_addr_t)pud_pfn(__pud(pte_val(pte))) << PAGE_SHIFT;
	case PG_LEVEL_2M:
		return (phys_addr_t)pmd_pfn(__pmd(pte_val(pte))) << PAGE_SHIFT;
	default:
		return (phys_addr_t)pte_pfn(pte) << PAGE_SHIFT;
	}
}

/* Bytes from an address to the end of its leaf. */
static unsigned long leaf_rest(unsigned long addr, unsigned int level)
{
	unsigned long size = page_level_size(level);

	return size - (addr & (size - 1));
}

/*
 * What the kernel has at a page's address: how many bytes are contiguous from
 * there on, and where they are. To be written it must be writable for the kernel,
 * by this address and by that of the direct map.
 * Return: 0 for what is neither in the direct map, nor in vmalloc or module space,
 * nor in the kernel's image, or is not present, or not writable.
 */
unsigned long iommu_kva_piece_atomic(unsigned long addr, bool write, phys_addr_t *phys)
{
	unsigned long rest, alias;
	unsigned int level;
	pte_t pte;

	if (!is_vmalloc_or_module_addr((void *)addr) && !virt_addr_valid(addr))
		return 0;
	pte = kernel_leaf(addr, &level);
	if (!pte_present(pte) || (write && !pte_write(pte)))
		return 0;
	rest = leaf_rest(addr, level);
	*phys = leaf_phys(pte, level) | (addr & (page_level_size(level) - 1));

	alias = (unsigned long)phys_to_virt(*phys);
	if (!write || addr == alias || !virt_addr_valid(alias))
		return rest;
	pte = kernel_leaf(alias, &level);
	if (pte_present(pte) && !pte_write(pte))
		return 0;
	return min(rest, leaf_rest(alias, level));
}

/* The same for whoever may sleep: tables that are merged go with the lock held. */
unsigned long iommu_kva_piece(unsigned long addr, bool write, phys_addr_t *phys)
{
	guard(mmap_read_lock)(&init_mm);
	return iommu_kva_piece_atomic(addr, write, phys);
}
#else
unsigned long iommu_kva_piece(unsigned long addr, bool write, phys_addr_t *phys)
{
	return 0;
}
#endif

bool iommu_kva_is_memory(phys_addr_t phys, size_t size)
{
	return region_intersects(phys, size, IORESOURCE_SYSTEM_RAM,
				 IORES_DESC_NONE) == REGION_INTERSECTS;
}

bool iommu_kva_on_stack(unsigned long addr, size_t size)
{
	unsigned long stack = (unsigned long)task_stack_page(current);

	return addr < stack + THREAD_SIZE && addr + size > stack;
}

bool iommu_kva_is_vmalloc(unsigned long addr)
{
	return is_vmalloc_or_module_addr((void *)addr);
}
