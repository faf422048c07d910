// SPDX-License-Identifier: GPL-2.0
/*
 * DMA with PASIDs by the emulated test device, with the kernel's ordinary calls:
 * domains of its own, iommu_attach_device_pasid(), SVA, hot-unplug, reset.
 *
 * profiles: first-stage second-stage ats
 */
#include <pthread.h>
#include <sys/mman.h>

#include "iommu_ext_util.h"
#include "../kselftest_harness.h"

#define PAGE		4096u
#define SIZE		(16 * PAGE)
#define WORDS		(SIZE / sizeof(uint64_t))
#define MAX_DEVICES	32
#define NR_PASIDS	8

/* Where buffers are mapped in domains of our own */
#define SRC_IOVA	0x10000000ull
#define DST_IOVA	0x20000000ull

#define FILL_PATTERN	0xf111f111f111f111ull

static bool ats(void)
{
	return in_profile("ats");
}

static void make_pattern(uint64_t *words, uint64_t seed)
{
	size_t i;

	for (i = 0; i < WORDS; i++)
		words[i] = seed << 32 | i;
}

static bool all_words(const uint64_t *words, size_t nr, uint64_t value)
{
	while (nr--)
		if (*words++ != value)
			return false;
	return true;
}

/* The first device that is alone in its group and whose PASIDs are (not) enabled */
static bool find_single(int fd, bool pasids, int skip, struct ptd_test_info *found)
{
	struct ptd_test_info infos[MAX_DEVICES];
	int nr = ptd_list(fd, infos, MAX_DEVICES);
	int i, j;

	for (i = 0; i < nr; i++) {
		for (j = 0; j < nr; j++)
			if (j != i && infos[j].group == infos[i].group)
				break;
		if (j < nr || infos[i].group < 0 || infos[i].pasid_enabled != pasids || skip--)
			continue;
		*found = infos[i];
		return true;
	}
	return false;
}

/* Two functions of one device that share a group, or that do not */
static bool find_pair(int fd, bool share, struct ptd_test_info *pair)
{
	struct ptd_test_info infos[MAX_DEVICES];
	int nr = ptd_list(fd, infos, MAX_DEVICES);
	int i, j;

	for (i = 0; i < nr; i++) {
		for (j = i + 1; j < nr; j++) {
			bool shared = infos[j].group == infos[i].group;

			if (infos[j].bus != infos[i].bus || shared != share ||
			    infos[j].devfn >> 3 != infos[i].devfn >> 3)
				continue;
			pair[0] = infos[i];
			pair[1] = infos[j];
			return true;
		}
	}
	return false;
}

static bool is_there(const struct ptd_test_info *info)
{
	struct ptd_test_info infos[MAX_DEVICES];
	int fd = open_test_device();
	int nr = ptd_list(fd, infos, MAX_DEVICES);
	bool found = false;

	while (nr--)
		found |= infos[nr].segment == info->segment && infos[nr].bus == info->bus &&
			 infos[nr].devfn == info->devfn;
	close(fd);
	return found;
}

static bool wait_until_there(const struct ptd_test_info *info, bool there)
{
	long long end = now_ms() + 30000;

	while (is_there(info) != there) {
		if (now_ms() > end)
			return false;
		usleep(20000);
	}
	return true;
}

struct pci_name {
	char text[16];
};

static struct pci_name pci_name(const struct ptd_test_info *info)
{
	struct pci_name name;

	snprintf(name.text, sizeof(name.text), "%04x:%02x:%02x.%u", info->segment & 0xffff,
		 info->bus & 0xff, info->devfn >> 3 & 0x1f, info->devfn & 7);
	return name;
}

static int sysfs_write(const struct ptd_test_info *info, const char *file, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", pci_name(info).text, file);
	return write_file(path, text);
}

static int driver_write(const struct ptd_test_info *info, const char *file)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/bus/pci/drivers/pasid_testdev/%s", file);
	return write_file(path, pci_name(info).text);
}

static int open_config(const struct ptd_test_info *info)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", pci_name(info).text);
	return open(path, O_RDWR | O_CLOEXEC);
}

/* Offset of an extended capability, 0 for none */
static int find_ext_cap(int config, uint16_t id)
{
	uint32_t header = 0;
	int pos = 0x100;

	while (pos >= 0x100 && pread(config, &header, 4, pos) == 4 && header) {
		if ((header & 0xffff) == id)
			return pos;
		pos = header >> 20;
	}
	return 0;
}

static struct ptd_test_request copy_request(uint32_t pasid, uint64_t src, uint64_t dst,
					    uint32_t len)
{
	return (struct ptd_test_request){
		.ctrl = PTD_OP_COPY | (pasid ? PTD_F_PASID : 0), .pasid = pasid,
		.src = src, .dst = dst, .len = len,
	};
}

static struct ptd_test_request fill_request(uint32_t pasid, uint64_t dst, uint32_t len)
{
	return (struct ptd_test_request){
		.ctrl = PTD_OP_FILL | (pasid ? PTD_F_PASID : 0), .pasid = pasid,
		.dst = dst, .len = len, .pattern = FILL_PATTERN,
	};
}

static int run_copy(int fd, uint32_t pasid, uint64_t src, uint64_t dst, uint32_t len)
{
	struct ptd_test_request req = copy_request(pasid, src, dst, len);

	return ptd_run(fd, &req);
}

static int run_fill(int fd, uint32_t pasid, uint64_t dst, uint32_t len)
{
	struct ptd_test_request req = fill_request(pasid, dst, len);

	return ptd_run(fd, &req);
}

/* A device of its own with a domain that maps @src and @dst */
FIXTURE(pasid_testdev)
{
	int fd;
	struct ptd_test_info info;
	uint32_t domain;
	uint32_t src;
	uint32_t dst;
	uint32_t pasid[NR_PASIDS];
	uint64_t *pattern;
	uint64_t *seen;
};

static int open_with_domain(struct _test_data_pasid_testdev *self)
{
	int i, ret;

	self->fd = ptd_open(&self->info);
	if (self->fd < 0)
		return self->fd;
	ret = test_ioctl(self->fd, PTD_TEST_DOMAIN_ALLOC, &self->domain);
	ret = ret ?: ptd_buf_alloc(self->fd, SIZE, false, &self->src, NULL);
	ret = ret ?: ptd_buf_alloc(self->fd, SIZE, false, &self->dst, NULL);
	ret = ret ?: ptd_map(self->fd, self->domain, self->src, SRC_IOVA, true);
	ret = ret ?: ptd_map(self->fd, self->domain, self->dst, DST_IOVA, true);
	ret = ret ?: ptd_buf_write(self->fd, self->src, self->pattern, SIZE);
	for (i = 0; i < NR_PASIDS && !ret; i++)
		ret = ptd_pasid_alloc(self->fd, &self->info, &self->pasid[i]);
	return ret;
}

FIXTURE_SETUP(pasid_testdev)
{
	int fd = open_test_device();

	ASSERT_LE(0, fd);
	ASSERT_TRUE(find_single(fd, true, 0, &self->info));
	close(fd);
	EXPECT_EQ(ats(), self->info.ats_enabled);
	EXPECT_EQ(1u << 20, self->info.max_pasids);

	self->pattern = malloc(SIZE);
	self->seen = malloc(SIZE);
	make_pattern(self->pattern, 1);
	ASSERT_EQ(0, open_with_domain(self));
}

FIXTURE_TEARDOWN(pasid_testdev)
{
	EXPECT_EQ(0, close(self->fd));
	free(self->pattern);
	free(self->seen);
}

static bool dst_is(struct _test_data_pasid_testdev *self, const uint64_t *expected)
{
	return !ptd_buf_read(self->fd, self->dst, self->seen, SIZE) &&
	       !memcmp(self->seen, expected, SIZE);
}

static bool dst_is_zero(struct _test_data_pasid_testdev *self)
{
	return !ptd_buf_read(self->fd, self->dst, self->seen, SIZE) &&
	       all_words(self->seen, WORDS, 0);
}

