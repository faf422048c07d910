// SPDX-License-Identifier: GPL-2.0
/* DMA ownership in a kernel without IOMMU core: the header's stubs. */
#include <kunit/test.h>
#include <linux/iommu-dma-owner.h>
#include <linux/iommu.h>

static void dma_owner_stubs(struct kunit *test)
{
	static char cookie;

	KUNIT_EXPECT_EQ(test, iommu_device_set_dma_owner(NULL, DMA_OWNER_DMA_API, NULL), 0);
	KUNIT_EXPECT_EQ(test, iommu_device_set_dma_owner(NULL, DMA_OWNER_DMA_API, &cookie), 0);
	KUNIT_EXPECT_EQ(test, iommu_device_set_dma_owner(NULL, DMA_OWNER_NONE, NULL), -EINVAL);
	KUNIT_EXPECT_EQ(test, iommu_device_set_dma_owner(NULL, DMA_OWNER_PRIVATE_DOMAIN, &cookie),
			-EINVAL);
	KUNIT_EXPECT_EQ(test,
			iommu_device_set_dma_owner(NULL, DMA_OWNER_PRIVATE_DOMAIN_USER, &cookie),
			-EINVAL);
	iommu_device_release_dma_owner(NULL, DMA_OWNER_DMA_API);
	iommu_device_release_dma_owner(NULL, DMA_OWNER_NONE);
}

static struct kunit_case dma_owner_stubs_cases[] = {
	KUNIT_CASE(dma_owner_stubs),
	{}
};

static struct kunit_suite dma_owner_stubs_suite = {
	.name = "iommu_ext_dma_owner_stubs",
	.test_cases = dma_owner_stubs_cases,
};

kunit_test_suite(dma_owner_stubs_suite);
