// SPDX-License-Identifier: GPL-2.0
/*
 * Owners of the private data of domains.
 *
 * Lock order: the file's mutex, device_lock, group->mutex.
 */
#include <linux/iommu-user-domain.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/slab.h>

#include "../../iommu-priv.h"
#include "iommu_ext_test_internal.h"

struct user_domain_file {
	struct mutex lock;		/* one ioctl at a time */
	struct iommu_domain *domain;	/* NULL: there is none */
};

static int user_domain_fault(struct iommu_domain *domain, struct device *dev,
			     unsigned long iova, int flags, void *token)
{
	return 0;
}

static int user_domain_act(struct iommu_domain *domain, u32 action, u32 owner)
{
	switch (action) {
	case USER_DOMAIN_TEST_CLAIM:
		return iommu_domain_set_data_owner(domain, owner);
	case USER_DOMAIN_TEST_CLEAR:
		iommu_domain_clear_data_owner(domain, owner);
		return 0;
	case USER_DOMAIN_TEST_MSI:
		return iommu_get_msi_cookie(domain, 0);
	case USER_DOMAIN_TEST_HANDLER:
		iommu_set_fault_handler(domain, user_domain_fault, NULL);
		return 0;
	default:
		return 0;
	}
}

/* All that the owner keeps in a domain comes last in it */
#define DATA_SIZE	(sizeof(struct iommu_domain) - offsetof(struct iommu_domain, iova_cookie))

static void user_domain_do(struct iommu_domain *domain, struct user_domain_test_call *call)
{
	bool own = call->which == USER_DOMAIN_TEST_OWN;
	u8 before[DATA_SIZE];
	u32 type = domain->type;

	memcpy(before, &domain->iova_cookie, DATA_SIZE);
	call->error = user_domain_act(domain, call->action, call->owner);
	call->now = iommu_domain_data_owner(domain);
	call->type = domain->type;
	call->changed = call->type != type ||
			memcmp(before, &domain->iova_cookie, DATA_SIZE);
	if (call->action == USER_DOMAIN_TEST_CLAIM && !call->error && !own)
		iommu_domain_clear_data_owner(domain, call->owner);
}

/* The group's mutex is held */
static struct iommu_domain *user_domain_attached(struct iommu_group *group, u32 pasid)
{
	struct iommu_attach_handle *handle;

	if (!pasid)
		return group->domain;
	handle = iommu_attach_handle_get(group, pasid, 0);
	return IS_ERR(handle) ? NULL : handle->domain;
}

static int user_domain_of_device(struct device *dev, struct user_domain_test_call *call)
{
	struct iommu_group *group = dev->iommu_group;
	struct iommu_domain *domain;

	guard(mutex)(&group->mutex);
	switch (call->which) {
	case USER_DOMAIN_TEST_ATTACHED:
		domain = user_domain_attached(group, call->pasid);
		break;
	case USER_DOMAIN_TEST_BLOCKING:
		domain = dev_iommu_ops(dev)->blocked_domain;
		break;
	case USER_DOMAIN_TEST_IDENTITY:
		domain = dev_iommu_ops(dev)->identity_domain;
		break;
	default:
		return -EINVAL;
	}
	if (!domain)
		return -ENOENT;
	if (call->action > USER_DOMAIN_TEST_CLAIM)
		return -EINVAL;
	user_domain_do(domain, call);
	return 0;
}

static int user_domain_alloc(struct user_domain_file *file, struct device *dev)
{
	struct iommu_domain *domain;

	if (file->domain)
		return -EBUSY;
	domain = iommu_paging_domain_alloc(dev);
	if (IS_ERR(domain))
		return PTR_ERR(domain);
	file->domain = domain;
	return 0;
}

static void user_domain_free(struct user_domain_file *file)
{
	if (file->domain)
		iommu_domain_free(file->domain);
	file->domain = NULL;
}

static int user_domain_locked_ioctl(struct user_domain_file *file, unsigned int cmd,
				    struct user_domain_test_call *call)
{
	struct pci_dev *pdev;
	int ret = -ENODEV;

	if (cmd == USER_DOMAIN_TEST_CALL && call->which == USER_DOMAIN_TEST_OWN) {
		if (!file->domain)
			return -ENOENT;
		user_domain_do(file->domain, call);
		return 0;
	}

	pdev = pci_get_domain_bus_and_slot(call->segment, call->bus, call->devfn);
	if (!pdev)
		return -ENODEV;
	scoped_guard(device, &pdev->dev) {
		/* The driver keeps the device in its group */
		if (!pdev->dev.driver || !device_iommu_mapped(&pdev->dev))
			break;
		ret = cmd == USER_DOMAIN_TEST_ALLOC ? user_domain_alloc(file, &pdev->dev) :
						      user_domain_of_device(&pdev->dev, call);
	}
	pci_dev_put(pdev);
	return ret;
}

static long user_domain_ioctl(void *state, unsigned int cmd, void __user *arg)
{
	struct user_domain_file *file = state;
	struct user_domain_test_call call;
	int ret;

	guard(mutex)(&file->lock);
	switch (cmd) {
	case USER_DOMAIN_TEST_FREE:
		user_domain_free(file);
		return 0;
	case USER_DOMAIN_TEST_ALLOC:
	case USER_DOMAIN_TEST_CALL:
		break;
	default:
		return -ENOTTY;
	}

	if (copy_from_user(&call, arg, sizeof(call)))
		return -EFAULT;
	ret = user_domain_locked_ioctl(file, cmd, &call);
	if (!ret && cmd == USER_DOMAIN_TEST_CALL && copy_to_user(arg, &call, sizeof(call)))
		return -EFAULT;
	return ret;
}

static void *user_domain_open(void)
{
	struct user_domain_file *file = kzalloc_obj(*file);

	if (!file)
		return ERR_PTR(-ENOMEM);
	mutex_init(&file->lock);
	return file;
}

static void user_domain_close(void *state)
{
	struct user_domain_file *file = state;

	user_domain_free(file);
	mutex_destroy(&file->lock);
	kfree(file);
}

const struct ext_test_group ext_test_user_domain = {
	.type = IOMMU_EXT_TEST_USER_DOMAIN,
	.open = user_domain_open,
	.release = user_domain_close,
	.ioctl = user_domain_ioctl,
};
