/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the kselftests of the IOMMU extensions share.
 *
 * Environment: PROFILE is the name of the guest profile (first-stage if unset),
 * LONG=1 asks for long runs.
 */
#ifndef _IOMMU_EXT_UTIL_H
#define _IOMMU_EXT_UTIL_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "../../../../drivers/iommu/ext/test/iommu_ext_test.h"
#include "../../../../drivers/iommu/ext/test/pasid_testdev_regs.h"

static inline const char *guest_profile(void)
{
	const char *profile = getenv("PROFILE");

	return profile && *profile ? profile : "first-stage";
}

static inline bool in_profile(const char *name)
{
	return !strcmp(guest_profile(), name);
}

static inline bool long_run(void)
{
	const char *value = getenv("LONG");

	return value && *value && strcmp(value, "0");
}

static inline int open_test_device(void)
{
	return open(IOMMU_EXT_TEST_DEVICE, O_RDWR | O_CLOEXEC);
}

/* An ioctl's error as a negative number */
#define test_ioctl(fd, cmd, ...) (ioctl(fd, cmd, ##__VA_ARGS__) ? -errno : 0)

static inline long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

static inline int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t written;
	int ret;

	if (fd < 0)
		return -errno;
	written = write(fd, text, strlen(text));
	ret = written < 0 ? -errno : 0;
	close(fd);
	return ret;
}

/* Finds what was removed, or plugged in */
static inline int pci_rescan(void)
{
	return write_file("/sys/bus/pci/rescan", "1");
}

#define TRACING	"/sys/kernel/tracing"

/* What a trace has so far is dropped by opening it, whatever is written to it then */
static inline int empty_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

/* The number in the line of a file in /proc that has this name; -1 without one */
static inline long proc_number(const char *path, const char *name)
{
	FILE *file = fopen(path, "r");
	char line[128], word[64];
	long value = -1, number;

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "%63[^: ]%*[: ]%ld", word, &number) == 2 && !strcmp(word, name))
			value = number;
	if (file)
		fclose(file);
	return value;
}

/*
 * Announce a WARN to whoever reads the console: exactly one from that source
 * file must lie between the two lines.
 */
static inline int expect_warn_begin(const char *source)
{
	char line[256];
	int ret;

	ret = write_file("/sys/kernel/debug/clear_warn_once", "1");
	if (ret)
		return ret;
	snprintf(line, sizeof(line), "expect-warn BEGIN %s\n", source);
	return write_file("/dev/kmsg", line);
}

static inline int expect_warn_end(void)
{
	return write_file("/dev/kmsg", "expect-warn END\n");
}

/*
 * Ask the host for something over the third serial port: "device_del ID",
 * "device_add ARGS", "ping". The answer is "ok" or "error TEXT".
 */
