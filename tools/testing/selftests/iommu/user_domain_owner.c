// SPDX-License-Identifier: GPL-2.0
/*
 * Owners of the private data of domains: who they are in a running system, and
 * that nobody takes what is another's.
 *
 * profiles: first-stage second-stage
 */
#include "user_domain_owner_util.h"
#include "../kselftest_harness.h"

#define CORE		"drivers/iommu/ext/user_domain.rs"

FIXTURE(owner)
{
	int fd;
	struct pci one;
	struct user user;
};

FIXTURE_SETUP(owner)
{
	self->user = no_user;
	self->fd = open_test_device();
	ASSERT_LE(0, self->fd);
	ASSERT_TRUE(find_single(&self->one));
}

FIXTURE_TEARDOWN(owner)
{
	user_close(&self->user);
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(0, pci_restore(&self->one));
}

TEST_F(owner, dma_api)
{
	struct user_domain_test_call call = call_for(&self->one, USER_DOMAIN_TEST_ATTACHED);

	ASSERT_EQ(0, pci_bind(&self->one, DRIVER_PLAIN));
	EXPECT_TRUE(owned(self->fd, &call, DATA_DMA, TYPE_DMA));
	/* Which harms nobody */
	EXPECT_TRUE(dma_works(self->fd, &self->one));
}

TEST_F(owner, iommufd)
{
	struct user_domain_test_call call = call_for(&self->one, USER_DOMAIN_TEST_ATTACHED);
	struct hwpt_request request = {};
	uint32_t hwpt;

	ASSERT_EQ(0, pci_bind(&self->one, DRIVER_VFIO));
	ASSERT_EQ(0, iommufd_open(&self->user, &self->one));
	ASSERT_EQ(0, user_start(&self->user));
	EXPECT_TRUE(owned(self->fd, &call, DATA_IOMMUFD, TYPE_PAGING));
	EXPECT_EQ(PTD_ST_OK, ptd_fill(&self->user, IOVA));

	request.iommufd = self->user.iommufd;
	request.devid = self->user.devid;
	request.pt = self->user.ioas;
	request.flags = IOMMU_HWPT_ALLOC_PASID;
	ASSERT_EQ(0, hwpt_alloc(&request, &hwpt));
	ASSERT_EQ(0, user_attach(&self->user, hwpt));
	EXPECT_TRUE(owned(self->fd, &call, DATA_IOMMUFD, TYPE_PAGING));
	EXPECT_EQ(PTD_ST_OK, ptd_fill(&self->user, IOVA));
}

TEST_F(owner, static_domains)
{
	static const uint32_t which[] = { USER_DOMAIN_TEST_BLOCKING, USER_DOMAIN_TEST_IDENTITY };
	struct user_domain_test_call call;
	uint32_t owner, i;

	for (i = 0; i < 2; i++) {
		call = call_for(&self->one, which[i]);
		for (owner = DATA_NONE; owner <= DATA_UNKNOWN; owner++) {
			EXPECT_EQ(-EINVAL, act(self->fd, &call, USER_DOMAIN_TEST_CLAIM, owner));
			EXPECT_EQ(DATA_NONE, call.now);
			EXPECT_FALSE(call.changed);
		}
	}
}

static int own_domain(int fd, const struct pci *pci, struct user_domain_test_call *call)
{
	*call = call_for(pci, USER_DOMAIN_TEST_OWN);
	return test_ioctl(fd, USER_DOMAIN_TEST_ALLOC, call);
}

