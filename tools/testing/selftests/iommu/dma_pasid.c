// SPDX-License-Identifier: GPL-2.0
/*
 * DMA with PASID inside the kernel: the modes, who may have them, and what is
 * left when they are disabled. See dma_pasid_kva.c for what is mapped.
 *
 * profiles: first-stage second-stage ats lazy
 */
#include "dma_pasid_util.h"
#include "../kselftest_harness.h"

#include <pthread.h>
#include <sys/mman.h>

#define SIZE	(16 * PAGE)

static bool kva_works(void)
{
	return !in_profile("second-stage");
}

FIXTURE(dma_pasid)
{
	int fd;
	struct ptd_test_info info;
	struct ptd_test_info pair[2];
	struct kbuf src;
	struct kbuf dst;
};

/* The device and two buffers */
static int open_device(struct _test_data_dma_pasid *self)
{
	int ret;

	self->fd = ptd_open(&self->info);
	if (self->fd < 0)
		return self->fd;
	ret = kbuf_alloc(self->fd, DMA_PASID_TEST_PAGES, SIZE, &self->src);
	ret = ret ?: kbuf_alloc(self->fd, DMA_PASID_TEST_PAGES, SIZE, &self->dst);
	return ret ?: kbuf_write_pattern(self->fd, &self->src, 1);
}

FIXTURE_SETUP(dma_pasid)
{
	ASSERT_EQ(1, find_devices(true, true, &self->info, 1));
	ASSERT_EQ(2, find_devices(false, true, self->pair, 2));
	ASSERT_EQ(self->pair[0].group, self->pair[1].group);
	ASSERT_EQ(0, open_device(self));
}

FIXTURE_TEARDOWN(dma_pasid)
{
	EXPECT_EQ(0, close(self->fd));
}

/* The device copies what it should from where to where it should */
static bool moves(struct _test_data_dma_pasid *self, int pasid, uint64_t src, uint64_t dst)
{
	char zero[SIZE] = {};

	return !kbuf_copy(self->fd, &self->dst, 0, zero, SIZE, true) &&
	       run_copy(self->fd, pasid, src, dst, SIZE) == PTD_ST_OK &&
	       kbuf_has_pattern(self->fd, &self->dst, 0, SIZE, 1, 0);
}

TEST_F(dma_pasid, bypass)
{
	struct dma_pasid_test_mode mode;

	EXPECT_TRUE(faults(self->fd, KERNEL_PASID, self->src.phys));
	mode = mode_call(self->fd, DMA_PASID_TEST_ENABLE, &self->info, BYPASS, true);
	ASSERT_EQ(KERNEL_PASID, mode.ret);
	EXPECT_EQ(1, mode.domain);
	EXPECT_SHOWN(&self->info, "bypass", "pasid 1 mode bypass count 1");
	EXPECT_TRUE(moves(self, mode.ret, self->src.phys, self->dst.phys));
	mode = mode_call(self->fd, DMA_PASID_TEST_DISABLE, &self->info, BYPASS, true);
	EXPECT_EQ(0, mode.ret);
	EXPECT_EQ(0, mode.domain);
	EXPECT_SHOWN(&self->info, "bypass", "");
	EXPECT_TRUE(faults(self->fd, KERNEL_PASID, self->src.phys));
	EXPECT_TRUE(faults(self->fd, KERNEL_PASID, self->dst.phys));
}

/*
 * Not with the kernel's privilege, though. QEMU sees whether a PASID is in pass-through
 * mode when the device sends it for the first time, so this one is nobody else's.
 */
TEST_F(dma_pasid, bypass_privileged)
{
	enum { FRESH = 777 };
	struct ioasid_test_fill fill = { .min = KERNEL_PASID + 1, .max = FRESH - 1 };

	ASSERT_EQ(0, test_ioctl(self->fd, IOASID_TEST_FILL, &fill));
	ASSERT_EQ(FRESH - 1 - KERNEL_PASID, fill.count);
	ASSERT_EQ(KERNEL_PASID, enable(self->fd, &self->info, IOVA));
	ASSERT_EQ(FRESH, enable(self->fd, &self->info, BYPASS));
	ASSERT_EQ(0, test_ioctl(self->fd, IOASID_TEST_DRAIN));

	EXPECT_EQ(PTD_ST_READ_FAULT,
		  run_privileged(self->fd, copy_request(FRESH, self->src.phys,
							self->dst.phys, SIZE)));
	EXPECT_TRUE(moves(self, FRESH, self->src.phys, self->dst.phys));
	EXPECT_EQ(0, disable(self->fd, &self->info, BYPASS));
	EXPECT_EQ(0, disable(self->fd, &self->info, IOVA));
}

/* The pointer is optional */
TEST_F(dma_pasid, without_pointer)
{
	struct dma_pasid_test_mode mode;

	mode = mode_call(self->fd, DMA_PASID_TEST_ENABLE, &self->info, BYPASS, false);
	EXPECT_EQ(KERNEL_PASID, mode.ret);
	EXPECT_EQ(0, mode.domain);
	mode = mode_call(self->fd, DMA_PASID_TEST_DISABLE, &self->info, BYPASS, false);
	EXPECT_EQ(0, mode.ret);
}

/* With the fixture's device, and in profile lazy with one that has ATS as well */
static void with_and_without_ats(struct __test_metadata *_metadata,
				 struct _test_data_dma_pasid *self,
				 void (*test)(struct __test_metadata *_metadata,
					      struct _test_data_dma_pasid *self))
{
	struct ptd_test_info infos[MAX_DEVICES];
	struct _test_data_dma_pasid other = *self;
	int nr = find_devices(true, true, infos, MAX_DEVICES), i;

	test(_metadata, self);
	for (i = 0; i < nr && infos[i].ats_enabled == self->info.ats_enabled; i++)
		;
	EXPECT_EQ(in_profile("lazy"), i < nr);
	if (i == nr)
		return;
	other.info = infos[i];
	ASSERT_EQ(0, open_device(&other));
	test(_metadata, &other);
	EXPECT_EQ(0, close(other.fd));
}

static void iova_coherent(struct __test_metadata *_metadata, struct _test_data_dma_pasid *self)
{
	uint64_t from, to;
	uint32_t src, dst;
	uint8_t data[SIZE], seen[SIZE];

	make_pattern(data, 0, SIZE, 3);
	ASSERT_EQ(0, ptd_buf_alloc(self->fd, SIZE, true, &src, &from));
	ASSERT_EQ(0, ptd_buf_alloc(self->fd, SIZE, true, &dst, &to));
	ASSERT_EQ(0, ptd_buf_write(self->fd, src, data, SIZE));

	EXPECT_TRUE(faults(self->fd, KERNEL_PASID, from));
	ASSERT_EQ(KERNEL_PASID, enable(self->fd, &self->info, IOVA));
	EXPECT_SHOWN(&self->info, "iova", "pasid 1 mode iova count 1");
	EXPECT_EQ(PTD_ST_OK, run_copy(self->fd, KERNEL_PASID, from, to, SIZE));
	ASSERT_EQ(0, ptd_buf_read(self->fd, dst, seen, SIZE));
	EXPECT_EQ(0, memcmp(data, seen, SIZE));

	ASSERT_EQ(0, test_ioctl(self->fd, PTD_TEST_BUF_FREE, &src));
	EXPECT_TRUE(gone(self->fd, KERNEL_PASID, from));
	EXPECT_EQ(PTD_ST_OK, run_fill(self->fd, KERNEL_PASID, to, SIZE));

	EXPECT_EQ(0, disable(self->fd, &self->info, IOVA));
	EXPECT_TRUE(faults(self->fd, KERNEL_PASID, to));
	/* Without PASID nothing has changed */
	EXPECT_EQ(PTD_ST_OK, run_fill(self->fd, 0, to, SIZE));
}

