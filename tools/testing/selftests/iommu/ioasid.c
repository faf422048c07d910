// SPDX-License-Identifier: GPL-2.0
/*
 * The IOASID allocator, through the test module.
 *
 * profiles: first-stage
 */
#include "ioasid_util.h"
#include "../kselftest_harness.h"

#define WARN_SOURCE	"drivers/iommu/ext/ioasid.rs"

/* Ranges of 1000 IDs far from where global PASIDs are given */
#define RANGE(n)	(0x10000 + 1000 * (n))

static int set_data(int fd, uint32_t id, uint32_t token)
{
	struct ioasid_test_set_data args = { .id = id, .token = token };
	int ret = test_ioctl(fd, IOASID_TEST_SET_DATA, &args);

	return ret ?: args.error;
}

static int get_id_from(int fd, uint32_t set, uint32_t id, enum ioasid_test_context context)
{
	struct ioasid_test_ref args = { .set = set, .id = id, .context = context };
	int ret = test_ioctl(fd, IOASID_TEST_GET, &args);

	return ret ?: args.error;
}

static int get_id(int fd, uint32_t set, uint32_t id)
{
	return get_id_from(fd, set, id, IOASID_TEST_TASK);
}

/* 1: that freed it, 0: it did not */
static int put_id_from(int fd, uint32_t id, enum ioasid_test_context context)
{
	struct ioasid_test_ref args = { .id = id, .context = context };
	int ret = test_ioctl(fd, IOASID_TEST_PUT, &args);

	return ret ?: (int)args.freed;
}

static int put_id(int fd, uint32_t id)
{
	return put_id_from(fd, id, IOASID_TEST_TASK);
}

static struct ioasid_test_custom custom(int fd, uint32_t which, uint32_t action, uint32_t answer)
{
	struct ioasid_test_custom args = { .which = which, .action = action, .answer = answer };
	int ret = test_ioctl(fd, IOASID_TEST_CUSTOM, &args);

	if (ret)
		args.error = ret;
	return args;
}

static int custom_register(int fd, uint32_t which)
{
	return custom(fd, which, IOASID_TEST_CUSTOM_REGISTER, 0).error;
}

static int custom_unregister(int fd, uint32_t which)
{
	return custom(fd, which, IOASID_TEST_CUSTOM_UNREGISTER, 0).error;
}

FIXTURE(ioasid)
{
	int fd;
};

