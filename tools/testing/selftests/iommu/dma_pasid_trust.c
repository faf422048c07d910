// SPDX-License-Identifier: GPL-2.0
/*
 * DMA with PASID inside the kernel by a device that is not trusted: no physical
 * addresses, whole pages only, and the DMA API bounces what is less.
 *
 * profiles: untrusted
 */
#include "dma_pasid_util.h"
#include "../kselftest_harness.h"

FIXTURE(trust)
{
	int fd;
	struct ptd_test_info info;
	struct ptd_test_info trusted;
	struct kbuf src;
	struct kbuf dst;
};

FIXTURE_SETUP(trust)
{
	struct ptd_test_info infos[MAX_DEVICES];
	int nr = find_devices(true, true, infos, MAX_DEVICES), i, found = 0;

	for (i = 0; i < nr; i++) {
		if (is_external(&infos[i])) {
			self->info = infos[i];
			found |= 1;
		} else {
			self->trusted = infos[i];
			found |= 2;
		}
	}
	ASSERT_EQ(3, found);
	self->fd = ptd_open(&self->info);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, kbuf_alloc(self->fd, DMA_PASID_TEST_PAGES, 4 * PAGE, &self->src));
	ASSERT_EQ(0, kbuf_alloc(self->fd, DMA_PASID_TEST_PAGES, 4 * PAGE, &self->dst));
	ASSERT_EQ(0, kbuf_write_pattern(self->fd, &self->src, 1));
}

FIXTURE_TEARDOWN(trust)
{
	EXPECT_EQ(0, close(self->fd));
}

TEST_F(trust, no_bypass)
{
	EXPECT_EQ(-EPERM, enable(self->fd, &self->info, BYPASS));
	EXPECT_SHOWN(&self->info, "mode", "");
	EXPECT_TRUE(faults(self->fd, KERNEL_PASID, self->src.phys));
	EXPECT_EQ(KERNEL_PASID, enable(self->fd, &self->trusted, BYPASS));
}

TEST_F(trust, whole_pages_only)
{
	uint64_t src = self->src.addr, dst = self->dst.addr;

	ASSERT_EQ(KERNEL_PASID, enable(self->fd, &self->info, KVA));
	EXPECT_EQ(-EINVAL, map_kva(self->fd, &self->info, src + 64, PAGE, PROT_R));
	EXPECT_EQ(-EINVAL, map_kva(self->fd, &self->info, src, PAGE - 64, PROT_R));
	EXPECT_EQ(-EINVAL, map_kva(self->fd, &self->info, src + PAGE, PAGE + 1, PROT_R));
	EXPECT_SHOWN(&self->info, "kva", "pasid 1 mode kva strict count 1 pages 0");

	ASSERT_EQ(0, map_kva(self->fd, &self->info, src, 4 * PAGE, PROT_R));
	ASSERT_EQ(0, map_kva(self->fd, &self->info, dst, 4 * PAGE, PROT_RW));
	EXPECT_EQ(PTD_ST_OK, run_copy(self->fd, KERNEL_PASID, src, dst, 4 * PAGE));
	EXPECT_TRUE(kbuf_has_pattern(self->fd, &self->dst, 0, 4 * PAGE, 1, 0));
	EXPECT_EQ(-EINVAL, unmap_kva(self->fd, &self->info, src + 64, PAGE));
	EXPECT_EQ(0, unmap_kva(self->fd, &self->info, src, 4 * PAGE));
	EXPECT_TRUE(faults(self->fd, KERNEL_PASID, src));
}

/* Parts of pages go through swiotlb, so the device does not see their neighbours */
TEST_F(trust, iova_bounced)
{
	uint8_t zero[4 * PAGE] = {}, seen[64];
	uint64_t from, to;

	ASSERT_EQ(0, kbuf_copy(self->fd, &self->dst, 0, zero, sizeof(zero), true));
	ASSERT_EQ(0, dma_map(self->fd, &self->info, &self->src, 100, 5000, false, &from));
	ASSERT_EQ(0, dma_map(self->fd, &self->info, &self->dst, 300, 5000, false, &to));
	EXPECT_TRUE(faults(self->fd, KERNEL_PASID, from));
	ASSERT_EQ(KERNEL_PASID, enable(self->fd, &self->info, IOVA));
	EXPECT_EQ(PTD_ST_OK, run_copy(self->fd, KERNEL_PASID, from, to, 5000));
	/* It is in the bounce buffer until it is unmapped */
	EXPECT_TRUE(kbuf_is_zero(self->fd, &self->dst));
	ASSERT_EQ(0, dma_unmap(self->fd, &self->dst));
	EXPECT_TRUE(kbuf_has_pattern(self->fd, &self->dst, 300, 5000, 1, 100));
	ASSERT_EQ(0, kbuf_copy(self->fd, &self->dst, 5300, seen, sizeof(seen), false));
	EXPECT_EQ(0, memcmp(seen, zero, sizeof(seen)));
	EXPECT_TRUE(faults(self->fd, KERNEL_PASID, to));

	EXPECT_EQ(PTD_ST_OK, run_read(self->fd, KERNEL_PASID, from, 64));
	EXPECT_EQ(0, disable(self->fd, &self->info, IOVA));
	EXPECT_TRUE(faults(self->fd, KERNEL_PASID, from));
}

TEST_HARNESS_MAIN
