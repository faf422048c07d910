// SPDX-License-Identifier: GPL-2.0
/*
 * Userspace that drives a device: VFIO's group interface and iommufd, from the
 * claim of DMA ownership to data in its memory, and drivers of the kernel that
 * are kept apart from it.
 *
 * profiles: first-stage ats
 */
#include <signal.h>
#include <sys/wait.h>

#include "vfio_util.h"
#include "../kselftest_harness.h"

/* Everything up to a mapped buffer; what goes wrong is the result */
static int group_open(struct user *user, const struct pci *pci)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.iova = IOVA,
		.size = SIZE,
	};
	char path[64];

	*user = no_user;
	if (user_memory(user))
		return -ENOMEM;
	map.vaddr = (uintptr_t)user->memory;
	snprintf(path, sizeof(path), "/dev/vfio/%d", pci->group);
	user->container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	user->group = open(path, O_RDWR | O_CLOEXEC);
	if (user->container < 0 || user->group < 0)
		return -errno;
	if (ioctl(user->group, VFIO_GROUP_SET_CONTAINER, &user->container) ||
	    ioctl(user->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) ||
	    ioctl(user->container, VFIO_IOMMU_MAP_DMA, &map))
		return -errno;
	user->device = ioctl(user->group, VFIO_GROUP_GET_DEVICE_FD, pci->name);
	return user->device < 0 ? -errno : 0;
}

/* The edu device copies up to 4 KiB, to and from memory of its own */
static bool edu_dma(struct user *user, uint64_t src, uint64_t dst, uint32_t command)
{
	long long end = now_ms() + 20000;

	put64(user, 0x80, src);
	put64(user, 0x88, dst);
	put64(user, 0x90, 4096);
	put64(user, 0x98, command | 1);
	while (get32(user, 0x98) & 1) {
		if (now_ms() > end)
			return false;
		usleep(1000);
	}
	return true;
}

FIXTURE(vfio)
{
	int fd;
	struct pci one;
	struct pci pair[2];
	struct user user;
};

FIXTURE_VARIANT(vfio)
{
	int (*open)(struct user *user, const struct pci *pci);
	bool whole;
};

FIXTURE_VARIANT_ADD(vfio, group)
{
	.open = group_open,
	.whole = true,
};

FIXTURE_VARIANT_ADD(vfio, iommufd)
{
	.open = iommufd_open,
};

FIXTURE_SETUP(vfio)
{
	self->user = no_user;
	self->fd = open_test_device();
	ASSERT_LE(0, self->fd);
	ASSERT_TRUE(find_single(&self->one));
	ASSERT_TRUE(find_pair(self->pair));
	ASSERT_EQ(0, pci_bind(&self->one, DRIVER_VFIO));
	ASSERT_EQ(0, pci_bind(&self->pair[0], DRIVER_VFIO));
	ASSERT_EQ(0, pci_bind(&self->pair[1], DRIVER_MANAGED));
}

FIXTURE_TEARDOWN(vfio)
{
	user_close(&self->user);
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(0, pci_restore(&self->one));
	EXPECT_EQ(0, pci_restore(&self->pair[0]));
	EXPECT_EQ(0, pci_restore(&self->pair[1]));
	EXPECT_TRUE(owner_is(&self->one, "dma-api", 1, 1));
	EXPECT_TRUE(owner_is(&self->pair[0], "dma-api", 2, 1));
}

/* Memory in, data out */
TEST_F(vfio, dma)
{
	struct shown shown;

	EXPECT_TRUE(owner_is(&self->one, "none", 0, 0));
	ASSERT_EQ(0, variant->open(&self->user, &self->one));
	ASSERT_EQ(0, user_start(&self->user));
	EXPECT_TRUE(owner_is(&self->one, "private-domain-user", 1, !variant->whole));
	EXPECT_TRUE(show_owner(&self->one, &shown));
	EXPECT_EQ(variant->whole, shown.whole);

	EXPECT_EQ(PTD_ST_OK, ptd_fill(&self->user, IOVA));
	EXPECT_TRUE(memory_is(&self->user, 0, SIZE, PATTERN));
	EXPECT_EQ(PTD_ST_WRITE_FAULT, ptd_fill(&self->user, IOVA + SIZE));
	EXPECT_EQ(PTD_ST_WRITE_FAULT, ptd_fill(&self->user, 0));

	user_close(&self->user);
	EXPECT_TRUE(owner_is(&self->one, "none", 0, 0));

	/* And the kernel has the device again */
	ASSERT_EQ(0, pci_bind(&self->one, DRIVER_PLAIN));
	EXPECT_TRUE(dma_works(self->fd, &self->one));
}

