/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Userspace that drives a device through VFIO and iommufd: opens it, maps memory
 * for it, and has it do DMA there.
 */
#ifndef _VFIO_UTIL_H
#define _VFIO_UTIL_H

#include <sys/eventfd.h>
#include <sys/mman.h>

#include <linux/iommufd.h>
#include <linux/vfio.h>

#include "dma_owner_util.h"

#define SIZE		0x4000
#define IOVA		0x100000	/* within the 28 bits of edu */
#define PATTERN		0xc001d00dc001d00dull

/* A device that userspace has, by either way */
struct user {
	int container, group;		/* by the group interface */
	int iommufd, ioas;		/* by iommufd */
	int device;
	uint32_t devid;			/* what iommufd calls it */
	void *memory;
	uint32_t *bar;
	size_t bar_size;
};

static const struct user no_user = {
	.container = -1, .group = -1, .iommufd = -1, .device = -1,
};

static inline void user_close(struct user *user)
{
	if (user->bar)
		munmap(user->bar, user->bar_size);
	if (user->device >= 0)
		close(user->device);
	if (user->group >= 0)
		close(user->group);
	if (user->container >= 0)
		close(user->container);
	if (user->iommufd >= 0)
		close(user->iommufd);
	if (user->memory)
		munmap(user->memory, SIZE);
	*user = no_user;
}

static inline int user_memory(struct user *user)
{
	user->memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (user->memory == MAP_FAILED) {
		user->memory = NULL;
		return -ENOMEM;
	}
	return 0;
}

static inline int cdev_open(const struct pci *pci)
{
	char path[PATH_MAX];
	struct dirent *entry;
	int fd = -1;
	DIR *dir;

	snprintf(path, sizeof(path), PCI_DEVICES "/%s/vfio-dev", pci->name);
	dir = opendir(path);
	while (dir && fd < 0 && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, "vfio", 4))
			continue;
		snprintf(path, sizeof(path), "/dev/vfio/devices/%s", entry->d_name);
		fd = open(path, O_RDWR | O_CLOEXEC);
	}
	if (dir)
		closedir(dir);
	return fd;
}

/* Binds a device to an iommufd, which the user takes over */
static inline int iommufd_bind_to(struct user *user, int iommufd, const struct pci *pci)
{
	struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind), .iommufd = iommufd };

	*user = no_user;
	user->iommufd = iommufd;
	if (user_memory(user))
		return -ENOMEM;
	user->device = cdev_open(pci);
	if (user->iommufd < 0 || user->device < 0)
		return -ENODEV;
	if (ioctl(user->device, VFIO_DEVICE_BIND_IOMMUFD, &bind))
		return -errno;
	user->devid = bind.out_devid;
	return 0;
}

static inline int iommufd_bind(struct user *user, const struct pci *pci)
{
	return iommufd_bind_to(user, open("/dev/iommu", O_RDWR | O_CLOEXEC), pci);
}

/* An address space with the memory in it */
static inline int iommufd_map(struct user *user)
{
	struct iommu_ioas_alloc alloc = { .size = sizeof(alloc) };
	struct iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_WRITEABLE |
			 IOMMU_IOAS_MAP_READABLE,
		.length = SIZE,
		.iova = IOVA,
	};

	if (ioctl(user->iommufd, IOMMU_IOAS_ALLOC, &alloc))
		return -errno;
	user->ioas = alloc.out_ioas_id;
	map.ioas_id = user->ioas;
	map.user_va = (uintptr_t)user->memory;
	return test_ioctl(user->iommufd, IOMMU_IOAS_MAP, &map);
}

/* To an address space, or to a page table */
static inline int user_attach(struct user *user, uint32_t pt)
{
	struct vfio_device_attach_iommufd_pt attach = { .argsz = sizeof(attach), .pt_id = pt };

	return test_ioctl(user->device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach);
}

/* To a page table, for what the device sends with a PASID, which userspace chooses */
static inline int user_attach_pasid(struct user *user, uint32_t pt, uint32_t pasid)
{
	struct vfio_device_attach_iommufd_pt attach = {
		.argsz = sizeof(attach),
		.flags = VFIO_DEVICE_ATTACH_PASID,
		.pt_id = pt,
		.pasid = pasid,
	};

	return test_ioctl(user->device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach);
}