TEST_F(owner, claimed_and_given_up)
{
	struct user_domain_test_call call;
	uint32_t owner;

	ASSERT_EQ(0, own_domain(self->fd, &self->one, &call));
	for (owner = DATA_DMA; owner <= DATA_KVA; owner++) {
		/* These come with data that only the core makes */
		if (owner == DATA_DMA || owner == DATA_DMA_MSI || owner == DATA_SVA)
			continue;
		EXPECT_EQ(0, act(self->fd, &call, USER_DOMAIN_TEST_CLAIM, owner));
		EXPECT_FALSE(call.changed);
		EXPECT_TRUE(owned(self->fd, &call, owner, TYPE_PAGING));
		EXPECT_EQ(0, act(self->fd, &call, USER_DOMAIN_TEST_CLEAR, owner));
		EXPECT_EQ(DATA_NONE, call.now);
	}
	EXPECT_EQ(-EINVAL, act(self->fd, &call, USER_DOMAIN_TEST_CLAIM, DATA_NONE));
	EXPECT_EQ(-EINVAL, act(self->fd, &call, USER_DOMAIN_TEST_CLAIM, DATA_UNKNOWN));
	EXPECT_EQ(-EINVAL, act(self->fd, &call, USER_DOMAIN_TEST_CLAIM, 0x10000 + DATA_KVA));
	EXPECT_EQ(DATA_NONE, call.now);
}

TEST_F(owner, given_up_by_another)
{
	struct user_domain_test_call call;

	ASSERT_EQ(0, own_domain(self->fd, &self->one, &call));
	ASSERT_EQ(0, act(self->fd, &call, USER_DOMAIN_TEST_CLAIM, DATA_KVA));
	EXPECT_EQ(0, expect_warn_begin(CORE));
	EXPECT_EQ(0, act(self->fd, &call, USER_DOMAIN_TEST_CLEAR, DATA_IOMMUFD));
	EXPECT_EQ(0, expect_warn_end());
	EXPECT_EQ(DATA_KVA, call.now);
	EXPECT_EQ(0, act(self->fd, &call, USER_DOMAIN_TEST_CLEAR, DATA_KVA));

	EXPECT_EQ(0, expect_warn_begin(CORE));
	EXPECT_EQ(0, act(self->fd, &call, USER_DOMAIN_TEST_CLEAR, DATA_KVA));
	EXPECT_EQ(0, expect_warn_end());
	EXPECT_EQ(DATA_NONE, call.now);
}

/* The cookie for MSIs neither overwrites nor is overwritten */
TEST_F(owner, msi_cookie)
{
	struct user_domain_test_call call;

	ASSERT_EQ(0, own_domain(self->fd, &self->one, &call));
	ASSERT_EQ(0, act(self->fd, &call, USER_DOMAIN_TEST_CLAIM, DATA_KVA));
	EXPECT_EQ(-EEXIST, act(self->fd, &call, USER_DOMAIN_TEST_MSI, 0));
	EXPECT_FALSE(call.changed);
	EXPECT_EQ(DATA_KVA, call.now);
	ASSERT_EQ(0, act(self->fd, &call, USER_DOMAIN_TEST_CLEAR, DATA_KVA));

	EXPECT_EQ(0, act(self->fd, &call, USER_DOMAIN_TEST_MSI, 0));
	EXPECT_TRUE(call.changed);
	EXPECT_TRUE(owned(self->fd, &call, DATA_DMA_MSI, TYPE_PAGING));
	EXPECT_EQ(-EEXIST, act(self->fd, &call, USER_DOMAIN_TEST_MSI, 0));
	EXPECT_FALSE(call.changed);
	EXPECT_EQ(0, test_ioctl(self->fd, USER_DOMAIN_TEST_FREE));
}

TEST_F(owner, fault_handler)
{
	struct user_domain_test_call call;

	ASSERT_EQ(0, own_domain(self->fd, &self->one, &call));
	EXPECT_EQ(0, act(self->fd, &call, USER_DOMAIN_TEST_HANDLER, 0));
	EXPECT_TRUE(owned(self->fd, &call, DATA_FAULT_HANDLER, TYPE_PAGING));

	/* A second one is refused with a warning, as ever */
	EXPECT_EQ(0, expect_warn_begin("drivers/iommu/iommu.c"));
	EXPECT_EQ(0, act(self->fd, &call, USER_DOMAIN_TEST_HANDLER, 0));
	EXPECT_EQ(0, expect_warn_end());
	EXPECT_FALSE(call.changed);
	EXPECT_EQ(-EEXIST, act(self->fd, &call, USER_DOMAIN_TEST_MSI, 0));
	EXPECT_FALSE(call.changed);
}

TEST_HARNESS_MAIN
