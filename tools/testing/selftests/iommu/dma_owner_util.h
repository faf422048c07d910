/* SPDX-License-Identifier: GPL-2.0 */
/*
 * PCI devices for the tests of DMA ownership: found by what they are, bound to
 * the driver that a test wants, put back afterwards.
 */
#ifndef _DMA_OWNER_UTIL_H
#define _DMA_OWNER_UTIL_H

#include <dirent.h>
#include <limits.h>
#include <stdint.h>

#include <linux/pci_regs.h>

#include "iommu_ext_util.h"
#include "../../../../drivers/iommu/ext/test/pasid_testdev_regs.h"

#define PCI_DEVICES	"/sys/bus/pci/devices"
#define MAX_PCI		64

#define DRIVER_MANAGED	"iommu_ext_managed"
#define DRIVER_PLAIN	"iommu_ext_plain"
#define DRIVER_VFIO	"vfio-pci"
#define DRIVER_SMBUS	"i801_smbus"

#define EDU_ID		0x11e8

/* As in <linux/iommu-dma-owner.h>, which userspace does not see */
enum {
	OWNER_NONE,
	OWNER_DMA_API,
	OWNER_PRIVATE,
	OWNER_USER,
};

struct pci {
	char name[32];
	unsigned int vendor, device;
	int group;			/* -1: none */
	struct dma_owner_test_dev dev;
};

static inline int read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len;

	if (fd < 0)
		return -errno;
	len = read(fd, text, size - 1);
	close(fd);
	if (len < 0)
		return -errno;
	text[len] = 0;
	return 0;
}

static inline unsigned int pci_read_id(const char *name, const char *attr)
{
	char path[PATH_MAX], text[32] = "";

	snprintf(path, sizeof(path), PCI_DEVICES "/%s/%s", name, attr);
	read_text(path, text, sizeof(text));
	return strtoul(text, NULL, 16);
}

/* The last part of what a device's link refers to; NULL without the link */
static inline const char *pci_link(const char *name, const char *link, char *target)
{
	char path[PATH_MAX];
	ssize_t len;

	snprintf(path, sizeof(path), PCI_DEVICES "/%s/%s", name, link);
	len = readlink(path, target, PATH_MAX - 1);
	if (len < 0)
		return NULL;
	target[len] = 0;
	return strrchr(target, '/') + 1;
}

static inline int pci_compare(const void *a, const void *b)
{
	return strcmp(((const struct pci *)a)->name, ((const struct pci *)b)->name);
}

/* All devices in the order of their addresses */
static inline int pci_list(struct pci *list)
{
	DIR *dir = opendir(PCI_DEVICES);
	char target[PATH_MAX];
	struct dirent *entry;
	int nr = 0;

	while (dir && nr < MAX_PCI && (entry = readdir(dir))) {
		struct pci *pci = &list[nr];
		unsigned int dev, fn;
		const char *group;

		if (sscanf(entry->d_name, "%x:%x:%x.%x", &pci->dev.segment,
			   &pci->dev.bus, &dev, &fn) != 4)
			continue;
		snprintf(pci->name, sizeof(pci->name), "%.31s", entry->d_name);
		pci->dev.devfn = dev << 3 | fn;
		pci->vendor = pci_read_id(pci->name, "vendor");
		pci->device = pci_read_id(pci->name, "device");
		group = pci_link(pci->name, "iommu_group", target);
		pci->group = group ? atoi(group) : -1;
		nr++;
	}
	if (dir)
		closedir(dir);
	qsort(list, nr, sizeof(*list), pci_compare);
	return nr;
}

static inline bool is_ptd(const struct pci *pci)
{
	return pci->vendor == PTD_VENDOR_ID && pci->device == PTD_DEVICE_ID;
}

static inline bool is_edu(const struct pci *pci)
{
	return pci->vendor == PTD_VENDOR_ID && pci->device == EDU_ID;
}

static inline int group_size(const struct pci *list, int nr, int group)
{
	int size = 0;

	while (nr--)
		size += list[nr].group == group;
	return size;
}

/* The first test device that is alone in its group */
static inline bool find_single(struct pci *found)
{
	struct pci list[MAX_PCI];
	int nr = pci_list(list), i;

	for (i = 0; i < nr; i++) {
		if (!is_ptd(&list[i]) || group_size(list, nr, list[i].group) != 1)
			continue;
		*found = list[i];
		return true;
	}
	return false;
}