/* Coherent memory; the PASID comes and goes under it */
TEST_F(dma_pasid, iova_coherent)
{
	with_and_without_ats(_metadata, self, iova_coherent);
}

static void iova_single(struct __test_metadata *_metadata, struct _test_data_dma_pasid *self)
{
	uint64_t from, to;

	ASSERT_EQ(0, dma_map(self->fd, &self->info, &self->src, 0, SIZE, false, &from));
	EXPECT_TRUE(faults(self->fd, KERNEL_PASID, from));
	ASSERT_EQ(KERNEL_PASID, enable(self->fd, &self->info, IOVA));
	ASSERT_EQ(0, dma_map(self->fd, &self->info, &self->dst, 0, SIZE, false, &to));
	EXPECT_TRUE(moves(self, KERNEL_PASID, from, to));
	EXPECT_TRUE(moves(self, 0, from, to));
	/* Physical addresses are not what this PASID has */
	EXPECT_TRUE(faults(self->fd, KERNEL_PASID, self->src.phys));

	ASSERT_EQ(0, dma_unmap(self->fd, &self->src));
	EXPECT_TRUE(gone(self->fd, KERNEL_PASID, from));
	EXPECT_EQ(PTD_ST_OK, run_fill(self->fd, KERNEL_PASID, to, SIZE));
	ASSERT_EQ(0, dma_unmap(self->fd, &self->dst));
	EXPECT_TRUE(gone(self->fd, KERNEL_PASID, to));
}

/* What was mapped before and what is mapped after, by the PASID and without */
TEST_F(dma_pasid, iova_single)
{
	with_and_without_ats(_metadata, self, iova_single);
}

/* A part of a page */
TEST_F(dma_pasid, iova_unaligned)
{
	uint64_t from, to;

	ASSERT_EQ(KERNEL_PASID, enable(self->fd, &self->info, IOVA));
	ASSERT_EQ(0, dma_map(self->fd, &self->info, &self->src, 100, 5000, false, &from));
	ASSERT_EQ(0, dma_map(self->fd, &self->info, &self->dst, 300, 5000, false, &to));
	EXPECT_EQ(PTD_ST_OK, run_copy(self->fd, KERNEL_PASID, from, to, 5000));
	ASSERT_EQ(0, dma_unmap(self->fd, &self->dst));
	EXPECT_TRUE(kbuf_has_pattern(self->fd, &self->dst, 300, 5000, 1, 100));
}

static void iova_sg(struct __test_metadata *_metadata, struct _test_data_dma_pasid *self)
{
	struct kbuf spread;
	uint64_t from, to;

	ASSERT_EQ(0, kbuf_alloc(self->fd, DMA_PASID_TEST_SPREAD, SIZE, &spread));
	ASSERT_EQ(0, kbuf_write_pattern(self->fd, &spread, 1));
	ASSERT_EQ(0, dma_map(self->fd, &self->info, &spread, 0, 0, true, &from));
	EXPECT_TRUE(faults(self->fd, KERNEL_PASID, from));
	ASSERT_EQ(KERNEL_PASID, enable(self->fd, &self->info, IOVA));
	ASSERT_EQ(0, dma_map(self->fd, &self->info, &self->dst, 0, 0, true, &to));
	EXPECT_TRUE(moves(self, KERNEL_PASID, from, to));

	ASSERT_EQ(0, dma_unmap(self->fd, &spread));
	EXPECT_TRUE(gone(self->fd, KERNEL_PASID, from));
	EXPECT_TRUE(faults(self->fd, KERNEL_PASID, from + SIZE - 64));
	EXPECT_EQ(0, disable(self->fd, &self->info, IOVA));
	EXPECT_TRUE(faults(self->fd, KERNEL_PASID, to));
}

TEST_F(dma_pasid, iova_sg)
{
	with_and_without_ats(_metadata, self, iova_sg);
}

/*
 * Nobody takes away the default domain under the PASID. That its flushes become
 * lazy does not change it, and holds for the PASID as well.
 */
TEST_F_TIMEOUT(dma_pasid, default_domain, 120)
{
	uint64_t from, to;

	ASSERT_EQ(KERNEL_PASID, enable(self->fd, &self->info, IOVA));
	ASSERT_EQ(0, dma_map(self->fd, &self->info, &self->src, 0, SIZE, false, &from));
	ASSERT_EQ(0, dma_map(self->fd, &self->info, &self->dst, 0, SIZE, false, &to));
	EXPECT_EQ(-EPERM, sysfs_write(&self->info, "iommu_group/type", "identity"));
	EXPECT_EQ(-EPERM, sysfs_write(&self->info, "iommu_group/type", "auto"));
	EXPECT_EQ(in_profile("lazy") ? -EPERM : 0,
		  sysfs_write(&self->info, "iommu_group/type", "DMA-FQ"));
	EXPECT_TRUE(moves(self, KERNEL_PASID, from, to));
	ASSERT_EQ(0, dma_unmap(self->fd, &self->src));
	wait_for_flush(self->fd, KERNEL_PASID, from);
	EXPECT_TRUE(faults(self->fd, KERNEL_PASID, from));
	EXPECT_EQ(PTD_ST_OK, run_fill(self->fd, KERNEL_PASID, to, SIZE));

	/* Another one is as good */
	close(self->fd);
	ASSERT_EQ(0, rebind(&self->info, NULL));
	EXPECT_EQ(0, sysfs_write(&self->info, "iommu_group/type", "identity"));
	ASSERT_EQ(0, rebind(&self->info, "pasid_testdev"));
	ASSERT_EQ(0, open_device(self));
	ASSERT_EQ(0, dma_map(self->fd, &self->info, &self->src, 0, SIZE, false, &from));
	EXPECT_EQ(self->src.phys, from);
	ASSERT_EQ(0, dma_map(self->fd, &self->info, &self->dst, 0, SIZE, false, &to));
	EXPECT_TRUE(faults(self->fd, KERNEL_PASID, from));
	ASSERT_EQ(KERNEL_PASID, enable(self->fd, &self->info, IOVA));
	EXPECT_TRUE(moves(self, KERNEL_PASID, from, to));
	EXPECT_EQ(0, disable(self->fd, &self->info, IOVA));
	EXPECT_TRUE(faults(self->fd, KERNEL_PASID, from));

	close(self->fd);
	ASSERT_EQ(0, rebind(&self->info, NULL));
	EXPECT_EQ(0, sysfs_write(&self->info, "iommu_group/type", "auto"));
	ASSERT_EQ(0, rebind(&self->info, "pasid_testdev"));
	self->fd = ptd_open(&self->info);
	ASSERT_LE(0, self->fd);
}