static inline int host_request(const char *request)
{
	struct pollfd pfd = { .events = POLLIN };
	struct termios tio;
	char answer[256];
	size_t len = 0;
	int ret = -EIO;

	pfd.fd = open("/dev/ttyS2", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (pfd.fd < 0)
		return -errno;
	if (!tcgetattr(pfd.fd, &tio)) {
		cfmakeraw(&tio);
		tcsetattr(pfd.fd, TCSANOW, &tio);
	}
	tcflush(pfd.fd, TCIFLUSH);
	if (dprintf(pfd.fd, "%s\n", request) < 0)
		goto close;

	while (len < sizeof(answer) - 1) {
		if (poll(&pfd, 1, 20000) <= 0) {
			ret = -ETIMEDOUT;
			goto close;
		}
		if (read(pfd.fd, answer + len, 1) != 1)
			goto close;
		if (answer[len] == '\n')
			break;
		len++;
	}
	answer[len] = 0;
	if (!strcmp(answer, "ok"))
		ret = 0;
	else
		printf("# host: %s: %s\n", request, answer);
close:
	close(pfd.fd);
	return ret;
}

/* The PASID test device */

static inline int ptd_compare(const void *a, const void *b)
{
	const struct ptd_test_info *l = a, *r = b;
	uint64_t left = (uint64_t)l->segment << 16 | l->bus << 8 | l->devfn;
	uint64_t right = (uint64_t)r->segment << 16 | r->bus << 8 | r->devfn;

	return (left > right) - (left < right);
}

/* All that are there, in the order of their addresses; returns how many */
static inline int ptd_list(int fd, struct ptd_test_info *infos, int max)
{
	int nr;

	for (nr = 0; nr < max; nr++) {
		infos[nr].index = nr;
		if (ioctl(fd, PTD_TEST_INFO, &infos[nr]))
			break;
	}
	qsort(infos, nr, sizeof(*infos), ptd_compare);
	return nr;
}

static inline int ptd_open(const struct ptd_test_info *info)
{
	struct ptd_test_open args = {
		.segment = info->segment, .bus = info->bus, .devfn = info->devfn,
	};
	int fd = open_test_device();
	int ret;

	if (fd < 0)
		return -errno;
	ret = test_ioctl(fd, PTD_TEST_OPEN, &args);
	if (!ret)
		return fd;
	close(fd);
	return ret;
}

static inline uint64_t ptd_read(int fd, uint32_t offset, uint32_t width)
{
	struct ptd_test_reg reg = { .offset = offset, .width = width };
	struct ptd_test_regs args = { .nr = 1, .regs = (uintptr_t)&reg };

	return ioctl(fd, PTD_TEST_REGS, &args) ? ~0ull : reg.value;
}

static inline int ptd_write(int fd, uint32_t offset, uint32_t width, uint64_t value)
{
	struct ptd_test_reg reg = {
		.offset = offset, .width = width, .write = 1, .value = value,
	};
	struct ptd_test_regs args = { .nr = 1, .regs = (uintptr_t)&reg };

	return test_ioctl(fd, PTD_TEST_REGS, &args);
}

/* Requests of a held queue are taken, but none begins */
static inline int ptd_hold(int fd, uint32_t queue, bool hold)
{
	return ptd_write(fd, PTD_QUEUE(queue) + PTD_Q_CTRL, 4, hold ? PTD_Q_CTRL_HOLD : 0);
}

static inline int ptd_submit(int fd, const struct ptd_test_request *reqs, uint32_t nr)
{
	struct ptd_test_batch args = { .nr = nr, .requests = (uintptr_t)reqs };

	return test_ioctl(fd, PTD_TEST_SUBMIT, &args);
}

static inline int ptd_status(int fd, struct ptd_test_request *reqs, uint32_t nr)
{
	struct ptd_test_batch args = { .nr = nr, .requests = (uintptr_t)reqs };

	return test_ioctl(fd, PTD_TEST_STATUS, &args);
}

static inline int ptd_wait(int fd, uint32_t queue, uint64_t slots)
{
	struct ptd_test_wait args = { .queue = queue, .slots = slots, .timeout_ms = 20000 };

	return test_ioctl(fd, PTD_TEST_WAIT, &args);
}

/* Carry out one request; returns its PTD_ST_*, or an error */
static inline int ptd_run(int fd, struct ptd_test_request *req)
{
	int ret = ptd_submit(fd, req, 1);

	if (!ret)
		ret = ptd_wait(fd, req->queue, 1ull << req->slot);
	if (!ret)
		ret = ptd_status(fd, req, 1);
	return ret ?: (int)req->status;
}

static inline int ptd_buf_alloc(int fd, uint32_t size, bool coherent, uint32_t *buf, uint64_t *addr)
{
	struct ptd_test_buf_alloc args = { .size = size, .coherent = coherent };
	int ret = test_ioctl(fd, PTD_TEST_BUF_ALLOC, &args);

	*buf = args.buf;
	if (addr)
		*addr = args.addr;
	return ret;
}

static inline int ptd_buf_copy(int fd, uint32_t buf, uint32_t offset, const void *data,
			       uint32_t len, bool write)
{
	struct ptd_test_buf_copy args = {
		.buf = buf, .offset = offset, .len = len, .write = write, .data = (uintptr_t)data,
	};

	return test_ioctl(fd, PTD_TEST_BUF_COPY, &args);
}

static inline int ptd_buf_write(int fd, uint32_t buf, const void *data, uint32_t len)
{
	return ptd_buf_copy(fd, buf, 0, data, len, true);
}

static inline int ptd_buf_read(int fd, uint32_t buf, void *data, uint32_t len)
{
	return ptd_buf_copy(fd, buf, 0, data, len, false);
}

static inline int ptd_map(int fd, uint32_t domain, uint32_t buf, uint64_t iova, bool writable)
{
	struct ptd_test_map args = {
		.domain = domain, .buf = buf, .iova = iova, .writable = writable,
	};

	return test_ioctl(fd, PTD_TEST_MAP, &args);
}

static inline int ptd_unmap(int fd, uint32_t domain, uint32_t buf, uint64_t iova)
{
	struct ptd_test_map args = { .domain = domain, .buf = buf, .iova = iova };

	return test_ioctl(fd, PTD_TEST_UNMAP, &args);
}

static inline int ptd_attach(int fd, uint32_t domain, uint32_t pasid)
{
	struct ptd_test_attach args = { .domain = domain, .pasid = pasid };

	return test_ioctl(fd, PTD_TEST_ATTACH, &args);
}

static inline int ptd_detach(int fd, uint32_t pasid)
{
	struct ptd_test_attach args = { .pasid = pasid };

	return test_ioctl(fd, PTD_TEST_DETACH, &args);
}

/* A PASID for the device from the global space; closing @fd frees it */
static inline int ptd_pasid_alloc(int fd, const struct ptd_test_info *info, uint32_t *pasid)
{
	struct ioasid_test_global args = {
		.segment = info->segment, .bus = info->bus, .devfn = info->devfn,
	};
	int ret = test_ioctl(fd, IOASID_TEST_GLOBAL, &args);

	*pasid = args.id;
	if (!ret && args.id == IOASID_TEST_INVALID)
		ret = -ENOSPC;
	return ret;
}

#endif /* _IOMMU_EXT_UTIL_H */