/* Read and write faults, and nothing has moved */
static bool pasid_faults(struct _test_data_pasid_testdev *self, uint32_t pasid)
{
	struct ptd_test_request copy = copy_request(pasid, SRC_IOVA, DST_IOVA, SIZE);
	struct ptd_test_request fill = fill_request(pasid, DST_IOVA, SIZE);

	return ptd_run(self->fd, &copy) == PTD_ST_READ_FAULT && !copy.moved &&
	       copy.fault_addr == SRC_IOVA &&
	       ptd_run(self->fd, &fill) == PTD_ST_WRITE_FAULT && !fill.moved &&
	       fill.fault_addr == DST_IOVA;
}

TEST_F(pasid_testdev, dma_api)
{
	uint32_t src, dst;
	uint64_t from, to;

	ASSERT_EQ(0, ptd_buf_alloc(self->fd, SIZE, true, &src, &from));
	ASSERT_EQ(0, ptd_buf_alloc(self->fd, SIZE, true, &dst, &to));
	ASSERT_EQ(0, ptd_buf_write(self->fd, src, self->pattern, SIZE));
	EXPECT_EQ(PTD_ST_OK, run_copy(self->fd, 0, from, to, SIZE));
	ASSERT_EQ(0, ptd_buf_read(self->fd, dst, self->seen, SIZE));
	EXPECT_EQ(0, memcmp(self->pattern, self->seen, SIZE));
}

/* The main thing */
TEST_F(pasid_testdev, attach_detach)
{
	uint32_t pasid = self->pasid[0];

	EXPECT_TRUE(pasid_faults(self, pasid));
	EXPECT_TRUE(dst_is_zero(self));

	ASSERT_EQ(0, ptd_attach(self->fd, self->domain, pasid));
	EXPECT_EQ(PTD_ST_OK, run_copy(self->fd, pasid, SRC_IOVA, DST_IOVA, SIZE));
	EXPECT_TRUE(dst_is(self, self->pattern));
	EXPECT_EQ(PTD_ST_OK, run_fill(self->fd, pasid, DST_IOVA, SIZE));
	ASSERT_EQ(0, ptd_buf_read(self->fd, self->dst, self->seen, SIZE));
	EXPECT_TRUE(all_words(self->seen, WORDS, FILL_PATTERN));

	memset(self->seen, 0, SIZE);
	ASSERT_EQ(0, ptd_buf_write(self->fd, self->dst, self->seen, SIZE));
	ASSERT_EQ(0, ptd_detach(self->fd, pasid));
	EXPECT_TRUE(pasid_faults(self, pasid));
	EXPECT_TRUE(dst_is_zero(self));

	/* And once more */
	ASSERT_EQ(0, ptd_attach(self->fd, self->domain, pasid));
	EXPECT_EQ(PTD_ST_OK, run_copy(self->fd, pasid, SRC_IOVA, DST_IOVA, SIZE));
	EXPECT_TRUE(dst_is(self, self->pattern));
}

/* The translation cache is used in profile ats only, and emptied by detach */
TEST_F(pasid_testdev, translation_cache)
{
	uint32_t pasid = self->pasid[0];
	uint64_t hits, fills, entries, invals;

	ASSERT_EQ(0, ptd_attach(self->fd, self->domain, pasid));
	hits = ptd_read(self->fd, PTD_REG_ATC_HITS, 4);
	fills = ptd_read(self->fd, PTD_REG_ATC_FILLS, 4);
	EXPECT_EQ(PTD_ST_OK, run_copy(self->fd, pasid, SRC_IOVA, DST_IOVA, SIZE));
	EXPECT_EQ(PTD_ST_OK, run_copy(self->fd, pasid, SRC_IOVA, DST_IOVA, SIZE));
	hits = ptd_read(self->fd, PTD_REG_ATC_HITS, 4) - hits;
	fills = ptd_read(self->fd, PTD_REG_ATC_FILLS, 4) - fills;
	entries = ptd_read(self->fd, PTD_REG_ATC_ENTRIES, 4);
	invals = ptd_read(self->fd, PTD_REG_ATC_INVALS, 4);
	if (ats()) {
		EXPECT_EQ(32, fills);
		EXPECT_EQ(32, entries);
		EXPECT_LE(32, hits);
	} else {
		EXPECT_EQ(0, fills);
		EXPECT_EQ(0, entries);
		EXPECT_EQ(0, hits);
		EXPECT_EQ(0, invals);
	}

	ASSERT_EQ(0, ptd_detach(self->fd, pasid));
	EXPECT_EQ(0, ptd_read(self->fd, PTD_REG_ATC_ENTRIES, 4));
	EXPECT_EQ(ats(), ptd_read(self->fd, PTD_REG_ATC_INVALS, 4) > invals);
}

/* What dma_alloc_coherent() returned works through a PASID of the default domain */
TEST_F(pasid_testdev, default_domain)
{
	uint32_t pasid = self->pasid[0], buf;
	uint64_t addr;

	ASSERT_EQ(0, ptd_buf_alloc(self->fd, SIZE, true, &buf, &addr));
	EXPECT_EQ(PTD_ST_WRITE_FAULT, run_fill(self->fd, pasid, addr, SIZE));
	ASSERT_EQ(0, ptd_attach(self->fd, PTD_TEST_DEFAULT_DOMAIN, pasid));
	EXPECT_EQ(PTD_ST_OK, run_fill(self->fd, pasid, addr, SIZE));
	ASSERT_EQ(0, ptd_buf_read(self->fd, buf, self->seen, SIZE));
	EXPECT_TRUE(all_words(self->seen, WORDS, FILL_PATTERN));
	ASSERT_EQ(0, ptd_detach(self->fd, pasid));
	EXPECT_EQ(PTD_ST_WRITE_FAULT, run_fill(self->fd, pasid, addr, SIZE));
}

/* Requests without PASID, with this one, with another one: three address spaces */
TEST_F(pasid_testdev, address_spaces)
{
	uint64_t addr;
	uint32_t buf;

	ASSERT_EQ(0, ptd_buf_alloc(self->fd, SIZE, true, &buf, &addr));
	ASSERT_EQ(0, ptd_attach(self->fd, self->domain, self->pasid[0]));
	EXPECT_EQ(PTD_ST_OK, run_fill(self->fd, 0, addr, SIZE));
	EXPECT_EQ(PTD_ST_WRITE_FAULT, run_fill(self->fd, self->pasid[0], addr, SIZE));
	EXPECT_EQ(PTD_ST_OK, run_fill(self->fd, self->pasid[0], DST_IOVA, SIZE));
	EXPECT_EQ(PTD_ST_WRITE_FAULT, run_fill(self->fd, 0, DST_IOVA, SIZE));
	EXPECT_EQ(PTD_ST_WRITE_FAULT, run_fill(self->fd, self->pasid[1], DST_IOVA, SIZE));
	EXPECT_EQ(PTD_ST_WRITE_FAULT, run_fill(self->fd, self->pasid[1], addr, SIZE));
}

TEST_F(pasid_testdev, read_only_mapping)
{
	uint32_t pasid = self->pasid[0], buf;
	uint64_t iova = DST_IOVA + SIZE;

	ASSERT_EQ(0, ptd_buf_alloc(self->fd, SIZE, false, &buf, NULL));
	ASSERT_EQ(0, ptd_map(self->fd, self->domain, buf, iova, false));
	ASSERT_EQ(0, ptd_attach(self->fd, self->domain, pasid));
	EXPECT_EQ(PTD_ST_OK, run_copy(self->fd, pasid, iova, DST_IOVA, SIZE));
	EXPECT_EQ(PTD_ST_WRITE_FAULT, run_copy(self->fd, pasid, SRC_IOVA, iova, SIZE));
	ASSERT_EQ(0, ptd_buf_read(self->fd, buf, self->seen, SIZE));
	EXPECT_TRUE(all_words(self->seen, WORDS, 0));
}