static void kva_moves(struct __test_metadata *_metadata, struct _test_data_dma_pasid *self,
		      unsigned int kind)
{
	struct dma_pasid_test_mode mode;
	struct kbuf src;

	ASSERT_EQ(0, kbuf_alloc(self->fd, kind, SIZE, &src));
	ASSERT_EQ(0, kbuf_write_pattern(self->fd, &src, 1));
	EXPECT_TRUE(faults(self->fd, KERNEL_PASID, src.addr));
	mode = mode_call(self->fd, DMA_PASID_TEST_ENABLE, &self->info, KVA, true);
	ASSERT_EQ(KERNEL_PASID, mode.ret);
	EXPECT_EQ(1, mode.domain);
	EXPECT_SHOWN(&self->info, "kva", "pasid 1 mode kva strict count 1 pages 0");
	EXPECT_TRUE(faults(self->fd, KERNEL_PASID, src.addr));

	if (!kva_works()) {
		EXPECT_EQ(-ERANGE, map_kva(self->fd, &self->info, src.addr, SIZE, PROT_R));
		EXPECT_SHOWN(&self->info, "kva", "pasid 1 mode kva strict count 1 pages 0");
	} else {
		ASSERT_EQ(0, map_kva(self->fd, &self->info, src.addr, SIZE, PROT_R));
		ASSERT_EQ(0, map_kva(self->fd, &self->info, self->dst.addr, SIZE, PROT_RW));
		EXPECT_SHOWN(&self->info, "kva", "pasid 1 mode kva strict count 1 pages 32");
		EXPECT_TRUE(moves(self, mode.ret, src.addr, self->dst.addr));

		ASSERT_EQ(0, unmap_kva(self->fd, &self->info, src.addr, SIZE));
		EXPECT_TRUE(faults(self->fd, KERNEL_PASID, src.addr));
		EXPECT_EQ(PTD_ST_OK, run_fill(self->fd, KERNEL_PASID, self->dst.addr, SIZE));
	}

	mode = mode_call(self->fd, DMA_PASID_TEST_DISABLE, &self->info, KVA, true);
	EXPECT_EQ(0, mode.ret);
	EXPECT_EQ(0, mode.domain);
	EXPECT_TRUE(faults(self->fd, KERNEL_PASID, self->dst.addr));
}

TEST_F(dma_pasid, kva_direct_map)
{
	kva_moves(_metadata, self, DMA_PASID_TEST_PAGES);
}

TEST_F(dma_pasid, kva_vmalloc)
{
	kva_moves(_metadata, self, DMA_PASID_TEST_VMALLOC);
}

/* The same mode again has the same PASID, and stays until the last one is done */
TEST_F(dma_pasid, counted)
{
	struct dma_pasid_test_mode mode;

	ASSERT_EQ(KERNEL_PASID, enable(self->fd, &self->info, BYPASS));
	ASSERT_EQ(KERNEL_PASID, enable(self->fd, &self->info, BYPASS));
	EXPECT_SHOWN(&self->info, "bypass", "pasid 1 mode bypass count 2");
	mode = mode_call(self->fd, DMA_PASID_TEST_DISABLE, &self->info, BYPASS, true);
	EXPECT_EQ(0, mode.ret);
	EXPECT_EQ(1, mode.domain);
	EXPECT_TRUE(moves(self, KERNEL_PASID, self->src.phys, self->dst.phys));
	mode = mode_call(self->fd, DMA_PASID_TEST_DISABLE, &self->info, BYPASS, true);
	EXPECT_EQ(0, mode.ret);
	EXPECT_EQ(0, mode.domain);
	EXPECT_TRUE(faults(self->fd, KERNEL_PASID, self->src.phys));
	EXPECT_EQ(-EINVAL, disable(self->fd, &self->info, BYPASS));
}

/* A sibling shares PASID and count, and each has to disable what it enabled */
TEST_F(dma_pasid, siblings)
{
	int first = ptd_open(&self->pair[0]), second = ptd_open(&self->pair[1]);

	ASSERT_LE(0, first);
	ASSERT_LE(0, second);
	EXPECT_TRUE(faults(second, KERNEL_PASID, self->src.phys));
	ASSERT_EQ(KERNEL_PASID, enable(first, &self->pair[0], BYPASS));
	EXPECT_EQ(-EINVAL, disable(second, &self->pair[1], BYPASS));
	ASSERT_EQ(KERNEL_PASID, enable(second, &self->pair[1], BYPASS));
	EXPECT_SHOWN(&self->pair[0], "bypass", "pasid 1 mode bypass count 1");
	EXPECT_SHOWN(&self->pair[1], "bypass", "pasid 1 mode bypass count 1");
	EXPECT_EQ(PTD_ST_OK, run_copy(first, KERNEL_PASID, self->src.phys, self->dst.phys, SIZE));
	EXPECT_TRUE(kbuf_has_pattern(self->fd, &self->dst, 0, SIZE, 1, 0));

	EXPECT_EQ(0, disable(first, &self->pair[0], BYPASS));
	EXPECT_EQ(-EINVAL, disable(first, &self->pair[0], BYPASS));
	EXPECT_EQ(PTD_ST_OK, run_fill(second, KERNEL_PASID, self->dst.phys, SIZE));
	EXPECT_EQ(0, disable(second, &self->pair[1], BYPASS));
	EXPECT_TRUE(faults(first, KERNEL_PASID, self->dst.phys));
	EXPECT_TRUE(faults(second, KERNEL_PASID, self->dst.phys));

	/* Another group is another matter */
	ASSERT_EQ(KERNEL_PASID, enable(first, &self->pair[0], BYPASS));
	EXPECT_TRUE(faults(self->fd, KERNEL_PASID, self->src.phys));
	EXPECT_EQ(0, close(first));
	EXPECT_EQ(0, close(second));
}

/* Each PASID has its own addresses; the kernel's one is given again */
TEST_F(dma_pasid, modes_side_by_side)
{
	int bypass, iova, kva;
	uint64_t from, to;

	bypass = enable(self->fd, &self->info, BYPASS);
	iova = enable(self->fd, &self->info, IOVA);
	kva = enable(self->fd, &self->info, KVA);
	ASSERT_EQ(KERNEL_PASID, bypass);
	ASSERT_LT(KERNEL_PASID, iova);
	ASSERT_LT(KERNEL_PASID, kva);
	ASSERT_NE(iova, kva);
	ASSERT_EQ(0, dma_map(self->fd, &self->info, &self->src, 0, SIZE, false, &from));
	ASSERT_EQ(0, dma_map(self->fd, &self->info, &self->dst, 0, SIZE, false, &to));

	EXPECT_TRUE(moves(self, bypass, self->src.phys, self->dst.phys));
	EXPECT_TRUE(moves(self, iova, from, to));
	EXPECT_TRUE(faults(self->fd, iova, self->src.phys));
	EXPECT_TRUE(faults(self->fd, kva, self->src.phys));
	EXPECT_TRUE(faults(self->fd, kva, from));
	EXPECT_TRUE(faults(self->fd, bypass, self->src.addr));
	EXPECT_TRUE(faults(self->fd, iova, self->src.addr));
	if (kva_works()) {
		ASSERT_EQ(0, map_kva(self->fd, &self->info, self->src.addr, SIZE, PROT_R));
		ASSERT_EQ(0, map_kva(self->fd, &self->info, self->dst.addr, SIZE, PROT_RW));
		EXPECT_TRUE(moves(self, kva, self->src.addr, self->dst.addr));
		EXPECT_TRUE(faults(self->fd, bypass, self->src.addr));
		EXPECT_TRUE(faults(self->fd, iova, self->src.addr));
	}

	EXPECT_EQ(0, disable(self->fd, &self->info, BYPASS));
	EXPECT_TRUE(faults(self->fd, bypass, self->src.phys));
	EXPECT_TRUE(moves(self, iova, from, to));
	EXPECT_EQ(0, disable(self->fd, &self->info, IOVA));
	EXPECT_TRUE(faults(self->fd, iova, from));
	EXPECT_EQ(KERNEL_PASID, enable(self->fd, &self->info, IOVA));
	EXPECT_TRUE(moves(self, KERNEL_PASID, from, to));
	if (kva_works())
		EXPECT_TRUE(moves(self, kva, self->src.addr, self->dst.addr));
}

