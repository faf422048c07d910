// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel virtual addresses for devices, in strict mode: what may be mapped, how
 * pages are shared, and that the device sees no more than that.
 *
 * profiles: first-stage ats
 */
#include "dma_pasid_util.h"
#include "../kselftest_harness.h"

#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define MIB	(1024u * 1024)
#define TRACE	TRACING "/instances/dma_pasid"

FIXTURE(kva)
{
	int fd;
	int pasid;
	struct ptd_test_info info;
	struct kbuf dst;
};

/* Gets a domain in which nothing but the destination is mapped */
static int begin(struct _test_data_kva *self)
{
	self->pasid = enable(self->fd, &self->info, KVA);
	if (self->pasid <= 0)
		return self->pasid ?: -EINVAL;
	return map_kva(self->fd, &self->info, self->dst.addr, MIB, PROT_RW);
}

FIXTURE_SETUP(kva)
{
	ASSERT_EQ(1, find_devices(true, true, &self->info, 1));
	self->fd = ptd_open(&self->info);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, kbuf_alloc(self->fd, DMA_PASID_TEST_PAGES, MIB, &self->dst));
	ASSERT_EQ(0, begin(self));
}

FIXTURE_TEARDOWN(kva)
{
	EXPECT_EQ(0, disable(self->fd, &self->info, KVA));
	EXPECT_EQ(0, close(self->fd));
}

static int map(struct _test_data_kva *self, uint64_t addr, uint64_t size, unsigned int prot)
{
	return map_kva(self->fd, &self->info, addr, size, prot);
}

static int unmap(struct _test_data_kva *self, uint64_t addr, uint64_t size)
{
	return unmap_kva(self->fd, &self->info, addr, size);
}

static bool readable(struct _test_data_kva *self, uint64_t addr)
{
	return run_read(self->fd, self->pasid, addr, 16) == PTD_ST_OK;
}

static bool blocked(struct _test_data_kva *self, uint64_t addr)
{
	return faults(self->fd, self->pasid, addr);
}

/* How many pages are mapped besides the one MiB of the fixture */
static int nr_mapped(struct _test_data_kva *self)
{
	char text[192];
	int nr = -1;

	if (sscanf(shown(&self->info, "kva", text, sizeof(text)),
		   "pasid %*d mode kva strict count 1 pages %d", &nr) != 1)
		return -1;
	return nr - (int)(MIB / PAGE);
}

/* How many IDs there are in the whole system */
static int nr_ids(void)
{
	FILE *file = fopen("/sys/kernel/debug/iommu/ext/ioasid", "r");
	int nr = -1;

	if (file && fscanf(file, "# %d allocated", &nr) != 1)
		nr = -1;
	if (file)
		fclose(file);
	return nr;
}

/* The device gets all the bytes, and no byte's neighbour from another page */
static void moves(struct __test_metadata *_metadata, struct _test_data_kva *self,
		  const struct kbuf *src, uint32_t offset, uint32_t size)
{
	uint32_t done, step;

	ASSERT_EQ(0, map(self, src->addr + offset, size, PROT_R));
	EXPECT_EQ((offset + size - 1) / PAGE - offset / PAGE + 1, nr_mapped(self));
	for (done = 0; done < size; done += step) {
		step = size - done < MIB ? size - done : MIB;
		ASSERT_EQ(PTD_ST_OK, run_copy(self->fd, self->pasid, src->addr + offset + done,
					      self->dst.addr, step));
		ASSERT_TRUE(kbuf_has_pattern(self->fd, &self->dst, 0, step, 7, offset + done));
	}
	EXPECT_EQ(PTD_ST_WRITE_FAULT, run_fill(self->fd, self->pasid, src->addr + offset, 1));
	ASSERT_EQ(0, unmap(self, src->addr + offset, size));
	EXPECT_EQ(0, nr_mapped(self));
	EXPECT_TRUE(blocked(self, src->addr));
	EXPECT_TRUE(blocked(self, src->addr + (offset + size - 1) / PAGE * PAGE));
}

static const struct {
	uint32_t offset, size;
} extents[] = {
	{ 0, 1 }, { 4095, 1 }, { 4095, 2 }, { 0, PAGE }, { 1, PAGE }, { 123, 10000 },
	{ PAGE, 2 * PAGE }, { 100, 2 * MIB }, { 0, 4 * MIB },
};

TEST_F_TIMEOUT(kva, direct_map, 240)
{
	struct kbuf src;
	unsigned int i;

	ASSERT_EQ(0, kbuf_alloc(self->fd, DMA_PASID_TEST_PAGES, 4 * MIB, &src));
	ASSERT_EQ(0, kbuf_write_pattern(self->fd, &src, 7));
	for (i = 0; i < ARRAY_SIZE(extents); i++)
		moves(_metadata, self, &src, extents[i].offset, extents[i].size);
}

