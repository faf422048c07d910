// SPDX-License-Identifier: GPL-2.0
/*
 * What "make run" tells: no test, but every statement is checked.
 *
 * Lines for the host begin with "story:":
 *
 *	story: fact NAME true|false TEXT
 *	story: row TABLE CELL|CELL|...
 *
 * profiles: none
 */
#include <dirent.h>
#include <limits.h>
#include <stdarg.h>

#include "dma_pasid_util.h"

#define SIZE		(4 * PAGE)
#define SRC_IOVA	0x10000000ull
#define DST_IOVA	0x20000000ull
#define NR_IDS		4
#define RTADDR_SMT	0x400		/* the root table is one of scalable mode */

static void state(const char *name, bool holds, const char *format, ...)
{
	va_list args;

	printf("story: fact %s %s ", name, holds ? "true" : "false");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
}

/* A number in a file, 0 if there is none */
static unsigned long long read_number(int base, const char *folder, const char *file)
{
	char path[PATH_MAX];
	unsigned long long value = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, file);
	f = fopen(path, "r");
	if (!f)
		return 0;
	if (fscanf(f, base == 16 ? "%llx" : "%lld", &value) != 1)
		value = 0;
	fclose(f);
	return value;
}

/* What the kernel set the first VT-d unit to, not what that is able to do */
static void tell_hardware(void)
{
	FILE *f = fopen("/sys/kernel/debug/iommu/intel/iommu_regset", "r");
	unsigned long long root = 0;
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "RTADDR %*x %llx", &root) == 1)
			break;
	if (f)
		fclose(f);
	state("scalable", root & RTADDR_SMT,
	      "the VT-d unit dmar0 works in scalable mode (root table address %#llx)", root);
}

static const char *describe(unsigned int vendor, unsigned int device, unsigned int class)
{
	if (vendor == PTD_VENDOR_ID && device == PTD_DEVICE_ID)
		return "PASID test device";
	if (vendor == 0x1234 && device == 0x11e8)
		return "edu, a device without PASIDs";
	switch (class >> 8) {
	case 0x0600:
		return "host bridge";
	case 0x0601:
		return "ISA bridge";
	case 0x0604:
		return "root port";
	case 0x0106:
		return "SATA controller";
	case 0x0c05:
		return "SMBus controller";
	default:
		return "device";
	}
}

