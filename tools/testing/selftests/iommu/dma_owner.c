// SPDX-License-Identifier: GPL-2.0
/*
 * DMA ownership, through the test module's two drivers: a test device alone in
 * its group, and two that share one.
 *
 * profiles: first-stage ats
 */
#include "dma_owner_util.h"
#include "../kselftest_harness.h"

#define WARN_SOURCE	"drivers/iommu/ext/dma_owner.rs"

static bool ats(void)
{
	return in_profile("ats");
}

FIXTURE(owner)
{
	int fd;
	struct pci one;
	struct pci pair[2];
};

static bool is_managed(const struct pci *pci)
{
	return pci_is_bound(pci, DRIVER_MANAGED);
}

/* Rebinding takes long, so tests leave the driver to the next one */
static int manage(const struct pci *pci)
{
	return is_managed(pci) ? 0 : pci_bind(pci, DRIVER_MANAGED);
}

FIXTURE_SETUP(owner)
{
	self->fd = open_test_device();
	ASSERT_LE(0, self->fd);
	ASSERT_TRUE(find_single(&self->one));
	ASSERT_TRUE(find_pair(self->pair));
	ASSERT_EQ(0, manage(&self->one));
	ASSERT_EQ(0, manage(&self->pair[0]));
	ASSERT_EQ(0, manage(&self->pair[1]));
}

/*
 * What is not the driver's that manages DMA is given back to the DMA API, and what a
 * test that failed has left claimed is taken from it
 */
static int leave(const struct pci *pci)
{
	return pci_is_there(pci) && is_managed(pci) && owner_is(pci, "none", 0, 0) ?
	       0 : pci_restore(pci);
}

/* Nothing is left of a test's claims, only those that were made by binding */
FIXTURE_TEARDOWN(owner)
{
	unsigned int one, claims[2];

	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(0, leave(&self->one));
	EXPECT_EQ(0, leave(&self->pair[0]));
	EXPECT_EQ(0, leave(&self->pair[1]));
	one = !is_managed(&self->one);
	claims[0] = !is_managed(&self->pair[0]);
	claims[1] = !is_managed(&self->pair[1]);
	EXPECT_TRUE(owner_is(&self->one, one ? "dma-api" : "none", one, one));
	EXPECT_TRUE(owner_is(&self->pair[0], claims[0] || claims[1] ? "dma-api" : "none",
			     claims[0] + claims[1], claims[0]));
}

static const char *const owner_names[] = {
	"none", "dma-api", "private-domain", "private-domain-user",
};

#define EXPECT_OWNER(pci, owner, count, claims) \
	EXPECT_TRUE(owner_is(pci, owner, count, claims))

#define EXPECT_ONE_WARN(statement) do {				\
	EXPECT_EQ(0, expect_warn_begin(WARN_SOURCE));		\
	statement;						\
	EXPECT_EQ(0, expect_warn_end());			\
} while (0)

/* Claims */

TEST_F(owner, first_claim)
{
	struct shown shown;

	EXPECT_OWNER(&self->one, "none", 0, 0);
	EXPECT_EQ(0, claim(self->fd, &self->one, OWNER_DMA_API, 0));
	EXPECT_OWNER(&self->one, "dma-api", 1, 1);
	EXPECT_TRUE(show_owner(&self->one, &shown));
	EXPECT_STREQ(DRIVER_MANAGED, shown.claimant);
	EXPECT_EQ(0, release(self->fd, &self->one, OWNER_DMA_API));

	EXPECT_EQ(0, claim(self->fd, &self->one, OWNER_PRIVATE, 1));
	EXPECT_OWNER(&self->one, "private-domain", 1, 1);
	EXPECT_EQ(0, release(self->fd, &self->one, OWNER_PRIVATE));

	EXPECT_EQ(0, claim(self->fd, &self->one, OWNER_USER, 1));
	EXPECT_OWNER(&self->one, "private-domain-user", 1, 1);
	EXPECT_EQ(0, release(self->fd, &self->one, OWNER_USER));
	EXPECT_OWNER(&self->one, "none", 0, 0);
}

TEST_F(owner, same_owner_counts)
{
	unsigned int owner;

	for (owner = OWNER_DMA_API; owner <= OWNER_USER; owner++) {
		EXPECT_EQ(0, claim(self->fd, &self->pair[0], owner, 1));
		EXPECT_EQ(0, claim(self->fd, &self->pair[0], owner, 1));
		EXPECT_EQ(0, claim(self->fd, &self->pair[1], owner, 1));
		EXPECT_EQ(0, release(self->fd, &self->pair[0], owner));
		EXPECT_EQ(0, release(self->fd, &self->pair[0], owner));
		EXPECT_EQ(-EBUSY, claim(self->fd, &self->pair[0],
					owner == OWNER_USER ? OWNER_PRIVATE : owner + 1, 1));
		EXPECT_EQ(0, release(self->fd, &self->pair[1], owner));
		EXPECT_OWNER(&self->pair[0], "none", 0, 0);
	}
}

