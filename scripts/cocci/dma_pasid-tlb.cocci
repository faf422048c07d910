// SPDX-License-Identifier: GPL-2.0
// Where single pages are flushed because their attributes have changed, IOMMUs
// that walk the kernel's page table forget them, too.
// files: arch/x86/mm/pat/set_memory.c
// hunks: 7.2=2 7.3=2
// options: --no-includes

@@
symbol TLB_FLUSH_ALL, __cpa_flush_tlb;
identifier cpa;
@@
 cpa_flush(struct cpa_data *cpa, ...)
 {
 <+...
+iommu_kva_invalidate(0, TLB_FLUSH_ALL);
 on_each_cpu(__cpa_flush_tlb, cpa, 1);
 ...+>
 }