/* How far a request came, and on which side it stopped */
TEST_F(pasid_testdev, partial)
{
	struct ptd_test_request req;
	uint32_t pasid = self->pasid[0];
	uint64_t last = SIZE - PAGE;

	ASSERT_EQ(0, ptd_attach(self->fd, self->domain, pasid));
	req = copy_request(pasid, SRC_IOVA + last, DST_IOVA, 2 * PAGE);
	EXPECT_EQ(PTD_ST_READ_FAULT, ptd_run(self->fd, &req));
	EXPECT_EQ(PAGE, req.moved);
	EXPECT_EQ(SRC_IOVA + SIZE, req.fault_addr);
	req = copy_request(pasid, SRC_IOVA, DST_IOVA + last, 2 * PAGE);
	EXPECT_EQ(PTD_ST_WRITE_FAULT, ptd_run(self->fd, &req));
	EXPECT_EQ(PAGE, req.moved);
	EXPECT_EQ(DST_IOVA + SIZE, req.fault_addr);

	ASSERT_EQ(0, ptd_buf_read(self->fd, self->dst, self->seen, SIZE));
	EXPECT_EQ(0, memcmp(self->seen, (char *)self->pattern + last, PAGE));
	EXPECT_EQ(0, memcmp((char *)self->seen + last, self->pattern, PAGE));
	EXPECT_TRUE(all_words(self->seen + PAGE / 8, WORDS - 2 * PAGE / 8, 0));
}

/* After iommu_unmap() the old page is out of reach, whatever takes its place */
TEST_F(pasid_testdev, unmap)
{
	uint32_t pasid = self->pasid[0], other;

	ASSERT_EQ(0, ptd_buf_alloc(self->fd, SIZE, false, &other, NULL));
	ASSERT_EQ(0, ptd_attach(self->fd, self->domain, pasid));
	EXPECT_EQ(PTD_ST_OK, run_copy(self->fd, pasid, SRC_IOVA, DST_IOVA, SIZE));
	ASSERT_EQ(0, ptd_unmap(self->fd, self->domain, self->dst, DST_IOVA));
	EXPECT_EQ(PTD_ST_WRITE_FAULT, run_fill(self->fd, pasid, DST_IOVA, SIZE));
	EXPECT_TRUE(dst_is(self, self->pattern));

	ASSERT_EQ(0, ptd_map(self->fd, self->domain, other, DST_IOVA, true));
	EXPECT_EQ(PTD_ST_OK, run_fill(self->fd, pasid, DST_IOVA, SIZE));
	EXPECT_TRUE(dst_is(self, self->pattern));
	ASSERT_EQ(0, ptd_buf_read(self->fd, other, self->seen, SIZE));
	EXPECT_TRUE(all_words(self->seen, WORDS, FILL_PATTERN));

	/* The other mapping was not touched by this */
	EXPECT_EQ(PTD_ST_OK, run_copy(self->fd, pasid, SRC_IOVA, DST_IOVA, SIZE));
}

/*
 * Eight domains map a buffer of their own at the same address. Every queue has
 * requests for all of them, each for a place of its own, and all are in flight
 * before the first begins.
 */
TEST_F_TIMEOUT(pasid_testdev, eight_pasids, 120)
{
	struct ptd_test_request reqs[PTD_NR_QUEUES * PTD_NR_SLOTS] = {};
	const uint32_t piece = SIZE / ARRAY_SIZE(reqs);
	uint32_t domain[NR_PASIDS], buf[NR_PASIDS];
	unsigned int i, d, q, round;

	for (d = 0; d < NR_PASIDS; d++) {
		ASSERT_EQ(0, test_ioctl(self->fd, PTD_TEST_DOMAIN_ALLOC, &domain[d]));
		ASSERT_EQ(0, ptd_buf_alloc(self->fd, SIZE, false, &buf[d], NULL));
		ASSERT_EQ(0, ptd_map(self->fd, domain[d], buf[d], DST_IOVA, true));
		ASSERT_EQ(0, ptd_attach(self->fd, domain[d], self->pasid[d]));
	}

	for (round = 0; round < 4; round++) {
		for (q = 0; q < PTD_NR_QUEUES; q++)
			ASSERT_EQ(0, ptd_hold(self->fd, q, true));
		for (i = 0; i < ARRAY_SIZE(reqs); i++) {
			d = (i + i / PTD_NR_SLOTS + round) % NR_PASIDS;
			reqs[i] = fill_request(self->pasid[d], DST_IOVA + i * piece, piece);
			reqs[i].queue = i / PTD_NR_SLOTS;
			reqs[i].slot = i % PTD_NR_SLOTS;
			reqs[i].pattern = (uint64_t)(round * NR_PASIDS + d + 1) << 32 | i;
			reqs[i].delay_us = i % 7 * 10;
		}
		ASSERT_EQ(0, ptd_submit(self->fd, reqs, ARRAY_SIZE(reqs)));
		EXPECT_EQ(0xff, ptd_read(self->fd, PTD_REG_BUSY, 4));
		for (q = 0; q < PTD_NR_QUEUES; q++)
			ASSERT_EQ(0, ptd_hold(self->fd, q, false));
		for (q = 0; q < PTD_NR_QUEUES; q++)
			ASSERT_EQ(0, ptd_wait(self->fd, q, ~0ull));
		ASSERT_EQ(0, ptd_status(self->fd, reqs, ARRAY_SIZE(reqs)));
		for (i = 0; i < ARRAY_SIZE(reqs); i++) {
			ASSERT_EQ(PTD_ST_OK, reqs[i].status);
			ASSERT_EQ(piece, reqs[i].moved);
		}

		/* Each buffer has its own pieces, and nothing of the others' */
		for (d = 0; d < NR_PASIDS; d++) {
			uint64_t expected;

			ASSERT_EQ(0, ptd_buf_read(self->fd, buf[d], self->seen, SIZE));
			for (i = 0; i < ARRAY_SIZE(reqs); i++) {
				expected = reqs[i].pasid == self->pasid[d] ? reqs[i].pattern : 0;
				ASSERT_TRUE(all_words(self->seen + i * piece / 8, piece / 8,
						      expected));
			}
			memset(self->seen, 0, SIZE);
			ASSERT_EQ(0, ptd_buf_write(self->fd, buf[d], self->seen, SIZE));
		}
	}
	for (d = 0; d < NR_PASIDS; d++)
		EXPECT_EQ(0, ptd_detach(self->fd, self->pasid[d]));
	for (d = 0; d < NR_PASIDS; d++)
		EXPECT_EQ(PTD_ST_WRITE_FAULT, run_fill(self->fd, self->pasid[d], DST_IOVA, SIZE));
}

/*
 * Starts a long fill of dst and returns when it has begun to write. Before that a
 * quick one puts all translations into whatever caches there are.
 */
static bool start_slow_fill(struct _test_data_pasid_testdev *self, struct ptd_test_request *req)
{
	long long end = now_ms() + 10000;
	uint64_t word = 0;

	if (run_fill(self->fd, self->pasid[0], DST_IOVA, SIZE) != PTD_ST_OK)
		return false;
	memset(self->seen, 0, SIZE);
	if (ptd_buf_write(self->fd, self->dst, self->seen, SIZE))
		return false;

	*req = fill_request(self->pasid[0], DST_IOVA, SIZE);
	req->delay_us = 50000;
	if (ptd_submit(self->fd, req, 1))
		return false;
	while (word != FILL_PATTERN && now_ms() < end)
		if (ptd_buf_read(self->fd, self->dst, &word, sizeof(word)))
			return false;
	return word == FILL_PATTERN;
}

/* From here on no byte of dst changes, though the request goes on */
static bool dst_stays(struct _test_data_pasid_testdev *self)
{
	uint64_t *before = malloc(SIZE);
	bool same;

	if (ptd_buf_read(self->fd, self->dst, before, SIZE))
		return false;
	usleep(200000);
	same = dst_is(self, before);
	free(before);
	return same;
}

