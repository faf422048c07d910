// SPDX-License-Identifier: GPL-2.0
/*
 * Domains for userspace by a driver that has no operation of its own for them: paging
 * domains as before, and nothing else.
 *
 * profiles: virtio-iommu
 */
#include "user_domain_util.h"
#include "../kselftest_harness.h"

FIXTURE(plain)
{
	struct pci one;
	struct user user;
	struct hwpt_request request;
};

FIXTURE_SETUP(plain)
{
	self->user = no_user;
	ASSERT_TRUE(find_single(&self->one));
	ASSERT_EQ(0, trace_begin());
	ASSERT_EQ(0, pci_bind(&self->one, DRIVER_VFIO));
	ASSERT_EQ(0, iommufd_bind(&self->user, &self->one));
	ASSERT_EQ(0, iommufd_map(&self->user));
	self->request = (struct hwpt_request){
		.iommufd = self->user.iommufd,
		.devid = self->user.devid,
		.pt = self->user.ioas,
	};
}

/* Whatever a test did, no driver was asked by the operation that this one lacks */
FIXTURE_TEARDOWN(plain)
{
	EXPECT_EQ(0, trace_count(""));
	trace_end();
	user_close(&self->user);
	EXPECT_EQ(0, pci_restore(&self->one));
	EXPECT_TRUE(owner_is(&self->one, "dma-api", 1, 1));
}

/* A domain that comes with the attachment */
TEST_F(plain, attached_to_an_address_space)
{
	EXPECT_TRUE(does_dma(&self->user, self->user.ioas));
	EXPECT_TRUE(does_dma(&self->user, self->user.ioas));
}

TEST_F(plain, no_flags)
{
	uint32_t hwpt, other;

	ASSERT_EQ(0, hwpt_alloc(&self->request, &hwpt));
	ASSERT_EQ(0, hwpt_alloc(&self->request, &other));
	EXPECT_TRUE(does_dma(&self->user, hwpt));
	EXPECT_TRUE(does_dma(&self->user, other));
	EXPECT_TRUE(does_dma(&self->user, hwpt));
	EXPECT_EQ(0, iommufd_destroy(self->user.iommufd, hwpt));
	EXPECT_EQ(0, iommufd_destroy(self->user.iommufd, other));
}

/* What is mapped and unmapped while the device is attached */
TEST_F(plain, mapped_later)
{
	struct iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_WRITEABLE |
			 IOMMU_IOAS_MAP_READABLE,
		.ioas_id = self->user.ioas,
		.user_va = (uintptr_t)self->user.memory,
		.length = SIZE,
		.iova = 2 * IOVA,
	};
	struct iommu_ioas_unmap unmap = {
		.size = sizeof(unmap), .ioas_id = self->user.ioas, .iova = 2 * IOVA, .length = SIZE,
	};
	uint32_t hwpt;

	ASSERT_EQ(0, hwpt_alloc(&self->request, &hwpt));
	ASSERT_EQ(0, user_attach(&self->user, hwpt));
	ASSERT_EQ(0, user_start(&self->user));
	EXPECT_EQ(PTD_ST_WRITE_FAULT, ptd_fill(&self->user, 2 * IOVA));
	ASSERT_EQ(0, test_ioctl(self->user.iommufd, IOMMU_IOAS_MAP, &map));
	EXPECT_EQ(PTD_ST_OK, ptd_fill(&self->user, 2 * IOVA));
	EXPECT_TRUE(memory_is(&self->user, 0, SIZE, PATTERN));
	ASSERT_EQ(0, test_ioctl(self->user.iommufd, IOMMU_IOAS_UNMAP, &unmap));

	memset(self->user.memory, 0, SIZE);
	EXPECT_EQ(PTD_ST_WRITE_FAULT, ptd_fill(&self->user, 2 * IOVA));
	EXPECT_TRUE(memory_is(&self->user, 0, SIZE, 0));
	EXPECT_EQ(PTD_ST_OK, ptd_fill(&self->user, IOVA));
}

