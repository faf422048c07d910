/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Owners of the private data of domains, as the test module tells of them.
 */
#ifndef _USER_DOMAIN_OWNER_UTIL_H
#define _USER_DOMAIN_OWNER_UTIL_H

#include "user_domain_util.h"

/* As in <linux/iommu-user-domain.h>, which userspace does not see */
enum {
	DATA_NONE,
	DATA_DMA,
	DATA_IOMMUFD,
	DATA_DMA_MSI,
	DATA_FAULT_HANDLER,
	DATA_SVA,
	DATA_KVA,
	DATA_UNKNOWN,
};

/* As in <linux/iommu.h> */
#define TYPE_PAGING	0x01
#define TYPE_DMA	0x03
#define TYPE_SVA	0x10

static inline struct user_domain_test_call call_for(const struct pci *pci, uint32_t which)
{
	return (struct user_domain_test_call){
		.segment = pci->dev.segment, .bus = pci->dev.bus, .devfn = pci->dev.devfn,
		.which = which,
	};
}

static inline int act(int fd, struct user_domain_test_call *call, uint32_t action, uint32_t owner)
{
	int ret;

	call->action = action;
	call->owner = owner;
	ret = test_ioctl(fd, USER_DOMAIN_TEST_CALL, call);
	if (ret)
		printf("# USER_DOMAIN_TEST_CALL: %s\n", strerror(-ret));
	return ret ? -EIO : call->error;
}

/* Owned by this one, of this type, and nobody else can claim it */
static inline bool owned(int fd, struct user_domain_test_call *call, uint32_t owner, uint32_t type)
{
	uint32_t other;

	if (act(fd, call, USER_DOMAIN_TEST_LOOK, 0) || call->now != owner || call->type != type) {
		printf("# owner %u type %#x\n", call->now, call->type);
		return false;
	}
	for (other = DATA_DMA; other <= DATA_KVA; other++) {
		if (act(fd, call, USER_DOMAIN_TEST_CLAIM, other) != -EBUSY || call->changed ||
		    call->now != owner || call->type != type) {
			printf("# claim for %u: %d, owner %u\n", other, call->error, call->now);
			return false;
		}
	}
	return true;
}

#endif /* _USER_DOMAIN_OWNER_UTIL_H */
