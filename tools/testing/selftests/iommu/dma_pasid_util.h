/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of DMA with PASID inside the kernel share. One open file of the
 * test module drives a device and enables modes for it.
 */
#ifndef _DMA_PASID_UTIL_H
#define _DMA_PASID_UTIL_H

#include <limits.h>

#include "iommu_ext_util.h"

#define PAGE		4096u
#define MAX_DEVICES	32

#define DEBUGFS_PASID	"/sys/kernel/debug/iommu/ext/pasid"
#define CORE_SOURCE	"drivers/iommu/ext/dma_pasid.rs"

#define KERNEL_PASID	1

/* As in <linux/iommu-dma-pasid.h> and <linux/iommu.h>, which userspace does not see */
enum {
	BYPASS,
	IOVA,
	KVA,
	NR_MODES,
};

#define PROT_R	1u
#define PROT_W	2u
#define PROT_RW	(PROT_R | PROT_W)
#define PROT_CACHE	4u

#define FILL_PATTERN	0xf111f111f111f111ull

static inline bool same_device(const struct ptd_test_info *a, const struct ptd_test_info *b)
{
	return a->segment == b->segment && a->bus == b->bus && a->devfn == b->devfn;
}

/* Devices with PASIDs that are alone in their groups, or that are not */
static inline int find_devices(bool alone, bool pasids, struct ptd_test_info *found, int max)
{
	struct ptd_test_info infos[MAX_DEVICES];
	int fd = open_test_device();
	int nr = ptd_list(fd, infos, MAX_DEVICES);
	int i, j, mates, nr_found = 0;

	close(fd);
	for (i = 0; i < nr && nr_found < max; i++) {
		for (mates = 0, j = 0; j < nr; j++)
			mates += j != i && infos[j].group == infos[i].group;
		if (infos[i].group >= 0 && alone == !mates && infos[i].pasid_enabled == pasids)
			found[nr_found++] = infos[i];
	}
	return nr_found;
}

static inline struct dma_owner_test_dev dev_of(const struct ptd_test_info *info)
{
	return (struct dma_owner_test_dev){
		.segment = info->segment, .bus = info->bus, .devfn = info->devfn,
	};
}

struct pci_name {
	char text[16];
};

static inline struct pci_name pci_name(const struct ptd_test_info *info)
{
	struct pci_name name;

	snprintf(name.text, sizeof(name.text), "%04x:%02x:%02x.%u", info->segment & 0xffff,
		 info->bus & 0xff, info->devfn >> 3 & 0x1f, info->devfn & 7);
	return name;
}

/* The port that firmware says is external-facing is that at slot 0x10 */
static inline bool is_external(const struct ptd_test_info *info)
{
	char path[PATH_MAX], real[PATH_MAX];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s", pci_name(info).text);
	return realpath(path, real) && strstr(real, ":00:10.0/");
}

static inline int sysfs_write(const struct ptd_test_info *info, const char *file, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", pci_name(info).text, file);
	return write_file(path, text);
}

static inline bool sysfs_exists(const struct ptd_test_info *info, const char *file)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", pci_name(info).text, file);
	return !access(path, F_OK);
}

/* Bind to that driver, or unbind; whatever is bound now goes */
static inline int rebind(const struct ptd_test_info *info, const char *driver)
{
	char path[128];
	int ret = 0;

	if (sysfs_exists(info, "driver"))
		ret = sysfs_write(info, "driver/unbind", pci_name(info).text);
	if (ret || !driver)
		return ret;
	ret = sysfs_write(info, "driver_override", driver);
	snprintf(path, sizeof(path), "/sys/bus/pci/drivers/%s/bind", driver);
	ret = ret ?: write_file(path, pci_name(info).text);
	return ret ?: sysfs_write(info, "driver_override", "\n");
}

