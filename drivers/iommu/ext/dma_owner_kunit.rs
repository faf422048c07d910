// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of DMA ownership, on a group of two devices served by a mock IOMMU.
//!
//! They show what cannot be brought about from outside: a group that is not set up,
//! counts at their limit, a blocking domain that cannot be attached.

use crate::{
    dma_owner::*,
    kunit::warnings,
    kunit_group::{
        Fixture,
        TestDevice, //
    }, //
};
use core::ptr;
use kernel::{
    bindings,
    device::{
        Bound,
        Device, //
    },
    iommu::dma_owner::Ownership,
    prelude::*, //
};

const NONE: u32 = bindings::iommu_dma_owner_DMA_OWNER_NONE;
const DMA_API: u32 = bindings::iommu_dma_owner_DMA_OWNER_DMA_API;
const PRIVATE: u32 = bindings::iommu_dma_owner_DMA_OWNER_PRIVATE_DOMAIN;
const USER: u32 = bindings::iommu_dma_owner_DMA_OWNER_PRIVATE_DOMAIN_USER;

const EBUSY: c_int = -(bindings::EBUSY as c_int);
const EINVAL: c_int = -(bindings::EINVAL as c_int);
const EIO: c_int = -(bindings::EIO as c_int);
const ENODEV: c_int = -(bindings::ENODEV as c_int);
const EOVERFLOW: c_int = -(bindings::EOVERFLOW as c_int);
const EPERM: c_int = -(bindings::EPERM as c_int);
const EPROBE_DEFER: c_int = -(bindings::EPROBE_DEFER as c_int);

/// # Safety
///
/// As for an IOMMU driver's operation.
unsafe extern "C" fn refuse(
    _domain: *mut bindings::iommu_domain,
    _dev: *mut bindings::device,
    _old: *mut bindings::iommu_domain,
) -> c_int {
    EIO
}

impl Fixture {
    fn cookie(&self, number: usize) -> *mut c_void {
        ptr::from_ref(&self.iommu.params[number]).cast_mut().cast()
    }

    fn claim(&self, device: usize, owner: u32) -> c_int {
        // SAFETY: The device is valid and stays in its group.
        unsafe { iommu_device_set_dma_owner(self.dev(device), owner, self.cookie(0)) }
    }

    fn release(&self, device: usize, owner: u32) {
        // SAFETY: As in `claim`.
        unsafe { iommu_device_release_dma_owner(self.dev(device), owner) }
    }

    fn bind(&self, device: usize) -> c_int {
        // SAFETY: As in `claim`.
        unsafe { iommu_device_use_default_domain(self.dev(device)) }
    }

    fn is_other(&self, number: usize) -> bool {
        // SAFETY: The group is valid.
        unsafe { iommu_dma_owner_is_other(self.group, self.cookie(number)) }
    }

    fn claim_group(&self) -> c_int {
        // SAFETY: The group is valid.
        unsafe { iommu_group_claim_dma_owner(self.group, self.cookie(0)) }
    }

    /// Owner, count, and each device's part of it.
    fn state(&self) -> (u32, u32, [u32; 2]) {
        // SAFETY: The group is valid, and nobody else knows it.
        let state = unsafe { &(*self.group).dma_owner };
        let claims = [0, 1].map(|device| match self.member(device) {
            Some(member) => {
                // SAFETY: As above.
                unsafe { (*member).dma_claims }
            }
            None => 0,
        });

        (state.owner, state.count, claims)
    }

    /// Presets the counts of the first device and of the group.
    fn preset(&self, owner: u32, count: u32) {
        let cookie = if owner == DMA_API {
            ptr::null_mut()
        } else {
            self.cookie(0)
        };

        if let Some(first) = self.member(0) {
            // SAFETY: As in `state`.
            unsafe { (*first).dma_claims = count };
        }
        // SAFETY: As in `state`.
        unsafe {
            (*self.group).dma_owner = bindings::iommu_dma_ownership {
                cookie,
                count,
                owner,
                whole: false,
            };
        }
    }

