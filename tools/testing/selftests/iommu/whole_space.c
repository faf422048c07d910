// SPDX-License-Identifier: GPL-2.0
/*
 * All PASIDs at once, in a machine of 1 GiB. This takes longer than all that is called
 * ioasid, and T=ioasid is for a quick answer.
 *
 * profiles: small
 */
#include "ioasid_util.h"
#include "../kselftest_harness.h"

#define FIRST	2u
#define LAST	((1u << 20) - 1)

/* In KiB */
#define MEMINFO	"/proc/meminfo"

FIXTURE(space)
{
	int fd;
};

FIXTURE_SETUP(space)
{
	self->fd = open_test_device();
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(space)
{
	EXPECT_EQ(0, close(self->fd));
}

/* All IDs of 20 bits but 0 and 1; they are what global PASIDs come from */
TEST_F_TIMEOUT(space, whole, 600)
{
	struct ioasid_test_fill fill = { .set = 0, .min = 0, .max = LAST };
	struct ioasid_test_global global;
	long before, after;

	EXPECT_GE(1L << 20, proc_number(MEMINFO, "MemTotal"));
	ASSERT_TRUE(pasid_device(self->fd, true, &global));
	before = proc_number(MEMINFO, "SUnreclaim");
	ASSERT_EQ(0, test_ioctl(self->fd, IOASID_TEST_FILL, &fill));
	after = proc_number(MEMINFO, "SUnreclaim");
	printf("# %u IDs, %.1f bytes of slab each\n", fill.count,
	       (after - before) * 1024.0 / fill.count);
	EXPECT_EQ(LAST - FIRST + 1, fill.count);
	EXPECT_EQ(0, fill.bad);
	EXPECT_EQ(0, find_error(self->fd, 0, FIRST));
	EXPECT_EQ(0, find_error(self->fd, 0, LAST));
	EXPECT_EQ(-ENOENT, find_error(self->fd, 0, LAST + 1));

	ASSERT_EQ(0, test_ioctl(self->fd, IOASID_TEST_GLOBAL, &global));
	EXPECT_EQ(INVALID, global.id);
	EXPECT_EQ(0, free_id(self->fd, LAST));
	ASSERT_EQ(0, test_ioctl(self->fd, IOASID_TEST_GLOBAL, &global));
	EXPECT_EQ(LAST, global.id);

	ASSERT_EQ(0, test_ioctl(self->fd, IOASID_TEST_DRAIN));
	EXPECT_EQ(-ENOENT, find_error(self->fd, IOASID_TEST_ANY_SET, FIRST));
	EXPECT_EQ(-ENOENT, find_error(self->fd, IOASID_TEST_ANY_SET, LAST));
	EXPECT_EQ(FIRST, alloc_id(self->fd, 0, FIRST, FIRST, 0));
	EXPECT_EQ(LAST, alloc_id(self->fd, 0, LAST, LAST, 0));
}

TEST_HARNESS_MAIN