FIXTURE_SETUP(ioasid)
{
	self->fd = open_test_device();
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(ioasid)
{
	EXPECT_EQ(0, close(self->fd));
}

TEST_F(ioasid, single_id_range)
{
	uint32_t id = RANGE(0);

	EXPECT_EQ(id, alloc_id(self->fd, 0, id, id, 0));
	EXPECT_EQ(INVALID, alloc_id(self->fd, 0, id, id, 0));
	EXPECT_EQ(INVALID, alloc_id(self->fd, 1, id, id, 0));
	EXPECT_EQ(0, free_id(self->fd, id));
	EXPECT_EQ(id, alloc_id(self->fd, 1, id, id, 0));
}

/* Every ID from min to max is given once, and none beside */
TEST_F(ioasid, range_is_inclusive)
{
	uint32_t min = RANGE(1), max = min + 6;
	unsigned int seen = 0;
	uint32_t id;
	int i;

	for (i = 0; i < 7; i++) {
		id = alloc_id(self->fd, 0, min, max, 0);
		ASSERT_LE(min, id);
		ASSERT_GE(max, id);
		EXPECT_EQ(0, seen & (1u << (id - min)));
		seen |= 1u << (id - min);
	}
	EXPECT_EQ(0x7f, seen);
	EXPECT_EQ(INVALID, alloc_id(self->fd, 0, min, max, 0));
	EXPECT_EQ(-ENOENT, find_error(self->fd, IOASID_TEST_ANY_SET, min - 1));
	EXPECT_EQ(-ENOENT, find_error(self->fd, IOASID_TEST_ANY_SET, max + 1));
}

TEST_F(ioasid, empty_range)
{
	EXPECT_EQ(INVALID, alloc_id(self->fd, 0, RANGE(2) + 1, RANGE(2), 0));
	EXPECT_EQ(INVALID, alloc_id(self->fd, 0, INVALID, 0, 0));
	EXPECT_EQ(INVALID, alloc_id(self->fd, 0, 2, 0, 0));
}

TEST_F(ioasid, reserved_ids)
{
	EXPECT_EQ(INVALID, alloc_id(self->fd, 0, 0, 0, 0));
	EXPECT_EQ(INVALID, alloc_id(self->fd, 0, 1, 1, 0));
	EXPECT_EQ(INVALID, alloc_id(self->fd, 0, 0, 1, 0));
	EXPECT_EQ(2, alloc_id(self->fd, 0, 0, 2, 0));
	EXPECT_EQ(INVALID, alloc_id(self->fd, 0, 0, 2, 0));
	EXPECT_EQ(-ENOENT, find_error(self->fd, IOASID_TEST_ANY_SET, 0));
	EXPECT_EQ(-ENOENT, find_error(self->fd, IOASID_TEST_ANY_SET, 1));

	EXPECT_EQ(INVALID, alloc_id(self->fd, 0, INVALID, INVALID, 0));
	EXPECT_EQ(INVALID - 1, alloc_id(self->fd, 0, INVALID - 1, INVALID, 7));
	EXPECT_EQ(INVALID, alloc_id(self->fd, 0, INVALID - 1, INVALID, 0));
	EXPECT_EQ(7, find(self->fd, 0, INVALID - 1).token);
	EXPECT_EQ(-ENOENT, find_error(self->fd, IOASID_TEST_ANY_SET, INVALID));
}

TEST_F(ioasid, find)
{
	uint32_t id = alloc_id(self->fd, 1, RANGE(3), RANGE(3) + 9, 0x51);
	struct found found;

	ASSERT_NE(INVALID, id);
	found = find(self->fd, 1, id);
	EXPECT_EQ(0, found.error);
	EXPECT_EQ(0x51, found.token);
	EXPECT_EQ(0x51, find(self->fd, IOASID_TEST_ANY_SET, id).token);
	EXPECT_EQ(-EACCES, find_error(self->fd, 0, id));
	EXPECT_EQ(-EACCES, find_error(self->fd, 2, id));
	EXPECT_EQ(-ENOENT, find_error(self->fd, 1, id + 1));
	EXPECT_EQ(-ENOENT, find_error(self->fd, IOASID_TEST_ANY_SET, id + 1));
	EXPECT_EQ(0, free_id(self->fd, id));
	EXPECT_EQ(-ENOENT, find_error(self->fd, 1, id));
	EXPECT_EQ(-ENOENT, find_error(self->fd, 0, id));
}

TEST_F(ioasid, find_without_data)
{
	uint32_t id = alloc_id(self->fd, 1, RANGE(4), RANGE(4), 0);
	struct found found;
	int getter;

	ASSERT_EQ(RANGE(4), id);
	for (getter = 0; getter < IOASID_TEST_NR_GETTERS; getter++) {
		found = find_from(self->fd, 1, id, getter, IOASID_TEST_TASK);
		EXPECT_EQ(0, found.error);
		EXPECT_EQ(0, found.token);
	}
	EXPECT_EQ(-EACCES, find_error(self->fd, 0, id));
}

TEST_F(ioasid, getter)
{
	uint32_t id = alloc_id(self->fd, 2, RANGE(5), RANGE(5), 0x77);
	struct found found;

	ASSERT_EQ(RANGE(5), id);
	found = find_from(self->fd, 2, id, IOASID_TEST_GETTER_TAKES, IOASID_TEST_TASK);
	EXPECT_EQ(0, found.error);
	EXPECT_EQ(0x77, found.token);
	found = find_from(self->fd, 2, id, IOASID_TEST_GETTER_REFUSES, IOASID_TEST_TASK);
	EXPECT_EQ(0, found.error);
	EXPECT_EQ(0, found.token);
	found = find_from(self->fd, 3, id, IOASID_TEST_GETTER_TAKES, IOASID_TEST_TASK);
	EXPECT_EQ(-EACCES, found.error);
	found = find_from(self->fd, 2, id + 1, IOASID_TEST_GETTER_TAKES, IOASID_TEST_TASK);
	EXPECT_EQ(-ENOENT, found.error);
}

TEST_F(ioasid, set_data)
{
	uint32_t id = alloc_id(self->fd, 0, RANGE(6), RANGE(6), 1);

	ASSERT_EQ(RANGE(6), id);
	EXPECT_EQ(0, set_data(self->fd, id, 2));
	EXPECT_EQ(2, find(self->fd, 0, id).token);
	EXPECT_EQ(0, set_data(self->fd, id, 0));
	EXPECT_EQ(0, find(self->fd, 0, id).error);
	EXPECT_EQ(0, find(self->fd, 0, id).token);
	EXPECT_EQ(0, set_data(self->fd, id, 3));
	EXPECT_EQ(3, find(self->fd, IOASID_TEST_ANY_SET, id).token);
	EXPECT_EQ(-EACCES, find_error(self->fd, 1, id));

	EXPECT_EQ(-ENOENT, set_data(self->fd, id + 1, 4));
	EXPECT_EQ(-ENOENT, find_error(self->fd, 0, id + 1));
	EXPECT_EQ(0, free_id(self->fd, id));
	EXPECT_EQ(-ENOENT, set_data(self->fd, id, 5));
	EXPECT_EQ(-ENOENT, set_data(self->fd, 0, 6));
	EXPECT_EQ(-ENOENT, set_data(self->fd, 1, 6));
}

/* A reader that is inside with the old object is waited for */
TEST_F(ioasid, set_data_grace_period)
{
	struct ioasid_test_set_data args = { .token = 2, .reader_ms = 300 };
	int i;

	args.id = alloc_id(self->fd, 0, RANGE(7), RANGE(7), 1);
	ASSERT_EQ(RANGE(7), args.id);
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, test_ioctl(self->fd, IOASID_TEST_SET_DATA, &args));
		EXPECT_EQ(0, args.error);
		EXPECT_EQ(0, args.returned_early);
	}
}