TEST_F(owner, other_owner)
{
	unsigned int owner, other;

	for (owner = OWNER_DMA_API; owner <= OWNER_USER; owner++) {
		EXPECT_EQ(0, claim(self->fd, &self->pair[0], owner, 1));
		for (other = OWNER_DMA_API; other <= OWNER_USER; other++) {
			if (other == owner)
				continue;
			EXPECT_EQ(-EBUSY, claim(self->fd, &self->pair[0], other, 1));
			EXPECT_EQ(-EBUSY, claim(self->fd, &self->pair[1], other, 1));
		}
		EXPECT_OWNER(&self->pair[0], owner_names[owner], 1, 1);
		EXPECT_OWNER(&self->pair[1], owner_names[owner], 1, 0);
		EXPECT_EQ(0, release(self->fd, &self->pair[0], owner));
	}
}

TEST_F(owner, other_cookie)
{
	unsigned int owner;

	for (owner = OWNER_PRIVATE; owner <= OWNER_USER; owner++) {
		EXPECT_EQ(0, claim(self->fd, &self->pair[0], owner, 1));
		EXPECT_EQ(-EBUSY, claim(self->fd, &self->pair[0], owner, 2));
		EXPECT_EQ(-EBUSY, claim(self->fd, &self->pair[1], owner, 2));
		EXPECT_EQ(0, release(self->fd, &self->pair[0], owner));
	}
}

TEST_F(owner, bad_arguments)
{
	EXPECT_EQ(-EINVAL, claim(self->fd, &self->one, OWNER_NONE, 0));
	EXPECT_EQ(-EINVAL, claim(self->fd, &self->one, OWNER_NONE, 1));
	EXPECT_EQ(-EINVAL, claim(self->fd, &self->one, OWNER_USER + 1, 1));
	EXPECT_EQ(-EINVAL, claim(self->fd, &self->one, ~0u, 1));
	EXPECT_EQ(-EINVAL, claim(self->fd, &self->one, OWNER_PRIVATE, 0));
	EXPECT_EQ(-EINVAL, claim(self->fd, &self->one, OWNER_USER, 0));

	/* The arguments come before the owner */
	EXPECT_EQ(0, claim(self->fd, &self->one, OWNER_DMA_API, 0));
	EXPECT_EQ(-EINVAL, claim(self->fd, &self->one, OWNER_USER, 0));
	EXPECT_OWNER(&self->one, "dma-api", 1, 1);
}

TEST_F(owner, dma_api_ignores_the_cookie)
{
	EXPECT_EQ(0, claim(self->fd, &self->pair[0], OWNER_DMA_API, 1));
	EXPECT_EQ(0, claim(self->fd, &self->pair[0], OWNER_DMA_API, 2));
	EXPECT_EQ(0, claim(self->fd, &self->pair[1], OWNER_DMA_API, 0));
	EXPECT_OWNER(&self->pair[0], "dma-api", 3, 2);
}

TEST_F(owner, domain_attached)
{
	/* Nobody owns the group, and many drivers attach domains of their own */
	ASSERT_EQ(0, attach(self->fd, &self->pair[0], DMA_OWNER_TEST_BY_GROUP));
	EXPECT_EQ(-EBUSY, claim(self->fd, &self->pair[0], OWNER_PRIVATE, 1));
	EXPECT_EQ(-EBUSY, claim(self->fd, &self->pair[1], OWNER_USER, 1));
	EXPECT_OWNER(&self->pair[0], "none", 0, 0);
	EXPECT_EQ(0, claim(self->fd, &self->pair[0], OWNER_DMA_API, 0));
	EXPECT_EQ(-EBUSY, claim(self->fd, &self->pair[1], OWNER_DMA_API, 0));
	EXPECT_OWNER(&self->pair[0], "dma-api", 1, 1);

	/* The owner comes before the domain */
	EXPECT_EQ(-EBUSY, claim(self->fd, &self->pair[1], OWNER_USER, 1));
	EXPECT_EQ(0, detach(self->fd, &self->pair[0]));
	EXPECT_EQ(0, claim(self->fd, &self->pair[1], OWNER_DMA_API, 0));
}

TEST_F(owner, pasid_attached)
{
	ASSERT_EQ(0, attach_pasid(self->fd, &self->pair[0], DMA_OWNER_TEST_BY_PASID, 7));
	EXPECT_EQ(-EBUSY, claim(self->fd, &self->pair[0], OWNER_PRIVATE, 1));
	EXPECT_EQ(-EBUSY, claim(self->fd, &self->pair[1], OWNER_USER, 1));
	EXPECT_EQ(0, claim(self->fd, &self->pair[0], OWNER_DMA_API, 0));
	EXPECT_EQ(-EBUSY, claim(self->fd, &self->pair[1], OWNER_DMA_API, 0));
	EXPECT_OWNER(&self->pair[0], "dma-api", 1, 1);
	EXPECT_EQ(0, detach(self->fd, &self->pair[0]));
}

