// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel virtual addresses for devices in fast mode, with iommu.kva_fast=1: a
 * trusted device walks the kernel's page table, another one does not.
 *
 * profiles: kva-fast
 */
#include "dma_pasid_util.h"
#include "../kselftest_harness.h"

#include <sys/mman.h>
#include <sys/stat.h>

#define SIZE	(16 * PAGE)
#define MIB	(1024u * 1024)

#define TRACE	TRACING "/instances/dma_pasid_fast"
#define EVENT	TRACE "/events/intel_iommu/cache_tag_flush_range/enable"

FIXTURE(fast)
{
	int fd;
	int pasid;
	struct ptd_test_info info;
	struct ptd_test_info other;	/* of another group */
	struct ptd_test_info untrusted;
	struct kbuf src;
	struct kbuf dst;
};

FIXTURE_SETUP(fast)
{
	struct ptd_test_info infos[MAX_DEVICES];
	int nr = find_devices(true, true, infos, MAX_DEVICES), i, found = 0;

	for (i = 0; i < nr; i++) {
		if (is_external(&infos[i])) {
			self->untrusted = infos[i];
			found |= 1;
		} else if (!(found & 2)) {
			self->info = infos[i];
			found |= 2;
		} else {
			self->other = infos[i];
			found |= 4;
		}
	}
	ASSERT_EQ(7, found);
	self->fd = ptd_open(&self->info);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, kbuf_alloc(self->fd, DMA_PASID_TEST_PAGES, SIZE, &self->src));
	ASSERT_EQ(0, kbuf_alloc(self->fd, DMA_PASID_TEST_PAGES, SIZE, &self->dst));
	ASSERT_EQ(0, kbuf_write_pattern(self->fd, &self->src, 1));
	self->pasid = enable(self->fd, &self->info, KVA);
	ASSERT_EQ(KERNEL_PASID, self->pasid);
}

FIXTURE_TEARDOWN(fast)
{
	EXPECT_EQ(0, close(self->fd));
}

static int priv_copy(struct _test_data_fast *self, uint64_t src, uint64_t dst, uint32_t len)
{
	return run_privileged(self->fd, copy_request(self->pasid, src, dst, len));
}

static int priv_fill(struct _test_data_fast *self, uint64_t dst, uint32_t len)
{
	return run_privileged(self->fd, fill_request(self->pasid, dst, len));
}

/* Nothing was mapped, and it works */
TEST_F(fast, kernel_table)
{
	EXPECT_SHOWN(&self->info, "kva", "pasid 1 mode kva fast count 1 pages 0");
	EXPECT_EQ(PTD_ST_OK, priv_copy(self, self->src.addr, self->dst.addr, SIZE));
	EXPECT_TRUE(kbuf_has_pattern(self->fd, &self->dst, 0, SIZE, 1, 0));
	/* The kernel's pages are the supervisor's */
	EXPECT_TRUE(faults(self->fd, self->pasid, self->src.addr));
	/* Half of the address space is not the kernel's */
	EXPECT_EQ(PTD_ST_WRITE_FAULT, priv_fill(self, PAGE, 8));

	EXPECT_EQ(0, disable(self->fd, &self->info, KVA));
	EXPECT_EQ(PTD_ST_WRITE_FAULT, priv_fill(self, self->dst.addr, 8));
	EXPECT_TRUE(kbuf_has_pattern(self->fd, &self->dst, 0, SIZE, 1, 0));
}

static uint64_t symbol(const char *name)
{
	unsigned long long addr, found = 0;
	char line[512], text[256];
	FILE *file = fopen("/proc/kallsyms", "r");

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "%llx %*c %255s", &addr, text) == 2 && !strcmp(text, name))
			found = addr;
	if (file)
		fclose(file);
	return found;
}

/* What the kernel may not write, no device writes */
TEST_F(fast, write_protected)
{
	uint64_t text = symbol("vmalloc_noprof") & -16ull;

	ASSERT_LT(1ull << 63, text);
	EXPECT_EQ(PTD_ST_OK, priv_copy(self, text, self->dst.addr, 16));
	EXPECT_EQ(PTD_ST_WRITE_FAULT, priv_copy(self, self->dst.addr, text, 16));
}