TEST_F(ioasid, free_unknown_warns_once)
{
	struct ioasid_test_free args = { .id = RANGE(8), .unknown = 1 };

	EXPECT_EQ(-ENOENT, free_id(self->fd, RANGE(8)));
	ASSERT_EQ(0, expect_warn_begin(WARN_SOURCE));
	EXPECT_EQ(0, test_ioctl(self->fd, IOASID_TEST_FREE, &args));
	EXPECT_EQ(0, test_ioctl(self->fd, IOASID_TEST_FREE, &args));
	EXPECT_EQ(0, expect_warn_end());
	/* Nothing else has happened */
	EXPECT_EQ(-ENOENT, find_error(self->fd, IOASID_TEST_ANY_SET, RANGE(8)));
	EXPECT_EQ(RANGE(8), alloc_id(self->fd, 0, RANGE(8), RANGE(8), 0));
}

TEST_F(ioasid, double_free_warns)
{
	struct ioasid_test_free args = { .unknown = 1 };

	args.id = alloc_id(self->fd, 0, RANGE(9), RANGE(9), 1);
	ASSERT_EQ(RANGE(9), args.id);
	EXPECT_EQ(0, free_id(self->fd, args.id));
	ASSERT_EQ(0, expect_warn_begin(WARN_SOURCE));
	EXPECT_EQ(0, test_ioctl(self->fd, IOASID_TEST_FREE, &args));
	EXPECT_EQ(0, expect_warn_end());
}

/* Reserved IDs are unknown IDs */
TEST_F(ioasid, free_reserved_warns)
{
	uint32_t ids[] = { 0, 1, INVALID };
	struct ioasid_test_free args = { .unknown = 1 };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(ids); i++) {
		args.id = ids[i];
		ASSERT_EQ(0, expect_warn_begin(WARN_SOURCE));
		EXPECT_EQ(0, test_ioctl(self->fd, IOASID_TEST_FREE, &args));
		EXPECT_EQ(0, expect_warn_end());
	}
	EXPECT_EQ(INVALID, alloc_id(self->fd, 0, 0, 1, 0));
}

TEST_F(ioasid, reuse_after_free)
{
	uint32_t min = RANGE(10), max = min + 3;
	int i;

	for (i = 0; i < 4; i++)
		ASSERT_NE(INVALID, alloc_id(self->fd, 0, min, max, 10 + i));
	for (i = 0; i < 100; i++) {
		uint32_t id = min + i % 4;

		ASSERT_EQ(0, free_id(self->fd, id));
		ASSERT_EQ(-ENOENT, find_error(self->fd, IOASID_TEST_ANY_SET, id));
		ASSERT_EQ(id, alloc_id(self->fd, i % IOASID_TEST_NR_SETS, min, max, 1000 + i));
		ASSERT_EQ(1000 + i, find(self->fd, i % IOASID_TEST_NR_SETS, id).token);
		ASSERT_EQ(INVALID, alloc_id(self->fd, 0, min, max, 0));
	}
}

/* Sets share one space: an ID belongs to one of them at most */
TEST_F(ioasid, two_sets)
{
	uint32_t min = RANGE(11), max = min + 15;
	uint32_t a[8], b[8];
	int i, j;

	for (i = 0; i < 8; i++) {
		a[i] = alloc_id(self->fd, 0, min, max, 0xa0 + i);
		b[i] = alloc_id(self->fd, 1, min, max, 0xb0 + i);
		ASSERT_NE(INVALID, a[i]);
		ASSERT_NE(INVALID, b[i]);
	}
	EXPECT_EQ(INVALID, alloc_id(self->fd, 0, min, max, 0));
	EXPECT_EQ(INVALID, alloc_id(self->fd, 1, min, max, 0));
	for (i = 0; i < 8; i++) {
		for (j = 0; j < 8; j++)
			EXPECT_NE(a[i], b[j]);
		EXPECT_EQ(0xa0 + i, find(self->fd, 0, a[i]).token);
		EXPECT_EQ(0xb0 + i, find(self->fd, 1, b[i]).token);
		EXPECT_EQ(-EACCES, find_error(self->fd, 1, a[i]));
		EXPECT_EQ(-EACCES, find_error(self->fd, 0, b[i]));
	}
	EXPECT_EQ(0, free_id(self->fd, a[3]));
	EXPECT_EQ(a[3], alloc_id(self->fd, 1, min, max, 0xcc));
	EXPECT_EQ(-EACCES, find_error(self->fd, 0, a[3]));
	EXPECT_EQ(0xcc, find(self->fd, 1, a[3]).token);
}

TEST_F(ioasid, references)
{
	uint32_t id = RANGE(15);

	ASSERT_EQ(id, alloc_id(self->fd, 1, id, id, 0x44));
	EXPECT_EQ(-ENOENT, get_id(self->fd, 1, id + 1));
	EXPECT_EQ(-EACCES, get_id(self->fd, 0, id));
	EXPECT_EQ(0, get_id(self->fd, 1, id));
	EXPECT_EQ(0, get_id(self->fd, IOASID_TEST_ANY_SET, id));

	/* Three references: findable and not reusable until the last is gone */
	EXPECT_EQ(0, put_id(self->fd, id));
	EXPECT_EQ(0x44, find(self->fd, 1, id).token);
	EXPECT_EQ(INVALID, alloc_id(self->fd, 1, id, id, 0));
	EXPECT_EQ(0, free_id(self->fd, id));
	EXPECT_EQ(0x44, find(self->fd, 1, id).token);
	EXPECT_EQ(INVALID, alloc_id(self->fd, 1, id, id, 0));
	EXPECT_EQ(1, put_id(self->fd, id));
	EXPECT_EQ(-ENOENT, find_error(self->fd, 1, id));
	EXPECT_EQ(-ENOENT, get_id(self->fd, 1, id));
	EXPECT_EQ(id, alloc_id(self->fd, 2, id, id, 0x45));
	EXPECT_EQ(1, put_id(self->fd, id));
}

