// SPDX-License-Identifier: GPL-2.0
/* The IOASID allocator in a kernel without it: the header's stubs. */
#undef CONFIG_IOASID
#include <kunit/test.h>
#include <linux/ioasid.h>

static DECLARE_IOASID_SET(stub_set);

static void ioasid_stubs(struct kunit *test)
{
	struct ioasid_allocator_ops ops = {};

	KUNIT_EXPECT_EQ(test, ioasid_alloc(&stub_set, 2, 99, test), INVALID_IOASID);
	KUNIT_EXPECT_NULL(test, ioasid_find(&stub_set, 2, NULL));
	KUNIT_EXPECT_EQ(test, ioasid_set_data(2, test), -ENODEV);
	KUNIT_EXPECT_EQ(test, ioasid_get(NULL, 2), -ENODEV);
	KUNIT_EXPECT_FALSE(test, ioasid_put(2));
	ioasid_free(2);
	KUNIT_EXPECT_EQ(test, ioasid_register_allocator(&ops), -ENODEV);
	ioasid_unregister_allocator(&ops);
	KUNIT_EXPECT_EQ(test, stub_set.count, 0);
}

static struct kunit_case ioasid_stubs_cases[] = {
	KUNIT_CASE(ioasid_stubs),
	{}
};

static struct kunit_suite ioasid_stubs_suite = {
	.name = "iommu_ext_ioasid_stubs",
	.test_cases = ioasid_stubs_cases,
};

kunit_test_suite(ioasid_stubs_suite);