/* A process's PASID beside those of the kernel: neither has what the other has */
TEST_F(dma_pasid, beside_sva)
{
	uint32_t sva;
	void *user;
	int kva;

	user = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, user);
	ASSERT_EQ(0, mlock(user, PAGE));
	ASSERT_EQ(KERNEL_PASID, enable(self->fd, &self->info, IOVA));
	kva = enable(self->fd, &self->info, KVA);
	ASSERT_LT(KERNEL_PASID, kva);
	/* SVA is for devices with ATS */
	if (!in_profile("ats")) {
		EXPECT_GT(0, test_ioctl(self->fd, PTD_TEST_SVA_BIND, &sva));
		return;
	}

	ASSERT_EQ(0, test_ioctl(self->fd, PTD_TEST_SVA_BIND, &sva));
	EXPECT_LT(KERNEL_PASID, sva);
	EXPECT_NE(kva, sva);
	ASSERT_EQ(0, map_kva(self->fd, &self->info, self->dst.addr, SIZE, PROT_RW));
	EXPECT_EQ(PTD_ST_OK, run_fill(self->fd, sva, (uintptr_t)user, PAGE));
	EXPECT_EQ(PTD_ST_OK, run_fill(self->fd, kva, self->dst.addr, SIZE));
	EXPECT_TRUE(faults(self->fd, sva, self->dst.addr));
	EXPECT_TRUE(faults(self->fd, kva, (uintptr_t)user));
	EXPECT_TRUE(faults(self->fd, KERNEL_PASID, (uintptr_t)user));

	EXPECT_EQ(0, disable(self->fd, &self->info, KVA));
	EXPECT_EQ(0, disable(self->fd, &self->info, IOVA));
	EXPECT_EQ(PTD_ST_OK, run_fill(self->fd, sva, (uintptr_t)user, PAGE));
	ASSERT_EQ(KERNEL_PASID, enable(self->fd, &self->info, KVA));
	ASSERT_EQ(0, test_ioctl(self->fd, PTD_TEST_SVA_UNBIND));
	EXPECT_TRUE(faults(self->fd, sva, (uintptr_t)user));
	munmap(user, PAGE);
}

/* Errors, in the order of the checks */

TEST_F(dma_pasid, bad_arguments)
{
	struct dma_pasid_test_mode mode;

	EXPECT_EQ(-EINVAL, enable(self->fd, &self->info, NR_MODES));
	EXPECT_EQ(-EINVAL, enable(self->fd, &self->info, ~0u));
	mode = mode_call(self->fd, DMA_PASID_TEST_ENABLE, &self->info, KVA, false);
	EXPECT_EQ(-EINVAL, mode.ret);
	EXPECT_EQ(-EINVAL, disable(self->fd, &self->info, NR_MODES));
	EXPECT_EQ(-EINVAL, disable(self->fd, &self->info, BYPASS));
	EXPECT_EQ(-EINVAL, disable(self->fd, &self->info, KVA));
	EXPECT_SHOWN(&self->info, "mode", "");
}

/* The DMA API works with a device that gets no PASID */
static void only_dma_api(struct __test_metadata *_metadata, struct _test_data_dma_pasid *self,
			 const struct ptd_test_info *info)
{
	int fd = ptd_open(info), mode;
	uint64_t from, to;

	ASSERT_LE(0, fd);
	for (mode = BYPASS; mode < NR_MODES; mode++)
		EXPECT_EQ(-EOPNOTSUPP, enable(fd, info, mode));
	EXPECT_EQ(-EINVAL, enable(fd, info, NR_MODES));
	EXPECT_SHOWN(info, "mode", "");

	ASSERT_EQ(0, dma_map(self->fd, info, &self->src, 0, SIZE, false, &from));
	ASSERT_EQ(0, dma_map(self->fd, info, &self->dst, 0, SIZE, false, &to));
	EXPECT_EQ(PTD_ST_OK, run_copy(fd, 0, from, to, SIZE));
	EXPECT_TRUE(kbuf_has_pattern(self->fd, &self->dst, 0, SIZE, 1, 0));
	EXPECT_EQ(0, dma_unmap(self->fd, &self->src));
	EXPECT_EQ(0, dma_unmap(self->fd, &self->dst));
	EXPECT_EQ(0, close(fd));
}

TEST_F(dma_pasid, device_without_pasids)
{
	struct ptd_test_info none;

	ASSERT_EQ(1, find_devices(true, false, &none, 1));
	ASSERT_EQ(0, none.max_pasids);
	only_dma_api(_metadata, self, &none);
}

/* It has PASIDs, but they are not enabled: requests might be routed past the IOMMU */
TEST_F_TIMEOUT(dma_pasid, pasids_not_enabled, 120)
{
	struct ptd_test_info stray;

	ASSERT_EQ(0, plug("id=stray0,multifunction=on", &stray));
	ASSERT_LT(0, stray.max_pasids);
	ASSERT_FALSE(stray.pasid_enabled);
	only_dma_api(_metadata, self, &stray);
	EXPECT_EQ(0, unplug("stray0", &stray));
}

/* A driver that manages DMA by itself, and has not claimed it, or otherwise */
TEST_F(dma_pasid, not_the_owner)
{
	struct dma_owner_test_call claim = { .dev = dev_of(&self->info), .owner = 2, .cookie = 1 };

	close(self->fd);
	self->fd = open_test_device();
	ASSERT_EQ(0, rebind(&self->info, "iommu_ext_managed"));
	EXPECT_EQ(-EPERM, enable(self->fd, &self->info, IOVA));
	EXPECT_EQ(-EPERM, enable(self->fd, &self->info, BYPASS));
	ASSERT_EQ(0, test_ioctl(self->fd, DMA_OWNER_TEST_CLAIM, &claim));
	ASSERT_EQ(0, claim.error);
	EXPECT_EQ(-EPERM, enable(self->fd, &self->info, KVA));
	ASSERT_EQ(0, test_ioctl(self->fd, DMA_OWNER_TEST_RELEASE, &claim));

	claim.owner = 1;
	ASSERT_EQ(0, test_ioctl(self->fd, DMA_OWNER_TEST_CLAIM, &claim));
	ASSERT_EQ(0, claim.error);
	EXPECT_EQ(KERNEL_PASID, enable(self->fd, &self->info, KVA));
	/* Nobody else owns the group as long as that goes on */
	claim.owner = 2;
	ASSERT_EQ(0, test_ioctl(self->fd, DMA_OWNER_TEST_CLAIM, &claim));
	EXPECT_EQ(-EBUSY, claim.error);

	/* The last release is the end of it */
	claim.owner = 1;
	ASSERT_EQ(0, forget(self->fd, &self->info));
	EXPECT_CORE_WARN(test_ioctl(self->fd, DMA_OWNER_TEST_RELEASE, &claim));
	EXPECT_SHOWN(&self->info, "mode", "");
	EXPECT_EQ(-EINVAL, disable(self->fd, &self->info, KVA));
	EXPECT_EQ(0, rebind(&self->info, "pasid_testdev"));
}

