// SPDX-License-Identifier: GPL-2.0
/*
 * Domains of iommufd's mock driver, which can all that VT-d's emulation cannot:
 * nested ones, and every user data that there can be. And that upstream's own
 * test of it is served by the same code.
 *
 * profiles: first-stage
 */
#include <stddef.h>
#include <sys/wait.h>

#define __EXPORTED_HEADERS__
#include "user_domain_util.h"
#include "../../../../drivers/iommu/iommufd/iommufd_test.h"
#include "../kselftest_harness.h"

#define MIN_LEN	sizeof(uint32_t)	/* iotlb, without what was added later */

FIXTURE(mock)
{
	int iommufd;
	uint32_t parent;
	struct hwpt_request paging, nested;
	struct iommu_hwpt_selftest data;
};

static int mock_device(int iommufd, uint32_t ioas, uint32_t flags, uint32_t *id)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS,
		.id = ioas,
		.mock_domain_flags = { .dev_flags = flags },
	};

	if (ioctl(iommufd, IOMMU_TEST_CMD, &cmd))
		return -errno;
	*id = cmd.mock_domain_flags.out_idev_id;
	return 0;
}

FIXTURE_SETUP(mock)
{
	struct iommu_ioas_alloc ioas = { .size = sizeof(ioas) };

	self->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->iommufd);
	ASSERT_EQ(0, test_ioctl(self->iommufd, IOMMU_IOAS_ALLOC, &ioas));
	self->data.iotlb = IOMMU_TEST_IOTLB_DEFAULT;
	self->paging = (struct hwpt_request){
		.iommufd = self->iommufd,
		.pt = ioas.out_ioas_id,
	};
	ASSERT_EQ(0, mock_device(self->iommufd, ioas.out_ioas_id, MOCK_FLAGS_DEVICE_PASID,
				 &self->paging.devid));

	self->paging.flags = IOMMU_HWPT_ALLOC_NEST_PARENT;
	ASSERT_EQ(0, hwpt_alloc(&self->paging, &self->parent));
	self->paging.flags = 0;
	self->nested = self->paging;
	self->nested.pt = self->parent;
	self->nested.type = IOMMU_HWPT_DATA_SELFTEST;
	self->nested.data = &self->data;
	self->nested.len = sizeof(self->data);
	ASSERT_EQ(0, trace_begin());
}

FIXTURE_TEARDOWN(mock)
{
	trace_end();
	EXPECT_EQ(0, close(self->iommufd));
}

/* What the request gets, whoever is asked */
static int attempt(const struct hwpt_request *request)
{
	uint32_t id;
	int ret = hwpt_alloc(request, &id);

	return ret ?: iommufd_destroy(request->iommufd, id);
}

TEST_F(mock, paging_flags)
{
	static const uint32_t possible = IOMMU_HWPT_ALLOC_NEST_PARENT |
					 IOMMU_HWPT_ALLOC_DIRTY_TRACKING |
					 IOMMU_HWPT_ALLOC_PASID;
	uint32_t flags;
	int wanted;

	for (flags = 0; flags < 64; flags++) {
		if (flags & IOMMU_HWPT_FAULT_ID_VALID)
			continue;
		wanted = flags & ~possible ? -EOPNOTSUPP : 0;
		self->paging.flags = flags;
		EXPECT_EQ(wanted, attempt(&self->paging));
	}
	EXPECT_EQ(8, trace_count("driver=mock"));
	EXPECT_EQ(8, trace_count("nested=0 error=0"));
}

/* A device that cannot do it, on an IOMMU that can */
TEST_F(mock, no_dirty_tracking)
{
	ASSERT_EQ(0, mock_device(self->iommufd, self->paging.pt, MOCK_FLAGS_DEVICE_NO_DIRTY,
				 &self->paging.devid));
	self->paging.flags = IOMMU_HWPT_ALLOC_DIRTY_TRACKING;
	EXPECT_EQ(-EOPNOTSUPP, attempt(&self->paging));
	self->paging.flags = 0;
	EXPECT_EQ(0, attempt(&self->paging));
}

