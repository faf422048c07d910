/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The IOASID allocator's calls, through the test module.
 */
#ifndef _IOASID_UTIL_H
#define _IOASID_UTIL_H

#include <stdint.h>

#include "iommu_ext_util.h"

#define INVALID		IOASID_TEST_INVALID

static inline uint32_t alloc_id(int fd, uint32_t set, uint32_t min, uint32_t max, uint32_t token)
{
	struct ioasid_test_alloc args = { .set = set, .min = min, .max = max, .token = token };

	if (ioctl(fd, IOASID_TEST_ALLOC, &args)) {
		printf("# IOASID_TEST_ALLOC: %s\n", strerror(errno));
		return INVALID;
	}
	return args.id;
}

static inline int free_id_from(int fd, uint32_t id, enum ioasid_test_context context)
{
	struct ioasid_test_free args = { .id = id, .context = context };

	return test_ioctl(fd, IOASID_TEST_FREE, &args);
}

static inline int free_id(int fd, uint32_t id)
{
	return free_id_from(fd, id, IOASID_TEST_TASK);
}

struct found {
	int error;
	uint32_t token;
};

static inline struct found find_from(int fd, uint32_t set, uint32_t id,
				     enum ioasid_test_getter getter,
				     enum ioasid_test_context context)
{
	struct ioasid_test_find args = {
		.set = set, .id = id, .getter = getter, .context = context,
	};

	if (ioctl(fd, IOASID_TEST_FIND, &args))
		return (struct found){ .error = -EIO };
	return (struct found){ .error = args.error, .token = args.token };
}

static inline struct found find(int fd, uint32_t set, uint32_t id)
{
	return find_from(fd, set, id, IOASID_TEST_NO_GETTER, IOASID_TEST_TASK);
}

static inline int find_error(int fd, uint32_t set, uint32_t id)
{
	return find(fd, set, id).error;
}

/* A test device whose PASIDs can be used, or cannot */
static inline bool pasid_device(int fd, bool capable, struct ioasid_test_global *global)
{
	struct ptd_test_info info = {};

	for (; !ioctl(fd, PTD_TEST_INFO, &info); info.index++) {
		if (!!info.max_pasids != capable)
			continue;
		*global = (struct ioasid_test_global){
			.segment = info.segment, .bus = info.bus, .devfn = info.devfn,
		};
		return true;
	}
	return false;
}

#endif /* _IOASID_UTIL_H */
