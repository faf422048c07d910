// SPDX-License-Identifier: GPL-2.0

#include "../../drivers/iommu/ext/shim/ioasid_xa.h"

/*
 * As xa_load(), without an RCU section of its own, and for entries that are never
 * reserved.
 */
__rust_helper void *rust_helper_ioasid_xa_load(unsigned long index)
{
	XA_STATE(xas, &ioasid_xa, index);
	void *entry;

	do {
		entry = xas_load(&xas);
	} while (xas_retry(&xas, entry));
	return entry;
}

__rust_helper unsigned long rust_helper_ioasid_xa_lock(void)
	__acquires(&ioasid_xa.xa_lock)
{
	unsigned long flags;

	xa_lock_irqsave(&ioasid_xa, flags);
	return flags;
}

__rust_helper void rust_helper_ioasid_xa_unlock(unsigned long flags)
	__releases(&ioasid_xa.xa_lock)
{
	xa_unlock_irqrestore(&ioasid_xa, flags);
}