TEST_F_TIMEOUT(kva, vmalloc, 240)
{
	struct kbuf src;
	unsigned int i;

	ASSERT_EQ(0, kbuf_alloc(self->fd, DMA_PASID_TEST_VMALLOC, 4 * MIB, &src));
	ASSERT_EQ(0, kbuf_write_pattern(self->fd, &src, 7));
	for (i = 0; i < ARRAY_SIZE(extents); i++)
		moves(_metadata, self, &src, extents[i].offset, extents[i].size);
}

TEST_F_TIMEOUT(kva, sixty_four_mib, 240)
{
	struct kbuf src;

	ASSERT_EQ(0, kbuf_alloc(self->fd, DMA_PASID_TEST_VMALLOC, 64 * MIB, &src));
	ASSERT_EQ(0, kbuf_write_pattern(self->fd, &src, 7));
	moves(_metadata, self, &src, 0, 64 * MIB);
}

/* The largest buffers of the direct map; so many of them are 64 MiB */
#define BLOCK		(4 * MIB)
#define NR_BLOCKS	16
#define NR_TRIED	60

static int compare_blocks(const void *a, const void *b)
{
	uint64_t left = ((const struct kbuf *)a)->addr, right = ((const struct kbuf *)b)->addr;

	return (left > right) - (left < right);
}

/* Allocates blocks until enough of them are neighbours, and keeps only those */
static bool alloc_neighbours(int fd, struct kbuf *found)
{
	struct kbuf blocks[NR_TRIED];
	int nr, i, first = -1;

	for (nr = 0; nr < NR_TRIED; nr++)
		if (kbuf_alloc(fd, DMA_PASID_TEST_PAGES, BLOCK, &blocks[nr]))
			break;
	qsort(blocks, nr, sizeof(*blocks), compare_blocks);
	for (i = 0; i + NR_BLOCKS <= nr && first < 0; i++)
		if (blocks[i + NR_BLOCKS - 1].addr - blocks[i].addr == (NR_BLOCKS - 1) * BLOCK)
			first = i;
	for (i = 0; i < nr; i++) {
		if (first >= 0 && i >= first && i < first + NR_BLOCKS)
			found[i - first] = blocks[i];
		else
			kbuf_free(fd, &blocks[i]);
	}
	return first >= 0;
}

/* In each MiB the end of one page and the beginning of the next */
static uint32_t place(unsigned int mib)
{
	return mib * MIB + (mib * 3 + 1) * PAGE - 32;
}

TEST_F_TIMEOUT(kva, sixty_four_mib_direct_map, 240)
{
	struct kbuf blocks[NR_BLOCKS];
	uint8_t data[64];
	unsigned int mib;
	uint64_t addr;

	ASSERT_TRUE(alloc_neighbours(self->fd, blocks));
	addr = blocks[0].addr;
	for (mib = 0; mib < 64; mib++) {
		make_pattern(data, place(mib), sizeof(data), 7);
		ASSERT_EQ(0, kbuf_copy(self->fd, &blocks[place(mib) / BLOCK], place(mib) % BLOCK,
				       data, sizeof(data), true));
	}

	ASSERT_EQ(0, map(self, addr, 64 * MIB, PROT_R));
	EXPECT_EQ(64 * MIB / PAGE, nr_mapped(self));
	for (mib = 0; mib < 64; mib++) {
		EXPECT_EQ(PTD_ST_OK, run_copy(self->fd, self->pasid, addr + place(mib),
					      self->dst.addr, sizeof(data)));
		EXPECT_TRUE(kbuf_has_pattern(self->fd, &self->dst, 0, sizeof(data), 7,
					     place(mib)));
	}
	EXPECT_TRUE(readable(self, addr + 64 * MIB - 16));
	EXPECT_EQ(PTD_ST_WRITE_FAULT, run_fill(self->fd, self->pasid, addr, 8));
	EXPECT_FALSE(readable(self, addr - 16));
	EXPECT_FALSE(readable(self, addr + 64 * MIB));
	EXPECT_EQ(0, unmap(self, addr, 64 * MIB));
	EXPECT_FALSE(readable(self, addr));
	EXPECT_FALSE(readable(self, addr + place(63)));
	EXPECT_FALSE(readable(self, addr + 64 * MIB - 16));
}

/*
 * Unasked, not even who could walk the kernel's page table does: that it is the
 * supervisor's own request changes nothing.
 */
TEST_F(kva, strict_by_default)
{
	struct kbuf buf;

	ASSERT_EQ(0, kbuf_alloc(self->fd, DMA_PASID_TEST_PAGES, PAGE, &buf));
	EXPECT_EQ(0, nr_mapped(self));
	EXPECT_TRUE(blocked(self, buf.addr));
	EXPECT_EQ(PTD_ST_READ_FAULT,
		  run_privileged(self->fd,
				 copy_request(self->pasid, buf.addr, self->dst.addr, PAGE)));
	EXPECT_EQ(PTD_ST_WRITE_FAULT,
		  run_privileged(self->fd, fill_request(self->pasid, buf.addr, PAGE)));
	EXPECT_TRUE(kbuf_is_zero(self->fd, &buf));
}