/* That a sibling uses the DMA API is not enough */
TEST_F(dma_pasid, sibling_without_claim)
{
	ASSERT_EQ(0, rebind(&self->pair[1], "iommu_ext_managed"));
	EXPECT_EQ(-EPERM, enable(self->fd, &self->pair[1], IOVA));
	ASSERT_EQ(KERNEL_PASID, enable(self->fd, &self->pair[0], IOVA));
	EXPECT_EQ(-EPERM, enable(self->fd, &self->pair[1], IOVA));
	EXPECT_SHOWN(&self->pair[0], "iova", "pasid 1 mode iova count 1");
	EXPECT_SHOWN(&self->pair[1], "iova", "");
	EXPECT_EQ(0, disable(self->fd, &self->pair[0], IOVA));
	EXPECT_EQ(0, rebind(&self->pair[1], "pasid_testdev"));
}

/* A claim that is released is not the last one */
TEST_F(dma_pasid, one_claim_of_two)
{
	struct dma_owner_test_call claim = { .dev = dev_of(&self->info), .owner = 1 };

	close(self->fd);
	self->fd = open_test_device();
	ASSERT_EQ(0, rebind(&self->info, "iommu_ext_plain"));
	ASSERT_EQ(0, test_ioctl(self->fd, DMA_OWNER_TEST_CLAIM, &claim));
	ASSERT_EQ(0, claim.error);
	EXPECT_EQ(KERNEL_PASID, enable(self->fd, &self->info, IOVA));
	ASSERT_EQ(0, test_ioctl(self->fd, DMA_OWNER_TEST_RELEASE, &claim));
	EXPECT_SHOWN(&self->info, "iova", "pasid 1 mode iova count 1");
	EXPECT_EQ(0, disable(self->fd, &self->info, IOVA));
	EXPECT_EQ(0, rebind(&self->info, "pasid_testdev"));
}

TEST_F(dma_pasid, in_reset)
{
	struct dma_owner_test_call claim = { .dev = dev_of(&self->info), .owner = 1 };

	close(self->fd);
	self->fd = open_test_device();
	ASSERT_EQ(0, rebind(&self->info, "iommu_ext_managed"));
	ASSERT_EQ(0, test_ioctl(self->fd, DMA_OWNER_TEST_CLAIM, &claim));
	/* Only what has ATS is blocked while it is reset */
	ASSERT_EQ(0, test_ioctl(self->fd, DMA_OWNER_TEST_RESET_BEGIN, &claim.dev));
	EXPECT_EQ(in_profile("ats") ? -EBUSY : KERNEL_PASID,
		  enable(self->fd, &self->info, IOVA));
	ASSERT_EQ(0, test_ioctl(self->fd, DMA_OWNER_TEST_RESET_END, &claim.dev));
	if (!in_profile("ats"))
		EXPECT_EQ(0, disable(self->fd, &self->info, IOVA));
	EXPECT_EQ(KERNEL_PASID, enable(self->fd, &self->info, IOVA));
	/* One more is not possible either, and going is */
	ASSERT_EQ(0, test_ioctl(self->fd, DMA_OWNER_TEST_RESET_BEGIN, &claim.dev));
	EXPECT_EQ(in_profile("ats") ? -EBUSY : KERNEL_PASID,
		  enable(self->fd, &self->info, IOVA));
	if (!in_profile("ats"))
		EXPECT_EQ(0, disable(self->fd, &self->info, IOVA));
	EXPECT_EQ(0, disable(self->fd, &self->info, IOVA));
	ASSERT_EQ(0, test_ioctl(self->fd, DMA_OWNER_TEST_RESET_END, &claim.dev));
	EXPECT_SHOWN(&self->info, "mode", "");
	EXPECT_EQ(0, rebind(&self->info, "pasid_testdev"));
}

/* A device that has PASIDs 0 to 3 only */
TEST_F_TIMEOUT(dma_pasid, no_pasid_left, 120)
{
	struct ioasid_test_fill fill = { .min = 2, .max = 3 };
	struct ptd_test_info small;
	int first, second;

	ASSERT_EQ(0, plug("id=small0,pasid-bits=2", &small));
	ASSERT_TRUE(small.pasid_enabled);
	ASSERT_EQ(4, small.max_pasids);

	ASSERT_EQ(0, test_ioctl(self->fd, IOASID_TEST_FILL, &fill));
	ASSERT_EQ(2, fill.count);
	EXPECT_EQ(KERNEL_PASID, enable(self->fd, &small, IOVA));
	EXPECT_EQ(-ENOSPC, enable(self->fd, &small, BYPASS));
	EXPECT_EQ(-ENOSPC, enable(self->fd, &small, KVA));
	EXPECT_EQ(KERNEL_PASID, enable(self->fd, &small, IOVA));

	ASSERT_EQ(0, test_ioctl(self->fd, IOASID_TEST_DRAIN));
	first = enable(self->fd, &small, BYPASS);
	second = enable(self->fd, &small, KVA);
	EXPECT_EQ(5, first + second);
	EXPECT_LE(2, first);
	EXPECT_LE(2, second);

	/* They are given back */
	EXPECT_EQ(0, disable(self->fd, &small, BYPASS));
	EXPECT_EQ(0, disable(self->fd, &small, KVA));
	ASSERT_EQ(0, test_ioctl(self->fd, IOASID_TEST_FILL, &fill));
	EXPECT_EQ(2, fill.count);
	EXPECT_EQ(0, unplug("small0", &small));
}

/* PASID 1 is in use by somebody who does not ask */
TEST_F(dma_pasid, attach_fails)
{
	ASSERT_EQ(0, ptd_attach(self->fd, PTD_TEST_DEFAULT_DOMAIN, KERNEL_PASID));
	EXPECT_EQ(-EBUSY, enable(self->fd, &self->info, BYPASS));
	EXPECT_EQ(-EBUSY, enable(self->fd, &self->info, KVA));
	EXPECT_SHOWN(&self->info, "mode", "");
	EXPECT_EQ(-EINVAL, disable(self->fd, &self->info, BYPASS));
	ASSERT_EQ(0, ptd_detach(self->fd, KERNEL_PASID));
	EXPECT_EQ(KERNEL_PASID, enable(self->fd, &self->info, BYPASS));
}

