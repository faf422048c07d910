/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Page tables that iommufd makes for userspace, and what the kernel traces when
 * it does.
 */
#ifndef _USER_DOMAIN_UTIL_H
#define _USER_DOMAIN_UTIL_H

#include "vfio_util.h"

#define ALLOC_EVENT	TRACING "/events/iommu_ext/iommu_domain_alloc_user/enable"

struct hwpt_request {
	int iommufd;
	uint32_t devid;
	uint32_t pt;			/* an address space, or a parent */
	uint32_t flags;
	uint32_t fault;
	uint32_t type;
	const void *data;
	size_t len;
};

static inline int hwpt_alloc(const struct hwpt_request *request, uint32_t *id)
{
	struct iommu_hwpt_alloc cmd = {
		.size = sizeof(cmd),
		.flags = request->flags,
		.dev_id = request->devid,
		.pt_id = request->pt,
		.data_type = request->type,
		.data_len = request->len,
		.data_uptr = (uintptr_t)request->data,
		.fault_id = request->fault,
	};

	if (ioctl(request->iommufd, IOMMU_HWPT_ALLOC, &cmd))
		return -errno;
	*id = cmd.out_hwpt_id;
	return 0;
}

/* What the request is answered with user data of that type and length */
static inline int hwpt_answer(struct hwpt_request *request, uint32_t type, size_t len)
{
	uint32_t hwpt;

	request->type = type;
	request->len = len;
	return hwpt_alloc(request, &hwpt);
}

static inline int iommufd_destroy(int iommufd, uint32_t id)
{
	struct iommu_destroy cmd = { .size = sizeof(cmd), .id = id };

	return test_ioctl(iommufd, IOMMU_DESTROY, &cmd);
}

/* Calls of domain_alloc_user are traced from here on */
static inline int trace_begin(void)
{
	return empty_file(TRACING "/trace") ?: write_file(ALLOC_EVENT, "1");
}

/* How many calls were traced whose line has this text in it */
static inline int trace_count(const char *text)
{
	FILE *file = fopen(TRACING "/trace", "r");
	char line[512];
	int count = 0;

	if (!file)
		return -errno;
	while (fgets(line, sizeof(line), file))
		count += strstr(line, "iommu_domain_alloc_user:") && strstr(line, text);
	fclose(file);
	return count;
}

static inline void trace_end(void)
{
	write_file(ALLOC_EVENT, "0");
}

/* A number of pages from /proc/vmstat */
static inline long vm_pages(const char *name)
{
	write_file("/proc/sys/vm/stat_refresh", "1");
	return proc_number("/proc/vmstat", name);
}

/* Attached, the device reaches what is mapped and nothing else */
static inline bool does_dma(struct user *user, uint32_t hwpt)
{
	bool good;

	memset(user->memory, 0, SIZE);
	if (user_attach(user, hwpt) || user_start(user))
		return false;
	good = ptd_fill(user, IOVA) == PTD_ST_OK &&
	       memory_is(user, 0, SIZE, PATTERN) &&
	       ptd_fill(user, IOVA + SIZE) == PTD_ST_WRITE_FAULT;
	munmap(user->bar, user->bar_size);
	user->bar = NULL;
	return !user_detach(user) && good;
}

#endif /* _USER_DOMAIN_UTIL_H */