    fn attached(&self) -> *mut bindings::iommu_domain {
        // SAFETY: The group is valid.
        unsafe { (*self.group).domain }
    }

    fn attach(&self, domain: &bindings::iommu_domain) {
        // SAFETY: The group is valid.
        unsafe { (*self.group).domain = ptr::from_ref(domain).cast_mut() };
    }
}

#[kunit_tests(iommu_ext_dma_owner)]
mod tests {
    use super::*;

    #[test]
    fn no_group() -> Result {
        let device = TestDevice::new(c"dma-owner-kunit")?;
        let dev = device.raw();
        let cookie = dev.cast();

        // SAFETY: The device is valid.
        unsafe {
            assert_eq!(iommu_device_use_default_domain(dev), 0);
            assert_eq!(iommu_device_set_dma_owner(dev, DMA_API, cookie), 0);
            assert_eq!(iommu_device_set_dma_owner(dev, PRIVATE, cookie), ENODEV);
            assert_eq!(iommu_device_set_dma_owner(dev, USER, cookie), ENODEV);
            assert_eq!(
                iommu_device_set_dma_owner(dev, USER, ptr::null_mut()),
                EINVAL
            );
            for owner in [DMA_API, PRIVATE, USER] {
                iommu_device_release_dma_owner(dev, owner);
            }
            iommu_device_unuse_default_domain(dev);
        }
        Ok(())
    }

    #[test]
    fn group_without_iommu() -> Result {
        let f = Fixture::without_iommu()?;

        assert_eq!(f.bind(0), 0);
        assert_eq!(f.claim(0, DMA_API), 0);
        assert_eq!(f.claim(0, PRIVATE), ENODEV);
        assert_eq!(f.claim(0, USER), ENODEV);
        assert_eq!(f.claim_group(), ENODEV);
        f.release(0, DMA_API);
        f.release(0, USER);
        assert_eq!(f.state(), (NONE, 0, [0, 0]));
        Ok(())
    }

    #[test]
    fn no_default_domain() -> Result {
        let f = Fixture::without_default_domain()?;

        assert_eq!(f.bind(0), EPROBE_DEFER);
        for owner in [DMA_API, PRIVATE, USER] {
            assert_eq!(f.claim(0, owner), EBUSY);
        }
        assert_eq!(f.claim_group(), EBUSY);
        assert_eq!(f.claim(0, NONE), EINVAL);
        assert_eq!(f.state(), (NONE, 0, [0, 0]));
        Ok(())
    }

    /// The core has told the device its group, but not yet the group its device.
    #[test]
    fn device_joins() -> Result {
        let f = Fixture::new()?;
        let device = TestDevice::new(c"dma-owner-kunit-c")?;
        let dev = device.raw();
        let cookie = dev.cast();

        // SAFETY: The device is valid, and nobody else looks at its group.
        unsafe {
            (*dev).iommu_group = f.group;
            (*dev).iommu = (*f.dev(0)).iommu;
            assert_eq!(iommu_device_use_default_domain(dev), EPROBE_DEFER);
            assert_eq!(iommu_device_set_dma_owner(dev, DMA_API, cookie), EBUSY);
            assert_eq!(iommu_device_set_dma_owner(dev, USER, cookie), EBUSY);
            (*dev).iommu_group = ptr::null_mut();
            (*dev).iommu = ptr::null_mut();
        }
        assert_eq!(f.state(), (NONE, 0, [0, 0]));
        Ok(())
    }

    #[test]
    fn overflow() -> Result {
        let f = Fixture::new()?;

        for owner in [DMA_API, PRIVATE, USER] {
            f.preset(owner, u32::MAX);
            for device in [0, 1] {
                assert_eq!(f.claim(device, owner), EOVERFLOW);
                assert_eq!(f.state(), (owner, u32::MAX, [u32::MAX, 0]));
            }

            f.preset(owner, u32::MAX - 1);
            assert_eq!(f.claim(1, owner), 0);
            assert_eq!(f.state(), (owner, u32::MAX, [u32::MAX - 1, 1]));
            f.release(1, owner);
            assert_eq!(f.state(), (owner, u32::MAX - 1, [u32::MAX - 1, 0]));
        }
        f.preset(NONE, 0);
        Ok(())
    }

