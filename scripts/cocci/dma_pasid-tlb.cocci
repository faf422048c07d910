// SPDX-License-Identifier: GPL-2.0
// Where single pages are flushed because their attributes have changed, IOMMUs
// that walk the kernel's page table forget them, too.
// files: arch/x86/mm/pat/set_memory.c
// hunks: 7.2=1 7.3=1
// options: --no-includes

@@
symbol __cpa_flush_tlb;
identifier cpa;
@@
 cpa_flush(struct cpa_data *cpa, ...)
 {
 <+...
-on_each_cpu(__cpa_flush_tlb, cpa, 1)
+cpa_flush_pages(cpa)
 ...+>
 }