/* Only a device with ATS is blocked while it is being reset */
TEST_F(owner, in_reset)
{
	unsigned int owner;

	ASSERT_EQ(0, reset_begin(self->fd, &self->pair[0]));
	for (owner = OWNER_DMA_API; owner <= OWNER_USER; owner++) {
		EXPECT_EQ(ats() ? -EBUSY : 0, claim(self->fd, &self->pair[0], owner, 1));
		if (!ats())
			EXPECT_EQ(0, release(self->fd, &self->pair[0], owner));
	}
	EXPECT_EQ(ats() ? -EBUSY : 0, claim(self->fd, &self->pair[1], OWNER_USER, 1));
	if (!ats())
		EXPECT_EQ(0, release(self->fd, &self->pair[1], OWNER_USER));
	EXPECT_OWNER(&self->pair[0], "none", 0, 0);
	ASSERT_EQ(0, reset_end(self->fd, &self->pair[0]));
	EXPECT_EQ(0, claim(self->fd, &self->pair[0], OWNER_USER, 1));
	EXPECT_TRUE(dma_is_blocked(self->fd, &self->pair[0]));
}

/* A claim is released while the device is reset: afterwards all is as it was */
TEST_F(owner, released_in_reset)
{
	EXPECT_EQ(0, claim(self->fd, &self->one, OWNER_USER, 1));
	ASSERT_EQ(0, reset_begin(self->fd, &self->one));
	EXPECT_EQ(0, release(self->fd, &self->one, OWNER_USER));
	EXPECT_OWNER(&self->one, "none", 0, 0);
	ASSERT_EQ(0, reset_end(self->fd, &self->one));
	EXPECT_TRUE(dma_works(self->fd, &self->one));
}

TEST_F(owner, function_level_reset)
{
	EXPECT_EQ(0, claim(self->fd, &self->one, OWNER_USER, 1));
	ASSERT_EQ(0, pci_reset(&self->one));
	EXPECT_OWNER(&self->one, "private-domain-user", 1, 1);
	EXPECT_TRUE(dma_is_blocked(self->fd, &self->one));
	EXPECT_EQ(0, release(self->fd, &self->one, OWNER_USER));
	EXPECT_TRUE(dma_works(self->fd, &self->one));
}

static int fail_block(bool fail)
{
	static const char dir[] = "/sys/kernel/debug/fail_function/";
	char path[256], error[32];
	int ret;

	if (!fail) {
		snprintf(path, sizeof(path), "%sinject", dir);
		return write_file(path, "!iommu_group_block_dma");
	}
	snprintf(path, sizeof(path), "%sinject", dir);
	ret = write_file(path, "iommu_group_block_dma");
	snprintf(path, sizeof(path), "%siommu_group_block_dma/retval", dir);
	/* The file takes no sign */
	snprintf(error, sizeof(error), "%#llx", -(unsigned long long)EIO);
	ret = ret ?: write_file(path, error);
	snprintf(path, sizeof(path), "%sprobability", dir);
	ret = ret ?: write_file(path, "100");
	snprintf(path, sizeof(path), "%stimes", dir);
	ret = ret ?: write_file(path, "-1");
	snprintf(path, sizeof(path), "%sverbose", dir);
	return ret ?: write_file(path, "0");
}

TEST_F(owner, blocking_domain_refused)
{
	ASSERT_EQ(0, fail_block(true));
	EXPECT_EQ(-EIO, claim(self->fd, &self->one, OWNER_USER, 1));
	EXPECT_OWNER(&self->one, "none", 0, 0);
	EXPECT_TRUE(dma_works(self->fd, &self->one));
	EXPECT_EQ(0, claim(self->fd, &self->one, OWNER_PRIVATE, 1));
	EXPECT_EQ(0, release(self->fd, &self->one, OWNER_PRIVATE));
	ASSERT_EQ(0, fail_block(false));
	EXPECT_EQ(0, claim(self->fd, &self->one, OWNER_USER, 1));
}

/* Releases */

TEST_F(owner, release_of_none)
{
	EXPECT_EQ(0, claim(self->fd, &self->one, OWNER_DMA_API, 0));
	EXPECT_ONE_WARN(release(self->fd, &self->one, OWNER_NONE));
	EXPECT_ONE_WARN(release(self->fd, &self->one, ~0u));
	EXPECT_OWNER(&self->one, "dma-api", 1, 1);
}

TEST_F(owner, release_by_the_wrong_owner)
{
	EXPECT_EQ(0, claim(self->fd, &self->one, OWNER_PRIVATE, 1));
	EXPECT_ONE_WARN(release(self->fd, &self->one, OWNER_DMA_API));
	EXPECT_ONE_WARN(release(self->fd, &self->one, OWNER_USER));
	EXPECT_OWNER(&self->one, "private-domain", 1, 1);
	EXPECT_EQ(0, release(self->fd, &self->one, OWNER_PRIVATE));
}

