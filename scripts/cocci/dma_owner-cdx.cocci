// SPDX-License-Identifier: GPL-2.0
// A driver whose claim is refused must not be bound: unbinding it would release
// what it never held.
// files: drivers/cdx/cdx.c
// hunks: 7.2=1 7.3=1
// options: --no-includes

@@
identifier ret;
@@
 cdx_dma_configure(...)
 {
 ...
 int ret;
 <...
-return 0;
+return IS_ENABLED(CONFIG_IOMMU_EXT) ? ret : 0;
 ...>
 }