TEST_F(ioasid, put_unknown_warns)
{
	ASSERT_EQ(0, expect_warn_begin(WARN_SOURCE));
	EXPECT_EQ(0, put_id(self->fd, RANGE(16)));
	EXPECT_EQ(0, expect_warn_end());
	EXPECT_EQ(-ENOENT, get_id(self->fd, IOASID_TEST_ANY_SET, 0));
	EXPECT_EQ(-ENOENT, get_id(self->fd, IOASID_TEST_ANY_SET, 1));
	EXPECT_EQ(-ENOENT, get_id(self->fd, IOASID_TEST_ANY_SET, INVALID));
}

TEST_F(ioasid, accounting)
{
	struct ioasid_test_set set = { .set = 3 };
	uint32_t id[4], i, peak;

	ASSERT_EQ(0, test_ioctl(self->fd, IOASID_TEST_SET, &set));
	EXPECT_EQ(0, set.quota);
	EXPECT_EQ(0, set.count);
	peak = set.peak;

	set.change = 1;
	set.quota = 3;
	ASSERT_EQ(0, test_ioctl(self->fd, IOASID_TEST_SET, &set));
	for (i = 0; i < 3; i++) {
		id[i] = alloc_id(self->fd, 3, RANGE(17), RANGE(17) + 99, 0);
		EXPECT_NE(INVALID, id[i]);
	}
	EXPECT_EQ(INVALID, alloc_id(self->fd, 3, RANGE(17), RANGE(17) + 99, 0));
	id[3] = alloc_id(self->fd, 2, RANGE(17), RANGE(17) + 99, 0);
	EXPECT_NE(INVALID, id[3]);
	set.change = 0;
	ASSERT_EQ(0, test_ioctl(self->fd, IOASID_TEST_SET, &set));
	EXPECT_EQ(3, set.count);
	EXPECT_EQ(peak > 3 ? peak : 3, set.peak);

	/* A reference more is not an ID more */
	EXPECT_EQ(0, get_id(self->fd, 3, id[0]));
	EXPECT_EQ(0, free_id(self->fd, id[0]));
	ASSERT_EQ(0, test_ioctl(self->fd, IOASID_TEST_SET, &set));
	EXPECT_EQ(3, set.count);
	for (i = 0; i < 4; i++)
		EXPECT_EQ(0, free_id(self->fd, id[i]));
	ASSERT_EQ(0, test_ioctl(self->fd, IOASID_TEST_SET, &set));
	EXPECT_EQ(0, set.count);
	EXPECT_EQ(peak > 3 ? peak : 3, set.peak);
}

TEST_F(ioasid, custom_allocator)
{
	struct ioasid_test_custom state;
	uint32_t id;

	ASSERT_EQ(0, custom_register(self->fd, 0));
	EXPECT_EQ(-EEXIST, custom_register(self->fd, 0));
	EXPECT_EQ(RANGE(18), alloc_id(self->fd, 0, RANGE(18), RANGE(18) + 9, 0x66));
	EXPECT_EQ(0x66, find(self->fd, 0, RANGE(18)).token);
	state = custom(self->fd, 0, IOASID_TEST_CUSTOM_QUERY, 0);
	EXPECT_EQ(1, state.allocs);
	EXPECT_EQ(0, state.frees);

	/* One with other functions may not take over while IDs are out; one with the same may */
	EXPECT_EQ(-EBUSY, custom_register(self->fd, 2));
	EXPECT_EQ(0, custom_register(self->fd, 1));
	EXPECT_EQ(0, custom_unregister(self->fd, 1));

	EXPECT_EQ(0, free_id(self->fd, RANGE(18)));
	state = custom(self->fd, 0, IOASID_TEST_CUSTOM_QUERY, 0);
	EXPECT_EQ(1, state.frees);
	EXPECT_EQ(RANGE(18), state.last_freed);

	/* It may have nothing to give */
	custom(self->fd, 0, IOASID_TEST_CUSTOM_ANSWER, INVALID);
	EXPECT_EQ(INVALID, alloc_id(self->fd, 0, RANGE(18), RANGE(18) + 9, 0));
	state = custom(self->fd, 0, IOASID_TEST_CUSTOM_QUERY, 0);
	EXPECT_EQ(2, state.allocs);
	EXPECT_EQ(1, state.frees);
	EXPECT_EQ(0, custom_unregister(self->fd, 0));

	/* Back to the kernel's own */
	id = alloc_id(self->fd, 0, RANGE(18), RANGE(18) + 9, 0);
	EXPECT_NE(INVALID, id);
	EXPECT_EQ(-EBUSY, custom_register(self->fd, 0));
	EXPECT_EQ(0, free_id(self->fd, id));
	EXPECT_EQ(0, custom_register(self->fd, 2));
	EXPECT_EQ(0, custom_unregister(self->fd, 2));
}

