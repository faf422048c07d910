// SPDX-License-Identifier: GPL-2.0
/*
 * The sample drivers of DMA with PASID: what they say in the kernel's log.
 *
 * profiles: first-stage
 */
#include "dma_pasid_util.h"
#include "../kselftest_harness.h"

#include <sys/syscall.h>
#include <sys/utsname.h>

FIXTURE(samples)
{
	struct ptd_test_info info;
	int kmsg;
};

FIXTURE_SETUP(samples)
{
	ASSERT_EQ(1, find_devices(true, true, &self->info, 1));
	self->kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	ASSERT_LE(0, self->kmsg);
	lseek(self->kmsg, 0, SEEK_END);
}

FIXTURE_TEARDOWN(samples)
{
	EXPECT_EQ(0, rebind(&self->info, "pasid_testdev"));
	close(self->kmsg);
}

/* Loads a module, whose name is the driver's, and gives it the device */
static int start(struct _test_data_samples *self, const char *name)
{
	char path[PATH_MAX];
	struct utsname uts;
	int fd, ret;

	uname(&uts);
	snprintf(path, sizeof(path), "/lib/modules/%s/kernel/samples/iommu-ext/%s.ko",
		 uts.release, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = syscall(SYS_finit_module, fd, "", 0) ? -errno : 0;
	close(fd);
	return ret ?: rebind(&self->info, name);
}

static void stop(struct _test_data_samples *self, const char *name)
{
	rebind(&self->info, NULL);
	syscall(SYS_delete_module, name, O_NONBLOCK);
}

/* How many of these the kernel has said, in this order, since the last call */
static unsigned int said(struct _test_data_samples *self, const char * const *lines,
			 unsigned int nr)
{
	unsigned int found = 0;
	char line[1024];
	ssize_t len;

	while ((len = read(self->kmsg, line, sizeof(line) - 1)) > 0) {
		line[len] = 0;
		if (found < nr && strstr(line, pci_name(&self->info).text) &&
		    strstr(line, lines[found]))
			found++;
	}
	return found;
}

TEST_F_TIMEOUT(samples, rust, 120)
{
	static const char * const lines[] = {
		"iova: PASID 1 works", "iova: PASID 1 is blocked",
		"bypass: PASID 1 works", "bypass: PASID 1 is blocked",
		"kva: PASID 1 works", "kva: PASID 1 reads",
		"kva: PASID 1 is blocked",
	};

	EXPECT_EQ(0, start(self, "rust_dma_pasid"));
	EXPECT_EQ(ARRAY_SIZE(lines), said(self, lines, ARRAY_SIZE(lines)));
	EXPECT_SHOWN(&self->info, "mode", "");
	stop(self, "rust_dma_pasid");
}

TEST_F_TIMEOUT(samples, c, 120)
{
	static const char * const lines[] = {
		"kva: PASID 1 works while the buffer is mapped",
	};

	EXPECT_EQ(0, start(self, "dma_pasid"));
	EXPECT_EQ(ARRAY_SIZE(lines), said(self, lines, ARRAY_SIZE(lines)));
	EXPECT_SHOWN(&self->info, "mode", "");
	stop(self, "dma_pasid");
}

TEST_HARNESS_MAIN
