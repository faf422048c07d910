// SPDX-License-Identifier: GPL-2.0

//! Tracepoints.
//!
//! C header: [`include/trace/events/iommu_ext.h`](srctree/include/trace/events/iommu_ext.h)

use kernel::{
    bindings::{
        ioasid_set,
        ioasid_t, //
    },
    tracepoint::declare_trace, //
};

declare_trace! {
    /// An ID was allocated, or not.
    ///
    /// # Safety
    ///
    /// `set` is null or valid.
    pub(crate) unsafe fn ioasid_alloc(
        ioasid: ioasid_t,
        set: *const ioasid_set,
        min: ioasid_t,
        max: ioasid_t,
    );

    /// A reference was added.
    ///
    /// # Safety
    ///
    /// None.
    pub(crate) unsafe fn ioasid_get(ioasid: ioasid_t);

    /// A reference was dropped, and there are more.
    ///
    /// # Safety
    ///
    /// None.
    pub(crate) unsafe fn ioasid_put(ioasid: ioasid_t);

    /// The last reference was dropped.
    ///
    /// # Safety
    ///
    /// None.
    pub(crate) unsafe fn ioasid_free(ioasid: ioasid_t);
}