TEST_F(owner, release_without_a_claim)
{
	EXPECT_ONE_WARN(release(self->fd, &self->one, OWNER_USER));
	EXPECT_OWNER(&self->one, "none", 0, 0);

	/* The claims of a sibling are not its own */
	EXPECT_EQ(0, claim(self->fd, &self->pair[0], OWNER_USER, 1));
	EXPECT_ONE_WARN(release(self->fd, &self->pair[1], OWNER_USER));
	EXPECT_OWNER(&self->pair[0], "private-domain-user", 1, 1);
	EXPECT_EQ(0, release(self->fd, &self->pair[0], OWNER_USER));
	EXPECT_ONE_WARN(release(self->fd, &self->pair[0], OWNER_USER));
	EXPECT_OWNER(&self->pair[0], "none", 0, 0);
}

/* Once everything is released, anybody may come */
TEST_F(owner, last_release)
{
	EXPECT_EQ(0, claim(self->fd, &self->one, OWNER_USER, 1));
	EXPECT_EQ(0, claim(self->fd, &self->one, OWNER_USER, 1));
	EXPECT_EQ(0, release(self->fd, &self->one, OWNER_USER));
	EXPECT_TRUE(dma_is_blocked(self->fd, &self->one));
	EXPECT_EQ(0, release(self->fd, &self->one, OWNER_USER));
	EXPECT_OWNER(&self->one, "none", 0, 0);
	EXPECT_TRUE(dma_works(self->fd, &self->one));

	EXPECT_EQ(0, claim(self->fd, &self->one, OWNER_USER, 2));
	EXPECT_EQ(0, release(self->fd, &self->one, OWNER_USER));
	EXPECT_EQ(0, claim(self->fd, &self->one, OWNER_DMA_API, 0));
	EXPECT_TRUE(dma_works(self->fd, &self->one));
}

TEST_F(owner, released_with_pasids_attached)
{
	EXPECT_EQ(0, claim(self->fd, &self->pair[0], OWNER_DMA_API, 0));
	EXPECT_EQ(0, claim(self->fd, &self->pair[0], OWNER_DMA_API, 0));
	ASSERT_EQ(0, attach_pasid(self->fd, &self->pair[1], DMA_OWNER_TEST_BY_PASID, 7));
	EXPECT_EQ(0, release(self->fd, &self->pair[0], OWNER_DMA_API));
	EXPECT_ONE_WARN(release(self->fd, &self->pair[0], OWNER_DMA_API));
	EXPECT_OWNER(&self->pair[0], "none", 0, 0);
	/* What is attached may be the default domain, which must not be freed then */
	EXPECT_EQ(-EPERM, pci_set_group_type(&self->pair[0], "identity"));
	EXPECT_EQ(0, detach(self->fd, &self->pair[1]));
	/* The driver claims nothing, but has memory mapped there */
	ASSERT_EQ(0, pci_unbind(&self->pair[0]));
	ASSERT_EQ(0, pci_unbind(&self->pair[1]));
	EXPECT_EQ(0, pci_set_group_type(&self->pair[0], "identity"));
	EXPECT_EQ(0, pci_set_group_type(&self->pair[0], "auto"));
}

/* A private owner's domain is gone from the group when its last claim is */
TEST_F(owner, release_restores_the_default_domain)
{
	unsigned int owner;

	for (owner = OWNER_PRIVATE; owner <= OWNER_USER; owner++) {
		EXPECT_EQ(0, claim(self->fd, &self->one, owner, 1));
		EXPECT_EQ(owner == OWNER_PRIVATE, dma_works(self->fd, &self->one));
		ASSERT_EQ(0, attach(self->fd, &self->one, DMA_OWNER_TEST_BY_DEVICE));
		EXPECT_TRUE(dma_is_blocked(self->fd, &self->one));
		EXPECT_EQ(0, detach(self->fd, &self->one));
		EXPECT_EQ(owner == OWNER_PRIVATE, dma_works(self->fd, &self->one));
		EXPECT_EQ(0, release(self->fd, &self->one, owner));
		EXPECT_TRUE(dma_works(self->fd, &self->one));
	}
}

/* Attaching */

TEST_F(owner, holder_attaches)
{
	/* Without a holder only a device that is alone may attach */
	EXPECT_EQ(-EINVAL, attach(self->fd, &self->pair[0], DMA_OWNER_TEST_BY_DEVICE));

	EXPECT_EQ(0, claim(self->fd, &self->pair[0], OWNER_PRIVATE, 1));
	EXPECT_EQ(-EPERM, attach(self->fd, &self->pair[1], DMA_OWNER_TEST_BY_DEVICE));
	EXPECT_EQ(-EPERM, attach(self->fd, &self->pair[0], DMA_OWNER_TEST_BY_GROUP));
	EXPECT_EQ(-EPERM, attach(self->fd, &self->pair[1], DMA_OWNER_TEST_BY_GROUP));
	EXPECT_EQ(-EPERM, attach_pasid(self->fd, &self->pair[1], DMA_OWNER_TEST_BY_PASID, 7));
	EXPECT_TRUE(dma_works(self->fd, &self->pair[0]));

	EXPECT_EQ(0, attach(self->fd, &self->pair[0], DMA_OWNER_TEST_BY_DEVICE));
	EXPECT_TRUE(dma_is_blocked(self->fd, &self->pair[0]));
	EXPECT_TRUE(dma_is_blocked(self->fd, &self->pair[1]));
	EXPECT_EQ(0, detach(self->fd, &self->pair[0]));
	EXPECT_EQ(0, attach_pasid(self->fd, &self->pair[0], DMA_OWNER_TEST_BY_PASID, 7));
	EXPECT_EQ(0, detach(self->fd, &self->pair[0]));

	/* With a claim the other one may as well */
	EXPECT_EQ(0, claim(self->fd, &self->pair[1], OWNER_PRIVATE, 1));
	EXPECT_EQ(0, attach(self->fd, &self->pair[1], DMA_OWNER_TEST_BY_DEVICE));
	EXPECT_EQ(0, detach(self->fd, &self->pair[1]));
	EXPECT_TRUE(dma_works(self->fd, &self->pair[1]));
}