TEST_F_TIMEOUT(pasid_testdev, detach_in_flight, 60)
{
	struct ptd_test_request req;

	ASSERT_EQ(0, ptd_attach(self->fd, self->domain, self->pasid[0]));
	ASSERT_TRUE(start_slow_fill(self, &req));
	ASSERT_EQ(0, ptd_detach(self->fd, self->pasid[0]));
	EXPECT_TRUE(dst_stays(self));
	ASSERT_EQ(0, ptd_wait(self->fd, 0, 1));
	ASSERT_EQ(0, ptd_status(self->fd, &req, 1));
	EXPECT_EQ(PTD_ST_WRITE_FAULT, req.status);
	EXPECT_LE(PAGE, req.moved);
	EXPECT_GT(SIZE, req.moved);
	EXPECT_EQ(DST_IOVA + req.moved, req.fault_addr);
	EXPECT_TRUE(all_words(self->seen, req.moved / 8, FILL_PATTERN));
	EXPECT_TRUE(all_words(self->seen + req.moved / 8, WORDS - req.moved / 8, 0));
}

TEST_F_TIMEOUT(pasid_testdev, unmap_in_flight, 60)
{
	struct ptd_test_request req;

	ASSERT_EQ(0, ptd_attach(self->fd, self->domain, self->pasid[0]));
	ASSERT_TRUE(start_slow_fill(self, &req));
	ASSERT_EQ(0, ptd_unmap(self->fd, self->domain, self->dst, DST_IOVA));
	EXPECT_TRUE(dst_stays(self));
	ASSERT_EQ(0, ptd_wait(self->fd, 0, 1));
	ASSERT_EQ(0, ptd_status(self->fd, &req, 1));
	EXPECT_EQ(PTD_ST_WRITE_FAULT, req.status);
	EXPECT_GT(SIZE, req.moved);
}

/* FLR stops what is in flight; the PASID's domain is there again afterwards */
TEST_F_TIMEOUT(pasid_testdev, reset_in_flight, 60)
{
	struct ptd_test_request req, held;
	uint64_t zero = 0;

	ASSERT_EQ(0, ptd_attach(self->fd, self->domain, self->pasid[0]));
	ASSERT_EQ(0, ptd_hold(self->fd, 1, true));
	held = fill_request(self->pasid[0], DST_IOVA, SIZE);
	held.queue = 1;
	ASSERT_EQ(0, ptd_submit(self->fd, &held, 1));
	ASSERT_TRUE(start_slow_fill(self, &req));

	ASSERT_EQ(0, test_ioctl(self->fd, PTD_TEST_RESET));
	EXPECT_EQ(0, ptd_read(self->fd, PTD_REG_BUSY, 4));
	EXPECT_TRUE(dst_stays(self));
	EXPECT_EQ(0, ptd_wait(self->fd, 0, ~0ull));
	EXPECT_EQ(0, ptd_wait(self->fd, 1, ~0ull));
	ASSERT_EQ(0, ptd_status(self->fd, &req, 1));
	EXPECT_EQ(PTD_ST_IDLE, req.status);
	ASSERT_EQ(0, ptd_status(self->fd, &held, 1));
	EXPECT_EQ(PTD_ST_IDLE, held.status);

	ASSERT_EQ(0, ptd_buf_write(self->fd, self->dst, &zero, sizeof(zero)));
	EXPECT_EQ(PTD_ST_OK, run_copy(self->fd, self->pasid[0], SRC_IOVA, DST_IOVA, SIZE));
	EXPECT_TRUE(dst_is(self, self->pattern));
	ASSERT_EQ(0, ptd_detach(self->fd, self->pasid[0]));
	EXPECT_EQ(PTD_ST_WRITE_FAULT, run_fill(self->fd, self->pasid[0], DST_IOVA, SIZE));
}

/* A domain for the device's requests without PASID, and back to the DMA API */
TEST_F(pasid_testdev, attach_group)
{
	uint64_t addr;
	uint32_t buf;

	ASSERT_EQ(0, ptd_buf_alloc(self->fd, SIZE, true, &buf, &addr));
	EXPECT_EQ(PTD_ST_READ_FAULT, run_copy(self->fd, 0, SRC_IOVA, DST_IOVA, SIZE));
	ASSERT_EQ(0, ptd_attach(self->fd, self->domain, 0));
	EXPECT_EQ(PTD_ST_OK, run_copy(self->fd, 0, SRC_IOVA, DST_IOVA, SIZE));
	EXPECT_TRUE(dst_is(self, self->pattern));
	EXPECT_EQ(PTD_ST_WRITE_FAULT, run_fill(self->fd, 0, addr, SIZE));
	ASSERT_EQ(0, ptd_detach(self->fd, 0));
	EXPECT_EQ(PTD_ST_READ_FAULT, run_copy(self->fd, 0, SRC_IOVA, DST_IOVA, SIZE));
	EXPECT_EQ(PTD_ST_OK, run_fill(self->fd, 0, addr, SIZE));
}

TEST_F(pasid_testdev, attach_errors)
{
	struct ptd_test_info no_pasids;
	int fd;

	ASSERT_EQ(0, ptd_attach(self->fd, self->domain, self->pasid[0]));
	EXPECT_EQ(-EBUSY, ptd_attach(self->fd, self->domain, self->pasid[0]));
	EXPECT_EQ(-EINVAL, ptd_attach(self->fd, self->domain, 1u << 20));
	EXPECT_EQ(PTD_ST_OK, run_copy(self->fd, self->pasid[0], SRC_IOVA, DST_IOVA, SIZE));
	EXPECT_EQ(PTD_ST_BAD_PASID, run_fill(self->fd, 1u << 20, DST_IOVA, SIZE));

	/* A device without the capability sends nothing */
	ASSERT_TRUE(find_single(self->fd, false, 0, &no_pasids));
	EXPECT_EQ(0, no_pasids.max_pasids);
	fd = ptd_open(&no_pasids);
	ASSERT_LE(0, fd);
	EXPECT_EQ(PTD_ST_PASID_OFF, run_fill(fd, 2, DST_IOVA, SIZE));
	EXPECT_EQ(0, close(fd));
}

/* The device sends only what its config space allows */
TEST_F(pasid_testdev, config_space)
{
	uint32_t pasid = self->pasid[0];
	struct ptd_test_request req = fill_request(pasid, DST_IOVA, SIZE);
	long long end = now_ms() + 10000;
	uint16_t command, control, off;
	int config, cap;

	ASSERT_EQ(0, ptd_attach(self->fd, self->domain, pasid));
	config = open_config(&self->info);
	ASSERT_LE(0, config);
	cap = find_ext_cap(config, 0x1b);
	ASSERT_NE(0, cap);

	ASSERT_EQ(2, pread(config, &control, 2, cap + 6));
	EXPECT_EQ(1, control & 1);
	off = control & ~1;
	ASSERT_EQ(2, pwrite(config, &off, 2, cap + 6));
	EXPECT_EQ(PTD_ST_PASID_OFF, run_fill(self->fd, pasid, DST_IOVA, SIZE));
	off = 1;
	ASSERT_EQ(2, pwrite(config, &off, 2, cap + 6));
	req.ctrl |= PTD_F_PRIV;
	EXPECT_EQ(PTD_ST_PRIV_OFF, ptd_run(self->fd, &req));
	req.ctrl ^= PTD_F_PRIV | PTD_F_EXEC;
	EXPECT_EQ(PTD_ST_EXEC_OFF, ptd_run(self->fd, &req));
	req.ctrl ^= PTD_F_EXEC;
	ASSERT_EQ(2, pwrite(config, &control, 2, cap + 6));
	EXPECT_TRUE(dst_is_zero(self));

	ASSERT_EQ(2, pread(config, &command, 2, 4));
	off = command & ~4;
	ASSERT_EQ(2, pwrite(config, &off, 2, 4));
	/* No interrupt either, which is a write to memory */
	ASSERT_EQ(0, ptd_submit(self->fd, &req, 1));
	while (ptd_read(self->fd, PTD_REG_BUSY, 4) && now_ms() < end)
		usleep(1000);
	ASSERT_EQ(0, ptd_status(self->fd, &req, 1));
	EXPECT_EQ(PTD_ST_NO_MASTER, req.status);
	ASSERT_EQ(2, pwrite(config, &command, 2, 4));
	EXPECT_TRUE(dst_is_zero(self));

	EXPECT_EQ(PTD_ST_OK, run_fill(self->fd, pasid, DST_IOVA, SIZE));
	close(config);
}

/*
 * Linux attaches domains of its own without Supervisor Request Enable, so
 * privileged requests fault, whichever stage translates.
 */