/* Mapping validates and counts as in strict mode, and changes nothing */
TEST_F(fast, counted)
{
	uint64_t addr = self->src.addr;
	struct kbuf vmalloc;

	ASSERT_EQ(0, kbuf_alloc(self->fd, DMA_PASID_TEST_VMALLOC, SIZE, &vmalloc));
	EXPECT_EQ(-EINVAL, map_kva(self->fd, &self->info, vmalloc.addr, SIZE, PROT_R));
	EXPECT_EQ(-EINVAL, unmap_kva(self->fd, &self->info, vmalloc.addr, SIZE));
	EXPECT_EQ(-EINVAL, map_kva(self->fd, &self->info, 0, SIZE, PROT_R));
	EXPECT_EQ(-EINVAL, map_special(self->fd, &self->info, DMA_PASID_TEST_TEXT, PROT_RW));
	EXPECT_EQ(-EINVAL, map_special(self->fd, &self->info, DMA_PASID_TEST_STACK, PROT_R));

	EXPECT_EQ(-ENOENT, unmap_kva(self->fd, &self->info, addr, SIZE));
	EXPECT_EQ(0, map_kva(self->fd, &self->info, addr, SIZE, PROT_R));
	EXPECT_EQ(-EBUSY, map_kva(self->fd, &self->info, addr, SIZE, PROT_RW));
	EXPECT_EQ(0, map_kva(self->fd, &self->info, addr, PAGE, PROT_R));
	EXPECT_SHOWN(&self->info, "kva", "pasid 1 mode kva fast count 1 pages 16");
	EXPECT_EQ(0, unmap_kva(self->fd, &self->info, addr, SIZE));
	EXPECT_SHOWN(&self->info, "kva", "pasid 1 mode kva fast count 1 pages 1");
	EXPECT_EQ(-ENOENT, unmap_kva(self->fd, &self->info, addr, SIZE));
	EXPECT_EQ(0, unmap_kva(self->fd, &self->info, addr, PAGE));
	/* It stays reachable */
	EXPECT_EQ(PTD_ST_OK, priv_fill(self, addr, 8));
}

/* Caches of the IOMMU and of the device know addresses that the kernel gives up */
TEST_F(fast, freed_addresses)
{
	struct kbuf vmalloc;
	int round;

	for (round = 0; round < 4; round++) {
		ASSERT_EQ(0, kbuf_alloc(self->fd, DMA_PASID_TEST_VMALLOC, SIZE, &vmalloc));
		EXPECT_EQ(PTD_ST_OK, priv_fill(self, vmalloc.addr, SIZE));
		EXPECT_EQ(PTD_ST_OK, priv_copy(self, vmalloc.addr, self->dst.addr, SIZE));
		ASSERT_EQ(0, kbuf_free(self->fd, &vmalloc));
		ASSERT_EQ(0, test_ioctl(self->fd, DMA_PASID_TEST_PURGE));
		EXPECT_EQ(PTD_ST_WRITE_FAULT, priv_fill(self, vmalloc.addr, 8));
		EXPECT_EQ(PTD_ST_READ_FAULT,
			  priv_copy(self, vmalloc.addr + SIZE - 64, self->dst.addr, 64));
	}
}

/* A page that the kernel loses in the direct map, the device loses as well */
TEST_F(fast, hidden_page)
{
	struct kbuf buf;

	ASSERT_EQ(0, kbuf_alloc(self->fd, DMA_PASID_TEST_PAGES, PAGE, &buf));
	EXPECT_EQ(PTD_ST_OK, priv_fill(self, buf.addr, PAGE));
	EXPECT_EQ(PTD_ST_OK, priv_copy(self, buf.addr, self->dst.addr, PAGE));
	ASSERT_EQ(0, test_ioctl(self->fd, DMA_PASID_TEST_HIDE, &buf.index));
	EXPECT_EQ(PTD_ST_WRITE_FAULT, priv_fill(self, buf.addr, 8));
	EXPECT_EQ(PTD_ST_READ_FAULT, priv_copy(self, buf.addr, self->dst.addr, 8));
	EXPECT_EQ(-EINVAL, map_kva(self->fd, &self->info, buf.addr, PAGE, PROT_R));
	EXPECT_EQ(0, kbuf_free(self->fd, &buf));
}