/* As ever for the other owners */
TEST_F(owner, others_attach)
{
	unsigned int owner;

	for (owner = OWNER_NONE; owner <= OWNER_USER; owner++) {
		if (owner == OWNER_PRIVATE)
			continue;
		if (owner)
			EXPECT_EQ(0, claim(self->fd, &self->pair[0], owner, 1));
		EXPECT_EQ(-EINVAL, attach(self->fd, &self->pair[0], DMA_OWNER_TEST_BY_DEVICE));
		EXPECT_EQ(0, attach(self->fd, &self->pair[1], DMA_OWNER_TEST_BY_GROUP));
		EXPECT_EQ(0, detach(self->fd, &self->pair[1]));
		EXPECT_EQ(0, attach_pasid(self->fd, &self->pair[1], DMA_OWNER_TEST_BY_PASID, 7));
		EXPECT_EQ(0, detach(self->fd, &self->pair[1]));
		if (owner)
			EXPECT_EQ(0, release(self->fd, &self->pair[0], owner));
	}
}

/* Binding */

TEST_F(owner, binding_claims)
{
	struct pci *pair = self->pair;
	struct shown shown;

	ASSERT_EQ(0, pci_bind(&pair[0], DRIVER_PLAIN));
	EXPECT_OWNER(&pair[0], "dma-api", 1, 1);
	EXPECT_TRUE(show_owner(&pair[0], &shown));
	EXPECT_STREQ(DRIVER_PLAIN, shown.claimant);

	EXPECT_EQ(-EBUSY, claim(self->fd, &pair[1], OWNER_USER, 1));
	EXPECT_EQ(-EBUSY, claim(self->fd, &pair[1], OWNER_PRIVATE, 1));
	ASSERT_EQ(0, pci_unbind(&pair[0]));
	EXPECT_OWNER(&pair[0], "none", 0, 0);
	EXPECT_EQ(0, claim(self->fd, &pair[1], OWNER_USER, 1));

	/* Refused at the bus, not by the driver */
	EXPECT_EQ(-EBUSY, pci_bind(&pair[0], DRIVER_PLAIN));
	EXPECT_FALSE(pci_is_bound(&pair[0], DRIVER_PLAIN));
	EXPECT_EQ(0, pci_bind(&pair[0], DRIVER_MANAGED));
	EXPECT_OWNER(&pair[1], "private-domain-user", 1, 1);
	EXPECT_EQ(0, release(self->fd, &pair[1], OWNER_USER));
	EXPECT_EQ(0, pci_bind(&pair[0], DRIVER_PLAIN));
}

TEST_F(owner, unbinding_releases_under_load)
{
	int i;

	for (i = 0; i < 10; i++) {
		ASSERT_EQ(0, pci_bind(&self->one, DRIVER_PLAIN));
		EXPECT_OWNER(&self->one, "dma-api", 1, 1);
		EXPECT_EQ(0, fill_start(self->fd, &self->one, 2000));
		ASSERT_EQ(0, pci_bind(&self->one, DRIVER_MANAGED));
		EXPECT_OWNER(&self->one, "none", 0, 0);
		EXPECT_EQ(0, claim(self->fd, &self->one, OWNER_USER, 1));
		EXPECT_EQ(0, fill_start(self->fd, &self->one, 2000));
	}
}

TEST_F(owner, chipset_group)
{
	struct pci sata, smbus;

	ASSERT_TRUE(find_chipset(&sata, &smbus));
	ASSERT_EQ(0, pci_bind(&smbus, DRIVER_MANAGED));
	ASSERT_EQ(0, pci_bind(&sata, DRIVER_PLAIN));
	EXPECT_EQ(-EBUSY, claim(self->fd, &smbus, OWNER_USER, 1));
	ASSERT_EQ(0, pci_unbind(&sata));
	EXPECT_EQ(0, claim(self->fd, &smbus, OWNER_PRIVATE, 1));
	EXPECT_EQ(-EBUSY, pci_bind(&sata, DRIVER_PLAIN));
	EXPECT_EQ(0, attach(self->fd, &smbus, DMA_OWNER_TEST_BY_DEVICE));
	EXPECT_EQ(0, detach(self->fd, &smbus));
	EXPECT_EQ(0, release(self->fd, &smbus, OWNER_PRIVATE));
	EXPECT_EQ(0, pci_bind(&sata, DRIVER_PLAIN));
	EXPECT_OWNER(&smbus, "dma-api", 1, 0);
	pci_restore(&sata);
	pci_restore(&smbus);
}

