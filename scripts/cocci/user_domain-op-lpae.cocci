// SPDX-License-Identifier: GPL-2.0
// The top table comes from where the lower ones do.
// files: drivers/iommu/io-pgtable-arm.c
// hunks: 7.2=4 7.3=4
// options: --no-includes

@@
expression size, cfg, cookie;
@@
 __arm_lpae_alloc_pages(size,
-	GFP_KERNEL
+	io_pgtable_gfp(cfg)
	, cfg, cookie)

@@
identifier data, cfg;
@@
 arm_lpae_alloc_pgtable(struct io_pgtable_cfg *cfg)
 {
 ...
-data = kmalloc_obj(*data);
+data = kmalloc_obj(*data, io_pgtable_gfp(cfg));
 ...
 }