/* What it answers is checked, and given back if it may not be */
TEST_F(ioasid, custom_allocator_lies)
{
	uint32_t min = RANGE(19), max = min + 9, i;
	uint32_t lies[] = { 0, 1, min - 1, max + 1, min + 5 };
	struct ioasid_test_custom state;

	ASSERT_EQ(0, custom_register(self->fd, 0));
	custom(self->fd, 0, IOASID_TEST_CUSTOM_ANSWER, min + 5);
	ASSERT_EQ(min + 5, alloc_id(self->fd, 0, min, max, 0x77));
	for (i = 0; i < ARRAY_SIZE(lies); i++) {
		custom(self->fd, 0, IOASID_TEST_CUSTOM_ANSWER, lies[i]);
		ASSERT_EQ(0, expect_warn_begin(WARN_SOURCE));
		EXPECT_EQ(INVALID, alloc_id(self->fd, 0, lies[i] < 2 ? 0 : min, max, 0x88));
		EXPECT_EQ(0, expect_warn_end());
		state = custom(self->fd, 0, IOASID_TEST_CUSTOM_QUERY, 0);
		EXPECT_EQ(i + 1, state.frees);
		EXPECT_EQ(lies[i], state.last_freed);
	}
	EXPECT_EQ(0x77, find(self->fd, 0, min + 5).token);
	EXPECT_EQ(0, free_id(self->fd, min + 5));
	EXPECT_EQ(0, custom_unregister(self->fd, 0));
}

/* IDs outlive an allocator that is unregistered too early */
TEST_F(ioasid, custom_allocator_unregistered_early)
{
	uint32_t id = RANGE(20);

	ASSERT_EQ(0, custom_register(self->fd, 0));
	ASSERT_EQ(id, alloc_id(self->fd, 0, id, id + 9, 0x99));
	ASSERT_EQ(0, expect_warn_begin(WARN_SOURCE));
	EXPECT_EQ(0, custom_unregister(self->fd, 0));
	EXPECT_EQ(0, expect_warn_end());
	EXPECT_EQ(0x99, find(self->fd, 0, id).token);
	EXPECT_EQ(INVALID, alloc_id(self->fd, 0, id, id, 0));
	EXPECT_EQ(0, free_id(self->fd, id));
	EXPECT_EQ(-ENOENT, find_error(self->fd, 0, id));

	/* Its free was not called: the count begins anew with the registration */
	ASSERT_EQ(0, custom_register(self->fd, 0));
	EXPECT_EQ(0, custom(self->fd, 0, IOASID_TEST_CUSTOM_QUERY, 0).frees);
	EXPECT_EQ(0, custom_unregister(self->fd, 0));
}

/* No callback runs any more when the allocator is unregistered */
TEST_F(ioasid, custom_allocator_unregistered_busy)
{
	struct ioasid_test_custom args = {
		.action = IOASID_TEST_CUSTOM_UNREGISTER, .busy_ms = 300, .id = RANGE(21),
	};
	int i;

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, custom_register(self->fd, 0));
		ASSERT_EQ(args.id, alloc_id(self->fd, 0, args.id, args.id, 0xaa));
		ASSERT_EQ(0, test_ioctl(self->fd, IOASID_TEST_CUSTOM, &args));
		EXPECT_EQ(1, args.frees);
		EXPECT_EQ(0, args.returned_early);
		EXPECT_EQ(-ENOENT, find_error(self->fd, IOASID_TEST_ANY_SET, args.id));
	}
}

/* How many lines of the trace have this text in them */
static int traced(const char *text)
{
	FILE *trace = fopen(TRACING "/trace", "r");
	char line[512];
	int count = 0;

	if (!trace)
		return -errno;
	while (fgets(line, sizeof(line), trace))
		count += !!strstr(line, text);
	fclose(trace);
	return count;
}

TEST_F(ioasid, tracepoints)
{
	uint32_t id = RANGE(22);

	ASSERT_EQ(0, empty_file(TRACING "/trace"));
	ASSERT_EQ(0, write_file(TRACING "/events/iommu_ext/enable", "1"));
	ASSERT_EQ(id, alloc_id(self->fd, 1, id, id, 0));
	EXPECT_EQ(INVALID, alloc_id(self->fd, 2, id, id, 0));
	EXPECT_EQ(0, get_id(self->fd, 1, id));
	EXPECT_EQ(-EACCES, get_id(self->fd, 2, id));
	EXPECT_EQ(0, put_id(self->fd, id));
	EXPECT_EQ(1, put_id(self->fd, id));
	ASSERT_EQ(0, write_file(TRACING "/events/iommu_ext/enable", "0"));

	/* RANGE(22) is 87536 */
	EXPECT_EQ(1, traced("ioasid_alloc: ioasid=87536 set=ext_test_set1 min=87536 max=87536"));
	EXPECT_EQ(1, traced("ioasid_alloc: ioasid=-1 set=ext_test_set2 min=87536 max=87536"));
	EXPECT_EQ(1, traced("ioasid_get: ioasid=87536"));
	EXPECT_EQ(1, traced("ioasid_put: ioasid=87536"));
	EXPECT_EQ(1, traced("ioasid_free: ioasid=87536"));
}

