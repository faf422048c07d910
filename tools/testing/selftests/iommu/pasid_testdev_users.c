// SPDX-License-Identifier: GPL-2.0
/*
 * Who takes PASIDs from the allocator: processes that share their address space
 * with a device do, and give them back when they are gone; PASIDs that userspace
 * chooses for a device of its own do not come from there.
 *
 * profiles: ats
 */
#include <signal.h>
#include <sys/wait.h>

#include "ioasid_util.h"
#include "user_domain_util.h"
#include "../kselftest_harness.h"

#define LAST	((1u << 20) - 1)

/* Far from where the allocator gives the lowest ones */
#define CHOSEN	0x54321u

static int open_single(void)
{
	struct ptd_test_info info;
	struct pci one;

	if (!find_single(&one))
		return -ENODEV;
	info = (struct ptd_test_info){
		.segment = one.dev.segment, .bus = one.dev.bus, .devfn = one.dev.devfn,
	};
	return ptd_open(&info);
}

FIXTURE(users)
{
	int fd;
	uint32_t ours;		/* an ID that a driver has */
};

FIXTURE_SETUP(users)
{
	self->fd = open_test_device();
	ASSERT_LE(0, self->fd);
	self->ours = alloc_id(self->fd, 0, 0, LAST, 1);
	ASSERT_NE(INVALID, self->ours);
}

FIXTURE_TEARDOWN(users)
{
	EXPECT_EQ(0, close(self->fd));
}

/* A PASID of a process is in the space, so no driver gets it, and no driver's is its own */
TEST_F(users, sva)
{
	uint32_t pasid, again;
	int device = open_single();

	ASSERT_LE(0, device);
	ASSERT_EQ(0, test_ioctl(device, PTD_TEST_SVA_BIND, &pasid));
	EXPECT_LE(2, pasid);
	EXPECT_GE(LAST, pasid);
	EXPECT_NE(self->ours, pasid);
	EXPECT_EQ(0, find_error(self->fd, IOASID_TEST_ANY_SET, pasid));
	EXPECT_EQ(-EACCES, find_error(self->fd, 0, pasid));
	EXPECT_EQ(INVALID, alloc_id(self->fd, 0, pasid, pasid, 0));

	/* The process has it for life */
	ASSERT_EQ(0, test_ioctl(device, PTD_TEST_SVA_UNBIND));
	EXPECT_EQ(0, find_error(self->fd, IOASID_TEST_ANY_SET, pasid));
	ASSERT_EQ(0, test_ioctl(device, PTD_TEST_SVA_BIND, &again));
	EXPECT_EQ(pasid, again);
	EXPECT_EQ(0, close(device));
}

/* Binds this process, tells its PASID, and waits for its end */
static void live_bound(int tell)
{
	int device = open_single();
	uint32_t pasid;

	if (device < 0 || ioctl(device, PTD_TEST_SVA_BIND, &pasid))
		pasid = INVALID;
	if (write(tell, &pasid, sizeof(pasid)) == sizeof(pasid))
		pause();
	_exit(1);
}

/* The last that is left of a process is dropped by the scheduler, or in an RCU callback */
TEST_F_TIMEOUT(users, sva_of_a_process_that_ends, 90)
{
	long long end = now_ms() + 60000;
	uint32_t pasid;
	int tell[2];
	pid_t pid;

	ASSERT_EQ(0, pipe(tell));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		live_bound(tell[1]);
	ASSERT_EQ((ssize_t)sizeof(pasid), read(tell[0], &pasid, sizeof(pasid)));
	ASSERT_NE(INVALID, pasid);
	EXPECT_EQ(0, find_error(self->fd, IOASID_TEST_ANY_SET, pasid));

	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, NULL, 0));
	while (find_error(self->fd, IOASID_TEST_ANY_SET, pasid) != -ENOENT && now_ms() < end)
		usleep(10000);
	EXPECT_EQ(pasid, alloc_id(self->fd, 0, pasid, pasid, 0));
}

/* Userspace may choose a number that somebody has, and takes none from anybody */
TEST_F(users, iommufd)
{
	struct hwpt_request request = { .flags = IOMMU_HWPT_ALLOC_PASID };
	uint32_t pasids[] = { self->ours, CHOSEN };
	struct user user;
	struct pci one;
	uint32_t hwpt;
	size_t i;

	ASSERT_TRUE(find_single(&one));
	ASSERT_EQ(0, pci_bind(&one, DRIVER_VFIO));
	ASSERT_EQ(0, iommufd_bind(&user, &one));
	ASSERT_EQ(0, iommufd_map(&user));
	request.iommufd = user.iommufd;
	request.devid = user.devid;
	request.pt = user.ioas;
	ASSERT_EQ(0, hwpt_alloc(&request, &hwpt));
	ASSERT_EQ(0, user_attach(&user, hwpt));
	ASSERT_EQ(0, user_start(&user));

	for (i = 0; i < ARRAY_SIZE(pasids); i++) {
		memset(user.memory, 0, SIZE);
		EXPECT_EQ(PTD_ST_WRITE_FAULT, ptd_fill_pasid(&user, pasids[i], IOVA));
		ASSERT_EQ(0, user_attach_pasid(&user, hwpt, pasids[i]));
		EXPECT_EQ(PTD_ST_OK, ptd_fill_pasid(&user, pasids[i], IOVA));
		EXPECT_TRUE(memory_is(&user, 0, SIZE, PATTERN));
	}
	EXPECT_EQ(-ENOENT, find_error(self->fd, IOASID_TEST_ANY_SET, CHOSEN));
	EXPECT_EQ(CHOSEN, alloc_id(self->fd, 0, CHOSEN, CHOSEN, 2));

	for (i = 0; i < ARRAY_SIZE(pasids); i++) {
		EXPECT_EQ(0, user_detach_pasid(&user, pasids[i]));
		EXPECT_EQ(PTD_ST_WRITE_FAULT, ptd_fill_pasid(&user, pasids[i], IOVA));
	}
	/* They are the driver's as before */
	EXPECT_EQ(1, find(self->fd, 0, self->ours).token);
	EXPECT_EQ(2, find(self->fd, 0, CHOSEN).token);
	user_close(&user);
	EXPECT_EQ(0, pci_restore(&one));
}

TEST_HARNESS_MAIN