/* Each device forgets what the kernel gives up: of other groups, and of the same */
TEST_F(fast, several_devices)
{
	struct ptd_test_info pair[2];
	struct kbuf vmalloc;
	int fds[4], i;

	ASSERT_EQ(2, find_devices(false, true, pair, 2));
	fds[0] = self->fd;
	fds[1] = ptd_open(&self->other);
	fds[2] = ptd_open(&pair[0]);
	fds[3] = ptd_open(&pair[1]);
	ASSERT_EQ(KERNEL_PASID, enable(fds[1], &self->other, KVA));
	ASSERT_EQ(KERNEL_PASID, enable(fds[2], &pair[0], KVA));
	EXPECT_SHOWN(&pair[0], "kva", "pasid 1 mode kva fast count 1 pages 0");

	ASSERT_EQ(0, kbuf_alloc(self->fd, DMA_PASID_TEST_VMALLOC, SIZE, &vmalloc));
	for (i = 0; i < 4; i++)
		EXPECT_EQ(PTD_ST_OK, run_privileged(fds[i], fill_request(KERNEL_PASID,
									 vmalloc.addr, SIZE)));
	ASSERT_EQ(0, kbuf_free(self->fd, &vmalloc));
	ASSERT_EQ(0, test_ioctl(self->fd, DMA_PASID_TEST_PURGE));
	for (i = 0; i < 4; i++)
		EXPECT_EQ(PTD_ST_WRITE_FAULT,
			  run_privileged(fds[i], fill_request(KERNEL_PASID, vmalloc.addr, 8)));

	/* One ends, the others go on */
	EXPECT_EQ(0, disable(fds[1], &self->other, KVA));
	for (i = 0; i < 4; i++)
		EXPECT_EQ(i == 1 ? PTD_ST_WRITE_FAULT : PTD_ST_OK,
			  run_privileged(fds[i], fill_request(KERNEL_PASID, self->dst.addr, 8)));
	for (i = 1; i < 4; i++)
		EXPECT_EQ(0, close(fds[i]));
}

/* A process's PASID has nothing of it, though its page table has the kernel's half */
TEST_F(fast, beside_sva)
{
	uint32_t sva;
	void *user;

	user = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, user);
	ASSERT_EQ(0, mlock(user, PAGE));
	ASSERT_EQ(0, test_ioctl(self->fd, PTD_TEST_SVA_BIND, &sva));
	EXPECT_LT(KERNEL_PASID, sva);
	EXPECT_EQ(PTD_ST_OK, run_fill(self->fd, sva, (uintptr_t)user, PAGE));
	EXPECT_TRUE(faults(self->fd, sva, self->dst.addr));
	EXPECT_EQ(PTD_ST_WRITE_FAULT,
		  run_privileged(self->fd, fill_request(sva, self->dst.addr, 8)));
	EXPECT_EQ(PTD_ST_WRITE_FAULT, priv_fill(self, (uintptr_t)user, 8));
	EXPECT_EQ(PTD_ST_OK, priv_fill(self, self->dst.addr, 8));
	ASSERT_EQ(0, test_ioctl(self->fd, PTD_TEST_SVA_UNBIND));
	munmap(user, PAGE);
}

/* The PASID is there again after a reset, as it was */
TEST_F_TIMEOUT(fast, reset, 120)
{
	ASSERT_EQ(0, test_ioctl(self->fd, PTD_TEST_RESET));
	EXPECT_EQ(PTD_ST_OK, priv_copy(self, self->src.addr, self->dst.addr, SIZE));
	EXPECT_TRUE(kbuf_has_pattern(self->fd, &self->dst, 0, SIZE, 1, 0));
	EXPECT_TRUE(faults(self->fd, self->pasid, self->src.addr));
	EXPECT_EQ(0, disable(self->fd, &self->info, KVA));
	EXPECT_EQ(PTD_ST_WRITE_FAULT, priv_fill(self, self->dst.addr, 8));
}

/* What cannot send privileged requests has no use for the kernel's page table */
TEST_F_TIMEOUT(fast, without_privilege, 120)
{
	struct ptd_test_info plain;
	int fd;

	ASSERT_EQ(0, plug("id=plain0,pasid-priv=off", &plain));
	ASSERT_TRUE(plain.pasid_enabled);
	fd = ptd_open(&plain);
	ASSERT_LE(0, fd);
	ASSERT_EQ(KERNEL_PASID, enable(fd, &plain, KVA));
	EXPECT_SHOWN(&plain, "kva", "pasid 1 mode kva strict count 1 pages 0");
	ASSERT_EQ(0, map_kva(fd, &plain, self->dst.addr, SIZE, PROT_RW));
	EXPECT_EQ(PTD_ST_OK, run_fill(fd, KERNEL_PASID, self->dst.addr, SIZE));
	EXPECT_TRUE(faults(fd, KERNEL_PASID, self->src.addr));
	EXPECT_EQ(0, close(fd));
	EXPECT_EQ(0, unplug("plain0", &plain));
}

static int trace_on(void)
{
	int ret = mkdir(TRACE, 0700) && errno != EEXIST ? -errno : 0;

	ret = ret ?: write_file(EVENT, "1");
	return ret ?: empty_file(TRACE "/trace");
}

static void trace_off(void)
{
	write_file(EVENT, "0");
	rmdir(TRACE);
}