/* Unmapping one buffer leaves another in the same page alone */
TEST_F(kva, shared_page)
{
	struct kbuf buf;

	ASSERT_EQ(0, kbuf_alloc(self->fd, DMA_PASID_TEST_PAGES, 2 * PAGE, &buf));
	ASSERT_EQ(0, map(self, buf.addr + 100, 200, PROT_RW));
	ASSERT_EQ(0, map(self, buf.addr + 300, 200, PROT_R));
	EXPECT_EQ(1, nr_mapped(self));
	ASSERT_EQ(0, map(self, buf.addr + 4000, 200, PROT_RW));
	EXPECT_EQ(2, nr_mapped(self));

	ASSERT_EQ(0, unmap(self, buf.addr + 100, 200));
	EXPECT_EQ(PTD_ST_OK, run_fill(self->fd, self->pasid, buf.addr + 300, 8));
	ASSERT_EQ(0, unmap(self, buf.addr + 4000, 200));
	EXPECT_EQ(1, nr_mapped(self));
	EXPECT_TRUE(blocked(self, buf.addr + PAGE));
	EXPECT_TRUE(readable(self, buf.addr + 300));
	ASSERT_EQ(0, unmap(self, buf.addr + 300, 200));
	EXPECT_TRUE(blocked(self, buf.addr + 300));
	EXPECT_EQ(-ENOENT, unmap(self, buf.addr + 300, 200));
}

TEST_F(kva, overlapping_maps)
{
	struct kbuf buf;
	int i;

	ASSERT_EQ(0, kbuf_alloc(self->fd, DMA_PASID_TEST_VMALLOC, 16 * PAGE, &buf));
	ASSERT_EQ(0, map(self, buf.addr, 8 * PAGE, PROT_RW));
	ASSERT_EQ(0, map(self, buf.addr + 4 * PAGE, 8 * PAGE, PROT_RW));
	ASSERT_EQ(0, map(self, buf.addr + 6 * PAGE, PAGE, PROT_RW));
	EXPECT_EQ(12, nr_mapped(self));
	ASSERT_EQ(0, unmap(self, buf.addr, 8 * PAGE));
	for (i = 0; i < 16; i++)
		EXPECT_EQ(i >= 4 && i < 12, readable(self, buf.addr + i * PAGE));
	ASSERT_EQ(0, unmap(self, buf.addr + 4 * PAGE, 8 * PAGE));
	for (i = 0; i < 16; i++)
		EXPECT_EQ(i == 6, readable(self, buf.addr + i * PAGE));

	/* All or nothing */
	EXPECT_EQ(-ENOENT, unmap(self, buf.addr + 5 * PAGE, 2 * PAGE));
	EXPECT_EQ(-ENOENT, unmap(self, buf.addr + 6 * PAGE, 2 * PAGE));
	EXPECT_TRUE(readable(self, buf.addr + 6 * PAGE));
	ASSERT_EQ(0, unmap(self, buf.addr + 6 * PAGE, PAGE));
	EXPECT_EQ(0, nr_mapped(self));
}

TEST_F(kva, page_of_a_run)
{
	struct kbuf buf;
	int i;

	ASSERT_EQ(0, kbuf_alloc(self->fd, DMA_PASID_TEST_PAGES, 4 * MIB, &buf));
	ASSERT_EQ(0, map(self, buf.addr, 4 * MIB, PROT_RW));
	ASSERT_EQ(0, unmap(self, buf.addr + 700 * PAGE, PAGE));
	for (i = 698; i <= 702; i++)
		EXPECT_EQ(i != 700, readable(self, buf.addr + i * PAGE));
	EXPECT_EQ(1023, nr_mapped(self));
	EXPECT_EQ(-ENOENT, unmap(self, buf.addr, 4 * MIB));

	ASSERT_EQ(0, map(self, buf.addr + 700 * PAGE, PAGE, PROT_RW));
	EXPECT_TRUE(readable(self, buf.addr + 700 * PAGE));
	ASSERT_EQ(0, unmap(self, buf.addr, 4 * MIB));
	EXPECT_EQ(0, nr_mapped(self));
}

