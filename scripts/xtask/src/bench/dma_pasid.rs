// SPDX-License-Identifier: GPL-2.0
//! DMA with PASID inside the kernel, beside what C code can do without it.

use super::count;
use super::table::{Claim, Table};
use crate::lab::Lab;
use anyhow::Result;

const MODULE: &str = "dma_pasid_bench";

/// Less than an instruction more in 250: the guest's own timer comes now and then.
const SAME: f64 = 1.004;

const HAND: (&str, &str) = ("hand", "by hand");

const DMA_API: Table = Table {
    rows: &["dma-map", "dma-unmap"],
    sizes: "KiB",
    designs: &[("iova", "IOVA mode"), ("plain", "plain"), HAND],
    digits: 0,
    claims: &[
        Claim {
            text: "IOVA mode adds nothing to mapping by the DMA API",
            row: "dma-map",
            size: None,
            designs: ("iova", "plain"),
            limits: 0.0..=SAME,
        },
        Claim {
            text: "IOVA mode adds nothing to unmapping by the DMA API",
            row: "dma-unmap",
            size: None,
            designs: ("iova", "plain"),
            limits: 0.0..=SAME,
        },
    ],
};

const KVA: Table = Table {
    rows: &["kva-map", "kva-unmap", "spread-map", "spread-unmap"],
    sizes: "KiB",
    designs: &[("kva", "KVA mode"), ("loop", "loop"), ("runs", "runs")],
    digits: 0,
    claims: &[
        Claim {
            text: "2 MiB that are contiguous are mapped 10 times as fast as by a loop",
            row: "kva-map",
            size: Some(2048),
            designs: ("kva", "loop"),
            limits: 0.0..=0.1,
        },
        Claim {
            text: "and unmapped",
            row: "kva-unmap",
            size: Some(2048),
            designs: ("kva", "loop"),
            limits: 0.0..=0.1,
        },
    ],
};

const ENABLING: Table = Table {
    rows: &[
        "bypass-enable",
        "bypass-disable",
        "iova-enable",
        "iova-disable",
        "kva-enable",
        "kva-disable",
    ],
    sizes: "use",
    designs: &[("ours", "ours"), HAND],
    digits: 0,
    claims: &[],
};

pub fn run(lab: &mut Lab) -> Result<()> {
    let strict = count(lab, MODULE, "bench-dma-pasid", "iommu.strict=1")?;
    let lazy = count(lab, MODULE, "bench-dma-pasid-lazy", "iommu.strict=0")?;
    let ctx = lab.ctx;
    ctx.say("\nDMA API, flushed at each unmap: instructions for each operation");
    ctx.say(DMA_API.tell(&strict));
    ctx.say("DMA API, flushed in batches: instructions for each operation");
    ctx.say(DMA_API.tell(&lazy));
    ctx.say("Kernel virtual addresses: instructions for each operation");
    ctx.say(KVA.tell(&strict));
    ctx.say("Enabling and disabling: instructions for each operation");
    ctx.say(ENABLING.tell(&strict));
    Ok(())
}
