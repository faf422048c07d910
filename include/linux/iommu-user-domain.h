/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Who owns the private data of an IOMMU domain. See
 * Documentation/driver-api/iommu-ext/user-domain.rst.
 */
#ifndef _LINUX_IOMMU_USER_DOMAIN_H
#define _LINUX_IOMMU_USER_DOMAIN_H

#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/iommu.h>

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

#else /* !CONFIG_IOMMU_EXT */

/* The owners that the core knows, under the numbers that it has for them */
#define IOMMU_DOMAIN_DATA_OWNER_NONE		IOMMU_COOKIE_NONE
#define IOMMU_DOMAIN_DATA_OWNER_DMA		IOMMU_COOKIE_DMA_IOVA
#define IOMMU_DOMAIN_DATA_OWNER_IOMMUFD		IOMMU_COOKIE_IOMMUFD
#define IOMMU_DOMAIN_DATA_OWNER_DMA_MSI		IOMMU_COOKIE_DMA_MSI
#define IOMMU_DOMAIN_DATA_OWNER_FAULT_HANDLER	IOMMU_COOKIE_FAULT_HANDLER
#define IOMMU_DOMAIN_DATA_OWNER_SVA		IOMMU_COOKIE_SVA

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

#endif /* CONFIG_IOMMU_EXT */

#endif /* _LINUX_IOMMU_USER_DOMAIN_H */
