/* SPDX-License-Identifier: GPL-2.0 */
/*
 * IOMMU domains for userspace, and who owns the private data of a domain. See
 * Documentation/driver-api/iommu-ext/user-domain.rst.
 */
#ifndef _LINUX_IOMMU_USER_DOMAIN_H
#define _LINUX_IOMMU_USER_DOMAIN_H

#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/gfp.h>
#include <linux/iommu.h>
#include <linux/types.h>

#ifdef CONFIG_IOMMU_EXT

/* Which part of the union in struct iommu_domain is in use, and by whom */
#define IOMMU_DOMAIN_DATA_OWNER_NONE		0
#define IOMMU_DOMAIN_DATA_OWNER_DMA		1	/* iova_cookie */
#define IOMMU_DOMAIN_DATA_OWNER_IOMMUFD		2	/* iommufd_hwpt */
#define IOMMU_DOMAIN_DATA_OWNER_DMA_MSI		3	/* msi_cookie */
#define IOMMU_DOMAIN_DATA_OWNER_FAULT_HANDLER	4	/* handler */
#define IOMMU_DOMAIN_DATA_OWNER_SVA		5	/* mm */
#define IOMMU_DOMAIN_DATA_OWNER_KVA		6	/* kernel virtual addresses */

/**
 * iommu_domain_set_data_owner() - claim the private data of a domain
 * @domain: the domain
 * @owner: who claims it: IOMMU_DOMAIN_DATA_OWNER_*, but not NONE
 *
 * Claim first, then write the data. Of several who claim at once, one succeeds.
 *
 * Context: any.
 *
 * Return: 0; -EINVAL for an unknown owner, or for a static domain: that one is
 * shared by all; -EBUSY if the data has an owner already, even the same one.
 */
int iommu_domain_set_data_owner(struct iommu_domain *domain, unsigned int owner);

/**
 * iommu_domain_clear_data_owner() - give up the private data of a domain
 * @domain: the domain
 * @owner: as it was claimed
 *
 * The owner has dropped the data. Anybody else who calls this gets a warning,
 * and nothing happens.
 *
 * Context: any.
 */
void iommu_domain_clear_data_owner(struct iommu_domain *domain, unsigned int owner);

/**
 * iommu_domain_data_owner() - who owns the private data of a domain
 * @domain: the domain
 *
 * To be asked by everybody who reads the data and is not its owner for sure.
 *
 * Return: IOMMU_DOMAIN_DATA_OWNER_*
 */
static inline unsigned int
iommu_domain_data_owner(const struct iommu_domain *domain)
{
	return READ_ONCE(domain->data_owner);
}

/**
 * iommu_domain_data_is_not() - whether the private data of a domain is another's
 * @domain: the domain
 * @owner: whose data the caller is about to read: IOMMU_DOMAIN_DATA_OWNER_*
 *
 * For functions of the core and of drivers that get a domain of which they know
 * by other means whose it is: nothing is asked without the series.
 *
 * Return: true if the data must not be read
 */
static inline bool iommu_domain_data_is_not(const struct iommu_domain *domain,
					    unsigned int owner)
{
	return iommu_domain_data_owner(domain) != owner;
}

/* For drivers of IOMMUs: their domain_alloc_user and domain_alloc_paging_flags */

/**
 * iommu_domain_gfp() - how to allocate what a domain needs after it was made
 * @domain: the domain
 * @gfp: how otherwise
 *
 * Return: @gfp; for a domain of userspace, charged to the caller's cgroup, even
 * beyond its limit.
 */
static inline gfp_t iommu_domain_gfp(const struct iommu_domain *domain, gfp_t gfp)
{
	if (iommu_domain_data_owner(domain) != IOMMU_DOMAIN_DATA_OWNER_IOMMUFD)
		return gfp;
	/* Attaching again, as after a reset, must not fail for a cgroup's limit */
	if (gfpflags_allow_blocking(gfp))
		gfp |= __GFP_NOFAIL;
	return gfp | __GFP_ACCOUNT;
}

/**
 * IOMMU_USER_DOMAIN_MAX_DATA - bytes that userspace can describe a domain with
 */
#define IOMMU_USER_DOMAIN_MAX_DATA	64

/**
 * enum iommu_user_domain_stage - the page tables that a domain can have
 * @IOMMU_USER_DOMAIN_FIRST: first stage
 * @IOMMU_USER_DOMAIN_SECOND: second stage
 */
enum iommu_user_domain_stage {
	IOMMU_USER_DOMAIN_FIRST,
	IOMMU_USER_DOMAIN_SECOND,
};

/**
 * struct iommu_user_domain_ability - whether a kind of domain can be made
 * @possible: it can
 * @flags: the IOMMU_HWPT_ALLOC_* flags that it can have, in any combination
 */
struct iommu_user_domain_ability {
	bool possible;
	u32 flags;
};

/**
 * struct iommu_user_domain_abilities - what driver and hardware can do for a device
 * @first: paging domains with first-stage tables; preferred
 * @second: paging domains with second-stage tables
 * @nested: nested domains
 */
struct iommu_user_domain_abilities {
	struct iommu_user_domain_ability first;
	struct iommu_user_domain_ability second;
	struct iommu_user_domain_ability nested;
};

/**
 * struct iommu_user_domain_format - user data that a driver understands
 * @type: enum iommu_hwpt_data_type
 * @min_len: bytes that it had in its first version
 * @len: bytes that it has now, at most IOMMU_USER_DOMAIN_MAX_DATA
 * @known: that many bytes, with those bits set that userspace may set
 */
