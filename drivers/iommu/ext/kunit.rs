// SPDX-License-Identifier: GPL-2.0

//! What KUnit tests have in common.

use kernel::{
    bindings,
    prelude::*, //
};

/// Runs `f` and returns how many warnings it caused; they are not printed.
pub(crate) fn warnings(f: impl FnOnce()) -> c_int {
    // SAFETY: The linker places the flags of "once" messages between the two. A race with another
    // such message only makes that one appear again.
    unsafe {
        let start = (&raw mut bindings::__start_once).cast::<u8>();
        let end = (&raw mut bindings::__end_once).cast::<u8>();
        start.write_bytes(0, end as usize - start as usize);
    }
    // SAFETY: A test is running, in this task.
    unsafe {
        let test = bindings::kunit_get_current_test();
        let suppressed = bindings::kunit_start_suppress_warning(test);

        f();
        let count = bindings::kunit_suppressed_warning_count(suppressed);
        bindings::kunit_end_suppress_warning(test, suppressed);
        count
    }
}