TEST_F(vfio, edu)
{
	struct pci list[MAX_PCI];
	int nr = pci_list(list), i;

	for (i = 0; i < nr && !is_edu(&list[i]); i++)
		;
	ASSERT_LT(i, nr);
	ASSERT_EQ(0, pci_bind(&list[i], DRIVER_VFIO));
	ASSERT_EQ(0, variant->open(&self->user, &list[i]));
	ASSERT_EQ(0, user_start(&self->user));

	memset(self->user.memory, 0xa5, 4096);
	EXPECT_TRUE(edu_dma(&self->user, IOVA, 0x40000, 0));
	EXPECT_TRUE(edu_dma(&self->user, 0x40000, IOVA + 4096, 2));
	EXPECT_TRUE(memory_is(&self->user, 4096, 8192, 0xa5a5a5a5a5a5a5a5ull));
	EXPECT_TRUE(memory_is(&self->user, 8192, SIZE, 0));
	user_close(&self->user);
	pci_restore(&list[i]);
}

/* A driver of the kernel on one device keeps userspace from the other */
TEST_F(vfio, sibling_has_a_driver)
{
	ASSERT_EQ(0, pci_bind(&self->pair[1], DRIVER_PLAIN));
	EXPECT_EQ(-EPERM, variant->open(&self->user, &self->pair[0]));
	user_close(&self->user);
	EXPECT_TRUE(owner_is(&self->pair[1], "dma-api", 1, 1));
	EXPECT_TRUE(dma_works(self->fd, &self->pair[1]));

	ASSERT_EQ(0, pci_unbind(&self->pair[1]));
	EXPECT_EQ(0, variant->open(&self->user, &self->pair[0]));
}

/* And the other way round */
TEST_F(vfio, sibling_gets_a_driver)
{
	ASSERT_EQ(0, variant->open(&self->user, &self->pair[0]));
	EXPECT_EQ(-EBUSY, pci_bind(&self->pair[1], DRIVER_PLAIN));
	EXPECT_EQ(0, pci_bind(&self->pair[1], DRIVER_MANAGED));
	EXPECT_TRUE(dma_is_blocked(self->fd, &self->pair[1]));
	EXPECT_EQ(-EBUSY, claim(self->fd, &self->pair[1], OWNER_USER, 1));
	EXPECT_EQ(-EBUSY, claim(self->fd, &self->pair[1], OWNER_DMA_API, 0));
	user_close(&self->user);
	EXPECT_EQ(0, pci_bind(&self->pair[1], DRIVER_PLAIN));
	EXPECT_TRUE(dma_works(self->fd, &self->pair[1]));
}

/* A driver that does no DMA by itself is no obstacle, unless it claims */
TEST_F(vfio, sibling_manages_dma)
{
	EXPECT_EQ(0, variant->open(&self->user, &self->pair[0]));
	user_close(&self->user);
	ASSERT_EQ(0, claim(self->fd, &self->pair[1], OWNER_PRIVATE, 1));
	EXPECT_EQ(-EPERM, variant->open(&self->user, &self->pair[0]));
	user_close(&self->user);
	EXPECT_EQ(0, release(self->fd, &self->pair[1], OWNER_PRIVATE));
	EXPECT_EQ(0, variant->open(&self->user, &self->pair[0]));
}

/* A driver that has not been written for tests, and a device without PASIDs */
TEST_F(vfio, chipset_driver)
{
	struct pci sata, smbus;

	ASSERT_TRUE(find_chipset(&sata, &smbus));
	ASSERT_EQ(0, system("modprobe i2c-i801"));
	ASSERT_EQ(0, pci_bind(&smbus, DRIVER_SMBUS));
	ASSERT_EQ(0, pci_bind(&sata, DRIVER_VFIO));
	EXPECT_TRUE(owner_is(&smbus, "dma-api", 1, 1));
	EXPECT_EQ(-EPERM, variant->open(&self->user, &sata));
	user_close(&self->user);

	ASSERT_EQ(0, pci_unbind(&smbus));
	EXPECT_EQ(0, variant->open(&self->user, &sata));
	EXPECT_EQ(-EBUSY, pci_bind(&smbus, DRIVER_SMBUS));
	EXPECT_FALSE(pci_is_bound(&smbus, DRIVER_SMBUS));
	user_close(&self->user);
	EXPECT_EQ(0, pci_bind(&smbus, DRIVER_SMBUS));
	EXPECT_TRUE(owner_is(&smbus, "dma-api", 1, 1));
	pci_restore(&sata);
	ASSERT_EQ(0, system("modprobe -r i2c-i801"));
	pci_restore(&smbus);
	EXPECT_TRUE(owner_is(&smbus, "none", 0, 0));
}