/* Two test devices that make up a group */
static inline bool find_pair(struct pci *pair)
{
	struct pci list[MAX_PCI];
	int nr = pci_list(list), i;

	for (i = 0; i + 1 < nr; i++) {
		if (!is_ptd(&list[i]) || !is_ptd(&list[i + 1]) || list[i].group < 0 ||
		    list[i].group != list[i + 1].group ||
		    group_size(list, nr, list[i].group) != 2)
			continue;
		memcpy(pair, &list[i], 2 * sizeof(*pair));
		return true;
	}
	return false;
}

/* Two functions of the chipset, whose group has to do with neither PASIDs nor hot-plug */
static inline bool find_chipset(struct pci *sata, struct pci *smbus)
{
	struct pci list[MAX_PCI];
	int nr = pci_list(list), i;

	sata->group = -1;
	smbus->group = -2;
	for (i = 0; i < nr; i++) {
		if (!strcmp(list[i].name, "0000:00:1f.2"))
			*sata = list[i];
		if (!strcmp(list[i].name, "0000:00:1f.3"))
			*smbus = list[i];
	}
	return sata->group == smbus->group && group_size(list, nr, sata->group) > 2;
}

static inline bool pci_is_there(const struct pci *pci)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), PCI_DEVICES "/%s", pci->name);
	return !access(path, F_OK);
}

static inline bool pci_is_bound(const struct pci *pci, const char *driver)
{
	char target[PATH_MAX];
	const char *now = pci_link(pci->name, "driver", target);

	return now && !strcmp(now, driver);
}

static inline int pci_unbind(const struct pci *pci)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), PCI_DEVICES "/%s/driver/unbind", pci->name);
	if (access(path, F_OK))
		return 0;
	return write_file(path, pci->name);
}

/* Binds to this driver and no other; what the driver core answers */
static inline int pci_bind(const struct pci *pci, const char *driver)
{
	char path[PATH_MAX];
	int ret;

	ret = pci_unbind(pci);
	if (ret)
		return ret;
	snprintf(path, sizeof(path), PCI_DEVICES "/%s/driver_override", pci->name);
	ret = write_file(path, driver);
	if (ret)
		return ret;
	snprintf(path, sizeof(path), "/sys/bus/pci/drivers/%s/bind", driver);
	return write_file(path, pci->name);
}

/* Lets the driver have it that is meant for it */
static inline int pci_restore(const struct pci *pci)
{
	char path[PATH_MAX];

	if (!pci_is_there(pci))
		pci_rescan();
	pci_unbind(pci);
	snprintf(path, sizeof(path), PCI_DEVICES "/%s/driver_override", pci->name);
	write_file(path, "\n");
	return write_file("/sys/bus/pci/drivers_probe", pci->name);
}

/* Sysfs hot-unplug */
static inline int pci_remove(const struct pci *pci)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), PCI_DEVICES "/%s/remove", pci->name);
	return write_file(path, "1");
}

/* A function-level reset, if the device has one */
static inline int pci_reset(const struct pci *pci)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), PCI_DEVICES "/%s/reset", pci->name);
	return write_file(path, "1");
}

/* Exchanges the default domain of the device's group for one of another type */
static inline int pci_set_group_type(const struct pci *pci, const char *type)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), PCI_DEVICES "/%s/iommu_group/type", pci->name);
	return write_file(path, type);
}

/* Through the test module */

static inline int claim(int fd, const struct pci *pci, unsigned int owner, unsigned int cookie)
{
	struct dma_owner_test_call args = {
		.dev = pci->dev, .owner = owner, .cookie = cookie,
	};

	if (ioctl(fd, DMA_OWNER_TEST_CLAIM, &args)) {
		printf("# DMA_OWNER_TEST_CLAIM %s: %s\n", pci->name, strerror(errno));
		return -EIO;
	}
	return args.error;
}

static inline int release(int fd, const struct pci *pci, unsigned int owner)
{
	struct dma_owner_test_call args = { .dev = pci->dev, .owner = owner };

	return test_ioctl(fd, DMA_OWNER_TEST_RELEASE, &args);
}

static inline int keep_claims(int fd, const struct pci *pci)
{
	struct dma_owner_test_dev args = pci->dev;

	return test_ioctl(fd, DMA_OWNER_TEST_KEEP, &args);
}