/*
 * Invalidations of the device's cache for the PASID since trace_on() that begin
 * so, and reach as far at least
 */
static int traced_flushes(struct _test_data_fast *self, uint64_t first, uint64_t last)
{
	char who[32], line[512], *text;
	unsigned long long from, to;
	int nr = 0;
	FILE *file;

	snprintf(who, sizeof(who), "%s[%d] type devtlb", pci_name(&self->info).text, self->pasid);
	file = fopen(TRACE "/trace", "r");
	while (file && fgets(line, sizeof(line), file)) {
		text = strstr(line, who) ? strstr(line, "[0x") : NULL;
		nr += text && sscanf(text, "[0x%llx-0x%llx]", &from, &to) == 2 &&
		      from == first && to >= last;
	}
	if (file)
		fclose(file);
	return nr;
}

/*
 * Where a table of small pages was, there is a leaf of 2 MiB now. The table is
 * freed, which neither IOMMU nor device may walk any more then: caches of tables
 * are emulated by nobody, so it is the invalidations that are looked at.
 */
TEST_F(fast, freed_table)
{
	struct kbuf small, huge;
	long long end;
	int i;

	ASSERT_EQ(0, kbuf_alloc(self->fd, DMA_PASID_TEST_VMALLOC, 16 * MIB, &small));
	ASSERT_EQ(1, small.level);
	for (i = 0; i < 16; i++)
		EXPECT_EQ(PTD_ST_OK, priv_fill(self, small.addr + i * MIB, SIZE));
	ASSERT_EQ(0, kbuf_free(self->fd, &small));
	ASSERT_EQ(0, test_ioctl(self->fd, DMA_PASID_TEST_PURGE));

	ASSERT_EQ(0, trace_on());
	for (i = 0; i < 16; i++) {
		ASSERT_EQ(0, kbuf_alloc(self->fd, DMA_PASID_TEST_HUGE, 2 * MIB, &huge));
		if (huge.addr >= small.addr && huge.addr + 2 * MIB <= small.addr + 16 * MIB)
			break;
	}
	ASSERT_GT(16, i);
	ASSERT_EQ(2, huge.level);
	/* The table is out of use */
	EXPECT_LE(1, traced_flushes(self, huge.addr, huge.addr));

	ASSERT_EQ(0, kbuf_write_pattern(self->fd, &huge, 3));
	EXPECT_EQ(PTD_ST_OK, priv_copy(self, huge.addr, self->dst.addr, SIZE));
	EXPECT_TRUE(kbuf_has_pattern(self->fd, &self->dst, 0, SIZE, 3, 0));
	EXPECT_EQ(PTD_ST_OK, priv_copy(self, huge.addr + MIB, self->dst.addr, SIZE));
	EXPECT_TRUE(kbuf_has_pattern(self->fd, &self->dst, 0, SIZE, 3, MIB));

	/* And it is freed a while later */
	end = now_ms() + 5000;
	while (!traced_flushes(self, 0, ~0ull) && now_ms() < end)
		usleep(20000);
	EXPECT_LE(1, traced_flushes(self, 0, ~0ull));
	trace_off();
}

/* One invalidation for each change, beyond the first, which splits a large page */
TEST_F(fast, changed_attributes)
{
	int i, nr, least = INT_MAX;

	ASSERT_EQ(0, test_ioctl(self->fd, DMA_PASID_TEST_UNCACHE, &self->src.index));
	/* The kernel may flush for reasons of its own, but not each time */
	for (i = 0; i < 5 && least != 2; i++) {
		ASSERT_EQ(0, trace_on());
		ASSERT_EQ(0, test_ioctl(self->fd, DMA_PASID_TEST_UNCACHE, &self->src.index));
		nr = traced_flushes(self, 0, ~0ull);
		least = nr < least ? nr : least;
		trace_off();
	}
	EXPECT_EQ(2, least);
}

/* Nobody asks who is not trusted */
TEST_F(fast, untrusted_is_strict)
{
	int fd = ptd_open(&self->untrusted);

	ASSERT_LE(0, fd);
	ASSERT_EQ(KERNEL_PASID, enable(fd, &self->untrusted, KVA));
	EXPECT_SHOWN(&self->untrusted, "kva", "pasid 1 mode kva strict count 1 pages 0");
	EXPECT_TRUE(faults(fd, KERNEL_PASID, self->src.addr));
	EXPECT_EQ(PTD_ST_WRITE_FAULT,
		  run_privileged(fd, fill_request(KERNEL_PASID, self->src.addr, 8)));
	EXPECT_EQ(0, close(fd));
}

TEST_HARNESS_MAIN