TEST_F(mock, nested_flags)
{
	uint32_t flags;
	int wanted;

	for (flags = 0; flags < 64; flags++) {
		if (flags & IOMMU_HWPT_FAULT_ID_VALID)
			continue;
		wanted = flags & ~IOMMU_HWPT_ALLOC_PASID ? -EOPNOTSUPP : 0;
		self->nested.flags = flags;
		EXPECT_EQ(wanted, attempt(&self->nested));
	}
	EXPECT_EQ(2, trace_count("driver=mock flags=0x0 nested=1 error=0") +
		     trace_count("driver=mock flags=0x8 nested=1 error=0"));
}

TEST_F(mock, no_parent)
{
	uint32_t plain;

	ASSERT_EQ(0, hwpt_alloc(&self->paging, &plain));
	self->nested.pt = plain;
	EXPECT_EQ(-EINVAL, attempt(&self->nested));
	EXPECT_EQ(1, trace_count("driver=mock flags=0x0 nested=1 error=-22"));
	/* Not even with wrong data; but what cannot be done comes first */
	self->nested.type++;
	EXPECT_EQ(-EINVAL, attempt(&self->nested));
	self->nested.flags = IOMMU_HWPT_ALLOC_DIRTY_TRACKING;
	EXPECT_EQ(-EOPNOTSUPP, attempt(&self->nested));
	EXPECT_EQ(0, iommufd_destroy(self->iommufd, plain));
}

/* What nested domains were made with can be read back */
TEST_F(mock, data_arrives)
{
	uint32_t id, i;

	self->data.iotlb = 0x12345678;
	ASSERT_EQ(0, hwpt_alloc(&self->nested, &id));
	for (i = 0; i < MOCK_NESTED_DOMAIN_IOTLB_NUM; i++) {
		struct iommu_test_cmd cmd = {
			.size = sizeof(cmd),
			.op = IOMMU_TEST_OP_MD_CHECK_IOTLB,
			.id = id,
			.check_iotlb = { .id = i, .iotlb = 0x12345678 },
		};

		EXPECT_EQ(0, test_ioctl(self->iommufd, IOMMU_TEST_CMD, &cmd));
	}
	EXPECT_EQ(0, iommufd_destroy(self->iommufd, id));
}

/* Each length that makes a difference; both kinds of domain have the same data */
TEST_F(mock, data_lengths)
{
	static const struct {
		size_t len;
		int wanted;
	} rows[] = {
		{ 1, -EINVAL },
		{ MIN_LEN - 1, -EINVAL },
		{ MIN_LEN, 0 },
		{ sizeof(struct iommu_hwpt_selftest), 0 },
		{ sizeof(struct iommu_hwpt_selftest) + 1, 0 },
		{ 100, 0 },
		{ 4096, 0 },
		{ 4097, -EINVAL },
		{ 0x80000000, -EINVAL },
		{ 0xffffffff, -EINVAL },
	};
	uint8_t *buffer = calloc(1, 8192);
	size_t i;

	ASSERT_NE(NULL, buffer);
	memcpy(buffer, &self->data, sizeof(self->data));
	self->nested.data = buffer;
	self->paging.data = buffer;
	self->paging.type = IOMMU_HWPT_DATA_SELFTEST;
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		self->nested.len = rows[i].len;
		EXPECT_EQ(rows[i].wanted, attempt(&self->nested));
		self->paging.len = rows[i].len;
		EXPECT_EQ(rows[i].wanted, attempt(&self->paging));
	}

	/* And one bit set where nothing is known */
	for (i = sizeof(self->data); i < 200; i += 13) {
		buffer[i] = 1;
		self->nested.len = 200;
		EXPECT_EQ(-EINVAL, attempt(&self->nested));
		self->paging.len = i + 1;
		EXPECT_EQ(-EINVAL, attempt(&self->paging));
		self->paging.len = i;
		EXPECT_EQ(0, attempt(&self->paging));
		buffer[i] = 0;
	}
	free(buffer);
}