/* The list in debugfs has each ID once, and an end */
TEST_F(ioasid, debugfs)
{
	uint32_t near = alloc_id(self->fd, 0, RANGE(0), RANGE(0), 1);
	uint32_t far = alloc_id(self->fd, 1, RANGE(900), RANGE(900), 2);
	int heads = 0, nears = 0, fars = 0;
	char line[256];
	size_t lines;
	FILE *list;

	ASSERT_EQ(RANGE(0), near);
	ASSERT_EQ(RANGE(900), far);

	list = fopen("/sys/kernel/debug/iommu/ext/ioasid", "r");
	ASSERT_NE(NULL, list);
	for (lines = 0; lines < 10000 && fgets(line, sizeof(line), list); lines++) {
		unsigned long id = strtoul(line, NULL, 10);

		heads += !strncmp(line, "# id", 4);
		nears += id == near;
		fars += id == far;
	}
	EXPECT_LT(lines, 10000);
	clearerr(list);
	EXPECT_EQ(EOF, fgetc(list));
	fclose(list);
	EXPECT_EQ(1, heads);
	EXPECT_EQ(1, nears);
	EXPECT_EQ(1, fars);
}

/* find, get, put and free work from everywhere but NMIs; lockdep looks on */
TEST_F(ioasid, contexts)
{
	uint32_t id = RANGE(12);
	struct found found;
	int context;

	for (context = 0; context < IOASID_TEST_NR_CONTEXTS; context++) {
		ASSERT_EQ(id, alloc_id(self->fd, 0, id, id, 0x33));
		found = find_from(self->fd, 0, id, IOASID_TEST_GETTER_TAKES, context);
		EXPECT_EQ(0, found.error);
		EXPECT_EQ(0x33, found.token);
		EXPECT_EQ(-EACCES, get_id_from(self->fd, 1, id, context));
		EXPECT_EQ(0, get_id_from(self->fd, 0, id, context));
		EXPECT_EQ(0, put_id_from(self->fd, id, context));
		EXPECT_EQ(1, put_id_from(self->fd, id, context));
		EXPECT_EQ(-ENOENT, find_error(self->fd, IOASID_TEST_ANY_SET, id));

		ASSERT_EQ(id, alloc_id(self->fd, 0, id, id, 0x34));
		EXPECT_EQ(0, free_id_from(self->fd, id, context));
		EXPECT_EQ(-ENOENT, find_error(self->fd, IOASID_TEST_ANY_SET, id));
	}
}

/* A custom allocator takes back its IDs wherever they are freed */
TEST_F(ioasid, custom_contexts)
{
	uint32_t id = RANGE(12);
	int context;

	ASSERT_EQ(0, custom_register(self->fd, 0));
	for (context = 0; context < IOASID_TEST_NR_CONTEXTS; context++) {
		ASSERT_EQ(id, alloc_id(self->fd, 0, id, id, 0));
		EXPECT_EQ(0, free_id_from(self->fd, id, context));
		EXPECT_EQ(context + 1,
			  custom(self->fd, 0, IOASID_TEST_CUSTOM_QUERY, 0).frees);
	}
	EXPECT_EQ(0, custom_unregister(self->fd, 0));
}

TEST_F(ioasid, close_frees)
{
	int fd = open_test_device();

	ASSERT_LE(0, fd);
	EXPECT_EQ(RANGE(13), alloc_id(fd, 0, RANGE(13), RANGE(13), 5));
	EXPECT_EQ(5, find(self->fd, 0, RANGE(13)).token);
	EXPECT_EQ(-EPERM, free_id(self->fd, RANGE(13)));
	EXPECT_EQ(-EPERM, set_data(self->fd, RANGE(13), 6));
	EXPECT_EQ(0, close(fd));
	EXPECT_EQ(-ENOENT, find_error(self->fd, 0, RANGE(13)));
}

TEST_F(ioasid, bad_ioctls)
{
	struct ioasid_test_alloc alloc = { .set = IOASID_TEST_NR_SETS, .min = 2, .max = 3 };
	struct ioasid_test_find find = { .set = IOASID_TEST_NR_SETS, .id = 2 };
	struct ioasid_test_stress stress = { .threads = IOASID_TEST_MAX_THREADS + 1 };

	EXPECT_EQ(-EINVAL, test_ioctl(self->fd, IOASID_TEST_ALLOC, &alloc));
	EXPECT_EQ(-EINVAL, test_ioctl(self->fd, IOASID_TEST_FIND, &find));
	find.set = 0;
	find.getter = IOASID_TEST_NR_GETTERS;
	EXPECT_EQ(-EINVAL, test_ioctl(self->fd, IOASID_TEST_FIND, &find));
	EXPECT_EQ(-EINVAL, test_ioctl(self->fd, IOASID_TEST_STRESS, &stress));
	EXPECT_EQ(-EFAULT, test_ioctl(self->fd, IOASID_TEST_FIND, NULL));
	EXPECT_EQ(-ENOTTY, test_ioctl(self->fd, _IO(IOMMU_EXT_TEST_IOASID, 0xff), NULL));
	EXPECT_EQ(-ENOTTY, test_ioctl(self->fd, _IO(0x7f, 0), NULL));
}