/* Plug a device in at the free slot, and wait until its driver has it */
static inline int plug(const char *properties, struct ptd_test_info *plugged)
{
	struct ptd_test_info old[MAX_DEVICES], infos[MAX_DEVICES];
	long long end = now_ms() + 30000;
	int fd = open_test_device();
	int nr_old = ptd_list(fd, old, MAX_DEVICES);
	int i, j, nr, ret = -ETIMEDOUT;
	char request[128];

	snprintf(request, sizeof(request), "device_add pasid-testdev,bus=hp0,%s", properties);
	while (host_request(request) && now_ms() < end)
		usleep(500000);
	while (ret && now_ms() < end) {
		nr = ptd_list(fd, infos, MAX_DEVICES);
		for (i = 0; i < nr; i++) {
			for (j = 0; j < nr_old && !same_device(&infos[i], &old[j]); j++)
				;
			if (j == nr_old) {
				*plugged = infos[i];
				ret = 0;
			}
		}
		usleep(20000);
	}
	close(fd);
	return ret;
}

static inline int unplug(const char *id, const struct ptd_test_info *plugged)
{
	long long end = now_ms() + 30000;
	char request[128];
	int ret;

	snprintf(request, sizeof(request), "device_del %s", id);
	ret = host_request(request);
	while (!ret && sysfs_exists(plugged, "vendor")) {
		if (now_ms() > end)
			ret = -ETIMEDOUT;
		usleep(20000);
	}
	return ret;
}

/* What the kernel's calls answer; an ioctl that fails answers so, too */

static inline struct dma_pasid_test_mode mode_call(int fd, unsigned long cmd,
						   const struct ptd_test_info *info,
						   unsigned int mode, bool pointer)
{
	struct dma_pasid_test_mode args = {
		.dev = dev_of(info), .mode = mode, .no_pointer = !pointer,
	};
	int ret = test_ioctl(fd, cmd, &args);

	if (ret) {
		printf("# ioctl for mode %u: %d\n", mode, ret);
		args.ret = ret;
	}
	return args;
}

static inline int enable(int fd, const struct ptd_test_info *info, unsigned int mode)
{
	return mode_call(fd, DMA_PASID_TEST_ENABLE, info, mode, true).ret;
}

static inline int disable(int fd, const struct ptd_test_info *info, unsigned int mode)
{
	return mode_call(fd, DMA_PASID_TEST_DISABLE, info, mode, true).ret;
}

static inline int forget(int fd, const struct ptd_test_info *info)
{
	struct dma_owner_test_dev args = dev_of(info);

	return test_ioctl(fd, DMA_PASID_TEST_FORGET, &args);
}

static inline int kva_call(int fd, unsigned long cmd, const struct ptd_test_info *info,
			   uint64_t addr, uint64_t size, unsigned int prot)
{
	struct dma_pasid_test_kva args = {
		.dev = dev_of(info), .addr = addr, .size = size, .prot = prot,
	};
	int ret = test_ioctl(fd, cmd, &args);

	return ret ?: args.error;
}

static inline int map_kva(int fd, const struct ptd_test_info *info, uint64_t addr, uint64_t size,
			  unsigned int prot)
{
	return kva_call(fd, DMA_PASID_TEST_MAP, info, addr, size, prot);
}

static inline int unmap_kva(int fd, const struct ptd_test_info *info, uint64_t addr,
			    uint64_t size)
{
	return kva_call(fd, DMA_PASID_TEST_UNMAP, info, addr, size, 0);
}

static inline int map_special(int fd, const struct ptd_test_info *info, unsigned int special,
			      unsigned int prot)
{
	struct dma_pasid_test_special_map args = {
		.dev = dev_of(info), .special = special, .prot = prot,
	};
	int ret = test_ioctl(fd, DMA_PASID_TEST_SPECIAL, &args);

	if (ret)
		printf("# special %u: %d\n", special, ret);
	return ret ? -EIO : args.error;
}

/* What outlives its driver */

static inline int hold(int fd, const struct ptd_test_info *info, unsigned int number,
		       unsigned int mode)
{
	struct dma_pasid_test_hold args = { .dev = dev_of(info), .mode = mode, .hold = number };
	int ret = test_ioctl(fd, DMA_PASID_TEST_HOLD, &args);

	return ret ?: args.ret;
}