struct iommu_user_domain_format {
	unsigned int type;
	size_t min_len;
	size_t len;
	const void *known;
};

/**
 * struct iommu_user_domain_driver - what a driver does when it is told to
 * @name: its name
 * @paging_data: user data for paging domains, may be left out; NULL for none
 * @nested_data: user data for nested domains
 * @abilities: says what can be done for a device; all is zero before
 * @alloc_paging: allocates a paging domain. Flags and stage, of enum
 *		  iommu_user_domain_stage, are possible ones, and the user data is
 *		  NULL or has been copied and checked: iommu_copy_struct_from_user()
 *		  gives the copy. All memory is allocated with the flags given last
 * @alloc_nested: allocates a nested domain on a parent of the same driver that
 *		  was asked for as such, with GFP_KERNEL_ACCOUNT; NULL if the
 *		  driver cannot
 *
 * Both return a domain or an ERR_PTR, and neither need decide about anything
 * that is described here. Rust calls them, so none of their types may be an enum:
 * to bindings that is an integer, which kCFI takes for another type.
 */
struct iommu_user_domain_driver {
	const char *name;
	const struct iommu_user_domain_format *paging_data;
	const struct iommu_user_domain_format *nested_data;
	void (*abilities)(struct device *dev,
			  struct iommu_user_domain_abilities *abilities);
	struct iommu_domain *(*alloc_paging)(struct device *dev, u32 stage, u32 flags,
					     const struct iommu_user_data *user_data,
					     gfp_t gfp);
	struct iommu_domain *(*alloc_nested)(struct device *dev,
					     struct iommu_domain *parent, u32 flags,
					     const struct iommu_user_data *user_data);
};

/**
 * iommu_driver_domain_alloc_user() - a driver's domain_alloc_user
 * @dev: as for domain_alloc_user
 * @flags: as for domain_alloc_user
 * @parent: as for domain_alloc_user
 * @user_data: as for domain_alloc_user
 * @driver: the driver
 *
 * Decides whether there is such a domain, and has the driver make it. What is
 * asked first decides: flags, what can be done, parent, user data. All memory is
 * charged to the caller's cgroup.
 *
 * Context: a task; may sleep.
 *
 * Return: the domain; or an ERR_PTR: -EOPNOTSUPP for unknown flags, for what
 * driver or hardware cannot do, and for user data of another type or with
 * unknown bits; -EINVAL for a parent that is none, for user data that is too
 * short, and for data that is longer than known and not zero there, or longer
 * than 4096 bytes; -EFAULT for a bad address; or what the driver says.
 */
struct iommu_domain *
iommu_driver_domain_alloc_user(struct device *dev, u32 flags,
			       struct iommu_domain *parent,
			       const struct iommu_user_data *user_data,
			       const struct iommu_user_domain_driver *driver);

/**
 * iommu_driver_domain_alloc_paging() - a driver's domain_alloc_paging_flags
 * @dev: as for domain_alloc_paging_flags
 * @flags: as for domain_alloc_paging_flags
 * @user_data: as for domain_alloc_paging_flags
 * @driver: the driver
 *
 * As iommu_driver_domain_alloc_user() without parent, but for the kernel:
 * nobody's cgroup is charged.
 *
 * Context: a task; may sleep.
 *
 * Return: the domain or an ERR_PTR, as there.
 */
struct iommu_domain *
iommu_driver_domain_alloc_paging(struct device *dev, u32 flags,
				 const struct iommu_user_data *user_data,
				 const struct iommu_user_domain_driver *driver);

#else /* !CONFIG_IOMMU_EXT */

/* The owners that the core knows, under the numbers that it has for them */
#define IOMMU_DOMAIN_DATA_OWNER_NONE		IOMMU_COOKIE_NONE
#define IOMMU_DOMAIN_DATA_OWNER_DMA		IOMMU_COOKIE_DMA_IOVA
#define IOMMU_DOMAIN_DATA_OWNER_IOMMUFD		IOMMU_COOKIE_IOMMUFD
#define IOMMU_DOMAIN_DATA_OWNER_DMA_MSI		IOMMU_COOKIE_DMA_MSI
#define IOMMU_DOMAIN_DATA_OWNER_FAULT_HANDLER	IOMMU_COOKIE_FAULT_HANDLER
#define IOMMU_DOMAIN_DATA_OWNER_SVA		IOMMU_COOKIE_SVA
#define IOMMU_DOMAIN_DATA_OWNER_KVA		UINT_MAX	/* of no domain */

static inline int iommu_domain_set_data_owner(struct iommu_domain *domain,
					      unsigned int owner)
{
	return -EOPNOTSUPP;
}

static inline void iommu_domain_clear_data_owner(struct iommu_domain *domain,
						 unsigned int owner)
{
}

static inline unsigned int
iommu_domain_data_owner(const struct iommu_domain *domain)
{
	return domain->cookie_type;
}

static inline bool iommu_domain_data_is_not(const struct iommu_domain *domain,
					    unsigned int owner)
{
	return false;
}

static inline gfp_t iommu_domain_gfp(const struct iommu_domain *domain, gfp_t gfp)
{
	return gfp;
}

#endif /* CONFIG_IOMMU_EXT */

#endif /* _LINUX_IOMMU_USER_DOMAIN_H */