static inline int user_detach_pasid(struct user *user, uint32_t pasid)
{
	struct vfio_device_detach_iommufd_pt detach = {
		.argsz = sizeof(detach),
		.flags = VFIO_DEVICE_DETACH_PASID,
		.pasid = pasid,
	};

	return test_ioctl(user->device, VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach);
}

static inline int user_detach(struct user *user)
{
	struct vfio_device_detach_iommufd_pt detach = { .argsz = sizeof(detach) };

	return test_ioctl(user->device, VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach);
}

static inline int iommufd_open(struct user *user, const struct pci *pci)
{
	int ret = iommufd_bind(user, pci);

	if (!ret)
		ret = iommufd_map(user);
	return ret ?: user_attach(user, user->ioas);
}

/* BAR 0, and the right to do DMA */
static inline int user_start(struct user *user)
{
	struct vfio_region_info info = {
		.argsz = sizeof(info), .index = VFIO_PCI_CONFIG_REGION_INDEX,
	};
	uint16_t command;
	off_t at;

	if (ioctl(user->device, VFIO_DEVICE_GET_REGION_INFO, &info))
		return -errno;
	at = info.offset + PCI_COMMAND;
	if (pread(user->device, &command, 2, at) != 2)
		return -EIO;
	command |= PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	if (pwrite(user->device, &command, 2, at) != 2)
		return -EIO;

	info = (struct vfio_region_info){
		.argsz = sizeof(info), .index = VFIO_PCI_BAR0_REGION_INDEX,
	};
	if (ioctl(user->device, VFIO_DEVICE_GET_REGION_INFO, &info))
		return -errno;
	user->bar_size = info.size;
	user->bar = mmap(NULL, info.size, PROT_READ | PROT_WRITE, MAP_SHARED,
			 user->device, info.offset);
	if (user->bar == MAP_FAILED) {
		user->bar = NULL;
		return -errno;
	}
	return 0;
}

/* An eventfd that says when the user is to let go of the device */
static inline int user_request(struct user *user)
{
	union {
		struct vfio_irq_set set;
		char space[sizeof(struct vfio_irq_set) + sizeof(int)];
	} irq = {
		.set = {
			.argsz = sizeof(irq),
			.flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
			.index = VFIO_PCI_REQ_IRQ_INDEX,
			.count = 1,
		},
	};
	int fd = eventfd(0, EFD_CLOEXEC);

	memcpy(irq.set.data, &fd, sizeof(fd));
	return ioctl(user->device, VFIO_DEVICE_SET_IRQS, &irq) ? -errno : fd;
}

static inline uint32_t get32(struct user *user, uint32_t offset)
{
	return __atomic_load_n(&user->bar[offset / 4], __ATOMIC_SEQ_CST);
}

static inline void put32(struct user *user, uint32_t offset, uint32_t value)
{
	__atomic_store_n(&user->bar[offset / 4], value, __ATOMIC_SEQ_CST);
}

static inline void put64(struct user *user, uint32_t offset, uint64_t value)
{
	__atomic_store_n((uint64_t *)&user->bar[offset / 4], value, __ATOMIC_SEQ_CST);
}

/* A pasid-testdev fills memory, with a PASID unless that is 0; its status */
static inline uint32_t ptd_fill_pasid(struct user *user, uint32_t pasid, uint64_t iova)
{
	long long end = now_ms() + 20000;
	uint32_t slot = PTD_SLOT(0, 0);
	uint32_t status;

	put64(user, slot + PTD_D_DST, iova);
	put64(user, slot + PTD_D_PATTERN, PATTERN);
	put32(user, slot + PTD_D_PASID, pasid);
	put32(user, slot + PTD_D_LEN, SIZE);
	put32(user, slot + PTD_D_DELAY_US, 0);
	put32(user, slot + PTD_D_CTRL, PTD_OP_FILL | (pasid ? PTD_F_PASID : 0));
	put32(user, PTD_QUEUE(0) + PTD_Q_DOORBELL, 0);
	do {
		usleep(1000);
		status = get32(user, slot + PTD_D_STATUS);
	} while ((status == PTD_ST_QUEUED || status == PTD_ST_RUNNING) && now_ms() < end);
	return status;
}

static inline uint32_t ptd_fill(struct user *user, uint64_t iova)
{
	return ptd_fill_pasid(user, 0, iova);
}

static inline bool memory_is(struct user *user, size_t from, size_t to, uint64_t value)
{
	uint64_t *words = user->memory;

	for (; from < to; from += 8)
		if (words[from / 8] != value)
			return false;
	return true;
}

#endif /* _VFIO_UTIL_H */
