// SPDX-License-Identifier: GPL-2.0
/*
 * Sample of DMA with PASID inside the kernel, on the test device of the IOMMU
 * extensions: the device fills a buffer by its kernel virtual address.
 *
 * To make it probe, QEMU must be run with "-device pasid-testdev", and the device
 * be given to this driver by driver_override; with iommu.kva_fast=1 it fails, as
 * the device then reaches what was unmapped.
 */
#include <linux/io-64-nonatomic-lo-hi.h>
#include <linux/iommu-dma-pasid.h>
#include <linux/iommu.h>
#include <linux/iopoll.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/slab.h>

#include "pasid_testdev_regs.h"

#define SIZE	5000
#define BYTE	0x5a

static int fill(void __iomem *bar, int pasid, void *buffer, u32 *status)
{
	void __iomem *slot = bar + PTD_SLOT(0, 0);

	iowrite32(pasid, slot + PTD_D_PASID);
	writeq((unsigned long)buffer, slot + PTD_D_DST);
	iowrite32(SIZE, slot + PTD_D_LEN);
	writeq(BYTE * 0x0101010101010101ULL, slot + PTD_D_PATTERN);
	iowrite32(PTD_OP_FILL | PTD_F_PASID, slot + PTD_D_CTRL);
	iowrite32(0, bar + PTD_QUEUE(0) + PTD_Q_DOORBELL);
	return read_poll_timeout(ioread32, *status, *status > PTD_ST_RUNNING, 1000,
				 10 * USEC_PER_SEC, false, slot + PTD_D_STATUS);
}

static int show_kva(struct device *dev, void __iomem *bar, void *buffer)
{
	struct iommu_domain *domain;
	u32 before, status, after;
	int pasid, ret;

	pasid = iommu_dma_pasid_enable(dev, &domain, IOMMU_DMA_PASID_KVA);
	if (pasid < 0)
		return pasid;

	ret = fill(bar, pasid, buffer, &before);
	ret = ret ?: iommu_map_kva(domain, buffer, SIZE, IOMMU_READ | IOMMU_WRITE);
	if (ret)
		goto disable;
	ret = fill(bar, pasid, buffer, &status);
	iommu_unmap_kva(domain, buffer, SIZE);
	ret = ret ?: fill(bar, pasid, buffer, &after);
	if (ret)
		goto disable;

	if (before == PTD_ST_WRITE_FAULT && status == PTD_ST_OK &&
	    !memchr_inv(buffer, BYTE, SIZE) && after == PTD_ST_WRITE_FAULT)
		dev_info(dev, "kva: PASID %d works while the buffer is mapped\n", pasid);
	else
		ret = -EIO;
disable:
	iommu_dma_pasid_disable(dev, &domain, IOMMU_DMA_PASID_KVA);
	return ret;
}

static int dma_pasid_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	void __iomem *bar;
	void *buffer;
	int ret;

	ret = pcim_enable_device(pdev);
	if (ret)
		return ret;
	bar = pcim_iomap(pdev, PTD_BAR, PTD_BAR_SIZE);
	if (!bar)
		return -ENOMEM;
	if (ioread32(bar + PTD_REG_ID) != PTD_ID)
		return -ENODEV;
	pci_set_master(pdev);

	buffer = kzalloc(SIZE, GFP_KERNEL);
	if (!buffer)
		return -ENOMEM;
	ret = show_kva(&pdev->dev, bar, buffer);
	kfree(buffer);
	return ret;
}

static const struct pci_device_id dma_pasid_ids[] = { {} };

static struct pci_driver dma_pasid_driver = {
	.name = "dma_pasid",
	.id_table = dma_pasid_ids,
	.probe = dma_pasid_probe,
};
module_pci_driver(dma_pasid_driver);

MODULE_DESCRIPTION("Sample of DMA with PASID inside the kernel");
MODULE_LICENSE("GPL");