    #[test]
    fn blocking_domain_refused() -> Result {
        let mut f = Fixture::new()?;

        f.iommu.blocked_ops.attach_dev = Some(refuse);
        assert_eq!(f.claim(0, USER), EIO);
        assert_eq!(f.claim_group(), EIO);
        assert_eq!(f.state(), (NONE, 0, [0, 0]));
        assert!(ptr::eq(f.attached(), &f.iommu.default));

        // The others do not need it.
        assert_eq!(f.claim(0, PRIVATE), 0);
        f.release(0, PRIVATE);
        Ok(())
    }

    #[test]
    fn device_in_reset() -> Result {
        let f = Fixture::new()?;

        let first = f.member(0).ok_or(ENOENT)?;

        // SAFETY: The member is valid, and nobody else knows the group.
        unsafe {
            (*first).blocked = true;
            (*f.group).recovery_cnt = 1;
        }
        for owner in [DMA_API, PRIVATE, USER] {
            assert_eq!(f.claim(0, owner), EBUSY);
        }
        // Its sibling can be claimed, but the group not be blocked.
        assert_eq!(f.claim(1, USER), EBUSY);
        assert_eq!(f.claim_group(), EBUSY);
        assert_eq!(f.state(), (NONE, 0, [0, 0]));
        assert_eq!(f.claim(1, PRIVATE), 0);
        f.release(1, PRIVATE);
        Ok(())
    }

    #[test]
    fn user_is_blocked_until_the_last_release() -> Result {
        let f = Fixture::new()?;

        assert_eq!(f.claim(0, USER), 0);
        assert!(ptr::eq(f.attached(), &f.iommu.blocked));
        f.attach(&f.iommu.own);
        assert_eq!(f.claim(1, USER), 0);
        assert!(ptr::eq(f.attached(), &f.iommu.own));
        f.release(0, USER);
        assert!(ptr::eq(f.attached(), &f.iommu.own));
        f.release(1, USER);
        assert!(ptr::eq(f.attached(), &f.iommu.default));
        assert_eq!(f.state(), (NONE, 0, [0, 0]));
        Ok(())
    }

    /// What iommufd tells from a claim that is refused for another reason.
    #[test]
    fn other_owner() -> Result {
        let f = Fixture::new()?;

        assert!(!f.is_other(0));
        assert_eq!(f.claim(0, USER), 0);
        assert!(!f.is_other(0));
        assert!(f.is_other(1));
        f.release(0, USER);

        assert_eq!(f.claim(0, PRIVATE), 0);
        assert!(f.is_other(0));
        f.release(0, PRIVATE);
        assert!(!f.is_other(0));
        Ok(())
    }

    #[test]
    fn detaching_falls_back() -> Result {
        let f = Fixture::new()?;
        // SAFETY: The group is valid; nobody else knows it.
        let fallback = || unsafe { iommu_dma_owner_core_domain(f.group) };

        assert!(ptr::eq(fallback(), &f.iommu.default));
        assert_eq!(f.claim(0, DMA_API), 0);
        assert!(ptr::eq(fallback(), &f.iommu.default));
        f.release(0, DMA_API);
        assert_eq!(f.claim(0, PRIVATE), 0);
        assert!(ptr::eq(fallback(), &f.iommu.default));
        f.release(0, PRIVATE);
        assert_eq!(f.claim(0, USER), 0);
        assert!(ptr::eq(fallback(), &f.iommu.blocked));
        f.release(0, USER);
        Ok(())
    }