/* Isolation */

TEST_F(owner, claim_stops_running_dma)
{
	struct dma_owner_test_fill done;

	EXPECT_TRUE(dma_works(self->fd, &self->one));
	/* 16 steps, 20 ms before each */
	ASSERT_EQ(0, fill_start(self->fd, &self->one, 20000));
	do {
		ASSERT_EQ(0, fill_poll(self->fd, &self->one, &done));
	} while (!done.moved);
	ASSERT_EQ(0, claim(self->fd, &self->one, OWNER_USER, 1));

	done = fill_wait(self->fd, &self->one);
	EXPECT_EQ(PTD_ST_WRITE_FAULT, done.status);
	EXPECT_GT(DMA_OWNER_TEST_BUF_SIZE, done.moved);
	EXPECT_EQ(done.moved, done.changed);
	EXPECT_TRUE(dma_is_blocked(self->fd, &self->one));

	EXPECT_EQ(0, release(self->fd, &self->one, OWNER_USER));
	EXPECT_TRUE(dma_works(self->fd, &self->one));
}

TEST_F(owner, claim_blocks_the_whole_group)
{
	EXPECT_TRUE(dma_works(self->fd, &self->pair[0]));
	EXPECT_TRUE(dma_works(self->fd, &self->pair[1]));
	ASSERT_EQ(0, claim(self->fd, &self->pair[0], OWNER_USER, 1));
	EXPECT_TRUE(dma_is_blocked(self->fd, &self->pair[0]));
	EXPECT_TRUE(dma_is_blocked(self->fd, &self->pair[1]));
	EXPECT_TRUE(dma_works(self->fd, &self->one));
}

/* Whoever joins a group that userspace owns is kept from memory, and from drivers */
TEST_F(owner, joins_a_claimed_group)
{
	struct pci *pair = self->pair;

	ASSERT_EQ(0, pci_remove(&pair[0]));
	ASSERT_EQ(0, claim(self->fd, &pair[1], OWNER_USER, 1));
	ASSERT_EQ(0, pci_rescan());
	ASSERT_TRUE(pci_is_there(&pair[0]));
	EXPECT_FALSE(pci_is_bound(&pair[0], "pasid_testdev"));
	EXPECT_OWNER(&pair[0], "private-domain-user", 1, 0);
	ASSERT_EQ(0, pci_bind(&pair[0], DRIVER_MANAGED));
	EXPECT_TRUE(dma_is_blocked(self->fd, &pair[0]));
	EXPECT_EQ(0, release(self->fd, &pair[1], OWNER_USER));
	EXPECT_TRUE(dma_works(self->fd, &pair[0]));
}

/* Removal */

static void check_after_removal(struct __test_metadata *_metadata, int fd, struct pci *pair)
{
	/* One of two claims is gone, the group goes on */
	EXPECT_OWNER(&pair[1], "private-domain-user", 1, 1);
	EXPECT_TRUE(dma_is_blocked(fd, &pair[1]));
	/* The device is in no group: silent */
	EXPECT_EQ(0, release(fd, &pair[0], OWNER_USER));
	EXPECT_OWNER(&pair[1], "private-domain-user", 1, 1);
	EXPECT_EQ(0, release(fd, &pair[1], OWNER_USER));
	EXPECT_OWNER(&pair[1], "none", 0, 0);
	EXPECT_TRUE(dma_works(fd, &pair[1]));
	EXPECT_EQ(0, claim(fd, &pair[1], OWNER_PRIVATE, 2));
	EXPECT_EQ(0, release(fd, &pair[1], OWNER_PRIVATE));
}

TEST_F(owner, removed_while_claimed)
{
	struct pci *pair = self->pair;

	ASSERT_EQ(0, claim(self->fd, &pair[0], OWNER_USER, 1));
	ASSERT_EQ(0, claim(self->fd, &pair[0], OWNER_USER, 1));
	ASSERT_EQ(0, claim(self->fd, &pair[1], OWNER_USER, 1));
	ASSERT_EQ(0, keep_claims(self->fd, &pair[0]));
	EXPECT_ONE_WARN(EXPECT_EQ(0, pci_remove(&pair[0])));
	check_after_removal(_metadata, self->fd, pair);
}