/* A device that joins must not find PASIDs that its driver did not enable */
TEST_F_TIMEOUT(dma_pasid, joining_is_refused, 120)
{
	int fd;

	/* Function 1 goes and comes back; with it gone, function 0 is alone */
	ASSERT_EQ(1, self->pair[1].devfn & 7);
	ASSERT_EQ(0, sysfs_write(&self->pair[1], "remove", "1"));
	fd = ptd_open(&self->pair[0]);
	ASSERT_LE(0, fd);
	ASSERT_EQ(KERNEL_PASID, enable(fd, &self->pair[0], BYPASS));
	ASSERT_EQ(0, pci_rescan());
	EXPECT_TRUE(sysfs_exists(&self->pair[1], "vendor"));
	EXPECT_FALSE(sysfs_exists(&self->pair[1], "iommu_group"));
	EXPECT_EQ(-ENODEV, enable(self->fd, &self->pair[1], BYPASS));
	EXPECT_EQ(PTD_ST_OK, run_copy(fd, KERNEL_PASID, self->src.phys, self->dst.phys, SIZE));

	/* Without them it may */
	EXPECT_EQ(0, disable(fd, &self->pair[0], BYPASS));
	ASSERT_EQ(0, sysfs_write(&self->pair[1], "remove", "1"));
	ASSERT_EQ(0, pci_rescan());
	EXPECT_TRUE(sysfs_exists(&self->pair[1], "iommu_group"));
	EXPECT_EQ(0, close(fd));
}

/* Beside PASIDs of others it has none: nobody would attach it to theirs */
TEST_F_TIMEOUT(dma_pasid, joining_beside_other_pasids, 120)
{
	enum { USED = 100 };
	int fd;

	ASSERT_EQ(0, sysfs_write(&self->pair[1], "remove", "1"));
	fd = ptd_open(&self->pair[0]);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ptd_attach(fd, PTD_TEST_DEFAULT_DOMAIN, USED));
	ASSERT_EQ(0, pci_rescan());
	EXPECT_TRUE(sysfs_exists(&self->pair[1], "iommu_group"));
	EXPECT_FALSE(sysfs_exists(&self->pair[1], "driver"));

	/* It is detached from none when it leaves */
	ASSERT_EQ(0, sysfs_write(&self->pair[1], "remove", "1"));
	ASSERT_EQ(0, pci_rescan());

	/* Nor does it get any back */
	ASSERT_EQ(0, ptd_detach(fd, USED));
	ASSERT_EQ(0, rebind(&self->pair[1], "pasid_testdev"));
	EXPECT_EQ(-EOPNOTSUPP, enable(self->fd, &self->pair[1], BYPASS));
	EXPECT_EQ(KERNEL_PASID, enable(fd, &self->pair[0], BYPASS));
	EXPECT_EQ(-EOPNOTSUPP, enable(self->fd, &self->pair[1], BYPASS));
	EXPECT_EQ(0, disable(fd, &self->pair[0], BYPASS));

	/* Unless it is found anew */
	ASSERT_EQ(0, sysfs_write(&self->pair[1], "remove", "1"));
	ASSERT_EQ(0, pci_rescan());
	EXPECT_EQ(KERNEL_PASID, enable(self->fd, &self->pair[1], BYPASS));
	EXPECT_EQ(0, disable(self->fd, &self->pair[1], BYPASS));
	EXPECT_EQ(0, close(fd));
}

/* The end of a driver */

static int start_work(int fd, int pasid, uint64_t dst)
{
	struct ptd_test_request reqs[PTD_NR_QUEUES];
	int q;

	for (q = 0; q < PTD_NR_QUEUES; q++) {
		reqs[q] = fill_request(pasid, dst + q * PAGE, PAGE);
		reqs[q].queue = q;
		reqs[q].delay_us = 500000;
	}
	return ptd_submit(fd, reqs, PTD_NR_QUEUES);
}

TEST_F(dma_pasid, forgotten_at_unbind)
{
	int mode;

	for (mode = BYPASS; mode < NR_MODES; mode++)
		ASSERT_LT(0, enable(self->fd, &self->info, mode));
	ASSERT_LT(0, enable(self->fd, &self->info, IOVA));
	ASSERT_EQ(0, forget(self->fd, &self->info));
	EXPECT_CORE_WARN(rebind(&self->info, NULL));
	EXPECT_SHOWN(&self->info, "mode", "");
	/* Whoever disables late is not told off */
	EXPECT_EQ(-EINVAL, disable(self->fd, &self->info, KVA));
	EXPECT_EQ(-EINVAL, disable(self->fd, &self->info, IOVA));
	ASSERT_EQ(0, rebind(&self->info, "pasid_testdev"));

	close(self->fd);
	self->fd = ptd_open(&self->info);
	ASSERT_LE(0, self->fd);
	EXPECT_TRUE(faults(self->fd, KERNEL_PASID, 0x100000));
	EXPECT_EQ(KERNEL_PASID, enable(self->fd, &self->info, BYPASS));
}

TEST_F(dma_pasid, forgotten_by_a_sibling)
{
	int first = ptd_open(&self->pair[0]), second = ptd_open(&self->pair[1]);

	ASSERT_EQ(KERNEL_PASID, enable(first, &self->pair[0], BYPASS));
	ASSERT_EQ(KERNEL_PASID, enable(second, &self->pair[1], BYPASS));
	ASSERT_EQ(0, forget(first, &self->pair[0]));
	EXPECT_CORE_WARN(rebind(&self->pair[0], NULL));
	EXPECT_SHOWN(&self->pair[0], "mode", "");
	EXPECT_SHOWN(&self->pair[1], "bypass", "pasid 1 mode bypass count 1");
	EXPECT_EQ(PTD_ST_OK, run_fill(second, KERNEL_PASID, self->dst.phys, SIZE));
	EXPECT_EQ(0, disable(second, &self->pair[1], BYPASS));
	EXPECT_TRUE(faults(second, KERNEL_PASID, self->dst.phys));
	EXPECT_EQ(0, rebind(&self->pair[0], "pasid_testdev"));
	EXPECT_EQ(0, close(first));
	EXPECT_EQ(0, close(second));
}

/* The PASID is attached to both functions, of which one never asked for it */
TEST_F_TIMEOUT(dma_pasid, sibling_leaves, 120)
{
	uint64_t to;
	int fd;

	ASSERT_EQ(1, self->pair[1].devfn & 7);
	fd = ptd_open(&self->pair[0]);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, dma_map(self->fd, &self->pair[0], &self->dst, 0, SIZE, false, &to));
	ASSERT_EQ(KERNEL_PASID, enable(fd, &self->pair[0], IOVA));
	ASSERT_EQ(0, sysfs_write(&self->pair[1], "remove", "1"));
	EXPECT_EQ(PTD_ST_OK, run_fill(fd, KERNEL_PASID, to, SIZE));

	/* Invalidates the caches of whoever is attached */
	ASSERT_EQ(0, dma_unmap(self->fd, &self->dst));
	EXPECT_TRUE(gone(fd, KERNEL_PASID, to));
	EXPECT_EQ(0, disable(fd, &self->pair[0], IOVA));
	ASSERT_EQ(0, pci_rescan());
	EXPECT_TRUE(sysfs_exists(&self->pair[1], "iommu_group"));
	EXPECT_EQ(0, close(fd));
}

TEST_F_TIMEOUT(dma_pasid, forgotten_at_removal, 120)
{
	ASSERT_EQ(KERNEL_PASID, enable(self->fd, &self->info, KVA));
	ASSERT_EQ(0, forget(self->fd, &self->info));
	EXPECT_CORE_WARN(sysfs_write(&self->info, "remove", "1"));
	EXPECT_EQ(0, pci_rescan());
	EXPECT_SHOWN(&self->info, "mode", "");
}

/* In flight: all queues fill parts of a buffer, which is another file's and stays */
struct work {
	int fd;				/* the buffer's */
	struct kbuf buf;
	uint8_t *before;
	int pasid;
	uint64_t dst;
	struct ptd_test_request reqs[PTD_NR_QUEUES];
};

