// SPDX-License-Identifier: GPL-2.0
#include <linux/io.h>

__rust_helper phys_addr_t rust_helper_virt_to_phys(void *address)
{
	return virt_to_phys(address);
}
