// SPDX-License-Identifier: GPL-2.0
/*
 * DMA ownership from a Rust driver: samples/iommu-ext/rust_dma_owner.rs is bound
 * to a test device, and what its guard claims and releases is seen.
 *
 * profiles: first-stage
 */
#include <sys/syscall.h>
#include <sys/utsname.h>

#include "dma_owner_util.h"
#include "../kselftest_harness.h"

#define DRIVER_RUST	"rust_dma_owner"

static int load_driver(void)
{
	struct utsname name;
	char path[PATH_MAX];
	int fd, ret;

	if (uname(&name))
		return -errno;
	snprintf(path, sizeof(path), "/lib/modules/%s/kernel/samples/iommu-ext/" DRIVER_RUST ".ko",
		 name.release);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = syscall(SYS_finit_module, fd, "", 0) ? -errno : 0;
	close(fd);
	return ret;
}

static int unload_driver(void)
{
	return syscall(SYS_delete_module, DRIVER_RUST, O_NONBLOCK) ? -errno : 0;
}

FIXTURE(rust)
{
	int fd;
	struct pci one;
	struct pci pair[2];
	bool loaded;
};

FIXTURE_SETUP(rust)
{
	self->fd = open_test_device();
	ASSERT_LE(0, self->fd);
	ASSERT_TRUE(find_single(&self->one));
	ASSERT_TRUE(find_pair(self->pair));
	ASSERT_EQ(0, pci_bind(&self->one, DRIVER_MANAGED));
	ASSERT_EQ(0, pci_bind(&self->pair[0], DRIVER_MANAGED));
	ASSERT_EQ(0, pci_bind(&self->pair[1], DRIVER_MANAGED));
	ASSERT_EQ(0, load_driver());
	self->loaded = true;
}

FIXTURE_TEARDOWN(rust)
{
	if (self->loaded)
		EXPECT_EQ(0, unload_driver());
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(0, pci_restore(&self->one));
	EXPECT_EQ(0, pci_restore(&self->pair[0]));
	EXPECT_EQ(0, pci_restore(&self->pair[1]));
	EXPECT_TRUE(owner_is(&self->one, "dma-api", 1, 1));
	EXPECT_TRUE(owner_is(&self->pair[0], "dma-api", 2, 1));
}

TEST_F(rust, bound)
{
	struct shown shown;

	ASSERT_EQ(0, pci_bind(&self->one, DRIVER_RUST));
	EXPECT_TRUE(owner_is(&self->one, "private-domain", 1, 1));
	EXPECT_TRUE(show_owner(&self->one, &shown));
	EXPECT_STREQ(DRIVER_RUST, shown.claimant);

	/* The guard is dropped */
	ASSERT_EQ(0, pci_unbind(&self->one));
	EXPECT_TRUE(owner_is(&self->one, "none", 0, 0));
	ASSERT_EQ(0, pci_bind(&self->one, DRIVER_PLAIN));
	EXPECT_TRUE(owner_is(&self->one, "dma-api", 1, 1));
	EXPECT_TRUE(dma_works(self->fd, &self->one));
}

/* Each device has a guard, and nobody else comes in before the last is dropped */
TEST_F(rust, bound_to_a_whole_group)
{
	struct pci *pair = self->pair;

	ASSERT_EQ(0, pci_bind(&pair[0], DRIVER_RUST));
	EXPECT_EQ(-EBUSY, claim(self->fd, &pair[1], OWNER_PRIVATE, 1));
	EXPECT_EQ(-EBUSY, pci_bind(&pair[1], DRIVER_PLAIN));
	ASSERT_EQ(0, pci_bind(&pair[1], DRIVER_RUST));
	EXPECT_TRUE(owner_is(&pair[0], "private-domain", 2, 1));

	ASSERT_EQ(0, pci_unbind(&pair[0]));
	EXPECT_TRUE(owner_is(&pair[1], "private-domain", 1, 1));
	EXPECT_EQ(-EBUSY, pci_bind(&pair[0], DRIVER_PLAIN));
	ASSERT_EQ(0, pci_unbind(&pair[1]));
	EXPECT_TRUE(owner_is(&pair[1], "none", 0, 0));
	ASSERT_EQ(0, pci_bind(&pair[0], DRIVER_PLAIN));
	EXPECT_TRUE(dma_works(self->fd, &pair[0]));
}

/* Its probe fails, and leaves nothing */
TEST_F(rust, refused)
{
	ASSERT_EQ(0, claim(self->fd, &self->pair[1], OWNER_USER, 1));
	EXPECT_EQ(-EBUSY, pci_bind(&self->pair[0], DRIVER_RUST));
	EXPECT_FALSE(pci_is_bound(&self->pair[0], DRIVER_RUST));
	EXPECT_TRUE(owner_is(&self->pair[0], "private-domain-user", 1, 0));
	EXPECT_EQ(0, release(self->fd, &self->pair[1], OWNER_USER));
	EXPECT_EQ(0, pci_bind(&self->pair[0], DRIVER_RUST));
	EXPECT_TRUE(owner_is(&self->pair[0], "private-domain", 1, 1));
}

/* The module goes while its driver is bound, the device while it is claimed */
TEST_F(rust, removed)
{
	ASSERT_EQ(0, pci_bind(&self->one, DRIVER_RUST));
	ASSERT_EQ(0, pci_bind(&self->pair[0], DRIVER_RUST));
	EXPECT_EQ(0, pci_remove(&self->pair[0]));
	EXPECT_TRUE(owner_is(&self->pair[1], "none", 0, 0));

	EXPECT_TRUE(owner_is(&self->one, "private-domain", 1, 1));
	ASSERT_EQ(0, unload_driver());
	self->loaded = false;
	EXPECT_TRUE(owner_is(&self->one, "none", 0, 0));
}

TEST_HARNESS_MAIN