TEST_F(pasid_testdev, privileged)
{
	struct ptd_test_request req = copy_request(self->pasid[0], SRC_IOVA, DST_IOVA, SIZE);

	ASSERT_EQ(0, ptd_attach(self->fd, self->domain, self->pasid[0]));
	req.ctrl |= PTD_F_PRIV;
	EXPECT_EQ(PTD_ST_READ_FAULT, ptd_run(self->fd, &req));
	EXPECT_TRUE(dst_is_zero(self));
	req.ctrl ^= PTD_F_PRIV | PTD_F_EXEC;
	EXPECT_EQ(PTD_ST_OK, ptd_run(self->fd, &req));
	EXPECT_TRUE(dst_is(self, self->pattern));
}

TEST_F(pasid_testdev, bad_descriptors)
{
	struct ptd_test_request good = fill_request(self->pasid[0], DST_IOVA, SIZE), req;
	struct ptd_test_request none = { .ctrl = PTD_OP_COPY };

	ASSERT_EQ(0, ptd_attach(self->fd, self->domain, self->pasid[0]));
	EXPECT_EQ(PTD_ST_BAD_DESC, ptd_run(self->fd, &none));
	req = good;
	req.ctrl = (req.ctrl & ~PTD_OP_MASK) | 0x77;
	EXPECT_EQ(PTD_ST_BAD_DESC, ptd_run(self->fd, &req));
	req = good;
	req.ctrl |= 0x80000000;
	EXPECT_EQ(PTD_ST_BAD_DESC, ptd_run(self->fd, &req));
	req = good;
	req.len = 0;
	EXPECT_EQ(PTD_ST_BAD_DESC, ptd_run(self->fd, &req));
	req.len = PTD_MAX_LEN + 1;
	EXPECT_EQ(PTD_ST_BAD_DESC, ptd_run(self->fd, &req));
	req = good;
	req.dst = -8ull;
	EXPECT_EQ(PTD_ST_BAD_DESC, ptd_run(self->fd, &req));
	req = good;
	req.ctrl = PTD_OP_WRITE | PTD_F_PASID;
	req.buf = PTD_BUF_SIZE - 8;
	EXPECT_EQ(PTD_ST_BAD_DESC, ptd_run(self->fd, &req));
	EXPECT_TRUE(dst_is_zero(self));
	EXPECT_EQ(PTD_ST_OK, ptd_run(self->fd, &good));
}

/* Two devices use one PASID number, each for a domain of its own */
TEST_F(pasid_testdev, two_devices)
{
	struct _test_data_pasid_testdev other = *self;
	uint64_t *theirs = malloc(SIZE);

	ASSERT_TRUE(find_single(self->fd, true, 1, &other.info));
	make_pattern(theirs, 2);
	other.pattern = theirs;
	ASSERT_EQ(0, open_with_domain(&other));

	ASSERT_EQ(0, ptd_attach(self->fd, self->domain, self->pasid[0]));
	ASSERT_EQ(0, ptd_attach(other.fd, other.domain, self->pasid[0]));
	EXPECT_EQ(PTD_ST_OK, run_copy(self->fd, self->pasid[0], SRC_IOVA, DST_IOVA, SIZE));
	EXPECT_EQ(PTD_ST_OK, run_copy(other.fd, self->pasid[0], SRC_IOVA, DST_IOVA, SIZE));
	EXPECT_TRUE(dst_is(self, self->pattern));
	EXPECT_TRUE(dst_is(&other, theirs));

	ASSERT_EQ(0, ptd_detach(other.fd, self->pasid[0]));
	EXPECT_EQ(PTD_ST_WRITE_FAULT, run_fill(other.fd, self->pasid[0], DST_IOVA, SIZE));
	EXPECT_EQ(PTD_ST_OK, run_fill(self->fd, self->pasid[0], DST_IOVA, SIZE));
	EXPECT_EQ(0, close(other.fd));
	free(theirs);
}

/* Opens two functions of one device, the first as the fixture's */
static int open_pair(struct _test_data_pasid_testdev *self, bool share,
		     struct _test_data_pasid_testdev *first)
{
	struct ptd_test_info pair[2];

	*first = *self;
	if (!find_pair(self->fd, share, pair) || !pair[0].pasid_enabled || !pair[1].pasid_enabled)
		return -ENODEV;
	first->info = pair[0];
	return open_with_domain(first) ?: ptd_open(&pair[1]);
}

/* A group has one table of PASIDs, so what one function attaches holds for both */
TEST_F(pasid_testdev, shared_group)
{
	struct _test_data_pasid_testdev first;
	int second = open_pair(self, true, &first);
	uint32_t pasid;

	ASSERT_LE(0, second);
	pasid = first.pasid[0];

	EXPECT_EQ(PTD_ST_READ_FAULT, run_copy(second, pasid, SRC_IOVA, DST_IOVA, SIZE));
	ASSERT_EQ(0, ptd_attach(first.fd, first.domain, pasid));
	EXPECT_EQ(PTD_ST_OK, run_copy(first.fd, pasid, SRC_IOVA, DST_IOVA, SIZE));
	EXPECT_TRUE(dst_is(&first, self->pattern));
	EXPECT_EQ(PTD_ST_OK, run_fill(second, pasid, DST_IOVA, SIZE));
	ASSERT_EQ(0, ptd_buf_read(first.fd, first.dst, self->seen, SIZE));
	EXPECT_TRUE(all_words(self->seen, WORDS, FILL_PATTERN));
	EXPECT_EQ(-EBUSY, ptd_attach(second, PTD_TEST_DEFAULT_DOMAIN, pasid));

	ASSERT_EQ(0, ptd_detach(first.fd, pasid));
	EXPECT_EQ(PTD_ST_WRITE_FAULT, run_fill(first.fd, pasid, DST_IOVA, SIZE));
	EXPECT_EQ(PTD_ST_WRITE_FAULT, run_fill(second, pasid, DST_IOVA, SIZE));
	EXPECT_EQ(0, close(second));
	EXPECT_EQ(0, close(first.fd));
}

TEST_F(pasid_testdev, isolated_functions)
{
	struct _test_data_pasid_testdev first;
	int second = open_pair(self, false, &first);

	ASSERT_LE(0, second);
	ASSERT_EQ(0, ptd_attach(first.fd, first.domain, first.pasid[0]));
	EXPECT_EQ(PTD_ST_OK, run_copy(first.fd, first.pasid[0], SRC_IOVA, DST_IOVA, SIZE));
	EXPECT_EQ(PTD_ST_READ_FAULT, run_copy(second, first.pasid[0], SRC_IOVA, DST_IOVA, SIZE));
	EXPECT_EQ(0, close(second));
	EXPECT_EQ(0, close(first.fd));
}

/* Held requests of both functions; a reset of their bus ends them */
TEST_F_TIMEOUT(pasid_testdev, bus_reset, 60)
{
	struct _test_data_pasid_testdev first;
	int fds[2], i;

	fds[1] = open_pair(self, true, &first);
	ASSERT_LE(0, fds[1]);
	fds[0] = first.fd;
	ASSERT_EQ(0, ptd_attach(first.fd, first.domain, first.pasid[0]));
	for (i = 0; i < 2; i++) {
		struct ptd_test_request held = fill_request(first.pasid[0], DST_IOVA, SIZE);

		ASSERT_EQ(0, ptd_hold(fds[i], 0, true));
		ASSERT_EQ(0, ptd_submit(fds[i], &held, 1));
	}

	ASSERT_EQ(0, sysfs_write(&first.info, "../reset_subordinate", "1"));
	for (i = 0; i < 2; i++) {
		struct ptd_test_request held = {};

		EXPECT_EQ(0, ptd_read(fds[i], PTD_REG_BUSY, 4));
		ASSERT_EQ(0, ptd_status(fds[i], &held, 1));
		EXPECT_EQ(PTD_ST_IDLE, held.status);
		EXPECT_EQ(PTD_ST_OK,
			  run_copy(fds[i], first.pasid[0], SRC_IOVA, DST_IOVA, SIZE));
		EXPECT_TRUE(dst_is(&first, self->pattern));
		ASSERT_EQ(PTD_ST_OK, run_fill(fds[i], first.pasid[0], DST_IOVA, SIZE));
	}
	EXPECT_EQ(0, close(fds[1]));
	EXPECT_EQ(0, close(fds[0]));
}