#define WORK_SIZE	(PTD_NR_QUEUES * SIZE)

static int work_buf(struct work *work)
{
	work->fd = open_test_device();
	if (work->fd < 0)
		return -ENODEV;
	work->before = malloc(WORK_SIZE);
	return kbuf_alloc(work->fd, DMA_PASID_TEST_PAGES, WORK_SIZE, &work->buf);
}

static void work_end(struct work *work)
{
	free(work->before);
	close(work->fd);
}

/*
 * Enables a mode and starts slow requests, a page in 500 ms; each has begun when it
 * returns. A quick one before puts all translations into whatever caches there are.
 */
static int work_start(struct _test_data_dma_pasid *self, struct work *work, unsigned int kind)
{
	long long end = now_ms() + 10000;
	int ret = 0, q;

	work->pasid = enable(self->fd, &self->info, kind);
	if (work->pasid < 0)
		return work->pasid;
	work->dst = kind == KVA ? work->buf.addr : work->buf.phys;
	if (kind == KVA)
		ret = map_kva(self->fd, &self->info, work->dst, WORK_SIZE, PROT_RW);
	ret = ret ?: run_fill(self->fd, work->pasid, work->dst, WORK_SIZE);
	if (ret != PTD_ST_OK)
		return ret < 0 ? ret : -EIO;
	memset(work->before, 0, WORK_SIZE);
	ret = kbuf_copy(work->fd, &work->buf, 0, work->before, WORK_SIZE, true);

	for (q = 0; q < PTD_NR_QUEUES; q++) {
		work->reqs[q] = fill_request(work->pasid, work->dst + q * SIZE, SIZE);
		work->reqs[q].queue = q;
		work->reqs[q].delay_us = 500000;
	}
	ret = ret ?: ptd_submit(self->fd, work->reqs, PTD_NR_QUEUES);
	while (!ret) {
		ret = ptd_status(self->fd, work->reqs, PTD_NR_QUEUES);
		for (q = 0; q < PTD_NR_QUEUES && work->reqs[q].moved; q++)
			;
		if (q == PTD_NR_QUEUES)
			break;
		if (now_ms() > end)
			return -ETIMEDOUT;
		usleep(1000);
	}
	return ret;
}

/* What is written now is all that ever is */
static int work_over(struct work *work)
{
	return kbuf_copy(work->fd, &work->buf, 0, work->before, WORK_SIZE, false);
}

static bool unchanged(struct work *work)
{
	uint8_t *now = malloc(WORK_SIZE);
	bool same = !kbuf_copy(work->fd, &work->buf, 0, now, WORK_SIZE, false) &&
		    !memcmp(now, work->before, WORK_SIZE);

	free(now);
	return same;
}

/* How many bytes a request has written, all from its beginning on; -1 if others, too */
static int written(const struct work *work, unsigned int q)
{
	const uint64_t *words = (const uint64_t *)(work->before + q * SIZE);
	unsigned int i, nr;

	for (nr = 0; nr < SIZE / 8 && words[nr] == FILL_PATTERN; nr++)
		;
	for (i = nr; i < SIZE / 8; i++)
		if (words[i])
			return -1;
	return nr * 8;
}

/* All were half done, ended with a fault, and tell the truth about it */
static bool all_faulted(const struct work *work)
{
	unsigned int q;

	for (q = 0; q < PTD_NR_QUEUES; q++) {
		const struct ptd_test_request *req = &work->reqs[q];

		if (req->status == PTD_ST_WRITE_FAULT && req->moved >= PAGE &&
		    req->moved < SIZE && req->fault_addr == req->dst + req->moved &&
		    written(work, q) == (int)req->moved)
			continue;
		printf("# queue %u: status %u moved %u fault address %#llx written %d\n", q,
		       req->status, req->moved, (unsigned long long)req->fault_addr,
		       written(work, q));
		return false;
	}
	return true;
}

/* The device goes on while its PASID is disabled */
TEST_F_TIMEOUT(dma_pasid, work_in_flight, 120)
{
	unsigned int kind = kva_works() ? KVA : BYPASS, q;
	struct work work = {};

	ASSERT_EQ(0, work_buf(&work));
	ASSERT_EQ(0, work_start(self, &work, kind));
	EXPECT_EQ(0, disable(self->fd, &self->info, kind));
	ASSERT_EQ(0, work_over(&work));
	for (q = 0; q < PTD_NR_QUEUES; q++)
		ASSERT_EQ(0, ptd_wait(self->fd, q, 1));
	ASSERT_EQ(0, ptd_status(self->fd, work.reqs, PTD_NR_QUEUES));
	EXPECT_TRUE(all_faulted(&work));
	EXPECT_TRUE(unchanged(&work));

	/* Its driver disables when it is unbound, and stops the device */
	ASSERT_EQ(0, work_start(self, &work, kind));
	EXPECT_EQ(0, rebind(&self->info, NULL));
	ASSERT_EQ(0, work_over(&work));
	usleep(500000);
	for (q = 0; q < PTD_NR_QUEUES; q++) {
		EXPECT_LE(PAGE, written(&work, q));
		EXPECT_GT(SIZE, written(&work, q));
	}
	EXPECT_TRUE(unchanged(&work));
	EXPECT_EQ(0, rebind(&self->info, "pasid_testdev"));
	work_end(&work);
}

/* The status of all requests when they have ended, of a device without driver */
static int status_without_driver(const struct ptd_test_info *info, struct work *work)
{
	long long end = now_ms() + 30000;
	char path[128];
	uint32_t *bar;
	int fd, q = 0;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource0", pci_name(info).text);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	bar = mmap(NULL, PTD_BAR_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (bar == MAP_FAILED)
		return -errno;
	while (q < PTD_NR_QUEUES && now_ms() < end) {
		struct ptd_test_request *req = &work->reqs[q];
		uint32_t *slot = bar + PTD_SLOT(q, 0) / 4;
		uint32_t *fault = slot + PTD_D_FAULT_ADDR / 4;

		req->status = __atomic_load_n(slot + PTD_D_STATUS / 4, __ATOMIC_SEQ_CST);
		if (req->status == PTD_ST_QUEUED || req->status == PTD_ST_RUNNING) {
			usleep(1000);
			continue;
		}
		req->moved = __atomic_load_n(slot + PTD_D_MOVED / 4, __ATOMIC_SEQ_CST);
		req->fault_addr = __atomic_load_n((uint64_t *)fault, __ATOMIC_SEQ_CST);
		q++;
	}
	munmap(bar, PTD_BAR_SIZE);
	return q == PTD_NR_QUEUES ? 0 : -ETIMEDOUT;
}

