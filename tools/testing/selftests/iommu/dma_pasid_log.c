// SPDX-License-Identifier: GPL-2.0
/*
 * DMA with PASID inside the kernel: what the log says when a device goes on after
 * its PASID was disabled.
 *
 * The kernel's limiter lets ten messages pass in 5 s, and a fault takes three of them.
 * So it waits for a while, which one profile is enough for.
 *
 * profiles: first-stage
 */
#include "dma_pasid_util.h"
#include "../kselftest_harness.h"

/* Whether the kernel logs such a fault, which takes it a moment */
static bool logged(const struct ptd_test_info *info, int pasid, uint64_t addr, int kmsg)
{
	long long end = now_ms() + 5000;
	char line[1024], expected[128];
	ssize_t len;

	snprintf(expected, sizeof(expected), "PASID 0x%x] Request device [%s] fault addr 0x%llx ",
		 pasid, pci_name(info).text, (unsigned long long)addr);
	do {
		len = read(kmsg, line, sizeof(line) - 1);
		if (len < 0 && errno == EAGAIN)
			usleep(10000);
		if (len <= 0)
			continue;
		line[len] = 0;
		if (strstr(line, expected))
			return true;
	} while (now_ms() < end);
	return false;
}

TEST(logged_faults)
{
	int kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	uint64_t addrs[NR_MODES];
	struct ptd_test_info info;
	int fd, mode, pasid;
	struct kbuf src;

	ASSERT_LE(0, kmsg);
	ASSERT_EQ(1, find_devices(true, true, &info, 1));
	fd = ptd_open(&info);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, kbuf_alloc(fd, DMA_PASID_TEST_PAGES, PAGE, &src));
	addrs[BYPASS] = src.phys;
	addrs[IOVA] = 0x7654321000;
	addrs[KVA] = src.addr;

	for (mode = BYPASS; mode < NR_MODES; mode++) {
		pasid = enable(fd, &info, mode);
		ASSERT_LT(0, pasid);
		EXPECT_EQ(0, disable(fd, &info, mode));
		/* What the kernel's limiter lets pass depends on the last 5 s */
		sleep(6);
		ASSERT_LE(0, lseek(kmsg, 0, SEEK_END));
		EXPECT_EQ(PTD_ST_WRITE_FAULT, run_fill(fd, pasid, addrs[mode], 64));
		EXPECT_TRUE(logged(&info, pasid, addrs[mode], kmsg));
	}
	EXPECT_EQ(0, close(fd));
	EXPECT_EQ(0, close(kmsg));
}

TEST_HARNESS_MAIN