/*
 * VT-d binds SVA to devices that have ATS, on first-stage tables only; the
 * other profiles get its errors.
 */
TEST_F(pasid_testdev, sva)
{
	int expected = ats() ? 0 : in_profile("second-stage") ? -ENODEV : -EINVAL;
	struct ptd_test_request req;
	uint64_t *user;
	uint32_t pasid;

	user = mmap(NULL, 2 * SIZE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, user);
	ASSERT_EQ(0, mlock(user, 2 * SIZE));
	memcpy(user, self->pattern, SIZE);
	memset(user + WORDS, 0x55, SIZE);

	ASSERT_EQ(expected, test_ioctl(self->fd, PTD_TEST_SVA_BIND, &pasid));
	if (expected)
		return;

	ASSERT_LE(2, pasid);
	EXPECT_EQ(-EBUSY, ptd_attach(self->fd, self->domain, pasid));
	req = copy_request(pasid, (uintptr_t)user, (uintptr_t)(user + WORDS), SIZE);
	EXPECT_EQ(PTD_ST_OK, ptd_run(self->fd, &req));
	EXPECT_EQ(0, memcmp(user + WORDS, self->pattern, SIZE));
	EXPECT_EQ(PTD_ST_OK, run_fill(self->fd, pasid, (uintptr_t)user, SIZE));
	EXPECT_TRUE(all_words(user, WORDS, FILL_PATTERN));

	/* The process's page table is the device's */
	ASSERT_EQ(0, munmap(user, SIZE));
	EXPECT_EQ(PTD_ST_WRITE_FAULT, run_fill(self->fd, pasid, (uintptr_t)user, SIZE));
	EXPECT_EQ(PTD_ST_OK, run_fill(self->fd, pasid, (uintptr_t)(user + WORDS), SIZE));

	ASSERT_EQ(0, test_ioctl(self->fd, PTD_TEST_SVA_UNBIND));
	memset(user + WORDS, 0, SIZE);
	EXPECT_EQ(PTD_ST_WRITE_FAULT, run_fill(self->fd, pasid, (uintptr_t)(user + WORDS), SIZE));
	EXPECT_TRUE(all_words(user + WORDS, WORDS, 0));
	munmap(user + WORDS, SIZE);
}

TEST_F(pasid_testdev, bad_ioctls)
{
	struct ptd_test_open again = {
		.segment = self->info.segment, .bus = self->info.bus, .devfn = self->info.devfn,
	};
	struct ptd_test_request req = fill_request(0, 0, 8);
	struct ptd_test_batch huge = { .nr = PTD_TEST_MAX_BATCH + 1 };
	struct ptd_test_batch fault = { .nr = 1, .requests = 8 };
	struct ptd_test_reg reg = { .offset = PTD_BAR_SIZE, .width = 4 };
	struct ptd_test_regs regs = { .nr = 1, .regs = (uintptr_t)&reg };
	uint32_t index = 99, buf;
	uint64_t addr;
	int fd;

	EXPECT_EQ(-EBUSY, test_ioctl(self->fd, PTD_TEST_OPEN, &again));
	EXPECT_EQ(-EBUSY, ptd_open(&self->info));
	fd = open_test_device();
	ASSERT_LE(0, fd);
	EXPECT_EQ(-ENODEV, test_ioctl(fd, PTD_TEST_DOMAIN_ALLOC, &index));
	again.bus = 0xff;
	EXPECT_EQ(-ENODEV, test_ioctl(fd, PTD_TEST_OPEN, &again));
	EXPECT_EQ(0, close(fd));

	EXPECT_EQ(-ENOENT, test_ioctl(self->fd, PTD_TEST_BUF_FREE, &index));
	EXPECT_EQ(-ENOENT, test_ioctl(self->fd, PTD_TEST_DOMAIN_FREE, &index));
	EXPECT_EQ(-EBUSY, test_ioctl(self->fd, PTD_TEST_BUF_FREE, &self->src));
	EXPECT_EQ(-EBUSY, test_ioctl(self->fd, PTD_TEST_DOMAIN_FREE, &self->domain));
	EXPECT_EQ(-ENOENT, ptd_detach(self->fd, self->pasid[0]));
	EXPECT_EQ(-ENOENT, ptd_attach(self->fd, 99, self->pasid[0]));
	EXPECT_EQ(-ENOENT, test_ioctl(self->fd, PTD_TEST_SVA_UNBIND));
	EXPECT_EQ(-ENOENT, ptd_map(self->fd, self->domain, 99, 0, true));
	EXPECT_EQ(-ENOENT, ptd_unmap(self->fd, self->domain, self->src, DST_IOVA));
	EXPECT_EQ(-EINVAL, ptd_map(self->fd, self->domain, self->src, -4096ull, true));
	EXPECT_EQ(-EINVAL, ptd_map(self->fd, self->domain, self->src, 0x123, true));
	EXPECT_EQ(-EINVAL, ptd_buf_alloc(self->fd, PTD_TEST_MAX_BUF + PAGE, false, &buf, &addr));
	EXPECT_EQ(-EINVAL, ptd_buf_alloc(self->fd, 0, true, &buf, &addr));
	EXPECT_EQ(-EINVAL, ptd_buf_copy(self->fd, self->src, SIZE - 4, &addr, 8, false));
	EXPECT_EQ(-EFAULT, ptd_buf_copy(self->fd, self->src, 0, (void *)8, 8, false));

	req.queue = PTD_NR_QUEUES;
	EXPECT_EQ(-EINVAL, ptd_submit(self->fd, &req, 1));
	req.queue = 0;
	req.slot = PTD_NR_SLOTS;
	EXPECT_EQ(-EINVAL, ptd_submit(self->fd, &req, 1));
	EXPECT_EQ(-EINVAL, ptd_wait(self->fd, PTD_NR_QUEUES, 1));
	EXPECT_EQ(-EINVAL, test_ioctl(self->fd, PTD_TEST_SUBMIT, &huge));
	EXPECT_EQ(-EFAULT, test_ioctl(self->fd, PTD_TEST_SUBMIT, &fault));
	EXPECT_EQ(-EINVAL, test_ioctl(self->fd, PTD_TEST_REGS, &regs));
	reg.offset = 2;
	EXPECT_EQ(-EINVAL, test_ioctl(self->fd, PTD_TEST_REGS, &regs));
	EXPECT_EQ(-ENOTTY, test_ioctl(self->fd, _IO(IOMMU_EXT_TEST_PASID_TESTDEV, 0xff)));
}

/* What an open file sees when its device goes in the midst of work */
static bool is_gone(struct _test_data_pasid_testdev *self)
{
	struct ptd_test_request req = fill_request(self->pasid[0], DST_IOVA, SIZE);
	uint32_t index;

	return ptd_submit(self->fd, &req, 1) == -ENODEV && ptd_wait(self->fd, 0, 1) == -ENODEV &&
	       ptd_attach(self->fd, self->domain, self->pasid[1]) == -ENODEV &&
	       ptd_detach(self->fd, self->pasid[0]) == -ENODEV &&
	       test_ioctl(self->fd, PTD_TEST_BUF_FREE, &self->src) == -ENODEV &&
	       test_ioctl(self->fd, PTD_TEST_DOMAIN_ALLOC, &index) == -ENODEV &&
	       test_ioctl(self->fd, PTD_TEST_RESET) == -ENODEV;
}

static int start_work(struct _test_data_pasid_testdev *self)
{
	struct ptd_test_request reqs[PTD_NR_QUEUES];
	int ret = ptd_attach(self->fd, self->domain, self->pasid[0]);
	int q;

	for (q = 0; q < PTD_NR_QUEUES; q++) {
		reqs[q] = fill_request(self->pasid[0], DST_IOVA, SIZE);
		reqs[q].queue = q;
		reqs[q].delay_us = 100000;
	}
	return ret ?: ptd_submit(self->fd, reqs, PTD_NR_QUEUES);
}

