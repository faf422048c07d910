// SPDX-License-Identifier: GPL-2.0
/*
 * Domains that userspace asks VT-d for, through iommufd and with a real device:
 * paging domains with each flag, which do DMA, and all that is refused.
 *
 * QEMU's VT-d can neither nest nor track what is written.
 *
 * profiles: first-stage second-stage legacy
 */
#include "user_domain_util.h"
#include "../kselftest_harness.h"

FIXTURE(user_domain)
{
	struct pci one;
	struct user user;
	struct hwpt_request request;
};

FIXTURE_SETUP(user_domain)
{
	self->user = no_user;
	ASSERT_TRUE(find_single(&self->one));
	ASSERT_EQ(0, pci_bind(&self->one, DRIVER_VFIO));
	ASSERT_EQ(0, iommufd_bind(&self->user, &self->one));
	ASSERT_EQ(0, iommufd_map(&self->user));
	self->request = (struct hwpt_request){
		.iommufd = self->user.iommufd,
		.devid = self->user.devid,
		.pt = self->user.ioas,
	};
	ASSERT_EQ(0, trace_begin());
}

FIXTURE_TEARDOWN(user_domain)
{
	trace_end();
	user_close(&self->user);
	EXPECT_EQ(0, pci_restore(&self->one));
	EXPECT_TRUE(owner_is(&self->one, "dma-api", 1, 1));
}

TEST_F(user_domain, no_flags)
{
	uint32_t hwpt;

	ASSERT_EQ(0, hwpt_alloc(&self->request, &hwpt));
	EXPECT_EQ(1, trace_count("driver=vtd flags=0x0 nested=0 error=0"));
	EXPECT_EQ(1, trace_count(self->one.name));
	EXPECT_TRUE(does_dma(&self->user, hwpt));
	EXPECT_EQ(0, iommufd_destroy(self->user.iommufd, hwpt));
}

/* Without scalable mode there are no PASIDs */
TEST_F(user_domain, pasid)
{
	int wanted = in_profile("legacy") ? -EOPNOTSUPP : 0;
	uint32_t hwpt;

	self->request.flags = IOMMU_HWPT_ALLOC_PASID;
	ASSERT_EQ(wanted, hwpt_alloc(&self->request, &hwpt));
	EXPECT_EQ(1, trace_count(wanted ? "driver=vtd flags=0x8 nested=0 error=-95" :
					  "driver=vtd flags=0x8 nested=0 error=0"));
	if (wanted)
		return;
	EXPECT_TRUE(does_dma(&self->user, hwpt));
	EXPECT_EQ(0, iommufd_destroy(self->user.iommufd, hwpt));
}

/* What a device is attached to without more ado comes the same way */
TEST_F(user_domain, attached_to_an_address_space)
{
	EXPECT_TRUE(does_dma(&self->user, self->user.ioas));
	EXPECT_LE(1, trace_count("driver=vtd flags=0x0 nested=0 error=0"));
}

TEST_F(user_domain, nest_parent)
{
	uint32_t hwpt;

	self->request.flags = IOMMU_HWPT_ALLOC_NEST_PARENT;
	EXPECT_EQ(-EOPNOTSUPP, hwpt_alloc(&self->request, &hwpt));
	EXPECT_EQ(1, trace_count("driver=vtd flags=0x1 nested=0 error=-95"));
	self->request.flags |= IOMMU_HWPT_ALLOC_PASID;
	EXPECT_EQ(-EOPNOTSUPP, hwpt_alloc(&self->request, &hwpt));
	EXPECT_EQ(1, trace_count("driver=vtd flags=0x9 nested=0 error=-95"));
}

/* iommufd asks for that before it asks for the domain */
TEST_F(user_domain, dirty_tracking)
{
	uint32_t hwpt;

	self->request.flags = IOMMU_HWPT_ALLOC_DIRTY_TRACKING;
	EXPECT_EQ(-EOPNOTSUPP, hwpt_alloc(&self->request, &hwpt));
	self->request.flags |= IOMMU_HWPT_ALLOC_PASID;
	EXPECT_EQ(-EOPNOTSUPP, hwpt_alloc(&self->request, &hwpt));
}

TEST_F(user_domain, fault_queue)
{
	struct iommu_fault_alloc fault = { .size = sizeof(fault) };
	uint32_t hwpt;

	ASSERT_EQ(0, test_ioctl(self->user.iommufd, IOMMU_FAULT_QUEUE_ALLOC, &fault));
	self->request.flags = IOMMU_HWPT_FAULT_ID_VALID;
	self->request.fault = fault.out_fault_id + 100;
	EXPECT_EQ(-ENOENT, hwpt_alloc(&self->request, &hwpt));
	self->request.fault = fault.out_fault_id;
	ASSERT_EQ(0, hwpt_alloc(&self->request, &hwpt));
	/* That flag is iommufd's own */
	EXPECT_EQ(2, trace_count("driver=vtd flags=0x0 nested=0 error=0"));
	EXPECT_EQ(0, iommufd_destroy(self->user.iommufd, hwpt));

	self->request.flags |= IOMMU_HWPT_ALLOC_NEST_PARENT;
	EXPECT_EQ(-EOPNOTSUPP, hwpt_alloc(&self->request, &hwpt));
	EXPECT_EQ(0, close(fault.out_fault_fd));
	EXPECT_EQ(0, iommufd_destroy(self->user.iommufd, fault.out_fault_id));
}