static inline int attach_pasid(int fd, const struct pci *pci, enum dma_owner_test_how how,
			       unsigned int pasid)
{
	struct dma_owner_test_attach args = { .dev = pci->dev, .how = how, .pasid = pasid };

	if (ioctl(fd, DMA_OWNER_TEST_ATTACH, &args)) {
		printf("# DMA_OWNER_TEST_ATTACH %s: %s\n", pci->name, strerror(errno));
		return -EIO;
	}
	return args.error;
}

static inline int attach(int fd, const struct pci *pci, enum dma_owner_test_how how)
{
	return attach_pasid(fd, pci, how, 0);
}

static inline int detach(int fd, const struct pci *pci)
{
	struct dma_owner_test_dev args = pci->dev;

	return test_ioctl(fd, DMA_OWNER_TEST_DETACH, &args);
}

static inline int reset_begin(int fd, const struct pci *pci)
{
	struct dma_owner_test_dev args = pci->dev;

	return test_ioctl(fd, DMA_OWNER_TEST_RESET_BEGIN, &args);
}

static inline int reset_end(int fd, const struct pci *pci)
{
	struct dma_owner_test_dev args = pci->dev;

	return test_ioctl(fd, DMA_OWNER_TEST_RESET_END, &args);
}

static inline int fill_start(int fd, const struct pci *pci, unsigned int delay_us)
{
	struct dma_owner_test_fill args = {
		.dev = pci->dev, .len = DMA_OWNER_TEST_BUF_SIZE, .delay_us = delay_us,
	};

	return test_ioctl(fd, DMA_OWNER_TEST_FILL, &args);
}

static inline int fill_poll(int fd, const struct pci *pci, struct dma_owner_test_fill *fill)
{
	*fill = (struct dma_owner_test_fill){ .dev = pci->dev };
	return test_ioctl(fd, DMA_OWNER_TEST_FILLED, fill);
}

/* Until the device says that it is done; PTD_ST_RUNNING if it never does */
static inline struct dma_owner_test_fill fill_wait(int fd, const struct pci *pci)
{
	long long end = now_ms() + 20000;
	struct dma_owner_test_fill fill;

	do {
		if (fill_poll(fd, pci, &fill))
			break;
		if (fill.status != PTD_ST_QUEUED && fill.status != PTD_ST_RUNNING)
			break;
		usleep(1000);
	} while (now_ms() < end);
	return fill;
}

static inline struct dma_owner_test_fill fill(int fd, const struct pci *pci)
{
	if (fill_start(fd, pci, 0))
		return (struct dma_owner_test_fill){};
	return fill_wait(fd, pci);
}

/* The DMA API's memory is reached, all of it */
static inline bool dma_works(int fd, const struct pci *pci)
{
	struct dma_owner_test_fill done = fill(fd, pci);

	return done.status == PTD_ST_OK && done.changed == DMA_OWNER_TEST_BUF_SIZE;
}

/* It is not, no byte of it */
static inline bool dma_is_blocked(int fd, const struct pci *pci)
{
	struct dma_owner_test_fill done = fill(fd, pci);

	return done.status == PTD_ST_WRITE_FAULT && !done.moved && !done.changed;
}

/* What debugfs says about a device's group: "OWNER COUNT", and of the device */
struct shown {
	char owner[32];
	unsigned int count;
	unsigned int claims;
	char claimant[64];
	bool whole;
};

static inline bool show_owner(const struct pci *pci, struct shown *shown)
{
	FILE *file = fopen("/sys/kernel/debug/iommu/ext/dma_owner", "r");
	bool found = false, here = false;
	char line[256], name[64];
	int group;

	memset(shown, 0, sizeof(*shown));
	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "group %d", &group) == 1) {
			here = group == pci->group;
			if (here && sscanf(line, "group %*d owner %31s count %u",
					   shown->owner, &shown->count) == 2)
				shown->whole = strstr(line, " whole");
		} else if (here && sscanf(line, " device %63s", name) == 1 &&
			   !strcmp(name, pci->name)) {
			found = sscanf(line, " device %*s count %u claimant %63s",
				       &shown->claims, shown->claimant) >= 1;
		}
	}
	if (file)
		fclose(file);
	return found;
}

static inline bool owner_is(const struct pci *pci, const char *owner, unsigned int count,
			    unsigned int claims)
{
	struct shown shown;

	if (!show_owner(pci, &shown))
		return false;
	if (strcmp(shown.owner, owner) || shown.count != count || shown.claims != claims) {
		printf("# %s: owner %s count %u claims %u\n", pci->name, shown.owner,
		       shown.count, shown.claims);
		return false;
	}
	return true;
}

#endif /* _DMA_OWNER_UTIL_H */
