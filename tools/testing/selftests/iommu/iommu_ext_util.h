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
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "../../../../drivers/iommu/ext/test/iommu_ext_test.h"

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

#endif /* _IOMMU_EXT_UTIL_H */