/* Known or not, for iommufd or for the driver */
TEST_F(plain, flags)
{
	struct iommu_fault_alloc fault = { .size = sizeof(fault) };
	uint32_t hwpt, bit;

	ASSERT_EQ(0, test_ioctl(self->user.iommufd, IOMMU_FAULT_QUEUE_ALLOC, &fault));
	self->request.fault = fault.out_fault_id;
	for (bit = 0; bit < 32; bit++) {
		self->request.flags = 1u << bit;
		EXPECT_EQ(-EOPNOTSUPP, hwpt_alloc(&self->request, &hwpt));
	}
	self->request.flags = IOMMU_HWPT_ALLOC_NEST_PARENT | IOMMU_HWPT_ALLOC_PASID;
	EXPECT_EQ(-EOPNOTSUPP, hwpt_alloc(&self->request, &hwpt));
	EXPECT_EQ(0, close(fault.out_fault_fd));
	EXPECT_EQ(0, iommufd_destroy(self->user.iommufd, fault.out_fault_id));
}

TEST_F(plain, user_data)
{
	struct iommu_hwpt_vtd_s1 data = { .addr_width = 48 };
	uint32_t type;

	self->request.data = &data;
	for (type = IOMMU_HWPT_DATA_VTD_S1; type < 5; type++) {
		EXPECT_EQ(-EOPNOTSUPP, hwpt_answer(&self->request, type, sizeof(data)));
		EXPECT_EQ(-EINVAL, hwpt_answer(&self->request, type, 0));
	}
	EXPECT_EQ(-EINVAL, hwpt_answer(&self->request, IOMMU_HWPT_DATA_NONE, sizeof(data)));
}

TEST_F(plain, nested)
{
	struct iommu_hwpt_vtd_s1 data = { .addr_width = 48 };
	struct hwpt_request request = self->request;
	uint32_t parent, hwpt;

	ASSERT_EQ(0, hwpt_alloc(&self->request, &parent));
	request.pt = parent;
	EXPECT_EQ(-EOPNOTSUPP, hwpt_alloc(&request, &hwpt));
	request.flags = IOMMU_HWPT_ALLOC_PASID;
	EXPECT_EQ(-EOPNOTSUPP, hwpt_alloc(&request, &hwpt));
	request.flags = 0;
	request.data = &data;
	EXPECT_EQ(-EOPNOTSUPP, hwpt_answer(&request, IOMMU_HWPT_DATA_VTD_S1, sizeof(data)));
	EXPECT_EQ(-EINVAL, hwpt_answer(&request, IOMMU_HWPT_DATA_VTD_S1, 0));

	EXPECT_TRUE(does_dma(&self->user, parent));
	EXPECT_EQ(0, iommufd_destroy(self->user.iommufd, parent));
}

/*
 * What is made is gone when it is destroyed, and what is refused refers to nothing: then
 * parent and address space can be destroyed. Memory that is lost the guest finds itself.
 */
TEST_F(plain, nothing_stays)
{
	struct iommu_hwpt_vtd_s1 data = {};
	struct hwpt_request typed = self->request, flags = self->request, nested;
	uint32_t hwpt, parent;
	int i;

	ASSERT_EQ(0, hwpt_alloc(&self->request, &parent));
	typed.type = IOMMU_HWPT_DATA_VTD_S1;
	typed.data = &data;
	typed.len = sizeof(data);
	nested = typed;
	nested.pt = parent;
	flags.flags = IOMMU_HWPT_ALLOC_NEST_PARENT;
	for (i = 0; i < 100; i++) {
		ASSERT_EQ(0, hwpt_alloc(&self->request, &hwpt));
		ASSERT_EQ(-EOPNOTSUPP, hwpt_alloc(&nested, &hwpt));
		ASSERT_EQ(-EOPNOTSUPP, hwpt_alloc(&flags, &hwpt));
		ASSERT_EQ(-EOPNOTSUPP, hwpt_alloc(&typed, &hwpt));
		ASSERT_EQ(0, iommufd_destroy(self->user.iommufd, hwpt));
	}
	EXPECT_EQ(-EBUSY, iommufd_destroy(self->user.iommufd, self->user.ioas));
	EXPECT_EQ(0, iommufd_destroy(self->user.iommufd, parent));
	EXPECT_EQ(0, iommufd_destroy(self->user.iommufd, self->user.ioas));
}

TEST_HARNESS_MAIN