TEST_F(kva, permission)
{
	struct kbuf buf;

	ASSERT_EQ(0, kbuf_alloc(self->fd, DMA_PASID_TEST_PAGES, 4 * PAGE, &buf));
	ASSERT_EQ(0, map(self, buf.addr + PAGE, PAGE, PROT_R));
	EXPECT_EQ(PTD_ST_WRITE_FAULT, run_fill(self->fd, self->pasid, buf.addr + PAGE, 8));
	EXPECT_EQ(-EBUSY, map(self, buf.addr, 4 * PAGE, PROT_RW));
	EXPECT_EQ(-EBUSY, map(self, buf.addr + PAGE, 1, PROT_W));
	EXPECT_EQ(1, nr_mapped(self));
	EXPECT_TRUE(blocked(self, buf.addr));
	ASSERT_EQ(0, map(self, buf.addr, 4 * PAGE, PROT_R));
	ASSERT_EQ(0, unmap(self, buf.addr + PAGE, PAGE));
	ASSERT_EQ(0, unmap(self, buf.addr, 4 * PAGE));

	ASSERT_EQ(0, map(self, buf.addr, PAGE, PROT_R | PROT_CACHE));
	ASSERT_EQ(0, unmap(self, buf.addr, PAGE));

	/* Less than there is, is fine; and it comes back with the last */
	ASSERT_EQ(0, map(self, buf.addr, PAGE, PROT_RW));
	ASSERT_EQ(0, map(self, buf.addr, PAGE, PROT_R));
	ASSERT_EQ(0, unmap(self, buf.addr, PAGE));
	EXPECT_EQ(PTD_ST_OK, run_fill(self->fd, self->pasid, buf.addr, 8));
	ASSERT_EQ(0, unmap(self, buf.addr, PAGE));
	ASSERT_EQ(0, map(self, buf.addr, PAGE, PROT_R));
	EXPECT_EQ(PTD_ST_WRITE_FAULT, run_fill(self->fd, self->pasid, buf.addr, 8));
	ASSERT_EQ(0, unmap(self, buf.addr, PAGE));
}

/* At the same time */

struct steady {
	struct _test_data_kva *test;
	bool stop;
	unsigned int rounds, bad;
};

/* A device that has nothing to do with what comes and goes */
static void *steady_fn(void *arg)
{
	struct steady *steady = arg;
	struct _test_data_kva *test = steady->test;

	while (!__atomic_load_n(&steady->stop, __ATOMIC_RELAXED)) {
		steady->bad += run_fill(test->fd, test->pasid, test->dst.addr, MIB) != PTD_ST_OK;
		steady->rounds++;
	}
	return NULL;
}

TEST_F_TIMEOUT(kva, all_at_once, 240)
{
	struct dma_pasid_test_stress args = {
		.dev = dev_of(&self->info), .threads = 6, .ms = long_run() ? 60000 : 4000,
	};
	struct steady steady = { .test = self };
	int ids = nr_ids(), i;
	pthread_t thread;
	struct kbuf buf;

	/* Three chunks of counts, and no page beside its neighbour */
	ASSERT_EQ(0, kbuf_alloc(self->fd, DMA_PASID_TEST_SPREAD, 5 * MIB, &buf));
	args.buf = buf.index;
	ASSERT_EQ(0, pthread_create(&thread, NULL, steady_fn, &steady));
	EXPECT_EQ(0, test_ioctl(self->fd, DMA_PASID_TEST_STRESS, &args));
	__atomic_store_n(&steady.stop, true, __ATOMIC_RELAXED);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_LT(0, args.rounds);
	EXPECT_EQ(0, args.errors);
	EXPECT_LT(0, steady.rounds);
	EXPECT_EQ(0, steady.bad);

	/* As if nothing had happened */
	EXPECT_EQ(ids, nr_ids());
	EXPECT_EQ(0, nr_mapped(self));
	EXPECT_SHOWN(&self->info, "bypass", "");
	EXPECT_SHOWN(&self->info, "iova", "");
	for (i = 0; i < (int)(buf.size / PAGE); i += 97)
		EXPECT_TRUE(blocked(self, buf.addr + i * PAGE));
}

/* What is refused */

TEST_F(kva, bad_arguments)
{
	struct kbuf buf;

	ASSERT_EQ(0, kbuf_alloc(self->fd, DMA_PASID_TEST_PAGES, PAGE, &buf));
	EXPECT_EQ(-EINVAL, map(self, 0, PAGE, PROT_R));
	EXPECT_EQ(-EINVAL, map(self, buf.addr, 0, PROT_R));
	EXPECT_EQ(-EINVAL, map(self, buf.addr, -buf.addr + 1, PROT_R));
	EXPECT_EQ(-EINVAL, map(self, buf.addr, ~0ull, PROT_R));
	EXPECT_EQ(-EINVAL, map(self, -1ull, 2, PROT_R));
	EXPECT_EQ(-EINVAL, map(self, -1ull, 1, PROT_R));
	EXPECT_EQ(-EINVAL, map(self, -(uint64_t)PAGE, PAGE, PROT_R));
	EXPECT_EQ(-EINVAL, map(self, buf.addr, PAGE, 0));
	EXPECT_EQ(-EINVAL, map(self, buf.addr, PAGE, PROT_R | 1 << 10));
	EXPECT_EQ(-EINVAL, map(self, buf.addr, PAGE, PROT_CACHE));
	/* Of the user, and what is no address at all */
	EXPECT_EQ(-EINVAL, map(self, (uintptr_t)&buf, 8, PROT_R));
	EXPECT_EQ(-EINVAL, map(self, PAGE, PAGE, PROT_R));
	EXPECT_EQ(-EINVAL, map(self, 1ull << 60, PAGE, PROT_R));
	/* More than there is */
	EXPECT_EQ(-EINVAL, map(self, buf.addr, 1ull << 46, PROT_R));
	EXPECT_EQ(0, nr_mapped(self));

	EXPECT_EQ(-EINVAL, unmap(self, 0, PAGE));
	EXPECT_EQ(-EINVAL, unmap(self, buf.addr, 0));
	EXPECT_EQ(-EINVAL, unmap(self, buf.addr, -buf.addr + 1));
	EXPECT_EQ(-ENOENT, unmap(self, buf.addr, PAGE));
	EXPECT_EQ(-ENOENT, unmap(self, buf.addr, 1ull << 46));
	EXPECT_EQ(-ENOENT, unmap(self, (uintptr_t)&buf, 8));
}