static int name_order(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static void tell_groups(int fd)
{
	struct ptd_test_info infos[16];
	int nr = ptd_list(fd, infos, 16);
	struct dirent **devices;
	int i, j, count, found = 0;

	count = scandir("/sys/bus/pci/devices", &devices, visible, name_order);
	for (i = 0; i < count; i++) {
		const char *name = devices[i]->d_name;
		unsigned int segment, bus, slot, function;
		char folder[PATH_MAX], link[PATH_MAX];
		unsigned int pasids = 0;
		ssize_t len;
		char *group;

		snprintf(folder, sizeof(folder), "/sys/bus/pci/devices/%s/iommu_group", name);
		len = readlink(folder, link, sizeof(link) - 1);
		if (len < 0)
			continue;
		link[len] = 0;
		group = strrchr(link, '/');
		if (sscanf(name, "%x:%x:%x.%x", &segment, &bus, &slot, &function) != 4)
			continue;
		for (j = 0; j < nr; j++)
			if (infos[j].segment == segment && infos[j].bus == bus &&
			    infos[j].devfn == (slot << 3 | function) && infos[j].pasid_enabled)
				pasids = infos[j].max_pasids;
		snprintf(folder, sizeof(folder), "/sys/bus/pci/devices/%s", name);
		printf("story: row groups %s|%s|%s|", name,
		       describe(read_number(16, folder, "vendor"),
				read_number(16, folder, "device"),
				read_number(16, folder, "class")),
		       group ? group + 1 : "?");
		printf(pasids ? "%u\n" : "-\n", pasids);
		found++;
	}
	state("groups", found > 0, "%d devices are in IOMMU groups", found);
}

static uint32_t alloc_id(int fd, uint32_t set, uint32_t min, uint32_t max, uint32_t token)
{
	struct ioasid_test_alloc args = { .set = set, .min = min, .max = max, .token = token };

	return ioctl(fd, IOASID_TEST_ALLOC, &args) ? IOASID_TEST_INVALID : args.id;
}

static bool free_id(int fd, uint32_t id)
{
	struct ioasid_test_free args = { .id = id };

	return !ioctl(fd, IOASID_TEST_FREE, &args);
}

/* The token found, or a negative error */
static int64_t find_id(int fd, uint32_t set, uint32_t id)
{
	struct ioasid_test_find args = { .set = set, .id = id };

	if (ioctl(fd, IOASID_TEST_FIND, &args))
		return -EIO;
	return args.error ?: (int64_t)args.token;
}

static void tell_ids(int fd)
{
	uint32_t ids[2][NR_IDS];
	bool given = true, found = true, foreign = true, freed = true, full;
	uint32_t set, i;

	for (i = 0; i < NR_IDS; i++)
		for (set = 0; set < 2; set++)
			ids[set][i] = alloc_id(fd, set, 2, 0xfffff, 100 * set + i + 1);
	for (set = 0; set < 2; set++) {
		printf("story: row ids %u|", set);
		for (i = 0; i < NR_IDS; i++) {
			given &= ids[set][i] != IOASID_TEST_INVALID;
			printf("%s%u", i ? ", " : "", ids[set][i]);
			found &= find_id(fd, set, ids[set][i]) == 100 * set + i + 1;
			foreign &= find_id(fd, !set, ids[set][i]) == -EACCES;
		}
		printf("\n");
	}
	state("given", given, "the Rust allocator gave %d PASIDs to each of two sets", NR_IDS);
	state("found", found, "each is found under RCU with its data");
	state("foreign", foreign, "asked for as one of the other set, each is refused (EACCES)");

	for (set = 0; set < 2; set++)
		for (i = 0; i < NR_IDS; i++) {
			freed &= free_id(fd, ids[set][i]);
			freed &= find_id(fd, set, ids[set][i]) == -ENOENT;
		}
	state("freed", freed, "freed, none of them is found any more (ENOENT)");

	for (i = 0, full = true; i < NR_IDS; i++)
		full &= alloc_id(fd, 0, 5000, 5000 + NR_IDS - 1, 1) == 5000 + i;
	full &= alloc_id(fd, 0, 5000, 5000 + NR_IDS - 1, 1) == IOASID_TEST_INVALID;
	state("exhausted", full, "a range of %d gives its last one, then no more", NR_IDS);
	ioctl(fd, IOASID_TEST_DRAIN);
}

static const char *status_name(int status)
{
	switch (status) {
	case PTD_ST_OK:
		return "done";
	case PTD_ST_READ_FAULT:
		return "read fault";
	case PTD_ST_WRITE_FAULT:
		return "write fault";
	default:
		return status < 0 ? strerror(-status) : "another error";
	}
}

static void tell_dma(int fd)
{
	static uint8_t sent[SIZE], got[SIZE];
	struct ptd_test_info infos[16];
	int nr = ptd_list(fd, infos, 16);
	uint32_t src, dst, domain, pasid;
	static const char * const when[] = { "before attach", "attached", "after detach" };
	static const char * const names[] = { "before_attach", "dma", "after_detach" };
	int i, dev;

	for (i = 0; i < nr && !infos[i].pasid_enabled; i++)
		;
	dev = i < nr ? ptd_open(&infos[i]) : -ENODEV;
	if (dev < 0) {
		state("device", false, "there is no device that can use PASIDs");
		return;
	}
	if (ptd_pasid_alloc(dev, &infos[i], &pasid))
		pasid = 0;
	for (i = 0; i < (int)SIZE; i++)
		sent[i] = i * 7 + 1;
	if (!pasid || ptd_buf_alloc(dev, SIZE, false, &src, NULL) ||
	    ptd_buf_alloc(dev, SIZE, false, &dst, NULL) || ptd_buf_write(dev, src, sent, SIZE) ||
	    ioctl(dev, PTD_TEST_DOMAIN_ALLOC, &domain) ||
	    ptd_map(dev, domain, src, SRC_IOVA, false) ||
	    ptd_map(dev, domain, dst, DST_IOVA, true)) {
		state("device", false, "the test device cannot be prepared: %s", strerror(errno));
		close(dev);
		return;
	}
	state("device", true, "the test device got PASID %u and a domain with two buffers", pasid);

	for (i = 0; i < 3; i++) {
		struct ptd_test_request req = {
			.ctrl = PTD_OP_COPY | PTD_F_PASID, .pasid = pasid,
			.src = SRC_IOVA, .dst = DST_IOVA, .len = SIZE,
		};
		bool attached = i == 1;
		int ret = 0;
		int status;

		if (i)
			ret = attached ? ptd_attach(dev, domain, pasid) : ptd_detach(dev, pasid);
		status = ret ?: ptd_run(dev, &req);
		printf("story: row dma %s|%u|%s|%u\n", when[i], pasid, status_name(status),
		       req.moved);
		if (attached)
			state(names[i], status == PTD_ST_OK &&
			      !ptd_buf_read(dev, dst, got, SIZE) && !memcmp(sent, got, SIZE),
			      "attached to the domain, the same DMA copies every byte");
		else
			state(names[i], status == PTD_ST_READ_FAULT && !req.moved,
			      "%s, DMA with the PASID faults and moves nothing", when[i]);
	}
	close(dev);
}

/* One call gives a PASID, and the driver chooses what its addresses are */
static void tell_modes(void)
{
	static const struct {
		const char *name, *kind, *what;
	} modes[NR_MODES] = {
		[BYPASS] = { "bypass", "physical", "physical addresses reach memory as they are" },
		[IOVA] = { "iova", "DMA API", "what dma_map_single() returned works with a PASID" },
		[KVA] = { "kva", "kernel virtual", "iommu_map_kva() lets the device use pointers" },
	};
	uint64_t src[NR_MODES] = {}, dst[NR_MODES] = {};
	struct ptd_test_info info = {};
	int mode, fd, pasids[NR_MODES];
	struct kbuf from, to;
	bool disabled = true;

	fd = find_devices(true, true, &info, 1) == 1 ? ptd_open(&info) : -ENODEV;
	if (fd < 0 || kbuf_alloc(fd, DMA_PASID_TEST_PAGES, SIZE, &from) ||
	    kbuf_alloc(fd, DMA_PASID_TEST_PAGES, SIZE, &to) || kbuf_write_pattern(fd, &from, 1)) {
		state("modes", false, "the test device cannot be prepared");
		return;
	}
	for (mode = 0; mode < NR_MODES; mode++)
		pasids[mode] = enable(fd, &info, mode);
	src[BYPASS] = from.phys;
	dst[BYPASS] = to.phys;
	src[KVA] = from.addr;
	dst[KVA] = to.addr;
	state("modes", pasids[BYPASS] > 0 && pasids[IOVA] > 0 && pasids[KVA] > 0 &&
	      !dma_map(fd, &info, &from, 0, SIZE, false, &src[IOVA]) &&
	      !dma_map(fd, &info, &to, 0, SIZE, false, &dst[IOVA]) &&
	      !map_kva(fd, &info, from.addr, SIZE, PROT_R) &&
	      !map_kva(fd, &info, to.addr, SIZE, PROT_RW),
	      "the test device has three PASIDs at once, for the same two buffers");

	for (mode = 0; mode < NR_MODES; mode++) {
		uint64_t at = src[mode];
		struct ptd_test_request req = copy_request(pasids[mode], at, dst[mode], SIZE);
		struct ptd_test_request late = req;
		char zero[SIZE] = {};
		int status;
		bool copied;

		kbuf_copy(fd, &to, 0, zero, SIZE, true);
		status = ptd_run(fd, &req);
		copied = status == PTD_ST_OK && kbuf_has_pattern(fd, &to, 0, SIZE, 1, 0);
		state(modes[mode].name, copied, "%s: %s", modes[mode].name, modes[mode].what);
		status = disable(fd, &info, mode) ?: ptd_run(fd, &late);
		disabled &= status == PTD_ST_READ_FAULT && !late.moved;
		printf("story: row modes %s|%d|%s|%#llx|%u|%s\n", modes[mode].name, pasids[mode],
		       modes[mode].kind, (unsigned long long)at, req.moved,
		       status_name(status));
	}
	state("disabled", disabled, "disabled, the same DMA faults and moves nothing");
	close(fd);
}

int main(void)
{
	int fd = open_test_device();

	setlinebuf(stdout);
	if (fd < 0) {
		state("module", false, "%s cannot be opened: %s", IOMMU_EXT_TEST_DEVICE,
		      strerror(errno));
		return 1;
	}
	tell_hardware();
	tell_groups(fd);
	tell_ids(fd);
	tell_dma(fd);
	tell_modes();
	return 0;
}