/* The driver neither disables nor stops the device: the core disables while it goes on */
TEST_F_TIMEOUT(dma_pasid, forgotten_in_flight, 120)
{
	unsigned int kind = kva_works() ? KVA : BYPASS;
	struct work work = {};

	ASSERT_EQ(0, work_buf(&work));
	ASSERT_EQ(0, test_ioctl(self->fd, PTD_TEST_CARELESS));
	ASSERT_EQ(0, work_start(self, &work, kind));
	ASSERT_EQ(0, forget(self->fd, &self->info));
	EXPECT_CORE_WARN(EXPECT_EQ(0, rebind(&self->info, NULL)));
	ASSERT_EQ(0, work_over(&work));
	EXPECT_SHOWN(&self->info, "mode", "");
	ASSERT_EQ(0, status_without_driver(&self->info, &work));
	EXPECT_TRUE(all_faulted(&work));
	EXPECT_TRUE(unchanged(&work));

	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(0, rebind(&self->info, "pasid_testdev"));
	self->fd = ptd_open(&self->info);
	ASSERT_LE(0, self->fd);
	EXPECT_TRUE(faults(self->fd, work.pasid, work.dst));
	work_end(&work);
}

/* A real reset: afterwards all PASIDs are as they were */
TEST_F_TIMEOUT(dma_pasid, reset, 120)
{
	int bypass = enable(self->fd, &self->info, BYPASS);
	int iova = enable(self->fd, &self->info, IOVA);
	int kva = enable(self->fd, &self->info, KVA);
	uint64_t from, to;

	ASSERT_EQ(KERNEL_PASID, bypass);
	ASSERT_LT(KERNEL_PASID, iova);
	ASSERT_LT(KERNEL_PASID, kva);
	if (kva_works()) {
		ASSERT_EQ(0, map_kva(self->fd, &self->info, self->src.addr, SIZE, PROT_R));
		ASSERT_EQ(0, map_kva(self->fd, &self->info, self->dst.addr, SIZE, PROT_RW));
	}
	ASSERT_EQ(0, dma_map(self->fd, &self->info, &self->src, 0, SIZE, false, &from));
	ASSERT_EQ(0, dma_map(self->fd, &self->info, &self->dst, 0, SIZE, false, &to));
	ASSERT_EQ(0, start_work(self->fd, iova, to));
	ASSERT_EQ(0, test_ioctl(self->fd, PTD_TEST_RESET));
	EXPECT_TRUE(moves(self, bypass, self->src.phys, self->dst.phys));
	EXPECT_TRUE(moves(self, iova, from, to));
	if (kva_works())
		EXPECT_TRUE(moves(self, kva, self->src.addr, self->dst.addr));
	EXPECT_EQ(0, disable(self->fd, &self->info, BYPASS));
	EXPECT_EQ(0, disable(self->fd, &self->info, KVA));
	EXPECT_TRUE(faults(self->fd, bypass, self->src.phys));
	EXPECT_TRUE(faults(self->fd, kva, self->src.addr));
}

/* Load */

struct load {
	const struct ptd_test_info *info;
	int fd;
	int pasid;
	unsigned int queue;
	uint64_t src;
	uint64_t dst;
	struct kbuf *to;
	uint32_t seed;
	unsigned int bad;
	unsigned int rounds;
	const bool *stop;
};

static void *load_thread(void *arg)
{
	struct load *load = arg;
	char zero[PAGE] = {};

	while (!__atomic_load_n(load->stop, __ATOMIC_RELAXED)) {
		struct ptd_test_request req = copy_request(load->pasid, load->src, load->dst, PAGE);

		req.queue = load->queue;
		if (kbuf_copy(load->fd, load->to, load->queue * PAGE, zero, PAGE, true) ||
		    ptd_run(load->fd, &req) != PTD_ST_OK ||
		    !kbuf_has_pattern(load->fd, load->to, load->queue * PAGE, PAGE, load->seed, 0))
			load->bad++;
		load->rounds++;
	}
	return NULL;
}

/* Two devices in one group and one in another, all modes, all queues */
TEST_F_TIMEOUT(dma_pasid, under_load, 240)
{
	const struct ptd_test_info *infos[] = { &self->info, &self->pair[0], &self->pair[1] };
	int fds[] = { self->fd, ptd_open(&self->pair[0]), ptd_open(&self->pair[1]) };
	struct load loads[ARRAY_SIZE(fds)][PTD_NR_QUEUES];
	pthread_t threads[ARRAY_SIZE(fds)][PTD_NR_QUEUES];
	struct kbuf from[ARRAY_SIZE(fds)], to[ARRAY_SIZE(fds)];
	int nr_modes = kva_works() ? NR_MODES : KVA;
	unsigned int seconds = long_run() ? 60 : 3;
	bool stop = false;
	unsigned int d, q, flips = 0;
	long long end;

	for (d = 0; d < ARRAY_SIZE(fds); d++) {
		uint64_t iova_from, iova_to;
		int pasids[NR_MODES], mode;

		ASSERT_LE(0, fds[d]);
		ASSERT_EQ(0, kbuf_alloc(fds[d], DMA_PASID_TEST_PAGES, PAGE, &from[d]));
		ASSERT_EQ(0, kbuf_alloc(fds[d], DMA_PASID_TEST_PAGES, PTD_NR_QUEUES * PAGE,
					&to[d]));
		ASSERT_EQ(0, kbuf_write_pattern(fds[d], &from[d], 10 + d));
		for (mode = 0; mode < nr_modes; mode++) {
			pasids[mode] = enable(fds[d], infos[d], mode);
			ASSERT_LT(0, pasids[mode]);
		}
		ASSERT_EQ(0, dma_map(fds[d], infos[d], &from[d], 0, PAGE, false, &iova_from));
		ASSERT_EQ(0, dma_map(fds[d], infos[d], &to[d], 0, to[d].size, false, &iova_to));
		if (kva_works()) {
			ASSERT_EQ(0, map_kva(fds[d], infos[d], from[d].addr, PAGE, PROT_R));
			ASSERT_EQ(0, map_kva(fds[d], infos[d], to[d].addr, to[d].size, PROT_RW));
		}
		for (q = 0; q < PTD_NR_QUEUES; q++) {
			int mode = q % nr_modes;
			uint64_t src[] = { from[d].phys, iova_from, from[d].addr };
			uint64_t dst[] = { to[d].phys, iova_to, to[d].addr };

			loads[d][q] = (struct load){
				.info = infos[d], .fd = fds[d], .pasid = pasids[mode], .queue = q,
				.src = src[mode], .dst = dst[mode] + q * PAGE, .to = &to[d],
				.seed = 10 + d, .stop = &stop,
			};
			ASSERT_EQ(0, pthread_create(&threads[d][q], NULL, load_thread,
						    &loads[d][q]));
		}
	}

	/* Meanwhile buffers and users come and go */
	end = now_ms() + seconds * 1000;
	while (now_ms() < end) {
		EXPECT_LT(0, enable(fds[1], infos[1], BYPASS));
		if (kva_works()) {
			EXPECT_EQ(0, map_kva(self->fd, &self->info, self->src.addr, SIZE, PROT_R));
			EXPECT_EQ(0, unmap_kva(self->fd, &self->info, self->src.addr, SIZE));
		}
		EXPECT_EQ(0, disable(fds[1], infos[1], BYPASS));
		flips++;
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (d = 0; d < ARRAY_SIZE(fds); d++) {
		for (q = 0; q < PTD_NR_QUEUES; q++) {
			EXPECT_EQ(0, pthread_join(threads[d][q], NULL));
			EXPECT_EQ(0, loads[d][q].bad);
			EXPECT_LT(0, loads[d][q].rounds);
		}
	}
	EXPECT_LT(0, flips);
	EXPECT_EQ(0, close(fds[1]));
	EXPECT_EQ(0, close(fds[2]));
}

TEST_HARNESS_MAIN
