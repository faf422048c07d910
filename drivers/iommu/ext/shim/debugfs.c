// SPDX-License-Identifier: GPL-2.0
/*
 * Files in /sys/kernel/debug/iommu/ext. What they say is written in Rust.
 */
#include <linux/debugfs.h>
#include <linux/init.h>
#include <linux/iommu.h>
#include <linux/seq_file.h>

#include "../dma_owner.h"
#include "../dma_pasid.h"
#include "ioasid_xa.h"

/* Position 0 is the head line, position n the first chunk from index n - 1 on. */
static void *ioasid_seq_start(struct seq_file *m, loff_t *pos)
{
	s64 index;

	if (!*pos)
		return SEQ_START_TOKEN;
	index = ioasid_debugfs_next(*pos - 1);
	if (index < 0)
		return NULL;
	*pos = index + 1;
	return pos;
}

static void *ioasid_seq_next(struct seq_file *m, void *v, loff_t *pos)
{
	++*pos;
	return ioasid_seq_start(m, pos);
}

static void ioasid_seq_stop(struct seq_file *m, void *v)
{
}

static int ioasid_seq_show(struct seq_file *m, void *v)
{
	if (v == SEQ_START_TOKEN)
		ioasid_debugfs_show_head(m);
	else
		ioasid_debugfs_show_chunk(m, *(loff_t *)v - 1);
	return 0;
}

static const struct seq_operations ioasid_sops = {
	.start = ioasid_seq_start,
	.next = ioasid_seq_next,
	.stop = ioasid_seq_stop,
	.show = ioasid_seq_show,
};
DEFINE_SEQ_ATTRIBUTE(ioasid);

DEFINE_SHOW_ATTRIBUTE(iommu_dma_owner);
DEFINE_SHOW_ATTRIBUTE(iommu_dma_pasid);

/* After the IOMMU core has made its directory. */
static int __init iommu_ext_debugfs_init(void)
{
	struct dentry *dir = debugfs_create_dir("ext", iommu_debugfs_dir);

	debugfs_create_file("ioasid", 0400, dir, NULL, &ioasid_fops);
	if (IS_ENABLED(CONFIG_IOMMU_EXT)) {
		debugfs_create_file("dma_owner", 0400, dir, NULL, &iommu_dma_owner_fops);
		debugfs_create_file("pasid", 0400, dir, NULL, &iommu_dma_pasid_fops);
	}
	return 0;
}
late_initcall(iommu_ext_debugfs_init);