/* The device is back: a new file, everything anew */
static bool works_again(struct _test_data_pasid_testdev *self)
{
	close(self->fd);
	return !open_with_domain(self) && !ptd_attach(self->fd, self->domain, self->pasid[0]) &&
	       run_copy(self->fd, self->pasid[0], SRC_IOVA, DST_IOVA, SIZE) == PTD_ST_OK &&
	       dst_is(self, self->pattern);
}

TEST_F_TIMEOUT(pasid_testdev, sysfs_remove, 120)
{
	ASSERT_EQ(0, start_work(self));
	ASSERT_EQ(0, sysfs_write(&self->info, "remove", "1"));
	EXPECT_TRUE(is_gone(self));
	EXPECT_FALSE(is_there(&self->info));
	ASSERT_EQ(0, pci_rescan());
	ASSERT_TRUE(wait_until_there(&self->info, true));
	EXPECT_TRUE(is_gone(self));
	EXPECT_TRUE(works_again(self));
}

TEST_F_TIMEOUT(pasid_testdev, unbind, 120)
{
	ASSERT_EQ(0, start_work(self));
	ASSERT_EQ(0, driver_write(&self->info, "unbind"));
	EXPECT_TRUE(is_gone(self));
	ASSERT_EQ(0, driver_write(&self->info, "bind"));
	EXPECT_TRUE(is_gone(self));
	EXPECT_TRUE(works_again(self));
}

/* By the host, at the free slot hp0 */
static bool find_new(int fd, const struct ptd_test_info *old, int nr_old,
		     struct ptd_test_info *found)
{
	struct ptd_test_info infos[MAX_DEVICES];
	long long end = now_ms() + 30000;
	int nr, i, j;

	do {
		nr = ptd_list(fd, infos, MAX_DEVICES);
		for (i = 0; i < nr; i++) {
			for (j = 0; j < nr_old; j++)
				if (old[j].bus == infos[i].bus && old[j].devfn == infos[i].devfn)
					break;
			if (j == nr_old) {
				*found = infos[i];
				return true;
			}
		}
		usleep(20000);
	} while (now_ms() < end);
	return false;
}

/* Plugs in a device with these properties, which the host calls hot0 */
static bool plug(int fd, const char *properties, struct ptd_test_info *hot)
{
	struct ptd_test_info old[MAX_DEVICES];
	int nr = ptd_list(fd, old, MAX_DEVICES);
	long long end = now_ms() + 30000;
	char request[128];

	snprintf(request, sizeof(request), "device_add pasid-testdev,id=hot0,bus=hp0%s",
		 properties);
	/* The host keeps the name until it has got rid of the last one */
	while (host_request(request)) {
		if (now_ms() > end)
			return false;
		usleep(500000);
	}
	return find_new(fd, old, nr, hot);
}

TEST_F_TIMEOUT(pasid_testdev, hot_unplug, 240)
{
	struct _test_data_pasid_testdev hot = *self;
	int round;

	for (round = 0; round < 2; round++) {
		ASSERT_TRUE(plug(self->fd, "", &hot.info));
		EXPECT_EQ(1, hot.info.pasid_enabled);
		EXPECT_EQ(ats(), hot.info.ats_enabled);
		ASSERT_EQ(0, open_with_domain(&hot));
		ASSERT_EQ(0, ptd_attach(hot.fd, hot.domain, hot.pasid[1]));
		EXPECT_EQ(PTD_ST_OK, run_copy(hot.fd, hot.pasid[1], SRC_IOVA, DST_IOVA, SIZE));
		EXPECT_TRUE(dst_is(&hot, self->pattern));

		ASSERT_EQ(0, start_work(&hot));
		ASSERT_EQ(0, host_request("device_del hot0"));
		ASSERT_TRUE(wait_until_there(&hot.info, false));
		EXPECT_TRUE(is_gone(&hot));
		EXPECT_EQ(0, close(hot.fd));
	}
}

/* A device with few PASIDs and no permissions: none is given that it cannot send */
TEST_F_TIMEOUT(pasid_testdev, narrow, 120)
{
	struct ptd_test_request req = fill_request(15, DST_IOVA, SIZE);
	struct ptd_test_info hot;
	uint32_t pasid, given = 0;
	int fd, ret;

	ASSERT_TRUE(plug(self->fd, ",pasid-bits=4,pasid-exec=off,pasid-priv=off", &hot));
	EXPECT_EQ(16, hot.max_pasids);
	fd = ptd_open(&hot);
	ASSERT_LE(0, fd);
	while (!(ret = ptd_pasid_alloc(fd, &hot, &pasid))) {
		EXPECT_GT(16, pasid);
		given++;
	}
	EXPECT_EQ(-ENOSPC, ret);
	/* The fixture has most of them */
	EXPECT_LT(0, given);
	EXPECT_GE(16 - 2 - NR_PASIDS, given);

	EXPECT_EQ(PTD_ST_WRITE_FAULT, ptd_run(fd, &req));
	EXPECT_EQ(PTD_ST_BAD_PASID, run_fill(fd, 16, DST_IOVA, SIZE));
	req.ctrl |= PTD_F_PRIV;
	EXPECT_EQ(PTD_ST_PRIV_OFF, ptd_run(fd, &req));
	req.ctrl ^= PTD_F_PRIV | PTD_F_EXEC;
	EXPECT_EQ(PTD_ST_EXEC_OFF, ptd_run(fd, &req));
	EXPECT_EQ(0, close(fd));
	ASSERT_EQ(0, host_request("device_del hot0"));
	EXPECT_TRUE(wait_until_there(&hot, false));
}

/* A reset gives no PASIDs back */
TEST_F_TIMEOUT(pasid_testdev, too_many_pasids, 120)
{
	struct ptd_test_info hot;
	uint32_t pasid;
	int fd, round;

	ASSERT_TRUE(plug(self->fd, ",pasids=3", &hot));
	fd = ptd_open(&hot);
	ASSERT_LE(0, fd);
	for (round = 0; round < 2; round++) {
		for (pasid = 100; pasid < 103; pasid++)
			EXPECT_EQ(PTD_ST_WRITE_FAULT, run_fill(fd, pasid, DST_IOVA, SIZE));
		EXPECT_EQ(PTD_ST_NO_CONTEXT, run_fill(fd, 103, DST_IOVA, SIZE));
		EXPECT_EQ(PTD_ST_WRITE_FAULT, run_fill(fd, 0, DST_IOVA, SIZE));
		ASSERT_EQ(0, test_ioctl(fd, PTD_TEST_RESET));
	}
	EXPECT_EQ(PTD_ST_NO_CONTEXT, run_fill(fd, 103, DST_IOVA, SIZE));
	EXPECT_EQ(0, close(fd));
	ASSERT_EQ(0, host_request("device_del hot0"));
	EXPECT_TRUE(wait_until_there(&hot, false));
}

/* Fuzz */

static uint64_t random_state = 88172645463325252ull;