static inline int release(int fd, uint32_t number)
{
	return test_ioctl(fd, DMA_PASID_TEST_RELEASE, &number);
}

static inline int hold_kva(int fd, unsigned long cmd, unsigned int number, uint64_t addr,
			   uint64_t size)
{
	struct dma_pasid_test_hold_kva args = {
		.hold = number, .prot = PROT_RW, .addr = addr, .size = size,
	};
	int ret = test_ioctl(fd, cmd, &args);

	return ret ?: args.error;
}

/* Buffers */

struct kbuf {
	uint32_t index;
	uint32_t size;
	uint32_t level;
	uint64_t addr;
	uint64_t phys;
};

static inline int kbuf_alloc(int fd, unsigned int kind, uint32_t size, struct kbuf *buf)
{
	struct dma_pasid_test_buf args = { .kind = kind, .size = size };
	int ret = test_ioctl(fd, DMA_PASID_TEST_BUF_ALLOC, &args);

	*buf = (struct kbuf){
		.index = args.buf, .size = size, .level = args.level, .addr = args.addr,
		.phys = args.phys,
	};
	return ret;
}

static inline int kbuf_free(int fd, const struct kbuf *buf)
{
	return test_ioctl(fd, DMA_PASID_TEST_BUF_FREE, &buf->index);
}

static inline int kbuf_copy(int fd, const struct kbuf *buf, uint32_t offset, void *data,
			    uint32_t len, bool write)
{
	struct dma_pasid_test_copy args = {
		.buf = buf->index, .offset = offset, .len = len, .write = write,
		.data = (uintptr_t)data,
	};

	return test_ioctl(fd, DMA_PASID_TEST_BUF_COPY, &args);
}

static inline int dma_map(int fd, const struct ptd_test_info *info, const struct kbuf *buf,
			  uint32_t offset, uint32_t len, bool sg, uint64_t *addr)
{
	struct dma_pasid_test_dma args = {
		.dev = dev_of(info), .buf = buf->index, .offset = offset, .len = len, .sg = sg,
	};
	int ret = test_ioctl(fd, DMA_PASID_TEST_DMA_MAP, &args);

	*addr = args.addr;
	return ret;
}

static inline int dma_unmap(int fd, const struct kbuf *buf)
{
	return test_ioctl(fd, DMA_PASID_TEST_DMA_UNMAP, &buf->index);
}

/* Bytes of a pattern from a place on: they tell where they belong, and differ for each seed */
static inline void make_pattern(uint8_t *data, uint32_t from, uint32_t len, uint32_t seed)
{
	uint32_t i, x;

	for (i = 0; i < len; i++) {
		x = (from + i + 1) * 2654435761u ^ seed * 2246822519u;
		data[i] = (x ^ x >> 15) * 3266489917u >> 24;
	}
}

static inline int kbuf_write_pattern(int fd, const struct kbuf *buf, uint32_t seed)
{
	uint8_t *data = malloc(buf->size);
	int ret;

	make_pattern(data, 0, buf->size, seed);
	ret = kbuf_copy(fd, buf, 0, data, buf->size, true);
	free(data);
	return ret;
}

/* Whether @len bytes from @offset on are those of a pattern from @from on */
static inline bool kbuf_has_pattern(int fd, const struct kbuf *buf, uint32_t offset, uint32_t len,
				    uint32_t seed, uint32_t from)
{
	uint8_t *data = malloc(len), *expected = malloc(len);
	bool same;

	make_pattern(expected, from, len, seed);
	same = !kbuf_copy(fd, buf, offset, data, len, false) && !memcmp(data, expected, len);
	free(data);
	free(expected);
	return same;
}

static inline bool kbuf_is_zero(int fd, const struct kbuf *buf)
{
	uint8_t *data = calloc(1, buf->size);
	bool zero = !kbuf_copy(fd, buf, 0, data, buf->size, false);
	uint32_t i;

	for (i = 0; i < buf->size && zero; i++)
		zero = !data[i];
	free(data);
	return zero;
}

/* DMA */