/* The last claim goes with its device: the rest of the group is free */
TEST_F(owner, removed_with_the_last_claim)
{
	struct pci *pair = self->pair;

	ASSERT_EQ(0, claim(self->fd, &pair[0], OWNER_USER, 1));
	ASSERT_EQ(0, keep_claims(self->fd, &pair[0]));
	EXPECT_TRUE(dma_is_blocked(self->fd, &pair[1]));
	EXPECT_ONE_WARN(EXPECT_EQ(0, pci_remove(&pair[0])));
	EXPECT_OWNER(&pair[1], "none", 0, 0);
	EXPECT_TRUE(dma_works(self->fd, &pair[1]));
	EXPECT_EQ(0, claim(self->fd, &pair[1], OWNER_PRIVATE, 2));
}

/* The only device of a group: the group goes as well */
TEST_F(owner, removed_alone)
{
	ASSERT_EQ(0, claim(self->fd, &self->one, OWNER_USER, 1));
	ASSERT_EQ(0, keep_claims(self->fd, &self->one));
	EXPECT_ONE_WARN(EXPECT_EQ(0, pci_remove(&self->one)));
	EXPECT_EQ(0, release(self->fd, &self->one, OWNER_USER));
	EXPECT_EQ(0, pci_restore(&self->one));
	ASSERT_TRUE(find_single(&self->one));
}

/* A device that was plugged in after the start */
static bool find_new(const struct pci *old, int nr_old, struct pci *found)
{
	long long end = now_ms() + 30000;
	struct pci list[MAX_PCI];
	int nr, i, j;

	do {
		nr = pci_list(list);
		for (i = 0; i < nr; i++) {
			for (j = 0; j < nr_old && strcmp(old[j].name, list[i].name); j++)
				;
			if (j == nr_old && pci_is_bound(&list[i], "pasid_testdev")) {
				*found = list[i];
				return true;
			}
		}
		usleep(100000);
	} while (now_ms() < end);
	return false;
}

static bool wait_until_gone(const struct pci *pci)
{
	long long end = now_ms() + 60000;

	while (pci_is_there(pci)) {
		if (now_ms() > end)
			return false;
		usleep(100000);
	}
	return true;
}

/* Unplugged by the host, once with a claim that its driver leaves, once in order */
TEST_F_TIMEOUT(owner, unplugged, 240)
{
	struct pci old[MAX_PCI], hot;
	int nr = pci_list(old), round;
	long long end;

	for (round = 0; round < 2; round++) {
		/* The host keeps the name until it has got rid of the last one */
		end = now_ms() + 30000;
		while (host_request("device_add pasid-testdev,id=hot1,bus=hp0")) {
			ASSERT_GT(end, now_ms());
			usleep(500000);
		}
		ASSERT_TRUE(find_new(old, nr, &hot));
		EXPECT_OWNER(&hot, "dma-api", 1, 1);
		ASSERT_EQ(0, pci_bind(&hot, DRIVER_MANAGED));
		ASSERT_EQ(0, claim(self->fd, &hot, OWNER_USER, 1));
		EXPECT_EQ(0, fill_start(self->fd, &hot, 1000));
		if (!round) {
			ASSERT_EQ(0, keep_claims(self->fd, &hot));
			EXPECT_EQ(0, expect_warn_begin(WARN_SOURCE));
		}
		ASSERT_EQ(0, host_request("device_del hot1"));
		ASSERT_TRUE(wait_until_gone(&hot));
		if (!round) {
			EXPECT_EQ(0, expect_warn_end());
			EXPECT_EQ(0, release(self->fd, &hot, OWNER_USER));
		}
	}
}

/* What a driver releases when it is unbound needs no warning */
TEST_F(owner, removed_in_order)
{
	ASSERT_EQ(0, claim(self->fd, &self->one, OWNER_USER, 1));
	ASSERT_EQ(0, attach(self->fd, &self->one, DMA_OWNER_TEST_BY_DEVICE));
	EXPECT_EQ(0, pci_remove(&self->one));
	EXPECT_EQ(0, pci_restore(&self->one));
	ASSERT_TRUE(find_single(&self->one));
}

/* Tracepoints */

TEST_F(owner, tracepoints)
{
	char *text = calloc(1, 1 << 16);
	char line[128];

	ASSERT_NE(NULL, text);
	ASSERT_EQ(0, empty_file(TRACING "/trace"));
	ASSERT_EQ(0, write_file(TRACING "/events/iommu_ext/enable", "1"));
	EXPECT_EQ(0, claim(self->fd, &self->one, OWNER_USER, 1));
	EXPECT_EQ(-EBUSY, claim(self->fd, &self->one, OWNER_DMA_API, 0));
	EXPECT_EQ(0, release(self->fd, &self->one, OWNER_USER));
	ASSERT_EQ(0, write_file(TRACING "/events/iommu_ext/enable", "0"));
	ASSERT_EQ(0, read_text(TRACING "/trace", text, 1 << 16));

	snprintf(line, sizeof(line), "iommu_dma_owner_claim: group=%d device=%s owner=%s count=1",
		 self->one.group, self->one.name, "private-domain-user");
	EXPECT_NE(NULL, strstr(text, line));
	snprintf(line, sizeof(line), "iommu_dma_owner_refuse: group=%d device=%s owner=%s error=%d",
		 self->one.group, self->one.name, "dma-api", -EBUSY);
	EXPECT_NE(NULL, strstr(text, line));
	snprintf(line, sizeof(line), "iommu_dma_owner_release: group=%d device=%s owner=%s count=0",
		 self->one.group, self->one.name, "private-domain-user");
	EXPECT_NE(NULL, strstr(text, line));
	free(text);
}

