/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the benchmark modules share. Each measurement is a line: design, row,
 * size, operations, nanoseconds. Where the clock counts instructions, as in an
 * emulator that is told so, a nanosecond is one.
 */
#ifndef IOMMU_EXT_BENCH_H
#define IOMMU_EXT_BENCH_H

#include <linux/ktime.h>
#include <linux/limits.h>
#include <linux/minmax.h>
#include <linux/printk.h>
#include <linux/types.h>

static u64 bench_clock_cost;	/* of reading the clock twice */
static unsigned int bench_wrong;	/* answers that must not be */

static inline u64 bench_passed(u64 since)
{
	u64 time = ktime_get_ns() - since;

	return time > bench_clock_cost ? time - bench_clock_cost : 0;
}

static inline void bench_report(const char *design, const char *row, u32 size, u64 ops, u64 cost)
{
	pr_info("%s %s %u %llu %llu\n", design, row, size, ops, cost);
}

static inline void bench_begin(void)
{
	u64 best = U64_MAX;
	unsigned int i;

	pr_info("begin\n");
	for (i = 0; i < 1000; i++)
		best = min(best, bench_passed(ktime_get_ns()));
	bench_clock_cost = best;
}

static inline void bench_end(void)
{
	pr_info("end %u wrong\n", bench_wrong);
}

#endif /* IOMMU_EXT_BENCH_H */