TEST_F(kva, special_addresses)
{
	static const struct {
		int reads, writes;
	} expected[DMA_PASID_TEST_NR_SPECIAL] = {
		[DMA_PASID_TEST_TEXT] = { 0, -EINVAL },
		[DMA_PASID_TEST_TEXT_ALIAS] = { 0, -EINVAL },
		[DMA_PASID_TEST_RODATA] = { 0, -EINVAL },
		[DMA_PASID_TEST_RODATA_ALIAS] = { 0, -EINVAL },
		[DMA_PASID_TEST_MODULE_TEXT] = { 0, -EINVAL },
		[DMA_PASID_TEST_MODULE_TEXT_ALIAS] = { 1, -EINVAL },
		[DMA_PASID_TEST_MODULE_RODATA] = { 0, -EINVAL },
		[DMA_PASID_TEST_MODULE_RODATA_ALIAS] = { 1, -EINVAL },
		[DMA_PASID_TEST_MODULE_DATA] = { 0, 0 },
		[DMA_PASID_TEST_TEXT_VMAP] = { 0, -EINVAL },
		[DMA_PASID_TEST_READ_ONLY_VMAP] = { 0, -EINVAL },
		[DMA_PASID_TEST_STACK] = { -EINVAL, -EINVAL },
		[DMA_PASID_TEST_IOREMAP] = { -EINVAL, -EINVAL },
		[DMA_PASID_TEST_GUARD] = { -EINVAL, -EINVAL },
		[DMA_PASID_TEST_NO_MEMORY] = { -EINVAL, -EINVAL },
		[DMA_PASID_TEST_OTHER_DOMAIN] = { -EINVAL, -EINVAL },
		[DMA_PASID_TEST_NO_DOMAIN] = { -EINVAL, -EINVAL },
	};
	unsigned int i;
	int ret;

	for (i = 0; i < DMA_PASID_TEST_NR_SPECIAL; i++) {
		ret = map_special(self->fd, &self->info, i, PROT_R);
		/* Whether the direct map still has a module's text is not ours to say */
		if (expected[i].reads <= 0)
			EXPECT_EQ(expected[i].reads, ret) TH_LOG("read %u", i);
		ret = map_special(self->fd, &self->info, i, PROT_RW);
		EXPECT_EQ(expected[i].writes, ret) TH_LOG("write %u", i);
		ret = map_special(self->fd, &self->info, i, PROT_W);
		EXPECT_EQ(expected[i].writes, ret) TH_LOG("write only %u", i);
	}
	EXPECT_EQ(0, nr_mapped(self));
}

/* What outlives its driver */

/* A device besides the fixture's, and a buffer for it; opens the device */
static int other_device(struct _test_data_kva *self, struct ptd_test_info *info,
			struct kbuf *buf)
{
	struct ptd_test_info two[2];

	if (find_devices(true, true, two, 2) != 2 ||
	    kbuf_alloc(self->fd, DMA_PASID_TEST_PAGES, 16 * PAGE, buf))
		return -ENODEV;
	*info = two[1];
	return ptd_open(info);
}

static int hold_map(struct _test_data_kva *self, unsigned int number, const struct kbuf *buf)
{
	return hold_kva(self->fd, DMA_PASID_TEST_HOLD_MAP, number, buf->addr, buf->size);
}

static int hold_unmap(struct _test_data_kva *self, unsigned int number, const struct kbuf *buf)
{
	return hold_kva(self->fd, DMA_PASID_TEST_HOLD_UNMAP, number, buf->addr, buf->size);
}