/*
 * Claims of two devices that share a group, by call, by owner, and by binding a driver.
 * With the first one the group gets its cookie.
 */
struct held {
	unsigned int calls[2][OWNER_USER + 1];
	bool bound[2];
	unsigned int cookie;
};

static unsigned int nr_claims(const struct held *held, unsigned int fn)
{
	unsigned int owner, claims = held->bound[fn];

	for (owner = OWNER_DMA_API; owner <= OWNER_USER; owner++)
		claims += held->calls[fn][owner];
	return claims;
}

static unsigned int owner_of(const struct held *held)
{
	unsigned int fn, owner;

	for (fn = 0; fn < 2; fn++) {
		if (held->bound[fn])
			return OWNER_DMA_API;
		for (owner = OWNER_DMA_API; owner <= OWNER_USER; owner++)
			if (held->calls[fn][owner])
				return owner;
	}
	return OWNER_NONE;
}

static bool shows(const struct pci *pair, const struct held *held)
{
	unsigned int claims[] = { nr_claims(held, 0), nr_claims(held, 1) };
	const char *owner = owner_names[owner_of(held)];

	return owner_is(&pair[0], owner, claims[0] + claims[1], claims[0]) &&
	       owner_is(&pair[1], owner, claims[0] + claims[1], claims[1]);
}

/* What a claim is answered: the DMA API has no cookie */
static int expected(const struct held *held, unsigned int owner, unsigned int cookie)
{
	unsigned int now = owner_of(held);

	if (now == OWNER_NONE)
		return 0;
	return now == owner && (owner == OWNER_DMA_API || held->cookie == cookie) ? 0 : -EBUSY;
}

/* What was claimed through a driver goes with it */
static void forget(struct held *held, unsigned int fn)
{
	memset(held->calls[fn], 0, sizeof(held->calls[fn]));
	held->bound[fn] = false;
}

/* Anything in any order: each answer is the right one, what is shown is what is held */
TEST_F_TIMEOUT(owner, random_steps, 600)
{
	int steps = long_run() ? 10000 : in_profile("first-stage") ? 1000 : 200;
	unsigned int owner, cookie, fn, seed = 1;
	unsigned int granted = 0, refused = 0;
	struct pci *pair = self->pair;
	struct held held = {};
	int i, ret;

	for (i = 0; i < steps; i++) {
		fn = rand_r(&seed) % 2;
		owner = OWNER_DMA_API + rand_r(&seed) % 3;
		cookie = 1 + rand_r(&seed) % 2;

		switch (rand_r(&seed) % 16) {
		case 0:
			ASSERT_EQ(0, pci_bind(&pair[fn], DRIVER_MANAGED));
			forget(&held, fn);
			break;
		case 1:
			forget(&held, fn);
			ret = expected(&held, OWNER_DMA_API, 0);
			ASSERT_EQ(ret, pci_bind(&pair[fn], DRIVER_PLAIN));
			held.bound[fn] = !ret;
			if (ret)
				ASSERT_EQ(0, pci_bind(&pair[fn], DRIVER_MANAGED));
			break;
		case 2:
			/* Only function 0 says that there are more, hence a group */
			ASSERT_EQ(0, pci_remove(&pair[0]));
			forget(&held, 0);
			ASSERT_EQ(0, pci_rescan());
			ASSERT_EQ(0, pci_bind(&pair[0], DRIVER_MANAGED));
			break;
		case 3:
			fill_start(self->fd, &pair[fn], 100);
			break;
		case 4 ... 9:
			ret = expected(&held, owner, cookie);
			ASSERT_EQ(ret, claim(self->fd, &pair[fn], owner, cookie));
			if (ret) {
				refused++;
				break;
			}
			if (owner_of(&held) == OWNER_NONE)
				held.cookie = cookie;
			held.calls[fn][owner]++;
			granted++;
			break;
		default:
			if (held.calls[fn][owner]) {
				held.calls[fn][owner]--;
				ASSERT_EQ(0, release(self->fd, &pair[fn], owner));
			}
			break;
		}
		ASSERT_TRUE(shows(pair, &held));
	}
	EXPECT_LT(0, granted);
	EXPECT_LT(0, refused);
}

/* For whatever program runs next */
TEST_F(owner, given_back)
{
	EXPECT_EQ(0, pci_restore(&self->one));
	EXPECT_EQ(0, pci_restore(&self->pair[0]));
	EXPECT_EQ(0, pci_restore(&self->pair[1]));
	EXPECT_OWNER(&self->one, "dma-api", 1, 1);
	EXPECT_OWNER(&self->pair[0], "dma-api", 2, 1);
}

TEST_HARNESS_MAIN