TEST_F_TIMEOUT(ioasid, stress, 180)
{
	struct ioasid_test_stress args = {
		.threads = 8,
		.seconds = long_run() ? 60 : 10,
		.min = RANGE(14),
		.max = RANGE(14) + 255,
	};

	ASSERT_EQ(0, test_ioctl(self->fd, IOASID_TEST_STRESS, &args));
	printf("# %llu allocated, %llu found, %llu referenced, %llu replaced, %llu times full\n",
	       args.allocs, args.finds, args.gets, args.replaced, args.full);
	EXPECT_EQ(0, args.double_holders);
	EXPECT_EQ(0, args.stale);
	EXPECT_EQ(0, args.mixed);
	EXPECT_EQ(0, args.unexpected);
	/* It did what it is for, on however slow a machine */
	EXPECT_LT(100, args.allocs);
	EXPECT_LT(100, args.finds);
	EXPECT_LT(0, args.gets);
	EXPECT_LT(0, args.replaced);
}

/*
 * Allocations of memory fail, within a call of this task, and all of them in
 * turn: one alone, or all that do not fit into what is left.
 */

#define FAILSLAB	"/sys/kernel/debug/failslab/"
#define FAIL_STEPS	100
#define FAIL_SPACE	256	/* bytes more at each step, until nothing is left */

struct shortage {
	bool all;
	int file;	/* of this task, open: fail-nth, or make-it-fail for all */
};

FIXTURE(ioasid_memory)
{
	int fd;
	struct shortage memory;
};

FIXTURE_VARIANT(ioasid_memory)
{
	bool all;
};

FIXTURE_VARIANT_ADD(ioasid_memory, one_fails)
{
	.all = false,
};

FIXTURE_VARIANT_ADD(ioasid_memory, all_fail)
{
	.all = true,
};

