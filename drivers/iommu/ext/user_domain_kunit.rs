// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of user domains.

use crate::user_domain::*;
use core::{
    mem,
    ptr, //
};
use kernel::{
    bindings,
    prelude::*, //
};

const EBUSY: c_int = -(bindings::EBUSY as c_int);
const EEXIST: c_int = -(bindings::EEXIST as c_int);
const EINVAL: c_int = -(bindings::EINVAL as c_int);

const NONE: u32 = bindings::IOMMU_DOMAIN_DATA_OWNER_NONE;
const DMA_MSI: u32 = bindings::IOMMU_DOMAIN_DATA_OWNER_DMA_MSI;
const FAULT_HANDLER: u32 = bindings::IOMMU_DOMAIN_DATA_OWNER_FAULT_HANDLER;
const KVA: u32 = bindings::IOMMU_DOMAIN_DATA_OWNER_KVA;

/// Every type of domain that there is.
const TYPES: [u32; 7] = [
    bindings::IOMMU_DOMAIN_BLOCKED,
    bindings::__IOMMU_DOMAIN_PT,
    bindings::__IOMMU_DOMAIN_PAGING,
    bindings::__IOMMU_DOMAIN_PAGING
        | bindings::__IOMMU_DOMAIN_DMA_API
        | bindings::__IOMMU_DOMAIN_DMA_FQ,
    bindings::__IOMMU_DOMAIN_SVA,
    bindings::__IOMMU_DOMAIN_PLATFORM,
    bindings::__IOMMU_DOMAIN_NESTED,
];

unsafe extern "C" fn no_free(_domain: *mut bindings::iommu_domain) {}

/// A domain that stays where it is.
struct Domain {
    domain: bindings::iommu_domain,
    ops: bindings::iommu_domain_ops,
}

impl Domain {
    fn new() -> Result<KBox<Self>> {
        // SAFETY: Both are C structures for which zeroes are valid.
        let mut this: KBox<Self> = KBox::new(unsafe { mem::zeroed() }, GFP_KERNEL | __GFP_ZERO)?;

        this.ops.free = Some(no_free);
        this.domain.ops = &raw const this.ops;
        this.domain.type_ = bindings::__IOMMU_DOMAIN_PAGING as u16;
        Ok(this)
    }

    fn raw(&mut self) -> *mut bindings::iommu_domain {
        &raw mut self.domain
    }

    fn claim(&mut self, owner: u32) -> c_int {
        // SAFETY: The domain is valid.
        unsafe { iommu_domain_set_data_owner(self.raw(), owner) }
    }

    fn give_up(&mut self, owner: u32) {
        // SAFETY: The domain is valid.
        unsafe { iommu_domain_clear_data_owner(self.raw(), owner) }
    }

    fn owner(&self) -> u32 {
        self.domain.data_owner.into()
    }
}

/// Runs `f` and returns how many warnings it caused; they are not printed.
fn warnings(f: impl FnOnce()) -> c_int {
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

#[kunit_tests(iommu_user_domain)]
mod tests {
    use super::*;

    #[test]
    fn owned_by_one() -> Result {
        let mut domain = Domain::new()?;

        for owner in NONE + 1..=KVA {
            assert_eq!(domain.claim(owner), 0);
            for other in NONE + 1..=KVA {
                assert_eq!(domain.claim(other), EBUSY);
                assert_eq!(domain.owner(), owner);
            }
            domain.give_up(owner);
            assert_eq!(domain.owner(), NONE);
        }
        Ok(())
    }

    #[test]
    fn unknown_owner() -> Result {
        let mut domain = Domain::new()?;

        for owner in [NONE, KVA + 1, 0x1_0001, u32::MAX] {
            assert_eq!(domain.claim(owner), EINVAL);
        }
        assert_eq!(domain.owner(), NONE);
        Ok(())
    }

    #[test]
    fn static_domain() -> Result {
        let mut domain = Domain::new()?;

        domain.ops.free = None;
        assert_eq!(domain.claim(KVA), EINVAL);
        domain.domain.ops = ptr::null();
        assert_eq!(domain.claim(KVA), EINVAL);
        assert_eq!(domain.owner(), NONE);
        Ok(())
    }

    #[test]
    fn given_up_by_another() -> Result {
        let mut domain = Domain::new()?;

        assert_eq!(warnings(|| domain.give_up(KVA)), 1);
        assert_eq!(warnings(|| domain.give_up(NONE)), 1);
        assert_eq!(domain.claim(KVA), 0);
        for other in [NONE, DMA_MSI, KVA + 1, KVA + 0x1_0000] {
            assert_eq!(warnings(|| domain.give_up(other)), 1);
            assert_eq!(domain.owner(), KVA);
        }
        assert_eq!(warnings(|| domain.give_up(KVA)), 0);
        Ok(())
    }

    /// Both halves of the word are there, and neither touches the other.
    #[test]
    fn type_is_undisturbed() -> Result {
        let mut domain = Domain::new()?;

        assert_eq!(mem::offset_of!(bindings::iommu_domain, type_), 0);
        assert_eq!(mem::offset_of!(bindings::iommu_domain, data_owner), 2);
        for kind in TYPES {
            domain.domain.type_ = kind as u16;
            assert_eq!(u32::from(domain.domain.type_), kind);
            for owner in NONE + 1..=KVA {
                assert_eq!(domain.claim(owner), 0);
                assert_eq!(u32::from(domain.domain.type_), kind);
                domain.domain.type_ = 0;
                assert_eq!(domain.owner(), owner);
                domain.domain.type_ = kind as u16;
                domain.give_up(owner);
                assert_eq!(u32::from(domain.domain.type_), kind);
            }
        }
        Ok(())
    }

    #[test]
    fn msi_cookie() -> Result {
        let mut domain = Domain::new()?;
        let raw = domain.raw();

        assert_eq!(domain.claim(KVA), 0);
        // SAFETY: The domain is valid.
        assert_eq!(unsafe { bindings::iommu_get_msi_cookie(raw, 0) }, EEXIST);
        assert_eq!(domain.owner(), KVA);
        domain.give_up(KVA);

        // SAFETY: The domain is valid.
        assert_eq!(unsafe { bindings::iommu_get_msi_cookie(raw, 0) }, 0);
        assert_eq!(domain.owner(), DMA_MSI);
        // SAFETY: The union holds a pointer.
        let cookie = unsafe { domain.domain.__bindgen_anon_1.msi_cookie };
        assert!(!cookie.is_null());
        // SAFETY: The domain is valid.
        assert_eq!(unsafe { bindings::iommu_get_msi_cookie(raw, 0) }, EEXIST);
        assert_eq!(domain.claim(KVA), EBUSY);
        // SAFETY: The union holds a pointer.
        assert!(ptr::eq(cookie, unsafe {
            domain.domain.__bindgen_anon_1.msi_cookie
        }));

        // SAFETY: The domain is valid; all that is freed is the cookie.
        unsafe { bindings::iommu_domain_free(raw) };
        assert_eq!(domain.owner(), NONE);
        Ok(())
    }

    #[test]
    fn fault_handler() -> Result {
        let mut domain = Domain::new()?;
        let raw = domain.raw();
        // SAFETY: The domain is valid, and no fault is ever reported.
        let set = || unsafe { bindings::iommu_set_fault_handler(raw, None, ptr::null_mut()) };

        set();
        assert_eq!(domain.owner(), FAULT_HANDLER);
        assert_eq!(warnings(set), 1);
        assert_eq!(domain.claim(KVA), EBUSY);
        Ok(())
    }
}