/* The next driver's PASID is the same, and none of the old one's business */
TEST_F_TIMEOUT(kva, hold_outlives_driver, 120)
{
	struct ptd_test_info info;
	struct kbuf buf;
	int fd = other_device(self, &info, &buf);

	ASSERT_LE(0, fd);
	ASSERT_EQ(KERNEL_PASID, hold(self->fd, &info, 0, KVA));
	ASSERT_EQ(0, hold_map(self, 0, &buf));
	EXPECT_EQ(PTD_ST_OK, run_fill(fd, KERNEL_PASID, buf.addr, 8));
	close(fd);
	EXPECT_CORE_WARN(rebind(&info, NULL));
	EXPECT_EQ(-ENODEV, hold_map(self, 0, &buf));
	EXPECT_EQ(-ENODEV, hold_unmap(self, 0, &buf));

	ASSERT_EQ(0, rebind(&info, "pasid_testdev"));
	fd = ptd_open(&info);
	ASSERT_LE(0, fd);
	EXPECT_TRUE(faults(fd, KERNEL_PASID, buf.addr));
	ASSERT_EQ(KERNEL_PASID, hold(self->fd, &info, 1, KVA));
	EXPECT_EQ(-ENODEV, hold_map(self, 0, &buf));
	EXPECT_TRUE(faults(fd, KERNEL_PASID, buf.addr));
	ASSERT_EQ(0, hold_map(self, 1, &buf));
	EXPECT_EQ(-ENODEV, hold_unmap(self, 0, &buf));
	EXPECT_EQ(0, release(self->fd, 0));
	EXPECT_SHOWN(&info, "kva", "pasid 1 mode kva strict count 1 pages 16");
	EXPECT_EQ(PTD_ST_OK, run_fill(fd, KERNEL_PASID, buf.addr, 8));

	EXPECT_EQ(0, hold_unmap(self, 1, &buf));
	EXPECT_EQ(0, release(self->fd, 1));
	EXPECT_SHOWN(&info, "mode", "");
	EXPECT_EQ(0, close(fd));
}

/* A sibling that goes on keeps the domain, and the buffers in it */
TEST_F_TIMEOUT(kva, hold_beside_a_sibling, 120)
{
	struct ptd_test_info pair[2];
	struct kbuf buf;
	int fd;

	ASSERT_EQ(2, find_devices(false, true, pair, 2));
	fd = ptd_open(&pair[1]);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, kbuf_alloc(self->fd, DMA_PASID_TEST_PAGES, 16 * PAGE, &buf));
	ASSERT_EQ(KERNEL_PASID, hold(self->fd, &pair[0], 0, KVA));
	ASSERT_EQ(KERNEL_PASID, hold(self->fd, &pair[1], 1, KVA));
	ASSERT_EQ(0, hold_map(self, 0, &buf));
	EXPECT_CORE_WARN(rebind(&pair[0], NULL));
	EXPECT_SHOWN(&pair[0], "mode", "");
	EXPECT_SHOWN(&pair[1], "kva", "pasid 1 mode kva strict count 1 pages 16");

	/* The sibling has the domain, and what is mapped in it */
	EXPECT_EQ(-ENODEV, hold_map(self, 0, &buf));
	EXPECT_EQ(-ENODEV, hold_unmap(self, 0, &buf));
	EXPECT_EQ(0, release(self->fd, 0));
	EXPECT_SHOWN(&pair[1], "kva", "pasid 1 mode kva strict count 1 pages 16");
	EXPECT_EQ(PTD_ST_OK, run_fill(fd, KERNEL_PASID, buf.addr, 8));
	EXPECT_EQ(0, release(self->fd, 1));
	EXPECT_TRUE(faults(fd, KERNEL_PASID, buf.addr));
	EXPECT_EQ(0, close(fd));
	EXPECT_EQ(0, rebind(&pair[0], "pasid_testdev"));
}

TEST_F_TIMEOUT(kva, hold_outlives_device, 120)
{
	struct ptd_test_info info;
	struct kbuf buf;
	int fd = other_device(self, &info, &buf);

	ASSERT_LE(0, fd);
	EXPECT_EQ(0, close(fd));
	ASSERT_EQ(KERNEL_PASID, hold(self->fd, &info, 0, KVA));
	ASSERT_EQ(0, hold_map(self, 0, &buf));
	EXPECT_CORE_WARN(sysfs_write(&info, "remove", "1"));
	EXPECT_EQ(-ENODEV, hold_map(self, 0, &buf));
	EXPECT_EQ(-ENODEV, hold_unmap(self, 0, &buf));

	/* Perhaps at the same addresses, but another device */
	ASSERT_EQ(0, pci_rescan());
	ASSERT_EQ(KERNEL_PASID, hold(self->fd, &info, 1, KVA));
	EXPECT_EQ(-ENODEV, hold_map(self, 0, &buf));
	EXPECT_EQ(0, release(self->fd, 0));
	EXPECT_SHOWN(&info, "kva", "pasid 1 mode kva strict count 1 pages 0");
	EXPECT_EQ(0, release(self->fd, 1));
	EXPECT_SHOWN(&info, "mode", "");
}

static int rebind_often(const struct ptd_test_info *info)
{
	int i, ret = 0;

	for (i = 0; i < (long_run() ? 200 : 12) && !ret; i++) {
		ret = rebind(info, NULL);
		ret = ret ?: rebind(info, "pasid_testdev");
		usleep(20000);
	}
	return ret;
}

