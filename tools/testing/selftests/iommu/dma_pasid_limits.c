// SPDX-License-Identifier: GPL-2.0
/*
 * DMA with PASID inside the kernel on machines that cannot do it, or not all of
 * it: the errors, and that the DMA API works as ever.
 *
 * profiles: legacy no-iommu passthrough la57
 */
#include "dma_pasid_util.h"
#include "../kselftest_harness.h"

#define SIZE	(4 * PAGE)

FIXTURE(limits)
{
	int fd;
	struct ptd_test_info info;
	struct kbuf src;
	struct kbuf dst;
	uint64_t from;
	uint64_t to;
};

FIXTURE_SETUP(limits)
{
	struct ptd_test_info infos[MAX_DEVICES];
	int fd = open_test_device();

	ASSERT_LT(0, ptd_list(fd, infos, MAX_DEVICES));
	close(fd);
	self->info = infos[0];
	self->fd = ptd_open(&self->info);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, kbuf_alloc(self->fd, DMA_PASID_TEST_PAGES, SIZE, &self->src));
	ASSERT_EQ(0, kbuf_alloc(self->fd, DMA_PASID_TEST_PAGES, SIZE, &self->dst));
	ASSERT_EQ(0, kbuf_write_pattern(self->fd, &self->src, 1));
	ASSERT_EQ(0, dma_map(self->fd, &self->info, &self->src, 0, SIZE, false, &self->from));
	ASSERT_EQ(0, dma_map(self->fd, &self->info, &self->dst, 0, SIZE, false, &self->to));
}

static bool moves(struct _test_data_limits *self, int pasid, uint64_t src, uint64_t dst)
{
	char zero[SIZE] = {};

	return !kbuf_copy(self->fd, &self->dst, 0, zero, SIZE, true) &&
	       run_copy(self->fd, pasid, src, dst, SIZE) == PTD_ST_OK &&
	       kbuf_has_pattern(self->fd, &self->dst, 0, SIZE, 1, 0);
}

FIXTURE_TEARDOWN(limits)
{
	EXPECT_TRUE(moves(self, 0, self->from, self->to));
	EXPECT_EQ(0, close(self->fd));
}

static int error(void)
{
	return in_profile("legacy") ? -EOPNOTSUPP : in_profile("no-iommu") ? -ENODEV : 0;
}

/*
 * In the profile passthrough the command line takes back its trust in devices, in la57
 * the IOMMU passes nothing through.
 */
TEST_F(limits, bypass)
{
	int refused = in_profile("la57") ? -EOPNOTSUPP : -EPERM;

	EXPECT_EQ(error() ?: refused, enable(self->fd, &self->info, BYPASS));
	EXPECT_EQ(-EINVAL, disable(self->fd, &self->info, BYPASS));
	EXPECT_SHOWN(&self->info, "mode", "");
}

TEST_F(limits, iova)
{
	if (error()) {
		EXPECT_EQ(error(), enable(self->fd, &self->info, IOVA));
		EXPECT_EQ(-EINVAL, disable(self->fd, &self->info, IOVA));
		return;
	}
	ASSERT_EQ(KERNEL_PASID, enable(self->fd, &self->info, IOVA));
	EXPECT_TRUE(moves(self, KERNEL_PASID, self->from, self->to));
}

TEST_F(limits, kva)
{
	/* Bad arguments come first everywhere */
	EXPECT_EQ(-EINVAL, enable(self->fd, &self->info, NR_MODES));
	if (error()) {
		EXPECT_EQ(error(), enable(self->fd, &self->info, KVA));
		EXPECT_EQ(-EINVAL, disable(self->fd, &self->info, KVA));
		return;
	}
	ASSERT_EQ(KERNEL_PASID, enable(self->fd, &self->info, KVA));
	if (in_profile("la57")) {
		/* The direct map lies beyond what four levels can express, in a table of its own */
		EXPECT_SHOWN(&self->info, "kva", "pasid 1 mode kva strict count 1 pages 0");
		EXPECT_EQ(-ERANGE, map_kva(self->fd, &self->info, self->src.addr, SIZE, PROT_R));
		EXPECT_SHOWN(&self->info, "kva", "pasid 1 mode kva strict count 1 pages 0");
		EXPECT_EQ(-ENOENT, unmap_kva(self->fd, &self->info, self->src.addr, SIZE));
		return;
	}
	/* Not trusted with a part of a page */
	EXPECT_EQ(-EINVAL, map_kva(self->fd, &self->info, self->src.addr + 64, PAGE, PROT_R));
	ASSERT_EQ(0, map_kva(self->fd, &self->info, self->src.addr, SIZE, PROT_R));
	ASSERT_EQ(0, map_kva(self->fd, &self->info, self->dst.addr, SIZE, PROT_RW));
	EXPECT_TRUE(moves(self, KERNEL_PASID, self->src.addr, self->dst.addr));
}

TEST_HARNESS_MAIN
