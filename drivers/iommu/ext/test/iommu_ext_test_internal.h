/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _IOMMU_EXT_TEST_INTERNAL_H
#define _IOMMU_EXT_TEST_INTERNAL_H

#include <linux/uaccess.h>

#include "iommu_ext_test.h"

/**
 * struct ext_test_group - one capability's ioctls
 * @type: its ioctl type
 * @init: called once when the module is loaded; may be NULL
 * @exit: its twin; may be NULL
 * @open: makes the capability's state of an open file, or an ERR_PTR
 * @release: frees that state; no ioctl runs or follows
 * @ioctl: one ioctl; several may run at once
 */
struct ext_test_group {
	unsigned int type;
	int (*init)(void);
	void (*exit)(void);
	void *(*open)(void);
	void (*release)(void *state);
	long (*ioctl)(void *state, unsigned int cmd, void __user *arg);
};

extern const struct ext_test_group ext_test_ioasid;
extern const struct ext_test_group ext_test_pasid_testdev;
extern const struct ext_test_group ext_test_dma_owner;
extern const struct ext_test_group ext_test_user_domain;
extern const struct ext_test_group ext_test_dma_pasid;

#endif /* _IOMMU_EXT_TEST_INTERNAL_H */