/* A handler that goes on: what it gets ends with the driver, nothing comes after */
TEST_F_TIMEOUT(kva, unbind_under_load, 240)
{
	struct dma_pasid_test_load load = {};
	struct ptd_test_info info;
	struct kbuf buf;
	int fd = other_device(self, &info, &buf);

	ASSERT_LE(0, fd);
	EXPECT_EQ(0, close(fd));
	load.dev = dev_of(&info);
	ASSERT_EQ(0, test_ioctl(self->fd, DMA_PASID_TEST_LOAD_START, &load));
	EXPECT_CORE_WARN(EXPECT_EQ(0, rebind_often(&info)));
	ASSERT_EQ(0, test_ioctl(self->fd, DMA_PASID_TEST_LOAD_STOP, &load));
	EXPECT_LT(0, load.mapped);
	EXPECT_LT(0, load.refused);
	EXPECT_EQ(0, load.bad);
	EXPECT_SHOWN(&info, "mode", "");
}

/* Calls of iommu_map() */

static int trace_on(void)
{
	int ret = mkdir(TRACE, 0700) && errno != EEXIST ? -errno : 0;

	ret = ret ?: write_file(TRACE "/events/iommu/map/enable", "1");
	return ret ?: empty_file(TRACE "/trace");
}

/* Those within a range since trace_on(); the bytes they mapped in @bytes */
static int traced_maps(uint64_t addr, uint64_t size, uint64_t *bytes)
{
	unsigned long long start, end;
	char line[512], *text;
	int nr = 0;
	FILE *file;

	write_file(TRACE "/events/iommu/map/enable", "0");
	file = fopen(TRACE "/trace", "r");
	*bytes = 0;
	while (file && fgets(line, sizeof(line), file)) {
		text = strstr(line, "iova=");
		if (!text || sscanf(text, "iova=%llx - %llx", &start, &end) != 2 ||
		    start < addr || start - addr >= size)
			continue;
		*bytes += end - start;
		nr++;
	}
	if (file)
		fclose(file);
	rmdir(TRACE);
	return nr;
}

TEST_F(kva, calls_for_a_run)
{
	struct kbuf buf;
	uint64_t bytes;

	ASSERT_EQ(0, kbuf_alloc(self->fd, DMA_PASID_TEST_PAGES, 4 * MIB, &buf));
	ASSERT_EQ(0, trace_on());
	ASSERT_EQ(0, map(self, buf.addr + 5, 4 * MIB - 10, PROT_R));
	EXPECT_EQ(1, traced_maps(buf.addr, 4 * MIB, &bytes));
	EXPECT_EQ(4 * MIB, bytes);

	/* Only what is missing: two runs around what is there */
	ASSERT_EQ(0, unmap(self, buf.addr + 5, 4 * MIB - 10));
	ASSERT_EQ(0, map(self, buf.addr + 10 * PAGE, 10 * PAGE, PROT_R));
	ASSERT_EQ(0, trace_on());
	ASSERT_EQ(0, map(self, buf.addr, 30 * PAGE, PROT_R));
	EXPECT_EQ(2, traced_maps(buf.addr, 4 * MIB, &bytes));
	EXPECT_EQ(20 * PAGE, bytes);
	ASSERT_EQ(0, trace_on());
	ASSERT_EQ(0, map(self, buf.addr, 30 * PAGE, PROT_R));
	EXPECT_EQ(0, traced_maps(buf.addr, 4 * MIB, &bytes));
}

/* A run is what is contiguous, however small the leaves of the kernel are */
TEST_F(kva, calls_for_small_leaves)
{
	struct kbuf buf;
	uint64_t bytes;

	ASSERT_EQ(0, kbuf_alloc(self->fd, DMA_PASID_TEST_VMAP, 3 * MIB, &buf));
	ASSERT_EQ(0, kbuf_write_pattern(self->fd, &buf, 7));
	ASSERT_EQ(0, trace_on());
	ASSERT_EQ(0, map(self, buf.addr, 3 * MIB, PROT_R));
	EXPECT_EQ(1, traced_maps(buf.addr, 3 * MIB, &bytes));
	EXPECT_EQ(3 * MIB, bytes);
	EXPECT_EQ(PTD_ST_OK, run_copy(self->fd, self->pasid, buf.addr + 2 * MIB,
				      self->dst.addr, MIB));
	EXPECT_TRUE(kbuf_has_pattern(self->fd, &self->dst, 0, MIB, 7, 2 * MIB));
}

TEST_F(kva, calls_for_spread_pages)
{
	struct kbuf buf;
	uint64_t bytes;

	ASSERT_EQ(0, kbuf_alloc(self->fd, DMA_PASID_TEST_SPREAD, 16 * PAGE, &buf));
	ASSERT_EQ(0, trace_on());
	ASSERT_EQ(0, map(self, buf.addr, 16 * PAGE, PROT_R));
	EXPECT_EQ(16, traced_maps(buf.addr, 16 * PAGE, &bytes));
	EXPECT_EQ(16 * PAGE, bytes);
}

/* Each allocation fails in turn, until none is left */

/* Opened once, as opening and closing allocate, too */
static int open_fail_nth(void)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/task/%ld/fail-nth", syscall(SYS_gettid));
	return open(path, O_RDWR | O_CLOEXEC);
}

