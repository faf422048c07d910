// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/iommu_ext_test: calls the exported functions of the IOMMU extensions on
 * behalf of the kselftests. Each capability has a file and an ioctl type.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "iommu_ext_test_internal.h"

static const struct ext_test_group *const groups[] = {
	&ext_test_ioasid,
	&ext_test_pasid_testdev,
	&ext_test_dma_owner,
	&ext_test_user_domain,
	&ext_test_dma_pasid,
};

struct ext_test_file {
	void *state[ARRAY_SIZE(groups)];
};

static void ext_test_release_states(struct ext_test_file *file, unsigned int nr)
{
	while (nr--)
		groups[nr]->release(file->state[nr]);
	kfree(file);
}

static int ext_test_open(struct inode *inode, struct file *filp)
{
	struct ext_test_file *file;
	unsigned int i;

	file = kzalloc_obj(*file);
	if (!file)
		return -ENOMEM;

	for (i = 0; i < ARRAY_SIZE(groups); i++) {
		void *state = groups[i]->open();

		if (IS_ERR(state)) {
			ext_test_release_states(file, i);
			return PTR_ERR(state);
		}
		file->state[i] = state;
	}
	filp->private_data = file;
	return nonseekable_open(inode, filp);
}

static int ext_test_release(struct inode *inode, struct file *filp)
{
	ext_test_release_states(filp->private_data, ARRAY_SIZE(groups));
	return 0;
}

static long ext_test_ioctl(struct file *filp, unsigned int cmd, unsigned long arg)
{
	struct ext_test_file *file = filp->private_data;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(groups); i++)
		if (groups[i]->type == _IOC_TYPE(cmd))
			return groups[i]->ioctl(file->state[i], cmd, (void __user *)arg);
	return -ENOTTY;
}

static const struct file_operations ext_test_fops = {
	.owner = THIS_MODULE,
	.open = ext_test_open,
	.release = ext_test_release,
	.unlocked_ioctl = ext_test_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice ext_test_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "iommu_ext_test",
	.fops = &ext_test_fops,
	.mode = 0600,
};

static void ext_test_exit_groups(unsigned int nr)
{
	while (nr--)
		if (groups[nr]->exit)
			groups[nr]->exit();
}

static int __init ext_test_init(void)
{
	unsigned int i;
	int ret;

	for (i = 0; i < ARRAY_SIZE(groups); i++) {
		ret = groups[i]->init ? groups[i]->init() : 0;
		if (ret) {
			ext_test_exit_groups(i);
			return ret;
		}
	}
	ret = misc_register(&ext_test_misc);
	if (ret)
		ext_test_exit_groups(ARRAY_SIZE(groups));
	return ret;
}
module_init(ext_test_init);

static void __exit ext_test_exit(void)
{
	misc_deregister(&ext_test_misc);
	ext_test_exit_groups(ARRAY_SIZE(groups));
}
module_exit(ext_test_exit);

MODULE_DESCRIPTION("Test access to the IOMMU extensions");
MODULE_IMPORT_NS("IOMMUFD_INTERNAL");
MODULE_LICENSE("GPL");