static inline struct ptd_test_request copy_request(int pasid, uint64_t src, uint64_t dst,
						   uint32_t len)
{
	return (struct ptd_test_request){
		.ctrl = PTD_OP_COPY | (pasid ? PTD_F_PASID : 0), .pasid = pasid,
		.src = src, .dst = dst, .len = len,
	};
}

static inline struct ptd_test_request fill_request(int pasid, uint64_t dst, uint32_t len)
{
	return (struct ptd_test_request){
		.ctrl = PTD_OP_FILL | (pasid ? PTD_F_PASID : 0), .pasid = pasid,
		.dst = dst, .len = len, .pattern = FILL_PATTERN,
	};
}

static inline int run_copy(int fd, int pasid, uint64_t src, uint64_t dst, uint32_t len)
{
	struct ptd_test_request req = copy_request(pasid, src, dst, len);

	return ptd_run(fd, &req);
}

static inline int run_fill(int fd, int pasid, uint64_t dst, uint32_t len)
{
	struct ptd_test_request req = fill_request(pasid, dst, len);

	return ptd_run(fd, &req);
}

/* Reading is a fault at @addr, and so is writing; nothing moves */
static inline bool faults(int fd, int pasid, uint64_t addr)
{
	struct ptd_test_request read = copy_request(pasid, addr, addr, 64);
	struct ptd_test_request fill = fill_request(pasid, addr, 64);

	return ptd_run(fd, &read) == PTD_ST_READ_FAULT && !read.moved &&
	       read.fault_addr == addr &&
	       ptd_run(fd, &fill) == PTD_ST_WRITE_FAULT && !fill.moved && fill.fault_addr == addr;
}

/* As the kernel accesses memory: in privileged mode */
static inline int run_privileged(int fd, struct ptd_test_request req)
{
	req.ctrl |= PTD_F_PRIV;
	return ptd_run(fd, &req);
}

/* Reads without writing: into the device's own memory */
static inline int run_read(int fd, int pasid, uint64_t addr, uint32_t len)
{
	struct ptd_test_request req = {
		.ctrl = PTD_OP_READ | (pasid ? PTD_F_PASID : 0), .pasid = pasid,
		.src = addr, .len = len,
	};

	return ptd_run(fd, &req);
}

/*
 * In lazy mode what is unmapped goes when its queue is flushed. The device only reads
 * until then: the memory may be another's by now.
 */
static inline void wait_for_flush(int fd, int pasid, uint64_t addr)
{
	long long end = now_ms() + 2000;

	while (run_read(fd, pasid, addr, 64) == PTD_ST_OK && now_ms() < end)
		usleep(5000);
}

/* Unmapped, and reached no more: at once in strict mode, soon in lazy mode */
static inline bool gone(int fd, int pasid, uint64_t addr)
{
	if (in_profile("lazy"))
		wait_for_flush(fd, pasid, addr);
	return faults(fd, pasid, addr);
}

/* debugfs */

/* What is said of a device and a mode, without the device; empty for nothing */
static inline const char *shown(const struct ptd_test_info *info, const char *mode, char *text,
				size_t size)
{
	char line[256], name[64], rest[192];
	FILE *file = fopen(DEBUGFS_PASID, "r");

	*text = 0;
	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "device %63s %191[^\n]", name, rest) != 2 ||
		    strcmp(name, pci_name(info).text) || !strstr(rest, mode))
			continue;
		snprintf(text, size, "%s", rest);
	}
	if (file)
		fclose(file);
	return text;
}

#define EXPECT_SHOWN(info, mode, expected) do {				\
	char _text[192];						\
	EXPECT_STREQ(expected, shown(info, mode, _text, sizeof(_text)));	\
} while (0)

/* One WARN, of the core, while @statement runs */
#define EXPECT_CORE_WARN(statement) do {				\
	EXPECT_EQ(0, expect_warn_begin(CORE_SOURCE));			\
	statement;							\
	EXPECT_EQ(0, expect_warn_end());				\
} while (0)

#endif /* _DMA_PASID_UTIL_H */