    #[test]
    fn other_domain() -> Result {
        let f = Fixture::new()?;

        f.attach(&f.iommu.own);
        assert_eq!(f.claim(0, PRIVATE), EBUSY);
        assert_eq!(f.claim(0, USER), EBUSY);
        assert_eq!(f.claim_group(), EBUSY);
        assert_eq!(f.claim(0, DMA_API), 0);
        assert_eq!(f.claim(1, DMA_API), EBUSY);
        assert_eq!(f.claim(1, USER), EBUSY);
        assert_eq!(f.state(), (DMA_API, 1, [1, 0]));
        f.release(0, DMA_API);
        Ok(())
    }

    #[test]
    fn whole_group() -> Result {
        let f = Fixture::new()?;

        // SAFETY: The group is valid.
        let (claimed, release) = unsafe {
            (
                || iommu_group_dma_owner_claimed(f.group),
                || iommu_group_release_dma_owner(f.group),
            )
        };

        // SAFETY: The group is valid.
        let unnamed = unsafe { iommu_group_claim_dma_owner(f.group, ptr::null_mut()) };
        assert_eq!(unnamed, EINVAL);
        assert!(!claimed());
        assert_eq!(f.claim_group(), 0);
        assert!(claimed());
        assert!(ptr::eq(f.attached(), &f.iommu.blocked));

        // Shared with nobody, not even with the same cookie.
        assert_eq!(f.claim_group(), EPERM);
        assert_eq!(f.claim(0, USER), EBUSY);
        assert_eq!(f.bind(0), EBUSY);
        assert_eq!(f.state(), (USER, 1, [0, 0]));
        release();
        assert!(!claimed());
        assert!(ptr::eq(f.attached(), &f.iommu.default));

        assert_eq!(f.claim(0, DMA_API), 0);
        assert!(claimed());
        assert_eq!(f.claim_group(), EPERM);
        assert_eq!(warnings(release), 1);
        f.release(0, DMA_API);
        Ok(())
    }

    #[test]
    fn removed_while_claimed() -> Result {
        let f = Fixture::new()?;

        assert_eq!(f.claim(0, PRIVATE), 0);
        assert_eq!(f.claim(0, PRIVATE), 0);
        assert_eq!(f.claim(1, PRIVATE), 0);
        f.attach(&f.iommu.own);

        // SAFETY: As in `Fixture::drop`.
        let count = warnings(|| unsafe {
            (*f.dev(0)).iommu = ptr::null_mut();
            bindings::iommu_group_remove_device(f.dev(0));
        });
        assert_eq!(count, 1);
        assert_eq!(f.state(), (PRIVATE, 1, [0, 1]));
        assert_eq!(warnings(|| f.release(0, PRIVATE)), 0);

        f.release(1, PRIVATE);
        assert_eq!(f.state(), (NONE, 0, [0, 0]));
        assert!(ptr::eq(f.attached(), &f.iommu.default));
        assert_eq!(f.claim(1, DMA_API), 0);
        f.release(1, DMA_API);
        Ok(())
    }

    #[test]
    fn guard() -> Result {
        let f = Fixture::new()?;
        // SAFETY: Both devices are bound to the faux bus's driver as long as they live.
        let [a, b] = [0, 1].map(|n| unsafe { Device::<Bound>::from_raw(f.dev(n)) });
        let (mine, other) = (1, 2);

        let first = Ownership::private_domain_user(a, &mine)?;
        assert!(ptr::eq(f.attached(), &f.iommu.blocked));
        {
            let _second = Ownership::private_domain_user(b, &mine)?;
            assert_eq!(f.state(), (USER, 2, [1, 1]));
        }
        assert_eq!(f.state(), (USER, 1, [1, 0]));
        assert!(Ownership::private_domain_user(b, &other).is_err());
        assert!(Ownership::private_domain(b, &mine).is_err());
        assert!(Ownership::dma_api(b).is_err());
        drop(first);
        assert_eq!(f.state(), (NONE, 0, [0, 0]));

        let _claim = Ownership::dma_api(b)?;
        assert_eq!(f.state(), (DMA_API, 1, [0, 1]));
        Ok(())
    }
}