FIXTURE_SETUP(ioasid_memory)
{
	self->fd = open_test_device();
	ASSERT_LE(0, self->fd);
	self->memory.all = variant->all;
	self->memory.file = open(variant->all ? "/proc/thread-self/make-it-fail" :
						"/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->memory.file);
	ASSERT_EQ(0, write_file(FAILSLAB "ignore-gfp-wait", "N"));
	ASSERT_EQ(0, write_file(FAILSLAB "verbose", "0"));
	ASSERT_EQ(0, write_file(FAILSLAB "task-filter", "Y"));
	ASSERT_EQ(0, write_file(FAILSLAB "times", "-1"));
	ASSERT_EQ(0, write_file(FAILSLAB "probability", variant->all ? "100" : "0"));
}

FIXTURE_TEARDOWN(ioasid_memory)
{
	EXPECT_EQ(0, write_file(FAILSLAB "probability", "0"));
	EXPECT_EQ(0, write_file(FAILSLAB "task-filter", "N"));
	EXPECT_EQ(0, write_file(FAILSLAB "ignore-gfp-wait", "Y"));
	EXPECT_EQ(0, close(self->memory.file));
	EXPECT_EQ(0, close(self->fd));
}

/* From here on memory is short; step counts from 1 */
static int memory_fails(const struct shortage *memory, int step)
{
	char text[16];
	int len, ret;

	if (memory->all) {
		snprintf(text, sizeof(text), "%d", (step - 1) * FAIL_SPACE);
		ret = write_file(FAILSLAB "space", text);
		if (ret)
			return ret;
		step = 1;
	}
	len = snprintf(text, sizeof(text), "%d", step);
	return pwrite(memory->file, text, len, 0) == len ? 0 : -errno;
}

/* No longer; 1 if it may have been this time, 0 if it certainly was not, as in all later steps */
static int memory_failed(const struct shortage *memory, int step)
{
	char text[16] = "";

	if (pread(memory->file, text, sizeof(text) - 1, 0) < 0 ||
	    pwrite(memory->file, "0", 1, 0) != 1)
		return -errno;
	return memory->all ? step < FAIL_STEPS : !atoi(text);
}

/* How many IDs there are, whoever has them */
static long ids_allocated(void)
{
	FILE *list = fopen("/sys/kernel/debug/iommu/ext/ioasid", "r");
	long count = -1;

	if (list) {
		if (fscanf(list, "# %ld allocated", &count) != 1)
			count = -1;
		fclose(list);
	}
	return count;
}

/* IDs that are far apart share no memory */
#define FAR(n)		(0x1000000u * (n))

/* Each allocation fails without a trace, and succeeds when it is tried again */
static void alloc_without_memory(struct __test_metadata *_metadata, int fd,
				 const struct shortage *memory)
{
	long before = ids_allocated();
	int refused = 0, failed = 1;
	int step, ret;

	ASSERT_LE(0, before);
	for (step = 1; failed; step++) {
		struct ioasid_test_alloc args = {
			.set = 1, .min = FAR(step), .max = FAR(step), .token = step,
		};

		ASSERT_GE(FAIL_STEPS, step);
		ASSERT_EQ(0, memory_fails(memory, step));
		ret = test_ioctl(fd, IOASID_TEST_ALLOC, &args);
		failed = memory_failed(memory, step);
		ASSERT_LE(0, failed);

		if (ret || args.id != FAR(step)) {
			/* The module has to have memory itself */
			EXPECT_EQ(ret ? -ENOMEM : 0, ret);
			if (!ret)
				EXPECT_EQ(INVALID, args.id);
			EXPECT_EQ(1, failed);
			refused += !ret;
			EXPECT_EQ(-ENOENT, find_error(fd, IOASID_TEST_ANY_SET, FAR(step)));
			EXPECT_EQ(before, ids_allocated());
			ASSERT_EQ(FAR(step), alloc_id(fd, 1, FAR(step), FAR(step), step));
		}
		EXPECT_EQ(step, find(fd, 1, FAR(step)).token);
		EXPECT_EQ(before + 1, ids_allocated());
		EXPECT_EQ(0, free_id(fd, FAR(step)));
		EXPECT_EQ(before, ids_allocated());
	}
	EXPECT_LT(0, refused);
}

TEST_F(ioasid_memory, alloc)
{
	/* What is made at the first use is there */
	ASSERT_EQ(RANGE(0), alloc_id(self->fd, 0, RANGE(0), RANGE(0), 0));
	ASSERT_EQ(0, free_id(self->fd, RANGE(0)));
	alloc_without_memory(_metadata, self->fd, &self->memory);
}

/* An ID that a custom allocator gave is given back: it can be had again */
TEST_F(ioasid_memory, custom_alloc)
{
	ASSERT_EQ(0, custom_register(self->fd, 0));
	alloc_without_memory(_metadata, self->fd, &self->memory);
	EXPECT_EQ(0, custom_unregister(self->fd, 0));
}

TEST_F_TIMEOUT(ioasid_memory, set_data, 120)
{
	struct ioasid_test_set_data args = {};
	uint32_t token = 1000;
	int failed = 1;
	int step, ret;

	args.id = alloc_id(self->fd, 0, RANGE(0), RANGE(0), token);
	ASSERT_EQ(RANGE(0), args.id);
	for (step = 1; failed; step++) {
		ASSERT_GE(FAIL_STEPS, step);
		args.token = step;
		ASSERT_EQ(0, memory_fails(&self->memory, step));
		ret = test_ioctl(self->fd, IOASID_TEST_SET_DATA, &args);
		failed = memory_failed(&self->memory, step);
		ASSERT_LE(0, failed);

		/* It needs no memory itself: what failed was the new data */
		if (ret) {
			EXPECT_EQ(-ENOMEM, ret);
			EXPECT_EQ(1, failed);
		} else {
			EXPECT_EQ(0, args.error);
			token = step;
		}
		EXPECT_EQ(token, find(self->fd, 0, args.id).token);
		token = 1000 + step;
		EXPECT_EQ(0, set_data(self->fd, args.id, token));
	}
	EXPECT_EQ(token, find(self->fd, 0, args.id).token);
}

/* Registering needs no memory, and freeing none */
TEST_F(ioasid_memory, register_allocator)
{
	long before = ids_allocated();
	int failed = 1;
	int step, ret;

	ASSERT_LE(0, before);
	for (step = 1; failed && step <= 8; step++) {
		ASSERT_EQ(0, memory_fails(&self->memory, step));
		ret = custom_register(self->fd, 0);
		failed = memory_failed(&self->memory, step);
		ASSERT_LE(0, failed);
		EXPECT_EQ(0, ret);
		EXPECT_EQ(-EEXIST, custom_register(self->fd, 0));

		ASSERT_EQ(RANGE(0), alloc_id(self->fd, 0, RANGE(0), RANGE(0), 0));
		ASSERT_EQ(0, memory_fails(&self->memory, step));
		ret = free_id(self->fd, RANGE(0));
		ASSERT_LE(0, memory_failed(&self->memory, step));
		EXPECT_EQ(0, ret);
		EXPECT_EQ(before, ids_allocated());
		EXPECT_EQ(0, custom_unregister(self->fd, 0));
	}
}

/* PASIDs for devices */

TEST_F(ioasid, global_pasids)
{
	struct ioasid_test_global first, second;

	ASSERT_TRUE(pasid_device(self->fd, true, &first));
	second = first;
	ASSERT_EQ(0, test_ioctl(self->fd, IOASID_TEST_GLOBAL, &first));
	ASSERT_EQ(0, test_ioctl(self->fd, IOASID_TEST_GLOBAL, &second));
	EXPECT_EQ(1u << 20, first.max_pasids);
	EXPECT_LE(2, first.id);
	EXPECT_GT(first.max_pasids, first.id);
	EXPECT_LE(2, second.id);
	EXPECT_GT(second.max_pasids, second.id);
	EXPECT_NE(first.id, second.id);

	/* They are IDs of the one space, and of no set of this test */
	EXPECT_EQ(0, find_error(self->fd, IOASID_TEST_ANY_SET, first.id));
	EXPECT_EQ(-EACCES, find_error(self->fd, 0, first.id));
	EXPECT_EQ(INVALID, alloc_id(self->fd, 0, first.id, first.id, 0));
	EXPECT_EQ(0, free_id(self->fd, first.id));
	EXPECT_EQ(-ENOENT, find_error(self->fd, IOASID_TEST_ANY_SET, first.id));
	EXPECT_EQ(first.id, alloc_id(self->fd, 0, first.id, first.id, 9));
	EXPECT_EQ(0, free_id(self->fd, second.id));
}

TEST_F(ioasid, global_pasid_without_capability)
{
	struct ioasid_test_global global;

	ASSERT_TRUE(pasid_device(self->fd, false, &global));
	ASSERT_EQ(0, test_ioctl(self->fd, IOASID_TEST_GLOBAL, &global));
	EXPECT_EQ(0, global.max_pasids);
	EXPECT_EQ(INVALID, global.id);
}

TEST_HARNESS_MAIN
