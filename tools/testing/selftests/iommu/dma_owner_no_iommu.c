// SPDX-License-Identifier: GPL-2.0
/*
 * DMA ownership where devices are in no group: the DMA API needs no permission,
 * and nothing else is to be had.
 *
 * profiles: no-iommu
 */
#include "dma_owner_util.h"
#include "../kselftest_harness.h"

FIXTURE(no_iommu)
{
	int fd;
	struct pci ptd;
};

FIXTURE_SETUP(no_iommu)
{
	struct pci list[MAX_PCI];
	int nr = pci_list(list), i;

	for (i = 0; i < nr && !is_ptd(&list[i]); i++)
		;
	ASSERT_LT(i, nr);
	self->ptd = list[i];
	ASSERT_EQ(-1, self->ptd.group);
	self->fd = open_test_device();
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(no_iommu)
{
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(0, pci_restore(&self->ptd));
}

TEST_F(no_iommu, at_boot)
{
	EXPECT_TRUE(pci_is_bound(&self->ptd, "pasid_testdev"));
}

TEST_F(no_iommu, claims)
{
	ASSERT_EQ(0, pci_bind(&self->ptd, DRIVER_MANAGED));
	EXPECT_EQ(0, claim(self->fd, &self->ptd, OWNER_DMA_API, 0));
	EXPECT_EQ(0, claim(self->fd, &self->ptd, OWNER_DMA_API, 1));
	EXPECT_EQ(-ENODEV, claim(self->fd, &self->ptd, OWNER_PRIVATE, 1));
	EXPECT_EQ(-ENODEV, claim(self->fd, &self->ptd, OWNER_USER, 1));

	/* The arguments come first */
	EXPECT_EQ(-EINVAL, claim(self->fd, &self->ptd, OWNER_USER, 0));
	EXPECT_EQ(-EINVAL, claim(self->fd, &self->ptd, OWNER_NONE, 1));
}

TEST_F(no_iommu, releases_are_silent)
{
	ASSERT_EQ(0, pci_bind(&self->ptd, DRIVER_MANAGED));
	EXPECT_EQ(0, release(self->fd, &self->ptd, OWNER_DMA_API));
	EXPECT_EQ(0, release(self->fd, &self->ptd, OWNER_PRIVATE));
	EXPECT_EQ(0, release(self->fd, &self->ptd, OWNER_USER));
}

TEST_F(no_iommu, binding)
{
	ASSERT_EQ(0, pci_bind(&self->ptd, DRIVER_PLAIN));
	EXPECT_TRUE(dma_works(self->fd, &self->ptd));
	EXPECT_EQ(0, pci_unbind(&self->ptd));
}

TEST_HARNESS_MAIN