/* Two users of one group, whichever way they came, are two owners */
TEST_F(vfio, second_user)
{
	struct user second;

	ASSERT_EQ(0, pci_bind(&self->pair[1], DRIVER_VFIO));
	ASSERT_EQ(0, variant->open(&self->user, &self->pair[0]));
	/* VFIO itself does not mix its two interfaces in a group */
	EXPECT_EQ(variant->whole ? -EBUSY : -EPERM, iommufd_bind(&second, &self->pair[1]));
	user_close(&second);
	user_close(&self->user);
	EXPECT_EQ(0, iommufd_bind(&second, &self->pair[1]));
	user_close(&second);
}

/* With a domain attached and no owner it is no conflict of owners */
TEST_F(vfio, domain_attached)
{
	static const enum dma_owner_test_how hows[] = {
		DMA_OWNER_TEST_BY_GROUP, DMA_OWNER_TEST_BY_PASID,
	};
	unsigned int i;

	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, attach_pasid(self->fd, &self->pair[1], hows[i], 7));
		EXPECT_EQ(-EBUSY, variant->open(&self->user, &self->pair[0]));
		user_close(&self->user);
		EXPECT_EQ(0, detach(self->fd, &self->pair[1]));
	}
	EXPECT_EQ(0, variant->open(&self->user, &self->pair[0]));
}

/*
 * Neither is a reset: the second device of a context is busy, and so is a whole
 * group. Without ATS nothing is blocked during a reset.
 */
TEST_F(vfio, reset_meanwhile)
{
	bool blocks = in_profile("ats");
	struct pci *pair = self->pair;
	struct user second = no_user;
	int i, status, ret = 0;
	pid_t child;

	ASSERT_EQ(0, pci_bind(&pair[1], DRIVER_VFIO));
	if (!variant->whole)
		ASSERT_EQ(0, iommufd_bind(&self->user, &pair[0]));
	child = fork();
	ASSERT_LE(0, child);
	while (!child)
		if (pci_reset(&pair[1]))
			_exit(1);

	/* VFIO itself resets the device, unless somebody else is at it */
	for (i = 0; i < (blocks ? 50 : 3) && ret != -EBUSY; i++) {
		usleep(10000);
		ret = variant->whole ? group_open(&second, &pair[0]) :
		      iommufd_bind_to(&second, dup(self->user.iommufd), &pair[1]);
		user_close(&second);
		EXPECT_TRUE(!ret || ret == -EAGAIN || ret == -EBUSY);
	}
	EXPECT_EQ(blocks, ret == -EBUSY);
	kill(child, SIGKILL);
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));

	ret = variant->whole ? group_open(&second, &pair[0]) :
	      iommufd_bind_to(&second, dup(self->user.iommufd), &pair[1]);
	EXPECT_EQ(0, ret);
	EXPECT_TRUE(owner_is(&pair[1], "private-domain-user", variant->whole ? 1 : 2,
			     !variant->whole));
	user_close(&second);
}

/* Removed while userspace has it: told so, it lets go, and that is no mistake */
TEST_F(vfio, removed_in_use)
{
	struct pollfd request = { .events = POLLIN };
	pid_t child;
	int status;

	ASSERT_EQ(0, variant->open(&self->user, &self->one));
	request.fd = user_request(&self->user);
	ASSERT_LE(0, request.fd);
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		user_close(&self->user);
		_exit(pci_remove(&self->one) ? 1 : 0);
	}
	EXPECT_EQ(1, poll(&request, 1, 20000));
	EXPECT_TRUE(owner_is(&self->one, "private-domain-user", 1, !variant->whole));
	user_close(&self->user);
	close(request.fd);
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_FALSE(pci_is_there(&self->one));
	EXPECT_EQ(0, pci_restore(&self->one));
	ASSERT_TRUE(find_single(&self->one));
}

TEST_HARNESS_MAIN