TEST_F(user_domain, unknown_flag)
{
	uint32_t hwpt, bit;

	for (bit = 4; bit < 32; bit++) {
		self->request.flags = 1u << bit;
		EXPECT_EQ(-EOPNOTSUPP, hwpt_alloc(&self->request, &hwpt));
		self->request.flags |= IOMMU_HWPT_ALLOC_PASID;
		EXPECT_EQ(-EOPNOTSUPP, hwpt_alloc(&self->request, &hwpt));
	}
}

/* There is no user data for VT-d's paging domains */
TEST_F(user_domain, user_data)
{
	struct iommu_hwpt_vtd_s1 data = { .addr_width = 48 };
	uint32_t type;

	self->request.data = &data;
	for (type = IOMMU_HWPT_DATA_VTD_S1; type < 5; type++) {
		EXPECT_EQ(-EOPNOTSUPP, hwpt_answer(&self->request, type, sizeof(data)));
		EXPECT_EQ((int)type, trace_count("driver=vtd flags=0x0 nested=0 error=-95"));
		EXPECT_EQ(-EINVAL, hwpt_answer(&self->request, type, 0));
	}
	EXPECT_EQ(-EINVAL, hwpt_answer(&self->request, IOMMU_HWPT_DATA_NONE, sizeof(data)));
	EXPECT_EQ(-EOPNOTSUPP, hwpt_answer(&self->request, ~0u, sizeof(data)));
	self->request.data = NULL;
	EXPECT_EQ(-EOPNOTSUPP,
		  hwpt_answer(&self->request, IOMMU_HWPT_DATA_VTD_S1, sizeof(data)));
}

/* The hardware cannot nest, so it does not matter what else is wrong */
TEST_F(user_domain, nested)
{
	struct iommu_hwpt_vtd_s1 data = { .addr_width = 48 };
	struct hwpt_request request = self->request;
	uint32_t parent, hwpt;

	ASSERT_EQ(0, hwpt_alloc(&self->request, &parent));
	request.pt = parent;
	request.data = &data;
	EXPECT_EQ(-EOPNOTSUPP, hwpt_answer(&request, IOMMU_HWPT_DATA_VTD_S1, sizeof(data)));
	EXPECT_EQ(1, trace_count("driver=vtd flags=0x0 nested=1 error=-95"));

	data.flags = 1 << 3;
	EXPECT_EQ(-EOPNOTSUPP, hwpt_answer(&request, IOMMU_HWPT_DATA_VTD_S1, sizeof(data)));
	EXPECT_EQ(-EOPNOTSUPP, hwpt_answer(&request, IOMMU_HWPT_DATA_VTD_S1, 1));
	request.data = NULL;
	EXPECT_EQ(-EOPNOTSUPP, hwpt_answer(&request, IOMMU_HWPT_DATA_VTD_S1, 1));
	EXPECT_EQ(-EINVAL, hwpt_answer(&request, IOMMU_HWPT_DATA_NONE, 1));
	EXPECT_EQ(-EOPNOTSUPP, hwpt_answer(&request, IOMMU_HWPT_DATA_NONE, 0));
	EXPECT_EQ(5, trace_count("driver=vtd flags=0x0 nested=1 error=-95"));
	request.flags = IOMMU_HWPT_ALLOC_PASID;
	EXPECT_EQ(-EOPNOTSUPP, hwpt_alloc(&request, &hwpt));
	EXPECT_EQ(1, trace_count("driver=vtd flags=0x8 nested=1 error=-95"));

	/* The parent was not touched, and can be destroyed */
	EXPECT_TRUE(does_dma(&self->user, parent));
	EXPECT_EQ(0, iommufd_destroy(self->user.iommufd, parent));
}

/* Neither what is made nor what is refused leaves anything behind */
TEST_F(user_domain, nothing_leaks)
{
	struct iommu_hwpt_vtd_s1 data = {};
	struct hwpt_request nested = self->request, flags = self->request;
	uint32_t hwpt, parent;
	long before;
	int i;

	ASSERT_EQ(0, hwpt_alloc(&self->request, &parent));
	nested.pt = parent;
	nested.type = IOMMU_HWPT_DATA_VTD_S1;
	nested.data = &data;
	nested.len = sizeof(data);
	flags.flags = IOMMU_HWPT_ALLOC_NEST_PARENT;

	before = vm_pages("nr_iommu_pages");
	ASSERT_LT(0, before);
	for (i = 0; i < 200; i++) {
		ASSERT_EQ(0, hwpt_alloc(&self->request, &hwpt));
		ASSERT_EQ(-EOPNOTSUPP, hwpt_alloc(&nested, &hwpt));
		ASSERT_EQ(-EOPNOTSUPP, hwpt_alloc(&flags, &hwpt));
		ASSERT_EQ(0, iommufd_destroy(self->user.iommufd, hwpt));
	}
	EXPECT_EQ(before, vm_pages("nr_iommu_pages"));
	EXPECT_EQ(0, iommufd_destroy(self->user.iommufd, parent));
}

TEST_HARNESS_MAIN