static uint64_t random64(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static struct ptd_test_reg random_write(uint32_t pasid, uint64_t addr)
{
	static const uint32_t widths[] = { 1, 2, 4, 4, 4, 4, 8, 8 };
	struct ptd_test_reg reg = { .width = widths[random64() % 8], .write = 1 };
	uint32_t q = random64() % PTD_NR_QUEUES, s = random64() % PTD_NR_SLOTS;

	reg.value = random64();
	switch (random64() % 8) {
	case 0:		/* anywhere */
		reg.offset = random64() % PTD_BAR_SIZE;
		break;
	case 1:		/* a register */
		reg.offset = random64() % PTD_SLOT(0, 0);
		break;
	case 2:		/* a descriptor */
		reg.offset = PTD_SLOT(q, s) + random64() % 0x40;
		break;
	case 3:		/* a control word that could be right */
		reg = (struct ptd_test_reg){ .offset = PTD_SLOT(q, s) + PTD_D_CTRL, .width = 4,
			.write = 1, .value = random64() % 7 | (random64() & 0x1f00) };
		break;
	case 4:		/* an address that is mapped */
		reg = (struct ptd_test_reg){ .width = 8, .write = 1, .value = addr,
			.offset = PTD_SLOT(q, s) + (random64() % 2 ? PTD_D_SRC : PTD_D_DST) };
		break;
	case 5:		/* a length, and a PASID, that could be right */
		reg = (struct ptd_test_reg){ .width = 8, .write = 1, .offset = PTD_SLOT(q, s) };
		reg.offset += random64() % 2 ? PTD_D_LEN : PTD_D_CTRL;
		reg.value = reg.offset & 0x18 ? random64() % (2 * PAGE) :
			(uint64_t)pasid << 32 | PTD_F_PASID | random64() % 7;
		break;
	default:	/* go */
		reg = (struct ptd_test_reg){ .offset = PTD_QUEUE(q) + PTD_Q_DOORBELL, .width = 4,
			.write = 1, .value = s };
	}
	reg.offset -= reg.offset % reg.width;
	return reg;
}

/* How many requests have ended since the last time */
static unsigned int take_done(int fd)
{
	unsigned int q, nr = 0;
	uint64_t done;

	for (q = 0; q < PTD_NR_QUEUES; q++) {
		done = ptd_read(fd, PTD_QUEUE(q) + PTD_Q_DONE, 8);
		ptd_write(fd, PTD_QUEUE(q) + PTD_Q_DONE, 8, done);
		nr += __builtin_popcountll(done);
	}
	return nr;
}

/* How many slots had a request last that did all it should; -1 for an error */
static int nr_good(int fd)
{
	struct ptd_test_reg regs[PTD_NR_QUEUES * PTD_NR_SLOTS] = {};
	struct ptd_test_regs args = { .nr = ARRAY_SIZE(regs), .regs = (uintptr_t)regs };
	unsigned int i;
	int nr = 0;

	for (i = 0; i < ARRAY_SIZE(regs); i++) {
		regs[i].offset = PTD_SLOT(i / PTD_NR_SLOTS, i % PTD_NR_SLOTS) + PTD_D_STATUS;
		regs[i].width = 4;
	}
	if (test_ioctl(fd, PTD_TEST_REGS, &args))
		return -1;
	for (i = 0; i < ARRAY_SIZE(regs); i++)
		nr += regs[i].value == PTD_ST_OK;
	return nr;
}

TEST_F_TIMEOUT(pasid_testdev, fuzz, 300)
{
	struct ptd_test_reg regs[PTD_TEST_MAX_BATCH];
	struct ptd_test_regs args = { .regs = (uintptr_t)regs };
	unsigned int left = 100000, done = 0, good = 0, batch, i;
	uint32_t buf;
	uint64_t addr;
	int now;

	ASSERT_EQ(0, ptd_buf_alloc(self->fd, SIZE, true, &buf, &addr));
	ASSERT_EQ(0, ptd_attach(self->fd, self->domain, self->pasid[0]));
	for (batch = 0; left; batch++) {
		args.nr = left < PTD_TEST_MAX_BATCH ? left : PTD_TEST_MAX_BATCH;
		for (i = 0; i < args.nr; i++)
			regs[i] = random_write(self->pasid[0], random64() % 2 ? addr : SRC_IOVA);
		ASSERT_EQ(0, test_ioctl(self->fd, PTD_TEST_REGS, &args));
		left -= args.nr;
		done += take_done(self->fd);
		if (batch % 8)
			continue;
		now = nr_good(self->fd);
		ASSERT_LE(0, now);
		good += now;
	}
	/* Many requests have ended, some of them with all their bytes moved */
	printf("# %u requests ended, %u seen with all moved\n", done, good);
	EXPECT_LT(100, done);
	EXPECT_LT(0, good);

	/* It still answers, and a reset brings it to order */
	EXPECT_EQ(PTD_ID, ptd_read(self->fd, PTD_REG_ID, 4));
	ASSERT_EQ(0, test_ioctl(self->fd, PTD_TEST_RESET));
	EXPECT_EQ(0, ptd_read(self->fd, PTD_REG_BUSY, 4));
	ASSERT_EQ(0, ptd_buf_write(self->fd, self->src, self->pattern, SIZE));
	EXPECT_EQ(PTD_ST_OK, run_copy(self->fd, self->pasid[0], SRC_IOVA, DST_IOVA, SIZE));
	EXPECT_TRUE(dst_is(self, self->pattern));
	EXPECT_EQ(PTD_ST_OK, run_fill(self->fd, 0, addr, SIZE));
}

/* Threads that do this and that while the device comes and goes */

struct chaos {
	int fd;
	bool stop;
};

static void *chaos_thread(void *arg)
{
	struct chaos *chaos = arg;
	unsigned int seed = (uintptr_t)&seed >> 4;
	struct ptd_test_wait wait = { .timeout_ms = 5, .slots = ~0ull };
	struct ptd_test_request req;
	uint32_t index, buf;
	int fd = chaos->fd;

	while (!__atomic_load_n(&chaos->stop, __ATOMIC_RELAXED)) {
		uint32_t pasid = 100 + rand_r(&seed) % 8;

		switch (rand_r(&seed) % 12) {
		case 0:
			ioctl(fd, PTD_TEST_DOMAIN_ALLOC, &index);
			break;
		case 1:
			index = rand_r(&seed) % PTD_TEST_NR_DOMAINS;
			ioctl(fd, PTD_TEST_DOMAIN_FREE, &index);
			break;
		case 2:
			ptd_buf_alloc(fd, PAGE, rand_r(&seed) % 2, &buf, NULL);
			break;
		case 3:
			index = rand_r(&seed) % PTD_TEST_NR_BUFS;
			ioctl(fd, PTD_TEST_BUF_FREE, &index);
			break;
		case 4:
			ptd_map(fd, rand_r(&seed) % 8, rand_r(&seed) % 8,
				PAGE * (1 + rand_r(&seed) % 64), true);
			break;
		case 5:
			ptd_unmap(fd, rand_r(&seed) % 8, rand_r(&seed) % 8,
				  PAGE * (1 + rand_r(&seed) % 64));
			break;
		case 6:
			ptd_attach(fd, rand_r(&seed) % 8, pasid);
			break;
		case 7:
			ptd_detach(fd, pasid);
			break;
		case 8:
			wait.queue = rand_r(&seed) % PTD_NR_QUEUES;
			ioctl(fd, PTD_TEST_WAIT, &wait);
			break;
		case 9:
			if (!(rand_r(&seed) % 64))
				ioctl(fd, PTD_TEST_RESET);
			break;
		default:
			req = fill_request(pasid, PAGE * (1 + rand_r(&seed) % 64), PAGE);
			req.queue = rand_r(&seed) % PTD_NR_QUEUES;
			req.slot = rand_r(&seed) % PTD_NR_SLOTS;
			ptd_submit(fd, &req, 1);
		}
		usleep(rand_r(&seed) % 500);
	}
	return NULL;
}

TEST_F_TIMEOUT(pasid_testdev, concurrency, 240)
{
	struct chaos chaos = { .fd = self->fd };
	pthread_t threads[4];
	int rounds = long_run() ? 20 : 5;
	int i, fd;

	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, chaos_thread, &chaos));
	while (rounds--) {
		usleep(300000);
		if (rounds % 2) {
			EXPECT_EQ(0, sysfs_write(&self->info, "remove", "1"));
			usleep(20000);
			EXPECT_EQ(0, pci_rescan());
		} else {
			EXPECT_EQ(0, driver_write(&self->info, "unbind"));
			usleep(20000);
			EXPECT_EQ(0, driver_write(&self->info, "bind"));
		}
		EXPECT_TRUE(wait_until_there(&self->info, true));
		/* Under the threads' feet: the number now is the device that came back */
		fd = ptd_open(&self->info);
		EXPECT_LE(0, fd);
		if (fd >= 0) {
			EXPECT_LE(0, dup2(fd, self->fd));
			close(fd);
		}
	}
	__atomic_store_n(&chaos.stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < 4; i++)
		EXPECT_EQ(0, pthread_join(threads[i], NULL));
	EXPECT_TRUE(works_again(self));
}

TEST_HARNESS_MAIN