static int set_fail_nth(int fd, unsigned int nth)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", nth);

	return pwrite(fd, text, len, 0) == len ? 0 : -errno;
}

/* What is left of the count; 0 if it failed an allocation */
static int fail_nth_left(int fd)
{
	char text[16] = "";

	return pread(fd, text, sizeof(text) - 1, 0) < 0 ? -errno : atoi(text);
}

static int inject_everywhere(void)
{
	int ret = write_file("/sys/kernel/debug/failslab/ignore-gfp-wait", "N");

	ret = ret ?: write_file("/sys/kernel/debug/failslab/verbose", "0");
	ret = ret ?: write_file("/sys/kernel/debug/fail_page_alloc/ignore-gfp-wait", "N");
	ret = ret ?: write_file("/sys/kernel/debug/fail_page_alloc/min-order", "0");
	return ret ?: write_file("/sys/kernel/debug/fail_page_alloc/verbose", "0");
}

/*
 * Of a buffer that needs two tables, so that what the first one maps has to be undone. Each
 * time the domain is new, as it keeps its tables, and each allocation fails twice, as one
 * more may come before it whenever a slab is full.
 */
TEST_F_TIMEOUT(kva, every_allocation_fails, 240)
{
	unsigned int twice, failed = 0;
	int fail_nth = open_fail_nth();
	struct kbuf buf;
	uint64_t start;
	int ret, left, i;

	ASSERT_LE(0, fail_nth);
	ASSERT_EQ(0, inject_everywhere());
	ASSERT_EQ(0, kbuf_alloc(self->fd, DMA_PASID_TEST_SPREAD, 4 * MIB, &buf));
	/* A table maps 2 MiB: half of it before where the second one begins */
	start = (buf.addr + 3 * MIB - 1) / (2 * MIB) * (2 * MIB) - MIB;
	for (twice = 2; twice < 2000; twice++) {
		ASSERT_EQ(0, set_fail_nth(fail_nth, twice / 2));
		ret = map(self, start, 2 * MIB, PROT_RW);
		left = fail_nth_left(fail_nth);
		set_fail_nth(fail_nth, 0);
		if (left)
			break;
		/* If not, something else went without */
		if (ret) {
			ASSERT_EQ(-ENOMEM, ret);
			failed++;
			EXPECT_EQ(0, nr_mapped(self));
			for (i = 0; i < 512; i += 73)
				EXPECT_FALSE(readable(self, start + i * PAGE));
			EXPECT_FALSE(readable(self, start + 511 * PAGE));
			ASSERT_EQ(0, map(self, start, 2 * MIB, PROT_RW));
		}
		ASSERT_EQ(0, unmap(self, start, 2 * MIB));
		ASSERT_EQ(0, disable(self->fd, &self->info, KVA));
		ASSERT_EQ(0, begin(self));
	}
	EXPECT_EQ(0, ret);
	/* Counts, two tables and their parent at least, twice each */
	EXPECT_LT(7, failed);
	EXPECT_EQ(512, nr_mapped(self));
	EXPECT_TRUE(readable(self, start));
	EXPECT_TRUE(readable(self, start + 511 * PAGE));
}

TEST_F_TIMEOUT(kva, every_allocation_of_enabling_fails, 240)
{
	static const char * const names[NR_MODES] = { "bypass", "iova", "kva" };
	struct ptd_test_info info;
	struct ptd_test_info two[2];
	unsigned int nth, mode, failed = 0;
	int fail_nth = open_fail_nth();
	int ret, ids, left = 0;

	ASSERT_LE(0, fail_nth);
	ASSERT_EQ(0, inject_everywhere());
	ASSERT_EQ(2, find_devices(true, true, two, 2));
	info = two[1];
	/* The first has the kernel's PASID, the others ask for one */
	for (mode = 0; mode < NR_MODES; mode++) {
		ids = nr_ids();
		ASSERT_LE(0, ids);
		for (nth = 1; nth < 200; nth++) {
			struct dma_pasid_test_mode args = { .dev = dev_of(&info), .mode = mode };

			ASSERT_EQ(0, set_fail_nth(fail_nth, nth));
			ret = test_ioctl(self->fd, DMA_PASID_TEST_ENABLE, &args) ?: args.ret;
			left = fail_nth_left(fail_nth);
			set_fail_nth(fail_nth, 0);
			if (left)
				break;
			if (ret > 0) {
				EXPECT_EQ(0, disable(self->fd, &info, mode));
				continue;
			}
			/* A PASID that cannot be had is one that is not there */
			EXPECT_TRUE(ret == -ENOMEM || ret == -ENOSPC) TH_LOG("%d", ret);
			EXPECT_EQ(ids, nr_ids());
			EXPECT_SHOWN(&info, names[mode], "");
			failed++;
		}
		ASSERT_LT(0, ret);
		EXPECT_NE(0, left);
	}
	EXPECT_LT(5, failed);
	for (mode = 0; mode < NR_MODES; mode++)
		EXPECT_EQ(0, disable(self->fd, &info, mode));
}

TEST_HARNESS_MAIN
