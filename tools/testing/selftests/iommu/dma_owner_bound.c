// SPDX-License-Identifier: GPL-2.0
/*
 * DMA ownership in other setups: drivers are bound, their groups are claimed,
 * their DMA works, and userspace is kept apart from them.
 *
 * profiles: legacy passthrough lazy
 */
#include "dma_owner_util.h"
#include "../kselftest_harness.h"

FIXTURE(bound)
{
	int fd;
	struct pci one;
};

FIXTURE_SETUP(bound)
{
	self->fd = open_test_device();
	ASSERT_LE(0, self->fd);
	ASSERT_TRUE(find_single(&self->one));
}

FIXTURE_TEARDOWN(bound)
{
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(0, pci_restore(&self->one));
}

TEST_F(bound, at_boot)
{
	EXPECT_TRUE(pci_is_bound(&self->one, "pasid_testdev"));
	EXPECT_TRUE(owner_is(&self->one, "dma-api", 1, 1));
}

TEST_F(bound, dma)
{
	ASSERT_EQ(0, pci_bind(&self->one, DRIVER_PLAIN));
	EXPECT_TRUE(owner_is(&self->one, "dma-api", 1, 1));
	EXPECT_TRUE(dma_works(self->fd, &self->one));
}

TEST_F(bound, blocked_for_userspace)
{
	ASSERT_EQ(0, pci_bind(&self->one, DRIVER_MANAGED));
	EXPECT_TRUE(dma_works(self->fd, &self->one));
	EXPECT_EQ(0, claim(self->fd, &self->one, OWNER_USER, 1));
	EXPECT_TRUE(dma_is_blocked(self->fd, &self->one));
	EXPECT_EQ(0, release(self->fd, &self->one, OWNER_USER));
	EXPECT_TRUE(dma_works(self->fd, &self->one));
}

TEST_F(bound, own_domain)
{
	ASSERT_EQ(0, pci_bind(&self->one, DRIVER_MANAGED));
	EXPECT_EQ(0, claim(self->fd, &self->one, OWNER_PRIVATE, 1));
	EXPECT_TRUE(dma_works(self->fd, &self->one));
	EXPECT_EQ(0, attach(self->fd, &self->one, DMA_OWNER_TEST_BY_DEVICE));
	EXPECT_TRUE(dma_is_blocked(self->fd, &self->one));
	EXPECT_EQ(0, release(self->fd, &self->one, OWNER_PRIVATE));
	EXPECT_TRUE(dma_works(self->fd, &self->one));
}

TEST_HARNESS_MAIN
