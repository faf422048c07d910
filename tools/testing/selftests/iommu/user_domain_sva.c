// SPDX-License-Identifier: GPL-2.0
/*
 * The owner of a domain that a process shares with a device. VT-d binds processes to
 * devices with ATS only, and on first-stage tables.
 *
 * profiles: ats
 */
#include "user_domain_owner_util.h"
#include "../kselftest_harness.h"

TEST(owner)
{
	struct user_domain_test_call call;
	int fd = open_test_device(), device;
	struct ptd_test_info info = {};
	struct pci one;
	uint32_t pasid;

	ASSERT_LE(0, fd);
	ASSERT_TRUE(find_single(&one));
	call = call_for(&one, USER_DOMAIN_TEST_ATTACHED);
	info.segment = one.dev.segment;
	info.bus = one.dev.bus;
	info.devfn = one.dev.devfn;
	device = ptd_open(&info);
	ASSERT_LE(0, device);

	ASSERT_EQ(0, test_ioctl(device, PTD_TEST_SVA_BIND, &pasid));
	call.pasid = pasid;
	EXPECT_TRUE(owned(fd, &call, DATA_SVA, TYPE_SVA));
	EXPECT_EQ(0, test_ioctl(device, PTD_TEST_SVA_UNBIND));
	EXPECT_EQ(-ENOENT, test_ioctl(fd, USER_DOMAIN_TEST_CALL, &call));
	EXPECT_EQ(0, close(device));
	EXPECT_EQ(0, close(fd));
}

TEST_HARNESS_MAIN