TEST_F(mock, data_types)
{
	static const uint32_t types[] = {
		IOMMU_HWPT_DATA_VTD_S1, IOMMU_HWPT_DATA_ARM_SMMUV3,
		IOMMU_HWPT_DATA_SELFTEST - 1, IOMMU_HWPT_DATA_SELFTEST + 1, ~0u,
	};
	size_t i;

	self->paging.data = &self->data;
	for (i = 0; i < ARRAY_SIZE(types); i++) {
		self->nested.type = types[i];
		self->paging.type = types[i];
		self->paging.len = sizeof(self->data);
		EXPECT_EQ(-EOPNOTSUPP, attempt(&self->nested));
		EXPECT_EQ(-EOPNOTSUPP, attempt(&self->paging));
		/* The type comes before the length */
		self->paging.len = 1;
		EXPECT_EQ(-EOPNOTSUPP, attempt(&self->paging));
	}
	/* No data at all: iommufd's own rule, and a nested domain without any */
	self->nested.type = IOMMU_HWPT_DATA_NONE;
	EXPECT_EQ(-EINVAL, attempt(&self->nested));
	self->nested.len = 0;
	EXPECT_EQ(-EOPNOTSUPP, attempt(&self->nested));
}

/* The driver knows two kinds of page tables */
TEST_F(mock, unknown_page_table)
{
	self->paging.type = IOMMU_HWPT_DATA_SELFTEST;
	self->paging.data = &self->data;
	self->paging.len = sizeof(self->data);
	self->data.pagetable_type = MOCK_IOMMUPT_HUGE;
	EXPECT_EQ(0, attempt(&self->paging));
	self->data.pagetable_type = MOCK_IOMMUPT_HUGE + 1;
	EXPECT_EQ(-EOPNOTSUPP, attempt(&self->paging));
}

TEST_F(mock, bad_address)
{
	uint8_t *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const void *bad[3];
	size_t i;

	ASSERT_NE(MAP_FAILED, page);
	ASSERT_EQ(0, munmap(page + 4096, 4096));
	memset(page, 0, 4096);
	bad[0] = NULL;
	bad[1] = page + 4096;
	bad[2] = page + 4096 - sizeof(self->data) + 1;

	self->paging.type = IOMMU_HWPT_DATA_SELFTEST;
	self->paging.len = sizeof(self->data);
	for (i = 0; i < 3; i++) {
		self->nested.data = bad[i];
		self->paging.data = bad[i];
		EXPECT_EQ(-EFAULT, attempt(&self->nested));
		EXPECT_EQ(-EFAULT, attempt(&self->paging));
	}
	/* What is known can be read, what follows cannot */
	self->paging.data = page + 4096 - sizeof(self->data);
	EXPECT_EQ(0, attempt(&self->paging));
	self->paging.len++;
	EXPECT_EQ(-EFAULT, attempt(&self->paging));
	EXPECT_EQ(0, munmap(page, 4096));
}

TEST_F(mock, nothing_leaks)
{
	long before = vm_pages("nr_iommu_pages");
	int i;

	ASSERT_LT(0, before);
	for (i = 0; i < 200; i++) {
		self->paging.flags = i & IOMMU_HWPT_ALLOC_NEST_PARENT;
		ASSERT_EQ(0, attempt(&self->paging));
		ASSERT_EQ(0, attempt(&self->nested));
		self->nested.len = i % MIN_LEN ?: 1;
		ASSERT_EQ(-EINVAL, attempt(&self->nested));
		self->nested.len = sizeof(self->data);
	}
	EXPECT_EQ(before, vm_pages("nr_iommu_pages"));
}

/* One case of upstream's, whose requests are known from its source */
TEST_F(mock, upstream_is_served)
{
	pid_t pid = fork();
	int status, null;

	ASSERT_LE(0, pid);
	if (!pid) {
		null = open("/dev/null", O_RDWR);
		dup2(null, 1);
		dup2(null, 2);
		execl("./upstream/iommufd", "iommufd", "-r",
		      "iommufd_ioas.mock_domain.alloc_hwpt_nested", NULL);
		_exit(127);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_LE(1, trace_count("driver=mock flags=0x1 nested=0 error=0"));
	EXPECT_LE(2, trace_count("driver=mock flags=0x0 nested=1 error=0"));
	EXPECT_LE(1, trace_count("driver=mock flags=0x0 nested=1 error=-95"));
	EXPECT_LE(1, trace_count("driver=mock flags=0x1 nested=1 error=-95"));
	EXPECT_LE(2, trace_count("driver=mock flags=0x0 nested=1 error=-22"));
	EXPECT_LE(1, trace_count("driver=mock flags=0x0 nested=1 error=-14"));
}

TEST_HARNESS_MAIN
